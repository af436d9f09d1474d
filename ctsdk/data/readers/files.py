"""Where the files of a data set are: a folder, or an LMDB of the same paths.

Readers ask for paths relative to the root of the data set and never know which it is.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, overload

from ctsdk.data.images import decode_image
from ctsdk.errors import DataError
from ctsdk.storage.bounded import read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    import lmdb
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "MAX_FILE_BYTES",
    "Files",
    "Folder",
    "ImageFiles",
    "Lmdb",
    "NumberedPaths",
    "find_numbered",
    "find_present",
    "open_files",
    "too_long",
]

MAX_FILE_BYTES: Final = 1 << 30
"""The largest file that is read whole is the annotations of COCO, of half the size."""
# A value that was written and deleted at once may leave pages at the end of an LMDB unwritten. A file that lacks more
# than any image takes was cut.
_NUM_PAGES_UNWRITTEN: Final = 1024


class Files(Protocol):
    """Read-only files under one root; paths have forward slashes."""

    def place(self, path: str) -> str:
        """Return where `path` is, for messages."""
        ...

    def read(self, path: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Return the bytes of a file.

        Raises:
            DataError: there is no such file, it cannot be read, or it has more than `max_bytes`.
        """
        ...

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder called `path`."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted as text.

        Raises:
            DataError: there is no such folder.
        """
        ...


@dataclass(frozen=True)
class Folder:
    """Files as the data set's archive unpacks.

    Attributes:
        root: of the data set.
    """

    root: Path

    def place(self, path: str) -> str:
        """Return where `path` is, for messages."""
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
        """Whether there is a file or a folder called `path`."""
        try:
            return (self.root / path).exists()
        except ValueError:  # no file can have such a name
            return False
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return False
            raise DataError(f"{self.place(path)} cannot be looked at: {_reason(error)}. Check the disk.") from error

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, as :meth:`Files.names`."""
        try:
            return sorted(os.listdir(self.root / folder))  # noqa: PTH208 - half the time of iterdir
        except (OSError, ValueError) as error:
            raise DataError(
                f"the folder {self.place(folder)} cannot be listed: {_reason(error)}. Check the path, and that the "
                "data set is complete."
            ) from error


@dataclass(frozen=True)
class Lmdb:
    """One LMDB environment whose keys are relative paths and whose values are the bytes of the files.

    Attributes:
        root: folder of the environment, which holds ``data.mdb``.
    """

    root: Path

    def place(self, path: str) -> str:
        """Return where `path` is, for messages."""
        return f"{path!r} in {self.root}"

    def read(self, path: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Return the bytes of a file, as :meth:`Files.read`."""
        with _transaction(self.root) as transaction:
            value = transaction.get(path.encode())
            if value is None:
                raise DataError(f"there is no key {self.place(path)}. Check that the LMDB is complete.")
            if len(value) > max_bytes:
                raise too_long(self.place(path), len(value), max_bytes)
            return bytes(value)

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder called `path`."""
        if path in ("", "."):
            return True
        with _transaction(self.root) as transaction:
            prefix, cursor = f"{path.rstrip('/')}/".encode(), transaction.cursor()
            if cursor.set_key(path.encode()):
                return True
            return cursor.set_range(prefix) and bytes(cursor.key()).startswith(prefix)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, as :meth:`Files.names`."""
        found: list[str] = []
        with _transaction(self.root) as transaction:
            prefix = f"{folder.rstrip('/')}/".encode() if folder not in ("", ".") else b""
            cursor = transaction.cursor()
            more = cursor.set_range(prefix) if prefix else cursor.first()
            while more and (key := bytes(cursor.key())).startswith(prefix):
                name, slash, _ = key[len(prefix) :].partition(b"/")
                found.append(name.decode())
                # Past all that is below a folder: "0" is the character after "/".
                more = cursor.set_range(prefix + name + b"0") if slash else cursor.next()
        if not found:
            raise DataError(f"there is no folder {self.place(folder)}. Check that the LMDB is complete.")
        return sorted(set(found))


def open_files(root: Path) -> Folder | Lmdb:
    """Return the files under `root`.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"the data set's folder {root} does not exist or is no folder. Check the path.")
    return Lmdb(root) if (root / "data.mdb").is_file() else Folder(root)


@dataclass(frozen=True)
class ImageFiles:
    """The frames of one video, each a file; called with an index, it reads one.

    Attributes:
        files: where they are.
        paths: of the frames, in order.
    """

    files: Files
    paths: Sequence[str]

    def __call__(self, index: int) -> NDArray[np.uint8]:
        """Return frame `index`, (H, W, 3) uint8 RGB.

        Raises:
            DataError: the file is missing or is no image.
        """
        path = self.paths[index]
        return decode_image(self.files.read(path), self.files.place(path))


