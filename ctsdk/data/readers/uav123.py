"""UAV123 and UAV20L: 123 short and 20 long videos from drones, which share their frames.

::

    data_seq/UAV123/<folder>/000001.jpg    the frames; up to five videos of UAV123 lie in one folder
    anno/UAV123/<annotation>.txt           a row per frame: x,y,w,h; NaN,NaN,NaN,NaN where the target is absent
    anno/UAV20L/<annotation>.txt           the same, for UAV20L

The data set does not say which frames belong to which annotation; a table that comes with ctsdk does.

Videos of UAV123 are named as in the result files of the OSTrack family: ``uav_bike1`` for the annotation ``bike1``.
That family does not use UAV20L; its videos are named like their annotations, as in the GOT-10k toolkit.

Source: botaoye/OSTrack @ 33b5e12, lib/test/evaluation/uavdataset.py (UAV123: frames, names, order, classes);
visionml/pytracking @ 7eb9e74, pytracking/evaluation/dataset_attribute_specs/UAV123_attributes.json (attributes);
got-10k/toolkit @ 956e728, got10k/datasets/uav123.json (UAV20L; it agrees on UAV123).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.checks import are_present, check_option, check_row_count
from ctsdk.data.readers.files import Files
from ctsdk.data.readers.frames import NumberedPaths, open_frames
from ctsdk.data.readers.lmdb_files import open_files
from ctsdk.data.readers.tables import read_table
from ctsdk.data.readers.text import read_boxes
from ctsdk.data.videos import Floats, Video
from ctsdk.errors import DataError

__all__ = ["open_uav123"]

_PREFIXES: Final = {"UAV123": "uav_", "UAV20L": ""}


def open_uav123(root: Path, *, split: str = "UAV123", present: str = "all") -> VideoDataset:
    """Return the videos of UAV123 or UAV20L, in the order of the tools named above.

    Args:
        root: the folder that holds ``anno`` and ``data_seq``.
        split: ``UAV123`` or ``UAV20L``.
        present: ``all`` expects every video of the list; ``only`` leaves out those without a folder.

    Raises:
        ConfigError: an option has an unknown value.
        DataError: `root` holds no such annotations.
    """
    check_option("uav123", "split", split, tuple(_PREFIXES))
    files = open_files(root)
    if not files.exists(f"anno/{split}"):
        raise DataError(
            f"{files.place(f'anno/{split}')} does not exist; expected the folder that holds anno/{split} and "
            "data_seq/UAV123. Give that folder."
        )
    videos = _read_videos(split)
    videos = tuple(compress(videos, are_present("uav123", files, [video.folder for video in videos], present)))
    return VideoDataset("uav123", split, tuple(video.name for video in videos), _Reader(files, videos))


@dataclass(frozen=True)
class _Video:
    """A row of the table."""

    name: str
    truth: str
    folder: str
    frames: NumberedPaths
    object_class: str
    attributes: tuple[str, ...]


def _read_videos(split: str) -> tuple[_Video, ...]:
    videos = []
    for line in read_table(f"{split.lower()}.txt"):
        annotation, place, first, last, *words = line.split("\t")
        folder = f"data_seq/UAV123/{place}"
        frames = NumberedPaths(folder, int(first), int(last) - int(first) + 1, 6)
        name, truth = _PREFIXES[split] + annotation, f"anno/{split}/{annotation}.txt"
        # Videos of UAV20L have neither class nor attributes.
        videos.append(_Video(name, truth, folder, frames, "".join(words[:1]), tuple(words[1:])))
    return tuple(videos)


@dataclass(frozen=True)
class _Reader:
    """Reads the video of an index."""

    files: Files
    videos: tuple[_Video, ...]

    def __call__(self, index: int) -> Video:
        video = self.videos[index]
        boxes = read_boxes(self.files, video.truth)
        visible = _visible(boxes, self.files.place(video.truth))
        check_row_count(self.files, video.truth, len(boxes), video.frames)
        return Video(
            name=video.name,
            boxes_xywh_px=boxes,
            visible=visible,
            size_px=None,
            read_frame=open_frames(self.files, video.frames),
            attributes=video.attributes,
            about={"object_class": video.object_class} if video.object_class else {},
        )


def _visible(boxes: Floats, place: str) -> NDArray[np.bool_]:
    """Return (N,), False where a row is NaN; a row with some NaN is refused."""
    is_nan = np.isnan(boxes)
    is_partly = is_nan.any(axis=1) & ~is_nan.all(axis=1)
    if is_partly.any():
        row = int(is_partly.argmax())
        raise DataError(
            f"{place}, line {row + 1}: {boxes[row].tolist()}; expected four finite numbers, or four times NaN where "
            "the target is absent. Copy the file again."
        )
    return np.asarray(~is_nan.any(axis=1), dtype=np.bool_)
