"""Result files of any tracker: found in a folder or a zip archive, and read as they are.

All tools keep a video's boxes in ``<video>.txt``, or in ``<video>/<video>_001.txt`` and further numbers for further
repetitions. A few tools spell names in their own way; see :mod:`ctsdk.evaluation.results.spellings`. Numbers are
separated by commas, tabs or blanks. They are not checked here: protocols decide about NaN, negative sizes and missing
rows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.files import Files, Folder
from ctsdk.data.readers.text import read_rows
from ctsdk.data.videos import Floats
from ctsdk.errors import DataError
from ctsdk.evaluation.results.archives import Archive, list_folder
from ctsdk.evaluation.results.predictions import TrackedVideo
from ctsdk.evaluation.results.spellings import dataset_key, folder_key, spellings

__all__ = ["FoundVideo", "ResultFiles", "find_results"]

_REPETITION: Final = re.compile(r"(.+)_([0-9]{3,6})")
_NUM_EXAMPLES: Final = 5


@dataclass(frozen=True, eq=False)
class FoundVideo:
    """One repetition of one video, as the result files have it.

    Attributes:
        name: of the video, as the data set has it.
        place: the file with the boxes.
        boxes_xywh_px: (M, 4) float64, unchecked: there may be NaN, infinite numbers and negative sizes.
        seconds: (K,) float64, unchecked; empty if there are none for this repetition.
    """

    name: str
    place: str
    boxes_xywh_px: Floats
    seconds: Floats

    def check(self) -> TrackedVideo:
        """Return it as a tracked video, whose numbers are valid.

        Raises:
            DataError: a box is not finite or of negative size, or there are not as many times as boxes.
        """
        try:
            return TrackedVideo(self.name, self.boxes_xywh_px, self.seconds)
        except DataError as error:
            raise DataError(f"{self.place}: {error}") from error


@dataclass(frozen=True)
class ResultFiles:
    """Where the results of one tracker on one data set are.

    Attributes:
        files: the folder or archive.
        paths: of each video that was found, the files with its boxes, one per repetition.
        times: of each such video, the file with its times, if there is one.
        missing: the videos that were not found, in the data set's order.
    """

    files: Files
    paths: Mapping[str, tuple[str, ...]]
    times: Mapping[str, str]
    missing: tuple[str, ...]

    def read(self, name: str) -> list[FoundVideo]:
        """Return the repetitions of a video.

        Raises:
            DataError: it was not found, or a line of a file does not hold the numbers that it should.
        """
        if name not in self.paths:
            raise DataError(f"there are no results of video {name!r}, only of {_some(self.paths)}.")
        seconds = self._seconds(name)
        return [
            FoundVideo(name, self.files.place(path), np.array(read_rows(self.files, path, 4)), column)
            for path, column in zip(self.paths[name], seconds, strict=True)
        ]

    def _seconds(self, name: str) -> list[Floats]:
        """Return the times of each repetition."""
        num = len(self.paths[name])
        if name not in self.times:
            return [np.empty(0)] * num
        rows = np.array(read_rows(self.files, self.times[name], None))
        # If counts differ, columns cannot be matched to repetitions; ignore them.
        return list(rows.T) if rows.shape[1] == num else [np.empty(0)] * num


def find_results(place: str | Path, dataset: VideoDataset) -> ResultFiles:
    """Find the results of one tracker on a data set, written by any tool.

    Files may lie deeper in `place`, such as in a folder called after the data set. Folders named after
    another public data set are skipped.

    Args:
        place: a folder, or a zip archive, which is not unpacked.
        dataset: the data set; its annotations are not read.

    Raises:
        DataError: `place` is neither; it is too large, or an archive that is damaged or names files outside itself; no
            video was found, or one in several places.
    """
    place = Path(place)
    if place.is_dir():
        files: Files = Folder(place)
        paths = list_folder(place)
    else:
        files = archive = Archive.open(place)
        paths = list(archive.contents)
    key = dataset_key(dataset)
    texts = [path for path in map(PurePosixPath, paths) if path.suffix == ".txt" and not _is_of_another(path, key)]
    return _match(files, texts, {name: spellings(key, name) for name in dataset.names})


def _is_of_another(path: PurePosixPath, key: str) -> bool:
    """Whether a file lies in a folder named after another data set; never so for an unknown set."""
    folders = {folder_key(folder) for folder in path.parts[:-1]} - {None}
    return path.parts[0] == "__MACOSX" or (folder_key(key) is not None and bool(folders) and key not in folders)


def _match(files: Files, paths: Sequence[PurePosixPath], names: Mapping[str, Sequence[str]]) -> ResultFiles:
    """Find the files of each video, among the paths of text files; `names` has its possible spellings."""
    flat, trees = _by_name(paths)
    known = {str(path) for path in paths}
    found: dict[str, tuple[str, ...]] = {}
    times: dict[str, str] = {}
    several: dict[str, list[str]] = {}
    for name, called in names.items():
        candidates = [tree for spelled in called for tree in (*flat[spelled], *trees[spelled])]
        if len(candidates) > 1:
            several[name] = [candidate[0] for candidate in candidates]
        elif candidates:
            found[name] = candidates[0]
            times |= ((name, path) for path in _places_of_times(candidates[0], called) if path in known)
    _refuse(files, several, found, paths)
    return ResultFiles(files, found, times, tuple(name for name in names if name not in found))


def _by_name(
    paths: Iterable[PurePosixPath],
) -> tuple[defaultdict[str, list[tuple[str, ...]]], defaultdict[str, list[tuple[str, ...]]]]:
    """Return the files by their names, and the numbered ones in a folder by the name of the folder."""
    flat: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
    numbered: defaultdict[PurePosixPath, list[tuple[int, str]]] = defaultdict(list)
    for path in paths:
        flat[path.stem].append((str(path),))
        match = _REPETITION.fullmatch(path.stem)
        if match and match[1] == path.parent.name:
            numbered[path.parent].append((int(match[2]), str(path)))
    trees: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
    for folder, repetitions in numbered.items():
        trees[folder.name].append(tuple(path for _, path in sorted(repetitions)))
    return flat, trees


def _places_of_times(boxes: Sequence[str], called: Sequence[str]) -> list[str]:
    folder = PurePosixPath(boxes[0]).parent
    return [str(folder / inner / f"{name}_time.txt") for inner in ("", "times") for name in called]


def _refuse(
    files: Files, several: Mapping[str, Sequence[str]], found: Mapping[str, object], paths: Sequence[PurePosixPath]
) -> None:
    if several:
        name, places = next(iter(several.items()))
        raise DataError(
            f"{len(several)} videos have results in several places, {name!r} in "
            f"{_some(map(files.place, places))}. Give the folder of one tracker's results on one data set."
        )
    if not found:
        seen = f"only {_some(map(str, paths))}" if paths else "no text files at all"
        raise DataError(
            f"{files.place('')} has results of no video, {seen}; expected files such as <video>.txt. Give the "
            "folder of the tracker's results on this data set."
        )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _NUM_EXAMPLES} more" if len(names) > _NUM_EXAMPLES else ""
    return ", ".join(names[:_NUM_EXAMPLES]) + more
