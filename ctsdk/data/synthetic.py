"""Seeded videos with exact boxes: a cut-out of one photograph moves over another.

A video is a function of the images, a seed and a :class:`SyntheticConfig`. Nothing is rendered until a frame is read,
so thousands of videos cost little, and a frame is the same whatever was read before.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ctsdk.data.crops import check_frame, import_cv2
from ctsdk.data.sequences import VideoSequence
from ctsdk.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "HELD_OUT_PHOTOGRAPHS",
    "TRAINING_PHOTOGRAPHS",
    "SyntheticConfig",
    "load_photographs",
    "procedural_textures",
    "synthetic_sequence",
    "synthetic_sequences",
]

TRAINING_PHOTOGRAPHS: tuple[str, ...] = (
    "astronaut",
    "brick",
    "camera",
    "grass",
    "gravel",
    "hubble_deep_field",
    "ihc",
    "logo",
    "moon",
    "page",
    "retina",
    "rocket",
    "text",
)
"""The photographs of scikit-image to train on."""

HELD_OUT_PHOTOGRAPHS: tuple[str, ...] = ("chelsea", "coffee", "coins", "motorcycle_left")
"""The photographs of scikit-image to measure on: none shows what a training photograph shows."""

_IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_LONGEST_SIDE_PX = 720
_OUTLINE_POINTS = 64
_INSIDE_POINTS = 12
_PATCH_MARGIN_PX = 2
_HIDDEN_SHARE = 0.7
_TRIES = 6
_LEAST_CONTRAST = 22.0


@dataclass(frozen=True)
class SyntheticConfig:
    """What the videos look like. The size of a target is sqrt(width * height) of its box.

    Attributes:
        frame_size_px: (width, height) of a frame.
        num_frames: frames per video.
        target_size_px: smallest and largest size of a target before it grows or shrinks.
        speed: longest step of a target per frame, in sizes; each video draws its own limit below it.
        scale_change: largest change of the log of the size, either way.
        aspect_change: largest change of the log of width / height, either way.
        rotation_deg: largest turn from the first pose, either way.
        num_distractors: fewest and most other cut-outs; half of the videos that have any take one from the
            photograph of the target.
        occlusion: probability that a bar passes in front of the target once.
        light_change: largest relative change of the brightness, in half of the videos.
        blur: probability of blur: out of focus or by motion, one as likely as the other.
        noise: largest standard deviation of the sensor noise, grey levels.
        camera_motion: how much of a photograph's free room the background pans through, in [0, 1].
        recolour: probability that a cut-out or the background swaps its colour channels.

    Raises:
        ConfigError: a value is out of range, or the largest target takes over half of the frame.
    """

    frame_size_px: tuple[int, int] = (320, 240)
    num_frames: int = 60
    target_size_px: tuple[float, float] = (28.0, 72.0)
    speed: float = 0.3
    scale_change: float = 0.3
    aspect_change: float = 0.12
    rotation_deg: float = 25.0
    num_distractors: tuple[int, int] = (0, 3)
    occlusion: float = 0.25
    light_change: float = 0.25
    blur: float = 0.3
    noise: float = 4.0
    camera_motion: float = 0.6
    recolour: float = 0.5

    def __post_init__(self) -> None:
        for name in ("occlusion", "light_change", "blur", "camera_motion", "recolour"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"SyntheticConfig.{name} is {getattr(self, name)}; expected a number from 0 to 1.")
        for name in ("speed", "scale_change", "aspect_change", "rotation_deg", "noise"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0.0):
                raise ConfigError(f"SyntheticConfig.{name} is {getattr(self, name)}; expected 0 or a positive number.")
        self._check_sizes()

    def _check_sizes(self) -> None:
        smallest, largest = self.target_size_px
        fewest, most = self.num_distractors
        if self.num_frames < 1 or not 0 <= fewest <= most:
            raise ConfigError(
                f"SyntheticConfig has num_frames={self.num_frames} and num_distractors={self.num_distractors}; "
                "expected at least one frame, and (fewest, most) with 0 <= fewest <= most."
            )
        if not 4.0 <= smallest <= largest <= 0.5 * min(self.frame_size_px):
            raise ConfigError(
                f"SyntheticConfig.target_size_px is {self.target_size_px} in frames of {self.frame_size_px} px; "
                "expected (smallest, largest), at least 4 px and at most half of the frame's shorter side."
            )


def load_photographs(folder: Path | None = None) -> dict[str, NDArray[np.uint8]]:
    """Read photographs, each shrunk to 720 px at most.

    Args:
        folder: where to read every image from; None for the photographs inside the installed scikit-image, those of
            :data:`TRAINING_PHOTOGRAPHS` and :data:`HELD_OUT_PHOTOGRAPHS`. Nothing is downloaded.

    Returns:
        (H, W, 3) uint8 RGB by file name without its ending, in the order of the names.

    Raises:
        DataError: the folder holds no image, an image cannot be read, or scikit-image is not installed.
    """
    if folder is None:
        files = _bundled_files()
    elif not Path(folder).is_dir():
        raise DataError(f"{folder} is not a folder; give a folder of images, or None for those of scikit-image.")
    else:
        files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES)
    names = [path.stem for path in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{folder} holds several images named {twice} but for the ending; rename all but one.")
    if not files:
        raise DataError(f"{folder} holds no image; expected files ending in {', '.join(sorted(_IMAGE_SUFFIXES))}.")
    return {path.stem: _read_image(path) for path in files}


def procedural_textures(seed: int, count: int = 8, size: tuple[int, int] = (480, 360)) -> list[NDArray[np.uint8]]:
    """Return coloured textures: noise of several scales under blobs, stripes or checks.

    Args:
        seed: all that they depend on.
        count: how many.
        size: (width, height), px.

    Returns:
        (height, width, 3) uint8 arrays.

    Raises:
        ConfigError: the seed is negative.
    """
    _check_seed(seed)
    return [_texture(np.random.default_rng([seed, number]), size) for number in range(count)]


def synthetic_sequence(
    images: Sequence[NDArray[np.uint8]], seed: int, config: SyntheticConfig | None = None, name: str | None = None
) -> VideoSequence:
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
    _check_seed(seed)
    if len(images) < 2:
        raise DataError(
            f"a synthetic video was asked for from {len(images)} images; expected at least two, because target and "
            "background come from different ones. procedural_textures(seed=0) makes some without files."
        )
    for image in images:
        check_frame(image)
    config = SyntheticConfig() if config is None else config
    images = tuple(images)
    plan = _plan([image.shape for image in images], seed, config)
    return VideoSequence(
        name=f"synthetic-{seed}" if name is None else name,
        boxes_xywh_px=plan.target.boxes_xywh_px(),
        visible=plan.visible,
        size_px=config.frame_size_px,
        read_frame=_Scene(images, seed, config, plan),
    )


def synthetic_sequences(
    count: int,
    seed: int,
    images: Sequence[NDArray[np.uint8]] | None = None,
    config: SyntheticConfig | None = None,
) -> list[VideoSequence]:
    """Return `count` videos, each with a seed of its own.

    Args:
        count: how many.
        seed: video i is that of seed ``seed * 1_000_003 + i``.
        images: None for :func:`procedural_textures`.
        config: None for the defaults.

    Raises:
        ConfigError: the seed is negative.
        DataError: there are fewer than two images, or one is not RGB.
    """
    # One tuple for all, so that the videos share the pixels, also when they are sent to another process.
    shared = tuple(procedural_textures(seed) if images is None else images)
    return [
        synthetic_sequence(shared, seed * 1_000_003 + number, config, name=f"synthetic-{seed}-{number}")
        for number in range(count)
    ]


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ConfigError(f"synthetic data was asked for with seed {seed}; expected 0 or a positive number.")


# ---------------------------------------------------------------------------------------------------------------------
# Motion: where everything is in every frame. No pixels here.
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sprite:
    """Something that moves: an outline, its pose in each of N frames, and where its pixels come from.

    Attributes:
        outline: (P, 2) corners, in units of the sprite's width and height, bounds [-0.5, 0.5].
        poses: (N, 2, 3) maps from those units to pixels of the frame.
        size_px: (width, height) of the patch that the pixels are kept in: the largest size shown.
        image: index of the photograph.
        seed: what the cut from the photograph depends on.
    """

    outline: NDArray[np.float64]
    poses: NDArray[np.float64]
    size_px: tuple[float, float]
    image: int
    seed: tuple[int, ...]

    def boxes_xywh_px(self) -> NDArray[np.float64]:
        """(N, 4) bounds of the outline."""
        corners = _mapped(self.poses, self.outline)
        low, high = corners.min(axis=1), corners.max(axis=1)
        return np.concatenate([low, high - low], axis=1)


@dataclass(frozen=True)
class _Plan:
    """Everything about a video but its pixels.

    Attributes:
        background: index of the photograph.
        views: (N, 2, 3) maps from pixels of the frame to pixels of the photograph.
        target: what is tracked.
        others: drawn before the target.
        bar: drawn after the target, or None.
        visible: (N,) of the target.
        light: (N,) factors.
        focus: standard deviation of the blur of a frame, px; 0 for none.
        shutter: share of a frame's step over which the target is smeared; 0 for none.
        noise: standard deviation of the noise.
        colours: (3, 3) matrix for the background's colours, or None.
    """

    background: int
    views: NDArray[np.float64]
    target: _Sprite
    others: tuple[_Sprite, ...]
    bar: _Sprite | None
    visible: NDArray[np.bool_]
    light: NDArray[np.float64]
    focus: float
    shutter: float
    noise: float
    colours: NDArray[np.float32] | None

    @property
    def sprites(self) -> tuple[_Sprite, ...]:
        """Everything that moves, in the order of drawing."""
        return (*self.others, self.target) if self.bar is None else (*self.others, self.target, self.bar)


def _plan(image_shapes: Sequence[tuple[int, ...]], seed: int, config: SyntheticConfig) -> _Plan:
    rng = np.random.default_rng([seed, 0])
    background, *sources = (int(image) for image in rng.permutation(len(image_shapes)))
    target = _moving_sprite(rng, config, sources[0], (seed, 1), None)
    num_others = int(rng.integers(config.num_distractors[0], config.num_distractors[1] + 1))
    twin = rng.random() < 0.5
    others = tuple(
        _moving_sprite(
            rng,
            config,
            sources[0] if twin and number == 0 else int(rng.choice(sources)),
            (seed, 2 + number),
            math.sqrt(math.prod(target.size_px)),
        )
        for number in range(num_others)
    )
    bar = None
    if rng.random() < config.occlusion:
        bar = _passing_bar(rng, config, target, int(rng.choice(sources)), (seed, 100))
    blurred = rng.random() < config.blur
    in_focus = rng.random() < 0.5
    return _Plan(
        background=background,
        views=_background_views(rng, config, image_shapes[background]),
        target=target,
        others=others,
        bar=bar,
        visible=_hidden_share(target, bar, config.frame_size_px) <= _HIDDEN_SHARE,
        light=_light(rng, config),
        focus=float(rng.uniform(0.6, 1.3)) if blurred and not in_focus else 0.0,
        shutter=float(rng.uniform(0.4, 0.9)) if blurred and in_focus else 0.0,
        noise=config.noise * int(rng.integers(0, 4)) / 3.0,
        colours=_colours(rng, config),
    )


def _moving_sprite(
    rng: np.random.Generator, config: SyntheticConfig, image: int, seed: tuple[int, ...], like_px: float | None
) -> _Sprite:
    """Return a sprite that moves smoothly inside the frame; about the size of `like_px` if that is given."""
    if like_px is None:
        size = math.exp(rng.uniform(*np.log(config.target_size_px)))
    else:
        size = like_px * math.exp(rng.uniform(-0.35, 0.1))
    aspect = math.exp(rng.uniform(-0.5, 0.5))
    base = np.array([size * math.sqrt(aspect), size / math.sqrt(aspect)])
    times = np.arange(config.num_frames, dtype=np.float64)
    growing, stretching, turning = _waves(rng, times, 3)
    grown, stretched = np.exp(config.scale_change * growing), np.exp(0.5 * config.aspect_change * stretching)
    angles = math.radians(config.rotation_deg) * turning + math.radians(float(rng.uniform(-15.0, 15.0)))
    sizes = grown[:, None] * np.stack([base[0] * stretched, base[1] / stretched], axis=1)
    # This share of the longest side keeps at least 64 % of the box inside the frame, also in a corner.
    margin = 0.3 * float(sizes.max())
    step = config.speed * size * float(rng.uniform(0.15, 1.0)) * math.exp(-config.scale_change)
    centres = _path(rng, times, step, margin, config.frame_size_px)
    largest = (float(sizes[:, 0].max()), float(sizes[:, 1].max()))
    return _Sprite(_outline(rng), _poses(centres, sizes, angles), largest, image, seed)


def _passing_bar(
    rng: np.random.Generator, config: SyntheticConfig, target: _Sprite, image: int, seed: tuple[int, ...]
) -> _Sprite:
    """Return a long bar that crosses the target in one frame of the second half, or thereabouts."""
    times = np.arange(config.num_frames, dtype=np.float64)
    meeting = int(config.num_frames * rng.uniform(0.35, 0.85))
    boxes = target.boxes_xywh_px()
    box = boxes[meeting]
    size = math.sqrt(box[2] * box[3])
    width, length = size * float(rng.uniform(0.5, 1.3)), 1.2 * math.hypot(*config.frame_size_px)
    angle = float(rng.uniform(-0.5, 0.5)) + (0.5 * math.pi if rng.random() < 0.25 else 0.0)
    across = np.array([math.cos(angle), math.sin(angle)])
    # Relative to the target: otherwise a target that moves with the bar would stay behind it.
    speed = (size + width) / float(rng.uniform(8.0, 16.0)) * (1.0 if rng.random() < 0.5 else -1.0)
    drift = np.gradient(boxes[:, :2] + 0.5 * boxes[:, 2:], axis=0)[meeting] if config.num_frames > 1 else np.zeros(2)
    velocity = (speed + float(drift @ across)) * across
    centres = box[:2] + 0.5 * box[2:] + (times - meeting)[:, None] * velocity
    sizes = np.broadcast_to(np.array([width, length]), (len(times), 2))
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    return _Sprite(corners, _poses(centres, sizes, np.full(len(times), angle)), (width, length), image, seed)


def _poses(
    centres: NDArray[np.float64], sizes: NDArray[np.float64], angles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (N, 2, 3) maps that scale, then turn, then shift."""
    cos, sin = np.cos(angles), np.sin(angles)
    rows_x = np.stack([cos * sizes[:, 0], -sin * sizes[:, 1], centres[:, 0]], axis=1)
    rows_y = np.stack([sin * sizes[:, 0], cos * sizes[:, 1], centres[:, 1]], axis=1)
    return np.stack([rows_x, rows_y], axis=1)


