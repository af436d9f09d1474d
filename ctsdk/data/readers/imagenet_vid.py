"""ImageNet-VID: the tracks of objects in the videos of ImageNet's detection challenge.

::

    Annotations/VID/train/<set>/<video>/000000.xml    one per frame: size, objects with track, class, corners, occlusion
    Data/VID/train/<set>/<video>/000000.JPEG          the frames, from 0
    Annotations/VID/val/<video>/000000.xml            the other split has no sets
    cache.json                                        the tracks, if the OSTrack family's code has been used here

An LMDB holds the same paths. There is no official list of the tracks, so the annotations of a million frames are read
to find them.

Source: botaoye/OSTrack @ 33b5e12, lib/train/dataset/imagenetvid.py; got-10k/toolkit @ 956e728, got10k/datasets/vid.py.
"""

from __future__ import annotations

import logging
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.checks import check_option
from ctsdk.data.readers.documents import read_xml
from ctsdk.data.readers.files import Files
from ctsdk.data.readers.frames import open_frames
from ctsdk.data.readers.lmdb_files import open_files
from ctsdk.data.readers.tracks import Track, read_official_tracks, read_tracks, track_name, write_tracks
from ctsdk.data.videos import Video
from ctsdk.errors import DataError

__all__ = ["open_imagenet_vid"]

_ANNOTATIONS: Final = "Annotations/VID"
_OFFICIAL_CACHE: Final = "cache.json"
_WHOLE: Final = re.compile(r"-?[0-9]{1,6}")

_logger = logging.getLogger(__name__)


