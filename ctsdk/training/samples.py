"""Where the batches of a run come from: the caller, or the data sets that the configuration names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from ctsdk.config import CompressionConfig
from ctsdk.data.samples.feed import endless, not_iterable, validation_share
from ctsdk.engine.batch import Batch, TrackerSpec
from ctsdk.ranks import Ranks

__all__ = ["CallersBatches", "ConfiguredData", "Samples", "choose_samples"]


class Samples(Protocol):
    """One process's share of the batches of a run."""

    @property
    def name(self) -> str:
        """What ``run.json`` calls them."""
        ...

    @property
    def validation(self) -> Sequence[Batch]:
        """The batches to validate on; empty if there are none."""
        ...

    def open(self, step: int, batches_read: int) -> Iterator[Batch]:
        """Return the training batches of `step` and all later steps, without end.

        Args:
            step: optimiser steps that the run has done.
            batches_read: batches that it has read in these steps, in all its processes.
        """
        ...


class CallersBatches:
    """Batches that the caller passes to ``compress()``; each process takes every N-th of them.

    Args:
        batches: can be iterated again and again.
        validation: batches to validate on, if there are any.
        ranks: the processes that share the batches.

    Raises:
        DataError: `batches` or `validation` cannot be iterated, or `validation` gives something else than batches.
    """

    def __init__(self, batches: Iterable[Batch], validation: Iterable[Batch] | None, ranks: Ranks) -> None:
        if not isinstance(batches, Iterable):
            raise not_iterable(batches, "batches")
        self.name = f"{type(batches).__module__}.{type(batches).__qualname__}"
        self.validation = validation_share(() if validation is None else validation, ranks)
        self._batches, self._ranks = batches, ranks

    def open(self, step: int, batches_read: int) -> Iterator[Batch]:
        """Return the batches after the first `batches_read`."""
        del step
        return endless(self._batches, batches_read + self._ranks.rank, self._ranks.num_ranks)


class ConfiguredData:
    """The samples of ``config.data``.

    Args:
        config: the data, and how large a batch is.
        spec: what the tracker sees.
        validation: the caller's batches to validate on; None for those of ``config.data``.
        ranks: the processes that share each step's samples.

    Raises:
        ConfigError: a data set is named wrongly, or a step's samples cannot be shared equally.
        DataError: the samples to validate on cannot be read.
    """

    name = "config.data"

    def __init__(
        self, config: CompressionConfig, spec: TrackerSpec, validation: Iterable[Batch] | None, ranks: Ranks
    ) -> None:
        # The data layer needs an image library, which the engine does without when the caller brings the samples.
        from ctsdk.data.samples.sources import micro_batch_size, validation_batches

        self._config, self._spec, self._ranks = config, spec, ranks
        size = micro_batch_size(config.training, ranks.num_ranks)
        self._batches_per_step = math.ceil(config.training.batch_size / size)
        self.validation = (
            validation_batches(config, spec, ranks) if validation is None else validation_share(validation, ranks)
        )

    def open(self, step: int, batches_read: int) -> Iterator[Batch]:
        """Return the batches of `step` and later steps."""
        from ctsdk.data.samples.sources import training_batches

        # Not counted on: the size of a batch in memory may have changed with the number of processes.
        del batches_read
        return training_batches(self._config, self._spec, step * self._batches_per_step, self._ranks)


def choose_samples(
    batches: Iterable[Batch] | None,
    validation: Iterable[Batch] | None,
    config: CompressionConfig,
    spec: TrackerSpec,
    ranks: Ranks,
) -> Samples:
    """Return the caller's batches if there are any, else the samples of the configuration."""
    if batches is None:
        return ConfiguredData(config, spec, validation, ranks)
    return CallersBatches(batches, validation, ranks)
