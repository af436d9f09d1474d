"""Video files: their frames in order, or one by its number; and the frames of cameras."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ctsdk.crops import Pixels, import_cv2
from ctsdk.errors import DataError
from ctsdk.storage.bounded import open_regular

if TYPE_CHECKING:
    import cv2
    from cv2.typing import MatLike

__all__ = ["VIDEO_SUFFIXES", "VideoFile", "open_video_file", "read_capture"]

VIDEO_SUFFIXES: Final = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
"""The endings of files that count as videos, in lower case."""

# Playlists name other files, and FFmpeg would open these. They begin like this, or are XML, such as DASH.
_PLAYLISTS: Final = (b"ffconcat", b"#EXTM3U")
_NUM_CHECKED_BYTES: Final = 256

# In each thread. An open video takes tens of megabytes, and a data set may have thousands.
_MAX_OPEN: Final = 2


@dataclass(frozen=True)
class VideoFile:
    """The frames of a video file; called with an index, it reads one.

    Frames are numbered as reading from the start gives them. OpenCV's own seeking is faster, but inexact for some
    codecs. So a later frame is reached by decoding all frames up to it, and an earlier one by starting again: read
    frames in their order where you can. Each thread and process opens the file for itself, when it reads a frame.

    Attributes:
        path: of the file.
        modified_ns: when it was last written; another file of the same name is another video.
    """

    path: Path
    modified_ns: int

    def __call__(self, index: int) -> Pixels:
        """Return frame `index`, (H, W, 3) uint8 RGB.

        Raises:
            DataError: the file cannot be decoded, or ends before this frame.
        """
        return _decoder(self).frame(index)

    def frames(self) -> Iterator[Pixels]:
        """Yield all frames in their order, (H, W, 3) uint8 RGB.

        Raises:
            DataError: no frame can be decoded.
        """
        is_empty = True
        for frame in read_capture(str(self.path)):
            is_empty = False
            yield frame
        if is_empty:
            raise _undecodable(self.path)

    def announced(self) -> tuple[float, int]:
        """Return the frames per second and the number of frames that the file announces; both may be wrong.

        Raises:
            DataError: the file cannot be decoded.
        """
        cv2, capture = import_cv2(), _open(self.path)
        return float(capture.get(cv2.CAP_PROP_FPS)), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def num_frames(self, likely: int | None) -> int:
        """Return the number of frames, 1 or more.

        If the file announces the `likely` number, that is taken; otherwise the frames are counted.

        Raises:
            DataError: the file cannot be decoded.
        """
        return likely if likely is not None and likely == _num_announced(self) else _count_frames(self)


def open_video_file(path: Path) -> VideoFile:
    """Return the frames of the video file at `path`.

    Raises:
        DataError: there is no such file, or it is a playlist.
    """
    try:
        with open_regular(path) as file:
            modified, start = os.fstat(file.fileno()).st_mtime_ns, file.read(_NUM_CHECKED_BYTES)
    except OSError as error:
        raise DataError(f"video {path} cannot be read: {error.strerror}. Check the file.") from error
    if start.startswith(_PLAYLISTS) or (start.lstrip().startswith(b"<") and b"\0" not in start):
        raise DataError(f"{path} is a list of videos, not one; the decoder would open whatever it names. Give a video.")
    return VideoFile(path, modified)


def read_capture(source: str | int) -> Iterator[Pixels]:
    """Yield frames of a video file or a camera while there are any, (H, W, 3) uint8 RGB.

    Args:
        source: the path of a file, or the number of a camera.
    """
    capture = import_cv2().VideoCapture(source)
    try:
        while True:
            was_read, pixels = capture.read()
            if not was_read:
                return
            yield _to_rgb(pixels)
    finally:
        capture.release()


class _Decoder:
    """A video file that is open at some frame."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.capture: cv2.VideoCapture | None = None
        self.num_read = 0
        self.latest: MatLike | None = None
        self.num_frames: int | None = None  # known once the end was reached

    def frame(self, index: int) -> Pixels:
        if self.latest is None or index != self.num_read - 1:
            self.latest = self._read(index)
        # A new array each time, so that callers can draw on theirs.
        return _to_rgb(self.latest)

    def _read(self, index: int) -> MatLike:
        if self.num_frames is None or index < self.num_frames:
            if self.capture is None or index < self.num_read:
                self.capture, self.num_read = _open_in_one_thread(self.path), 0
            while self.num_read < index and self.capture.grab():
                self.num_read += 1
            was_read, pixels = self.capture.read()
            if was_read:
                self.num_read += 1
                return pixels
            self.num_frames, self.capture, self.latest = self.num_read, None, None
        raise DataError(
            f"video {self.path} ends after {self.num_frames} frames; frame {index} was asked for. The file is "
            "incomplete or has fewer frames than boxes: copy it again, or correct the boxes."
        )


class _Decoders(threading.local):
    """The open videos of one thread, the last used one last."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.by_video: dict[VideoFile, _Decoder] = {}


_decoders = _Decoders()


def _decoder(video: VideoFile) -> _Decoder:
    if _decoders.process != os.getpid():
        # A forked process shares the position in an open file with its parent.
        _decoders.process, _decoders.by_video = os.getpid(), {}
    decoder = _decoders.by_video.pop(video, None) or _Decoder(video.path)
    _decoders.by_video[video] = decoder
    if len(_decoders.by_video) > _MAX_OPEN:
        del _decoders.by_video[next(iter(_decoders.by_video))]
    return decoder


@functools.lru_cache(maxsize=1024)
def _num_announced(video: VideoFile) -> int:
    return video.announced()[1]


@functools.lru_cache(maxsize=1024)
def _count_frames(video: VideoFile) -> int:
    capture, num_frames = _open_in_one_thread(video.path), 0
    while capture.grab():
        num_frames += 1
    if not num_frames:
        raise _undecodable(video.path)
    return num_frames


def _to_rgb(pixels: MatLike) -> Pixels:
    cv2 = import_cv2()
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _open_in_one_thread(path: Path) -> cv2.VideoCapture:
    # A forked process lacks the threads of a decoder that was opened before, and would wait for them without end.
    return _open(path, (import_cv2().CAP_PROP_N_THREADS, 1))


def _open(path: Path, options: Sequence[int] = ()) -> cv2.VideoCapture:
    library = import_cv2()
    capture: cv2.VideoCapture = library.VideoCapture(str(path), library.CAP_ANY, options)
    if not capture.isOpened():
        raise _undecodable(path)
    return capture


def _undecodable(path: Path) -> DataError:
    return DataError(
        f"{path} cannot be decoded as a video; it is damaged, incomplete, of another kind or of a codec that OpenCV "
        "lacks. Copy it again, or convert it: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
    )
