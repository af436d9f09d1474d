"""Batches in the portions that training takes: endless, and as many as make up one step."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING

from ctsdk.adapter import Batch
from ctsdk.data.workers import worker_ended
from ctsdk.errors import ConfigError, DataError
from ctsdk.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["endless", "explained_worker_deaths", "gather", "held_out", "not_iterable", "refuse_larger_step"]


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


def gather(batches: Iterator[Batch], num_samples: int, ranks: Ranks | None = None) -> list[Batch]:
    """Return batches that hold at least `num_samples` samples together, or together with those of the other ranks.

    Raises:
        DataError: what comes is no :class:`ctsdk.Batch`.
    """
    ranks, parts, num_gathered = ranks or Ranks(), list[Batch](), 0.0
    while num_gathered < num_samples:
        batch = _checked(next(batches), "batches")
        parts.append(batch)
        num_gathered += ranks.add_up([batch.size])[0]
    return parts


def held_out(batches: object, ranks: Ranks) -> list[Batch]:
    """Return this rank's share of the caller's batches to validate on.

    Raises:
        DataError: it is nothing to iterate, or what comes is no :class:`ctsdk.Batch`.
    """
    if not isinstance(batches, Iterable):
        raise not_iterable(batches, "validation")
    return [_checked(batch, "validation") for batch in batches][ranks.rank :: ranks.num_ranks]


def not_iterable(batches: object, name: str) -> DataError:
    """Return the error that says so of what the caller passed as `name`."""
    return DataError(f"{name} is a {type(batches).__name__}; expected something to iterate, giving ctsdk.Batch.")


def _checked(batch: object, name: str) -> Batch:
    if isinstance(batch, Batch):
        return batch
    raise DataError(
        f"{name} gave a {type(batch).__name__}; expected ctsdk.Batch. Wrap what your loader gives: "
        "ctsdk.Batch(templates=..., searches=..., template_boxes=..., search_boxes=...)."
    )


def refuse_larger_step(sizes: Sequence[Sequence[int]], num_samples: int) -> None:
    """Refuse batches of which all ranks together take more for a step than one process would.

    Args:
        sizes: by rank, how many samples each of its parts of a step has.
        num_samples: that a step is to have.

    Raises:
        ConfigError: the same learning rate would go with a larger step.
    """
    in_turn = [size for turn in zip(*sizes, strict=True) for size in turn]
    alone = next(size for size in accumulate(in_turn) if size >= num_samples)
    together = sum(in_turn)
    if together > alone:
        raise ConfigError(
            f"{len(sizes)} processes take batches of together {together} samples for a step, where one takes {alone} "
            f"(training.batch_size is {num_samples}; the first batch has {in_turn[0]}). Give smaller batches, of which "
            f"a multiple of {len(sizes)} make up a step, or training.batch_size={together} if that is meant."
        )


@contextmanager
def explained_worker_deaths() -> Iterator[None]:
    """Say what to do when a process of a torch DataLoader ended.

    For loaders of the caller's own, torch tells of it wherever the program happens to be, so the context belongs around
    the whole run.

    Raises:
        DataError: a process that makes batches ended before its time.
    """
    try:
        yield
    except RuntimeError as error:
        if not re.match(r"DataLoader worker \(pid", str(error)):
            raise
        raise worker_ended(str(error)) from error