def open_imagenet_vid(root: Path, *, split: str = "train", rule: str = "ostrack", cache: str = "") -> VideoDataset:
    """Open the tracks of ImageNet-VID, in the order of sets and videos.

    There are two definitions of a track:

    - ``ostrack``: it ends before the first frame without the object, even if the object comes back. A box is
      ``xmax - xmin`` wide. Tracks whose first box covers the whole picture are left out. The tracks of a video are
      named ``<video>-0``, ``<video>-1`` and so on, in the order in which they begin.
    - ``got10k``: it skips the frames without the object. A box is ``xmax - xmin + 1`` wide. Tracks of one frame are
      left out. The tracks are named ``<video>.<trackid>``.

    With either rule, the target is visible where ``occluded`` is 0.

    Args:
        root: holds ``Annotations/VID`` and ``Data/VID``; or an LMDB of these paths. If it holds the ``cache.json`` of
            the OSTrack family, this is read instead of the annotations for the split ``train`` with the rule
            ``ostrack``. Nothing is ever written there.
        split: ``train`` or ``val``.
        rule: ``ostrack`` or ``got10k``.
        cache: a JSON file for the tracks. It is read if it exists, else written, so that the annotations are read only
            once. Delete it when the data set changes.

    Raises:
        ConfigError: an option has an unknown value.
        DataError: a file is missing or wrong, or the cache is of another split or rule.
        OutputError: the cache cannot be written.
    """
    check_option("vid", "split", split, ("train", "val"))
    check_option("vid", "rule", rule, tuple(_RULES))
    files = open_files(root)
    if cache and Path(cache).exists():
        tracks = read_tracks(Path(cache), split, rule)
    else:
        tracks = _all_tracks(files, split, rule)
        if cache:
            write_tracks(Path(cache), split, rule, tracks)
    if not tracks:
        raise DataError(f"{root} holds no track of ImageNet-VID's split {split!r}. Check that it is complete.")
    return VideoDataset("vid", split, tuple(track.name for track in tracks), _Reader(files, tuple(tracks)))


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads the track of an index as a video."""

    files: Files
    tracks: tuple[Track, ...]

    def __call__(self, index: int) -> Video:
        track = self.tracks[index]
        paths = [f"Data/VID/{track.folder}/{frame:06d}.JPEG" for frame in track.frames.tolist()]
        return Video(
            name=track.name,
            boxes_xywh_px=track.boxes_xywh_px.astype(np.float64),
            visible=track.visible,
            size_px=track.size_px,
            read_frame=open_frames(self.files, paths),
            about={"object_class": track.object_class},
        )


# -- annotations ------------------------------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """One object in one frame."""

    frame: int
    object_class: str
    box_xyxy_px: tuple[int, ...]
    visible: bool


def _all_tracks(files: Files, split: str, rule: str) -> list[Track]:
    if (split, rule) == ("train", "ostrack") and files.exists(_OFFICIAL_CACHE):
        return [track for track in read_official_tracks(files, _OFFICIAL_CACHE) if not _covers_picture(track)]
    folders = _video_folders(files, split)
    _logger.info("reading the annotations of %d videos below %s", len(folders), files.place(_ANNOTATIONS))
    return [track for folder in folders for track in _tracks(files, folder, rule)]


def _video_folders(files: Files, split: str) -> list[str]:
    """Return the folders of the videos, below ``Annotations/VID``. Those of ``train`` lie in sets."""
    sets = [f"{split}/{name}" for name in _official_names(files, split)] if split == "train" else [split]
    return [f"{folder}/{name}" for folder in sets for name in _official_names(files, folder)]


def _official_names(files: Files, folder: str) -> list[str]:
    # Other entries are no part of the data set.
    return [name for name in files.names(f"{_ANNOTATIONS}/{folder}") if name.startswith("ILSVRC")]


def _tracks(files: Files, folder: str, rule: str) -> list[Track]:
    """Return the tracks of one video."""
    names = [name for name in files.names(f"{_ANNOTATIONS}/{folder}") if name.endswith(".xml") and name[0] != "."]
    if not names:
        raise DataError(f"{files.place(f'{_ANNOTATIONS}/{folder}')} holds no .xml file. Copy the annotations again.")
    size_px = (0, 0)
    seen: dict[str, list[_Seen]] = {}
    for frame, name in enumerate(names):
        path = f"{_ANNOTATIONS}/{folder}/{frame:06d}.xml"
        if not path.endswith(f"/{name}"):
            raise DataError(
                f"{files.place(path)} is missing: {name} comes in its place. Expected one file for each frame. "
                "Copy the annotations again."
            )
        root = read_xml(files, path)
        try:
            if frame == 0:
                size_px = (_whole(_child(root, "size"), "width"), _whole(_child(root, "size"), "height"))
            for item in root.iterfind("object"):
                seen.setdefault(_text(item, "trackid"), []).append(_observation(item, frame))
        except ValueError as error:
            raise DataError(f"{files.place(path)} has {error}. Copy the file again.") from error
    return list(_RULES[rule](folder, size_px, seen))


def _observation(item: ET.Element, frame: int) -> _Seen:
    box = _child(item, "bndbox")
    corners = tuple(_whole(box, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
    return _Seen(frame, _text(item, "name"), corners, _text(item, "occluded") == "0")


def _whole(element: ET.Element, tag: str) -> int:
    text = _text(element, tag)
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"<{tag}>{text:.50}</{tag}>; expected a whole number of pixels")
    return int(text)


def _text(element: ET.Element, tag: str) -> str:
    return (_child(element, tag).text or "").strip()


def _child(element: ET.Element, tag: str) -> ET.Element:
    child = element.find(tag)
    if child is None:
        raise ValueError(f"an element <{element.tag}> without <{tag}>; expected one")
    return child


# -- rules ------------------------------------------------------------------------------------------------------------


def _ostrack_tracks(folder: str, size_px: tuple[int, int], seen: Mapping[str, Sequence[_Seen]]) -> Iterator[Track]:
    for number, observations in enumerate(seen.values()):
        kept = [observations[0]]
        for observation in observations[1:]:
            if observation.frame > kept[-1].frame + 1:
                break
            if observation.frame > kept[-1].frame:  # an object that is listed twice counts once
                kept.append(observation)
        track = _track(track_name(folder, number), folder, size_px, kept, 0)
        if not _covers_picture(track):
            yield track


def _got10k_tracks(folder: str, size_px: tuple[int, int], seen: Mapping[str, Sequence[_Seen]]) -> Iterator[Track]:
    for identity, observations in sorted(seen.items()):
        if len(observations) > 1:
            yield _track(f"{folder.rpartition('/')[2]}.{identity}", folder, size_px, observations, 1)


_RULES: Final = {"ostrack": _ostrack_tracks, "got10k": _got10k_tracks}


def _track(name: str, folder: str, size_px: tuple[int, int], observations: Sequence[_Seen], added_px: int) -> Track:
    boxes = np.array([observation.box_xyxy_px for observation in observations], dtype=np.int32)
    boxes[:, 2:] += added_px - boxes[:, :2]
    return Track(
        name=name,
        folder=folder,
        object_class=observations[0].object_class,
        size_px=size_px,
        frames=np.array([observation.frame for observation in observations], dtype=np.int32),
        boxes_xywh_px=boxes,
        visible=np.array([observation.visible for observation in observations], dtype=np.bool_),
    )


def _covers_picture(track: Track) -> bool:
    width, height = track.boxes_xywh_px[0, 2:].tolist()
    return not 0 <= width * height < track.size_px[0] * track.size_px[1]