def _mapped(poses: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, P, 2) points under N maps."""
    return np.asarray(points @ poses[:, :, :2].transpose(0, 2, 1) + poses[:, None, :, 2], dtype=np.float64)


def _waves(rng: np.random.Generator, times: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return (count, N) smooth curves in [-1, 1], each of two slow waves."""
    periods = rng.uniform((60.0, 25.0), (160.0, 60.0), (count, 2))
    phases = rng.uniform(0.0, 2.0 * math.pi, (count, 2))
    strengths = rng.uniform(0.2, 1.0, (count, 1)) * np.array([0.75, 0.25])
    waves = np.sin(2.0 * math.pi * times / periods[:, :, None] + phases[:, :, None])
    return np.asarray((strengths[:, :, None] * waves).sum(axis=1), dtype=np.float64)


def _path(
    rng: np.random.Generator,
    times: NDArray[np.float64],
    step: float,
    margin: float,
    frame_size_px: tuple[int, int],
) -> NDArray[np.float64]:
    """Return (N, 2) centres that move by at most `step` px per frame, reflected at a margin inside the frame."""
    turning, hurrying = _waves(rng, times, 2)
    heading = float(rng.uniform(0.0, 2.0 * math.pi)) + 2.5 * turning
    pace = step * (0.6 + 0.4 * hurrying)
    moves = np.stack([pace * np.cos(heading), pace * np.sin(heading)], axis=1)
    low = np.full(2, margin)
    room = np.maximum(np.array(frame_size_px, dtype=np.float64) - 2.0 * margin, 1.0)
    unfolded = rng.random(2) * room + np.cumsum(moves, axis=0) - moves[0]
    folded = np.mod(unfolded, 2.0 * room)
    return np.asarray(low + np.minimum(folded, 2.0 * room - folded), dtype=np.float64)


