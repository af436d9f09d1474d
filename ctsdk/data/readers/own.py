"""Your own videos: folders of images, or video files, each with a text file of boxes.

::

    root/
        cat/            images, in the order of the numbers in their names
        cat.txt         a line left,top,width,height for each image
        dog.mp4
        dog.txt
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ctsdk.crops import Pixels
from ctsdk.data.datasets import VideoDataset
from ctsdk.data.images import IMAGE_SUFFIXES, natural_order
from ctsdk.data.readers.files import Files, Folder
from ctsdk.data.readers.frames import ImageFiles
from ctsdk.data.readers.lmdb_files import open_files
from ctsdk.data.readers.text import read_boxes
from ctsdk.data.readers.video_files import VIDEO_SUFFIXES, open_video_file
from ctsdk.data.videos import Floats, Video
from ctsdk.errors import DataError

__all__ = ["open_own"]


def open_own(root: Path) -> VideoDataset:
    """Open a folder of videos with boxes, in the order of their names.

    A video is a sub-folder of images or a video file. Its boxes are in a text file beside it, of the same name and
    ending in ``.txt``; those of a sub-folder may be in it instead, as ``groundtruth.txt``. The file has a line
    ``left,top,width,height`` in pixels, counted from 0, for each frame, or for the first one only. Commas, tabs and
    blanks separate the numbers. ``nan,nan,nan,nan``, or a width or height of 0, means that the target is absent. Other
    files, and names that begin with a dot, are ignored.

    Args:
        root: of the data; or an LMDB of these paths, without video files.

    Raises:
        DataError: there is no video, or one without boxes, or two have the same name. Errors inside the files are
            reported when the video is read.
    """
    files = open_files(root)
    videos: dict[str, _Video] = {}
    for entry in files.names(""):
        video = _video(files, entry)
        if video is not None and video.name in videos:
            raise DataError(
                f"{files.place(entry)} and {files.place(videos[video.name].path)} would both be the video "
                f"{video.name!r}. Rename one, and its boxes."
            )
        if video is not None:
            videos[video.name] = video
    if not videos:
        raise DataError(
            f"{root} holds neither a sub-folder nor a video file ({', '.join(sorted(VIDEO_SUFFIXES))}). Give the "
            "folder above the one that holds the images of a video."
        )
    names = tuple(sorted(videos))
    return VideoDataset("own", "", names, _Reader(files, tuple(videos[name] for name in names)))


@dataclass(frozen=True)
class _Video:
    """Where a video and its boxes are, relative to the root."""

    name: str
    path: str
    boxes_path: str
    is_folder: bool


@dataclass(frozen=True)
class _Reader:
    """Reads the video of an index."""

    files: Files
    videos: tuple[_Video, ...]

    def __call__(self, index: int) -> Video:
        video = self.videos[index]
        boxes_xywh_px, visible = _boxes(self.files, video.boxes_path)
        num_frames, read_frame = _frames(self.files, video, len(boxes_xywh_px))
        if len(boxes_xywh_px) not in (1, num_frames):
            raise DataError(
                f"{self.files.place(video.boxes_path)} has {len(boxes_xywh_px)} lines for the {num_frames} frames of "
                f"{self.files.place(video.path)}; expected one for each frame, or one for the first. Correct the file."
            )
        return Video(video.name, boxes_xywh_px, visible, None, read_frame, num_frames)


def _video(files: Files, entry: str) -> _Video | None:
    """Return the video of an entry of the root, or None if it is no video."""
    path = PurePosixPath(entry)
    is_folder = files.root.joinpath(entry).is_dir() if isinstance(files, Folder) else files.exists(f"{entry}/")
    if entry.startswith(".") or not (is_folder or path.suffix.lower() in VIDEO_SUFFIXES):
        return None
    if not (is_folder or isinstance(files, Folder)):
        raise DataError(
            f"{files.place(entry)} is a video file; an LMDB may hold images only. Pack its frames as images."
        )
    name = entry if is_folder else path.stem
    places = [f"{name}.txt", *([f"{entry}/groundtruth.txt"] if is_folder else [])]
    found = [place for place in places if files.exists(place)]
    if len(found) != 1:
        raise DataError(
            f"the video {files.place(entry)} has {'no file' if not found else 'two files'} of boxes; expected "
            f"{' or '.join(map(files.place, places))}, with a line left,top,width,height for each frame. "
            + ("Write it, or move the video away." if not found else "Delete one.")
        )
    return _Video(name, entry, found[0], is_folder)


def _boxes(files: Files, path: str) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the boxes, (N, 4), zero instead of NaN, and whether the target is visible, (N,)."""
    boxes_xywh_px = read_boxes(files, path)
    absent = np.isnan(boxes_xywh_px).all(axis=1)
    wrong = (boxes_xywh_px[:, 2:] < 0).any(axis=1) | (np.isnan(boxes_xywh_px).any(axis=1) & ~absent)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{files.place(path)}, line {row + 1}: {boxes_xywh_px[row].tolist()}; expected left, top, width and height "
            "in pixels, none of them negative but the corner, or nan four times where the target is absent."
        )
    # Most protocols refuse NaN in the true boxes; an empty box has the same meaning.
    boxes_xywh_px[absent] = 0.0
    return boxes_xywh_px, np.asarray((boxes_xywh_px[:, 2:] > 0).all(axis=1), dtype=np.bool_)


def _frames(files: Files, video: _Video, num_boxes: int) -> tuple[int, Callable[[int], Pixels]]:
    """Return the number of frames, and the function that reads one."""
    if not video.is_folder:
        assert isinstance(files, Folder)
        video_file = open_video_file(files.root / video.path)
        # A single box is that of the first frame and does not give the number of frames.
        return video_file.num_frames(num_boxes if num_boxes > 1 else None), video_file
    images = [PurePosixPath(name) for name in files.names(video.path)]
    images = [image for image in images if image.suffix.lower() in IMAGE_SUFFIXES and image.name[0] != "."]
    if not images:
        raise DataError(
            f"the folder {files.place(video.path)} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}). "
            "Put the frames there, or move the folder away."
        )
    images.sort(key=natural_order)
    return len(images), ImageFiles(files, [f"{video.path}/{image.name}" for image in images])
