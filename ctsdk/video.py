"""Frames in and out: video files, folders of images, cameras; boxes drawn on frames.

Frames are (H, W, 3) uint8 RGB arrays. They are read one at a time, when they are asked for, so a video may be longer
than memory.
"""

from __future__ import annotations

import itertools
import logging
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ctsdk.crops import check_frame, import_cv2
from ctsdk.data.images import IMAGE_SUFFIXES, natural_order, read_image
from ctsdk.data.readers.video_files import open_video_file
from ctsdk.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import cv2
    from cv2.typing import MatLike
    from numpy.typing import NDArray

__all__ = ["Colour", "FrameSource", "draw_box", "draw_label", "open_frames", "write_video"]

Colour: TypeAlias = tuple[int, int, int]  # RGB

# For folders and cameras, and for files that announce nothing or nonsense (browser recordings say 1000).
_DEFAULT_RATE, _HIGHEST_RATE = 30.0, 480.0
# A file that gives fewer of its frames than this is worth a warning; many count by their duration and are a bit off.
_EXPECTED_SHARE = 0.99
# OpenCV draws at 1/16 px with this, which lets a slow box glide instead of jump.
_SUBPIXEL_BITS = 4
_FARTHEST_PX = 1e5

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameSource:
    """Frames that can be iterated, from the first one each time (a camera goes on from now).

    Attributes:
        name: what it was opened from.
        read: returns a new iterator over the frames.
        frames_per_second: as the video says; 30 for what does not say.
        num_frames: as announced, often an estimate; None for a camera or a file that does not say.
    """

    name: str
    read: Callable[[], Iterator[NDArray[np.uint8]]]
    frames_per_second: float = _DEFAULT_RATE
    num_frames: int | None = None

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
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


def write_video(
    path: str | Path, frames: Iterable[NDArray[np.uint8]], *, frames_per_second: float = _DEFAULT_RATE
) -> Path:
    """Write frames to an MP4 file (MPEG-4 part 2), whole or not at all.

    Args:
        path: ends in ``.mp4``; missing folders are made.
        frames: (H, W, 3) uint8 RGB, all of one size, at least one. An odd last row or column is left out.
        frames_per_second: of the video.

    Returns:
        the path.

    Raises:
        DataError: the frames do not make a video, or the file cannot be written.
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
        # OpenCV says nothing when the disk is full; a file without its index cannot be opened again.
        written = _properties(temporary)
        if written is None or written[1] != num_frames:
            raise DataError(f"{path} could not be written in full. Check that the disk has room.")
    return path


def draw_box(image: NDArray[np.uint8], box_xywh_px: Sequence[float], colour: Colour, *, thickness_px: int = 2) -> None:
    """Draw the outline of a box into `image`; a box that is not finite is left out."""
    x, y, width, height = box_xywh_px
    corners = np.array([(x, y), (x + width, y + height)])
    if not np.isfinite(corners).all():
        return
    start, end = np.clip(corners, -_FARTHEST_PX, _FARTHEST_PX) * 2**_SUBPIXEL_BITS
    cv2 = import_cv2()
    points = [tuple(map(int, start.round())), tuple(map(int, end.round()))]
    # A dark line below the coloured one keeps it visible on any background.
    for line_colour, line_px in (((0, 0, 0), thickness_px + 2), (colour, thickness_px)):
        cv2.rectangle(image, *points, line_colour, line_px, cv2.LINE_AA, _SUBPIXEL_BITS)


def draw_label(
    image: NDArray[np.uint8], text: str, corner_px: tuple[float, float], colour: Colour, *, scale: float = 0.5
) -> None:
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
    open_video_file(path)  # refuses what is no regular file, and playlists
    if not path.stat().st_size:
        raise DataError(f"video {path} is empty (0 bytes). Copy or record it again.")
    properties = _properties(path)
    if properties is None:
        raise _undecodable(path)
    rate, num_frames = properties
    return FrameSource(
        str(path),
        partial(_read_file, path, num_frames),
        frames_per_second=rate if 0 < rate <= _HIGHEST_RATE else _DEFAULT_RATE,
        num_frames=num_frames if num_frames > 0 else None,
    )


def _read_file(path: Path, announced: int) -> Iterator[NDArray[np.uint8]]:
    num_read = 0
    with _capture(str(path)) as capture:
        while (frame := _next_frame(capture)) is not None:
            num_read += 1
            yield frame
    if not num_read:
        raise _undecodable(path)
    if num_read < _EXPECTED_SHARE * announced:
        _logger.warning(
            "video %s announces %d frames, %d could be read. If the end is missing, the file is damaged or incomplete.",
            path, announced, num_read,
        )  # fmt: skip


def _read_camera(index: int) -> Iterator[NDArray[np.uint8]]:
    with _capture(index) as capture:
        while (frame := _next_frame(capture)) is not None:
            yield frame
    raise DataError(f"camera {index} gives no frames. Check that it is connected and that no other program uses it.")


def _properties(path: Path) -> tuple[float, int] | None:
    """Return what a video announces, (frames per second, frames), or None if it cannot be opened."""
    cv2 = import_cv2()
    with _capture(str(path)) as capture:
        if not capture.isOpened():
            return None
        return float(capture.get(cv2.CAP_PROP_FPS)), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))


@contextmanager
def _capture(source: str | int) -> Iterator[cv2.VideoCapture]:
    capture = import_cv2().VideoCapture(source)
    try:
        yield capture
    finally:
        capture.release()


def _next_frame(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    was_read, pixels = capture.read()
    return _rgb(pixels) if was_read else None


def _rgb(pixels: MatLike) -> NDArray[np.uint8]:
    cv2 = import_cv2()
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _undecodable(path: Path) -> DataError:
    return DataError(
        f"{path} ({path.stat().st_size} bytes) cannot be decoded as a video; it is damaged, incomplete, of another "
        "kind or of a codec that OpenCV lacks. Copy it again, or convert it: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
    )


# -- writing ----------------------------------------------------------------------------------------------------------


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path with the same ending, which encoders go by; it becomes `path` when all went well."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error}. Check the folder and its permissions.") from error
    finally:
        # What cannot be removed was never there; the error on its way says more.
        with suppress(OSError):
            temporary.unlink()


def _encode(path: Path, first: NDArray[np.uint8], others: Iterable[NDArray[np.uint8]], frames_per_second: float) -> int:
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


def _writer(path: Path, size_px: tuple[int, int], frames_per_second: float) -> cv2.VideoWriter:
    library = import_cv2()
    writer: cv2.VideoWriter = library.VideoWriter(
        str(path), library.VideoWriter_fourcc(*"mp4v"), frames_per_second, size_px
    )
    if not writer.isOpened():
        raise DataError(
            f"OpenCV cannot write an MP4 of {size_px[0]} x {size_px[1]} px at {frames_per_second:g} frames a second to "
            f"{path.parent}. Check that the folder can be written to, that a frame has at least 2 x 2 px, and that the "
            "installed OpenCV has FFmpeg (the opencv-python-headless wheels do)."
        )
    return writer
