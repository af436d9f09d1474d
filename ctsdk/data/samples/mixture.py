"""Several data sets, each with its share of the samples."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.samples.sampling import FrameSampling
from ctsdk.data.samples.unreadable import reading
from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError

__all__ = ["Mixture"]

_MAX_REJECTIONS = 1000
# Size of the cache of annotations: about 100 MB in each process. Each video counts some extra frames, because a single
# image takes memory too.
_MAX_CACHED_FRAMES = 500_000
_EXTRA_FRAMES = 50


@dataclass(frozen=True, eq=False)
class Mixture:
    """Data sets to draw videos from: the data set by its ratio, then a video of it uniformly.

    Annotations are read when a video is drawn. The latest ones are cached.

    Attributes:
        datasets: a :class:`~ctsdk.data.datasets.VideoDataset` each, or a list of videos.
        ratios: relative shares of the data sets; None to use their numbers of videos.

    Raises:
        ConfigError: there are not as many ratios as data sets, or a ratio is not positive.
        DataError: there is no data set, or one has no videos.
    """

    datasets: tuple[Sequence[Video], ...]
    ratios: tuple[float, ...] | None = None
    _shares: tuple[float, ...] = field(init=False, repr=False)
    _cache: _Cache = field(init=False, repr=False)

    def __post_init__(self) -> None:
        empty = [_title(dataset) for dataset in self.datasets if not len(dataset)]
        if empty or not self.datasets:
            raise DataError(f"there is nothing to train on in {', '.join(empty) or 'no data sets'}; expected videos.")
        ratios = tuple(float(len(dataset)) for dataset in self.datasets) if self.ratios is None else self.ratios
        if len(ratios) != len(self.datasets) or not all(0 < ratio < math.inf for ratio in ratios):
            raise ConfigError(
                f"{len(self.datasets)} data sets have the ratios {list(ratios)}; expected a positive number for each."
            )
        object.__setattr__(self, "_shares", tuple(ratio / sum(ratios) for ratio in ratios))
        object.__setattr__(self, "_cache", _Cache())

    def draw(self, sampling: FrameSampling, rng: np.random.Generator) -> Video:
        """Return a video that samples can be drawn from.

        Raises:
            UnreadableError: the annotation of the video that was drawn cannot be read.
            DataError: a data set has boxes for the first frames only, or hardly a video in it is long enough.
        """
        # No draw for a single data set: a draw here would change every sample.
        chosen = int(rng.choice(len(self.datasets), p=self._shares)) if len(self.datasets) > 1 else 0
        dataset = self.datasets[chosen]
        for _ in range(_MAX_REJECTIONS):
            video = self._read(chosen, int(rng.integers(len(dataset))))
            if sampling.accepts(video):
                return video
        raise DataError(
            f"{_MAX_REJECTIONS} videos drawn one after the other from {_title(dataset)} cannot be trained on, the last "
            f"was {video.name!r} with {len(video)} frames; expected {sampling.needs}. Check the annotation, or leave "
            "the data set out."
        )

    def _read(self, chosen: int, number: int) -> Video:
        key, dataset = (chosen, number), self.datasets[chosen]
        video = self._cache.get(key)
        if video is None:
            with reading():
                video = dataset[number]
            if not video.has_truth:
                raise DataError(
                    f"{_title(dataset)} has only the first box of video {video.name!r}, as test sets do; training "
                    "takes a box for every frame. Choose another split."
                )
            self._cache.put(key, video)
        return video


@dataclass(eq=False)
class _Cache:
    """The videos that were read last. A copy in another process starts empty."""

    videos: OrderedDict[tuple[int, int], Video] = field(default_factory=OrderedDict)
    num_frames: int = 0

    def __reduce__(self) -> tuple[type[_Cache], tuple[()]]:
        return _Cache, ()

    def get(self, key: tuple[int, int]) -> Video | None:
        if key in self.videos:
            self.videos.move_to_end(key)
        return self.videos.get(key)

    def put(self, key: tuple[int, int], video: Video) -> None:
        self.videos[key] = video
        self.num_frames += len(video) + _EXTRA_FRAMES
        while self.num_frames > _MAX_CACHED_FRAMES:
            _, oldest = self.videos.popitem(last=False)
            self.num_frames -= len(oldest) + _EXTRA_FRAMES


def _title(dataset: Sequence[Video]) -> str:
    return str(dataset) if isinstance(dataset, VideoDataset) else f"a list of {len(dataset)} videos"
