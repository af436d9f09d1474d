"""A video with a box per frame, whatever it was read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ctsdk.data.crops import check_frame
from ctsdk.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["VideoSequence"]


@dataclass(frozen=True, eq=False)
class VideoSequence:
    """N frames of one target.

    Attributes:
        name: what reports call it.
        boxes_xywh_px: (N, 4) float64, (left, top, width, height) in pixels of the frame.
        visible: (N,) bool, False where the target cannot be seen.
        size_px: (width, height) of every frame.
        read_frame: returns frame i as an (H, W, 3) uint8 RGB array; the same array for the same i.

    Raises:
        DataError: there are no frames, or the shapes do not fit together.
    """

    name: str
    boxes_xywh_px: NDArray[np.float64]
    visible: NDArray[np.bool_]
    size_px: tuple[int, int]
    read_frame: Callable[[int], NDArray[np.uint8]]

    def __post_init__(self) -> None:
        boxes, visible = np.asarray(self.boxes_xywh_px, dtype=np.float64), np.asarray(self.visible, dtype=np.bool_)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) < 1 or visible.shape != (len(boxes),):
            raise DataError(
                f"video {self.name!r} has boxes of shape {boxes.shape} and visibility of shape {visible.shape}; "
                "expected (N, 4) and (N,) with N >= 1. Give one box and one flag per frame."
            )
        object.__setattr__(self, "boxes_xywh_px", boxes)
        object.__setattr__(self, "visible", visible)

    def __len__(self) -> int:
        return len(self.boxes_xywh_px)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Return frame `index`, an (H, W, 3) uint8 RGB array.

        Raises:
            DataError: there is no such frame, it cannot be read, or it is not an RGB image of the video's size.
        """
        if not 0 <= index < len(self):
            raise DataError(f"video {self.name!r} has frames 0 to {len(self) - 1}; frame {index} was asked for.")
        frame = self.read_frame(index)
        check_frame(frame)
        seen = (frame.shape[1], frame.shape[0])
        if seen != tuple(self.size_px):
            raise DataError(
                f"frame {index} of video {self.name!r} is {seen[0]} x {seen[1]} px; expected the video's "
                f"{self.size_px[0]} x {self.size_px[1]}. Resize the frames, or correct size_px."
            )
        return frame
