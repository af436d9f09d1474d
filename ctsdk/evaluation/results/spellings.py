"""The different names that public tools give to the same data sets and videos.

Source: botaoye/OSTrack @ 33b5e12, lib/test/evaluation/*dataset.py; got-10k/toolkit @ 956e728, got10k/experiments and
got10k/datasets/otb.py; StrangerZhang/pysot-toolkit @ 8b5ced3, pysot/datasets/otb.py.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias, get_args

from ctsdk.data.datasets import VideoDataset

__all__ = ["ResultFormat", "dataset_key", "folder_key", "spelling", "spellings"]

ResultFormat: TypeAlias = Literal["ostrack", "got10k", "lasot", "pysot"]
"""Whose files: those of pytracking and the OSTrack family, or of the toolkits of GOT-10k, LaSOT and pysot."""

# Data sets by their keys, and other names of their folders, in lower case and without punctuation.
_OTHER_NAMES: Final = {
    "got10k": ("got10ktest", "got10kval"),
    "lasot": (),
    "lasotext": ("lasotextensionsubset",),
    "nfs": ("nfs30",),
    "otb": ("otb100", "otb2013", "otb2015", "otb50", "tb100", "tb50"),
    "tc128": ("tcolor128",),
    "tnl2k": (),
    "trackingnet": (),
    "uav123": ("uav",),
    "uav20l": (),
    "vot": (),
}
_KEYS: Final = {name: key for key, others in _OTHER_NAMES.items() for name in (key, *others)}
_PREFIXES: Final = {"nfs": "nfs_", "uav123": "uav_"}

# The targets of OTB that share a folder. Human4 has one target, but in its second file.
_SHARED: Final = re.compile(r"(Jogging|Skating2)[-._]([12])")
_HUMAN4: Final = re.compile(r"Human4(?:[-._]2)?")
_OTB: Final = {"ostrack": ("{}_{}", "Human4_2"), "got10k": ("{}.{}", "Human4"), "pysot": ("{}-{}", "Human4-2")}


def folder_key(folder: str) -> str | None:
    """Return the key of the public data set that a folder is called after, or None."""
    return _KEYS.get(_plain(folder))


def dataset_key(dataset: VideoDataset) -> str:
    """Return one name for a data set, however it is spelled: ``otb`` also for ``OTB100``.

    A split with a well-known name has that as its key: ``uav20l``.
    """
    return folder_key(dataset.split) or folder_key(dataset.name) or _plain(dataset.name)


def spelling(format: ResultFormat, key: str, name: str) -> str:  # noqa: A002 - the word that users know
    """Return the name that a tool gives to a video in its files.

    Args:
        format: the tool.
        key: of the data set, as :func:`dataset_key` gives it.
        name: of the video, in any tool's spelling.
    """
    if key == "otb" and format in _OTB:
        shared, human4 = _OTB[format]
        if match := _SHARED.fullmatch(name):
            return shared.format(*match.groups())
        return human4 if _HUMAN4.fullmatch(name) else name
    prefix = _PREFIXES.get(key, "")
    bare = name.removeprefix(prefix)
    return prefix + bare if format == "ostrack" else bare


def spellings(key: str, name: str) -> list[str]:
    """Return all names that a video may have in result files, its own first."""
    return list(dict.fromkeys([name, *(spelling(tool, key, name) for tool in get_args(ResultFormat))]))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
