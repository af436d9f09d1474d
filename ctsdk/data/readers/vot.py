"""VOT short-term, as plain videos: the frames are played from the first to the last, without the restarts of VOT.

::

    list.txt                      the names of the videos, one per line
    <video>/sequence              what the videos are, a line per property; channels.color=color/%08d.jpg is used
    <video>/color/00000001.jpg    the frames
    <video>/groundtruth.txt       a region per frame
    <video>/<name>.tag or .label  0 or 1 per frame; missing lines at the end are 0

A region is a rectangle (x,y,w,h), a polygon (x1,y1,x2,y2 and so on, at least three corners), a mask (m followed by
x0,y0,w,h and the lengths of runs, row by row, zeros first), or nothing: a single number, or a NaN among the numbers. A
mask becomes the rectangle around its pixels. Where there is no region the box is NaN and the target not visible.

Scores of VOT itself (accuracy, robustness, EAO) come from the vot toolkit alone.

Source: votchallenge/toolkit @ 56f0053, vot/region/io.py and vot/dataset/common.py (formats); got-10k/toolkit @ 956e728,
got10k/datasets/vot.py and visionml/pytracking @ 7eb9e74, pytracking/evaluation/votdataset.py (polygons to rectangles).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.checks import are_present, check_option
from ctsdk.data.readers.files import Files
from ctsdk.data.readers.frames import open_frames
from ctsdk.data.readers.lmdb_files import open_files
from ctsdk.data.readers.text import LARGEST_PX, read_lines
from ctsdk.data.videos import Floats, Video
from ctsdk.errors import DataError

__all__ = ["open_vot"]

_POLYGONS: Final = ("bounds", "area")
_SEPARATORS: Final = re.compile(r"\s*,\s*|\s+")
# A field width of at most one digit.
_NUMBER: Final = re.compile(r"%(0?\d?)d")
_DEFAULT_PATTERN: Final = "%08d.jpg"

_Number = TypeVar("_Number", int, float)
_Box: TypeAlias = tuple[float, float, float, float]
_NO_BOX: Final[_Box] = (math.nan, math.nan, math.nan, math.nan)


def open_vot(root: Path, *, polygon: str = "bounds", present: str = "all") -> VideoDataset:
    """Return the videos of a VOT short-term challenge, in the order of its ``list.txt``.

    Args:
        root: the folder that holds ``list.txt``; in a workspace of the vot toolkit it is called ``sequences``.
        polygon: how a polygon becomes a rectangle. ``bounds``: the smallest one around it, as in pytracking and the
            OSTrack family. ``area``: around the mean of the corners, in the proportions of ``bounds`` but with the
            area of the polygon, one pixel added to each side, as in the GOT-10k toolkit; for four corners only.
        present: ``all`` expects every video of the list; ``only`` leaves out those without a folder.

    Raises:
        ConfigError: an option has an unknown value.
        DataError: there is no list, or it is empty.
    """
    check_option("vot", "polygon", polygon, _POLYGONS)
    files = open_files(root)
    if not files.exists("list.txt"):
        raise DataError(
            f"{files.place('list.txt')} does not exist; expected the names of the videos in it. Give the folder that "
            "holds list.txt, which is called sequences in a workspace of the vot toolkit."
        )
    names = tuple(line.strip() for line in read_lines(files, "list.txt") if line.strip())
    if not names:
        raise DataError(f"{files.place('list.txt')} is empty; expected the names of the videos. Copy it again.")
    names = tuple(compress(names, are_present("vot", files, names, present)))
    return VideoDataset("vot", "", names, _Reader(files, names, polygon))


@dataclass(frozen=True)
class _Reader:
    """Reads the video of an index."""

    files: Files
    names: tuple[str, ...]
    polygon: str

    def __call__(self, index: int) -> Video:
        name = self.names[index]
        boxes = _read_regions(self.files, f"{name}/groundtruth.txt", self.polygon)
        before, digits, after = _read_pattern(self.files, name)
        *frames, beyond = [f"{name}/{before}{number:{digits}d}{after}" for number in range(1, len(boxes) + 2)]
        if self.files.exists(beyond):
            raise DataError(
                f"{self.files.place(f'{name}/groundtruth.txt')} has {len(boxes)} rows, but there is a frame {beyond}; "
                "expected a row for every frame. Copy the annotations again."
            )
        return Video(
            name=name,
            boxes_xywh_px=boxes,
            visible=np.asarray(np.isfinite(boxes).all(axis=1), dtype=np.bool_),
            size_px=None,
            read_frame=open_frames(self.files, frames),
            labels=_read_tags(self.files, name, len(boxes)),
        )


def _read_regions(files: Files, path: str, polygon: str) -> Floats:
    """Return (N, 4), a rectangle or NaN for each line."""
    boxes = []
    for number, line in enumerate(read_lines(files, path), start=1):
        text = line.strip()
        try:
            boxes.append(_mask_box(text[1:]) if text.startswith("m") else _shape_box(text, polygon))
        except ValueError as error:
            raise DataError(
                f"{files.place(path)}, line {number}: {line!r:.200}: {error}. Correct the line, or copy the file again."
            ) from error
    if not boxes:
        raise DataError(f"{files.place(path)} is empty; expected a region per frame. Copy it again.")
    return np.array(boxes, dtype=np.float64)


def _shape_box(text: str, polygon: str) -> _Box:
    numbers = _numbers(text, float)
    is_too_large = any(abs(number) > LARGEST_PX for number in numbers)
    if is_too_large or not (len(numbers) in (1, 4) or (len(numbers) >= 6 and len(numbers) % 2 == 0)):
        raise ValueError("expected x,y,w,h, or the corners of a polygon, or one number for no region")
    if len(numbers) == 1 or any(map(math.isnan, numbers)):
        return _NO_BOX
    if len(numbers) == 4:
        left, top, width, height = numbers
        return left, top, width, height
    corners = np.array(numbers).reshape(-1, 2)
    return _bounds(corners) if polygon == "bounds" else _same_area(corners)


def _numbers(text: str, kind: Callable[[str], _Number]) -> list[_Number]:
    try:
        if "_" in text:
            raise ValueError("Python reads 1_0 as a number")
        return [kind(word) for word in _SEPARATORS.split(text.strip())]
    except ValueError as error:
        raise ValueError("expected numbers separated by commas") from error


def _bounds(corners: Floats) -> _Box:
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return float(left), float(top), float(right - left), float(bottom - top)


def _same_area(corners: Floats) -> _Box:
    if len(corners) != 4:
        raise ValueError("polygon=area takes polygons of four corners; use polygon=bounds")
    centre_x, centre_y = corners.mean(axis=0)
    _, _, width, height = _bounds(corners)
    # The area of a rotated rectangle with these sides.
    area = float(np.linalg.norm(corners[0] - corners[1]) * np.linalg.norm(corners[1] - corners[2]))
    if width * height == 0:
        raise ValueError("expected a polygon with an area")
    scale = math.sqrt(area / (width * height))
    width, height = scale * width + 1, scale * height + 1
    return float(centre_x) - width / 2, float(centre_y) - height / 2, width, height


def _mask_box(text: str) -> _Box:
    numbers = _numbers(text, int)
    if len(numbers) < 4:
        raise ValueError("expected m followed by x0,y0,w,h and runs")
    left, top, width, height, *runs = numbers
    if max(map(abs, numbers)) > LARGEST_PX or min(width, height, *runs, 0) < 0 or sum(runs) > width * height:
        raise ValueError(f"expected runs of a mask of {width} x {height} pixels")
    # The mask itself is never made, because a few digits can ask for any size.
    bounds = [_run_bounds(end - run, end, width) for run, end in _runs_inside(runs)]
    if not bounds:
        return _NO_BOX
    columns, rows, last_columns, last_rows = zip(*bounds, strict=True)
    first_column, first_row = min(columns), min(rows)
    size = max(last_columns) - first_column + 1, max(last_rows) - first_row + 1
    return float(left + first_column), float(top + first_row), float(size[0]), float(size[1])


def _runs_inside(runs: Sequence[int]) -> list[tuple[int, int]]:
    """Return the length and the end of each run of pixels that are inside: every second one, where it has any."""
    return [(run, end) for run, end in zip(runs[1::2], list(accumulate(runs))[1::2], strict=True) if run]


def _run_bounds(start: int, end: int, width: int) -> tuple[int, int, int, int]:
    """Return the first column and row, and the last ones, of the pixels from `start` up to `end`, row by row."""
    (row, column), (last_row, last_column) = divmod(start, width), divmod(end - 1, width)
    # A run that continues in the next row touches both edges.
    return (column, row, last_column, last_row) if row == last_row else (0, row, width - 1, last_row)


def _read_pattern(files: Files, name: str) -> tuple[str, str, str]:
    """Return the path of a frame in parts: the text before its number, the digits of the number, the text after it."""
    path = f"{name}/sequence"
    pattern = f"color/{_DEFAULT_PATTERN}"
    for line in read_lines(files, path) if files.exists(path) else []:
        key, _, value = line.partition("=")
        if key.strip() == "channels.color":
            pattern = value.strip().replace("\\", "/")
    if "%" not in pattern:
        pattern = f"{pattern.rstrip('/')}/{_DEFAULT_PATTERN}"
    parts = _NUMBER.split(pattern)
    if len(parts) != 3 or "%" in parts[0] + parts[2]:
        raise DataError(
            f"{files.place(path)} says channels.color={pattern}; expected a path with one number in it, such as "
            f"color/{_DEFAULT_PATTERN}. Correct the file."
        )
    before, digits, after = parts
    return before, digits, after


def _read_tags(files: Files, name: str, num_frames: int) -> dict[str, NDArray[np.int64]]:
    """Return (N,) zeros and ones for each file of tags, by its name."""
    labels = {}
    for file in files.names(name):
        stem, _, suffix = file.rpartition(".")
        if suffix in ("tag", "label"):
            labels[stem] = _read_tag(files, f"{name}/{file}", num_frames)
    return labels


def _read_tag(files: Files, path: str, num_frames: int) -> NDArray[np.int64]:
    lines = [line.strip() for line in read_lines(files, path)]
    for number, line in enumerate(lines, start=1):
        if line not in ("0", "1"):
            raise DataError(f"{files.place(path)}, line {number}: {line!r:.50}; expected 0 or 1. Copy the file again.")
    if len(lines) > num_frames:
        raise DataError(
            f"{files.place(path)} has {len(lines)} lines for {num_frames} frames; expected at most as many. Copy the "
            "annotations again, all of one release."
        )
    tags = np.zeros(num_frames, dtype=np.int64)
    tags[: len(lines)] = [int(line) for line in lines]
    return tags
