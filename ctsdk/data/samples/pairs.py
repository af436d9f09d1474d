"""Training samples: template and search crops of one video, by the conventions of the OSTrack family.

Sample i of a :class:`PairDataset` depends on the seed and on i alone. So any number of worker processes gives the same
batches, and a run that goes on from step k sees what it would have seen without the break.

Source: botaoye/OSTrack @ 33b5e12, lib/train/data/sampler.py, processing.py and transforms.py.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ctsdk.data.samples.augmentation import Augmentation, changed
from ctsdk.data.samples.faults import FaultLog, UnreadableError
from ctsdk.data.samples.mixture import Mixture
from ctsdk.data.samples.sampling import FrameSampling
from ctsdk.data.samples.views import Cut, Frames, draw_views, normalised
from ctsdk.data.samples.workers import from_workers, start_worker
from ctsdk.engine.batch import Batch
from ctsdk.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ctsdk.data.videos import Video
    from ctsdk.engine.batch import TrackerSpec

__all__ = ["PairDataset", "Sample", "batches"]

_MAX_REDRAWS = 100


@dataclass(frozen=True)
class Sample:
    """One training sample: a :class:`~ctsdk.engine.batch.Batch` without its axis B.

    Attributes:
        templates: (T, 3, Hz, Wz) float32, normalised.
        searches: (S, 3, Hx, Wx) float32, normalised.
        template_boxes: (T, 4) float32, xywh, shares of the template crop.
        search_boxes: (S, 4) float32, xywh, shares of the search crop.
    """

    templates: torch.Tensor
    searches: torch.Tensor
    template_boxes: torch.Tensor
    search_boxes: torch.Tensor


@dataclass(frozen=True)
class _Portion:
    """What a worker process sends: a batch or why there is none, and what could not be read on the way."""

    batch: Batch | DataError
    num_samples: int
    faults: list[str]

    def pin_memory(self) -> _Portion:
        """Return the portion in memory that a GPU fetches while it computes; a DataLoader calls this by its name."""
        batch = self.batch
        if isinstance(batch, DataError):
            return self
        names = ("templates", "searches", "template_boxes", "search_boxes")
        return replace(self, batch=replace(batch, **{name: getattr(batch, name).pin_memory() for name in names}))


class PairDataset(Dataset[Sample]):
    """Samples drawn from videos: a data set by its ratio, a video of it uniformly, frames by a rule.

    A video is drawn again unless it has 20 frames, and more than twice as many usable ones as a sample takes; a single
    image is always taken, as its own template and search. A sample is drawn again where a box has no area, a crop
    shows padding only, or a frame or an annotation cannot be read. What cannot be read is logged and counted.

    Args:
        videos: a list of videos, a data set, or several data sets.
        spec: crops, counts, jitter and reach.
        seed: with the index, all that a sample depends on.
        length: the number of samples, or None for no end.
        augmentation: None for the family's.
        sampling: which frames make up a sample; None for the family's.
        max_unreadable: unreadable frames and annotations per sample above which an error is raised, once there are
            ten; 0 for an error at the first.

    Attributes:
        faults: what could not be read so far.

    Raises:
        ConfigError: the seed or the length is negative, `max_unreadable` is not in [0, 1], or the sampling is of
            another spec.
        DataError: there are no videos.
    """

    def __init__(
        self,
        videos: Mixture | Sequence[Video],
        spec: TrackerSpec,
        seed: int,
        length: int | None,
        augmentation: Augmentation | None = None,
        sampling: FrameSampling | None = None,
        max_unreadable: float = 0.001,
    ) -> None:
        if seed < 0 or (length is not None and length < 0) or not 0.0 <= max_unreadable <= 1.0:
            raise ConfigError(
                f"PairDataset got seed={seed}, length={length}, max_unreadable={max_unreadable}; expected 0 or "
                "positive numbers, the last one up to 1."
            )
        self.mixture = videos if isinstance(videos, Mixture) else Mixture((videos,))
        self.spec, self.seed, self.length = spec, seed, length
        self.augmentation = Augmentation() if augmentation is None else augmentation
        self.sampling = FrameSampling.of(spec) if sampling is None else sampling
        if (self.sampling.num_templates, self.sampling.num_searches) != (spec.num_templates, spec.num_searches):
            raise ConfigError(
                f"{self.sampling} does not draw the crops of {spec}. Make it with FrameSampling.of(spec)."
            )
        self.faults = FaultLog(max_unreadable)

    def __len__(self) -> int:
        if self.length is None:
            raise DataError("this PairDataset has no end (length=None); give a length, or read it through batches().")
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`.

        Raises:
            IndexError: the index is outside the length: the protocol by which Python ends a loop over the samples.
            DataError: as :meth:`batch`.
        """
        batch = self.batch([index])
        return Sample(batch.templates[:, 0], batch.searches[:, 0], batch.template_boxes[:, 0], batch.search_boxes[:, 0])

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return the samples of `indices` as one batch.

        Raises:
            IndexError: an index is outside the length.
            DataError: there are no indices, no drawing gave a usable sample, too much could not be read, or a data
                set has nothing to train on.
        """
        if not indices:
            raise DataError("a batch of no samples was asked for; expected at least one.")
        return self._received(self._portion(indices))

    def _portion(self, indices: Sequence[int]) -> _Portion:
        """Make samples; nothing of the dataset changes, so this may happen in another process."""
        faults: list[str] = []
        try:
            rows = [self._cuts(index, faults) for index in indices]
        except DataError as error:
            # As a value, because a DataLoader would put a traceback of the worker into the message.
            return _Portion(error, len(indices), faults)
        num = self.spec.num_templates
        boxes = torch.tensor([[cut.box_xywh for cut in row] for row in rows], dtype=torch.float32).movedim(1, 0)
        batch = Batch(
            templates=normalised([row[:num] for row in rows], self.spec),
            searches=normalised([row[num:] for row in rows], self.spec),
            template_boxes=boxes[:num].contiguous(),
            search_boxes=boxes[num:].contiguous(),
        )
        return _Portion(batch, len(indices), faults)

    def _received(self, portion: _Portion) -> Batch:
        """Return the batch of a portion, or raise its error, and count what could not be read."""
        self.faults.add(portion.num_samples, portion.faults)
        if isinstance(portion.batch, DataError):
            raise portion.batch
        return portion.batch

    def _cuts(self, index: int, faults: list[str]) -> list[Cut]:
        """Return the crops of one sample, templates first, and add to `faults` what could not be read."""
        if index < 0 or (self.length is not None and index >= self.length):
            raise IndexError(f"sample {index} of {self.length}")
        rng, name = np.random.default_rng([self.seed, index]), "none"
        for _ in range(_MAX_REDRAWS):
            try:
                video = self.mixture.draw(self.sampling, rng)
                name = repr(video.name)
                cuts = self._drawn(video, rng)
            except UnreadableError as error:
                faults.append(str(error))
                continue
            if cuts is not None:
                return cuts
        unread = f" The last thing that could not be read: {faults[-1]}" if faults else ""
        raise DataError(
            f"sample {index} (seed {self.seed}): {_MAX_REDRAWS} drawings gave no usable pair of crops, the last from "
            f"video {name}. Check that its boxes are (left, top, width, height) in pixels of its frames.{unread}"
        )

    def _drawn(self, video: Video, rng: np.random.Generator) -> list[Cut] | None:
        """Return the crops of one drawing, templates first, or None if they cannot be used."""
        grey, mirrored = rng.random(2) < (self.augmentation.greyscale, self.augmentation.joint_flip)
        numbers, frames = self.sampling.draw(video, rng), Frames(video)
        if numbers is None:
            return None
        mirror_shift_px = self.augmentation.mirror_shift_px if mirrored else None
        views = draw_views(frames, numbers, self.spec, mirror_shift_px, rng)
        if views is None:
            return None
        pixels = {
            number: changed(frames.pixels(number), grey=bool(grey), mirrored=bool(mirrored))
            for number in dict.fromkeys(numbers)
        }
        return [view.cut(pixels[view.frame], self.augmentation, rng) for view in views]


def batches(
    dataset: PairDataset,
    batch_size: int,
    *,
    start: int = 0,
    stride: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Yield batches in the order of the samples; without end if the dataset has none.

    Neither the global random state nor the number of workers changes what is yielded, or when an error is raised.

    Args:
        dataset: the samples. Its faults count what is yielded.
        batch_size: samples per batch; the last batch of a dataset with an end may be smaller.
        start: the first batch to yield: batch k holds samples k * batch_size and on.
        stride: how much further on the next one is; for processes that share the batches, their number.
        num_workers: processes that make samples; 0 for this one.
        pin_memory: put batches into memory that a CUDA GPU fetches while it computes; needs one.

    Raises:
        ConfigError: a number is out of range.
    """
    if batch_size < 1 or start < 0 or stride < 1 or num_workers < 0:
        raise ConfigError(
            f"batches() got batch_size={batch_size}, start={start}, stride={stride}, num_workers={num_workers}; "
            "expected at least 1, 0, 1 and 0."
        )
    length = dataset.length
    loader = DataLoader(
        _Portions(dataset, batch_size),
        batch_size=None,
        sampler=_numbers(start, stride, None if length is None else math.ceil(length / batch_size)),
        num_workers=num_workers,
        pin_memory=pin_memory,
        worker_init_fn=start_worker,
        # Its own generator, because a DataLoader draws a seed, and would draw it from the global state.
        generator=torch.Generator().manual_seed(0),
    )
    return map(dataset._received, from_workers(loader) if num_workers else loader)


def _numbers(start: int, stride: int, stop: int | None) -> Iterable[int]:
    return itertools.count(start, stride) if stop is None else range(start, stop, stride)


class _Portions(Dataset[_Portion]):
    """Batch k of a dataset."""

    def __init__(self, dataset: PairDataset, batch_size: int) -> None:
        self.dataset, self.batch_size = dataset, batch_size

    def __getitem__(self, number: int) -> _Portion:
        first, length = number * self.batch_size, self.dataset.length
        stop = first + self.batch_size
        return self.dataset._portion(range(first, stop if length is None else min(stop, length)))