def _outline(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (P, 2) corners of an ellipse, a rounded rectangle, a blob or a rounded polygon, bounds [-0.5, 0.5]."""
    angles = np.arange(_OUTLINE_POINTS) * (2.0 * math.pi / _OUTLINE_POINTS)
    kind = int(rng.integers(4))
    power, num_corners = float(rng.uniform(3.0, 7.0)), int(rng.integers(3, 7))
    waves, phases = rng.uniform(-1.0, 1.0, 3), rng.uniform(0.0, 2.0 * math.pi, 3)
    if kind == 0:
        radii = np.ones_like(angles)
    elif kind == 1:
        radii = (np.abs(np.cos(angles)) ** power + np.abs(np.sin(angles)) ** power) ** (-1.0 / power)
    elif kind == 2:
        orders = np.array([2.0, 3.0, 4.0])
        radii = 1.0 + np.sin(angles[:, None] * orders + phases) @ (waves * np.array([0.15, 0.12, 0.08]))
    else:
        sector = 2.0 * math.pi / num_corners
        flat = 1.0 / np.cos(np.mod(angles + phases[0], sector) - 0.5 * sector)
        # Averaging along the outline rounds the corners, so that the mask reaches its bounds.
        radii = np.convolve(np.concatenate([flat[-5:], flat, flat[:5]]), np.full(11, 1.0 / 11.0), mode="valid")
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    low, high = points.min(axis=0), points.max(axis=0)
    return np.asarray((points - low) / (high - low) - 0.5, dtype=np.float64)


def _hidden_share(target: _Sprite, bar: _Sprite | None, frame_size_px: tuple[int, int]) -> NDArray[np.float64]:
    """Return (N,), the share of the target that the bar covers or the frame cuts off."""
    grid = (np.arange(_INSIDE_POINTS) + 0.5) / _INSIDE_POINTS - 0.5
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    inside = _mapped(target.poses, points[_within(target.outline, points)])
    hidden = ((inside < 0.0) | (inside >= np.array(frame_size_px, dtype=np.float64))).any(axis=2)
    if bar is not None:
        offsets = inside - bar.poses[:, None, :, 2]
        units = offsets @ np.linalg.inv(bar.poses[:, :, :2]).transpose(0, 2, 1)
        hidden |= (np.abs(units) < 0.5).all(axis=2)
    return np.asarray(hidden.mean(axis=1), dtype=np.float64)


def _within(outline: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points lie inside the outline, by crossings of a ray to the right."""
    start, end = outline, np.roll(outline, -1, axis=0)
    x, y = points[:, :1], points[:, 1:]
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    rise = np.where(end[:, 1] == start[:, 1], 1.0, end[:, 1] - start[:, 1])
    crossing = start[:, 0] + (y - start[:, 1]) * (end[:, 0] - start[:, 0]) / rise
    return np.asarray((spans & (x < crossing)).sum(axis=1) % 2 == 1, dtype=np.bool_)


def _background_views(
    rng: np.random.Generator, config: SyntheticConfig, image_shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return (N, 2, 3) maps from frame to photograph: a window that pans and zooms inside the photograph."""
    times = np.arange(config.num_frames, dtype=np.float64)
    size = np.array(config.frame_size_px, dtype=np.float64)
    image_size = np.array([image_shape[1], image_shape[0]], dtype=np.float64)
    whole = float((image_size / size).min())
    zooming, *panning = _waves(rng, times, 3)
    zooms = whole * float(rng.uniform(0.5, 0.85)) * np.exp(0.12 * zooming)
    room = image_size - zooms[:, None] * size
    places = rng.uniform(-0.3, 0.3, 2) + 0.7 * config.camera_motion * np.stack(panning, axis=1)
    corners = room * np.clip(0.5 + 0.5 * places, 0.0, 1.0)
    views = np.zeros((len(times), 2, 3))
    views[:, 0, 0] = views[:, 1, 1] = zooms
    # Pixel i has its middle at i + 0.5, in the frame and in the photograph.
    views[:, :, 2] = corners + 0.5 * zooms[:, None] - 0.5
    return views


def _light(rng: np.random.Generator, config: SyntheticConfig) -> NDArray[np.float64]:
    (wave,) = _waves(rng, np.arange(config.num_frames, dtype=np.float64), 1)
    return np.asarray(1.0 + (config.light_change if rng.random() < 0.5 else 0.0) * wave, dtype=np.float64)


def _colours(rng: np.random.Generator, config: SyntheticConfig) -> NDArray[np.float32] | None:
    """Return a (3, 3) matrix that swaps channels and weighs them, or None."""
    order, gains = rng.permutation(3), rng.uniform(0.8, 1.15, 3)
    if rng.random() >= config.recolour:
        return None
    return np.asarray(np.eye(3)[order] * gains[:, None], dtype=np.float32)


# ---------------------------------------------------------------------------------------------------------------------
# Pixels.
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Scene:
    """Renders the frames of one video."""

    images: tuple[NDArray[np.uint8], ...]
    seed: int
    config: SyntheticConfig
    plan: _Plan

    def __call__(self, index: int) -> NDArray[np.uint8]:
        """Return frame `index`, (H, W, 3) uint8 RGB."""
        plan = self.plan
        frame = self._background(plan, index)
        for sprite, patch in zip(plan.sprites, _patches(self), strict=True):
            shutter = 0.0 if sprite is plan.bar else plan.shutter
            _draw(frame, sprite, patch, index, shutter)
        return self._exposed(frame, plan, index)

    def _background(self, plan: _Plan, index: int) -> NDArray[np.uint8]:
        cv2 = import_cv2()
        frame: NDArray[np.uint8] = cv2.warpAffine(
            self.images[plan.background],
            plan.views[index],
            self.config.frame_size_px,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if plan.colours is not None:
            frame = cv2.transform(frame, plan.colours)
        return frame

    def _exposed(self, frame: NDArray[np.uint8], plan: _Plan, index: int) -> NDArray[np.uint8]:
        """Apply what the camera does: focus, light and noise."""
        cv2 = import_cv2()
        if plan.focus > 0.0:
            frame = cv2.GaussianBlur(frame, (5, 5), plan.focus)
        if plan.light[index] != 1.0:
            frame = cv2.convertScaleAbs(frame, alpha=float(plan.light[index]))
        if plan.noise > 0.0:
            above, below = _noise(plan.noise, self.config.frame_size_px)
            left, top = np.random.default_rng([self.seed, 3, index]).integers(0, _NOISE_ROOM_PX, 2)
            height, width = frame.shape[:2]
            window = (slice(top, top + height), slice(left, left + width))
            frame = cv2.subtract(cv2.add(frame, above[window]), below[window])
        return frame


@functools.lru_cache(maxsize=256)
def _patches(scene: _Scene) -> tuple[NDArray[np.uint8], ...]:
    """Return the patch of each sprite of a video, in the order of drawing."""
    return tuple(_patch(scene.images[sprite.image], sprite, scene.config) for sprite in scene.plan.sprites)


def _patch(image: NDArray[np.uint8], sprite: _Sprite, config: SyntheticConfig) -> NDArray[np.uint8]:
    """Return (h, w, 4) uint8: the colours of a sprite times its mask, and its mask."""
    cv2 = import_cv2()
    rng = np.random.default_rng(sprite.seed)
    mask = _mask(sprite)
    colours, best = None, -1.0
    for _ in range(_TRIES):
        cut = _cut(image, mask.shape, rng)
        contrast = float(cv2.meanStdDev(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY), mask=mask)[1][0, 0])
        if contrast > best:
            colours, best = cut, contrast
        if contrast >= _LEAST_CONTRAST:
            break
    matrix = _colours(rng, config)
    if matrix is not None:
        colours = cv2.transform(colours, matrix)
    colours = cv2.multiply(colours, cv2.merge([mask, mask, mask]), scale=1.0 / 255.0)
    return np.asarray(cv2.merge([*cv2.split(colours), mask]), dtype=np.uint8)


def _mask(sprite: _Sprite) -> NDArray[np.uint8]:
    """Return (h, w) uint8: the outline filled in the patch, 255 inside, with a smooth edge."""
    cv2 = import_cv2()
    finer, shift = 4, 4
    width, height = (math.ceil(side) + 2 * _PATCH_MARGIN_PX for side in sprite.size_px)
    # One fine pixel less, because fillPoly paints the pixels that its border runs through as well.
    extent = np.array(sprite.size_px) * finer - 1.0
    points = sprite.outline * extent + 0.5 * finer * np.array([width, height]) - 0.5
    mask = np.zeros((height * finer, width * finer), dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(points * 2**shift).astype(np.int32)], 255, shift=shift)
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _cut(image: NDArray[np.uint8], shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a random window of a photograph, of the shape of a patch, turned or mirrored at random."""
    cv2 = import_cv2()
    height, width = shape[:2]
    turned = rng.random() < 0.5
    wide, high = (height, width) if turned else (width, height)
    fits = min(0.95 * image.shape[1] / wide, 0.95 * image.shape[0] / high)
    zoom = min(fits, math.exp(rng.uniform(0.0, 1.1)))
    window_width, window_height = max(1, int(zoom * wide)), max(1, int(zoom * high))
    left = int(rng.integers(0, image.shape[1] - window_width + 1))
    top = int(rng.integers(0, image.shape[0] - window_height + 1))
    window = image[top : top + window_height, left : left + window_width]
    if turned:
        window = cv2.transpose(np.ascontiguousarray(window))
    mirrored = int(rng.integers(0, 2)) == 1
    way = cv2.INTER_AREA if zoom > 1.0 else cv2.INTER_LINEAR
    cut: NDArray[np.uint8] = cv2.resize(window, (width, height), interpolation=way)
    return cut[:, ::-1].copy() if mirrored else cut


def _draw(frame: NDArray[np.uint8], sprite: _Sprite, patch: NDArray[np.uint8], index: int, shutter: float) -> None:
    """Draw a sprite into a frame, in place; only the sprite's surroundings are touched."""
    cv2 = import_cv2()
    pose = sprite.poses[index]
    step = shutter * _step(sprite.poses, index)
    reach = 3.0 + np.abs(step)
    corners = sprite.outline @ pose[:, :2].T + pose[:, 2]
    low = np.maximum(np.floor(corners.min(axis=0) - reach), 0.0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0) + reach), [frame.shape[1], frame.shape[0]]).astype(int)
    if (high <= low).any():
        return
    width, height = (int(side) for side in high - low)
    layer = cv2.warpAffine(patch, _patch_to_window(sprite, patch, pose, low), (width, height))
    smear = _smear(step)
    if smear is not None:
        layer = cv2.filter2D(layer, -1, smear, borderType=cv2.BORDER_CONSTANT)
    *colours, mask = cv2.split(layer)
    rest = cv2.bitwise_not(mask)
    window = frame[low[1] : high[1], low[0] : high[0]]
    window[:] = cv2.add(cv2.multiply(window, cv2.merge([rest, rest, rest]), scale=1.0 / 255.0), cv2.merge(colours))


