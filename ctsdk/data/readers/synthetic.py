"""Synthetic videos as a data set, to evaluate a tracker without a data set on disk."""

from __future__ import annotations

from pathlib import Path

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.synthetic.photographs import HELD_OUT_PHOTOGRAPHS, load_photographs
from ctsdk.data.synthetic.videos import synthetic_videos
from ctsdk.errors import ConfigError

__all__ = ["open_synthetic"]


def open_synthetic(root: Path | None = None, *, count: str = "40", seed: str = "2") -> VideoDataset:
    """Return seeded videos with exact boxes, made of photographs.

    The defaults give the videos of the demo's evaluation; their photographs are not used in training.

    Args:
        root: a folder of photographs; None for the held-out ones of scikit-image.
        count: how many videos.
        seed: of the videos.

    Raises:
        ConfigError: `count` or `seed` is no number, or too small.
        DataError: the photographs cannot be read, or scikit-image is not installed.
    """
    num_videos, first_seed = _whole_number("count", count, least=1), _whole_number("seed", seed, least=0)
    photographs = load_photographs(root)
    names = HELD_OUT_PHOTOGRAPHS if root is None else tuple(photographs)
    videos = synthetic_videos(num_videos, first_seed, [photographs[name] for name in names])
    return VideoDataset("synthetic", "", tuple(video.name for video in videos), videos.__getitem__)


def _whole_number(option: str, text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise ConfigError(
            f"synthetic videos were asked for with {option}={text!r:.50}; expected a number from {least} up."
        )
    return int(text)
