"""A video of 12 frames in integer arithmetic, so that every machine draws the same bytes.

A textured rectangle of 56 x 40 px moves by (6, 5) px per frame over a texture that scrolls by one. The golden numbers
in ``tests/golden`` were recorded on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_FRAMES = 12
SIZE_PX = (320, 240)
FIRST_BOX_XYWH_PX = (149.5, 22.25, 57.0, 41.5)

_MULTIPLIERS = (73856093, 19349663, 83492791)
_ROUNDS = ((16, 0x45D9F3B), (15, 0x2C1B3C6D), (16, 0x297A2D39))


def true_box_xywh_px(number: int) -> tuple[float, float, float, float]:
    return (150.0 + 6 * number, 24.0 + 5 * number, 56.0, 40.0)


def frame(number: int) -> NDArray[np.uint8]:
    width, height = SIZE_PX
    image = _textured(np.arange(number, number + width), np.arange(height), 11, 12) // 2 + 20
    left, top, box_width, box_height = (int(value) for value in true_box_xywh_px(number))
    target = _textured(np.arange(box_width), np.arange(box_height), 77, 7) + 60
    image[top : top + box_height, left : left + box_width] = target.clip(max=255)
    return image.astype(np.uint8)


def _textured(columns: NDArray[np.int64], rows: NDArray[np.int64], seed: int, cell: int) -> NDArray[np.int64]:
    """(rows, columns, 3) int64: cells of one colour, and a quarter of noise per pixel."""
    return (3 * _hashed(columns // cell, rows // cell, seed) + _hashed(columns, rows, seed + 1)) // 4


def _hashed(columns: NDArray[np.int64], rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """(rows, columns, 3) int64 in [0, 255], a hash of column, row, channel and seed in 32 bits."""
    low = np.uint64(2**32 - 1)
    parts = (columns[None, :, None], rows[:, None, None], np.arange(3)[None, None, :])
    value = np.full((len(rows), len(columns), 3), seed * 2654435761 % 2**32, dtype=np.uint64)
    for part, factor in zip(parts, _MULTIPLIERS, strict=True):
        value += part.astype(np.uint64) * np.uint64(factor)
    value &= low
    for shift, factor in _ROUNDS:
        value ^= value >> np.uint64(shift)
        value *= np.uint64(factor)
        value &= low
    value >>= np.uint64(11)
    return (value & np.uint64(255)).astype(np.int64)
