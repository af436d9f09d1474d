"""The files of a data set, by paths relative to its root; here those of a folder.

Readers get :class:`Files` and need not know whether a folder or an LMDB is behind it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ctsdk.errors import DataError
from ctsdk.storage.bounded import read_bounded

__all__ = ["MAX_FILE_BYTES", "Files", "Folder", "find_present", "too_long"]

MAX_FILE_BYTES: Final = 1 << 30
"""Size limit of a file that is read whole; twice the size of COCO's annotations, the largest such file."""


class Files(Protocol):
    """Read-only files under one root. Paths have forward slashes."""

    def place(self, path: str) -> str:
        """Return the whole path, for messages."""
        ...

    def read(self, path: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Return the bytes of a file.

        Raises:
            DataError: there is no such file, it cannot be read, or it has more than `max_bytes`.
        """
        ...

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder at `path`."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted as text.

        Raises:
            DataError: there is no such folder.
        """
        ...


@dataclass(frozen=True)
class Folder:
    """The files of a folder.

    Attributes:
        root: of the data set.
    """

    root: Path

    def place(self, path: str) -> str:
        """Return the whole path, for messages."""
        return str(self.root / path)

    def read(self, path: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Return the bytes of a file, as :meth:`Files.read`."""
        try:
            return read_bounded(self.root / path, max_bytes)
        except (OSError, ValueError) as error:  # ValueError: no file can have such a name
            raise DataError(
                f"{self.place(path)} cannot be read: {_reason(error)}. Check that the data set is complete."
            ) from error

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder at `path`."""
        try:
            return (self.root / path).exists()
        except ValueError:  # no file can have such a name
            return False
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return False
            raise DataError(f"{self.place(path)} cannot be checked: {_reason(error)}. Check the disk.") from error

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, as :meth:`Files.names`."""
        try:
            return sorted(os.listdir(self.root / folder))  # noqa: PTH208 - half the time of iterdir
        except (OSError, ValueError) as error:
            raise DataError(
                f"the folder {self.place(folder)} cannot be listed: {_reason(error)}. Check the path, and that the "
                "data set is complete."
            ) from error


def find_present(files: Files, folders: Sequence[str]) -> frozenset[str]:
    """Return the folders that exist, of a list; each parent folder is listed once."""
    above = {folder.rpartition("/")[0] for folder in folders}
    found = {
        f"{parent}/{name}" if parent else name
        for parent in above
        if files.exists(parent)
        for name in files.names(parent)
    }
    return frozenset(found.intersection(folders))


def too_long(place: str, num_bytes: int, max_bytes: int) -> DataError:
    """Return the error for a file that is larger than expected."""
    return DataError(f"{place} has {num_bytes} bytes; expected {max_bytes} at most. Check that it is the right file.")


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
