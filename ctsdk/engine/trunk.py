"""Where a tracker keeps its blocks: read them, assign others, swap them for one step.

A :class:`Trunk` is an address, not a reference. The same ``Trunk("backbone.blocks")`` finds the blocks of the teacher,
of every student, and of a tracker built by somebody else's code, because it only knows the path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from ctsdk.errors import AdapterContractError

__all__ = ["Trunk"]

# What a tracker may keep its blocks in, and how to make another of the same kind.
_CONTAINERS: dict[type, Callable[[Sequence[nn.Module]], Any]] = {
    nn.ModuleList: nn.ModuleList,
    nn.Sequential: lambda blocks: nn.Sequential(*blocks),
    list: list,
    tuple: tuple,
}


@dataclass(frozen=True)
class Trunk:
    """The address of a list of blocks that all take and return the same things.

    Attributes:
        path: dotted path of the block list below the tracker, such as ``"backbone.blocks"``. The list may be an
            ``nn.ModuleList``, an ``nn.Sequential``, a list or a tuple.
        start: the first block that belongs to the trunk.
        stop: one past the last block that belongs to the trunk; None for the end of the list.
        after_swap: called with the tracker after other blocks were assigned, to fix fields that count blocks.
    """

    path: str
    start: int = 0
    stop: int | None = None
    after_swap: Callable[[nn.Module], None] | None = None

    def blocks(self, tracker: nn.Module) -> list[nn.Module]:
        """Return the blocks of the trunk in `tracker`, in the order in which they run.

        Raises:
            AdapterContractError: the path does not lead to a non-empty list of modules.
        """
        blocks = list(self._container(tracker))[self.start : self.stop]
        if not blocks or not all(isinstance(block, nn.Module) for block in blocks):
            raise AdapterContractError(
                f"trunk {self.path!r}[{self.start}:{self.stop}] of {type(tracker).__name__} holds "
                f"{len(blocks)} items that are not all nn.Module; expected at least one block. "
                "Check path, start and stop of the Trunk."
            )
        return blocks

    def assign(self, tracker: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Make `blocks` the trunk of `tracker`; blocks outside ``start:stop`` stay.

        ``stop`` counts from the end for a shorter trunk to be found again: only None and negative values can be kept
        true when the number of blocks changes, so a positive ``stop`` is refused unless the count stays.

        Args:
            tracker: which keeps all but these blocks.
            blocks: in the order in which they run.

        Raises:
            AdapterContractError: there is no list of blocks at ``path``, or a positive ``stop`` would point elsewhere.
        """
        container = self._container(tracker)
        before = list(container)
        if self.stop is not None and self.stop >= 0 and len(blocks) != len(before[self.start : self.stop]):
            raise AdapterContractError(
                f"trunk {self.path!r} has stop={self.stop}, which would point elsewhere after {len(blocks)} blocks "
                f"take the place of {self.stop - self.start}. Give stop as a negative number: "
                f"stop={self.stop - len(before)}."
            )
        after = [] if self.stop is None else before[self.stop :]
        parent, name = self._parent(tracker)
        setattr(parent, name, _CONTAINERS[self._kind(container)]([*before[: self.start], *blocks, *after]))
        if self.after_swap is not None:
            self.after_swap(tracker)

    @contextmanager
    def swapped(self, tracker: nn.Module, blocks: Sequence[nn.Module]) -> Iterator[None]:
        """Let `tracker` run with `blocks` inside the context; restore its own list afterwards, whatever happens."""
        parent, name = self._parent(tracker)
        own = getattr(parent, name)
        try:
            self.assign(tracker, blocks)
            yield
        finally:
            setattr(parent, name, own)
            if self.after_swap is not None:
                self.after_swap(tracker)

    def _parent(self, tracker: nn.Module) -> tuple[object, str]:
        *parents, name = self.path.split(".")
        place: object = tracker
        for step in parents:
            if not hasattr(place, step):
                raise self._missing(tracker, step, place)
            place = getattr(place, step)
        if not hasattr(place, name):
            raise self._missing(tracker, name, place)
        return place, name

    def _container(self, tracker: nn.Module) -> Any:  # noqa: ANN401 - one of the keys of _CONTAINERS
        parent, name = self._parent(tracker)
        container = getattr(parent, name)
        self._kind(container)
        return container

    def _kind(self, container: object) -> type:
        for kind in _CONTAINERS:
            if isinstance(container, kind):
                return kind
        raise AdapterContractError(
            f"trunk {self.path!r} leads to a {type(container).__name__}; expected an nn.ModuleList, an nn.Sequential, "
            "a list or a tuple of blocks. Give the path of the list itself."
        )

    def _missing(self, tracker: nn.Module, step: str, place: object) -> AdapterContractError:
        children = [name for name, _ in place.named_children()] if isinstance(place, nn.Module) else sorted(vars(place))
        return AdapterContractError(
            f"trunk {self.path!r}: {type(tracker).__name__} has no {step!r} there. "
            f"Seen instead: {', '.join(children) or 'nothing'}. Correct the path of the Trunk."
        )
