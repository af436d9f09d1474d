"""A video of 12 frames in integer arithmetic, so that every machine draws the same bytes.

A textured rectangle moves to the right over a background that scrolls by two pixels a frame; it grows, changes its
brightness in a cycle of four, and crosses the right border at the end. ``tracking.json`` was recorded on it.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

NUM_FRAMES = 12
SIZE_PX = (320, 240)

# Two hashes, of the column, the row and a salt: of cells of one colour, and of pixels.
_OF_CELLS = (7919, 104_729, 1_299_709)
_OF_PIXELS = (15_485_863, 32_452_843, 49_979_687)


def true_box_xywh_px(number: int) -> tuple[int, int, int, int]:
    left, top = 70 + 19 * number + 2 * (number % 2), 90 - 4 * number + 3 * number**2 // 4
    return left, top, 48 + number, 36 + 2 * number // 3


def frame(number: int) -> NDArray[np.uint8]:
    image = _background()[:, 2 * number :][:, : SIZE_PX[0]].copy()
    left, top, width, height = true_box_xywh_px(number)
    target = _textured(width, height, seed=11, cell=9, darkest=110, brightest=250) * (16 - number % 4) // 16
    part = image[top : top + height, left : left + width]
    part[:] = target[: part.shape[0], : part.shape[1]]
    return image.astype(np.uint8)


@functools.cache
def _background() -> NDArray[np.int64]:
    return _textured(SIZE_PX[0] + 2 * NUM_FRAMES, SIZE_PX[1], seed=5, cell=24, darkest=20, brightest=140)


def _textured(width: int, height: int, *, seed: int, cell: int, darkest: int, brightest: int) -> NDArray[np.int64]:
    """(height, width, 3): five parts of coloured cells, two of slopes, one of noise."""
    columns, rows = np.arange(width, dtype=np.int64), np.arange(height, dtype=np.int64)[:, None]
    channels = []
    for salt in (7 * seed + 3 * channel + 1 for channel in range(3)):
        cells = _hashed(columns // cell, rows // cell, salt, _OF_CELLS)
        slopes = ((1 + salt % 3) * columns + (1 + salt % 2) * rows) % 256
        mixed = 5 * cells + 2 * slopes + _hashed(columns, rows, salt, _OF_PIXELS)
        channels.append(darkest + mixed * (brightest - darkest) // 2040)
    return np.stack(channels, axis=-1)


def _hashed(
    columns: NDArray[np.int64], rows: NDArray[np.int64], salt: int, factors: tuple[int, int, int]
) -> NDArray[np.int64]:
    """(height, width) in [0, 255]: the high byte of 32 bits."""
    spread = factors[0] * columns + factors[1] * rows + factors[2] * salt
    # Modulo 2 ** 64 first, which changes nothing modulo 2 ** 32.
    return (spread.astype(np.uint64) * np.uint64(2_654_435_761) % np.uint64(2**32) >> np.uint64(24)).astype(np.int64)
