"""LaSOT: 1120 long videos to train on and 280 to test; LaSOT_ext: 150 more to test.

::

    <class>/<class>-<number>/img/00000001.jpg    the frames, from 1
    <class>/<class>-<number>/groundtruth.txt     a row per frame: x,y,w,h, from 1
    <class>/<class>-<number>/full_occlusion.txt  one line of 0,0,1: 1 where the target is hidden
    <class>/<class>-<number>/out_of_view.txt     one line of 0,0,1: 1 where the target is outside
    <class>/<class>-<number>/nlp.txt             the target in words; may be missing

An LMDB holds the same paths. A download of LaSOT may have a folder ``LaSOTBenchmark`` around the classes.

The download has no lists of the videos or of the test set; the official lists come with ctsdk. A video has as many
frames as rows, although some folders hold one more image. Boxes are taken from the files unchanged, counted from 1, as
in the official evaluation. A box may be empty where the target is not visible, and in 7 frames where it is.

Source: botaoye/OSTrack @ 33b5e12, lib/train/dataset/lasot.py, lib/test/evaluation/lasotdataset.py,
lasotextensionsubsetdataset.py; got-10k/toolkit @ 956e728, got10k/datasets/lasot.py.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.checks import check_option, read_finite_boxes
from ctsdk.data.readers.files import Files, find_present
from ctsdk.data.readers.frames import NumberedPaths, open_frames
from ctsdk.data.readers.lmdb_files import open_files
from ctsdk.data.readers.tables import read_table
from ctsdk.data.readers.text import read_flags, read_text
from ctsdk.data.videos import Video
from ctsdk.errors import DataError

__all__ = ["open_lasot", "open_lasot_ext"]

_PARTS: Final = ("test", "train", "ext")
_LEVEL: Final = "LaSOTBenchmark"


def open_lasot(root: Path, *, split: str = "test", present: str = "all") -> VideoDataset:
    """Return videos of LaSOT.

    Args:
        root: the folder that holds the classes, or the folder ``LaSOTBenchmark`` around them; or an LMDB.
        split: ``test``, the 280 of the official protocol II; ``train``, the other 1120; ``all``, sorted by name.
        present: ``all`` expects every video of the list; ``only`` leaves out those without a folder.

    Raises:
        ConfigError: an option has an unknown value.
        DataError: `root` holds no class of LaSOT.
    """
    check_option("lasot", "split", split, ("test", "train", "all"))
    if split == "all":
        return _open(root, "lasot", split, tuple(sorted([*_attributes("test"), *_attributes("train")])), present)
    return _open(root, "lasot", split, tuple(_attributes(split)), present)


def open_lasot_ext(root: Path, *, present: str = "all") -> VideoDataset:
    """Return the videos of LaSOT_ext.

    Args:
        root: the folder that holds the classes, or an LMDB.
        present: ``all`` expects every video of the list; ``only`` leaves out those without a folder.

    Raises:
        ConfigError: `present` has an unknown value.
        DataError: `root` holds no class of LaSOT_ext.
    """
    return _open(root, "lasot_ext", "", tuple(_attributes("ext")), present)


@functools.cache
def _attributes(part: str) -> Mapping[str, tuple[str, ...]]:
    """Return the attributes of each video of a part, in the official order."""
    rows = [line.split() for line in read_table(f"lasot_{part}.txt")]
    return {name: tuple(attributes) for name, *attributes in rows}


def _open(root: Path, dataset: str, split: str, names: tuple[str, ...], present: str) -> VideoDataset:
    check_option(dataset, "present", present, ("all", "only"))
    files = open_files(root)
    prefix = f"{_LEVEL}/" if files.exists(_LEVEL) else ""
    classes = dict.fromkeys(map(_class_of, names))
    if not any(files.exists(prefix + name) for name in classes):
        raise DataError(
            f"{files.place(prefix)} holds no class of {dataset}; expected folders such as {next(iter(classes))!r}. "
            "Check the path."
        )
    if present == "only":
        found = find_present(files, [_folder_of(prefix, name) for name in names])
        names = tuple(name for name in names if _folder_of(prefix, name) in found)
    if not names:
        raise DataError(f"{files.place(prefix)} holds none of the videos of {dataset} {split}. Check the path.")
    return VideoDataset(dataset, split, names, _Reader(files, prefix, names))


@dataclass(frozen=True)
class _Reader:
    """Reads the video of an index."""

    files: Files
    prefix: str
    names: tuple[str, ...]

    def __call__(self, index: int) -> Video:
        files, name, folder = self.files, self.names[index], _folder_of(self.prefix, self.names[index])
        boxes = read_finite_boxes(files, f"{folder}/groundtruth.txt")
        labels = {
            label: read_flags(files, f"{folder}/{label}.txt", len(boxes)) for label in ("full_occlusion", "out_of_view")
        }
        return Video(
            name=name,
            boxes_xywh_px=boxes,
            visible=np.equal(labels["full_occlusion"], 0) & np.equal(labels["out_of_view"], 0),
            size_px=None,
            read_frame=open_frames(files, NumberedPaths(f"{folder}/img", 1, len(boxes), 8)),
            labels=labels,
            attributes=next(part[name] for part in map(_attributes, _PARTS) if name in part),
            about={"object_class": _class_of(name), **_read_language(files, f"{folder}/nlp.txt")},
        )


def _class_of(name: str) -> str:
    return name.rpartition("-")[0]


def _folder_of(prefix: str, name: str) -> str:
    return f"{prefix}{_class_of(name)}/{name}"


def _read_language(files: Files, path: str) -> dict[str, str]:
    words = read_text(files, path).strip() if files.exists(path) else ""
    return {"language": words} if words else {}
