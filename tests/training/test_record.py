from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import ctsdk
from ctsdk.training.record import RECORD_FILE, Start, batch_fingerprint, versions
from tests.helpers.toy import toy_adapter, toy_batches, toy_config


def starts(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / RECORD_FILE).read_text())["starts"]


class Breaking(list[ctsdk.Batch]):
    """Batches that look at the record while they are read, and end in an error after seven."""

    folder: Path
    seen: dict[str, Any]

    def __iter__(self) -> Iterator[ctsdk.Batch]:
        yield from super().__iter__()
        (self.seen,) = starts(self.folder)
        raise OSError("the disk went away")


def test_every_start_is_on_record_from_its_beginning(tmp_path: Path) -> None:
    config = toy_config(training={"save_every": 5})
    batches = Breaking(toy_batches(7))
    batches.folder = tmp_path
    with pytest.raises(OSError, match="went away"):
        ctsdk.compress(toy_adapter(), config, batches=batches, run_dir=tmp_path)
    assert batches.seen["outcome"] is None
    assert batches.seen["first_batch_sha256"] == batch_fingerprint(batches[0])

    ctsdk.compress(toy_adapter(), config, batches=toy_batches(7), run_dir=tmp_path, resume=True)
    first, second = starts(tmp_path)
    assert (first["outcome"], first["error"]) == ("failed", "OSError: the disk went away")
    assert (second["outcome"], second["error"]) == ("finished", None)
    assert [(s["first_step"], s["last_step"]) for s in (first, second)] == [(0, 7), (5, 12)]
    assert second["first_batch_sha256"] == batch_fingerprint(batches[5])
    assert first["begin"] <= first["end"] <= second["begin"] <= second["end"]
    assert first["data"] == f"{__name__}.Breaking"
    assert ctsdk.CompressionConfig.from_mapping(second["config"]) == config
    assert second["versions"]["torch"] == torch.__version__
    assert second["hardware"]["cores"] >= 1
    assert (second["num_processes"], second["seed"], second["changed"]) == (1, 0, {})


def test_the_fingerprint_is_of_every_tensor_of_a_batch() -> None:
    (batch,) = toy_batches(1)
    boxes = batch.search_boxes.clone()
    boxes[0, 0, 0] += 1e-6
    others = [
        replace(batch, search_boxes=boxes),
        replace(batch, extra={"labels": torch.zeros(4)}),
        replace(batch, extra={"labels": torch.zeros(4, dtype=torch.bfloat16)}),
    ]
    assert len({batch_fingerprint(each) for each in (batch, *others)}) == 4
    assert batch_fingerprint(toy_batches(1)[0]) == batch_fingerprint(batch)


def test_the_package_of_the_adapter_is_named() -> None:
    assert "ctsdk" in versions(ctsdk.load_adapter("ostrack", "tiny", "random"))
    assert versions(toy_adapter())["tests"] is None


def test_a_record_that_is_none_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / RECORD_FILE).write_text("[]")
    with pytest.raises(ctsdk.TrainingError, match="Move it away"):
        ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches(), run_dir=tmp_path)
    assert (tmp_path / RECORD_FILE).read_text() == "[]"


def test_what_ended_a_run_goes_before_a_record_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def end() -> None:
        with Start(folder, {}):
            (folder / RECORD_FILE).unlink()
            (folder / RECORD_FILE).mkdir()
            raise ctsdk.TrainingError("not finite")

    with pytest.raises(ctsdk.TrainingError, match="not finite") as caught:
        end()
    assert any("cannot write" in note for note in caught.value.__notes__)
