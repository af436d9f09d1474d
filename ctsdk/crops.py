"""Square crops around a target, by the conventions of the OSTrack family.

Boxes are (left, top, width, height). Those named ``_px`` are pixels of the frame; pixel ``i`` covers ``[i, i + 1)``.

Source: botaoye/OSTrack @ 33b5e12, lib/train/data/processing_utils.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ctsdk.errors import DataError

__all__ = [
    "Crop",
    "Pixels",
    "box_in_crop",
    "check_box_in_frame",
    "check_frame",
    "crop_square",
    "crop_window",
    "import_cv2",
    "normalise",
    "padding_mask",
]

Pixels: TypeAlias = NDArray[np.uint8]
"""An image: (H, W, 3), RGB."""


def import_cv2() -> ModuleType:
    """Return the module ``cv2``.

    Raises:
        DataError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise DataError(
            f"reading and cropping images needs OpenCV, which does not import here ({error}). "
            "Install it: pip install 'ctsdk[ostrack]'"
        ) from error
    return cv2


@dataclass(frozen=True)
class Crop:
    """A square cut out of a frame.

    Attributes:
        pixels: (size, size, 3) uint8 RGB; black where the square leaves the frame.
        resize_factor: pixels of the crop per pixel of the frame.
        side: side of the square in the frame, px.
        left: first column of the square in the frame, px; may be negative.
        top: first row of the square in the frame, px; may be negative.
        frame_size_px: (width, height) of the frame.
    """

    pixels: Pixels
    resize_factor: float
    side: int
    left: int
    top: int
    frame_size_px: tuple[int, int]

    @property
    def padding(self) -> NDArray[np.bool_]:
        """(size, size), True where a pixel holds some padding."""
        return padding_mask(self.left, self.top, self.side, self.frame_size_px, len(self.pixels))


def crop_window(box_xywh_px: Sequence[float], factor: float) -> tuple[int, int, int]:
    """Return (left, top, side) of the square around a box, in pixels of the frame.

    Args:
        box_xywh_px: the box in the middle of the square.
        factor: side of the square in units of sqrt(width * height).

    Raises:
        DataError: the box is not four finite numbers, or the square is smaller than a pixel.
    """
    x, y, width, height = _four_numbers(box_xywh_px)
    area = width * height
    side = math.ceil(math.sqrt(area) * factor) if min(width, height) > 0 else 0
    if side < 1:
        raise DataError(
            f"the square around box {(x, y, width, height)} at factor {factor} has a side of {side} px; expected at "
            "least 1. Check that the box is (left, top, width, height) in pixels, and skip frames without a target."
        )
    # Python's round, half to even, as in the official code: another rounding would move labels by a pixel.
    return round(x + 0.5 * width - 0.5 * side), round(y + 0.5 * height - 0.5 * side), side


def crop_square(frame: Pixels, box_xywh_px: Sequence[float], factor: float, size: int) -> Crop:
    """Cut the square around a box and resize it.

    A square that reaches the right or bottom border loses the last column or row of the frame to padding, as it does
    in every tracker of the family.

    Args:
        frame: (H, W, 3) uint8 RGB.
        box_xywh_px: the box in the middle of the square.
        factor: side of the square in units of sqrt(width * height).
        size: side of the crop, px.

    Raises:
        DataError: the square is smaller than a pixel.
    """
    cv2 = import_cv2()
    left, top, side = crop_window(box_xywh_px, factor)
    frame_size_px = (frame.shape[1], frame.shape[0])
    (start_x, stop_x), (start_y, stop_y) = _inside(left, side, frame_size_px[0]), _inside(top, side, frame_size_px[1])
    if start_x >= stop_x or start_y >= stop_y:
        pixels = np.zeros((size, size, 3), dtype=np.uint8)
    else:
        square = frame[top + start_y : top + stop_y, left + start_x : left + stop_x]
        if (start_x, start_y, stop_x, stop_y) != (0, 0, side, side):
            square = cv2.copyMakeBorder(
                square, start_y, side - stop_y, start_x, side - stop_x, cv2.BORDER_CONSTANT, value=(0, 0, 0)
            )
        pixels = cv2.resize(np.ascontiguousarray(square), (size, size), interpolation=cv2.INTER_LINEAR)
    return Crop(pixels, size / side, side, left, top, frame_size_px)