def _patch_to_window(
    sprite: _Sprite, patch: NDArray[np.uint8], pose: NDArray[np.float64], corner: NDArray[np.int_]
) -> NDArray[np.float64]:
    """Return the (2, 3) map from pixel indices of the patch to pixel indices of a window of the frame."""
    linear = pose[:, :2] / np.array(sprite.size_px)
    middle = 0.5 * np.array([patch.shape[1], patch.shape[0]])
    shift = pose[:, 2] - corner - 0.5 + linear @ (0.5 - middle)
    return np.concatenate([linear, shift[:, None]], axis=1)


def _step(poses: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    """Return how far a sprite moves in one frame, px."""
    first = max(0, min(index, len(poses) - 2))
    return np.asarray(poses[min(first + 1, len(poses) - 1), :, 2] - poses[first, :, 2], dtype=np.float64)


def _smear(step: NDArray[np.float64]) -> NDArray[np.float32] | None:
    """Return a kernel that averages along a step, or None where the step is below a pixel."""
    length = float(np.hypot(*step))
    if length < 1.0:
        return None
    radius = math.ceil(0.5 * length)
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), dtype=np.float32)
    for share in np.linspace(-0.5, 0.5, 2 * math.ceil(length) + 1):
        column, row = np.round(share * step).astype(int) + radius
        kernel[row, column] += 1.0
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


