"""TrackingNet: 30 132 videos to train on, in twelve chunks, and 511 to test.

::

    TRAIN_0/frames/<id>/0.jpg  the frames, from 0, without zeros in front
    TRAIN_0/anno/<id>.txt      a row per frame: x,y,w,h, from 0; a box may leave the frame, corners may be negative
    TRAIN_1/ ... TRAIN_11/     the same
    TEST/                      the same, with one row per video: the other boxes are not public

As LMDB: one environment per chunk, ``TRAIN_0_lmdb`` and so on, with the paths below that chunk, and beside them a file
``seq_list.json`` with ``[chunk, id]`` for each video; without it, the videos are found by the keys.

Rows may begin with blanks and end in CRLF. There are no labels of visibility. Videos are ordered by chunk and name,
independently of the disk and the list, so that a seed draws the same samples everywhere. The class of a video is looked
up in a table that comes with ctsdk; a video that is not in it has none. A training video has as many frames as rows, so
an annotation that was cut off at the end of a row shortens its video.

Source: botaoye/OSTrack @ 33b5e12, lib/train/dataset/tracking_net.py, tracking_net_lmdb.py,
lib/test/evaluation/trackingnetdataset.py; got-10k/toolkit @ 956e728, got10k/datasets/trackingnet.py.
"""

from __future__ import annotations

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.checks import check_option, read_finite_boxes
from ctsdk.data.readers.files import Files, Folder, find_present
from ctsdk.data.readers.frames import NumberedPaths, find_numbered, open_frames
from ctsdk.data.readers.lmdb_files import open_files
from ctsdk.data.readers.tables import read_table
from ctsdk.data.readers.text import read_text
from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError

__all__ = ["open_trackingnet"]

_NUM_CHUNKS: Final = 12
_LIST: Final = "seq_list.json"


def open_trackingnet(root: Path, *, split: str = "test", chunks: str = "all", present: str = "all") -> VideoDataset:
    """Return videos of TrackingNet.

    Args:
        root: the folder that holds ``TRAIN_0`` and so on, or their LMDBs.
        split: ``train`` or ``test``.
        chunks: numbers of the training chunks, such as ``0,1,2``, or ``all`` for all twelve.
        present: ``all`` expects every chunk of `chunks` with every video; ``only`` leaves out missing chunks and videos
            without a folder.

    Raises:
        ConfigError: an option has an unknown value.
        DataError: a chunk is missing, or there are no videos.
    """
    check_option("trackingnet", "split", split, ("train", "test"))
    check_option("trackingnet", "present", present, ("all", "only"))
    if split == "test" and chunks != "all":
        raise ConfigError(f"data set trackingnet: chunks={chunks!r} goes with split=train only.")
    names = [f"TRAIN_{number}" for number in _read_chunks(chunks)] if split == "train" else ["TEST"]
    listed = _read_list(root) if (root / _LIST).is_file() else None
    found = [_open_chunk(root, name, listed, present == "only") for name in names]
    videos = [(chunk, video) for chunk in found if chunk is not None for video in chunk.videos]
    twice = [video for video, count in Counter(video for _, video in videos).items() if count > 1]
    if not videos or twice:
        raise DataError(
            f"{root} holds {len(videos)} videos of the split {split}, and more than once {twice[:3]}; expected each "
            "once. Check the path, and copy the annotations again."
        )
    called = tuple(video for _, video in videos)
    return VideoDataset("trackingnet", split, called, _Reader(tuple(videos), split == "test"), "trackingnet")


@dataclass(frozen=True)
class _Chunk:
    """A part of the data set.

    Attributes:
        files: of the chunk.
        prefix: of its paths.
        videos: names of its videos, sorted.
    """

    files: Files
    prefix: str
    videos: tuple[str, ...]


@dataclass(frozen=True)
class _Reader:
    """Reads the video of an index."""

    videos: tuple[tuple[_Chunk, str], ...]
    is_test: bool

    def __call__(self, index: int) -> Video:
        chunk, name = self.videos[index]
        files, folder = chunk.files, f"{chunk.prefix}frames/{name}"
        boxes = read_finite_boxes(files, f"{chunk.prefix}anno/{name}.txt")
        paths = find_numbered(files, folder, 0, 1) if self.is_test else NumberedPaths(folder, 0, len(boxes), 1)
        object_class = _classes().get(name)
        return Video(
            name=name,
            boxes_xywh_px=boxes,
            visible=np.ones(len(boxes), dtype=np.bool_),
            size_px=None,
            read_frame=open_frames(files, paths),
            num_frames=len(paths),
            about={} if object_class is None else {"object_class": object_class},
        )


def _read_chunks(text: str) -> list[int]:
    if text == "all":
        return list(range(_NUM_CHUNKS))
    words = [word.strip() for word in text.split(",")]
    allowed = {str(number) for number in range(_NUM_CHUNKS)}
    if not allowed.issuperset(words) or len(set(words)) < len(words):
        raise ConfigError(
            f"data set trackingnet: chunks is {text!r}; expected 'all', or numbers from 0 to {_NUM_CHUNKS - 1} "
            "separated by commas, each once."
        )
    return sorted(map(int, words))


def _open_chunk(root: Path, name: str, listed: Mapping[str, Sequence[str]] | None, only_present: bool) -> _Chunk | None:
    """Return the chunk of a name such as ``TRAIN_0``; None if it is missing and may be.

    `listed` are the videos of each chunk that is an LMDB, or None without a list.
    """
    environment = root / f"{name}_lmdb"
    is_lmdb = environment.is_dir()
    files, prefix = (open_files(environment), "") if is_lmdb else (open_files(root), f"{name}/")
    if not files.exists(f"{prefix}anno"):
        if only_present:
            return None
        choice = "" if name == "TEST" else ", or choose chunks with chunks=0,1,2, or present=only for what is there"
        raise DataError(
            f"{files.place(f'{prefix}anno')} does not exist; expected the folder that holds {name}, or {name}_lmdb. "
            f"Check the path{choice}."
        )
    if is_lmdb and listed is not None and name in listed:
        videos = list(listed[name])
    else:
        # Names with a dot in front are what macOS leaves on foreign disks.
        found = [file for file in files.names(f"{prefix}anno") if file.endswith(".txt") and not file.startswith(".")]
        videos = [file.removesuffix(".txt") for file in found]
    if only_present:
        folders = find_present(files, [f"{prefix}frames/{video}" for video in videos])
        videos = [video for video in videos if f"{prefix}frames/{video}" in folders]
    return _Chunk(files, prefix, tuple(sorted(videos)))


def _read_list(root: Path) -> dict[str, list[str]]:
    """Return the videos of each chunk by the list beside the LMDBs."""
    files, chunks = Folder(root), defaultdict[str, list[str]](list)
    try:
        for number, video in json.loads(read_text(files, _LIST)):
            if type(number) is not int or type(video) is not str:
                raise TypeError(f"[{number!r:.40}, {video!r:.40}]")
            chunks[f"TRAIN_{number}"].append(video)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{files.place(_LIST)} is not as expected, a JSON list of [chunk, id]: {error}. Copy it again."
        ) from error
    return dict(chunks)


@functools.cache
def _classes() -> Mapping[str, str]:
    """Return the class of each video that has one."""
    classes, current = {}, ""
    for line in read_table("trackingnet_classes.txt.gz"):
        if line.endswith(":"):
            current = line[:-1]
        else:
            classes[line] = current
    return classes
