"""Whose boxes a folder holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ctsdk.data.datasets import VideoDataset
from ctsdk.errors import ConfigError, OutputError
from ctsdk.evaluation.results.manifest import Manifest
from ctsdk.fingerprint import fingerprint
from tests.helpers.toy import toy_adapter

ADAPTER = toy_adapter()
DATASET = VideoDataset("lasot", "test", (), [].__getitem__)
MANIFEST = Manifest.of(ADAPTER, ADAPTER.teacher, DATASET)


def test_a_manifest_names_tracker_data_and_version(tmp_path: Path) -> None:
    MANIFEST.claim(tmp_path / "new", "boxes")
    seen = json.loads((tmp_path / "new" / "evaluation.json").read_text(encoding="utf-8"))
    assert (seen["adapter"], seen["variant"], seen["dataset"], seen["split"]) == ("toy", None, "lasot", "test")
    assert seen["weights"] == fingerprint(ADAPTER.teacher.state_dict())
    assert seen["ctsdk"]
    MANIFEST.claim(tmp_path / "new", "boxes")


@pytest.mark.parametrize("name", ["adapter", "variant", "weights", "dataset", "split", "ctsdk"])
def test_every_part_counts(tmp_path: Path, name: str) -> None:
    MANIFEST.claim(tmp_path, "boxes")
    before = (tmp_path / "evaluation.json").read_bytes()
    with pytest.raises(ConfigError, match=f"must not be mixed: {name} is .* there and 'other' here. Use another"):
        replace(MANIFEST, **{name: "other"}).claim(tmp_path, "boxes")
    assert (tmp_path / "evaluation.json").read_bytes() == before


def test_boxes_of_nobody_are_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "boxes").mkdir()
    with pytest.raises(ConfigError, match=r"boxes holds boxes, and no evaluation\.json beside it"):
        MANIFEST.claim(tmp_path, "boxes")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read"), ("[]", "format 'list'"), ('{"format": 2}', "format 2; this ctsdk reads format 1")],
)
def test_a_manifest_that_cannot_be_read_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "evaluation.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        MANIFEST.claim(tmp_path, "boxes")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot write"):
        MANIFEST.claim(tmp_path / "file", "boxes")


def test_a_fingerprint_is_of_names_shapes_types_and_values_only() -> None:
    tensors = {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.tensor(3),
        "c": torch.ones(2, dtype=torch.bfloat16),
        "d": torch.empty(0),
        "e": torch.tensor([True, False]),
    }
    seen = fingerprint(tensors)
    assert fingerprint(dict(reversed(tensors.items()))) == seen
    assert fingerprint({**tensors, "a": tensors["a"].T.contiguous().T}) == seen
    changed = [
        {**tensors, "a": tensors["a"].reshape(3, 2)},
        {**tensors, "a": tensors["a"].double()},
        {**tensors, "a": tensors["a"] + 1e-6},
        {**tensors, "b": torch.tensor(4)},
        {("z" if name == "a" else name): tensor for name, tensor in tensors.items()},
    ]
    assert len({seen, *map(fingerprint, changed)}) == 6
