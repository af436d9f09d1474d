"""Videos in and out: order, colours, laziness, and what happens with files that are no videos."""

from __future__ import annotations

import builtins
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ctsdk.data.readers.video_files import VideoFile
from ctsdk.errors import DataError, OutputError
from ctsdk.video import FrameSource, draw_box, draw_label, open_frames, write_video


def plain(grey: int, size_px: tuple[int, int] = (64, 48)) -> NDArray[np.uint8]:
    return np.full((size_px[1], size_px[0], 3), grey, dtype=np.uint8)


def red() -> NDArray[np.uint8]:
    frame = plain(0)
    frame[..., 0] = 230
    return frame


def save_image(path: Path, frame: NDArray[np.uint8]) -> None:
    assert cv2.imwrite(str(path), frame[..., ::-1])


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- folders ----------------------------------------------------------------------------------------------------------


def test_images_come_in_the_order_of_their_numbers_and_in_rgb(tmp_path: Path) -> None:
    for number in (10, 2, 1, 100):
        save_image(tmp_path / f"img{number}.PNG", plain(number))
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "._img1.png").write_bytes(b"left by a file manager")
    frames = open_frames(tmp_path)
    assert [int(frame[0, 0, 0]) for frame in frames] == [1, 2, 10, 100]
    assert frames.num_frames == 4
    save_image(tmp_path / "img0.png", red())
    np.testing.assert_array_equal(next(iter(open_frames(str(tmp_path)))), red())


def test_images_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    save_image(tmp_path / "1.png", plain(1))
    (tmp_path / "2.png").write_bytes(b"damaged")
    frames = iter(open_frames(tmp_path))
    assert next(frames).shape == (48, 64, 3)
    with pytest.raises(DataError, match=r"2\.png \(7 bytes\) cannot be decoded as an image"):
        next(frames)


@pytest.mark.parametrize("content", [b"", b"half"], ids=["empty", "truncated"])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path, content: bytes) -> None:
    if content:
        encoded = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8))[1]
        content = encoded.tobytes()[:2000]
    (tmp_path / "7.png").write_bytes(content)
    with pytest.raises(DataError, match=r"7\.png .*Copy it again"):
        next(iter(open_frames(tmp_path)))


def test_a_grey_image_with_alpha_still_has_three_channels(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.full((8, 8), 300, dtype=np.uint16))
    cv2.imwrite(str(tmp_path / "2.png"), np.full((8, 8, 4), 9, dtype=np.uint8))
    assert [(frame.shape, frame.dtype) for frame in open_frames(tmp_path)] == [((8, 8, 3), np.dtype(np.uint8))] * 2


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "frames").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        open_frames(tmp_path)


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_written_video_can_be_read_twice(tmp_path: Path) -> None:
    path = write_video(tmp_path / "new" / "clip.mp4", (plain(20 * i) for i in range(10)), frames_per_second=12.5)
    assert left_in(path.parent) == ["clip.mp4"]
    frames = open_frames(path)
    assert (frames.frames_per_second, frames.num_frames) == (12.5, 10)
    for _ in range(2):
        greys = [int(frame.mean()) for frame in frames]
        assert greys == pytest.approx([20 * i for i in range(10)], abs=4)


def test_colours_survive_a_video(tmp_path: Path) -> None:
    (frame,) = open_frames(write_video(tmp_path / "red.mp4", [red()]))
    assert frame.mean(axis=(0, 1)) == pytest.approx([230, 0, 0], abs=12)


@pytest.mark.parametrize("content", [b"", b"these are words\n" * 99], ids=["empty", "text"])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"film\.mp4 .*Copy"):
        open_frames(path)


def test_a_truncated_video_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4", [plain(9)] * 30)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="damaged, incomplete"):
        open_frames(path)


def test_a_video_that_ends_early_gives_what_it_has_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for number in range(40):
        writer.write(np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING, logger="ctsdk"):
        num_read = len(list(open_frames(path)))
    assert 0 < num_read < 40
    assert f"announces 40 frames, {num_read} could be read" in caplog.text


def test_a_single_image_is_no_video(tmp_path: Path) -> None:
    save_image(tmp_path / "img_001.png", plain(1))
    with pytest.raises(DataError, match="is one image; expected a video"):
        open_frames(tmp_path / "img_001.png")


def test_a_missing_source_is_refused() -> None:
    with pytest.raises(DataError, match=r"nowhere\.mp4 does not exist; expected a video file, a folder of images, or"):
        open_frames("nowhere.mp4")


