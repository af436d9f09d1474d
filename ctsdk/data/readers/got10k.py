"""GOT-10k: 9335 videos to train on, 180 to validate, 180 to test.

::

    train/list.txt                    the names of the videos, in order
    train/<video>/00000001.jpg        the frames, from 1
    train/<video>/groundtruth.txt     a row per frame: x,y,w,h, from 0
    train/<video>/absence.label       per frame: 1 where the target is absent
    train/<video>/cover.label         per frame: how much of the target can be seen, from 0 to 8 eighths
    train/<video>/cut_by_image.label  per frame: 1 where the border cuts the target
    train/<video>/meta_info.ini       classes of the target and of its motion, resolution
    val/                              the same
    test/                             list, frames, and a groundtruth.txt of one row: the other boxes are not public

An LMDB holds the same paths. ``cut_by_image.label`` and ``meta_info.ini`` may be missing: they are used neither in
training nor in evaluation. Frames of one video may differ in size (``GOT-10k_Val_000136``), despite its one
``resolution``.

The splits, and their names in the OSTrack family::

    split             videos  what                                                 in its configurations
    train             9335    the official training set, in its own order
    train_full        9335    the same, in that family's order                     GOT10K_train_full
    vottrain          7086    the first 7934 of it, without those not for VOT      GOT10K_vottrain
    votval            1249    the last 1401 of it, without those not for VOT       GOT10K_votval
    pytracking_train  7934    the first 7934 of it                                 (pytracking: train)
    pytracking_val    1401    the last 1401 of it                                  (pytracking: val, ltrval)
    val               180     the official validation set                          GOT10K_official_val
    test              180     the official test set

``vottrain`` and ``votval`` were made to leave out the 1000 videos that VOT excludes from training. But they take the
numbers of these videos, which count from 1, as lines of the list, which count from 0, so 890 of the 1000 are still in
them. They are kept as they are, because published trackers were trained on them.

Source: botaoye/OSTrack @ 33b5e12, lib/train/dataset/got10k.py, lib/train/data_specs,
lib/test/evaluation/got10kdataset.py; got-10k/toolkit @ 956e728, got10k/datasets/got10k.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.checks import check_option, read_finite_boxes
from ctsdk.data.readers.files import Files, Folder, find_present
from ctsdk.data.readers.frames import ImageFiles, NumberedPaths, find_numbered, open_frames
from ctsdk.data.readers.lmdb_files import open_files
from ctsdk.data.readers.tables import read_table
from ctsdk.data.readers.text import read_flags, read_lines
from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError

__all__ = ["open_got10k"]

_FOLDERS: Final = ("train", "val", "test")
_CUTS: Final = ("train_full", "vottrain", "votval", "pytracking_train", "pytracking_val")
# Number of videos in the first part of the family's shuffled list.
_NUM_PYTRACKING_TRAIN: Final = 7934

_META: Final = ("object_class", "motion_class", "major_class", "root_class", "motion_adverb")
_FIRST_META_LINE: Final = 5
_RESOLUTION: Final = re.compile(r"\((\d+),\s*(\d+)\)")


def open_got10k(root: Path, *, split: str = "test", lines: str = "", present: str = "all") -> VideoDataset:
    """Return videos of GOT-10k.

    Args:
        root: the folder that holds ``train``, ``val`` and ``test``, or one of these itself; or an LMDB.
        split: ``train``, ``val``, ``test``, or a cut of the training set, by the table above.
        lines: a file with the numbers of the lines to take from ``list.txt``, counted from 0, in any order; only for
            the splits ``train``, ``val`` and ``test``. Empty for all lines.
        present: ``all`` expects every video of the list; ``only`` leaves out those without a folder.

    Raises:
        ConfigError: an option has an unknown value.
        DataError: there is no list, or it is too short for `lines` or for the split.
    """
    check_option("got10k", "split", split, (*_FOLDERS, *_CUTS))
    check_option("got10k", "present", present, ("all", "only"))
    if lines and split in _CUTS:
        raise ConfigError(f"data set got10k: lines={lines!r} does not go with the cut {split}; expected split=train.")
    files, folder = open_files(root), split if split in _FOLDERS else "train"
    prefix = _find_prefix(files, root, folder)
    names = _read_list(files, f"{prefix}list.txt")
    if split in _CUTS:
        names = _take(names, _cut(split), f"{files.place(prefix + 'list.txt')} for the split {split}")
    if lines:
        names = _take(names, _read_numbers(Path(lines)), f"{files.place(prefix + 'list.txt')} for {lines}")
    if present == "only":
        found = find_present(files, [prefix + name for name in names])
        names = tuple(name for name in names if prefix + name in found)
    if not names:
        raise DataError(f"{files.place(prefix)} holds none of the videos of the split {split}. Check the path.")
    label = f"{split}_{Path(lines).stem}" if lines else split
    return VideoDataset("got10k", label, names, _Reader(files, prefix, names, folder == "test"), "got10k")


@dataclass(frozen=True)
class _Reader:
    """Reads the video of an index."""

    files: Files
    prefix: str
    names: tuple[str, ...]
    is_test: bool

    def __call__(self, index: int) -> Video:
        files, name, folder = self.files, self.names[index], self.prefix + self.names[index]
        boxes = read_finite_boxes(files, f"{folder}/groundtruth.txt")
        if self.is_test:
            frames = find_numbered(files, folder, 1, 8)
            visible = np.ones(len(boxes), dtype=np.bool_)
            return Video(name, boxes, visible, None, ImageFiles(files, frames), len(frames))
        labels = {
            "absence": read_flags(files, f"{folder}/absence.label", len(boxes)),
            "cover": read_flags(files, f"{folder}/cover.label", len(boxes), largest=8),
        }
        if files.exists(f"{folder}/cut_by_image.label"):
            labels["cut_by_image"] = read_flags(files, f"{folder}/cut_by_image.label", len(boxes))
        return Video(
            name=name,
            boxes_xywh_px=boxes,
            visible=np.equal(labels["absence"], 0) & np.greater(labels["cover"], 0),
            size_px=None,
            read_frame=open_frames(files, NumberedPaths(folder, 1, len(boxes), 8)),
            labels=labels,
            about=_read_about(files, f"{folder}/meta_info.ini"),
        )


def _find_prefix(files: Files, root: Path, folder: str) -> str:
    """Return the prefix of the folders of videos: ``train/``, or nothing if `root` is that folder itself."""
    if files.exists(f"{folder}/list.txt"):
        return f"{folder}/"
    if not files.exists("list.txt"):
        raise DataError(
            f"{files.place(f'{folder}/list.txt')} does not exist; expected the folder that holds train, val and test, "
            "each with its list.txt. Check the path."
        )
    if root.absolute().name != folder:
        raise DataError(
            f"{root} holds a list.txt itself, but is not called {folder}, so that it may be another part of the data "
            f"set. Give the folder above, in which it is called {folder}, or choose its split."
        )
    return ""


def _read_list(files: Files, path: str) -> tuple[str, ...]:
    """Return the names of the videos."""
    names = [line.strip() for line in read_lines(files, path)]
    for number, name in enumerate(names, start=1):
        if not name or "/" in name:
            raise DataError(f"{files.place(path)}, line {number}: {name!r:.100}; expected the name of a video.")
    if not names or len(set(names)) < len(names):
        raise DataError(
            f"{files.place(path)} has {len(names)} names, {len(set(names))} of them different; expected each video "
            "once. Copy the list again."
        )
    return tuple(names)


def _cut(split: str) -> list[int]:
    """Return the lines of the training list that a cut takes, in its order."""
    order, left_out = _numbers("got10k_train.txt"), set(_numbers("got10k_not_vot.txt"))
    first, last = order[:_NUM_PYTRACKING_TRAIN], order[_NUM_PYTRACKING_TRAIN:]
    return {
        "train_full": order,
        "vottrain": [line for line in first if line not in left_out],
        "votval": [line for line in last if line not in left_out],
        "pytracking_train": first,
        "pytracking_val": last,
    }[split]


def _numbers(table: str) -> list[int]:
    return [int(word) for line in read_table(table) for word in line.split()]


def _read_numbers(path: Path) -> list[int]:
    """Return the numbers in a file of the user, one per line."""
    files, numbers = Folder(path.parent), []
    for row, line in enumerate(read_lines(files, path.name), start=1):
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", line):
            raise DataError(f"{path}, line {row}: {line!r:.100}; expected the number of a line of list.txt, from 0.")
        numbers.append(int(line))
    if not numbers or len(set(numbers)) < len(numbers):
        raise DataError(
            f"{path} has {len(numbers)} numbers, {len(set(numbers))} of them different; expected each line once."
        )
    return numbers


def _take(names: Sequence[str], lines: Sequence[int], what: str) -> tuple[str, ...]:
    if max(lines) >= len(names):
        raise DataError(
            f"{what}: the list has {len(names)} lines, but line {max(lines)}, counted from 0, is asked for. Use the "
            "whole official list; present=only leaves out the videos that are not there."
        )
    return tuple(names[line] for line in lines)


def _read_about(files: Files, path: str) -> dict[str, str]:
    """Return the values of meta_info.ini by their line numbers, as the reference code reads them."""
    if not files.exists(path):
        return {}
    lines = read_lines(files, path)
    values = [line.partition(":")[2].strip() for line in lines[_FIRST_META_LINE:]]
    resolution = _RESOLUTION.fullmatch(values[len(_META)]) if len(values) > len(_META) else None
    if resolution is None:
        raise DataError(
            f"{files.place(path)} has {len(lines)} lines; expected 11, the last like 'resolution: (1920, 1080)'. "
            "Copy the file again."
        )
    about = {name: value for name, value in zip(_META, values, strict=False) if value}
    return {**about, "resolution": f"{resolution[1]}x{resolution[2]}"}
