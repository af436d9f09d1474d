"""The processes that share one piece of work because a launcher, such as torchrun, started several of them.

Each is a rank. Ranks split the work; each ends with the full result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from ctsdk.errors import ConfigError

__all__ = ["Ranks", "is_first_rank", "open_ranks"]

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among those that share the work.

    Attributes:
        rank: which one this is, from 0.
        num_ranks: how many there are; 1 for a single process.
        group: through which they communicate; None for a single process.
    """

    rank: int = 0
    num_ranks: int = 1
    group: dist.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that reads and writes the files of the run."""
        return self.rank == 0

    def from_first(self, make: Callable[[], T]) -> T:
        """Return what `make` gives in the first rank; it is called in no other.

        Raises:
            Exception: whatever `make` raises in the first rank, in all of them.
        """
        if self.group is None:
            return make()
        outcome: list[T | Exception | None] = [None]
        if self.is_first:
            try:
                outcome[0] = make()
            except Exception as error:  # noqa: BLE001 - raised below, here and in the other ranks
                outcome[0] = error
        dist.broadcast_object_list(outcome, src=0, group=self.group)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]  # type: ignore[return-value]

    def gather(self, part: T) -> list[T]:
        """Return the parts of all ranks, in their order, in every rank."""
        if self.group is None:
            return [part]
        parts: list[T | None] = [None] * self.num_ranks
        dist.all_gather_object(parts, part, group=self.group)
        return parts  # type: ignore[return-value]

    def add_up(self, numbers: Sequence[float]) -> list[float]:
        """Return the sums of the numbers of all ranks, each number with those in its place."""
        return self._reduce(numbers, dist.ReduceOp.SUM) if self.group else list(numbers)

    def largest(self, numbers: Sequence[float]) -> list[float]:
        """Return the largest of the numbers of all ranks, each number among those in its place."""
        return self._reduce(numbers, dist.ReduceOp.MAX) if self.group else list(numbers)

    def _reduce(self, numbers: Sequence[float], operation: dist.ReduceOp.RedOpType) -> list[float]:
        total = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(total, operation, group=self.group)
        reduced: list[float] = total.tolist()
        return reduced


@contextmanager
def open_ranks(patience: timedelta = timedelta(minutes=30)) -> Iterator[Ranks]:
    """Give this process among the ranks: those of torch.distributed, or of the launcher's environment variables.

    Where a launcher announces ranks and torch.distributed does not run yet, it is started, and stays, because it cannot
    be started twice: with gloo for tensors on the CPU and NCCL for those on GPUs, of which each rank takes its own.
    Every rank must come here: the others wait for one that does not.

    Args:
        patience: how long a rank waits for the slowest one, in :class:`Ranks`.

    Raises:
        ConfigError: a launcher announces ranks, but they do not find each other.
    """
    if not dist.is_available() or not (dist.is_initialized() or _is_launched()):
        yield Ranks()
        return
    if not dist.is_initialized():
        _start()
    # A separate group for objects on the CPU, whatever backend the training has.
    group = dist.new_group(backend="gloo", timeout=patience)
    assert isinstance(group, dist.ProcessGroup)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), group)
    finally:
        dist.destroy_process_group(group)


def is_first_rank() -> bool:
    """Whether this process is the first rank, also where no ranks are open: the one that reports."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return os.environ.get("RANK", "0") == "0"


def _start() -> None:
    has_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpus else "gloo")
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"RANK and WORLD_SIZE announce {os.environ['WORLD_SIZE']} processes, which do not find each other: "
            f"{error}. Start them with torchrun, or take these variables out of the environment."
        ) from error
    if has_gpus and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())


def _is_launched() -> bool:
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
