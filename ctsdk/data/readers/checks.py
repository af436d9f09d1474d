"""Checks that several readers share: of options, folders, boxes and the number of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctsdk.data.readers.files import Files, find_present
from ctsdk.data.readers.text import read_boxes
from ctsdk.data.videos import Floats
from ctsdk.errors import ConfigError, DataError

__all__ = ["are_present", "check_option", "check_row_count", "read_finite_boxes"]


def check_option(dataset: str, option: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse an unknown value of an option of an opener.

    Raises:
        ConfigError: `value` is not allowed.
    """
    if value not in allowed:
        raise ConfigError(f"data set {dataset}: {option} is {value!r}; expected {' or '.join(map(repr, allowed))}.")


def are_present(dataset: str, files: Files, folders: Sequence[str], present: str) -> list[bool]:
    """Return which videos of a list to take, by the option ``present`` of an opener.

    Args:
        dataset: its name, for messages.
        files: of the data set.
        folders: of the videos.
        present: ``all`` takes every video; ``only`` takes those whose folder exists.

    Raises:
        ConfigError: `present` is neither.
        DataError: none of the folders exists.
    """
    check_option(dataset, "present", present, ("all", "only"))
    if present == "all":
        return [True] * len(folders)
    found = find_present(files, folders)
    if not found:
        raise DataError(
            f"{files.place('')} holds no video of {dataset}; expected folders such as {folders[0]!r}. Check the path."
        )
    return [folder in found for folder in folders]


def read_finite_boxes(files: Files, path: str) -> Floats:
    """Return (N, 4) numbers of a data set that never writes NaN, as :func:`~ctsdk.data.readers.text.read_boxes`.

    Raises:
        DataError: the file is missing or empty, or a line holds anything but four finite numbers.
    """
    boxes = read_boxes(files, path)
    if np.isnan(boxes).any():
        row = int(np.isnan(boxes).any(axis=1).argmax())
        raise DataError(
            f"{files.place(path)}, line {row + 1}: {boxes[row].tolist()}; expected four finite numbers, as this "
            "data set gives a box in every frame. Copy the file again."
        )
    return boxes


def check_row_count(files: Files, path: str, num_rows: int, frames: Sequence[str]) -> None:
    """Refuse an annotation that does not have one row per frame.

    Args:
        files: of the data set.
        path: of the annotation.
        num_rows: number of its rows.
        frames: paths of the frames.

    Raises:
        DataError: the numbers differ.
    """
    if num_rows != len(frames):
        raise DataError(
            f"{files.place(path)} has {num_rows} rows; expected {len(frames)}, one for each frame from {frames[0]} to "
            f"{frames[-1]}. Copy the annotations again, all of one release."
        )
