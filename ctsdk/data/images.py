"""Image files: their suffixes, their order and their pixels."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Final

import numpy as np

from ctsdk.crops import Pixels, import_cv2
from ctsdk.errors import DataError
from ctsdk.storage.bounded import read_bounded

__all__ = ["IMAGE_SUFFIXES", "decode_image", "natural_order", "read_image"]

_MAX_BYTES: Final = 1 << 30

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Suffixes of the files that count as images, in lower case."""


def natural_order(path: PurePath) -> tuple[list[str | int], str]:
    """Return the sort key for natural order, in which ``2.jpg`` comes before ``10.jpg``."""
    # In every name the even parts are text and the odd parts numbers, so text is never compared with a number.
    parts = re.split(r"([0-9]+)", path.stem.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


def read_image(path: Path) -> Pixels:
    """Return the pixels of an image file, (H, W, 3) uint8 RGB; a grey image has three equal channels.

    Raises:
        DataError: the file cannot be read or decoded, or OpenCV is not installed.
    """
    try:
        # Read here, because OpenCV cannot open every path that Python can, and prints its errors.
        data = read_bounded(path, _MAX_BYTES)
    except OSError as error:
        raise DataError(f"image {path} cannot be read: {error.strerror}. Check the file.") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, place: str) -> Pixels:
    """Return the pixels of an encoded image, (H, W, 3) uint8 RGB; a grey image has three equal channels.

    Args:
        data: the bytes of the file.
        place: where they were read, for messages.

    Raises:
        DataError: they cannot be decoded, or OpenCV is not installed.
    """
    cv2 = import_cv2()
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:  # more pixels than OpenCV takes
        pixels = None
    if pixels is None:
        raise DataError(
            f"{place} ({len(data)} bytes) cannot be decoded as an image; it is damaged, incomplete or of another "
            "kind. Copy it again, or take it out of the folder."
        )
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)
