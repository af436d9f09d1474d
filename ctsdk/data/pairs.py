"""Training samples: template and search crops of one video, by the conventions of the OSTrack family.

Sample i of a :class:`PairDataset` depends on the seed and on i alone. So any number of worker processes gives the same
batches, and a run that goes on from step k sees what it would have seen without the break.

Source: botaoye/OSTrack @ 33b5e12, lib/train/data/sampler.py, processing.py and transforms.py.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ctsdk.adapter import Batch
from ctsdk.data.crops import box_in_crop, crop_square, crop_window, import_cv2, padding_mask
from ctsdk.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ctsdk.adapter import BoxPx, TrackerSpec
    from ctsdk.data.sequences import VideoSequence

__all__ = ["Augmentation", "PairDataset", "Sample", "batches"]

_MAX_REDRAWS = 100
_GAP_STEP = 5
# A search crop whose padding swallows every sixteenth pixel has no unpadded patch for the tracker to look at.
_PADDING_STRIDE = 16


@dataclass(frozen=True)
class Augmentation:
    """How crops are varied. The first two are drawn once per sample, the others once per crop.

    Attributes:
        greyscale: probability that all crops lose their colour.
        joint_flip: probability that all crops are mirrored.
        brightness: a crop is multiplied by a factor in 1 +- this.
        flip: probability that a crop is mirrored on its own, so that template and search may differ.

    Raises:
        ConfigError: a value is outside [0, 1].
    """

    greyscale: float = 0.05
    joint_flip: float = 0.5
    brightness: float = 0.2
    flip: float = 0.5

    def __post_init__(self) -> None:
        for name in ("greyscale", "joint_flip", "brightness", "flip"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"Augmentation.{name} is {getattr(self, name)}; expected a number from 0 to 1.")

    @classmethod
    def none(cls) -> Augmentation:
        """Return the augmentation that changes nothing."""
        return cls(greyscale=0.0, joint_flip=0.0, brightness=0.0, flip=0.0)


@dataclass(frozen=True)
class Sample:
    """One training sample: a :class:`~ctsdk.adapter.Batch` without its axis B.

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
class _View:
    """One crop to make: its frame, the box in it, and the jittered box to crop around (all in frame pixels)."""

    frame: int
    box_xywh_px: BoxPx
    around_xywh_px: BoxPx
    factor: float
    size: int


@dataclass(frozen=True)
class _Cut:
    """One crop before normalisation, with its box in shares of it."""

    pixels: NDArray[np.uint8]
    brightness: float
    box_xywh: BoxPx


