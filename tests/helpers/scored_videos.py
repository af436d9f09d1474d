"""Videos that nobody looks at, only scores: true boxes without frames, and boxes drawn by hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings, strategies as st
from numpy.typing import NDArray

from ctsdk.data.videos import Video

TRUTH = np.array([[10.0, 10.0, 20.0, 20.0]] * 4)
SIZE_PX = (400, 300)

# The same examples in every run, and none of them on disk.
steady = settings(
    derandomize=True, database=None, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)


def no_frame(index: int) -> NDArray[np.uint8]:
    raise AssertionError(f"frame {index} was read")


def make_video(truth: NDArray[np.float64] = TRUTH, **changes: Any) -> Video:
    """A video whose target is visible in every frame, unless told otherwise."""
    fields: dict[str, Any] = {
        "name": "s",
        "boxes_xywh_px": truth,
        "visible": np.ones(len(truth), bool),
        "size_px": SIZE_PX,
        "read_frame": no_frame,
        "labels": {"cover": np.full(len(truth), 8)},
    }
    return Video(**{**fields, **changes})


def moved(boxes_xywh_px: NDArray[np.float64], *by: float) -> NDArray[np.float64]:
    """Add to left, top, width and height."""
    return boxes_xywh_px + np.array(by)


def boxes(num_frames: int) -> st.SearchStrategy[NDArray[np.float64]]:
    """(N, 4) whole numbers, with an area, inside frames of `SIZE_PX` even when moved by 50 px."""
    row = st.tuples(st.integers(1, 200), st.integers(1, 150), st.integers(1, 100), st.integers(1, 80))
    return st.lists(row, min_size=num_frames, max_size=num_frames).map(lambda rows: np.array(rows, dtype=np.float64))


def box_pairs(most_frames: int = 12) -> st.SearchStrategy[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Predicted and true boxes of a video of two frames or more."""
    return st.integers(2, most_frames).flatmap(lambda num_frames: st.tuples(boxes(num_frames), boxes(num_frames)))
