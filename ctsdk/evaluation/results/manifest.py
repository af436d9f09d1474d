"""Whose boxes a folder holds: which tracker made them, on which data set.

An interrupted evaluation is resumed only if all of this is the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import nn

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.videos import Video
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.errors import ConfigError
from ctsdk.fingerprint import fingerprint
from ctsdk.storage.atomic import write_json
from ctsdk.storage.bounded import read_bounded

__all__ = ["MANIFEST_FILE", "Manifest"]

MANIFEST_FILE = "evaluation.json"
_FORMAT = 1
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """Where the boxes of an evaluation come from.

    Attributes:
        adapter: the adapter's name.
        variant: member of the tracker's family, if the adapter has several.
        weights: :func:`~ctsdk.fingerprint.fingerprint` of the tracker.
        dataset: name of the data set; empty for videos that belong to none.
        split: of the data set.
        ctsdk: the version that tracked.
    """

    adapter: str
    variant: str | None
    weights: str
    dataset: str
    split: str
    ctsdk: str

    @classmethod
    def of(cls, adapter: TrackerAdapter, tracker: nn.Module, dataset: Iterable[Video]) -> Manifest:
        """Return the manifest of an evaluation that begins now."""
        name, split = (dataset.name, dataset.split) if isinstance(dataset, VideoDataset) else ("", "")
        return cls(
            adapter=adapter.name,
            variant=adapter.variant,
            weights=fingerprint(tracker.state_dict()),
            dataset=name,
            split=split,
            ctsdk=metadata.version("ctsdk"),
        )

    def claim(self, folder: Path, boxes: str) -> None:
        """Write the manifest into `folder`, or check that it is there already.

        Args:
            folder: of the evaluation.
            boxes: name of the folder of boxes inside it.

        Raises:
            ConfigError: it belongs to another evaluation, or holds boxes of unknown origin.
            OutputError: it cannot be written to.
        """
        path = folder / MANIFEST_FILE
        if not path.exists():
            if (folder / boxes).exists():
                raise ConfigError(
                    f"{folder / boxes} holds boxes, and no {MANIFEST_FILE} beside it says whose they are. Use another "
                    "folder, or remove this one to start again."
                )
            write_json(path, {"format": _FORMAT, **asdict(self)})
            return
        seen = _read(path)
        different = [
            f"{field.name} is {seen.get(field.name)!r} there and {getattr(self, field.name)!r} here"
            for field in fields(self)
            if seen.get(field.name) != getattr(self, field.name)
        ]
        if different:
            raise ConfigError(
                f"{folder} holds the boxes of another evaluation, and boxes must not be mixed: {'; '.join(different)}. "
                "Use another folder, or remove this one to start again."
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_bounded(path, _MAX_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); expected the description of an evaluation. Use another folder, or "
            "remove this one to start again."
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        seen = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ConfigError(
            f"{path} has format {seen!r}; this ctsdk reads format {_FORMAT}. Use the ctsdk that wrote it, or another "
            "folder."
        )
    return content
