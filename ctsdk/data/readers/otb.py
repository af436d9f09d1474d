"""OTB100, also called OTB-2015: 100 targets in 98 folders.

::

    <Folder>/img/0001.jpg              the frames; Board has five digits
    <Folder>/groundtruth_rect.txt      a row per frame: x y w h, separated by commas, tabs or blanks
    <Folder>/groundtruth_rect.<k>.txt  the same, where a folder has several targets

A folder may hold more frames than the target has rows; a table that comes with ctsdk lists the frames of each target.
Jogging and Skating2 have two targets each. Human4 has one, in its second file; its first one is empty.

The data set flags no absent target, so every frame counts as visible.

Source: botaoye/OSTrack @ 33b5e12, lib/test/evaluation/otbdataset.py (frames, names, order, classes);
visionml/pytracking @ 7eb9e74, pytracking/evaluation/dataset_attribute_specs/otb_attributes.json (attributes);
got-10k/toolkit @ 956e728, got10k/datasets/otb.py (its names; the frames are the same, except those left out of Tiger1).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Final

import numpy as np

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.checks import are_present, check_option, check_row_count, read_finite_boxes
from ctsdk.data.readers.files import Files
from ctsdk.data.readers.frames import NumberedPaths, open_frames
from ctsdk.data.readers.lmdb_files import open_files
from ctsdk.data.readers.tables import read_table
from ctsdk.data.videos import Video
from ctsdk.errors import DataError

__all__ = ["open_otb"]

_RULES: Final = ("ostrack", "got10k")


def open_otb(root: Path, *, rules: str = "ostrack", present: str = "all") -> VideoDataset:
    """Return the targets of OTB100, in alphabetical order.

    Args:
        root: the folder that holds ``Basketball``, ``Biker`` and so on.
        rules: ``ostrack``: names such as ``Jogging_1`` and ``Human4_2``, and Tiger1 begins with its sixth frame, as in
            the OSTrack family and in pytracking. ``got10k``: names such as ``Jogging.1`` and ``Human4``, and Tiger1 is
            whole, as in the GOT-10k toolkit.
        present: ``all`` expects every target of the list; ``only`` leaves out those without a folder.

    Raises:
        ConfigError: an option has an unknown value.
        DataError: `root` holds no folder of the data set.
    """
    check_option("otb", "rules", rules, _RULES)
    files, targets = open_files(root), _read_targets(rules)
    if not any(files.exists(f"{target.folder}/img") for target in targets):
        raise DataError(
            f"{root} holds none of the folders of OTB100; expected {targets[0].folder}/img and so on. Give the folder "
            "that holds them."
        )
    targets = tuple(compress(targets, are_present("otb", files, [target.folder for target in targets], present)))
    return VideoDataset("otb", "", tuple(target.name for target in targets), _Reader(files, targets))


@dataclass(frozen=True)
class _Target:
    """A row of the table. The first `num_left_out` frames are not used, although they have boxes."""

    name: str
    folder: str
    truth: str
    frames: NumberedPaths
    num_left_out: int
    object_class: str
    attributes: tuple[str, ...]


def _read_targets(rules: str) -> tuple[_Target, ...]:
    targets = []
    for line in read_table("otb.txt"):
        name, folder, first, last, digits, truth, num_left_out, object_class, *words = line.split("\t")
        frames = NumberedPaths(f"{folder}/img", int(first), int(last) - int(first) + 1, int(digits))
        truth = f"{folder}/{truth}"
        targets.append(_Target(name, folder, truth, frames, int(num_left_out), object_class, tuple(words)))
    if rules == "ostrack":
        return tuple(targets)
    num_targets = Counter(target.folder for target in targets)
    return tuple(
        replace(
            target,
            name=target.name.replace("_", ".") if num_targets[target.folder] > 1 else target.folder,
            num_left_out=0,
        )
        for target in targets
    )


@dataclass(frozen=True)
class _Reader:
    """Reads the video of an index."""

    files: Files
    targets: tuple[_Target, ...]

    def __call__(self, index: int) -> Video:
        target = self.targets[index]
        boxes = read_finite_boxes(self.files, target.truth)
        check_row_count(self.files, target.truth, len(boxes), target.frames)
        shown = slice(target.num_left_out, None)
        return Video(
            name=target.name,
            boxes_xywh_px=boxes[shown],
            visible=np.ones(len(boxes[shown]), dtype=np.bool_),
            size_px=None,
            read_frame=open_frames(self.files, target.frames[shown]),
            attributes=target.attributes,
            about={"object_class": target.object_class},
        )
