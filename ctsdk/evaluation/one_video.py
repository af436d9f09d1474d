"""Tracking one video: frames are read ahead, and only the tracker is timed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from torch import nn

from ctsdk.crops import Pixels
from ctsdk.data.videos import Video
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.errors import CtsdkError
from ctsdk.evaluation.results.predictions import TrackedVideo
from ctsdk.tracking import track

__all__ = ["track_video"]

# Frames that are read while the tracker works on an earlier one.
_NUM_AHEAD = 4


def track_video(
    adapter: TrackerAdapter, tracker: nn.Module, video: Video, on_frames: Callable[[int], object] = lambda _: None
) -> TrackedVideo:
    """Follow the target of a video from its first true box to the last frame.

    Args:
        adapter: the tracker's adapter.
        tracker: the teacher or a student.
        video: the video; of its boxes only the first is used.
        on_frames: called with 1 after each frame.

    Returns:
        the boxes, the first one given; the seconds of ``start`` and of each ``update``, reading frames not included;
        the tracker's confidences, NaN where it has none.

    Raises:
        CtsdkError: a frame or the first box cannot be used; the message begins with the video's name.
    """
    x, y, w, h = video.boxes_xywh_px[0].tolist()
    boxes = np.full((len(video), 4), (x, y, w, h))
    seconds, confidences = np.empty(len(video)), np.full(len(video), np.nan)
    begins: list[float] = []

    def begin_each(frames: Iterable[Pixels]) -> Iterator[Pixels]:
        for frame in frames:
            begins.append(time.perf_counter())
            yield frame

    with _errors_that_name(video), _read_ahead(video) as frames:
        for index, result in enumerate(track(adapter, tracker, begin_each(frames), (x, y, w, h))):
            seconds[index] = time.perf_counter() - begins[index]
            boxes[index], confidences[index] = result.box_xywh_px, result.confidence
            on_frames(1)
    return TrackedVideo(video.name, boxes, seconds, confidences)


@contextmanager
def _read_ahead(video: Video) -> Iterator[Iterator[Pixels]]:
    """Give the frames of a video, while a thread reads the next few."""
    reading: deque[Future[Pixels]] = deque()

    def frames() -> Iterator[Pixels]:
        for index in range(len(video)):
            reading.append(reader.submit(video.frame, index))
            if len(reading) > _NUM_AHEAD:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()

    with ThreadPoolExecutor(1, thread_name_prefix="frames") as reader:
        try:
            yield frames()
        finally:
            reader.shutdown(cancel_futures=True)


@contextmanager
def _errors_that_name(video: Video) -> Iterator[None]:
    try:
        yield
    except CtsdkError as error:
        error.args = (f"video {video.name!r}: {error}", *error.args[1:])
        raise
    except Exception as error:
        error.add_note(f"while tracking video {video.name!r}")
        raise
