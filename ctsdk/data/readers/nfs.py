"""NFS, Need for Speed, at 30 frames a second: 100 videos, in either of two layouts.

The layout of the OSTrack family, packed by the authors of pytracking::

    sequences/<video>/00001.jpg    the frames
    anno/nfs_<video>.txt           a row per frame: x, y, w, h, separated by tabs

The official layout, of which the folders ``30`` are read::

    <video>/30/<video>/00001.jpg   the frames
    <video>/30/<video>.txt         a row per frame: id x1 y1 x2 y2 frame lost occluded generated "label"

In the official layout the size of a box is x2 - x1 and y2 - y1. Its rows may be at 240 frames a second; then every
eighth row is taken.

The two layouts have different boxes: those of the first come from result files, and in some videos they are out of step
with the frames.

In either layout, the numbers of rows and frames may differ by one; the extra row or frame is left out, as in the
GOT-10k toolkit. The flags ``lost``, ``occluded`` and ``generated`` of the official layout become labels. As in that
toolkit and in the OSTrack family, they have no influence: every frame counts as visible.

Videos are named as in the result files of the OSTrack family: ``nfs_Gymnastics`` for the video ``Gymnastics``. The only
attribute, OCC, means that the target is occluded in some frames.

Source: botaoye/OSTrack @ 33b5e12, lib/test/evaluation/nfsdataset.py (names, order, frames, classes, occlusion);
got-10k/toolkit @ 956e728, got10k/datasets/nfs.py (the official layout).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.checks import are_present, read_finite_boxes
from ctsdk.data.readers.files import Files
from ctsdk.data.readers.frames import NumberedPaths, list_images, open_frames
from ctsdk.data.readers.lmdb_files import open_files
from ctsdk.data.readers.tables import read_table
from ctsdk.data.readers.text import LARGEST_PX, read_lines
from ctsdk.data.videos import Floats, Video
from ctsdk.errors import DataError

__all__ = ["open_nfs"]

_STEP: Final = 8  # 240 frames a second against 30
_FLAGS: Final = ("lost", "occluded", "generated")

_Annotation: TypeAlias = "tuple[Floats, Mapping[str, NDArray[np.int64]]]"


def open_nfs(root: Path, *, present: str = "all") -> VideoDataset:
    """Return the videos of NFS, in the order of the OSTrack family; the layout of `root` is detected.

    Args:
        root: the folder that holds ``anno`` and ``sequences``, or ``airboard_1`` and so on.
        present: ``all`` expects every video of the list; ``only`` leaves out those without a folder.

    Raises:
        ConfigError: `present` has an unknown value.
        DataError: `root` has neither layout.
    """
    files, videos = open_files(root), _read_videos()
    is_packed = files.exists("anno") and files.exists("sequences")
    if not is_packed and not any(files.exists(f"{video.name}/30") for video in videos):
        raise DataError(
            f"{root} has neither layout of NFS; expected anno/ and sequences/, or folders such as "
            f"{videos[0].name}/30. Give the folder that holds these."
        )
    folders = [f"sequences/{video.name}" if is_packed else video.name for video in videos]
    videos = tuple(compress(videos, are_present("nfs", files, folders, present)))
    read = _Packed(files, videos) if is_packed else _Official(files, videos)
    return VideoDataset("nfs", "", tuple(f"nfs_{video.name}" for video in videos), read)


@dataclass(frozen=True)
class _Video:
    """A row of the table; `num_frames` is that of the first layout."""

    name: str
    num_frames: int
    object_class: str
    attributes: tuple[str, ...]


def _read_videos() -> tuple[_Video, ...]:
    rows = [line.split("\t") for line in read_table("nfs.txt")]
    return tuple(
        _Video(name, int(num_frames), object_class, tuple(attributes))
        for name, num_frames, object_class, *attributes in rows
    )


@dataclass(frozen=True)
class _Packed:
    """Reads the video of an index from the layout of pytracking."""

    files: Files
    videos: tuple[_Video, ...]

    def __call__(self, index: int) -> Video:
        video = self.videos[index]
        truth = f"anno/nfs_{video.name}.txt"
        frames = NumberedPaths(f"sequences/{video.name}", 1, video.num_frames, 5)
        boxes = read_finite_boxes(self.files, truth)
        if abs(len(boxes) - len(frames)) > 1:
            raise DataError(
                f"{self.files.place(truth)} has {len(boxes)} rows for {len(frames)} frames; expected one a frame, or "
                "one more or less. Copy the annotations again, all of one release."
            )
        return _make_video(self.files, video, frames, (boxes, {}))


@dataclass(frozen=True)
class _Official:
    """Reads the video of an index from the official layout."""

    files: Files
    videos: tuple[_Video, ...]

    def __call__(self, index: int) -> Video:
        video = self.videos[index]
        folder, truth = f"{video.name}/30/{video.name}", f"{video.name}/30/{video.name}.txt"
        images = list_images(self.files, folder)
        rows = _read_rows(self.files, truth)
        if abs(len(rows) / len(images) - _STEP) < 1 and abs(len(rows) - len(images)) > 1:
            rows = rows[::_STEP]
        if abs(len(rows) - len(images)) > 1:
            raise DataError(
                f"{self.files.place(truth)} has {len(rows)} rows for the {len(images)} images of "
                f"{self.files.place(folder)}; expected as many or {_STEP} times as many, or one more or less. Check "
                "that both are complete."
            )
        boxes = np.concatenate([rows[:, 1:3], rows[:, 3:5] - rows[:, 1:3]], axis=1)
        labels = {name: rows[:, 6 + number].astype(np.int64) for number, name in enumerate(_FLAGS)}
        return _make_video(self.files, video, images, (boxes, labels))


def _make_video(files: Files, video: _Video, frames: Sequence[str], annotation: _Annotation) -> Video:
    boxes, labels = annotation
    num_frames = min(len(boxes), len(frames))
    return Video(
        name=f"nfs_{video.name}",
        boxes_xywh_px=boxes[:num_frames],
        visible=np.ones(num_frames, dtype=np.bool_),
        size_px=None,
        read_frame=open_frames(files, frames[:num_frames]),
        labels={name: values[:num_frames] for name, values in labels.items()},
        attributes=video.attributes,
        about={"object_class": video.object_class},
    )


def _read_rows(files: Files, path: str) -> Floats:
    """Return (N, 9), the numbers before the label of each line; the last three are 0 or 1."""
    rows = []
    for number, line in enumerate(read_lines(files, path), start=1):
        try:
            words = line.split(maxsplit=9)[:9]
            row = [] if "_" in "".join(words) else [float(word) for word in words]
        except ValueError:
            row = []
        if len(row) != 9 or not np.abs(row).max() <= LARGEST_PX or not set(row[6:]) <= {0, 1}:
            raise DataError(
                f"{files.place(path)}, line {number}: {line!r:.200}; expected id x1 y1 x2 y2 frame lost occluded "
                'generated "label", separated by blanks. Correct the line, or copy the file again.'
            )
        rows.append(row)
    if not rows:
        raise DataError(f"{files.place(path)} is empty; expected a row per frame. Copy it again.")
    return np.array(rows, dtype=np.float64)
