"""Following one target through a video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from ctsdk.boxes import BoxPx
from ctsdk.crops import Pixels
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.session import CropSession, TrackingSession, TrackResult, clip_box

__all__ = ["CropSession", "TrackResult", "TrackingSession", "clip_box", "track"]


def track(
    adapter: TrackerAdapter, tracker: nn.Module, frames: Iterable[Pixels], box_xywh_px: BoxPx
) -> Iterator[TrackResult]:
    """Follow a target through frames; one result a frame, the first is the given box.

    Args:
        adapter: the tracker's adapter.
        tracker: the teacher or a student of it.
        frames: (H, W, 3) uint8 RGB.
        box_xywh_px: the target in the first frame.

    Raises:
        DataError: a frame is not an RGB image, or the box does not lie in the first one.
    """
    session = adapter.session(tracker)
    for index, frame in enumerate(frames):
        if index == 0:
            session.start(frame, box_xywh_px)
            yield TrackResult(box_xywh_px)
        else:
            yield session.update(frame)
