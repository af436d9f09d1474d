from __future__ import annotations

import json
import math
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ctsdk.crops import box_in_crop, check_box_in_frame, check_frame, crop_square, import_cv2, normalise
from ctsdk.errors import DataError
from tests.helpers import golden_sequence

GOLDEN = json.loads((Path(__file__).parent / "golden" / "ostrack_crops.json").read_text())["crops"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def frame() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(1, 256, (60, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: f"frame{golden['frame']}-side{golden['side']}")
def test_crop_has_the_bytes_of_the_official_tracker(golden: dict[str, Any]) -> None:
    crop = crop_square(
        golden_sequence.frame(golden["frame"]), golden["around_xywh_px"], golden["factor"], golden["size"]
    )

    assert (crop.side, crop.left, crop.top) == (golden["side"], golden["left"], golden["top"])
    assert crop.resize_factor == golden["size"] / golden["side"]
    assert crop.padding.mean() == golden["padded_share"]
    assert zlib.crc32(crop.pixels.tobytes()) == golden["crc32"]


def test_crop_inside_the_frame_is_the_frame(frame: NDArray[np.uint8]) -> None:
    crop = crop_square(frame, (30, 20, 10, 10), 2.0, 20)

    np.testing.assert_array_equal(crop.pixels, frame[15:35, 25:45])
    assert not crop.padding.any()


def test_crop_that_touches_right_and_bottom_loses_one_column_and_row(frame: NDArray[np.uint8]) -> None:
    crop = crop_square(frame, (65, 45, 10, 10), 2.0, 20)

    assert (crop.left + crop.side, crop.top + crop.side) == (80, 60)
    np.testing.assert_array_equal(crop.pixels[:19, :19], frame[40:59, 60:79])
    assert not crop.pixels[19].any()
    assert not crop.pixels[:, 19].any()
    np.testing.assert_array_equal(crop.padding, (crop.pixels == 0).all(axis=2))


def test_crop_that_touches_left_and_top_loses_nothing(frame: NDArray[np.uint8]) -> None:
    crop = crop_square(frame, (5, 5, 10, 10), 2.0, 20)

    np.testing.assert_array_equal(crop.pixels, frame[:20, :20])


@pytest.mark.parametrize("x", [-200, 79, 80, 300])
def test_crop_outside_the_frame_is_black(frame: NDArray[np.uint8], x: float) -> None:
    crop = crop_square(frame, (x + 5, 5, 10, 10), 2.0, 32)

    assert not crop.pixels.any()
    assert crop.padding.all()


@pytest.mark.parametrize(
    ("x", "left"),
    # Half a pixel goes to the even neighbour: 0.5 -> 0, 1.5 -> 2, -0.5 -> 0.
    [(5.5, 0), (6.5, 2), (4.5, 0)],
)
def test_corner_rounds_half_to_even(frame: NDArray[np.uint8], x: float, left: int) -> None:
    assert crop_square(frame, (x, 20, 10, 10), 2.0, 20).left == left


def test_side_rounds_up(frame: NDArray[np.uint8]) -> None:
    crop = crop_square(frame, (30, 20, 10.001, 10), 2.0, 42)

    assert crop.side == 21
    assert crop.resize_factor == 2.0


@pytest.mark.parametrize("box", [(5, 5, 0, 10), (5, 5, 10, -1), (5, 5, -3, -3)])
def test_crop_around_no_area_is_refused(frame: NDArray[np.uint8], box: Any) -> None:
    with pytest.raises(DataError, match="side of 0 px"):
        crop_square(frame, box, 2.0, 32)


@pytest.mark.parametrize("box", [(5, 5, math.nan, 10), (math.inf, 5, 10, 10)])
def test_crop_around_an_infinite_box_is_refused(frame: NDArray[np.uint8], box: Any) -> None:
    with pytest.raises(DataError, match="not finite"):
        crop_square(frame, box, 2.0, 32)


@pytest.mark.parametrize("box", [(1, 2, 3), 7, None, ("a", 1, 2, 3)])
def test_what_is_not_a_box_is_refused(frame: NDArray[np.uint8], box: Any) -> None:
    with pytest.raises(DataError, match="expected four numbers"):
        check_box_in_frame(box, frame)


def test_a_box_in_its_own_crop_is_half_a_pixel_off_the_middle() -> None:
    x, y, width, height = box_in_crop((30, 20, 16, 9), (30, 20, 16, 9), 4.0, 256)

    # side = ceil(sqrt(16 * 9) * 4) = 48.
    assert (x + width / 2, y + height / 2) == pytest.approx((127.5 / 256, 127.5 / 256))
    assert (width, height) == pytest.approx((16 / 48, 9 / 48))


def test_a_box_beside_the_crop_is_not_clipped() -> None:
    x, y, width, height = box_in_crop((130, 20, 10, 10), (30, 20, 10, 10), 2.0, 128)

    assert (x, y) == pytest.approx((63.5 / 128 + 100 / 20 - 0.25, 63.5 / 128 - 0.25))
    assert (width, height) == pytest.approx((0.5, 0.5))


def test_normalise_is_the_formula_in_float32() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    mean, std = np.array(MEAN, dtype=np.float32), np.array(STD, dtype=np.float32)
    expected = (pixels.astype(np.float32) / np.float32(255) - mean) / std

    seen = normalise(pixels, MEAN, STD)

    assert seen.dtype == torch.float32
    assert seen.is_contiguous()
    np.testing.assert_array_equal(seen.numpy(), expected.transpose(2, 0, 1))


def test_normalise_takes_many_and_read_only_crops() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 6, 3), dtype=np.uint8)
    pixels.flags.writeable = False

    seen = normalise(pixels, MEAN, STD)

    assert seen.shape == (2, 5, 3, 4, 6)
    torch.testing.assert_close(seen[1, 3], normalise(pixels[1, 3], MEAN, STD), rtol=0, atol=0)


def test_normalise_leaves_the_pixels_alone() -> None:
    pixels = np.full((4, 4, 3), 9, dtype=np.uint8)

    normalise(pixels, MEAN, STD)

    assert (pixels == 9).all()


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        (np.zeros((4, 4), np.uint8), r"\(4, 4\) of uint8"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((3, 4, 4), np.uint8), r"\(3, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), "a Tensor"),
        (None, "a NoneType"),
    ],
)
def test_what_is_not_an_rgb_image_is_refused(wrong: object, seen: str) -> None:
    with pytest.raises(DataError, match=f"a frame is .*{seen}"):
        check_frame(wrong)


def test_boxes_that_overlap_the_frame_pass(frame: NDArray[np.uint8]) -> None:
    check_frame(frame)
    for box in [(0, 0, 80, 60), (-5, -5, 6, 6), (79.5, 59.5, 10, 10)]:
        check_box_in_frame(box, frame)


@pytest.mark.parametrize("box", [(80, 0, 5, 5), (0, 60, 5, 5), (-5, 0, 5, 5), (0, -9, 5, 5), (3, 3, 0, 5)])
def test_boxes_without_area_in_the_frame_are_refused(frame: NDArray[np.uint8], box: Any) -> None:
    with pytest.raises(DataError, match="no area inside the frame of 80 x 60 px"):
        check_box_in_frame(box, frame)


def test_missing_opencv_is_a_data_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)

    with pytest.raises(DataError, match=r"pip install 'ctsdk\[ostrack\]'"):
        import_cv2()


def test_importing_the_data_modules_imports_neither_opencv_nor_scikit_image() -> None:
    code = "import sys, ctsdk.data.samples.sources; sys.exit(' '.join({'cv2', 'skimage'} & set(sys.modules)) or 0)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
