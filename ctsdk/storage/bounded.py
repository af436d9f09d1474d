"""Reading of untrusted files: regular files only, with limits on memory.

Opening a pipe can wait for ever, a device may have no end, and a short file can claim to be a huge one.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["MAX_DESCRIPTION_BYTES", "open_regular", "open_zip", "read_bounded"]

MAX_DESCRIPTION_BYTES: Final = 8 << 20
"""Size limit of the part of a file that describes the rest: the directory of a zip archive, the header of a safetensors
file, the pickle of a torch file."""


def open_regular(path: Path) -> io.FileIO:
    """Open a regular file for reading. This never blocks.

    Raises:
        OSError: it is missing, may not be read, or is a folder, a pipe, a socket or a device.
    """
    file = io.FileIO(path, "r", opener=_open_at_once)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, not a file", str(path))
    return file


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a file.

    Raises:
        OSError: as :func:`open_regular`, or the file has more than `max_bytes`, or ends before its size.
    """
    with open_regular(path) as raw, io.BufferedReader(raw) as file:
        size = os.fstat(raw.fileno()).st_size
        if size > max_bytes:
            raise OSError(errno.EFBIG, f"it has {size} bytes, and {max_bytes} at most are expected", str(path))
        data = file.read(size)
    if len(data) < size:
        raise OSError(errno.EIO, f"it has {size} bytes, of which {len(data)} came", str(path))
    return data


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive for reading; its directory may have :data:`MAX_DESCRIPTION_BYTES` at most.

    The sizes that its entries claim are not checked: the caller must limit how much it reads of each.

    Raises:
        OSError: as :func:`open_regular`.
        Exception: the archive is damaged, or its directory is too long.
    """
    with open_regular(path) as raw, _SmallReads(raw) as file, zipfile.ZipFile(file) as archive:
        yield archive


class _SmallReads(io.BufferedReader):
    """A file that refuses to read a large part at once, before memory is allocated for it."""

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = MAX_DESCRIPTION_BYTES + 1 if size is None or size < 0 else size
        data = super().read(min(wanted, MAX_DESCRIPTION_BYTES + 1))
        if len(data) > MAX_DESCRIPTION_BYTES:
            raise ValueError(f"a part that should be short has more than {MAX_DESCRIPTION_BYTES} bytes")
        return data


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
