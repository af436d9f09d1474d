"""The motion in a synthetic video, frame by frame: moving outlines, the view of the background, the light.

Nothing here computes pixels. N is the number of frames. All randomness comes from the generator that is passed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctsdk.data.videos import Floats
from ctsdk.errors import ConfigError

__all__ = [
    "Sprite",
    "SyntheticConfig",
    "background_views",
    "hidden_share",
    "light_factors",
    "moving_sprite",
    "passing_bar",
]

_OUTLINE_POINTS = 64
_INSIDE_POINTS = 12


@dataclass(frozen=True)
class SyntheticConfig:
    """Settings of the videos. The size of a target is sqrt(width * height) of its box.

    Attributes:
        frame_size_px: (width, height) of a frame.
        num_frames: frames per video.
        target_size_px: smallest and largest size of a target before it grows or shrinks.
        speed: longest step of a target per frame, in sizes; each video draws its own limit below it.
        scale_change: largest change of the log of the size, either way.
        aspect_change: largest change of the log of width / height, either way.
        rotation_deg: largest turn from the first pose, either way.
        num_distractors: fewest and most other cut-outs; in half of the videos with distractors, one is cut out of the
            photograph of the target.
        occlusion: probability that a bar passes in front of the target once.
        light_change: largest relative change of the brightness, in half of the videos.
        blur: probability of blur; it is equally often out of focus or by motion.
        noise: largest standard deviation of the sensor noise, grey levels.
        camera_motion: how far the background pans over its photograph, as a share of the free room, in [0, 1].
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
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"SyntheticConfig.{name} is {getattr(self, name)}; expected 0 or a positive number.")
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


@dataclass(frozen=True, eq=False)
class Sprite:
    """A moving shape: an outline and its pose in each frame.

    Attributes:
        outline: (P, 2) corners, in units of the sprite's width and height, bounds [-0.5, 0.5].
        poses: (N, 2, 3) maps from those units to pixels of the frame.
        size_px: (2,) largest width and height over all frames, before rotation.
    """

    outline: Floats
    poses: Floats
    size_px: Floats

    def boxes_xywh_px(self) -> Floats:
        """(N, 4) bounds of the outline."""
        corners = _map_points(self.poses, self.outline)
        low, high = corners.min(axis=1), corners.max(axis=1)
        return np.concatenate([low, high - low], axis=1)

    def step_px(self, index: int) -> Floats:
        """(2,) shift from frame `index` to the next; for the last frame, the shift from the one before."""
        later = min(index + 1, len(self.poses) - 1)
        return self.poses[later, :, 2] - self.poses[max(later - 1, 0), :, 2]


def moving_sprite(rng: np.random.Generator, config: SyntheticConfig, like: Sprite | None = None) -> Sprite:
    """Return a sprite that moves smoothly inside the frame; if `like` is given, of about its size."""
    if like is None:
        size = math.exp(rng.uniform(*np.log(config.target_size_px)))
    else:
        size = math.sqrt(math.prod(like.size_px)) * math.exp(rng.uniform(-0.35, 0.1))
    aspect = math.exp(rng.uniform(-0.5, 0.5))
    width, height = size * math.sqrt(aspect), size / math.sqrt(aspect)
    growing, stretching, turning = _waves(rng, config, 3)
    grown, stretched = np.exp(config.scale_change * growing), np.exp(0.5 * config.aspect_change * stretching)
    angles = math.radians(config.rotation_deg) * turning + math.radians(rng.uniform(-15.0, 15.0))
    sizes = grown[:, None] * np.stack([width * stretched, height / stretched], axis=1)
    # This share of the longest side keeps at least 64 % of the box inside the frame, also in a corner.
    margin = 0.3 * sizes.max()
    step = config.speed * size * rng.uniform(0.15, 1.0) * math.exp(-config.scale_change)
    centres = _path(rng, config, step, margin)
    return Sprite(_outline(rng), _poses(centres, sizes, angles), sizes.max(axis=0))


def passing_bar(rng: np.random.Generator, config: SyntheticConfig, target: Sprite) -> Sprite:
    """Return a long bar that crosses the target once, in about the second half of the video."""
    meeting = int(config.num_frames * rng.uniform(0.35, 0.85))
    boxes = target.boxes_xywh_px()
    path = boxes[:, :2] + 0.5 * boxes[:, 2:]
    size = math.sqrt(boxes[meeting, 2:].prod())
    width, length = size * rng.uniform(0.5, 1.3), 1.2 * math.hypot(*config.frame_size_px)
    angle = rng.uniform(-0.5, 0.5) + (0.5 * math.pi if rng.random() < 0.25 else 0.0)
    across = np.array([math.cos(angle), math.sin(angle)])
    # Relative to the target, which could otherwise move along with the bar and stay hidden.
    speed = (size + width) / rng.uniform(8.0, 16.0) * (1.0 if rng.random() < 0.5 else -1.0)
    drift = np.gradient(path, axis=0)[meeting] if config.num_frames > 1 else np.zeros(2)
    velocity = (speed + drift @ across) * across
    centres = path[meeting] + (np.arange(config.num_frames) - meeting)[:, None] * velocity
    sizes = np.array([[width, length]])
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    return Sprite(corners, _poses(centres, sizes, np.full(config.num_frames, angle)), sizes[0])


