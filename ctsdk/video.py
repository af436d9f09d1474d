"""Frames in and out: video files, folders of images, cameras; boxes drawn on frames.

Frames are (H, W, 3) uint8 RGB arrays. They are read one at a time, when they are asked for, so a video may be longer
than memory.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ctsdk.crops import Pixels, check_frame, import_cv2
from ctsdk.data.images import IMAGE_SUFFIXES, natural_order, read_image
from ctsdk.data.readers.video_files import VideoFile, open_video_file, read_capture
from ctsdk.errors import DataError, OutputError

if TYPE_CHECKING:
    import cv2

__all__ = ["Colour", "FrameSource", "draw_box", "draw_label", "open_frames", "write_video"]

Colour: TypeAlias = tuple[int, int, int]  # RGB

# For folders and cameras, and for files that announce no rate or a wrong one (browser recordings: 1000).
_DEFAULT_RATE, _HIGHEST_RATE = 30.0, 480.0
# A smaller share of the announced frames gives a warning. Many files derive the number from the duration, a bit off.
_EXPECTED_SHARE = 0.99
# OpenCV then draws at 1/16 px, so that slow boxes do not jump.
_SUBPIXEL_BITS = 4
_FARTHEST_PX = 1e5

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameSource:
    """Frames that can be iterated, from the first one each time; a camera's from the current one.

    Attributes:
        name: what it was opened from.
        read: returns a new iterator over the frames.
        frames_per_second: as announced; 30 where nothing is.
        num_frames: as announced, often an estimate; None for a camera or a file that does not say.
    """

    name: str
    read: Callable[[], Iterator[Pixels]]
    frames_per_second: float = _DEFAULT_RATE
    num_frames: int | None = None

    def __iter__(self) -> Iterator[Pixels]:
        """Yield (H, W, 3) uint8 RGB frames.

        Raises:
            DataError: a frame cannot be read.
        """
        return self.read()


def open_frames(source: str | Path) -> FrameSource:
    """Open a video file, a folder of images, or a camera.

    Args:
        source: a path, or the number of a camera, such as ``"0"``. The images of a folder are ordered by the numbers in
            their names: ``2.jpg`` comes before ``10.jpg``.

    Raises:
        DataError: there is no such thing, or no frame can be expected from it.
    """
    path = Path(source)
    if path.is_dir():
        return _folder(path)
    if path.exists():
        return _file(path)
    if str(source).isdecimal():
        return FrameSource(f"camera {source}", partial(_read_camera, int(str(source))))
    raise DataError(
        f"{source} does not exist; expected a video file, a folder of images, or the number of a camera such as 0. "
        "Check the path."
    )


def write_video(path: str | Path, frames: Iterable[Pixels], *, frames_per_second: float = _DEFAULT_RATE) -> Path:
    """Write frames to an MP4 file (MPEG-4 part 2), whole or not at all.

    Args:
        path: ends in ``.mp4``; missing folders are made.
        frames: (H, W, 3) uint8 RGB, all of one size, at least one. An odd last row or column is left out.
        frames_per_second: of the video.

    Returns:
        the path.

    Raises:
        DataError: the frames do not make a video.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise DataError(f"{path} ends in {path.suffix!r}; videos are written as MP4. Give a name that ends in '.mp4'.")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise DataError(f"there are no frames to write to {path}; expected at least one. Check the source.")
    with _replacing(path) as temporary:
        num_frames = _encode(temporary, first, frames, frames_per_second)
        # OpenCV reports no full disk; but a file without its index cannot be opened again.
        if _count_written(temporary) != num_frames:
            raise OutputError(f"{path} could not be written in full. Check that the disk has room.")
    return path


def draw_box(image: Pixels, box_xywh_px: Sequence[float], colour: Colour, *, thickness_px: int = 2) -> None:
    """Draw the outline of a box into `image`; a box that is not finite is left out."""
    x, y, width, height = box_xywh_px
    corners = np.array([(x, y), (x + width, y + height)])
    if not np.isfinite(corners).all():
        return
    start, end = np.clip(corners, -_FARTHEST_PX, _FARTHEST_PX) * 2**_SUBPIXEL_BITS
    cv2 = import_cv2()
    points = [tuple(map(int, start.round())), tuple(map(int, end.round()))]
    # A dark line under the coloured one makes it visible on any background.
    for line_colour, line_px in (((0, 0, 0), thickness_px + 2), (colour, thickness_px)):
        cv2.rectangle(image, *points, line_colour, line_px, cv2.LINE_AA, _SUBPIXEL_BITS)


