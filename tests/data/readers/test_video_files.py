"""Frames of video files in any order, in any process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ctsdk.data.readers.video_files import VideoFile, open_video_file
from ctsdk.errors import DataError
from ctsdk.video import open_frames, write_video

NUM_FRAMES = 30


def moving_noise() -> list[NDArray[np.uint8]]:
    """Frames that look like the one before, so that the codec stores differences."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8), (0, 0), 2)
    return [np.roll(noise, 2 * number, axis=1) for number in range(NUM_FRAMES)]


def write_avi(path: Path, codec: str) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25.0, (64, 48))
    assert writer.isOpened()
    for frame in moving_noise():
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", moving_noise())


@pytest.mark.parametrize("kind", ["mp4v in mp4", "MJPG in avi", "XVID in mkv"])
def test_any_order_gives_what_reading_from_the_start_gives(tmp_path: Path, kind: str) -> None:
    codec, _, suffix = kind.partition(" in ")
    file = tmp_path / f"clip.{suffix}"
    path = write_video(file, moving_noise()) if suffix == "mp4" else write_avi(file, codec)
    frames, video = list(open_frames(path)), open_video_file(path)
    assert video.num_frames(None) == len(frames) == NUM_FRAMES
    order = [*range(NUM_FRAMES), *random.Random(0).choices(range(NUM_FRAMES), k=20), 29, 29, 0, 0, 1]
    for index in order:
        np.testing.assert_array_equal(video(index), frames[index])


def test_a_frame_that_was_drawn_on_is_read_anew(path: Path) -> None:
    video = open_video_file(path)
    before = video(4).copy()
    video(4)[:] = 0
    np.testing.assert_array_equal(video(4), before)


def test_more_videos_than_may_be_open(tmp_path: Path) -> None:
    frames = moving_noise()[:3]
    videos = [
        open_video_file(write_video(tmp_path / f"{number}.mp4", [frame // (number + 1) for frame in frames]))
        for number in range(4)
    ]
    means = [[float(video(index).mean()) for video in videos] for index in (0, 2, 1)]
    assert all(np.diff(row).max() < 0 for row in means)


def test_threads_share_a_video(path: Path) -> None:
    frames, video = list(open_frames(path)), open_video_file(path)
    order = random.Random(1).choices(range(NUM_FRAMES), k=40)
    with ThreadPoolExecutor(4) as pool:
        for index, frame in zip(order, pool.map(video, order), strict=True):
            np.testing.assert_array_equal(frame, frames[index])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_process_reads_for_itself(path: Path) -> None:
    frames, video = list(open_frames(path)), open_video_file(path)
    video(9)
    with warnings.catch_warnings():
        # Later Pythons warn of forks beside threads, which a loader's workers are as well.
        warnings.simplefilter("ignore", DeprecationWarning)
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            for index in (9, 10, 3):
                np.testing.assert_array_equal(pool.submit(video, index).result(timeout=60), frames[index])
                np.testing.assert_array_equal(video(index + 1), frames[index + 1])


def test_an_open_video_can_be_sent(path: Path) -> None:
    video = open_video_file(path)
    frame = video(3)
    again: VideoFile = pickle.loads(pickle.dumps(video))
    assert again == video
    np.testing.assert_array_equal(again(3), frame)


def test_a_file_that_was_replaced_is_another_video(path: Path) -> None:
    first = open_video_file(path)(0)
    write_video(path, [255 - frame for frame in moving_noise()[:5]])
    os.utime(path, ns=(1, 1))
    video = open_video_file(path)
    assert video.num_frames(None) == 5
    assert np.abs(video(0).astype(int) - first).mean() > 10


def test_the_announced_number_is_believed_if_it_is_likely(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = open_video_file(path)
    monkeypatch.setattr(VideoFile, "announced", lambda video: (25.0, 40))
    assert [video.num_frames(likely) for likely in (40, 31, None)] == [40, NUM_FRAMES, NUM_FRAMES]


def test_the_end_is_found_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = open_video_file(path)
    for index in (30, 31):
        with pytest.raises(DataError, match=rf"clip\.mp4 ends after 30 frames; frame {index} was asked for"):
            video(index)
    video(29)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: pytest.fail("opened again"))
    with pytest.raises(DataError, match="ends after 30 frames; frame 99"):
        video(99)


def test_a_file_without_frames_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended:
        def __init__(self, *_: object) -> None:
            pass

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return True

        def grab(self) -> bool:
            return False

        def read(self) -> tuple[bool, None]:
            return False, None

        def release(self) -> None:
            pass

    video = open_video_file(path)
    monkeypatch.setattr(cv2, "VideoCapture", Ended)
    for read in (lambda: video.num_frames(None), lambda: list(video.frames())):
        with pytest.raises(DataError, match=r"clip\.mp4 cannot be decoded as a video"):
            read()
    with pytest.raises(DataError, match=r"clip\.mp4 ends after 0 frames"):
        video(0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("start", ["ffconcat version 1.0", "#EXTM3U", "<?xml version='1.0'?><MPD>"])
def test_a_file_that_names_others_is_refused(tmp_path: Path, start: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "clip.mp4"
    path.write_text(f"{start}\nfile 'pipe'\n")
    for read in (open_video_file, open_frames):
        with pytest.raises(DataError, match=r"clip\.mp4 is a list of videos, not one"):
            read(path)


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"clip\.mp4 cannot be read: No such file"):
        open_video_file(tmp_path / "clip.mp4")
    (tmp_path / "clip.mp4").write_bytes(b"no video" * 100)
    video = open_video_file(tmp_path / "clip.mp4")
    for ask in (lambda: video(0), lambda: video.num_frames(None)):
        with pytest.raises(DataError, match=r"clip\.mp4 cannot be decoded as a video.*ffmpeg"):
            ask()
