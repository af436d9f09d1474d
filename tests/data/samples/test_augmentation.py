from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ctsdk.config import DataConfig
from ctsdk.data.samples.augmentation import augment_frame, for_validation, jitter

BOX = (40.0, 30.0, 16.0, 25.0)


def test_validation_keeps_what_crops_have_in_common() -> None:
    data = DataConfig(greyscale=0.1, joint_flip=0.7, brightness=0.3, flip=0.4, mirror_shift_px=0.0, label_shift_px=0.2)

    left = for_validation(data)

    assert (left.greyscale, left.joint_flip, left.brightness, left.flip) == (0.1, 0.7, 0.0, 0.0)
    assert (left.mirror_shift_px, left.label_shift_px) == (0.0, 0.2)


def test_no_jitter_is_the_box_itself() -> None:
    assert jitter(BOX, 0.0, 0.0, np.random.default_rng(0)) == pytest.approx(BOX)


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.floats(0, 5), st.floats(0, 0.5))
def test_the_centre_strays_by_half_the_jitter_at_most(seed: int, centre_jitter: float, scale_jitter: float) -> None:
    x, y, width, height = jitter(BOX, centre_jitter, scale_jitter, np.random.default_rng(seed))

    reach = 0.5 * centre_jitter * (width * height) ** 0.5 + 1e-9
    assert abs(x + 0.5 * width - 48.0) <= reach
    assert abs(y + 0.5 * height - 42.5) <= reach
    assert min(width, height) > 0


def test_sides_grow_and_shrink_apart_from_each_other() -> None:
    rng = np.random.default_rng(0)
    sizes = np.log([jitter(BOX, 3.0, 0.25, rng)[2:] for _ in range(2000)]) - np.log(BOX[2:])

    assert sizes.std(axis=0) == pytest.approx([0.25, 0.25], rel=0.06)
    assert abs(np.corrcoef(sizes.T)[0, 1]) < 0.08


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_frames_are_augmented_and_the_original_is_not(grey: bool, mirrored: bool) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    before = frame.copy()

    seen = augment_frame(frame, grey=grey, mirror=mirrored)

    assert np.array_equal(frame, before)
    if not grey:
        assert np.array_equal(seen, frame[:, ::-1] if mirrored else frame)
    else:
        # What OpenCV makes of the eye's weights for red, green and blue.
        expected = (frame[:, ::-1] if mirrored else frame) @ [0.299, 0.587, 0.114]
        assert np.abs(seen - expected[..., None]).max() <= 1
        assert (seen == seen[..., :1]).all()
