"""Batches as training reads them: without end, and as many at once as make up one step."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ctsdk.data.samples.workers import worker_ended
from ctsdk.engine.batch import Batch
from ctsdk.errors import ConfigError, DataError
from ctsdk.ranks import Ranks

__all__ = ["endless", "explain_worker_deaths", "next_step", "not_iterable", "refuse_larger_step", "validation_share"]


def endless(batches: Iterable[Batch], start: int, stride: int = 1) -> Iterator[Batch]:
    """Yield from an iterable again and again: batch `start` of it, and every `stride`-th after that.

    Raises:
        DataError: it cannot be read (again).
    """
    num_read = 0
    while True:
        begin = num_read
        for batch in batches:
            if num_read >= start and (num_read - start) % stride == 0:
                yield batch
            num_read += 1
        if num_read == begin:
            raise DataError(
                f"batches ended after {begin} batches and gave nothing when read again. Pass something that can be "
                "iterated again and again, such as a list or a torch DataLoader, not a generator."
            )


def next_step(batches: Iterator[Batch], num_samples: int, ranks: Ranks | None = None) -> list[Batch]:
    """Return this rank's batches of the next step, in which all ranks together have at least `num_samples` samples.

    Raises:
        DataError: what comes is no :class:`ctsdk.Batch`.
    """
    ranks, parts, num_read = ranks or Ranks(), list[Batch](), 0.0
    while num_read < num_samples:
        batch = _check(next(batches), "batches")
        parts.append(batch)
        num_read += ranks.add_up([batch.size])[0]
    return parts


def validation_share(batches: object, ranks: Ranks) -> list[Batch]:
    """Return this rank's share of the caller's batches to validate on.

    Raises:
        DataError: it cannot be iterated, or what comes is no :class:`ctsdk.Batch`.
    """
    if not isinstance(batches, Iterable):
        raise not_iterable(batches, "validation")
    return [_check(batch, "validation") for batch in batches][ranks.rank :: ranks.num_ranks]


def not_iterable(batches: object, name: str) -> DataError:
    """Return the error for something else that the caller passed as `name`."""
    return DataError(f"{name} is a {type(batches).__name__}; expected something to iterate, giving ctsdk.Batch.")


def _check(batch: object, name: str) -> Batch:
    if isinstance(batch, Batch):
        return batch
    raise DataError(
        f"{name} gave a {type(batch).__name__}; expected ctsdk.Batch. Wrap what your loader gives: "
        "ctsdk.Batch(templates=..., searches=..., template_boxes=..., search_boxes=...)."
    )


def refuse_larger_step(size: int, num_samples: int, num_ranks: int) -> None:
    """Refuse batches of which all ranks together take more for a step than one process would.

    Args:
        size: samples of a batch; of the largest one that was seen, because the last one of an epoch may be short.
        num_samples: that a step is to have.
        num_ranks: that share the step, each with as many batches.

    Raises:
        ConfigError: the step would be larger with the same learning rate.
    """
    alone = math.ceil(num_samples / size) * size
    together = math.ceil(num_samples / (size * num_ranks)) * size * num_ranks
    if together > alone:
        raise ConfigError(
            f"batches hold {size} samples, so {num_ranks} processes take {together} of them for a step, where one "
            f"takes {alone} (training.batch_size is {num_samples}). Give smaller batches, of which a multiple of "
            f"{num_ranks} make up a step, or training.batch_size={together} if that is meant."
        )


@contextmanager
def explain_worker_deaths() -> Iterator[None]:
    """Turn torch's error for a DataLoader worker that ended into one that says what to do.

    With the caller's loaders, torch raises it wherever the program happens to be, so the context belongs around the
    whole run.

    Raises:
        DataError: a DataLoader worker ended too early.
    """
    try:
        yield
    except RuntimeError as error:
        if not re.match(r"DataLoader worker \(pid", str(error)):
            raise
        raise worker_ended(str(error)) from error
