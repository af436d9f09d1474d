"""Videos whose frames tell their number, and which remember what was read of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ctsdk.config import DataConfig
from ctsdk.data.datasets import VideoDataset
from ctsdk.data.videos import Video
from ctsdk.errors import DataError

SIZE_PX = (120, 90)


def augment_only(**amounts: float) -> DataConfig:
    """Return the augmentation of these amounts and no other; the offsets of boxes keep their defaults."""
    return DataConfig(**{"greyscale": 0.0, "joint_flip": 0.0, "brightness": 0.0, "flip": 0.0, **amounts})


class Counted:
    """Frame i is a grey of level i + 1, with a white square where the box is; remembers which frames were read.

    Frames from `smaller_from` on lack a quarter of the columns, and those in `broken` cannot be read.
    """

    def __init__(
        self, boxes: NDArray[np.float64], smaller_from: int | None = None, broken: Collection[int] = ()
    ) -> None:
        self.boxes, self.smaller_from, self.broken = boxes, smaller_from, broken
        self.read = list[int]()

    def __call__(self, index: int) -> NDArray[np.uint8]:
        if index in self.broken:
            raise DataError(f"image {index}.jpg is damaged")
        self.read.append(index)
        width = SIZE_PX[0] if self.smaller_from is None or index < self.smaller_from else 3 * SIZE_PX[0] // 4
        frame = np.full((SIZE_PX[1], width, 3), index + 1, dtype=np.uint8)
        x, y, box_width, box_height = (int(value) for value in self.boxes[index])
        frame[max(y, 0) : y + box_height, max(x, 0) : x + box_width] = 255
        return frame


def make_video(
    visible: Iterable[bool],
    box: tuple[float, float, float, float] = (40, 30, 16, 16),
    name: str = "v",
    smaller_from: int | None = None,
    broken: Collection[int] = (),
) -> Video:
    """A video of one flag per frame and one box for all; without a size if the frames' sizes differ."""
    flags = np.array(list(visible), dtype=bool)
    boxes = np.tile(np.array(box, dtype=np.float64), (len(flags), 1))
    size_px = SIZE_PX if smaller_from is None else None
    return Video(name, boxes, flags, size_px, Counted(boxes, smaller_from, broken))


def frames_read(video: Video) -> list[int]:
    """The numbers of the frames that were read of a video of this module, in order."""
    reader = video.read_frame
    assert isinstance(reader, Counted)
    return reader.read


class Reads:
    """Reads video i of a list, or fails for some; remembers which were asked for."""

    def __init__(self, videos: Sequence[Video], broken: Collection[int] = ()) -> None:
        self.videos, self.broken = videos, broken
        self.asked = list[int]()

    def __call__(self, index: int) -> Video:
        self.asked.append(index)
        if index in self.broken:
            raise DataError(f"{index}/groundtruth.txt is missing")
        return self.videos[index]


def as_dataset(videos: Sequence[Video], name: str = "some", broken: Collection[int] = ()) -> VideoDataset:
    """A data set of these videos."""
    return VideoDataset(name, "train", tuple(video.name for video in videos), Reads(videos, broken))
