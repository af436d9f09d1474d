from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from ctsdk.boxes import BoxPx
from ctsdk.crops import box_in_crop, crop_square
from ctsdk.data.samples.unreadable import UnreadableError
from ctsdk.data.samples.views import Frames, View, draw_views
from ctsdk.engine.batch import Prediction, TrackerSpec
from ctsdk.errors import DataError
from ctsdk.tracking import CropSession
from tests.helpers.counted_videos import SIZE_PX, Counted, augment_only, frames_read, make_video
from tests.helpers.toy import toy_adapter

SPEC = TrackerSpec(template_size=32, search_size=64)
EXACT = augment_only(label_shift_px=0.0)

BLACK = np.zeros((SIZE_PX[1], SIZE_PX[0], 3), dtype=np.uint8)
ADAPTER = toy_adapter()

# Sessions keep boxes inside the frame, and at least 10 px large.
boxes = st.tuples(st.floats(8, 70), st.floats(8, 50), st.floats(12, 30), st.floats(12, 30))
whole_boxes = st.tuples(st.integers(20, 70), st.integers(15, 50), st.integers(6, 24), st.integers(6, 24))
# The box to crop around: how far its centre is off, in target sizes, and how much larger it is.
strays = st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0.7, 1.4))


def around(box: BoxPx, stray: tuple[float, float, float]) -> BoxPx:
    x, y, width, height = box
    off_x, off_y, scale = stray
    size = (width * height) ** 0.5
    new_width, new_height = scale * width, scale * height
    return (
        x + 0.5 * (width - new_width) + off_x * size,
        y + 0.5 * (height - new_height) + off_y * size,
        new_width,
        new_height,
    )


class Fixed(CropSession):
    """A session whose tracker gives a fixed answer."""

    answer: tuple[float, float, float, float]

    def look(self, searches: Tensor) -> Prediction:
        x, y, width, height = self.answer
        return Prediction(torch.tensor([[x + 0.5 * width, y + 0.5 * height, width, height]], dtype=torch.float64))


@settings(deadline=None, derandomize=True)
@given(boxes, strays)
def test_a_label_mapped_back_to_the_frame_is_the_box(box: BoxPx, stray: tuple[float, float, float]) -> None:
    """Training's map into the crop and tracking's map out of it differ by the half pixel that all trackers learn."""
    last = around(box, stray)
    session = Fixed(ADAPTER, ADAPTER.teacher)
    session.start(BLACK, last)
    factor, size = ADAPTER.spec.search_factor, ADAPTER.spec.search_size
    session.answer = box_in_crop(box, last, factor, size)

    found = session.update(BLACK).box_xywh_px

    half_pixel = 0.5 / crop_square(BLACK, last, factor, size).resize_factor
    assert found == pytest.approx((box[0] - half_pixel, box[1] - half_pixel, *box[2:]), abs=1e-3)


@settings(deadline=None, derandomize=True)
@given(whole_boxes, strays, st.booleans())
def test_a_label_lies_on_the_target(box: BoxPx, stray: tuple[float, float, float], mirrored: bool) -> None:
    """Up to the rounding of the crop's corner and of the marks' edges, if boxes are to be exact."""
    frame = Counted(np.array([box], dtype=np.float64))(0)
    view = View(0, box, around(box, stray), SPEC.search_factor, SPEC.search_size)

    cut = view.cut(frame, augment_only(label_shift_px=0.0, flip=float(mirrored)), np.random.default_rng(0))

    bright = cut.pixels[..., 0].astype(float) / 255.0
    bright[bright < 0.02] = 0.0
    rows, columns = np.indices(bright.shape) + 0.5
    middle = np.array([(bright * columns).sum(), (bright * rows).sum()]) / bright.sum()
    x, y, width, height = (SPEC.search_size * value for value in cut.box_xywh)
    side = SPEC.search_size / crop_square(frame, view.around_xywh_px, view.factor, view.size).resize_factor
    assert middle == pytest.approx([x + 0.5 * width, y + 0.5 * height], abs=0.6 * SPEC.search_size / side + 0.1)
    assert bright.sum() == pytest.approx(width * height, rel=0.1, abs=6)


