"""Numbers in annotation files. Error messages name the file and the line.

The files come from many tools and systems: lines may end in CRLF, the last line may have no end, and the file may begin
with a byte order mark. Numbers are taken as they are; missing or wrong ones are an error and never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctsdk.data.readers.files import Files
from ctsdk.data.videos import Floats
from ctsdk.errors import DataError

__all__ = ["LARGEST_PX", "read_boxes", "read_flags", "read_lines", "read_rows", "read_text"]

LARGEST_PX: Final = 10**9
"""The largest valid coordinate: larger than any image, and small enough for differences and products."""

# Enough for the boxes of hours of video.
_MAX_BYTES: Final = 16 << 20
_SEPARATORS = re.compile(r"\s*,\s*|\s+")


def read_text(files: Files, path: str) -> str:
    """Return the content of a text file, with every line ending as a newline.

    Raises:
        DataError: the file is missing, too long, or no UTF-8 text.
    """
    data = files.read(path, _MAX_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{files.place(path)} is no UTF-8 text: {error}. Copy it again.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(files: Files, path: str) -> list[str]:
    """Return the lines of a text file, without their ends and without empty ones at the end of the file.

    Raises:
        DataError: the file is missing, or no UTF-8 text.
    """
    text = read_text(files, path).rstrip()
    return text.split("\n") if text else []


def read_rows(files: Files, path: str, width: int | None) -> list[list[float]]:
    """Return the numbers of each line; they are separated by a comma, a tab or blanks, and NaN is a number.

    Args:
        files: of the data set.
        path: of the file.
        width: how many numbers each line has; None for as many as the first line.

    Raises:
        DataError: the file is missing or empty, or a line holds something else.
    """
    return _rows(read_lines(files, path), files.place(path), width)


def read_boxes(files: Files, path: str) -> Floats:
    """Return (N, 4) numbers, one line of four each.

    Raises:
        DataError: as :func:`read_rows`; a number beyond :data:`LARGEST_PX` is none.
    """
    lines = read_lines(files, path)
    boxes = _parse_fast(lines)
    if boxes is None:
        boxes = np.array(_rows(lines, files.place(path), 4), dtype=np.float64)
    is_too_large = (np.abs(boxes) > LARGEST_PX).any(axis=1)
    if is_too_large.any():
        line = int(is_too_large.argmax())
        raise DataError(
            f"{files.place(path)}, line {line + 1}: {lines[line]!r:.200}; expected finite numbers, as images have "
            "them. Copy the file again."
        )
    return boxes


def read_flags(files: Files, path: str, num_frames: int, largest: int = 1) -> NDArray[np.int64]:
    """Return (N,) whole numbers, one per line or all in one line, separated by commas, tabs or blanks.

    Raises:
        DataError: the file is missing, their number is not `num_frames`, or one is not in 0..`largest`.
    """
    lines = read_lines(files, path)
    words = _words_of(lines[0]) if len(lines) == 1 else [line.strip() for line in lines]
    allowed = {str(flag): flag for flag in range(largest + 1)}
    try:
        flags = [allowed[word] for word in words]
    except KeyError as error:
        row = next(row for row, word in enumerate(words) if word not in allowed)
        where = f"line 1, number {row + 1}" if len(lines) == 1 else f"line {row + 1}"
        raise DataError(
            f"{files.place(path)}, {where}: {words[row]!r:.50}; expected a whole number from 0 to {largest}. "
            "Copy the file again."
        ) from error
    if len(flags) != num_frames:
        raise DataError(
            f"{files.place(path)} has {len(flags)} flags for {num_frames} boxes; expected one a box. "
            "Copy the annotation files again, all of one release."
        )
    return np.array(flags, dtype=np.int64)


def _words_of(line: str) -> list[str]:
    words = line.rstrip(",").split(",") if "," in line else line.split()
    return [word.strip() for word in words]


def _parse_fast(lines: Sequence[str]) -> Floats | None:
    """Return (N, 4) numbers, or None if the lines must be parsed one by one."""
    if not lines:
        return None
    try:
        rows = np.loadtxt(lines, delimiter="," if "," in lines[0] else None, comments=None, ndmin=2)
    except ValueError:
        return None
    # NumPy skips empty lines, which are an error inside a file.
    return rows if rows.shape == (len(lines), 4) else None


def _rows(lines: Sequence[str], place: str, width: int | None) -> list[list[float]]:
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            # Python accepts 1_0 as a number; no tool writes that.
            row = [float(word) for word in _SEPARATORS.split(line.strip())] if "_" not in line else []
        except ValueError:
            row = []
        if not row or len(row) != (width or len(row)):
            expected = f"{width} " if width else ""
            raise DataError(
                f"{place}, line {number}: {line!r:.200}; expected {expected}numbers separated by commas, tabs or "
                "blanks. Correct the line, or copy the file again."
            )
        rows.append(row)
        width = len(row)
    if not rows:
        raise DataError(f"{place} is empty; expected numbers in its lines. Copy it again.")
    return rows
