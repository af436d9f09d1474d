"""Seeded videos with exact boxes: a cut-out of one photograph moves over another.

A video is a function of the images, a seed and a :class:`~ctsdk.data.synthetic.motion.SyntheticConfig`. Nothing is
rendered until a frame is read, so thousands of videos cost little, and a frame is the same whatever was read before.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ctsdk.crops import check_frame, import_cv2
from ctsdk.data.synthetic.motion import (
    Sprite,
    SyntheticConfig,
    background_views,
    hidden_share,
    light_factors,
    moving_sprite,
    passing_bar,
)
from ctsdk.data.synthetic.photographs import procedural_textures
from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["synthetic_video", "synthetic_videos"]

_HIDDEN_SHARE = 0.7
_LEAST_CONTRAST = 22.0
_NOISE_ROOM_PX = 64
_PATCH_MARGIN_PX = 2
_TRIES = 6


def synthetic_video(
    images: Sequence[NDArray[np.uint8]], seed: int, config: SyntheticConfig | None = None, name: str | None = None
) -> Video:
    """Return one video.

    Its boxes are the tight bounds of the target's outline, also where a bar hides the target or the target leaves the
    frame; its centre never does. ``visible`` is False where more than 70 % of the target is hidden.

    Args:
        images: two (H, W, 3) uint8 RGB arrays or more; the target and the background come from different ones.
        seed: with the images and the config, all that the video depends on.
        config: None for the defaults.
        name: None for ``synthetic-<seed>``.

    Raises:
        ConfigError: the seed is negative.
        DataError: there are fewer than two images, or one is not RGB.
    """
    if seed < 0:
        raise ConfigError(f"a synthetic video was asked for with seed {seed}; expected 0 or a positive number.")
    if len(images) < 2:
        raise DataError(
            f"a synthetic video was asked for from {len(images)} images; expected at least two, because target and "
            "background come from different ones. procedural_textures(seed=0) makes some without files."
        )
    for image in images:
        check_frame(image)
    scene = _scene(tuple(images), seed, SyntheticConfig() if config is None else config)
    size_px, target, bar = scene.config.frame_size_px, scene.target.sprite, scene.bar
    return Video(
        name=f"synthetic-{seed}" if name is None else name,
        boxes_xywh_px=target.boxes_xywh_px(),
        visible=hidden_share(target, None if bar is None else bar.sprite, size_px) <= _HIDDEN_SHARE,
        size_px=size_px,
        read_frame=scene,
    )


def synthetic_videos(
    count: int,
    seed: int,
    images: Sequence[NDArray[np.uint8]] | None = None,
    config: SyntheticConfig | None = None,
) -> list[Video]:
    """Return `count` videos, each with a seed of its own.

    Args:
        count: how many.
        seed: video i is that of seed ``seed * 1_000_003 + i``.
        images: None for :func:`~ctsdk.data.synthetic.photographs.procedural_textures`.
        config: None for the defaults.

    Raises:
        ConfigError: the seed is negative.
        DataError: there are fewer than two images, or one is not RGB.
    """
    # One tuple for all, so that the videos share the pixels, also when they are sent to another process.
    shared = tuple(procedural_textures(seed) if images is None else images)
    return [
        synthetic_video(shared, seed * 1_000_003 + number, config, name=f"synthetic-{seed}-{number}")
        for number in range(count)
    ]


@dataclass(frozen=True, eq=False)
class _CutOut:
    """A sprite that shows a piece of a photograph.

    Attributes:
        image: index of the photograph.
        seed: what the choice of the piece depends on.
        sprite: outline and poses.
    """

    image: int
    seed: tuple[int, ...]
    sprite: Sprite


@dataclass(frozen=True, eq=False)
class _Scene:
    """Everything about one video; called with an index, it renders a frame.

    Attributes:
        images: the photographs.
        seed: what the noise depends on.
        config: what the video looks like.
        background: index of the photograph.
        views: (N, 2, 3) maps from pixels of the frame to pixels of the photograph.
        colours: (3, 3) matrix for the background's colours, or None.
        others: drawn before the target.
        target: what is tracked.
        bar: drawn after the target, or None.
        shutter: share of a frame's step over which all but the bar is smeared; 0 for none.
        focus: standard deviation of the blur of a frame, px; 0 for none.
        light: (N,) factors.
        noise: standard deviation of the noise, grey levels.
    """

    images: tuple[NDArray[np.uint8], ...]
    seed: int
    config: SyntheticConfig
    background: int
    views: NDArray[np.float64]
    colours: NDArray[np.float32] | None
    others: tuple[_CutOut, ...]
    target: _CutOut
    bar: _CutOut | None
    shutter: float
    focus: float
    light: NDArray[np.float64]
    noise: float

    @property
    def cut_outs(self) -> tuple[_CutOut, ...]:
        """Everything that moves, in the order of drawing."""
        return (*self.others, self.target) if self.bar is None else (*self.others, self.target, self.bar)

    def __call__(self, index: int) -> NDArray[np.uint8]:
        """Return frame `index`, (H, W, 3) uint8 RGB."""
        cv2 = import_cv2()
        frame = cv2.warpAffine(
            self.images[self.background],
            self.views[index],
            self.config.frame_size_px,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if self.colours is not None:
            frame = cv2.transform(frame, self.colours)
        for cut_out, patch in zip(self.cut_outs, _patches(self), strict=True):
            _draw(frame, cut_out.sprite, patch, index, 0.0 if cut_out is self.bar else self.shutter)
        return self._exposed(frame, index)

    def _exposed(self, frame: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Apply what the camera does: focus, light and noise."""
        cv2 = import_cv2()
        if self.focus > 0.0:
            frame = cv2.GaussianBlur(frame, (5, 5), self.focus)
        if self.light[index] != 1.0:
            frame = cv2.convertScaleAbs(frame, alpha=self.light[index])
        if self.noise > 0.0:
            above, below = _noise(self.noise, self.config.frame_size_px)
            left, top = np.random.default_rng([self.seed, 3, index]).integers(0, _NOISE_ROOM_PX, 2)
            window = np.s_[top : top + frame.shape[0], left : left + frame.shape[1]]
            frame = cv2.subtract(cv2.add(frame, above[window]), below[window])
        return frame


