"""Cut-outs: pieces of photographs that move over the background of a synthetic video."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctsdk.crops import Pixels, import_cv2
from ctsdk.data.synthetic.motion import Sprite, SyntheticConfig
from ctsdk.data.videos import Floats

__all__ = ["CutOut", "draw_colours", "make_patch", "paint"]

_MIN_CONTRAST = 22.0
_PATCH_MARGIN_PX = 2
_TRIES = 6


@dataclass(frozen=True, eq=False)
class CutOut:
    """A sprite that shows a piece of a photograph.

    Attributes:
        image: index of the photograph.
        seed: of the choice of the piece.
        sprite: outline and poses.
    """

    image: int
    seed: tuple[int, ...]
    sprite: Sprite


def draw_colours(rng: np.random.Generator, config: SyntheticConfig) -> NDArray[np.float32] | None:
    """Return a (3, 3) matrix that swaps channels and weighs them, or None."""
    order, gains = rng.permutation(3), rng.uniform(0.8, 1.15, 3)
    if rng.random() >= config.recolour:
        return None
    return (np.eye(3)[order] * gains[:, None]).astype(np.float32)


def make_patch(image: Pixels, cut_out: CutOut, config: SyntheticConfig) -> Pixels:
    """Return (h, w, 4) uint8: the colours of a cut-out times its mask, and its mask."""
    cv2 = import_cv2()
    rng = np.random.default_rng(cut_out.seed)
    mask = _mask(cut_out.sprite)
    colours, best = None, -1.0
    for _ in range(_TRIES):
        piece = _piece(image, mask.shape, rng)
        contrast = cv2.meanStdDev(cv2.cvtColor(piece, cv2.COLOR_RGB2GRAY), mask=mask)[1].item()
        if contrast > best:
            colours, best = piece, contrast
        if contrast >= _MIN_CONTRAST:
            break
    matrix = draw_colours(rng, config)
    if matrix is not None:
        colours = cv2.transform(colours, matrix)
    return np.dstack([cv2.multiply(colours, cv2.merge([mask] * 3), scale=1.0 / 255.0), mask])


def _mask(sprite: Sprite) -> Pixels:
    """Return (h, w) uint8: the outline filled in the patch, 255 inside, with a smooth edge."""
    cv2 = import_cv2()
    finer, shift = 4, 4
    size = np.ceil(sprite.size_px).astype(int) + 2 * _PATCH_MARGIN_PX
    # One fine pixel less, because fillPoly also paints the pixels under its border.
    points = sprite.outline * (sprite.size_px * finer - 1.0) + 0.5 * finer * size - 0.5
    mask = np.zeros(finer * size[::-1], dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(points * 2**shift).astype(np.int32)], 255, shift=shift)
    return np.asarray(cv2.resize(mask, size.tolist(), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _piece(image: Pixels, shape: tuple[int, ...], rng: np.random.Generator) -> Pixels:
    """Return a random window of a photograph, of the shape of a patch, turned or mirrored at random."""
    cv2 = import_cv2()
    height, width = shape
    turned = rng.random() < 0.5
    wide, high = (height, width) if turned else (width, height)
    fits = min(0.95 * image.shape[1] / wide, 0.95 * image.shape[0] / high)
    zoom = min(fits, math.exp(rng.uniform(0.0, 1.1)))
    window_width, window_height = max(1, int(zoom * wide)), max(1, int(zoom * high))
    left = rng.integers(0, image.shape[1] - window_width + 1)
    top = rng.integers(0, image.shape[0] - window_height + 1)
    window = image[top : top + window_height, left : left + window_width]
    if turned:
        window = np.ascontiguousarray(window.transpose(1, 0, 2))
    mirrored = rng.integers(0, 2) == 1
    way = cv2.INTER_AREA if zoom > 1.0 else cv2.INTER_LINEAR
    piece: Pixels = cv2.resize(window, (width, height), interpolation=way)
    return piece[:, ::-1].copy() if mirrored else piece


def paint(frame: Pixels, sprite: Sprite, patch: Pixels, index: int, shutter: float) -> None:
    """Draw a sprite into a frame, in place."""
    cv2 = import_cv2()
    pose, step = sprite.poses[index], shutter * sprite.step_px(index)
    reach = 3.0 + np.abs(step)
    corners = sprite.outline @ pose[:, :2].T + pose[:, 2]
    low = np.maximum(np.floor(corners.min(axis=0) - reach), 0.0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0) + reach), frame.shape[1::-1]).astype(int)
    if (high <= low).any():
        return
    layer = cv2.warpAffine(patch, _patch_to_window(sprite, patch, pose, low), (high - low).tolist())
    smear = _smear(step)
    if smear is not None:
        layer = cv2.filter2D(layer, -1, smear, borderType=cv2.BORDER_CONSTANT)
    *colours, mask = cv2.split(layer)
    rest = cv2.bitwise_not(mask)
    window = frame[low[1] : high[1], low[0] : high[0]]
    window[:] = cv2.add(cv2.multiply(window, cv2.merge([rest] * 3), scale=1.0 / 255.0), cv2.merge(colours))


def _patch_to_window(sprite: Sprite, patch: Pixels, pose: Floats, corner: NDArray[np.int_]) -> Floats:
    """Return the (2, 3) map from pixel indices of the patch to pixel indices of a window of the frame."""
    linear = pose[:, :2] / sprite.size_px
    middle = 0.5 * np.array(patch.shape[1::-1])
    shift = pose[:, 2] - corner - 0.5 + linear @ (0.5 - middle)
    return np.column_stack([linear, shift])


def _smear(step: Floats) -> NDArray[np.float32] | None:
    """Return a kernel that averages along a step, or None where the step is below a pixel."""
    length = np.hypot(*step)
    if length < 1.0:
        return None
    radius = math.ceil(0.5 * length)
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), dtype=np.float32)
    for share in np.linspace(-0.5, 0.5, 2 * math.ceil(length) + 1):
        column, row = np.round(share * step).astype(int) + radius
        kernel[row, column] += 1.0
    kernel /= kernel.sum()
    return kernel
