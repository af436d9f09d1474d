"""A video with a box per frame, from any source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctsdk.crops import Pixels, check_frame
from ctsdk.errors import DataError

__all__ = ["Floats", "Video"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Video:
    """N frames of one target.

    Attributes:
        name: in reports and result files.
        boxes_xywh_px: (N, 4) float64, (left, top, width, height) in pixels of the frame, as in the data set: where the
            target is absent, the box may be empty or NaN. (1, 4) if only the first box is public.
        visible: (N,) or (1,) bool, one per box; False where the data set marks the target as not visible.
        size_px: (width, height) of all frames; None if unknown before a frame is read, or if it may change.
        read_frame: returns frame i as an (H, W, 3) uint8 RGB array; the same array for the same i.
        num_frames: N; None for one frame per box.
        labels: other labels of the data set per frame, by their names, such as ``cover``; (N,) each.
        attributes: attributes of the whole video, such as ``OV`` for out of view.
        about: descriptions as text, such as ``object_class``.

    Raises:
        DataError: there are no frames, or the shapes do not fit together.
    """

    name: str
    boxes_xywh_px: Floats
    visible: NDArray[np.bool_]
    size_px: tuple[int, int] | None
    read_frame: Callable[[int], Pixels]
    num_frames: int | None = None
    labels: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        boxes, visible = np.asarray(self.boxes_xywh_px, dtype=np.float64), np.asarray(self.visible, dtype=np.bool_)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) < 1 or visible.shape != (len(boxes),):
            raise DataError(
                f"video {self.name!r} has boxes of shape {boxes.shape} and visibility of shape {visible.shape}; "
                "expected (N, 4) and (N,) with N >= 1. Give one box and one flag per frame."
            )
        if self.num_frames is not None and len(boxes) not in (1, self.num_frames):
            raise DataError(
                f"video {self.name!r} has {self.num_frames} frames and {len(boxes)} boxes; expected a box for every "
                "frame, or for the first one only."
            )
        object.__setattr__(self, "boxes_xywh_px", boxes)
        object.__setattr__(self, "visible", visible)

    def __len__(self) -> int:
        return len(self.boxes_xywh_px) if self.num_frames is None else self.num_frames

    @property
    def has_truth(self) -> bool:
        """Whether every frame has its true box; test sets with a server publish the first one only."""
        return len(self.boxes_xywh_px) == len(self)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(N,) or (1,), True for frames to train on: the target is visible, and its box is finite and has an area."""
        boxes = self.boxes_xywh_px
        usable: NDArray[np.bool_] = self.visible & np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        return usable

    def frame(self, index: int) -> Pixels:
        """Return frame `index`, an (H, W, 3) uint8 RGB array.

        Raises:
            DataError: there is no such frame, it cannot be read, or it is not an RGB image of the video's size.
        """
        if not 0 <= index < len(self):
            raise DataError(f"video {self.name!r} has frames 0 to {len(self) - 1}; frame {index} was asked for.")
        frame = self.read_frame(index)
        check_frame(frame)
        seen = (frame.shape[1], frame.shape[0])
        if self.size_px is not None and seen != tuple(self.size_px):
            raise DataError(
                f"frame {index} of video {self.name!r} is {seen[0]} x {seen[1]} px; expected the video's "
                f"{self.size_px[0]} x {self.size_px[1]}. Resize the frames, or correct size_px."
            )
        return frame

    def frame_size_px(self, index: int) -> tuple[int, int]:
        """Return (width, height) of frame `index`; the frame is read if :attr:`size_px` is None.

        Raises:
            DataError: as :meth:`frame`.
        """
        if self.size_px is not None:
            return self.size_px
        height, width = self.frame(index).shape[:2]
        return width, height
