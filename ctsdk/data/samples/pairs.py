"""Training samples: template and search crops of one video, by the conventions of the OSTrack family.

Sample i of a :class:`PairDataset` depends on the seed and on i alone. So the number of worker processes does not change
the batches, and a run that resumes at step k sees the same samples as a run without a break.

Source: botaoye/OSTrack @ 33b5e12, lib/train/data/sampler.py, processing.py and transforms.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ctsdk.config import DataConfig
from ctsdk.data.samples.augmentation import augment_frame
from ctsdk.data.samples.mixture import Mixture
from ctsdk.data.samples.sampling import FrameSampling
from ctsdk.data.samples.unreadable import UnreadableError, UnreadableFiles
from ctsdk.data.samples.views import Cut, Frames, draw_views, stack_crops
from ctsdk.data.samples.workers import from_workers, start_worker, worker_context
from ctsdk.data.videos import Video
from ctsdk.engine.batch import Batch, TrackerSpec
from ctsdk.errors import ConfigError, DataError

__all__ = ["PairDataset", "batches"]

_MAX_REDRAWS = 100


@dataclass(frozen=True)
class _Portion:
    """What a worker process sends: a batch, or the error that ended it, and the messages of unreadable files."""

    batch: Batch | DataError
    num_samples: int
    unreadable: list[str]

    def pin_memory(self) -> _Portion:
        """Return the portion in pinned memory; a DataLoader calls this method by its name."""
        batch = self.batch
        if isinstance(batch, DataError):
            return self
        names = ("templates", "searches", "template_boxes", "search_boxes")
        return replace(self, batch=replace(batch, **{name: getattr(batch, name).pin_memory() for name in names}))


class PairDataset(Dataset[_Portion]):
    """Samples drawn from videos: a data set by its ratio, a video of it uniformly, frames by a rule.

    A video is drawn again unless it has at least 20 frames, and more than twice as many usable ones as a sample takes.
    A single image is always taken, as its own template and search. A sample is drawn again where a box has no area, a
    crop shows padding only, or a frame or an annotation cannot be read. Unreadable files are logged and counted.

    Args:
        videos: a list of videos, a data set, or several data sets.
        spec: crops, counts, jitter and reach.
        seed: together with its index, this determines a sample.
        length: the number of samples, or None for no end.
        augmentation: None for the defaults of :class:`~ctsdk.config.DataConfig`, also below.
        sampling: which frames make up a sample.
        max_unreadable: unreadable frames and annotations per sample above which an error is raised, once there are
            ten; 0 for an error at the first.

    Attributes:
        unreadable: the unreadable files so far.

    Raises:
        ConfigError: the seed or the length is negative, or the sampling is of another spec.
        DataError: there are no videos.
    """

    def __init__(
        self,
        videos: Mixture | Sequence[Video],
        spec: TrackerSpec,
        seed: int,
        length: int | None,
        augmentation: DataConfig | None = None,
        sampling: FrameSampling | None = None,
        max_unreadable: float | None = None,
    ) -> None:
        if seed < 0 or (length is not None and length < 0):
            raise ConfigError(f"PairDataset got seed={seed}, length={length}; expected 0 or positive numbers.")
        defaults = DataConfig()
        self.mixture = videos if isinstance(videos, Mixture) else Mixture((videos,))
        self.spec, self.seed, self.length = spec, seed, length
        self.augmentation = defaults if augmentation is None else augmentation
        self.sampling = FrameSampling.of(spec, defaults.sampling) if sampling is None else sampling
        self.unreadable = UnreadableFiles(defaults.max_unreadable if max_unreadable is None else max_unreadable)
        if (self.sampling.num_templates, self.sampling.num_searches) != (spec.num_templates, spec.num_searches):
            raise ConfigError(
                f"{self.sampling} does not draw the crops of {spec}. Make it with FrameSampling.of(spec)."
            )

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return the samples of `indices` as one batch.

        Raises:
            IndexError: an index is outside the length.
            DataError: there are no indices, no drawing gave a usable sample, too much could not be read, or a data
                set has nothing to train on.
        """
        if not indices:
            raise DataError("a batch of no samples was asked for; expected at least one.")
        return self.receive(self[indices])

    def __getitem__(self, indices: Sequence[int]) -> _Portion:
        """Make the samples of `indices`, perhaps in a worker process: nothing of the dataset changes."""
        unreadable: list[str] = []
        try:
            rows = [self._cut(index, unreadable) for index in indices]
        except DataError as error:
            # As a value, because a DataLoader would put a traceback of the worker into the message.
            return _Portion(error, len(indices), unreadable)
        num = self.spec.num_templates
        boxes = torch.tensor([[cut.box_xywh for cut in row] for row in rows], dtype=torch.float32).movedim(1, 0)
        batch = Batch(
            templates=stack_crops([row[:num] for row in rows], self.spec),
            searches=stack_crops([row[num:] for row in rows], self.spec),
            template_boxes=boxes[:num].contiguous(),
            search_boxes=boxes[num:].contiguous(),
        )
        return _Portion(batch, len(indices), unreadable)

    def receive(self, portion: _Portion) -> Batch:
        """Count the unreadable files of a portion, and return its batch or raise its error.

        Raises:
            DataError: the error of the portion, or too much could not be read.
        """
        self.unreadable.add(portion.num_samples, portion.unreadable)
        if isinstance(portion.batch, DataError):
            raise portion.batch
        return portion.batch

    def _cut(self, index: int, unreadable: list[str]) -> list[Cut]:
        """Return the crops of one sample, templates first, and add to `unreadable` what could not be read."""
        if index < 0 or (self.length is not None and index >= self.length):
            raise IndexError(f"sample {index} of {self.length}")
        rng, name = np.random.default_rng([self.seed, index]), "none"
        for _ in range(_MAX_REDRAWS):
            try:
                video = self.mixture.draw(self.sampling, rng)
                name = repr(video.name)
                cuts = self._draw(video, rng)
            except UnreadableError as error:
                unreadable.append(str(error))
                continue
            if cuts is not None:
                return cuts
        hint = f" The last thing that could not be read: {unreadable[-1]}" if unreadable else ""
        raise DataError(
            f"sample {index} (seed {self.seed}): {_MAX_REDRAWS} drawings gave no usable pair of crops, the last from "
            f"video {name}. Check that its boxes are (left, top, width, height) in pixels of its frames.{hint}"
        )

    def _draw(self, video: Video, rng: np.random.Generator) -> list[Cut] | None:
        """Draw once from a video; return the crops, templates first, or None if one of them cannot be used."""
        augmentation = self.augmentation
        grey, mirror = (rng.random(2) < (augmentation.greyscale, augmentation.joint_flip)).tolist()
        numbers, frames = self.sampling.draw(video, rng), Frames(video)
        if numbers is None:
            return None
        views = draw_views(frames, numbers, self.spec, augmentation.mirror_shift_px if mirror else None, rng)
        if views is None:
            return None
        pixels = {
            number: augment_frame(frames.pixels(number), grey=grey, mirror=mirror) for number in dict.fromkeys(numbers)
        }
        return [view.cut(pixels[view.frame], augmentation, rng) for view in views]


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
        dataset: the samples. It counts the unreadable files of the batches that were yielded.
        batch_size: samples per batch; the last batch of a dataset with an end may be smaller.
        start: number of the first batch; batch k begins at sample k * batch_size.
        stride: distance to the next batch; for processes that share the batches, their number.
        num_workers: processes that load samples; 0 for this process.
        pin_memory: put batches into pinned memory; needs a CUDA GPU.

    Raises:
        ConfigError: a number is out of range.
    """
    if batch_size < 1 or start < 0 or stride < 1 or num_workers < 0:
        raise ConfigError(
            f"batches() got batch_size={batch_size}, start={start}, stride={stride}, num_workers={num_workers}; "
            "expected at least 1, 0, 1 and 0."
        )
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=_indices(dataset.length, batch_size, start, stride),
        num_workers=num_workers,
        pin_memory=pin_memory,
        worker_init_fn=start_worker,
        multiprocessing_context=worker_context() if num_workers else None,
        # Its own generator, because a DataLoader draws a seed, and would draw it from the global state.
        generator=torch.Generator().manual_seed(0),
    )
    return map(dataset.receive, from_workers(loader) if num_workers else loader)


def _indices(length: int | None, batch_size: int, start: int, stride: int) -> Iterator[range]:
    """Yield the indices of the samples of each batch."""
    for number in itertools.count(start, stride):
        first, stop = number * batch_size, (number + 1) * batch_size
        if length is not None and first >= length:
            return
        yield range(first, stop if length is None else min(stop, length))
