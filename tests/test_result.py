from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import ctsdk
from tests.helpers.toy import ToyAdapter, toy_adapter, toy_batches, toy_config


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    result = ctsdk.compress(toy_adapter(), toy_config(training={"steps": 2}), batches=toy_batches())
    return result.save(tmp_path / "result")


def test_round_trip(saved: Path) -> None:
    adapter, batch = toy_adapter(), toy_batches(1)[0]
    result = ctsdk.compress(adapter, toy_config(training={"steps": 2}), batches=toy_batches())
    loaded = ctsdk.load_result(saved, adapter=toy_adapter(seed=5))
    assert torch.equal(adapter.predict(loaded.student, batch).boxes, adapter.predict(result.student, batch).boxes)
    assert (loaded.plans, loaded.config, loaded.adapter_name) == (result.plans, result.config, "toy")
    assert type(loaded.student) is type(adapter.teacher)


def test_weights_of_another_run_are_noticed(saved: Path) -> None:
    weights = saved / "student.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ctsdk.CheckpointError, match=r"is not the file that result\.json"):
        ctsdk.load_result(saved, adapter=toy_adapter())


def test_missing_and_foreign_folders(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ctsdk.CheckpointError, match=r"no readable result\.json"):
        ctsdk.load_result(tmp_path, adapter=toy_adapter())
    with pytest.raises(ctsdk.AdapterNotFoundError, match="toy"):
        ctsdk.load_result(saved)
    description = json.loads((saved / "result.json").read_text())
    (saved / "result.json").write_text(json.dumps(description | {"format": 99}))
    with pytest.raises(ctsdk.CheckpointError, match="has format 99"):
        ctsdk.load_result(saved, adapter=toy_adapter())


def test_a_teacher_of_another_shape_is_refused(saved: Path) -> None:
    class Wider(ToyAdapter):
        pass

    adapter = Wider(type(toy_adapter().teacher)(width=24))
    with pytest.raises(ctsdk.CheckpointError, match="embed"):
        ctsdk.load_result(saved, adapter=adapter)


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter": []},
        {"adapter": {"name": ["toy"], "variant": None}},
        {"plans": 3},
        {"plans": {"blocks": {"sizes": [10**9], "initialisation": "last"}}},
        {"plans": {"nowhere": {"sizes": [1], "initialisation": "last"}}},
        {"config": {"seed": "x"}},
        {"config": {"unknown": 1}},
        {"weights_sha256": None},
    ],
    ids=str,
)
def test_a_damaged_description_is_refused(saved: Path, changes: dict[str, object]) -> None:
    path = saved / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ctsdk.CheckpointError, match=r"result\.json"):
        ctsdk.load_result(saved, adapter=toy_adapter())


def test_an_unknown_variant_of_an_installed_adapter_is_refused(saved: Path) -> None:
    path = saved / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"adapter": {"name": "ostrack", "variant": "tinny"}}))
    with pytest.raises(ctsdk.CheckpointError, match=r"result\.json does not fit: .*Did you mean 'tiny'\?"):
        ctsdk.load_result(saved)


@pytest.mark.parametrize("text", [b"", b"[" * 100_000, b"\xff", b"1" * 5000, b"[]", b" " * (9 << 20)])
def test_what_is_no_description_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "result.json").write_bytes(text)
    with pytest.raises(ctsdk.CheckpointError, match=r"result\.json"):
        ctsdk.load_result(tmp_path, adapter=toy_adapter())
