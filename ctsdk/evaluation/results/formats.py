"""Result files as the public tools write them, byte for byte.

===========  =======================================================  ====================================
format       boxes of a video, below the tool's folder of results     numbers
===========  =======================================================  ====================================
``ostrack``  ``<tracker>/<parameters>[_<repetition>]/<video>.txt``    tabs, cut toward zero
``got10k``   ``GOT-10k/<tracker>/<video>/<video>_<repetition>.txt``,  commas, three decimals
             of other sets ``OTB2015/<tracker>/<video>.txt``
``lasot``    ``<tracker>_tracking_result/<video>.txt``                commas, three decimals
``pysot``    ``<tracker>/<video>.txt``                                commas, as many decimals as it takes
===========  =======================================================  ====================================

``ostrack`` is the layout of pytracking and of the trackers built on it; the metrics that they publish come from its
whole pixels. GOT-10k and TrackingNet have a folder each there, within that of the parameters.

Reading is in :mod:`ctsdk.evaluation.results.reading`.

Source: botaoye/OSTrack @ 33b5e12, lib/test/evaluation/running.py and tracker.py; got-10k/toolkit @ 956e728,
got10k/experiments; HengLan/LaSOT_Evaluation_Toolkit @ 95bf38a, utils/eval_tracker.m; StrangerZhang/pysot-toolkit
@ 8b5ced3, pysot/datasets/video.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final, TypeAlias

import numpy as np

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.files import Folder
from ctsdk.data.readers.text import read_rows
from ctsdk.data.videos import Floats
from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.results.predictions import TrackedVideo, check_file_name
from ctsdk.evaluation.results.spellings import ResultFormat, dataset_key, spelling
from ctsdk.storage.atomic import atomic_write

__all__ = ["NUMBERS", "Numbers", "write_results"]


@dataclass(frozen=True)
class Numbers:
    """How a tool writes numbers; whatever the locale, the decimal separator is a point, and lines end with a newline.

    Attributes:
        separator: between the numbers of a line.
        box_decimals: of coordinates in px. 0 means cut toward zero; None as many as it takes to read the same again.
        second_decimals: of times.
    """

    separator: str
    box_decimals: int | None
    second_decimals: int

    def boxes(self, boxes_xywh_px: Floats) -> str:
        """Return the text of (N, 4) boxes, a line each."""
        return self._lines(boxes_xywh_px, self.box_decimals)

    def seconds(self, seconds: Floats) -> str:
        """Return the text of (N, R) times, a line per frame and a column per repetition."""
        return self._lines(seconds, self.second_decimals)

    def _lines(self, values: Floats, decimals: int | None) -> str:
        rows = (self.separator.join(_format(value, decimals) for value in row) for row in values.tolist())
        return "".join(f"{row}\n" for row in rows)


def _format(value: float, decimals: int | None) -> str:
    if decimals is None:
        return repr(value)
    return f"{value:.{decimals}f}" if decimals else str(int(value))


NUMBERS: Final[dict[ResultFormat, Numbers]] = {
    "ostrack": Numbers("\t", 0, 6),
    "got10k": Numbers(",", 3, 8),
    "lasot": Numbers(",", 3, 8),
    "pysot": Numbers(",", None, 8),
}
"""How each tool writes numbers."""

# The folder of a data set's results. LaSOT, TrackingNet and sets unknown to the toolkit have none.
_GOT10K_FOLDERS: Final = {
    "got10k": "GOT-10k",
    "nfs": "NfS/30",
    "otb": "OTB2015",
    "tc128": "TColor128",
    "uav123": "UAV123",
    "uav20l": "UAV20L",
}
_OSTRACK_FOLDERS: Final = {"got10k": "got10k", "trackingnet": "trackingnet"}

_Paths: TypeAlias = "tuple[PurePath, PurePath | None]"


@dataclass(frozen=True)
class _Layout:
    """The files of one tracker on one data set, in one format.

    Attributes:
        format: the tool.
        key: of the data set, as :func:`~ctsdk.evaluation.results.spellings.dataset_key` gives it.
        tracker: its name in the tool.
        repetition: its number, from 1; None for the only one.
    """

    format: ResultFormat
    key: str
    tracker: str
    repetition: int | None

    def __post_init__(self) -> None:
        if self.format not in NUMBERS:
            raise ConfigError(f"there is no result format {self.format!r}; expected one of {', '.join(NUMBERS)}.")
        names = self.tracker.split("/")
        if len(names) != (2 if self.format == "ostrack" else 1):
            expected = "the tracker and its parameters, such as 'ostrack/vitb_256'" if self.format == "ostrack" else ""
            raise ConfigError(
                f"the tracker is called {self.tracker!r}; {self.format} expects {expected or 'a name without slashes'}."
            )
        for name in names:
            check_file_name(name)
        if self.repetition is not None and (self.repetition < 1 or (self.repetition > 1 and not self._has_several)):
            raise ConfigError(
                f"repetition {self.repetition} was asked for; {self.format} numbers them from 1"
                f"{'' if self._has_several else ' and keeps one only of this data set'}."
            )

    @property
    def _has_several(self) -> bool:
        return self.format == "ostrack" or self._is_tree

    @property
    def _is_tree(self) -> bool:
        """Whether every video has a folder, and its times a column per repetition."""
        return self.format == "got10k" and self.key == "got10k"

    def write(self, folder: Path, tracked: TrackedVideo) -> None:
        """Write the files of one video."""
        boxes, times = self.paths(tracked.name)
        numbers = NUMBERS[self.format]
        if times is not None and len(tracked.seconds):
            columns = self._seconds(folder / times, tracked)
            _write(folder / times, numbers.seconds(columns))
        _write(folder / boxes, numbers.boxes(tracked.boxes_xywh_px))

    def paths(self, video: str) -> _Paths:
        """Return where boxes and times of a video are; the latter None if the tool keeps none."""
        check_file_name(video)
        name = spelling(self.format, self.key, video)
        if self.format == "ostrack":
            suffix = "" if self.repetition is None else f"_{self.repetition - 1:03d}"
            home = PurePath(self.tracker + suffix, _OSTRACK_FOLDERS.get(self.key, ""))
            return home / f"{name}.txt", home / f"{name}_time.txt"
        if self.format == "lasot":
            return PurePath(f"{self.tracker}_tracking_result", f"{name}.txt"), None
        if self.format == "pysot":
            return PurePath(self.tracker, f"{name}.txt"), None
        home = PurePath(_GOT10K_FOLDERS.get(self.key, ""), self.tracker)
        if self._is_tree:
            return home / name / f"{name}_{self.repetition or 1:03d}.txt", home / name / f"{name}_time.txt"
        return home / f"{name}.txt", home / "times" / f"{name}_time.txt"

    def _seconds(self, path: Path, tracked: TrackedVideo) -> Floats:
        """Return (N, R) times: those of `tracked`, and of the repetitions before it that share its file."""
        column = tracked.seconds[:, None]
        num_before = (self.repetition or 1) - 1 if self._is_tree else 0
        if not num_before:
            return column
        before = _read_columns(path)
        if before.shape[1] < num_before or len(before) != len(column):
            raise DataError(
                f"{path} has {before.shape[1]} repetitions of {len(before)} frames; expected at least {num_before} of "
                f"{len(column)}. Write the repetitions in their order, all with times."
            )
        return np.concatenate([before[:, :num_before], column], axis=1)


def write_results(
    format: ResultFormat,  # noqa: A002 - the word that users know
    folder: str | Path,
    dataset: VideoDataset,
    tracker: str,
    tracked: Iterable[TrackedVideo],
    *,
    repetition: int | None = None,
) -> list[Path]:
    """Write tracked videos as a tool writes them; return the files with the boxes.

    Each file is written whole or not at all, a video's boxes after its times. Confidences are not written.

    Args:
        format: whose files.
        folder: the tool's folder of results, such as ``results`` or ``tracking_results``.
        dataset: what was tracked; folders and the spelling of names depend on it.
        tracker: its name in the tool; for ``ostrack`` with its parameters: ``ostrack/vitb_256``.
        tracked: the videos.
        repetition: which one this is, counted from 1; None for the only one.

    Raises:
        ConfigError: the format is unknown, or has no such tracker or repetition.
        DataError: a video comes twice, a name cannot be a file's, or earlier repetitions have no times.
        OutputError: a file cannot be written.
    """
    layout = _Layout(format, dataset_key(dataset), tracker, repetition)
    written: dict[Path, str] = {}
    for video in tracked:
        path = Path(folder) / layout.paths(video.name)[0]
        if path in written:
            raise DataError(f"videos {written[path]!r} and {video.name!r} both belong into {path}; expected each once.")
        layout.write(Path(folder), video)
        written[path] = video.name
    return list(written)


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _read_columns(path: Path) -> Floats:
    """Return (N, R) times, (0, 0) if there are none."""
    if not path.is_file():
        return np.empty((0, 0))
    return np.array(read_rows(Folder(path.parent), path.name, None), dtype=np.float64)
