"""Check a data set: read every annotation, decode every frame, and count what is missing, wrong or unusual."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.images import IMAGE_SUFFIXES
from ctsdk.data.readers.frames import ImageFiles
from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError

__all__ = ["DatasetReport", "Fault", "FramesToRead", "check_dataset"]

FramesToRead: TypeAlias = Literal["all", "ends", "none"]


@dataclass(frozen=True)
class Fault:
    """Something that cannot be used.

    Attributes:
        video: its name.
        message: what was seen, what was expected and what to do.
    """

    video: str
    message: str


@dataclass
class DatasetReport:
    """The result of a check.

    Attributes:
        dataset: name and split of the data set.
        num_videos: videos in its list.
        num_readable: videos whose annotation could be read.
        num_frames: frames of the readable videos.
        num_frames_read: frames that were decoded.
        faults: what cannot be used, in the order of the videos.
        oddities: what can be used but is unusual, with its count.
        examples: the first place of each oddity.
    """

    dataset: str
    num_videos: int = 0
    num_readable: int = 0
    num_frames: int = 0
    num_frames_read: int = 0
    faults: list[Fault] = field(default_factory=list)
    oddities: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether everything that was read can be used."""
        return not self.faults


@dataclass(frozen=True)
class _Finding:
    """The result for one video; `oddities` holds (what, where, how often)."""

    num_frames: int
    num_frames_read: int
    faults: tuple[str, ...]
    oddities: tuple[tuple[str, str, int], ...]
    is_readable: bool = True
    folder: str | None = None
    unused: frozenset[str] = frozenset()


def check_dataset(
    dataset: VideoDataset, *, frames: FramesToRead = "all", num_threads: int = 4
) -> Iterator[DatasetReport]:
    """Read a data set and yield the report after every video; the last report is complete.

    Args:
        dataset: the data set.
        frames: "all" decodes every frame; "ends" the first and the last of each video; "none" reads annotations only.
        num_threads: videos that are read in parallel.

    Raises:
        ConfigError: there are no videos, or an argument has a wrong value.
    """
    if frames not in ("all", "ends", "none") or num_threads < 1:
        raise ConfigError(
            f"check_dataset got frames={frames!r}, num_threads={num_threads}; expected 'all', 'ends' or 'none', and at "
            "least 1."
        )
    if not len(dataset):
        raise ConfigError(f"{dataset} names no videos. Check its folder and its split.")
    report = DatasetReport(str(dataset), num_videos=len(dataset))
    unused: dict[str, frozenset[str]] = {}
    with ThreadPoolExecutor(num_threads) as pool:
        findings = pool.map(lambda number: _examine(dataset, number, frames), range(len(dataset)))
        for name, finding in zip(dataset.names, findings, strict=True):
            _add(report, name, finding)
            if finding.folder is not None:
                # Videos may share a folder. An image that none of them uses is odd, such as one without a box.
                unused[finding.folder] = unused.get(finding.folder, finding.unused) & finding.unused
            yield report
    for folder, names in unused.items():
        _count(report, "images that no video uses", f"{folder}/{min(names, default='')}", len(names))
    yield report


def _add(report: DatasetReport, name: str, finding: _Finding) -> None:
    report.num_readable += finding.is_readable
    report.num_frames += finding.num_frames
    report.num_frames_read += finding.num_frames_read
    report.faults += [Fault(name, message) for message in finding.faults]
    for what, where, count in finding.oddities:
        _count(report, what, f"{name}{where}", count)


def _count(report: DatasetReport, what: str, where: str, count: int) -> None:
    if count:
        report.oddities[what] = report.oddities.get(what, 0) + count
        report.examples.setdefault(what, where)


def _examine(dataset: VideoDataset, number: int, frames: FramesToRead) -> _Finding:
    try:
        video = dataset[number]
    except DataError as error:
        return _Finding(0, 0, (str(error),), (), is_readable=False)
    chosen = {"all": range(len(video)), "ends": sorted({0, len(video) - 1}), "none": ()}[frames]
    sizes: dict[int, tuple[int, int]] = {}
    faults = []
    for index in chosen:
        try:
            height, width = video.frame(index).shape[:2]
            sizes[index] = (width, height)
        except DataError as error:
            faults.append(str(error))
    folder, unused = _unused_images(video)
    oddities = tuple(_odd_boxes(video)) + tuple(_odd_sizes(video, sizes))
    return _Finding(len(video), len(sizes), tuple(faults), oddities, folder=folder, unused=unused)


def _odd_boxes(video: Video) -> Iterator[tuple[str, str, int]]:
    boxes = video.boxes_xywh_px
    is_nan = np.isnan(boxes).any(axis=1)
    is_empty = ~is_nan & (boxes[:, 2:] <= 0).any(axis=1)
    yield _rows("boxes that are NaN", is_nan)
    yield _rows("boxes without an area", is_empty)
    yield _rows("visible targets without a box", video.visible & (is_nan | is_empty))
    yield _rows("targets that cannot be seen", ~video.visible)
    yield _rows("boxes that begin left of or above the frame", ~is_nan & (boxes[:, :2] < 0).any(axis=1))
    if not video.usable[0]:
        yield "videos whose first box cannot start a tracker", ", frame 0", 1
    if not video.has_truth:
        yield "videos with the first box only", "", 1


def _odd_sizes(video: Video, sizes: dict[int, tuple[int, int]]) -> Iterator[tuple[str, str, int]]:
    if len(set(sizes.values())) > 1:
        first = next(iter(sizes.values()))
        index = next(index for index, size in sizes.items() if size != first)
        yield "videos whose frames change their size", f", frame {index}", 1
    if video.has_truth and sizes:
        indices = np.array(list(sizes))
        ends = video.boxes_xywh_px[indices, :2] + video.boxes_xywh_px[indices, 2:]
        beyond = (ends > np.array(list(sizes.values())) + 1.0).any(axis=1)
        what, _, count = _rows("boxes that end right of or below the frame", beyond)
        yield what, f", frame {indices[int(beyond.argmax())]}", count


def _rows(what: str, odd: ArrayLike) -> tuple[str, str, int]:
    is_odd = np.asarray(odd, dtype=np.bool_)
    return what, f", frame {int(is_odd.argmax())}", int(is_odd.sum())


def _unused_images(video: Video) -> tuple[str | None, frozenset[str]]:
    """Return the folder of the frames, if they have one, and the images in it that the video does not use."""
    images = video.read_frame
    if not isinstance(images, ImageFiles) or len(video) == 1:
        return None, frozenset()
    folder = images.paths[0].rpartition("/")[0]
    used = {path.rpartition("/")[2] for path in images.paths}
    try:
        names = images.files.names(folder)
    except DataError:
        return None, frozenset()  # a fault of the frames already
    are_images = frozenset(name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES)
    return images.files.place(folder), are_images - used
