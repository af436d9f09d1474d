"""Video files, of which any frame can be asked for."""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ctsdk.crops import import_cv2
from ctsdk.errors import DataError
from ctsdk.storage.bounded import open_regular

if TYPE_CHECKING:
    from pathlib import Path

    import cv2
    from cv2.typing import MatLike
    from numpy.typing import NDArray

__all__ = ["VIDEO_SUFFIXES", "VideoFile", "open_video_file"]

VIDEO_SUFFIXES: Final = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
"""The endings of files that count as videos, in lower case."""

# How files begin that only name others, and that FFmpeg would open: its own, HLS, and as text DASH and other XML.
_PLAYLISTS: Final = (b"ffconcat", b"#EXTM3U")
_NUM_LOOKED_AT: Final = 256

# By each thread. An open video takes tens of megabytes, and a data set may have thousands.
_MAX_OPEN: Final = 2


@dataclass(frozen=True)
class VideoFile:
    """The frames of a video file; called with an index, it reads one.

    A frame is what reading from the start gives. OpenCV's own jumps are faster and, for some codecs, land on another
    frame. So a frame further on is reached by decoding all between, and one further back by starting again: frames are
    best asked for in their order. The file is opened when a frame is asked for, by each thread and process on its own.

    Attributes:
        path: of the file.
        modified_ns: when it was last written to; another file of the same name is another video.
    """

    path: Path
    modified_ns: int

    def __call__(self, index: int) -> NDArray[np.uint8]:
        """Return frame `index`, (H, W, 3) uint8 RGB.

        Raises:
            DataError: the file cannot be decoded, or ends before this frame.
        """
        return _decoder(self).frame(index)

    def num_frames(self, likely: int | None) -> int:
        """Return the number of frames, 1 or more.

        What the file announces is an estimate: it is believed if it is `likely`, else the frames are counted.

        Raises:
            DataError: the file cannot be decoded.
        """
        return likely if likely is not None and likely == _announced(self) else _counted(self)


def open_video_file(path: Path) -> VideoFile:
    """Return the frames of the video file at `path`.

    Raises:
        DataError: there is no such file, or it is a playlist.
    """
    try:
        with open_regular(path) as file:
            modified, start = os.fstat(file.fileno()).st_mtime_ns, file.read(_NUM_LOOKED_AT)
    except OSError as error:
        raise DataError(f"video {path} cannot be read: {error.strerror}. Check the file.") from error
    if start.startswith(_PLAYLISTS) or (start.lstrip().startswith(b"<") and b"\0" not in start):
        raise DataError(f"{path} is a list of videos, not one; the decoder would open whatever it names. Give a video.")
    return VideoFile(path, modified)


class _Decoder:
    """A video file that is open at some frame."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.capture: cv2.VideoCapture | None = None
        self.num_read = 0
        self.latest: MatLike | None = None
        self.num_frames: int | None = None  # known when the end was seen

    def frame(self, index: int) -> NDArray[np.uint8]:
        if self.latest is None or index != self.num_read - 1:
            self.latest = self._read(index)
        # A new array each time: nobody's drawing gets into somebody else's frame.
        return np.asarray(import_cv2().cvtColor(self.latest, import_cv2().COLOR_BGR2RGB), dtype=np.uint8)

    def _read(self, index: int) -> MatLike:
        if self.num_frames is None or index < self.num_frames:
            if self.capture is None or index < self.num_read:
                self.capture, self.num_read = _capture(self.path), 0
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
    """The open videos of a thread, the latest last."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.by_video: dict[VideoFile, _Decoder] = {}


_decoders = _Decoders()


def _decoder(video: VideoFile) -> _Decoder:
    if _decoders.process != os.getpid():
        # A forked process shares the place in an open file with its parent.
        _decoders.process, _decoders.by_video = os.getpid(), {}
    decoder = _decoders.by_video.pop(video, None) or _Decoder(video.path)
    _decoders.by_video[video] = decoder
    if len(_decoders.by_video) > _MAX_OPEN:
        del _decoders.by_video[next(iter(_decoders.by_video))]
    return decoder


@functools.lru_cache(maxsize=1024)
def _announced(video: VideoFile) -> int:
    return int(_capture(video.path).get(import_cv2().CAP_PROP_FRAME_COUNT))


@functools.lru_cache(maxsize=1024)
def _counted(video: VideoFile) -> int:
    capture, num_frames = _capture(video.path), 0
    while capture.grab():
        num_frames += 1
    if not num_frames:
        raise _undecodable(video.path)
    return num_frames


def _capture(path: Path) -> cv2.VideoCapture:
    library = import_cv2()
    # One thread: closing a decoder of several waits for ever in a forked process, where its threads do not exist.
    options = [library.CAP_PROP_N_THREADS, 1]
    capture: cv2.VideoCapture = library.VideoCapture(str(path), library.CAP_ANY, options)
    if not capture.isOpened():
        raise _undecodable(path)
    return capture


def _undecodable(path: Path) -> DataError:
    return DataError(
        f"{path} cannot be decoded as a video; it is damaged, incomplete, of another kind or of a codec that OpenCV "
        "lacks. Copy it again, or convert it: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
    )