@dataclass(frozen=True)
class NumberedPaths(Sequence[str]):
    """Paths that differ in a number: ``img/00000001.jpg``, ``img/00000002.jpg`` and so on.

    Attributes:
        folder: of the files.
        first: number of the first.
        num_paths: how many there are.
        digits: of a name, filled up with zeros; 1 for names that are not.
    """

    folder: str
    first: int
    num_paths: int
    digits: int

    def __len__(self) -> int:
        return self.num_paths

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return path `index`.

        Raises:
            IndexError: there is no such path: the protocol by which Python ends a loop.
        """
        numbers = range(self.first, self.first + self.num_paths)[index]
        if isinstance(numbers, range):
            return [self._path(number) for number in numbers]
        return self._path(numbers)

    def _path(self, number: int) -> str:
        return f"{self.folder}/{number:0{self.digits}d}.jpg"


def find_numbered(files: Files, folder: str, first: int, digits: int) -> NumberedPaths:
    """Return the frames of a folder: its JPEG files, named by their number.

    Args:
        files: where they are.
        folder: which.
        first: number of the first frame.
        digits: of a name, filled up with zeros; 1 for names that are not.

    Raises:
        DataError: there is no such folder, it holds no JPEG file, or a number is missing.
    """
    # Names with a dot in front are what macOS leaves on foreign disks.
    found = {name for name in files.names(folder) if name.endswith(".jpg") and not name.startswith(".")}
    paths = NumberedPaths(folder, first, len(found), digits)
    missing = next((path for path in paths if path.rpartition("/")[2] not in found), None)
    if missing is not None or not found:
        raise DataError(
            f"{files.place(folder)} holds {len(found)} .jpg files, but not "
            f"{missing or NumberedPaths(folder, first, 1, digits)[0]}; expected all numbers from {first} on. "
            "Copy the frames again."
        )
    return paths


def find_present(files: Files, folders: Sequence[str]) -> frozenset[str]:
    """Return those of `folders` that are there; each folder above them is listed once."""
    above = {folder.rpartition("/")[0] for folder in folders}
    found = {
        f"{parent}/{name}" if parent else name
        for parent in above
        if files.exists(parent)
        for name in files.names(parent)
    }
    return frozenset(found.intersection(folders))


def too_long(place: str, num_bytes: int, max_bytes: int) -> DataError:
    """Return the error that says so of a file."""
    return DataError(f"{place} has {num_bytes} bytes; expected {max_bytes} at most. Check that it is the right file.")


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _import_lmdb(root: Path) -> ModuleType:
    try:
        import lmdb
    except ImportError as error:
        raise DataError(
            f"{root} is an LMDB, and the package lmdb does not import here ({error}). "
            "Install it: pip install 'ctsdk[lmdb]'"
        ) from error
    return lmdb


@contextmanager
def _transaction(root: Path) -> Iterator[lmdb.Transaction]:
    package = _import_lmdb(root)
    try:
        # With buffers, a value is no copy until its size was looked at.
        with _environment(root).begin(buffers=True) as transaction:
            yield transaction
    except UnicodeError as error:
        raise DataError(f"the LMDB {root} has a key that is no text, or none is possible: {error}.") from error
    except package.Error as error:
        raise DataError(f"the LMDB {root} cannot be read: {error}. Copy it again.") from error


# Open environments by their place, each with the process that opened it; and a lock per process, because a fork may
# leave the one of its parent taken for ever.
_environments: dict[str, tuple[int, lmdb.Environment]] = {}
_locks: dict[int, threading.Lock] = {}


def _environment(root: Path) -> lmdb.Environment:
    """Return the environment at `root`, opened once per process, whatever the way its path is written."""
    process, place = os.getpid(), os.path.realpath(root)
    opened_by, environment = _environments.get(place, (None, None))
    if environment is not None and opened_by == process:
        return environment
    with _locks.setdefault(process, threading.Lock()):
        opened_by, environment = _environments.get(place, (None, None))
        if environment is not None and opened_by == process:
            return environment
        if environment is not None:
            # What a fork inherits is not to be used, and keeps the package from opening the same files again.
            environment.close()
        environment = _open_environment(root)
        _environments[place] = process, environment
    return environment


def _open_environment(root: Path) -> lmdb.Environment:
    package = _import_lmdb(root)
    try:
        environment: lmdb.Environment = package.open(
            str(root), readonly=True, lock=False, readahead=False, meminit=False
        )
        num_pages, page_size = environment.info()["last_pgno"] + 1, environment.stat()["psize"]
    except package.Error as error:
        raise DataError(f"the LMDB {root} cannot be opened: {error}. Copy it again.") from error
    size, expected = (root / "data.mdb").stat().st_size, num_pages * page_size
    if size < expected - _NUM_PAGES_UNWRITTEN * page_size:
        environment.close()
        # Reading past the end of the file would end the process without a message.
        raise DataError(f"{root / 'data.mdb'} has {size} bytes of {expected}: it was cut. Copy it again.")
    return environment
