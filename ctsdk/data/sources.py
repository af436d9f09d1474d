"""Training and validation batches from a configuration. Readers of the field's data sets will be further sources."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from ctsdk.data.pairs import Augmentation, PairDataset, batches
from ctsdk.data.photographs import TRAINING_PHOTOGRAPHS, load_photographs
from ctsdk.data.synthetic import synthetic_sequences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctsdk.adapter import Batch, TrackerSpec
    from ctsdk.config import CompressionConfig

__all__ = ["training_batches", "validation_batches"]

# Added to the seed of the training videos; far from any seed that people choose next.
_VALIDATION_OFFSET = 1_000_000


def training_batches(config: CompressionConfig, spec: TrackerSpec, start: int) -> Iterator[Batch]:
    """Yield batches of ``training.micro_batch_size`` samples without end, from batch `start` on.

    Raises:
        DataError: the photographs cannot be read.
    """
    pairs = _pairs(config, spec, config.data.seed, Augmentation(flip=config.data.flip))
    return batches(pairs, _size(config), start=start, num_workers=config.data.num_workers)


def validation_batches(config: CompressionConfig, spec: TrackerSpec) -> list[Batch]:
    """Return batches of other videos, not augmented; none if the run does not validate.

    Raises:
        DataError: the photographs cannot be read.
    """
    if config.training.validate_every is None:
        return []
    pairs = _pairs(config, spec, config.data.seed + _VALIDATION_OFFSET, Augmentation.none())
    return list(islice(batches(pairs, _size(config)), config.training.validation_batches))


def _size(config: CompressionConfig) -> int:
    return config.training.micro_batch_size or config.training.batch_size


def _pairs(config: CompressionConfig, spec: TrackerSpec, video_seed: int, augmentation: Augmentation) -> PairDataset:
    folder = config.data.photographs
    photographs = load_photographs(folder)
    names = TRAINING_PHOTOGRAPHS if folder is None else tuple(photographs)
    videos = synthetic_sequences(config.data.num_sequences, video_seed, [photographs[name] for name in names])
    return PairDataset(videos, spec, config.seed, None, augmentation)
