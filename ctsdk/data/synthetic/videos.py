"""Seeded videos with exact boxes: a cut-out of one photograph moves over another.

A video is a function of the images, a seed and a :class:`~ctsdk.data.synthetic.motion.SyntheticConfig`. A frame is
rendered when it is read, so thousands of videos cost little, and a frame does not depend on the frames read before.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctsdk.crops import Pixels, check_frame, import_cv2
from ctsdk.data.synthetic.cut_outs import CutOut, draw_colours, make_patch, paint
from ctsdk.data.synthetic.motion import (
    SyntheticConfig,
    background_views,
    hidden_share,
    light_factors,
    moving_sprite,
    passing_bar,
)
from ctsdk.data.synthetic.photographs import procedural_textures
from ctsdk.data.videos import Floats, Video
from ctsdk.errors import ConfigError, DataError

__all__ = ["synthetic_video", "synthetic_videos"]

_HIDDEN_SHARE = 0.7
_NOISE_ROOM_PX = 64


def synthetic_video(
    images: Sequence[Pixels], seed: int, config: SyntheticConfig | None = None, name: str | None = None
) -> Video:
    """Return one video.

    Boxes are the tight bounds of the target's outline, even where a bar hides it or it partly leaves the
    frame; its centre stays inside. ``visible`` is False where more than 70 % of the target is hidden.

    Args:
        images: two (H, W, 3) uint8 RGB arrays or more; the target and the background come from different ones.
        seed: of all randomness in the video.
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
    count: int, seed: int, images: Sequence[Pixels] | None = None, config: SyntheticConfig | None = None
) -> list[Video]:
    """Return `count` videos with different seeds.

    Args:
        count: how many.
        seed: video i has the seed ``seed * 1_000_003 + i``.
        images: None for :func:`~ctsdk.data.synthetic.photographs.procedural_textures`.
        config: None for the defaults.

    Raises:
        ConfigError: the seed is negative.
        DataError: there are fewer than two images, or one is not RGB.
    """
    # One tuple for all videos, so that they share the pixels, even when they are sent to another process.
    shared = tuple(procedural_textures(seed) if images is None else images)
    return [
        synthetic_video(shared, seed * 1_000_003 + number, config, name=f"synthetic-{seed}-{number}")
        for number in range(count)
    ]


@dataclass(frozen=True, eq=False)
class _Scene:
    """A whole video. Call it with an index to render a frame.

    Attributes:
        images: the photographs.
        seed: of the noise.
        config: settings of the video.
        background: index of the photograph.
        views: (N, 2, 3) maps from pixels of the frame to pixels of the photograph.
        colours: (3, 3) matrix for the background's colours, or None.
        others: drawn before the target.
        target: the cut-out to track.
        bar: drawn after the target, or None.
        shutter: share of a frame's step over which all but the bar is smeared; 0 for none.
        focus: standard deviation of the blur of a frame, px; 0 for none.
        light: (N,) factors.
        noise: standard deviation of the noise, grey levels.
    """

    images: tuple[Pixels, ...]
    seed: int
    config: SyntheticConfig
    background: int
    views: Floats
    colours: NDArray[np.float32] | None
    others: tuple[CutOut, ...]
    target: CutOut
    bar: CutOut | None
    shutter: float
    focus: float
    light: Floats
    noise: float

    @property
    def cut_outs(self) -> tuple[CutOut, ...]:
        """Everything that moves, in the order of drawing."""
        return (*self.others, self.target) if self.bar is None else (*self.others, self.target, self.bar)

    def __call__(self, index: int) -> Pixels:
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
            paint(frame, cut_out.sprite, patch, index, 0.0 if cut_out is self.bar else self.shutter)
        return self._expose(frame, index)

    def _expose(self, frame: Pixels, index: int) -> Pixels:
        """Apply the effects of the camera: focus, light and noise."""
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


def _scene(images: tuple[Pixels, ...], seed: int, config: SyntheticConfig) -> _Scene:
    rng = np.random.default_rng([seed, 0])
    background, *sources = rng.permutation(len(images)).tolist()
    target = CutOut(sources[0], (seed, 1), moving_sprite(rng, config))
    num_others = rng.integers(*config.num_distractors, endpoint=True)
    twin = rng.random() < 0.5
    others = tuple(
        CutOut(
            sources[0] if twin and number == 0 else int(rng.choice(sources)),
            (seed, 2 + number),
            moving_sprite(rng, config, like=target.sprite),
        )
        for number in range(num_others)
    )
    bar = None
    if rng.random() < config.occlusion:
        bar = CutOut(int(rng.choice(sources)), (seed, 100), passing_bar(rng, config, target.sprite))
    blurred, by_motion = rng.random(2) < (config.blur, 0.5)
    height, width = images[background].shape[:2]
    # The arguments draw random numbers from top to bottom: another order would change the video of every seed.
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
        colours=draw_colours(rng, config),
    )


@functools.lru_cache(maxsize=256)
def _patches(scene: _Scene) -> tuple[Pixels, ...]:
    """Return the patch of each cut-out of a video, in the order of drawing."""
    return tuple(make_patch(scene.images[cut_out.image], cut_out, scene.config) for cut_out in scene.cut_outs)


@functools.lru_cache(maxsize=16)
def _noise(deviation: float, frame_size_px: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """Return noise to add and noise to subtract, both larger than a frame; each frame uses a window of them."""
    width, height = frame_size_px
    shape = (height + _NOISE_ROOM_PX, width + _NOISE_ROOM_PX, 3)
    noise = np.round(np.random.default_rng(0).normal(0.0, deviation, shape))
    return np.clip(noise, 0, 255).astype(np.uint8), np.clip(-noise, 0, 255).astype(np.uint8)
