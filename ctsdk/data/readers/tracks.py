"""Tracks of ImageNet-VID, and the JSON files that cache them, because finding them takes minutes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctsdk.data.readers.documents import read_json
from ctsdk.data.readers.files import Files, Folder
from ctsdk.errors import DataError
from ctsdk.storage.atomic import atomic_write

__all__ = ["Track", "read_official_tracks", "read_tracks", "track_name", "write_tracks"]

_CONTENT: Final = "tracks of ImageNet-VID, version 1"
_LARGEST: Final = 10**9


@dataclass(frozen=True, eq=False)
class Track:
    """One object in one video.

    Attributes:
        name: unique in its split.
        folder: of the video, below ``Data/VID``.
        object_class: the object's WordNet id.
        size_px: (width, height) of the video's first frame.
        frames: (N,) numbers of the frames with the object.
        boxes_xywh_px: (N, 4), whole numbers.
        visible: (N,), not occluded.

    Raises:
        ValueError: the shapes do not fit together.
    """

    name: str
    folder: str
    object_class: str
    size_px: tuple[int, int]
    frames: NDArray[np.int32]
    boxes_xywh_px: NDArray[np.int32]
    visible: NDArray[np.bool_]

    def __post_init__(self) -> None:
        shapes = self.frames.shape, self.boxes_xywh_px.shape, self.visible.shape
        num_frames = len(self.frames)
        if not num_frames or shapes != ((num_frames,), (num_frames, 4), (num_frames,)):
            raise ValueError(f"frames, boxes and visibility of shapes {shapes}")


def track_name(folder: str, number: int) -> str:
    """Return the name of track `number` of the video in `folder`, by the rule ``ostrack``."""
    return f"{folder.rpartition('/')[2]}-{number}"


def read_official_tracks(files: Files, path: str) -> list[Track]:
    """Return the tracks in a cache of the OSTrack family, which holds those of the split ``train``.

    Source: botaoye/OSTrack @ 33b5e12, lib/train/dataset/imagenetvid.py.

    Raises:
        DataError: the file is missing or wrong.
    """
    nums_tracks: Counter[str] = Counter()

    def official_track(entry: Mapping[str, object]) -> Track:
        set_id, video_id, first = (int(_whole(entry[key])) for key in ("set_id", "vid_id", "start_frame"))
        folder = f"train/ILSVRC2015_VID_train_{set_id:04d}/ILSVRC2015_train_{video_id:08d}"
        number, boxes_xywh_px = nums_tracks[folder], _whole(entry["anno"], None, 4)
        nums_tracks[folder] += 1
        return Track(
            name=track_name(folder, number),
            folder=folder,
            object_class=str(entry["class_name"]),
            size_px=_size_px(entry["image_size"]),
            frames=np.arange(first, first + len(boxes_xywh_px), dtype=np.int32),
            boxes_xywh_px=boxes_xywh_px,
            visible=_whole(entry["target_visible"], None).astype(np.bool_),
        )

    return _make_all(read_json(files, path), official_track, files.place(path))


def read_tracks(path: Path, split: str, rule: str) -> list[Track]:
    """Return the tracks that :func:`write_tracks` wrote.

    Raises:
        DataError: the file is missing or wrong, or holds the tracks of another split or rule.
    """
    content = read_json(Folder(path.parent), path.name)
    if not isinstance(content, dict):
        content = {}
    expected, header = _header(split, rule), {key: content.get(key) for key in _header(split, rule)}
    if header != expected:
        raise DataError(
            f"{path} says that it is {header}; expected {expected}. Give another path for the cache, or delete the "
            "file to have it written again."
        )
    return _make_all(content.get("tracks"), _read_track, str(path))


def write_tracks(path: Path, split: str, rule: str, tracks: Sequence[Track]) -> None:
    """Write tracks to a JSON file, atomically; missing folders are created.

    Raises:
        OutputError: the file cannot be written.
    """
    entries = [
        {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(track).items()}
        for track in tracks
    ]
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({**_header(split, rule), "tracks": entries}), encoding="utf-8")


def _header(split: str, rule: str) -> dict[str, str]:
    return {"content": _CONTENT, "split": split, "rule": rule}


def _read_track(entry: Mapping[str, object]) -> Track:
    return Track(
        name=str(entry["name"]),
        folder=str(entry["folder"]),
        object_class=str(entry["object_class"]),
        size_px=_size_px(entry["size_px"]),
        frames=_whole(entry["frames"], None),
        boxes_xywh_px=_whole(entry["boxes_xywh_px"], None, 4),
        visible=_whole(entry["visible"], None).astype(np.bool_),
    )


def _make_all(entries: object, make: Callable[[Mapping[str, object]], Track], place: str) -> list[Track]:
    """Return the track of each entry of a file."""
    if not isinstance(entries, list):
        raise DataError(f"{place} holds {entries!r:.60} where a list of tracks was expected. Delete the file.")
    tracks = []
    for number, entry in enumerate(entries):
        try:
            tracks.append(make(entry))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{place}, track {number}: cannot be used ({error!r}). Delete the file.") from error
    return tracks


def _size_px(value: object) -> tuple[int, int]:
    width, height = _whole(value, 2).tolist()
    return width, height


def _whole(value: object, *shape: int | None) -> NDArray[np.int32]:
    """Return whole numbers or flags as an array; None stands for any length."""
    array = np.array(value)
    fits = array.ndim == len(shape) and all(
        expected in (None, length) for length, expected in zip(array.shape, shape, strict=True)
    )
    largest = max(int(array.max()), -int(array.min())) if array.dtype.kind in "bi" and array.size else 0
    if array.dtype.kind not in "bi" or not fits or largest >= _LARGEST:
        raise ValueError(f"{value!r:.60}; expected whole numbers of shape {shape}")
    return array.astype(np.int32)
