"""Untrusted files: none runs code, hangs, or takes more memory than was stated; each is a CheckpointError."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings, strategies as st

from ctsdk.errors import CheckpointError
from ctsdk.weights import read_tensors, write_safetensors
from tests.helpers import hostile

NAMES = sorted(hostile.makers())
MIB = 1 << 20
# What read_tensors states, for files that are small themselves.
STATED = 256 * MIB
SECONDS = 15

# A file that hangs ends the other process much sooner; the whole batch may take its time on a busy machine.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Write all files and read them in one other process."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, maker in hostile.makers().items():
        maker(folder / name)
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.hostile_reading", str(folder), str(STATED)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        timeout=1100,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    reported = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"the process ended with {done.returncode} after {reported[-1:]}"
    return {report.pop("name"): report for report in reported}


def test_there_are_hundreds() -> None:
    assert len(NAMES) >= 250


@pytest.mark.parametrize("name", NAMES)
def test_is_refused(reports: dict[str, dict[str, Any]], name: str) -> None:
    report = reports[name]
    assert report["kinds"][:1] == ["CheckpointError"], report
    assert name in report["message"]
    assert report["acted"] == []
    assert report["seconds"] < SECONDS
    assert report["bytes"] < STATED
    # A reader that was stopped by the end of its memory asked for more than it should.
    assert "MemoryError" not in report["kinds"]
    assert "alloc" not in report["message"]


@pytest.mark.parametrize("kind", ["global-reduce-of-a-foreign-function", "newobj", "newobj-ex", "build"])
def test_a_reader_that_trusts_these_files_does_act(kind: str) -> None:
    hostile.MARKS.clear()
    pickle.loads(dict(hostile.calls())[kind])
    assert hostile.MARKS
    hostile.MARKS.clear()


def good_files(folder: Path) -> dict[str, Path]:
    """Write the same tensors in each format."""
    tensors = {
        "backbone.weight": torch.arange(12.0).reshape(3, 4).T,
        "head.bias": torch.tensor([1, -2], dtype=torch.int16),
    }
    paths = {kind: folder / f"{kind}.weights" for kind in ("zip", "old", "safetensors")}
    torch.save({"net": tensors, "epoch": 3}, paths["zip"])
    torch.save({"net": tensors, "epoch": 3}, paths["old"], _use_new_zipfile_serialization=False)
    write_safetensors(paths["safetensors"], tensors)
    return paths


EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.sampled_from(["flip", "cut", "drop", "repeat"]), st.integers(1, 255)
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[float, str, int]]) -> bytes:
    for share, kind, value in edits:
        place = int(share * len(data))
        match kind:
            case "flip":
                data = data[:place] + bytes(byte ^ value for byte in data[place : place + 1]) + data[place + 1 :]
            case "cut":
                data = data[: max(place, 1)]
            case "drop":
                data = data[:place] + data[place + value :]
            case "repeat":
                data = data[: place + value] + data[place:]
    return data


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return {kind: path.read_bytes() for kind, path in good_files(tmp_path_factory.mktemp("good")).items()}


def read(path: Path, data: bytes) -> dict[str, torch.Tensor] | None:
    """Return the tensors of damaged data, None where it is refused; anything else than a refusal is an error."""
    path.write_bytes(data)
    try:
        return read_tensors(path)
    except CheckpointError:
        return None


FUZZ = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class TestDamage:
    @FUZZ
    @given(edits=EDITS)
    @example(edits=[])
    def test_of_a_torch_file_is_noticed_or_did_not_matter(
        self, good: dict[str, bytes], tmp_path: Path, edits: list[tuple[float, str, int]]
    ) -> None:
        expected = read(tmp_path / "good", good["zip"])
        assert expected is not None
        seen = read(tmp_path / "x", edited(good["zip"], edits))
        if seen is not None:
            assert seen.keys() == expected.keys()
            for name, tensor in expected.items():
                assert seen[name].dtype == tensor.dtype
                assert torch.equal(seen[name], tensor)

    @pytest.mark.parametrize("kind", ["old", "safetensors"])
    @FUZZ
    @given(edits=EDITS)
    @example(edits=[])
    def test_of_a_file_without_sums_gives_no_more_than_the_file_holds(
        self, good: dict[str, bytes], tmp_path: Path, kind: str, edits: list[tuple[float, str, int]]
    ) -> None:
        data = edited(good[kind], edits)
        for tensor in (read(tmp_path / "x", data) or {}).values():
            assert type(tensor) is torch.Tensor
            assert tensor.device.type == "cpu"
            assert tensor.numel() * tensor.element_size() <= len(data)
            tensor.clone()
