"""What a tracker predicted on one video, and a folder that keeps it exactly.

The folder is ctsdk's own: numbers come back bit for bit. For the files of other tools see
:mod:`ctsdk.evaluation.results.formats`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctsdk.data.readers.files import Folder
from ctsdk.data.readers.text import read_rows
from ctsdk.data.videos import Floats
from ctsdk.errors import DataError, OutputError
from ctsdk.storage.atomic import atomic_write

__all__ = ["PredictionFolder", "TrackedVideo", "check_file_name"]

_Numbers: TypeAlias = "Floats"

_BOX = "finite numbers and sizes of at least 0. Write a lost target as its last box"
_TIME = "seconds, at least 0. Leave the times out if they were not measured"

_TIME_ENDING, _CONFIDENCE_ENDING = "_time", "_confidence"

# File systems take 255 bytes; endings and temporary names need some of them.
_MAX_NAME_BYTES: Final = 200


@dataclass(frozen=True, eq=False)
class TrackedVideo:
    """The boxes of one tracker on one video, fit to be scored and to be written.

    Attributes:
        name: of the video.
        boxes_xywh_px: (N, 4) float64, one box per frame, the given first one included. A target that was lost has its
            last box.
        seconds: (N,) float64, how long each frame took; empty if not measured.
        confidences: (N,) float64, the tracker's own, NaN in frames that have none; empty if not recorded.

    Raises:
        DataError: the shapes do not fit together, a box is not finite or of negative size, or a time is negative.
    """

    name: str
    boxes_xywh_px: _Numbers
    seconds: _Numbers = field(default_factory=lambda: np.empty(0))
    confidences: _Numbers = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        for attribute in ("boxes_xywh_px", "seconds", "confidences"):
            object.__setattr__(self, attribute, np.asarray(getattr(self, attribute), dtype=np.float64))
        boxes, seconds, confidences = self.boxes_xywh_px, self.seconds, self.confidences
        if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) < 1:
            raise DataError(f"video {self.name!r}: boxes have shape {boxes.shape}; expected (N, 4) with N >= 1.")
        for what, values in (("seconds", seconds), ("confidences", confidences)):
            if values.shape not in ((0,), (len(boxes),)):
                raise DataError(
                    f"video {self.name!r}: {what} have shape {values.shape} for {len(boxes)} boxes; expected one "
                    "per box, or none at all."
                )
        is_box: NDArray[np.bool_] = np.all(np.isfinite(boxes) & (boxes >= (-np.inf, -np.inf, 0.0, 0.0)), axis=1)
        is_time: NDArray[np.bool_] = np.isfinite(seconds) & (seconds >= 0)
        for what, fits, values, expected in (("box", is_box, boxes, _BOX), ("time", is_time, seconds, _TIME)):
            if not fits.all():
                frame = int(np.flatnonzero(~fits)[0])
                seen = values[frame].tolist()
                raise DataError(f"video {self.name!r}: {what} {frame} is {seen}; expected {expected}.")

    def __len__(self) -> int:
        return len(self.boxes_xywh_px)


@dataclass(frozen=True)
class PredictionFolder:
    """A folder of tracked videos, three files each.

    ==========================  =================================================
    ``<name>.txt``              a line ``left,top,width,height`` per frame
    ``<name>_time.txt``         seconds, a line per frame; only if they are known
    ``<name>_confidence.txt``   confidences, likewise
    ==========================  =================================================

    Numbers have as many digits as it takes to read the same ones again. Each file is written whole or not at all, and
    the boxes last: where they are, the video is complete.

    Attributes:
        root: the folder; it is created by the first write.
    """

    root: Path

    def has(self, name: str) -> bool:
        """Whether a video is there, complete.

        Raises:
            DataError: `name` cannot be the name of a file.
        """
        return self._path(name).is_file()

    def write(self, tracked: TrackedVideo) -> Path:
        """Write a video, in place of what was there under its name; return the file of its boxes.

        Raises:
            DataError: its name cannot be the name of a file.
            OutputError: a file cannot be written.
        """
        boxes = self._path(tracked.name)
        # Without boxes the video counts as unfinished, as long as some of its files are old and some new.
        _remove(boxes)
        for ending, values in ((_TIME_ENDING, tracked.seconds), (_CONFIDENCE_ENDING, tracked.confidences)):
            if len(values):
                _write(self._path(tracked.name, ending), values[:, None])
            else:
                _remove(self._path(tracked.name, ending))
        _write(boxes, tracked.boxes_xywh_px)
        return boxes

    def read(self, name: str) -> TrackedVideo:
        """Return what was written under `name`.

        Raises:
            DataError: it is not there, or a file is damaged.
        """
        if not self.has(name):
            raise DataError(f"{self._path(name)} does not exist; expected the boxes of video {name!r}. Track it.")
        boxes = self._rows(self._path(name), 4)
        try:
            return TrackedVideo(name, boxes, self._column(name, _TIME_ENDING), self._column(name, _CONFIDENCE_ENDING))
        except DataError as error:
            raise DataError(f"{self._path(name)}: {error}") from error

    def _column(self, name: str, ending: str) -> _Numbers:
        path = self._path(name, ending)
        return self._rows(path, 1).reshape(-1) if path.is_file() else np.empty(0)

    def _rows(self, path: Path, width: int) -> _Numbers:
        files = Folder(self.root)
        if not files.read(path.name).endswith(b"\n"):
            raise DataError(f"{path} was cut: its last line has no end. Delete it, and track the video again.")
        return np.array(read_rows(files, path.name, width), dtype=np.float64)

    def _path(self, name: str, ending: str = "") -> Path:
        check_file_name(name)
        return Path(self.root) / f"{name}{ending}.txt"


def check_file_name(name: str) -> None:
    """Refuse the name of a video or a tracker that could not be part of a file's name, or would leave its folder.

    Blanks, dots and a leading hyphen are common and allowed.

    Raises:
        DataError: `name` is empty or one or two dots, holds a slash, a backslash or a control character, or ends like
            the files beside the boxes.
    """
    is_odd = any(character in "/\\" or not character.isprintable() for character in name)
    if name in ("", ".", "..") or is_odd or len(name.encode()) > _MAX_NAME_BYTES:
        raise DataError(
            f"{name!r:.300} cannot be part of a file's name; expected a name without slashes, backslashes and control "
            f"characters, of at most {_MAX_NAME_BYTES} bytes. Rename the video, or the tracker."
        )
    if name.endswith((_TIME_ENDING, _CONFIDENCE_ENDING)):
        raise DataError(
            f"the name {name!r} ends like the files of times and confidences; expected another ending. Change it."
        )


def _write(path: Path, values: _Numbers) -> None:
    with atomic_write(path) as temporary:
        lines = (",".join(map(repr, row)) + "\n" for row in values.tolist())
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot replace {path}: {error}. Check that the folder can be written to, and that it is no folder itself."
        ) from error
