from __future__ import annotations

import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ctsdk.data.synthetic.motion import SyntheticConfig
from ctsdk.data.synthetic.photographs import procedural_textures
from ctsdk.data.synthetic.videos import synthetic_video, synthetic_videos
from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError

PLAIN = SyntheticConfig(num_distractors=(0, 0), occlusion=0.0, light_change=0.0, blur=0.0, noise=0.0, recolour=0.0)
SEEDS = range(25)


@pytest.fixture(scope="module")
def textures() -> list[NDArray[np.uint8]]:
    return procedural_textures(seed=1, count=5)


def silhouette(seed: int, config: SyntheticConfig) -> tuple[Video, NDArray[np.float64]]:
    """A video, and (N, H, W) in [0, 1]: how much of each pixel its target covers."""
    white = np.full((300, 400, 3), 255, dtype=np.uint8)
    video = synthetic_video([white, np.zeros_like(white)], seed, config)
    drawn = np.stack([video.frame(index)[..., 0] for index in range(len(video))]) / 255.0
    # The background is white or black, whichever image it was made from.
    return video, 1.0 - drawn if drawn.mean() > 0.5 else drawn


def extent(cover: NDArray[np.float64]) -> tuple[float, float]:
    """Where a profile of coverage rises above and falls below one half, in fractions of a pixel."""
    inside = np.flatnonzero(cover >= 0.5)
    first, last = int(inside[0]), int(inside[-1])
    rise = (cover[first] - 0.5) / (cover[first] - cover[first - 1])
    fall = (cover[last] - 0.5) / (cover[last] - cover[last + 1])
    return first + 0.5 - rise, last + 0.5 + fall


def test_target_touches_all_four_sides_of_its_box() -> None:
    config, checked = replace(PLAIN, num_frames=6, speed=0.5, scale_change=0.5), 0
    for seed in SEEDS:
        video, cover = silhouette(seed, config)
        for index, (x, y, width, height) in enumerate(video.boxes_xywh_px):
            if min(x, y) < 1.0 or x + width > 319.0 or y + height > 239.0:
                continue
            left, right = extent(cover[index].max(axis=0))
            top, bottom = extent(cover[index].max(axis=1))
            assert (left, top, right, bottom) == pytest.approx((x, y, x + width, y + height), abs=0.5)
            checked += 1
    assert checked > 100


def test_target_fills_a_good_part_of_its_box_and_nothing_outside() -> None:
    for seed in SEEDS:
        video, cover = silhouette(seed, replace(PLAIN, num_frames=2))
        x, y, width, height = video.boxes_xywh_px[0]
        box = (slice(max(0, int(y) - 2), int(y + height) + 3), slice(max(0, int(x) - 2), int(x + width) + 3))
        inside = cover[0][box].sum()
        assert inside == pytest.approx(cover[0].sum(), abs=1e-6)
        shown = (min(320.0, x + width) - max(0.0, x)) * (min(240.0, y + height) - max(0.0, y))
        assert 0.35 * shown < inside <= 1.05 * shown


def test_same_arguments_give_the_same_video(textures: list[NDArray[np.uint8]]) -> None:
    first, again, other = (synthetic_video(textures, seed) for seed in (4, 4, 5))
    frames = [first.frame(index) for index in (0, 30, 59)]

    # In another order, and after another video, because frames must not depend on what was read before.
    assert not np.array_equal(other.frame(30), frames[1])
    for index, frame in zip((59, 30, 0), reversed(frames), strict=True):
        np.testing.assert_array_equal(again.frame(index), frame)
    np.testing.assert_array_equal(again.boxes_xywh_px, first.boxes_xywh_px)
    np.testing.assert_array_equal(again.visible, first.visible)


def test_frames_do_not_depend_on_the_cache(textures: list[NDArray[np.uint8]]) -> None:
    videos = synthetic_videos(300, seed=0, images=textures, config=SyntheticConfig(num_frames=3))
    before = videos[0].frame(1)
    for video in videos:
        video.frame(0)

    np.testing.assert_array_equal(videos[0].frame(1), before)


def test_reading_a_frame_leaves_the_images_and_other_frames_alone(textures: list[NDArray[np.uint8]]) -> None:
    copies = [image.copy() for image in textures]
    video = synthetic_video(textures, 4, replace(PLAIN, camera_motion=0.0))

    frame = video.frame(0)
    kept = frame.copy()
    frame[:] = 0

    np.testing.assert_array_equal(video.frame(0), kept)
    for image, copy in zip(textures, copies, strict=True):
        np.testing.assert_array_equal(image, copy)


def test_video_survives_a_pickle(textures: list[NDArray[np.uint8]]) -> None:
    video = synthetic_video(textures, 4)

    np.testing.assert_array_equal(pickle.loads(pickle.dumps(video)).frame(7), video.frame(7))


