"""TNL2K: videos with a sentence about the target.

::

    <video>/imgs/<any name>.png or .jpg   the frames
    <video>/groundtruth.txt               a row per frame: x,y,w,h; 0,0,0,0 where the target is absent
    <video>/language.txt                  the sentence, in the first line

The frames have no common naming scheme. They are sorted as text, as in the OSTrack family, even where that puts 10.png
before 2.png. A target counts as visible unless its row is all zeros; this agrees with the flags of the official
toolkit. If there is one more image than rows, it is left out; any other difference is an error.

Source: botaoye/OSTrack @ 33b5e12, lib/test/evaluation/tnl2kdataset.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.checks import read_finite_boxes
from ctsdk.data.readers.files import Files, Folder
from ctsdk.data.readers.frames import list_images, open_frames
from ctsdk.data.readers.lmdb_files import open_files
from ctsdk.data.readers.text import read_lines
from ctsdk.data.videos import Video
from ctsdk.errors import DataError

__all__ = ["open_tnl2k"]


def open_tnl2k(root: Path) -> VideoDataset:
    """Return the videos of a folder of TNL2K, sorted by name. Every folder in it counts as a video, hidden ones aside.

    Args:
        root: the folder that holds the folders of the videos, of the test set or of the training set.

    Raises:
        DataError: there is no such folder, or there are no folders in it.
    """
    open_files(root)  # checks that the folder exists
    names = tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")))
    if not names:
        raise DataError(f"{root} holds no folders; expected one for each video of TNL2K. Check the path.")
    return VideoDataset("tnl2k", "", names, _Reader(Folder(root), names))


@dataclass(frozen=True)
class _Reader:
    """Reads the video of an index."""

    files: Files
    names: tuple[str, ...]

    def __call__(self, index: int) -> Video:
        name = self.names[index]
        truth, folder = f"{name}/groundtruth.txt", f"{name}/imgs"
        boxes = read_finite_boxes(self.files, truth)
        frames = list_images(self.files, folder)
        if len(frames) - len(boxes) not in (0, 1):
            raise DataError(
                f"{self.files.place(truth)} has {len(boxes)} rows for the {len(frames)} images of "
                f"{self.files.place(folder)}; expected as many, or one image more. Check that the images are complete, "
                "and copy the latest annotations; early releases had too many rows."
            )
        sentence = next(iter(read_lines(self.files, f"{name}/language.txt")), "")
        return Video(
            name=name,
            boxes_xywh_px=boxes,
            visible=np.any(boxes != 0, axis=1),
            size_px=None,
            read_frame=open_frames(self.files, frames[: len(boxes)]),
            about={"language": sentence.strip().lower()},
        )
