"""A video of 20 frames in integer arithmetic, so that every machine draws the same bytes.

A textured rectangle with a frame drifts to the right and down over a still texture, grows, brightens, and leaves the
image at the end. The figures of ``tracking.json`` were recorded on it.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

NUM_FRAMES = 20
SIZE_PX = (320, 240)

_ROUNDS = ((13, 1274126177), (16, 2654435761))


def true_box_xywh_px(number: int) -> tuple[int, int, int, int]:
    left, top = 96 + 9 * number + number**2 // 12, 84 + 5 * number - 3 * (number % 3)
    return (left, top, 44 + number // 2, 56 + number // 3)


def frame(number: int) -> NDArray[np.uint8]:
    image = _background().copy()
    left, top, width, height = true_box_xywh_px(number)
    target = np.stack([(3 * _noise(width, height, 9, 31 + i) + 60 + 50 * i + 2 * number) // 4 for i in range(3)], -1)
    target[[0, 1, -2, -1]] = 230
    target[:, [0, 1, -2, -1]] = 20
    part = image[top : top + height, left : left + width]
    part[:] = target[: part.shape[0], : part.shape[1]]
    return image.clip(0, 255).astype(np.uint8)


@functools.cache
def _background() -> NDArray[np.int64]:
    coarse_and_fine = ((_noise(*SIZE_PX, 24, 11 + i), _noise(*SIZE_PX, 5, 21 + i)) for i in range(3))
    return np.stack([(coarse + fine) // 2 for coarse, fine in coarse_and_fine], axis=-1)


def _noise(width: int, height: int, cell: int, salt: int) -> NDArray[np.int64]:
    """(height, width) in [0, 255]: a hashed value at each corner of a lattice, and straight lines between them."""
    corners = _hashed(np.arange(width // cell + 2), np.arange(height // cell + 2), salt) % 256
    (row, down), (column, right) = np.divmod(np.arange(height), cell), np.divmod(np.arange(width), cell)
    lines = corners[:, column] * (cell - right) + corners[:, column + 1] * right
    return (lines[row] * (cell - down)[:, None] + lines[row + 1] * down[:, None]) // cell**2


def _hashed(columns: NDArray[np.int64], rows: NDArray[np.int64], salt: int) -> NDArray[np.int64]:
    """(rows, columns) int64, a hash of column, row and salt in 32 bits."""
    low = np.uint64(2**32 - 1)
    value = rows[:, None].astype(np.uint64) * np.uint64(374761393) + columns.astype(np.uint64) * np.uint64(668265263)
    value = (value + np.uint64(salt * 2246822519 % 2**32)) & low
    for shift, factor in _ROUNDS:
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor) & low
    return (value ^ (value >> np.uint64(15))).astype(np.int64)