def padding_mask(left: int, top: int, side: int, frame_size_px: tuple[int, int], size: int) -> NDArray[np.bool_]:
    """Return (size, size), True where a pixel of the resized square holds some padding."""
    columns = _padding_along_axis(left, side, frame_size_px[0], size)
    rows = _padding_along_axis(top, side, frame_size_px[1], size)
    return rows[:, None] | columns[None, :]


def box_in_crop(
    box_xywh_px: Sequence[float], around_xywh_px: Sequence[float], factor: float, size: int
) -> tuple[float, float, float, float]:
    """Return where a box lies in the crop around another box, in the convention of training labels.

    Args:
        box_xywh_px: the box.
        around_xywh_px: the box that the crop was cut around.
        factor: as for the crop.
        size: side of the crop, px.

    Returns:
        xywh in shares of the crop, not clipped. The centre of the crop counts as (size - 1) / 2 pixels, half a pixel
        less than in decoding: the released trackers were trained so.

    Raises:
        DataError: a box is not four finite numbers, or the square is smaller than a pixel.
    """
    x, y, width, height = _four_numbers(box_xywh_px)
    around_x, around_y, around_width, around_height = _four_numbers(around_xywh_px)
    scale = size / crop_window(around_xywh_px, factor)[2]
    centre_x = 0.5 * (size - 1) + (x + 0.5 * width - around_x - 0.5 * around_width) * scale
    centre_y = 0.5 * (size - 1) + (y + 0.5 * height - around_y - 0.5 * around_height) * scale
    width, height = width * scale, height * scale
    return (centre_x - 0.5 * width) / size, (centre_y - 0.5 * height) / size, width / size, height / size


def normalise(pixels: Pixels, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Return normalised pixels, as a tracker takes them.

    Args:
        pixels: (..., H, W, 3) uint8 RGB.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].

    Returns:
        (..., 3, H, W) float32.
    """
    # A copy, because torch warns about arrays that cannot be written to.
    shares = torch.from_numpy(np.array(np.moveaxis(pixels, -1, -3), order="C")).float().div_(255.0)
    return shares.sub_(torch.tensor(mean).view(3, 1, 1)).div_(torch.tensor(std).view(3, 1, 1))


def check_frame(frame: object) -> None:
    """Check that a frame is an RGB image.

    Raises:
        DataError: it is not an (H, W, 3) uint8 array.
    """
    if isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3:
        height, width, channels = frame.shape
        if height and width and channels == 3:
            return
    seen = f"shape {frame.shape} of {frame.dtype}" if isinstance(frame, np.ndarray) else f"a {type(frame).__name__}"
    raise DataError(
        f"a frame is {seen}; expected a NumPy array of shape (height, width, 3), uint8, RGB. "
        "Turn tensors into arrays with .numpy(), and put the colours last."
    )


def check_box_in_frame(box_xywh_px: Sequence[float], frame: Pixels) -> None:
    """Check that a box is valid and at least partly inside the frame.

    Raises:
        DataError: it is not four finite numbers, has no area, or lies outside the frame.
    """
    x, y, width, height = _four_numbers(box_xywh_px)
    frame_height, frame_width = frame.shape[:2]
    if min(width, height) <= 0 or x >= frame_width or y >= frame_height or x + width <= 0 or y + height <= 0:
        raise DataError(
            f"box {(x, y, width, height)} has no area inside the frame of {frame_width} x {frame_height} px; expected "
            "(left, top, width, height) in pixels. A box of (left, top, right, bottom) or of shares must be converted."
        )


def _four_numbers(box: Sequence[float]) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(value) for value in box)
    except (TypeError, ValueError) as error:
        raise DataError(f"a box is {box!r:.200}; expected four numbers (left, top, width, height).") from error
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        raise DataError(f"box {(x, y, width, height)} is not finite; skip frames without a target.")
    return x, y, width, height


def _inside(start: int, side: int, length: int) -> tuple[int, int]:
    """Return the part of a square that is not padding along one axis, counted from the square's start."""
    # The + 1 is that of the official code: a square that just reaches the border gets one column or row of padding.
    return max(0, -start), side - max(start + side - length + 1, 0)


def _padding_along_axis(start: int, side: int, length: int, size: int) -> NDArray[np.bool_]:
    """Return (size,), True where the resized square holds padding along one axis."""
    first, stop = _inside(start, side, length)
    if (first, stop) == (0, side):
        return np.zeros(size, dtype=np.bool_)
    padded = np.ones((1, side))
    padded[0, first : max(first, stop)] = 0.0
    resized = import_cv2().resize(padded, (size, 1))[0]
    return np.asarray(resized > 0.0, dtype=np.bool_)