def draw_label(image: Pixels, text: str, corner_px: tuple[float, float], colour: Colour, *, scale: float = 0.5) -> None:
    """Draw `text` on a dark ground into `image`, above `corner_px` (x, y) where there is room, else below.

    Characters outside ASCII become question marks: OpenCV's font has no others.
    """
    cv2 = import_cv2()
    font, text = cv2.FONT_HERSHEY_SIMPLEX, text.encode("ascii", "replace").decode()
    (width, height), below = cv2.getTextSize(text, font, scale, 1)
    pad = max(2, round(6 * scale))
    total_width, total_height = width + 2 * pad, height + below + 2 * pad
    x = int(min(max(corner_px[0], 0), max(image.shape[1] - total_width, 0)))
    y = int(corner_px[1]) - total_height - pad
    if y < 0:
        y = min(max(int(corner_px[1]) + pad, 0), max(image.shape[0] - total_height, 0))
    ground = image[y : y + total_height, x : x + total_width]
    ground[:] = ground // 4
    cv2.putText(image, text, (x + pad, y + pad + height), font, scale, colour, 1, cv2.LINE_AA)


# -- reading ----------------------------------------------------------------------------------------------------------


def _folder(folder: Path) -> FrameSource:
    # Names that begin with a dot are not pictures but what file managers leave behind.
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    if not files:
        raise DataError(
            f"folder {folder} holds no images; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}. "
            "Give the folder that holds the frames themselves."
        )
    files.sort(key=natural_order)
    return FrameSource(str(folder), partial(map, read_image, files), num_frames=len(files))


def _file(path: Path) -> FrameSource:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise DataError(
            f"{path} is one image; expected a video. For a sequence of images, give the folder: {path.parent}"
        )
    video = open_video_file(path)
    if not path.stat().st_size:
        raise DataError(f"video {path} is empty (0 bytes). Copy or record it again.")
    rate, num_frames = video.announced()
    return FrameSource(
        str(path),
        partial(_read_file, video, num_frames),
        frames_per_second=rate if 0 < rate <= _HIGHEST_RATE else _DEFAULT_RATE,
        num_frames=num_frames if num_frames > 0 else None,
    )


def _read_file(video: VideoFile, announced: int) -> Iterator[Pixels]:
    num_read = 0
    for frame in video.frames():
        num_read += 1
        yield frame
    if num_read < _EXPECTED_SHARE * announced:
        _logger.warning(
            "video %s announces %d frames, %d could be read. If the end is missing, the file is damaged or incomplete.",
            video.path, announced, num_read,
        )  # fmt: skip


def _read_camera(index: int) -> Iterator[Pixels]:
    yield from read_capture(index)
    raise DataError(f"camera {index} gives no frames. Check that it is connected and that no other program uses it.")


# -- writing ----------------------------------------------------------------------------------------------------------


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path with the same ending, which tells encoders the format; at the end it becomes `path`."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}. Check the folder and its permissions.") from error
    finally:
        # If it cannot be removed, it was never made; the error being raised says more.
        with suppress(OSError):
            temporary.unlink()


def _encode(path: Path, first: Pixels, others: Iterable[Pixels], frames_per_second: float) -> int:
    """Write frames and return how many."""
    cv2 = import_cv2()
    check_frame(first)
    num_frames = 0
    writer = _writer(path, (first.shape[1], first.shape[0]), frames_per_second)
    try:
        for frame in itertools.chain([first], others):
            check_frame(frame)
            if frame.shape != first.shape:
                raise DataError(
                    f"frame {num_frames} is {frame.shape[1]} x {frame.shape[0]} px, the first was {first.shape[1]} x "
                    f"{first.shape[0]}; a video needs frames of one size. Resize them first."
                )
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            num_frames += 1
    finally:
        writer.release()
    return num_frames


def _count_written(path: Path) -> int:
    try:
        return open_video_file(path).announced()[1]
    except DataError:
        return 0


def _writer(path: Path, size_px: tuple[int, int], frames_per_second: float) -> cv2.VideoWriter:
    library = import_cv2()
    writer: cv2.VideoWriter = library.VideoWriter(
        str(path), library.VideoWriter_fourcc(*"mp4v"), frames_per_second, size_px
    )
    if not writer.isOpened():
        raise OutputError(
            f"OpenCV cannot write an MP4 of {size_px[0]} x {size_px[1]} px at {frames_per_second:g} frames a second to "
            f"{path.parent}. Check that the folder can be written to, that a frame has at least 2 x 2 px, and that the "
            "installed OpenCV has FFmpeg (the opencv-python-headless wheels do)."
        )
    return writer
