from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ctsdk.data.synthetic.motion import (
    Sprite,
    SyntheticConfig,
    background_views,
    hidden_share,
    light_factors,
    moving_sprite,
    passing_bar,
)
from ctsdk.errors import ConfigError

CONFIG = SyntheticConfig()
SQUARE = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])


def target(seed: int, config: SyntheticConfig = CONFIG) -> Sprite:
    return moving_sprite(np.random.default_rng(seed), config)


def still(x: float, y: float, side: float) -> Sprite:
    """A square of one frame, around a point."""
    return Sprite(SQUARE, np.array([[[side, 0.0, x], [0.0, side, y]]]), np.array([side, side]))


def test_targets_keep_to_the_config() -> None:
    sizes = []
    for seed in range(40):
        boxes = target(seed).boxes_xywh_px()
        centres, size = boxes[:, :2] + 0.5 * boxes[:, 2:], np.sqrt(boxes[:, 2:].prod(axis=1))
        steps = np.hypot(*np.diff(centres, axis=0).T)
        shown = np.minimum(boxes[:, :2] + boxes[:, 2:], CONFIG.frame_size_px) - np.maximum(boxes[:, :2], 0.0)
        assert boxes.shape == (CONFIG.num_frames, 4)
        assert (centres >= 0).all()
        assert (centres < CONFIG.frame_size_px).all()
        assert (steps <= 0.5 * size[1:]).all()
        assert (shown.clip(0).prod(axis=1) / boxes[:, 2:].prod(axis=1)).min() >= 0.4
        sizes.append(float(np.median(size)))
    assert min(sizes) >= CONFIG.target_size_px[0] * math.exp(-CONFIG.scale_change)
    assert max(sizes) <= CONFIG.target_size_px[1] * math.exp(CONFIG.scale_change) * 1.2
    assert max(sizes) > 2 * min(sizes)


def test_targets_move() -> None:
    for seed in range(10):
        boxes = target(seed).boxes_xywh_px()
        assert np.hypot(*np.ptp(boxes[:, :2] + 0.5 * boxes[:, 2:], axis=0)) > 10.0
        assert np.ptp(boxes[:, 2]) > 1.0


def test_a_step_leads_to_the_next_frame_and_the_last_is_repeated() -> None:
    sprite = target(0, replace(CONFIG, num_frames=3))
    centres = sprite.poses[:, :, 2]

    for index, later in enumerate((1, 2, 2)):
        np.testing.assert_array_equal(sprite.step_px(index), centres[later] - centres[later - 1])
    np.testing.assert_array_equal(still(5.0, 5.0, 2.0).step_px(0), [0.0, 0.0])


def test_distractors_are_about_as_large_as_the_target() -> None:
    like = still(100.0, 100.0, 50.0)

    for seed in range(20):
        sprite = moving_sprite(np.random.default_rng(seed), replace(CONFIG, scale_change=0.0, aspect_change=0.0), like)
        assert math.exp(-0.35) <= math.sqrt(math.prod(sprite.size_px)) / 50.0 <= math.exp(0.1)


@pytest.mark.parametrize(
    ("sprite", "bar", "share"),
    [
        (still(50.0, 50.0, 20.0), None, 0.0),
        (still(0.0, 50.0, 20.0), None, 0.5),
        (still(100.0, 80.0, 20.0), None, 0.75),
        (still(-50.0, 50.0, 20.0), None, 1.0),
        (still(50.0, 50.0, 20.0), still(50.0, 50.0, 30.0), 1.0),
        (still(50.0, 50.0, 20.0), still(60.0, 50.0, 20.0), 0.5),
        (still(50.0, 50.0, 20.0), still(80.0, 50.0, 20.0), 0.0),
    ],
)
def test_hidden_is_what_the_bar_covers_or_the_frame_cuts_off(sprite: Sprite, bar: Sprite | None, share: float) -> None:
    assert hidden_share(sprite, bar, (100, 80)) == pytest.approx(share)


def test_bars_cover_most_targets_for_a_while() -> None:
    shares = []
    for seed in range(25):
        sprite = target(seed)
        bar = passing_bar(np.random.default_rng(seed), CONFIG, sprite)
        shares.append(hidden_share(sprite, bar, CONFIG.frame_size_px))
        assert (shares[-1] < 0.7).mean() > 0.5
    assert np.mean([share.max() > 0.7 for share in shares]) > 0.4


@pytest.mark.parametrize("image_size_px", [(640, 480), (300, 900), (9, 300)])
def test_views_stay_inside_the_photograph(image_size_px: tuple[int, int]) -> None:
    outer = np.array([[-0.5, -0.5], CONFIG.frame_size_px]) - np.array([[0.0], [0.5]])
    for seed in range(10):
        views = background_views(np.random.default_rng(seed), replace(CONFIG, camera_motion=1.0), image_size_px)
        seen = outer @ views[:, :, :2].transpose(0, 2, 1) + views[:, None, :, 2]
        assert seen.min() >= -0.5 - 1e-9
        assert (seen.max(axis=(0, 1)) <= np.array(image_size_px) - 0.5 + 1e-9).all()


def test_light_changes_in_half_of_the_videos_within_the_limit() -> None:
    lights = np.array([light_factors(np.random.default_rng(seed), CONFIG) for seed in range(100)])
    changes = np.abs(lights - 1.0).max(axis=1)

    assert 35 <= (changes > 0.0).sum() <= 65
    assert 0.15 < changes.max() <= CONFIG.light_change


@pytest.mark.parametrize(
    "wrong",
    [
        {"occlusion": 1.5},
        {"recolour": -0.1},
        {"speed": -1.0},
        {"noise": math.nan},
        {"num_frames": 0},
        {"num_distractors": (2, 1)},
        {"target_size_px": (30.0, 20.0)},
        {"target_size_px": (30.0, 130.0)},
        {"target_size_px": (1.0, 20.0)},
    ],
    ids=str,
)
def test_wrong_configs_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"SyntheticConfig.*{next(iter(wrong))}"):
        SyntheticConfig(**wrong)
