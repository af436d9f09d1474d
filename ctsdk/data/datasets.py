"""A named collection of videos, such as one split of LaSOT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

from ctsdk.data.videos import Video
from ctsdk.errors import DataError

__all__ = ["VideoDataset"]


@dataclass(frozen=True, eq=False)
class VideoDataset(Sequence["Video"]):
    """Videos, each read when it is accessed.

    Attributes:
        name: of the data set, in lower case: ``lasot``. Some protocols have special rules for some names.
        split: of the data set; empty if it has only one.
        names: of the videos, in the order of the data set.
        read: returns video i with its annotation, but reads no frame; raises DataError if a file is missing or wrong.
        protocol: the default protocol for scoring.
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