_NOISE_ROOM_PX = 64


@functools.lru_cache(maxsize=16)
def _noise(deviation: float, frame_size_px: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return noise larger than a frame, what it adds and what it takes; a frame uses a window of it."""
    width, height = frame_size_px
    shape = (height + _NOISE_ROOM_PX, width + _NOISE_ROOM_PX, 3)
    noise = np.round(np.random.default_rng(0).normal(0.0, deviation, shape))
    return np.clip(noise, 0, 255).astype(np.uint8), np.clip(-noise, 0, 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------------------------
# Images.
# ---------------------------------------------------------------------------------------------------------------------


def _bundled_files() -> list[Path]:
    try:
        import skimage
    except ImportError as error:
        raise DataError(
            f"the default photographs are those inside scikit-image, which does not import here ({error}). "
            "Install it: pip install 'ctsdk[demo]', or give a folder of images of your own."
        ) from error
    folder = Path(skimage.__file__).parent / "data"
    found = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in _IMAGE_SUFFIXES}
    names = sorted((*TRAINING_PHOTOGRAPHS, *HELD_OUT_PHOTOGRAPHS))
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(
            f"scikit-image at {folder} lacks the photographs {missing}; "
            "expected them in the wheel. Give a folder of images of your own."
        )
    return [found[name] for name in names]


def _read_image(path: Path) -> NDArray[np.uint8]:
    cv2 = import_cv2()
    # Through bytes, because OpenCV cannot open every path that Python can, and complains on stderr.
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes() or b"\0", dtype=np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DataError(f"{path} cannot be read as an image; remove it from the folder or convert it to PNG.")
    shrink = _LONGEST_SIDE_PX / max(pixels.shape[:2])
    if shrink < 1.0:
        pixels = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    cv2 = import_cv2()
    width, height = size
    canvas = np.zeros((height, width, 3), dtype=np.float32)
    for cells, strength in zip((3, 8, 24, 80), rng.uniform(0.4, 1.0, 4), strict=True):
        coarse = rng.uniform(-1.0, 1.0, (cells, max(2, cells * width // height), 3)).astype(np.float32)
        canvas += np.float32(strength) * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image = cv2.convertScaleAbs(128.0 + 70.0 * canvas / canvas.std())
    _overlay(image, int(rng.integers(3)), rng)
    return np.asarray(image, dtype=np.uint8)


def _overlay(image: NDArray[np.uint8], kind: int, rng: np.random.Generator) -> None:
    """Paint blobs, stripes or checks over an image, in place."""
    cv2 = import_cv2()
    height, width = image.shape[:2]
    painted = image.copy()
    period = int(rng.integers(14, 40))
    palette = [tuple(int(value) for value in rng.integers(0, 256, 3)) for _ in range(4)]
    if kind == 0:
        for _ in range(40):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            axes = (int(rng.integers(5, 40)), int(rng.integers(5, 40)))
            cv2.ellipse(painted, centre, axes, float(rng.uniform(0, 180)), 0, 360, palette[int(rng.integers(4))], -1)
    elif kind == 1:
        slope = int(rng.integers(-height, height))
        for number, start in enumerate(range(-height, width + height, period)):
            cv2.line(painted, (start, 0), (start + slope, height), palette[number % 4], period // 3)
    else:
        for row, column in itertools.product(range(0, height, period), range(0, width, period)):
            if (row // period + column // period) % 2:
                cv2.rectangle(painted, (column, row), (column + period - 1, row + period - 1), palette[row % 4], -1)
    cv2.addWeighted(painted, 0.5, image, 0.5, 0.0, dst=image)
