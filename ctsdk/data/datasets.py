"""A named collection of videos, such as one split of LaSOT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from ctsdk.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctsdk.data.videos import Video

__all__ = ["VideoDataset"]


@dataclass(frozen=True, eq=False)
class VideoDataset(Sequence["Video"]):
    """Videos that are read when they are asked for.

    Attributes:
        name: of the data set, in lower case: ``lasot``. Protocols go by it.
        split: which part of it; empty where it has only one.
        names: of the videos, in the data set's own order.
        read: returns video i, annotation and all, but no frame; raises DataError where a file is missing or wrong.
        protocol: by which rules it is scored unless somebody asks for others.
    """

    name: str
    split: str
    names: tuple[str, ...]
    read: Callable[[int], Video]
    protocol: str = "ostrack"

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Video: ...

    @overload
    def __getitem__(self, index: slice) -> list[Video]: ...

    def __getitem__(self, index: int | slice) -> Video | list[Video]:
        """Return video `index`.

        Raises:
            IndexError: there is no such video: the protocol by which Python ends a loop.
            DataError: a file of it is missing or wrong.
        """
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        return self.read(index % len(self))

    def find(self, name: str) -> Video:
        """Return the video called `name`.

        Raises:
            DataError: there is none, or a file of it is missing or wrong.
        """
        if name not in self.names:
            raise DataError(f"{self} has no video called {name!r}; it has {len(self)}, the first is {self.names[:1]}.")
        return self[self.names.index(name)]

    def __str__(self) -> str:
        return f"{self.name} {self.split}".strip()