class PairDataset(Dataset[Sample]):
    """Samples drawn from videos: the video uniformly, the first template uniformly among its visible frames.

    The searches follow the first template by 1 to ``spec.max_gap - 1`` frames, further templates precede it by 1 to
    ``spec.max_gap``; where nothing visible is in reach, the reach grows by 5. Frames may repeat. A video of one frame
    serves as its own template and search. A sample is drawn again where a box has no area or a crop shows padding only.

    Args:
        sequences: the videos.
        spec: crops, counts, jitter and reach.
        seed: with the index, all that a sample depends on.
        length: the number of samples, or None for no end.
        augmentation: None for the family's.

    Raises:
        ConfigError: the seed or the length is negative.
        DataError: no video has enough visible frames for one sample.
    """

    def __init__(
        self,
        sequences: Sequence[VideoSequence],
        spec: TrackerSpec,
        seed: int,
        length: int | None,
        augmentation: Augmentation | None = None,
    ) -> None:
        if seed < 0 or (length is not None and length < 0):
            raise ConfigError(f"PairDataset got seed={seed}, length={length}; expected 0 or positive numbers.")
        self.spec, self.seed, self.length = spec, seed, length
        self.augmentation = Augmentation() if augmentation is None else augmentation
        needed = spec.num_templates + spec.num_searches
        self.sequences = [video for video in sequences if video.visible.sum() >= (needed if len(video) > 1 else 1)]
        if not self.sequences:
            raise DataError(
                f"none of {len(sequences)} videos has {needed} visible frames, the number that one sample takes "
                f"({spec.num_templates} templates, {spec.num_searches} searches). Give longer videos, or check visible."
            )

    def __len__(self) -> int:
        if self.length is None:
            raise DataError("this PairDataset has no end (length=None); give a length, or read it through batches().")
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`.

        Raises:
            IndexError: the index is outside the length: the protocol by which Python ends a loop over the samples.
            DataError: no drawing gave a usable sample, or a frame cannot be read.
        """
        batch = self.batch([index])
        return Sample(batch.templates[:, 0], batch.searches[:, 0], batch.template_boxes[:, 0], batch.search_boxes[:, 0])

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return the samples of `indices` as one batch.

        Raises:
            IndexError: an index is outside the length.
            DataError: there are no indices, no drawing gave a usable sample, or a frame cannot be read.
        """
        if not indices:
            raise DataError("a batch of no samples was asked for; expected at least one.")
        rows, num = [self._cuts(index) for index in indices], self.spec.num_templates
        boxes = torch.tensor([[cut.box_xywh for cut in row] for row in rows], dtype=torch.float32).movedim(1, 0)
        return Batch(
            templates=_normalised([row[:num] for row in rows], self.spec),
            searches=_normalised([row[num:] for row in rows], self.spec),
            template_boxes=boxes[:num].contiguous(),
            search_boxes=boxes[num:].contiguous(),
        )

    def _cuts(self, index: int) -> list[_Cut]:
        """Return the crops of one sample, templates first."""
        if index < 0 or (self.length is not None and index >= self.length):
            raise IndexError(f"sample {index} of {self.length}")
        rng = np.random.default_rng([self.seed, index])
        for _ in range(_MAX_REDRAWS):
            video = self.sequences[int(rng.integers(len(self.sequences)))]
            grey, mirrored = rng.random(2) < (self.augmentation.greyscale, self.augmentation.joint_flip)
            views = self._draw_views(video, bool(mirrored), rng)
            if views is not None:
                numbers = {view.frame for view in views}
                frames = {number: _changed(video.frame(number), bool(grey), bool(mirrored)) for number in numbers}
                return [self._cut(frames[view.frame], view, rng) for view in views]
        raise DataError(
            f"sample {index} (seed {self.seed}): {_MAX_REDRAWS} drawings gave no usable pair of crops, the last from "
            f"video {video.name!r}. Check that its boxes are (left, top, width, height) in pixels of its frames."
        )

    def _draw_views(self, video: VideoSequence, mirrored: bool, rng: np.random.Generator) -> list[_View] | None:
        """Return the crops of one sample, templates first, or None if they cannot be used."""
        spec = self.spec
        frames = _draw_frames(video.visible, spec, rng)
        if frames is None:
            return None
        template = spec.template_factor, spec.template_size, spec.template_centre_jitter, spec.template_scale_jitter
        search = spec.search_factor, spec.search_size, spec.search_centre_jitter, spec.search_scale_jitter
        kinds = [template] * spec.num_templates + [search] * spec.num_searches
        views = []
        for frame, (factor, size, centre_jitter, scale_jitter) in zip(frames, kinds, strict=True):
            box = _box_of(video, frame, mirrored)
            if box is None:
                return None
            around = _jittered(box, centre_jitter, scale_jitter, rng)
            if not _is_usable(around, factor, size, video.size_px):
                return None
            views.append(_View(frame, box, around, factor, size))
        return views

    def _cut(self, frame: NDArray[np.uint8], view: _View, rng: np.random.Generator) -> _Cut:
        """Cut one crop and vary it on its own."""
        pixels = crop_square(frame, view.around_xywh_px, view.factor, view.size).pixels
        x, y, width, height = box_in_crop(view.box_xywh_px, view.around_xywh_px, view.factor, view.size)
        brightness = 1.0 + self.augmentation.brightness * rng.uniform(-1.0, 1.0)
        if rng.random() < self.augmentation.flip:
            # In shares of the crop the mirror is x' = 1 - x, unlike the mirror of the frame.
            pixels, x = import_cv2().flip(pixels, 1), 1.0 - x - width
        return _Cut(pixels, brightness, (x, y, width, height))


def batches(dataset: PairDataset, batch_size: int, *, start: int = 0, num_workers: int = 0) -> Iterator[Batch]:
    """Yield batches in the order of the samples; without end if the dataset has none.

    Neither the global random state nor the number of workers changes what is yielded.

    Args:
        dataset: the samples.
        batch_size: samples per batch; the last batch of a dataset with an end may be smaller.
        start: the first batch to yield: batch k holds samples k * batch_size and on.
        num_workers: processes that make samples; 0 for this one.

    Raises:
        ConfigError: a number is out of range.
    """
    if batch_size < 1 or start < 0 or num_workers < 0:
        raise ConfigError(
            f"batches() got batch_size={batch_size}, start={start}, num_workers={num_workers}; "
            "expected at least 1, 0 and 0."
        )
    length = dataset.length
    loader = DataLoader(
        _Batches(dataset, batch_size),
        batch_size=None,
        sampler=itertools.count(start) if length is None else range(start, math.ceil(length / batch_size)),
        num_workers=num_workers,
        worker_init_fn=_start_worker,
        # Its own generator, because a DataLoader draws a seed, and would draw it from the global state.
        generator=torch.Generator().manual_seed(0),
    )
    return iter(loader)


class _Batches(Dataset[Batch]):
    """Batch k of a dataset."""

    def __init__(self, dataset: PairDataset, batch_size: int) -> None:
        self.dataset, self.batch_size = dataset, batch_size

    def __getitem__(self, number: int) -> Batch:
        first, length = number * self.batch_size, self.dataset.length
        stop = first + self.batch_size
        return self.dataset.batch(range(first, stop if length is None else min(stop, length)))


def _start_worker(worker: int) -> None:
    """Keep OpenCV to one thread: the workers are the parallelism, and its threads do not survive a fork."""
    del worker
    import_cv2().setNumThreads(0)


def _draw_frames(visible: NDArray[np.bool_], spec: TrackerSpec, rng: np.random.Generator) -> list[int] | None:
    """Return one frame per crop, templates first, or None if the video has no such frames."""
    total, num_more = len(visible), spec.num_templates - 1
    if total == 1:
        return [0] * (spec.num_templates + spec.num_searches)
    bases = np.flatnonzero(visible[: total - spec.num_searches])
    bases = bases[bases >= num_more]
    gap = spec.max_gap
    while bases.size:
        base = int(rng.choice(bases))
        before = np.flatnonzero(visible[max(base - gap, 0) : base]) + max(base - gap, 0)
        after = np.flatnonzero(visible[base + 1 : base + gap]) + base + 1
        if after.size and (before.size or not num_more):
            more = [int(frame) for frame in rng.choice(before, num_more)] if num_more else []
            return [base, *more, *(int(frame) for frame in rng.choice(after, spec.num_searches))]
        if gap >= total + _GAP_STEP * _MAX_REDRAWS:
            break
        gap += _GAP_STEP
    return None


def _box_of(video: VideoSequence, frame: int, mirrored: bool) -> BoxPx | None:
    x, y, width, height = (float(value) for value in video.boxes_xywh_px[frame])
    if not (math.isfinite(x + y + width + height) and min(width, height) > 0):
        return None
    # The family mirrors the corners of a box as x' = (W - 1) - x, one pixel off the mirror of the pixels.
    return (video.size_px[0] - 1 - x - width if mirrored else x), y, width, height


def _jittered(box: BoxPx, centre_jitter: float, scale_jitter: float, rng: np.random.Generator) -> BoxPx:
    """Return the box to crop around."""
    x, y, width, height = box
    grow_x, grow_y = np.exp(scale_jitter * rng.standard_normal(2))
    shift_x, shift_y = rng.random(2) - 0.5
    new_width, new_height = width * float(grow_x), height * float(grow_y)
    reach = centre_jitter * math.sqrt(new_width * new_height)
    centre_x, centre_y = x + 0.5 * width + reach * float(shift_x), y + 0.5 * height + reach * float(shift_y)
    return centre_x - 0.5 * new_width, centre_y - 0.5 * new_height, new_width, new_height


def _is_usable(around: BoxPx, factor: float, size: int, frame_size_px: tuple[int, int]) -> bool:
    left, top, side = crop_window(around, factor)
    return not padding_mask(left, top, side, frame_size_px, size)[::_PADDING_STRIDE, ::_PADDING_STRIDE].all()


def _changed(frame: NDArray[np.uint8], grey: bool, mirrored: bool) -> NDArray[np.uint8]:
    cv2 = import_cv2()
    if grey:
        frame = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.flip(frame, 1) if mirrored else frame, dtype=np.uint8)


def _normalised(rows: Sequence[Sequence[_Cut]], spec: TrackerSpec) -> torch.Tensor:
    """Return (N, B, 3, H, W) float32 from B rows of N crops, made brighter or darker and normalised."""
    size = rows[0][0].pixels.shape[0]
    crops = torch.empty(len(rows[0]), len(rows), 3, size, size)
    mean, std = torch.tensor(spec.mean).view(3, 1, 1), torch.tensor(spec.std).view(3, 1, 1)
    for row, number in itertools.product(range(len(rows)), range(len(rows[0]))):
        cut, crop = rows[row][number], crops[number, row]
        crop.copy_(torch.from_numpy(cut.pixels).permute(2, 0, 1))
        # Divided where nothing changes, so that an unvaried crop is bit for bit what a tracker sees at test time.
        crop.div_(255.0) if cut.brightness == 1.0 else crop.mul_(cut.brightness / 255.0).clamp_(max=1.0)
        crop.sub_(mean).div_(std)
    return crops
