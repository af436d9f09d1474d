"""Training and validation batches from a configuration: of data sets, or of videos made by code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctsdk.data.augmentation import Augmentation
from ctsdk.data.formats import open_dataset
from ctsdk.data.mixture import Mixture
from ctsdk.data.pairs import PairDataset, batches
from ctsdk.data.photographs import TRAINING_PHOTOGRAPHS, load_photographs
from ctsdk.data.sampling import FrameSampling
from ctsdk.data.synthetic import synthetic_sequences
from ctsdk.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ctsdk.adapter import Batch, TrackerSpec
    from ctsdk.config import CompressionConfig, DataConfig, DataSource

__all__ = ["training_batches", "validation_batches"]

# Added to the seed of the training videos; far from any seed that people choose next.
_VALIDATION_OFFSET = 1_000_000


def training_batches(config: CompressionConfig, spec: TrackerSpec, start: int) -> Iterator[Batch]:
    """Yield batches of ``training.micro_batch_size`` samples without end, from batch `start` on.

    Raises:
        ConfigError: a data set is named wrongly.
        DataError: a data set or the photographs cannot be read.
    """
    data = config.data
    videos = _mixture(data.train) if data.train else _synthetic(data, data.seed)
    pairs = PairDataset(
        videos, spec, config.seed, None, _augmentation(data), _sampling(data, spec), data.max_unreadable
    )
    return batches(pairs, _size(config), start=start, num_workers=data.num_workers)


def validation_batches(config: CompressionConfig, spec: TrackerSpec) -> list[Batch]:
    """Return batches of other videos, with the jitter of training but less varied; none if the run does not validate.

    Raises:
        ConfigError: the run validates and trains on data sets, but has none to validate on; or one is named wrongly.
        DataError: a data set or the photographs cannot be read.
    """
    if config.training.validate_every is None:
        return []
    data = config.data
    if data.train and not data.validation:
        raise ConfigError(
            f"training.validate_every is {config.training.validate_every}, and there is nothing to validate on beside "
            "data.train; give data.validation, or set training.validate_every=null."
        )
    videos = _mixture(data.validation) if data.validation else _synthetic(data, data.seed + _VALIDATION_OFFSET)
    length = _size(config) * config.training.validation_batches
    augmentation = _augmentation(data).for_validation()
    pairs = PairDataset(videos, spec, config.seed, length, augmentation, _sampling(data, spec), data.max_unreadable)
    return list(batches(pairs, _size(config), num_workers=data.num_workers))


def _size(config: CompressionConfig) -> int:
    return config.training.micro_batch_size or config.training.batch_size


def _augmentation(data: DataConfig) -> Augmentation:
    return Augmentation(
        greyscale=data.greyscale,
        joint_flip=data.joint_flip,
        brightness=data.brightness,
        flip=data.flip,
        mirror_shift_px=data.mirror_shift_px,
        label_shift_px=data.label_shift_px,
    )


def _sampling(data: DataConfig, spec: TrackerSpec) -> FrameSampling:
    return FrameSampling.of(spec, data.sampling, data.max_gap)


def _mixture(sources: Sequence[DataSource]) -> Mixture:
    ratios = [source.ratio for source in sources if source.ratio is not None]
    return Mixture(tuple(open_dataset(source.spec) for source in sources), tuple(ratios) or None)


def _synthetic(data: DataConfig, seed: int) -> Mixture:
    photographs = load_photographs(data.photographs)
    names = TRAINING_PHOTOGRAPHS if data.photographs is None else tuple(photographs)
    return Mixture((synthetic_sequences(data.num_sequences, seed, [photographs[name] for name in names]),))