def test_labels_are_off_by_what_is_asked() -> None:
    view = View(0, (40.0, 30.0, 16.0, 16.0), (40.0, 30.0, 16.0, 16.0), 4.0, 64)

    middles = []
    for shift in (0.5, 0.0):
        x, y, width, height = view.cut(BLACK, augment_only(label_shift_px=shift), np.random.default_rng(0)).box_xywh
        middles.append((x + 0.5 * width, y + 0.5 * height))

    assert middles == [pytest.approx((31.5 / 64, 31.5 / 64)), pytest.approx((0.5, 0.5))]


def test_frames_are_read_once_and_only_where_needed() -> None:
    known, unknown = make_video([True] * 5), make_video([True] * 5, smaller_from=3)
    for video in (known, unknown):
        frames = Frames(video)
        assert frames.size_px(1) == SIZE_PX
        assert frames_read(video) == ([] if video is known else [1])
        assert frames.pixels(1) is frames.pixels(1)
        assert frames_read(video) == [1]
    assert Frames(unknown).size_px(4) == (3 * SIZE_PX[0] // 4, SIZE_PX[1])


def test_a_frame_that_cannot_be_read_says_so() -> None:
    with pytest.raises(UnreadableError, match=r"image 2\.jpg is damaged"):
        Frames(make_video([True] * 5, broken=[2])).pixels(2)
    with pytest.raises(UnreadableError, match="is 120 x 90 px; expected the video's 121 x 90"):
        Frames(replace(make_video([True] * 5), size_px=(121, 90))).pixels(2)


def test_mirrored_boxes_are_off_by_what_is_asked() -> None:
    frames, rng = Frames(make_video([True] * 5, (40, 30, 16, 12))), np.random.default_rng(0)
    still = replace(SPEC, search_centre_jitter=0.0, search_scale_jitter=0.0)

    lefts = []
    for shift in (None, 1.0, 0.0):
        views = draw_views(frames, [0, 1], still, shift, rng)
        assert views is not None
        lefts.append([view.box_xywh_px[0] for view in views])

    # The pixels 40 to 55 of 120 become the pixels 64 to 79.
    assert lefts == [[40.0, 40.0], [63.0, 63.0], [64.0, 64.0]]


def test_views_take_sizes_and_factors_of_their_kind() -> None:
    spec = replace(SPEC, num_templates=2, template_factor=2.0, search_factor=5.0)

    views = draw_views(Frames(make_video([True] * 5)), [3, 1, 4], spec, None, np.random.default_rng(0))

    assert views is not None
    assert [(view.frame, view.factor, view.size) for view in views] == [(3, 2.0, 32), (1, 2.0, 32), (4, 5.0, 64)]
    assert [view.around_xywh_px == view.box_xywh_px for view in views] == [True, True, False]


@pytest.mark.parametrize("box", [(500, 30, 16, 16), (40, 30, 0, 16), (40, float("nan"), 16, 16), (40, 30, 16, -1)])
def test_no_box_and_padding_only_are_no_views(box: BoxPx) -> None:
    video = make_video([True] * 5, box)

    assert draw_views(Frames(video), [0, 1], SPEC, None, np.random.default_rng(0)) is None
    assert frames_read(video) == []


@pytest.mark.parametrize(
    ("size", "lefts", "shows"),
    [
        (64, (80, 118, -40), True),
        (64, (119, -60, -64), False),
        (40, (-30,), True),
        (40, (-45,), False),
        (8, (80,), True),
        (8, (-10,), False),
    ],
)
def test_a_sliver_of_the_frame_shows_nothing(size: int, lefts: tuple[float, ...], shows: bool) -> None:
    """The first pixels of patches are looked at, 16 px apart: the frame may end in between."""
    for left in lefts:
        around_xywh_px = (left + 32.0 - 8.0, 40.0, 16.0, 16.0)  # the square of 64 px begins at `left`

        assert View(0, around_xywh_px, around_xywh_px, 4.0, size).shows_something(SIZE_PX) is shows


def test_a_window_below_a_pixel_is_refused() -> None:
    with pytest.raises(DataError, match="has a side of 0 px"):
        View(0, (1, 1, 0, 1), (1, 1, 0, 1), 2.0, 32).shows_something(SIZE_PX)
