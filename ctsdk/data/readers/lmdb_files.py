"""Data sets that are packed into an LMDB environment: keys are relative paths, values are the bytes of the files."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from ctsdk.data.readers.files import MAX_FILE_BYTES, Folder, too_long
from ctsdk.errors import DataError

if TYPE_CHECKING:
    import lmdb

__all__ = ["Lmdb", "open_files"]

# A value that was written and deleted in one transaction may leave pages at the end of the file unwritten. A file that
# lacks more pages than any image takes was truncated.
_NUM_PAGES_UNWRITTEN: Final = 1024


@dataclass(frozen=True)
class Lmdb:
    """The files of one LMDB environment.

    Attributes:
        root: folder of the environment, which holds ``data.mdb``.
    """

    root: Path

    def place(self, path: str) -> str:
        """Return the key and the environment, for messages."""
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
        """Whether there is a file or a folder at `path`."""
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
                # Skip everything below a folder: "0" is the character after "/".
                more = cursor.set_range(prefix + name + b"0") if slash else cursor.next()
        if not found:
            raise DataError(f"there is no folder {self.place(folder)}. Check that the LMDB is complete.")
        return sorted(set(found))


def _import_lmdb(root: Path) -> ModuleType:
    try:
        import lmdb
    except ImportError as error:
        raise DataError(
            f"{root} is an LMDB, and the package lmdb does not import here ({error}). "
            "Install it: pip install 'ctsdk[lmdb]'"
        ) from error
    return lmdb


def open_files(root: Path) -> Folder | Lmdb:
    """Return the files under `root`: an LMDB, or a folder.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"the data set's folder {root} does not exist or is no folder. Check the path.")
    return Lmdb(root) if (root / "data.mdb").is_file() else Folder(root)


@contextmanager
def _transaction(root: Path) -> Iterator[lmdb.Transaction]:
    package = _import_lmdb(root)
    try:
        # With buffers, a value is not copied before its size is checked.
        with _environment(root).begin(buffers=True) as transaction:
            yield transaction
    except UnicodeError as error:
        raise DataError(f"the LMDB {root} has a key that is no text, or none is possible: {error}.") from error
    except package.Error as error:
        raise DataError(f"the LMDB {root} cannot be read: {error}. Copy it again.") from error


# Open environments by path, each with the process that opened it. One lock per process, because after a fork the lock
# of the parent may stay taken for ever.
_environments: dict[str, tuple[int, lmdb.Environment]] = {}
_locks: dict[int, threading.Lock] = {}


def _environment(root: Path) -> lmdb.Environment:
    """Return the environment at `root`, opened once per process, however its path is written."""
    process, place = os.getpid(), os.path.realpath(root)
    opened_by, environment = _environments.get(place, (None, None))
    if environment is not None and opened_by == process:
        return environment
    with _locks.setdefault(process, threading.Lock()):
        opened_by, environment = _environments.get(place, (None, None))
        if environment is not None and opened_by == process:
            return environment
        if environment is not None:
            # An environment inherited by a fork must not be used, and the package does not open its files again.
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
        # Reading past the end of the file would crash the process without a message.
        raise DataError(f"{root / 'data.mdb'} has {size} bytes of {expected}: it was cut. Copy it again.")
    return environment
