"""Image files: which ones there are, and their pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ctsdk.data.crops import import_cv2
from ctsdk.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["IMAGE_SUFFIXES", "read_image"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""The endings of files that count as images, in lower case."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return the pixels of an image file, (H, W, 3) uint8 RGB; a grey image has three equal channels.

    Raises:
        DataError: the file cannot be read or decoded, or OpenCV is not installed.
    """
    cv2 = import_cv2()
    try:
        # Through bytes, because OpenCV cannot open every path that Python can, and complains on stderr.
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"image {path} cannot be read: {error.strerror}. Check the file.") from error
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if pixels is None:
        raise DataError(
            f"{path} ({len(data)} bytes) cannot be decoded as an image; it is damaged, incomplete or of another "
            "kind. Copy it again, or take it out of the folder."
        )
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)
