"""Batches in the portions that training takes: endless, and as many as make up one step."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ctsdk.adapter import Batch
from ctsdk.data.workers import worker_ended
from ctsdk.errors import DataError
from ctsdk.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["endless", "explained_worker_deaths", "gather"]


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
        batch = next(batches)
        if not isinstance(batch, Batch):
            raise DataError(
                f"batches gave a {type(batch).__name__}; expected ctsdk.Batch. Wrap what your loader gives: "
                "ctsdk.Batch(templates=..., searches=..., template_boxes=..., search_boxes=...)."
            )
        parts.append(batch)
        num_gathered += ranks.add_up([batch.size])[0]
    return parts


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
        raise worker_ended(error) from error
