"""Promises of sessions, which follow one target through frames. For adapters whose capabilities name "session"."""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from ctsdk.boxes import BoxPx
from ctsdk.crops import Pixels
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.testing.forward import check_boxes_are_shares_of_the_crop, check_losses_are_finite_scalars
from ctsdk.testing.promise import promise, require, setting
from ctsdk.tracking import track

__all__ = [
    "check_session_is_deterministic",
    "check_session_returns_boxes_inside_frame",
    "check_session_survives_a_target_that_leaves",
]

_WIDTH_PX, _HEIGHT_PX = 160, 120
_BOX_XYWH_PX = (60.0, 40.0, 30.0, 24.0)
# A box clipped to the border may pass it by the rounding of left + width.
_ROUNDING_PX = 1e-6


@promise(needs=(check_boxes_are_shares_of_the_crop, check_losses_are_finite_scalars), capability="session")
def check_session_returns_boxes_inside_frame(adapter: TrackerAdapter) -> None:
    """A session of the teacher or of a student follows a box through frames and never leaves them."""
    for tracker in (adapter.teacher, setting(adapter).student):
        for box_xywh_px in _follow(adapter, tracker, _noise(3), _BOX_XYWH_PX):
            _require_inside(box_xywh_px, "frames of noise")


@promise(needs=(check_session_returns_boxes_inside_frame,), capability="session")
def check_session_is_deterministic(adapter: TrackerAdapter) -> None:
    """A session gives the same boxes each time, also while another one runs."""
    frames = _noise(4)
    expected = _follow(adapter, adapter.teacher, frames, _BOX_XYWH_PX)
    again = _follow(adapter, adapter.teacher, frames, _BOX_XYWH_PX)
    session, other = adapter.session(adapter.teacher), adapter.session(adapter.teacher)
    session.start(frames[0], _BOX_XYWH_PX)
    other.start(frames[1], (10.0, 12.0, 40.0, 30.0))
    beside = [_BOX_XYWH_PX]
    for frame in frames[1:]:
        beside.append(session.update(frame).box_xywh_px)
        other.update(frame[::-1].copy())
    fix = "keep what a session remembers in the session, not in the adapter or the tracker, and draw nothing at random."
    require(again == expected, f"a second session on the same frames gave {again} after {expected}.", fix)
    require(beside == expected, f"beside another session, the same frames gave {beside} instead of {expected}.", fix)


@promise(needs=(check_session_returns_boxes_inside_frame,), capability="session")
def check_session_survives_a_target_that_leaves(adapter: TrackerAdapter) -> None:
    """A session continues when its target is at the border, covered or gone, and keeps its boxes inside the frame."""
    black, white = (np.full((_HEIGHT_PX, _WIDTH_PX, 3), value, dtype=np.uint8) for value in (0, 255))
    frames = [*_noise(2), black, black, white, *_noise(3), *[black] * 6, *_noise(1)]
    corner = (_WIDTH_PX - 24.0, _HEIGHT_PX - 20.0, 24.0, 20.0)
    for box_xywh_px in (corner, (0.0, 0.0, 12.0, 90.0)):
        for found in _follow(adapter, adapter.teacher, frames, box_xywh_px):
            _require_inside(found, "frames in which the target leaves")


def _follow(adapter: TrackerAdapter, tracker: nn.Module, frames: list[Pixels], box_xywh_px: BoxPx) -> list[BoxPx]:
    return [result.box_xywh_px for result in track(adapter, tracker, frames, box_xywh_px)]


def _noise(count: int) -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (count, _HEIGHT_PX, _WIDTH_PX, 3), dtype=np.uint8))


def _require_inside(box_xywh_px: BoxPx, where: str) -> None:
    x, y, w, h = box_xywh_px
    is_inside = (
        all(math.isfinite(value) for value in box_xywh_px)
        and min(w, h) > 0
        and min(x, y) >= 0
        and x + w <= _WIDTH_PX + _ROUNDING_PX
        and y + h <= _HEIGHT_PX + _ROUNDING_PX
    )
    require(
        is_inside,
        f"on {where} of {_WIDTH_PX} x {_HEIGHT_PX} px, session.update() gave {box_xywh_px}; expected a box inside.",
        "clip the box, as ctsdk.tracking.clip_box does, and give the last one where the tracker finds nothing.",
    )