def test_frames_have_the_size_and_number_of_the_config(textures: list[NDArray[np.uint8]]) -> None:
    config = SyntheticConfig(frame_size_px=(200, 150), num_frames=7, target_size_px=(20.0, 40.0))
    video = synthetic_video(textures, 0, config, name="mine")

    assert (len(video), video.size_px, video.name) == (7, (200, 150), "mine")
    assert video.frame(6).shape == (150, 200, 3)
    assert video.frame(6).dtype == np.uint8
    assert synthetic_video(textures, 0, replace(config, num_frames=1)).frame(0).shape == (150, 200, 3)


def test_bar_hides_the_target_for_a_while_and_the_box_goes_on(textures: list[NDArray[np.uint8]]) -> None:
    with_bar, without = replace(PLAIN, occlusion=1.0), PLAIN
    hidden = 0
    for seed in SEEDS:
        video, plain = synthetic_video(textures, seed, with_bar), synthetic_video(textures, seed, without)
        assert plain.visible.all()
        np.testing.assert_array_equal(video.boxes_xywh_px, plain.boxes_xywh_px)
        assert video.visible.mean() > 0.5
        for index in np.flatnonzero(~video.visible)[:1]:
            hidden += 1
            x, y, width, height = video.boxes_xywh_px[index]
            middle = (
                slice(int(y + 0.3 * height), int(y + 0.7 * height)),
                slice(int(x + 0.3 * width), int(x + 0.7 * width)),
            )
            changed = (video.frame(index)[middle] != plain.frame(index)[middle]).any(axis=2)
            assert changed.mean() > 0.6
    assert hidden >= 8


@pytest.mark.parametrize(
    "change",
    [
        {"num_distractors": (2, 2)},
        {"noise": 6.0},
        {"light_change": 0.5},
        {"blur": 1.0},
        {"recolour": 1.0},
        {"camera_motion": 0.0},
        {"rotation_deg": 0.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_switch_changes_pixels(textures: list[NDArray[np.uint8]], change: dict[str, Any]) -> None:
    changed = [
        not np.array_equal(
            synthetic_video(textures, seed, replace(PLAIN, **change)).frame(30),
            synthetic_video(textures, seed, PLAIN).frame(30),
        )
        for seed in range(6)
    ]

    assert any(changed)


def test_target_comes_from_another_image_than_the_background() -> None:
    colours = [np.full((200, 200, 3), level, dtype=np.uint8) for level in (40, 120, 200)]
    for seed in range(20):
        video = synthetic_video(colours, seed, PLAIN)
        frame = video.frame(0)
        x, y, width, height = video.boxes_xywh_px[0]
        middle = frame[min(239, max(0, int(y + height / 2))), min(319, max(0, int(x + width / 2))), 0]
        levels, counts = np.unique(frame[..., 0], return_counts=True)
        assert int(middle) in (40, 120, 200)
        assert int(middle) != int(levels[counts.argmax()])


def test_target_is_cut_where_there_is_something_to_see() -> None:
    # Uniform but for a textured corner: a target cut at random would mostly be uniform.
    image = np.full((300, 400, 3), 128, dtype=np.uint8)
    image[:, 200:] = np.random.default_rng(0).integers(0, 256, (300, 200, 1), dtype=np.uint8)
    contrasts = []
    for seed in range(20):
        video = synthetic_video([image, image], seed, replace(PLAIN, target_size_px=(30.0, 30.0)))
        x, y, width, height = video.boxes_xywh_px[0]
        cut = video.frame(0)[int(y + 0.3 * height) : int(y + 0.7 * height), int(x + 0.3 * width) : int(x + 0.7 * width)]
        contrasts.append(float(cut.std()) if cut.size else math.inf)
    assert np.mean(np.array(contrasts) > 5.0) > 0.8


def test_videos_have_names_and_seeds_of_their_own(textures: list[NDArray[np.uint8]]) -> None:
    videos = synthetic_videos(5, seed=3, images=textures)
    more = synthetic_videos(2, seed=4, images=textures)

    assert [video.name for video in videos] == [f"synthetic-3-{number}" for number in range(5)]
    starts = {tuple(video.boxes_xywh_px[0]) for video in (*videos, *more)}
    assert len(starts) == 7
    # The first of more are the same, so that a data set can grow.
    np.testing.assert_array_equal(synthetic_videos(2, 3, textures)[1].frame(0), videos[1].frame(0))


def test_without_images_textures_are_made() -> None:
    (video,) = synthetic_videos(1, seed=0)

    assert video.frame(0).std() > 5.0


def test_small_and_odd_images_will_do() -> None:
    images = [np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8) for shape in ((9, 300, 3), (50, 8, 3))]

    assert synthetic_video(images, 0).frame(3).shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "from 0 images"),
        ([np.zeros((50, 50, 3), np.uint8)], "from 1 images"),
        ([np.zeros((50, 50, 3), np.uint8), np.zeros((50, 50), np.uint8)], r"\(50, 50\) of uint8"),
    ],
)
def test_wrong_images_are_refused(images: list[NDArray[np.uint8]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        synthetic_video(images, 0)


def test_negative_seeds_are_refused(textures: list[NDArray[np.uint8]]) -> None:
    for call in (lambda: synthetic_video(textures, -1), lambda: synthetic_videos(1, -1)):
        with pytest.raises(ConfigError, match="seed -1"):
            call()
