"""Archives for the servers that keep the truth of their test sets.

===============  ==========================================  ===================================
server           entries of the archive                      how many
===============  ==========================================  ===================================
``got10k``       ``<video>/``, ``<video>/<video>_001.txt``,  180 videos, 1 or 3 repetitions
                 ``<video>/<video>_time.txt``
``trackingnet``  ``<video>.txt``                             511 videos
===============  ==========================================  ===================================

Both servers accept only commas between numbers, and neither reports anything else that it finds.

Source: botaoye/OSTrack @ 33b5e12, lib/test/utils/transform_got10k.py and transform_trackingnet.py; got-10k/toolkit
@ 956e728, got10k/experiments/got10k.py, issues 3 and 21; SilvioGiancola/TrackingNet-devkit @ 79783f2, metrics.py.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import numpy as np

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.results.archives import Archive
from ctsdk.evaluation.results.formats import NUMBERS, Numbers
from ctsdk.evaluation.results.predictions import TrackedVideo, check_file_name
from ctsdk.evaluation.results.reading import ResultFiles, find_results
from ctsdk.evaluation.results.spellings import dataset_key
from ctsdk.storage.atomic import atomic_write

__all__ = ["PackNumbers", "Server", "check_pack", "pack"]

Server: TypeAlias = Literal["got10k", "trackingnet"]
PackNumbers: TypeAlias = Literal["got10k", "ostrack"]

_logger = logging.getLogger(__name__)

_NUM_VIDEOS: Final = {"got10k": 180, "trackingnet": 511}
_NUM_EXAMPLES: Final = 10
# The first that a zip archive can express; a fixed one, so that the same results make the same bytes.
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_FILE_MODE: Final = 0o100644 << 16
# The last bit marks a folder in the attributes of MS-DOS.
_FOLDER_MODE: Final = (0o040755 << 16) | 0x10

_Repetitions: TypeAlias = "dict[str, list[TrackedVideo]]"


def pack(
    server: Server, dataset: VideoDataset, results: str | Path, path: str | Path, *, numbers: PackNumbers = "got10k"
) -> Path:
    """Write the archive that a server expects; return its path.

    Everything is checked first. The results stay as they are; the archive is written whole or not at all, and the same
    results make the same bytes.

    Args:
        server: whose archive.
        dataset: the test split of the server's data set.
        results: a folder of result files, or an archive of them, from any tool; see
            :func:`ctsdk.evaluation.results.reading.find_results`.
        path: of the archive.
        numbers: ``got10k`` writes boxes with three decimals and times with eight, as the toolkit does; ``ostrack``
            cuts boxes to whole pixels and gives times six decimals, as the OSTrack family does.

    Raises:
        ConfigError: there is no such server, or no such way to write numbers.
        DataError: the data set is not the server's test split, or results are missing, or wrong in number or kind.
        OutputError: the archive cannot be written.
    """
    if numbers not in get_args(PackNumbers):
        raise ConfigError(f"numbers is {numbers!r}; expected one of {', '.join(get_args(PackNumbers))}.")
    path = Path(path)
    _check_dataset(server, dataset)
    repetitions = _read_all(server, dataset, find_results(results, dataset))
    entries = _entries(server, repetitions, replace(NUMBERS[numbers], separator=","))
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(entries.items()):
            entry = zipfile.ZipInfo(name, _DATE)
            # Without these two, the bytes would depend on the system.
            entry.create_system, entry.external_attr = 3, _FILE_MODE if text else _FOLDER_MODE
            entry.compress_type = zipfile.ZIP_DEFLATED if text else zipfile.ZIP_STORED
            archive.writestr(entry, text)
    return path


def check_pack(server: Server, dataset: VideoDataset, path: str | Path) -> dict[str, list[TrackedVideo]]:
    """Read an archive again as the server would; return the repetitions of each video.

    Raises:
        ConfigError: there is no such server.
        DataError: the server would refuse it, or not score all of it, for a reason that can be known here.
    """
    _check_dataset(server, dataset)
    archive = Archive.open(Path(path))
    _check_entries(server, dataset, archive)
    return _read_all(server, dataset, find_results(path, dataset))


def _check_dataset(server: Server, dataset: VideoDataset) -> None:
    if server not in _NUM_VIDEOS:
        raise ConfigError(f"there is no server {server!r}; expected one of {', '.join(_NUM_VIDEOS)}.")
    if dataset_key(dataset) != server or dataset.split.partition("_")[0] != "test":
        raise DataError(f"the data set is {dataset}; the server expects {server} test. Open that split.")
    if len(dataset) != _NUM_VIDEOS[server]:
        _logger.warning(
            "%s has %d videos here, and %d at the server, which expects all of them.",
            dataset,
            len(dataset),
            _NUM_VIDEOS[server],
        )


def _read_all(server: Server, dataset: VideoDataset, found: ResultFiles) -> _Repetitions:
    """Return the repetitions of each video; raise DataError with the list of all faults, if there are any."""
    faults = [f"{name}: no results" for name in found.missing]
    by_name: _Repetitions = {}
    for name in found.paths:
        try:
            by_name[name] = _read_repetitions(server, dataset.find(name), found)
        except DataError as error:
            faults.append(str(error))
    counts = {len(repetitions) for repetitions in by_name.values()}
    if len(counts) > 1:
        faults.append(f"some videos have {min(counts)} repetitions and some {max(counts)}")
    if faults:
        more = f"\n  and {len(faults) - _NUM_EXAMPLES} more" if len(faults) > _NUM_EXAMPLES else ""
        listed = "".join(f"\n  {fault}" for fault in faults[:_NUM_EXAMPLES]) + more
        raise DataError(
            f"{found.files.place('')} cannot go to the {server} server; expected whole results of all "
            f"{len(dataset)} videos of {dataset}.{listed}\nTrack these videos again."
        )
    return by_name


def _read_repetitions(server: Server, video: Video, found: ResultFiles) -> list[TrackedVideo]:
    """Return the repetitions of one video; raise DataError for the first fault."""
    name = video.name
    check_file_name(name)
    repetitions = []
    for repetition in found.read(name):
        place, num_boxes = repetition.place, len(repetition.boxes_xywh_px)
        if num_boxes != len(video):
            raise DataError(f"{place}: {num_boxes} boxes for {len(video)} frames")
        tracked = repetition.check()
        # Cutting to whole pixels moves a box by less than one; a larger difference means another target or video.
        first, given = tracked.boxes_xywh_px[0], video.boxes_xywh_px[0]
        if not (np.abs(first - given) < 1).all():
            raise DataError(f"{place}: the first box is {first.tolist()}, the given one {given.tolist()}")
        if server == "got10k" and not len(tracked.seconds):
            raise DataError(
                f"{place}: no times of this repetition beside it, which the server asks for: a column for each"
            )
        repetitions.append(tracked)
    if server == "trackingnet" and len(repetitions) > 1:
        raise DataError(f"{name}: {len(repetitions)} repetitions, where the server takes one")
    return repetitions


def _entries(server: Server, by_name: Mapping[str, Sequence[TrackedVideo]], numbers: Numbers) -> dict[str, str]:
    """Return the text of each entry by its name; folders have none."""
    if server == "trackingnet":
        return {f"{name}.txt": numbers.boxes(tracked.boxes_xywh_px) for name, (tracked,) in by_name.items()}
    entries = {}
    for name, repetitions in by_name.items():
        entries[f"{name}/"] = ""
        for number, tracked in enumerate(repetitions, start=1):
            entries[f"{name}/{name}_{number:03d}.txt"] = numbers.boxes(tracked.boxes_xywh_px)
        seconds = np.stack([tracked.seconds for tracked in repetitions], axis=1)
        entries[f"{name}/{name}_time.txt"] = numbers.seconds(seconds)
    return entries


def _check_entries(server: Server, dataset: VideoDataset, archive: Archive) -> None:
    """Refuse an archive with entries that its server does not expect, or cannot read."""
    known = _entry_pattern(server, dataset)
    matches = {path: known.fullmatch(path) for path in archive.contents}
    odd = [archive.place(path) for path, match in matches.items() if match is None]
    if odd:
        raise DataError(
            f"{len(odd)} files have no place in an archive for {server}, such as {odd[0]}; expected the table in "
            "ctsdk.evaluation.results.packing. Pack the results again."
        )
    if server == "got10k":
        _check_places(archive, [match for match in matches.values() if match is not None])
    for path, content in archive.contents.items():
        if re.search(rb"[^0-9a-zA-Z.,+\-\r\n]", content):
            raise DataError(
                f"{archive.place(path)} has more than numbers and commas in its lines; the server rejects blanks and "
                "tabs without a word. Pack the results again."
            )


def _check_places(archive: Archive, matches: Sequence[re.Match[str]]) -> None:
    """Refuse several outer folders, and repetitions that are not numbered from 1."""
    around = sorted({match["around"] or "" for match in matches})
    if len(around) > 1:
        raise DataError(
            f"{archive.place('')} has videos in {around[0] or 'no folder'} and in {around[1]}; expected one folder "
            "around all of them, or none. Pack the results again."
        )
    numbers: dict[str, list[int]] = {match["name"]: [] for match in matches}
    for match in matches:
        if match["number"] != "time":
            numbers[match["name"]].append(int(match["number"]))
    for name, seen in numbers.items():
        if sorted(seen) != list(range(1, len(seen) + 1)):
            raise DataError(
                f"{archive.place(name)} has the repetitions {sorted(seen)}; expected them to be counted from 1. Pack "
                "the results again."
            )


def _entry_pattern(server: Server, dataset: VideoDataset) -> re.Pattern[str]:
    name = "|".join(map(re.escape, dataset.names))
    if server == "trackingnet":
        return re.compile(rf"({name})\.txt")
    # The toolkit allows one outer folder around all videos.
    return re.compile(rf"(?P<around>[^/]+/)?(?P<name>{name})/(?P=name)_(?P<number>\d{{3}}|time)\.txt")
