"""COCO 2017: photographs as videos of one frame, one for each annotated object.

::

    annotations/instances_train2017.json     photographs, categories, and the objects with their boxes, counted from 0
    images/train2017/000000000009.jpg        the photographs; or train2017/000000000009.jpg
    annotations/instances_val2017.json       the same for the other split

An LMDB holds the same paths. Trackers of the OSTrack family train on these beside real videos: template and search are
cut from the same photograph. Outlines (``segmentation``) are not used.

Source: botaoye/OSTrack @ 33b5e12, lib/train/dataset/coco_seq.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.checks import check_option
from ctsdk.data.readers.documents import read_json
from ctsdk.data.readers.files import Files
from ctsdk.data.readers.frames import ImageFiles
from ctsdk.data.readers.lmdb_files import open_files
from ctsdk.data.videos import Floats, Video
from ctsdk.errors import ConfigError, DataError

__all__ = ["open_coco"]

_NUMBER: Final = (int, float)  # no bool


def open_coco(root: Path, *, split: str = "train", side_above_px: str = "0") -> VideoDataset:
    """Open COCO 2017 as videos of one frame, one for each annotation that is no crowd, in the order of the file.

    A video is named after the id of its annotation. The whole annotation file is read at once, which takes about 20
    seconds and 1 GB for ``train``; a tenth of that is kept.

    Args:
        root: holds ``annotations/instances_<split>2017.json`` and the photographs, in ``images/<split>2017/`` or
            ``<split>2017/``; or an LMDB of these paths.
        split: ``train`` or ``val``.
        side_above_px: a target counts as visible if its box is wider and higher than this. OSTrack's loader sets 50,
            but its sampler ignores visibility in single images, so OSTrack trains on small targets, too: the default
            is 0.

    Raises:
        ConfigError: an option has a value that it cannot have.
        DataError: the annotation file or the folder of photographs is missing, or the file is wrong.
    """
    check_option("coco", "split", split, ("train", "val"))
    objects = _read(open_files(root), split, _length_px(side_above_px))
    return VideoDataset("coco", split, tuple(map(str, objects.ids.tolist())), objects)


@dataclass(frozen=True, eq=False)
class _Objects:
    """The annotated objects, in arrays because there are 850 000. Call it with an index to get that video."""

    files: Files
    side_above_px: float
    image_paths: tuple[str, ...]
    image_sizes_px: NDArray[np.int64]
    categories: tuple[Mapping[str, str], ...]
    ids: NDArray[np.int64]
    boxes_xywh_px: Floats
    image_numbers: NDArray[np.int32]
    category_numbers: NDArray[np.int32]

    def __call__(self, index: int) -> Video:
        image, boxes_xywh_px = self.image_numbers[index], self.boxes_xywh_px[index : index + 1]
        width, height = self.image_sizes_px[image].tolist()
        return Video(
            name=str(self.ids[index]),
            boxes_xywh_px=boxes_xywh_px,
            visible=np.array([bool((boxes_xywh_px[0, 2:] > self.side_above_px).all())]),
            size_px=(width, height),
            read_frame=ImageFiles(self.files, (self.image_paths[image],)),
            about=self.categories[self.category_numbers[index]],
        )


def _length_px(text: str) -> float:
    try:
        length = float(text)
    except ValueError:
        length = math.nan
    if not 0 <= length < math.inf:
        raise ConfigError(f"data set coco: side_above_px is {text!r}; expected a number of pixels, 0 or more.")
    return length


def _image_folder(files: Files, split: str) -> str:
    folders = [f"images/{split}2017", f"{split}2017"]
    for folder in folders:
        if files.exists(folder):
            return folder
    raise DataError(
        f"there is neither {' nor '.join(map(files.place, folders))}; expected COCO's photographs in one of them. "
        "Check the path, and that the archive of the photographs is unpacked there."
    )


def _read(files: Files, split: str, side_above_px: float) -> _Objects:
    folder, path = _image_folder(files, split), f"annotations/instances_{split}2017.json"
    place, document = files.place(path), read_json(files, path, _without_segmentation)
    image_numbers: dict[int, int] = {}
    paths, sizes_px = [], []
    for identity, entry, where in _entries(document, "images", place):
        image_numbers[identity] = len(image_numbers)
        paths.append(f"{folder}/{_text(entry, 'file_name', where)}")
        sizes_px.append((_whole(entry, "width", where), _whole(entry, "height", where)))
    category_numbers: dict[int, int] = {}
    categories = []
    for identity, entry, where in _entries(document, "categories", place):
        category_numbers[identity] = len(category_numbers)
        about = {"object_class": _text(entry, "name", where), "supercategory": _text(entry, "supercategory", where)}
        categories.append(about)
    ids, boxes, of_image, of_category = [], [], [], []
    for identity, entry, where in _entries(document, "annotations", place):
        if _whole(entry, "iscrowd", where) == 0:
            ids.append(identity)
            boxes.append(_box(entry, where))
            of_image.append(_look_up(entry, "image_id", image_numbers, where))
            of_category.append(_look_up(entry, "category_id", category_numbers, where))
    if not ids:
        raise DataError(f"{place} annotates no single object; expected COCO's instances. Copy the file again.")
    return _Objects(
        files,
        side_above_px,
        tuple(paths),
        np.array(sizes_px, dtype=np.int64),
        tuple(categories),
        np.array(ids, dtype=np.int64),
        np.array(boxes, dtype=np.float64),
        np.array(of_image, dtype=np.int32),
        np.array(of_category, dtype=np.int32),
    )


def _without_segmentation(entry: dict[str, object]) -> dict[str, object]:
    entry.pop("segmentation", None)  # nine tenths of the file
    return entry


def _entries(document: object, table: str, place: str) -> Iterator[tuple[int, Mapping[str, object], str]]:
    """Yield the id of each entry of a table, the entry, and its place for messages."""
    entries = document.get(table) if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise DataError(f"{place} has no list called {table!r}; expected a file of COCO's instances. Copy it again.")
    seen: set[int] = set()
    for number, entry in enumerate(entries):
        where = f"{place}, entry {number} of {table!r}"
        if not isinstance(entry, dict):
            raise _wrong(where, f"is {entry!r:.100}", "an object with keys")
        identity = _whole(entry, "id", where)
        where = f"{place}, id {identity} of {table!r}"
        if identity in seen:
            raise _wrong(where, "is there twice", "each id once")
        seen.add(identity)
        yield identity, entry, where


def _whole(entry: Mapping[str, object], key: str, where: str) -> int:
    value = entry.get(key)
    if type(value) is not int or not abs(value) < 2**63:
        raise _wrong(where, f"has {key} = {value!r:.100}", "a whole number")
    return value


def _text(entry: Mapping[str, object], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise _wrong(where, f"has {key} = {value!r:.100}", "text")
    return value


def _box(entry: Mapping[str, object], where: str) -> list[float]:
    value = entry.get("bbox")
    # The comparison is false for NaN.
    if not (isinstance(value, list) and len(value) == 4 and all(type(x) in _NUMBER and abs(x) < 1e9 for x in value)):
        raise _wrong(where, f"has bbox = {value!r:.100}", "four finite numbers, left, top, width and height")
    return value


def _look_up(entry: Mapping[str, object], key: str, numbers: Mapping[int, int], where: str) -> int:
    """Return the index of the image or the category that an annotation refers to."""
    identity = _whole(entry, key, where)
    if identity not in numbers:
        raise _wrong(where, f"has {key} = {identity}", "an id that the file defines")
    return numbers[identity]


def _wrong(where: str, seen: str, expected: str) -> DataError:
    return DataError(f"{where} {seen}; expected {expected}. Copy the file again, or take the entry out.")
