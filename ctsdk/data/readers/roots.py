"""Open the root of a data set, a folder or an LMDB of the same paths."""

from __future__ import annotations

from pathlib import Path

from ctsdk.data.readers.files import Folder
from ctsdk.data.readers.lmdb_files import Lmdb
from ctsdk.errors import DataError

__all__ = ["open_files"]


def open_files(root: Path) -> Folder | Lmdb:
    """Return the files under `root`.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"the data set's folder {root} does not exist or is no folder. Check the path.")
    return Lmdb(root) if (root / "data.mdb").is_file() else Folder(root)
