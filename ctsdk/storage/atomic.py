"""Atomic writing: a file is written completely or not at all."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ctsdk.errors import OutputError

__all__ = ["atomic_write", "write_json"]


def write_json(path: str | Path, data: object) -> None:
    """Write `data` as indented JSON, atomically.

    Raises:
        OutputError: the file cannot be written.
        TypeError: JSON has no type for something in `data`.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to. It replaces `path` when the block succeeds, and is removed when it fails.

    Readers see the old file or the new one, never a part, even after a power failure. Missing folders are created.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    # In the same folder, because a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error}. Check that the folder can be written to and that the disk has room."
        ) from error
    finally:
        # It may never have been written, or its folder is gone; the error that is being raised says more.
        with suppress(OSError):
            temporary.unlink()