@pytest.mark.parametrize(("announced", "used"), [(0.0, 30.0), (float("nan"), 30.0), (1000.0, 30.0), (240.0, 240.0)])
def test_a_nonsense_frame_rate_becomes_a_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, announced: float, used: float
) -> None:
    path = write_video(tmp_path / "film.mp4", [plain(1)])
    monkeypatch.setattr(VideoFile, "announced", lambda _: (announced, -1))
    frames = open_frames(path)
    assert (frames.frames_per_second, frames.num_frames) == (used, None)


def test_a_camera_is_opened_when_its_frames_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    class Camera:
        def __init__(self, source: object) -> None:
            opened.append(source)
            self._left = 2

        def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
            self._left -= 1
            return (True, plain(5)) if self._left >= 0 else (False, None)

        def release(self) -> None:
            opened.append("released")

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    camera = open_frames("0")
    assert (camera.num_frames, opened) == (None, [])
    assert len(list(itertools.islice(camera, 2))) == 2
    assert opened == [0, "released"]
    with pytest.raises(DataError, match="camera 0 gives no frames"):
        list(camera)


def test_without_opencv_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_image(tmp_path / "1.png", plain(1))
    real_import = builtins.__import__

    def without_cv2(name: str, *args: Any) -> Any:
        if name == "cv2":
            raise ImportError("No module named 'cv2'")
        return real_import(name, *args)

    monkeypatch.setattr(builtins, "__import__", without_cv2)
    with pytest.raises(DataError, match=r"pip install 'ctsdk\[ostrack\]'"):
        next(iter(open_frames(tmp_path)))


# -- writing ----------------------------------------------------------------------------------------------------------


def test_a_failure_leaves_the_old_video_and_no_half_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", [plain(100)])
    before = path.read_bytes()

    def frames() -> Iterator[NDArray[np.uint8]]:
        yield plain(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, frames())
    assert path.read_bytes() == before
    assert left_in(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize(
    ("name", "frames", "message"),
    [
        ("clip.avi", [plain(1)], r"ends in '\.avi'; videos are written as MP4"),
        ("clip.mp4", [], "there are no frames"),
        ("clip.mp4", [plain(1), plain(1, (32, 48))], "frame 1 is 32 x 48 px, the first was 64 x 48"),
        ("clip.mp4", [np.zeros((48, 64), dtype=np.uint8)], r"a frame is shape \(48, 64\)"),
    ],
    ids=["suffix", "none", "sizes", "grey"],
)
def test_what_makes_no_video_is_refused(
    tmp_path: Path, name: str, frames: list[NDArray[np.uint8]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_video(tmp_path / name, frames)
    assert left_in(tmp_path) == []


def test_frames_too_small_for_the_encoder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write an MP4 of 1 x 1 px"):
        write_video(tmp_path / "clip.mp4", [plain(1, (1, 1))])
    assert left_in(tmp_path) == []


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*file/clip\.mp4"):
        write_video(tmp_path / "file" / "clip.mp4", [plain(1)])


def test_an_encoder_that_fails_silently_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VideoFile, "announced", lambda _: (30.0, 1))
    with pytest.raises(OutputError, match="could not be written in full"):
        write_video(tmp_path / "clip.mp4", [plain(1), plain(2)])
    assert left_in(tmp_path) == []


# -- drawing ----------------------------------------------------------------------------------------------------------


def test_a_box_is_drawn_where_it_is() -> None:
    image = plain(128)
    draw_box(image, (20.0, 10.0, 30.0, 25.0), (255, 0, 0), thickness_px=1)
    for row, column in ((22, 20), (22, 50), (10, 35), (35, 35)):
        assert image[row, column].tolist() == pytest.approx([240, 0, 0], abs=15)
    assert image[22, 35].tolist() == [128, 128, 128]


@pytest.mark.parametrize("box", [(float("nan"), 0, 5, 5), (0, 0, float("inf"), 5)])
def test_a_box_that_is_nowhere_is_not_drawn(box: tuple[float, float, float, float]) -> None:
    image = plain(128)
    draw_box(image, box, (255, 0, 0))
    np.testing.assert_array_equal(image, plain(128))


def test_boxes_and_labels_beyond_the_frame_do_no_harm() -> None:
    image = plain(128)
    draw_box(image, (-1e30, 1e30, 2e30, 5), (255, 0, 0))
    for corner in ((-50, -50), (500, 500), (0, 0)):
        draw_label(image, "a label that is far too long for this frame, ä", corner, (255, 255, 255))
    assert image.shape == (48, 64, 3)


def test_any_frames_can_be_a_source() -> None:
    source = FrameSource("made", lambda: iter([plain(1), plain(2)]))
    assert len(list(source)) == 2
