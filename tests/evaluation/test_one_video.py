"""Tracking one video: what is read when, what is recorded, and what errors say."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from ctsdk.engine.session import TrackResult
from ctsdk.errors import DataError
from ctsdk.evaluation.one_video import track_video
from tests.helpers.evaluations import Frames, make_video
from tests.helpers.toy import ToyAdapter, toy_adapter

ADAPTER = toy_adapter()


@dataclass
class Remembered:
    """Frames that remember what was read of them, and by which thread."""

    read: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def __call__(self, index: int) -> NDArray[np.uint8]:
        self.read.append(index)
        self.threads.add(threading.get_ident())
        return Frames()(index)


class Clumsy:
    """A session that always returns the same box, until it fails."""

    def __init__(self, last: tuple[float, ...], fails_at: int) -> None:
        self.last, self.fails_at, self.num_updates = last, fails_at, 0

    def start(self, frame: NDArray[np.uint8], box_xywh_px: tuple[float, ...]) -> None:
        pass

    def update(self, frame: NDArray[np.uint8]) -> TrackResult:
        self.num_updates += 1
        if self.num_updates == self.fails_at:
            raise ZeroDivisionError("a slip")
        return TrackResult(self.last, 0.5)  # type: ignore[arg-type]


class ClumsyAdapter(ToyAdapter):
    """Its trackers do not look at frames."""

    last: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0)
    fails_at = -1

    def session(self, tracker: nn.Module) -> Clumsy:  # type: ignore[override]
        return Clumsy(self.last, self.fails_at)


def is_reading() -> bool:
    return any(thread.name.startswith("frames") for thread in threading.enumerate())


def test_frames_are_read_once_in_order_a_little_ahead_and_elsewhere() -> None:
    reader, ahead = Remembered(), []
    made = replace(make_video("a", 12), read_frame=reader)
    track_video(ADAPTER, ADAPTER.teacher, made, lambda _: ahead.append(len(reader.read)))
    assert reader.read == list(range(12))
    assert max(seen - done for done, seen in enumerate(ahead, start=1)) <= 5
    assert reader.threads.isdisjoint({threading.get_ident()})
    assert not is_reading()


def test_boxes_and_confidences_are_the_trackers() -> None:
    tracked = track_video(ClumsyAdapter(ADAPTER.teacher), ADAPTER.teacher, make_video("a", 3))
    assert tracked.boxes_xywh_px.tolist() == [[20.0, 20.25, 16.0, 16.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]
    assert np.isnan(tracked.confidences[0])
    assert tracked.confidences[1:].tolist() == [0.5, 0.5]
    assert (tracked.seconds >= 0).all()


def test_one_frame_is_a_video() -> None:
    assert len(track_video(ADAPTER, ADAPTER.teacher, make_video("a", 1))) == 1


def test_a_box_that_is_no_box_is_the_videos_fault() -> None:
    lost = ClumsyAdapter(ADAPTER.teacher)
    lost.last = (1.0, float("nan"), 3.0, 4.0)
    with pytest.raises(DataError, match="video 'a': box 1 is"):
        track_video(lost, ADAPTER.teacher, make_video("a"))


def test_an_error_of_the_tracker_stops_the_reading_and_says_where() -> None:
    slips = ClumsyAdapter(ADAPTER.teacher)
    slips.fails_at = 2
    reader = Remembered()
    with pytest.raises(ZeroDivisionError, match="a slip") as caught:
        track_video(slips, ADAPTER.teacher, replace(make_video("a", 500), read_frame=reader))
    assert caught.value.__notes__ == ["while tracking video 'a'"]
    assert len(reader.read) < 20
    assert not is_reading()


def test_an_error_of_the_package_begins_with_the_video() -> None:
    with pytest.raises(DataError, match=r"^video 'a': the frame is gone$"):
        track_video(ADAPTER, ADAPTER.teacher, make_video("a", broken=4))