def _scene(images: tuple[NDArray[np.uint8], ...], seed: int, config: SyntheticConfig) -> _Scene:
    rng = np.random.default_rng([seed, 0])
    background, *sources = rng.permutation(len(images)).tolist()
    target = _CutOut(sources[0], (seed, 1), moving_sprite(rng, config))
    num_others = rng.integers(*config.num_distractors, endpoint=True)
    twin = rng.random() < 0.5
    others = tuple(
        _CutOut(
            sources[0] if twin and number == 0 else int(rng.choice(sources)),
            (seed, 2 + number),
            moving_sprite(rng, config, like=target.sprite),
        )
        for number in range(num_others)
    )
    bar = None
    if rng.random() < config.occlusion:
        bar = _CutOut(int(rng.choice(sources)), (seed, 100), passing_bar(rng, config, target.sprite))
    blurred, by_motion = rng.random(2) < (config.blur, 0.5)
    height, width = images[background].shape[:2]
    # The arguments draw from top to bottom: in another order, every seed would be another video.
    return _Scene(
        images=images,
        seed=seed,
        config=config,
        background=background,
        others=others,
        target=target,
        bar=bar,
        views=background_views(rng, config, (width, height)),
        light=light_factors(rng, config),
        focus=rng.uniform(0.6, 1.3) if blurred and not by_motion else 0.0,
        shutter=rng.uniform(0.4, 0.9) if blurred and by_motion else 0.0,
        noise=config.noise * rng.integers(0, 4) / 3.0,
        colours=_colours(rng, config),
    )


def _colours(rng: np.random.Generator, config: SyntheticConfig) -> NDArray[np.float32] | None:
    """Return a (3, 3) matrix that swaps channels and weighs them, or None."""
    order, gains = rng.permutation(3), rng.uniform(0.8, 1.15, 3)
    if rng.random() >= config.recolour:
        return None
    return (np.eye(3)[order] * gains[:, None]).astype(np.float32)


@functools.lru_cache(maxsize=256)
def _patches(scene: _Scene) -> tuple[NDArray[np.uint8], ...]:
    """Return the patch of each cut-out of a video, in the order of drawing."""
    return tuple(_patch(scene.images[cut_out.image], cut_out, scene.config) for cut_out in scene.cut_outs)


def _patch(image: NDArray[np.uint8], cut_out: _CutOut, config: SyntheticConfig) -> NDArray[np.uint8]:
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
        if contrast >= _LEAST_CONTRAST:
            break
    matrix = _colours(rng, config)
    if matrix is not None:
        colours = cv2.transform(colours, matrix)
    return np.dstack([cv2.multiply(colours, cv2.merge([mask] * 3), scale=1.0 / 255.0), mask])


def _mask(sprite: Sprite) -> NDArray[np.uint8]:
    """Return (h, w) uint8: the outline filled in the patch, 255 inside, with a smooth edge."""
    cv2 = import_cv2()
    finer, shift = 4, 4
    size = np.ceil(sprite.size_px).astype(int) + 2 * _PATCH_MARGIN_PX
    # One fine pixel less, because fillPoly paints the pixels that its border runs through as well.
    points = sprite.outline * (sprite.size_px * finer - 1.0) + 0.5 * finer * size - 0.5
    mask = np.zeros(finer * size[::-1], dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(points * 2**shift).astype(np.int32)], 255, shift=shift)
    return np.asarray(cv2.resize(mask, size.tolist(), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _piece(image: NDArray[np.uint8], shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
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
    piece: NDArray[np.uint8] = cv2.resize(window, (width, height), interpolation=way)
    return piece[:, ::-1].copy() if mirrored else piece


def _draw(frame: NDArray[np.uint8], sprite: Sprite, patch: NDArray[np.uint8], index: int, shutter: float) -> None:
    """Draw a sprite into a frame, in place; only the sprite's surroundings are touched."""
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


def _patch_to_window(
    sprite: Sprite, patch: NDArray[np.uint8], pose: NDArray[np.float64], corner: NDArray[np.int_]
) -> NDArray[np.float64]:
    """Return the (2, 3) map from pixel indices of the patch to pixel indices of a window of the frame."""
    linear = pose[:, :2] / sprite.size_px
    middle = 0.5 * np.array(patch.shape[1::-1])
    shift = pose[:, 2] - corner - 0.5 + linear @ (0.5 - middle)
    return np.column_stack([linear, shift])


def _smear(step: NDArray[np.float64]) -> NDArray[np.float32] | None:
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


@functools.lru_cache(maxsize=16)
def _noise(deviation: float, frame_size_px: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return noise larger than a frame, what it adds and what it takes; a frame uses a window of it."""
    width, height = frame_size_px
    shape = (height + _NOISE_ROOM_PX, width + _NOISE_ROOM_PX, 3)
    noise = np.round(np.random.default_rng(0).normal(0.0, deviation, shape))
    return np.clip(noise, 0, 255).astype(np.uint8), np.clip(-noise, 0, 255).astype(np.uint8)