def hidden_share(target: Sprite, bar: Sprite | None, frame_size_px: tuple[int, int]) -> Floats:
    """Return (N,), the share of the target that the bar covers or the frame cuts off."""
    grid = (np.arange(_INSIDE_POINTS) + 0.5) / _INSIDE_POINTS - 0.5
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    inside = _map_points(target.poses, points[_within(target.outline, points)])
    hidden = ((inside < 0.0) | (inside >= frame_size_px)).any(axis=2)
    if bar is not None:
        offsets = inside - bar.poses[:, None, :, 2]
        units = offsets @ np.linalg.inv(bar.poses[:, :, :2]).transpose(0, 2, 1)
        hidden |= (np.abs(units) < 0.5).all(axis=2)
    return np.asarray(hidden.mean(axis=1))


def background_views(rng: np.random.Generator, config: SyntheticConfig, image_size_px: tuple[int, int]) -> Floats:
    """Return (N, 2, 3) maps from frame to photograph: a window that pans and zooms inside the photograph."""
    size, image_size = np.array(config.frame_size_px), np.array(image_size_px)
    zooming, *panning = _waves(rng, config, 3)
    zooms = (image_size / size).min() * rng.uniform(0.5, 0.85) * np.exp(0.12 * zooming[:, None])
    room = image_size - zooms * size
    places = rng.uniform(-0.3, 0.3, 2) + 0.7 * config.camera_motion * np.stack(panning, axis=1)
    corners = room * np.clip(0.5 + 0.5 * places, 0.0, 1.0)
    # The centre of pixel i is at i + 0.5, in the frame and in the photograph.
    return _poses(corners + 0.5 * zooms - 0.5, zooms, np.zeros(config.num_frames))


def light_factors(rng: np.random.Generator, config: SyntheticConfig) -> Floats:
    """Return (N,) factors of the brightness; all 1 in half of the videos."""
    (wave,) = _waves(rng, config, 1)
    return np.asarray(1.0 + (config.light_change if rng.random() < 0.5 else 0.0) * wave)


def _waves(rng: np.random.Generator, config: SyntheticConfig, count: int) -> Floats:
    """Return (count, N) smooth curves in [-1, 1], each of two slow waves."""
    periods = rng.uniform((60.0, 25.0), (160.0, 60.0), (count, 2))
    phases = rng.uniform(0.0, 2.0 * math.pi, (count, 2))
    strengths = rng.uniform(0.2, 1.0, (count, 1)) * np.array([0.75, 0.25])
    turns = 2.0 * math.pi * np.arange(config.num_frames)
    waves = strengths[:, :, None] * np.sin(turns / periods[:, :, None] + phases[:, :, None])
    return np.asarray(waves.sum(axis=1))


def _path(rng: np.random.Generator, config: SyntheticConfig, step: float, margin: float) -> Floats:
    """Return (N, 2) centres that move by at most `step` px per frame, reflected at a margin inside the frame."""
    turning, hurrying = _waves(rng, config, 2)
    heading = rng.uniform(0.0, 2.0 * math.pi) + 2.5 * turning
    pace = step * (0.6 + 0.4 * hurrying)
    moves = np.stack([pace * np.cos(heading), pace * np.sin(heading)], axis=1)
    room = np.maximum(np.array(config.frame_size_px) - 2.0 * margin, 1.0)
    unfolded = rng.random(2) * room + np.cumsum(moves, axis=0) - moves[0]
    folded = np.mod(unfolded, 2.0 * room)
    return np.asarray(margin + np.minimum(folded, 2.0 * room - folded))


def _poses(centres: Floats, sizes: Floats, angles: Floats) -> Floats:
    """Return (N, 2, 3) maps that scale, then turn, then shift."""
    cos, sin = np.cos(angles), np.sin(angles)
    turns = np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2)
    return np.concatenate([turns * sizes[:, None], centres[:, :, None]], axis=2)


def _map_points(poses: Floats, points: Floats) -> Floats:
    """Return (N, P, 2) points under N maps."""
    return points @ poses[:, :, :2].transpose(0, 2, 1) + poses[:, None, :, 2]


def _within(outline: Floats, points: Floats) -> NDArray[np.bool_]:
    """Return which points lie inside the outline, by crossings of a ray to the right."""
    start, end = outline, np.roll(outline, -1, axis=0)
    x, y = points[:, :1], points[:, 1:]
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    rise = np.where(end[:, 1] == start[:, 1], 1.0, end[:, 1] - start[:, 1])
    crossing = start[:, 0] + (y - start[:, 1]) * (end[:, 0] - start[:, 0]) / rise
    return np.asarray((spans & (x < crossing)).sum(axis=1) % 2 == 1)


def _outline(rng: np.random.Generator) -> Floats:
    """Return (P, 2) corners of an ellipse, a rounded rectangle, a blob or a rounded polygon, bounds [-0.5, 0.5]."""
    angles = np.arange(_OUTLINE_POINTS) * (2.0 * math.pi / _OUTLINE_POINTS)
    kind = int(rng.integers(4))
    power, num_corners = rng.uniform(3.0, 7.0), int(rng.integers(3, 7))
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
        radii = np.convolve(np.pad(flat, 5, mode="wrap"), np.full(11, 1.0 / 11.0), mode="valid")
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    low, high = points.min(axis=0), points.max(axis=0)
    return np.asarray((points - low) / (high - low) - 0.5)
