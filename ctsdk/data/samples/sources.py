"""Training and validation batches from a configuration: of data sets, or of synthetic videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ctsdk.config import CompressionConfig, DataConfig, DataSource, TrainingConfig
from ctsdk.data.formats import open_dataset
from ctsdk.data.samples.augmentation import for_validation
from ctsdk.data.samples.mixture import Mixture
from ctsdk.data.samples.pairs import PairDataset, batches
from ctsdk.data.samples.sampling import FrameSampling
from ctsdk.data.synthetic.photographs import TRAINING_PHOTOGRAPHS, load_photographs
from ctsdk.data.synthetic.videos import synthetic_videos
from ctsdk.engine.batch import Batch, TrackerSpec
from ctsdk.errors import ConfigError
from ctsdk.ranks import Ranks

__all__ = ["micro_batch_size", "training_batches", "validation_batches"]

# Added to the seed of the training videos; far from any seed that people choose next.
_VALIDATION_OFFSET = 1_000_000


def training_batches(
    config: CompressionConfig, spec: TrackerSpec, start: int, ranks: Ranks | None = None
) -> Iterator[Batch]:
    """Yield this process's batches of ``training.micro_batch_size`` samples without end.

    Args:
        config: the data, and how large a batch is.
        spec: what the tracker sees.
        start: how many batches the run has read, in all its processes.
        ranks: the processes that share each step's samples; None for this one alone.

    Raises:
        ConfigError: a data set is named wrongly, or a step's samples cannot be shared equally.
        DataError: a data set or the photographs cannot be read.
    """
    data = config.data
    videos = _mixture(data.train) if data.train else _synthetic(data, data.seed)
    pairs = PairDataset(videos, spec, config.seed, None, data, _sampling(data, spec), data.max_unreadable)
    ranks = ranks or Ranks()
    size = micro_batch_size(config.training, ranks.num_ranks)
    return batches(
        pairs,
        size,
        start=start + ranks.rank,
        stride=ranks.num_ranks,
        num_workers=data.num_workers,
        pin_memory=data.pin_memory and torch.cuda.is_available() and not config.training.device.startswith("cpu"),
    )


def validation_batches(config: CompressionConfig, spec: TrackerSpec, ranks: Ranks | None = None) -> list[Batch]:
    """Return this process's batches of other videos, with the jitter of training but less varied.

    There are none if the run does not validate, or trains on data sets and names none to validate on. All processes
    together have the same batches as one process.

    Raises:
        ConfigError: a data set is named wrongly.
        DataError: a data set or the photographs cannot be read.
    """
    data = config.data
    if config.training.validate_every is None or (data.train and not data.validation):
        return []
    videos = _mixture(data.validation) if data.validation else _synthetic(data, data.seed + _VALIDATION_OFFSET)
    size, ranks = micro_batch_size(config.training), ranks or Ranks()
    length = size * config.training.validation_batches
    augmentation = for_validation(data)
    pairs = PairDataset(videos, spec, config.seed, length, augmentation, _sampling(data, spec), data.max_unreadable)
    return list(batches(pairs, size, start=ranks.rank, stride=ranks.num_ranks, num_workers=data.num_workers))


def micro_batch_size(settings: TrainingConfig, num_ranks: int = 1) -> int:
    """Return how many samples are in the memory of one process at once.

    Raises:
        ConfigError: several processes cannot have equal shares of a batch.
    """
    size = settings.micro_batch_size or max(1, settings.batch_size // num_ranks)
    if settings.batch_size % (size * num_ranks):
        raise ConfigError(
            f"training.batch_size is {settings.batch_size}, and {num_ranks} processes take {size} samples each at "
            f"once; expected a multiple of {size * num_ranks}, because every process does the same part of a step. "
            "Change training.batch_size, training.micro_batch_size or the number of processes."
        )
    return size


def _sampling(data: DataConfig, spec: TrackerSpec) -> FrameSampling:
    return FrameSampling.of(spec, data.sampling, data.max_gap)


def _mixture(sources: Sequence[DataSource]) -> Mixture:
    ratios = [source.ratio for source in sources if source.ratio is not None]
    return Mixture(tuple(open_dataset(source.source) for source in sources), tuple(ratios) or None)


def _synthetic(data: DataConfig, seed: int) -> Mixture:
    photographs = load_photographs(data.photographs)
    names = TRAINING_PHOTOGRAPHS if data.photographs is None else tuple(photographs)
    return Mixture((synthetic_videos(data.num_videos, seed, [photographs[name] for name in names]),))
