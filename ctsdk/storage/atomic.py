"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ctsdk.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["atomic_write", "write_json"]


def write_json(path: str | Path, data: object) -> None:
    """Write `data` as indented JSON, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
        TypeError: `data` is not made of what JSON knows.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary file to write; it becomes `path` when the context ends well, and vanishes otherwise.

    Readers see the old file or the new one, never a part of either, whenever the power goes. Missing folders are made.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    # In the same folder, because a file can only be renamed in one step within one file system.
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
        # What cannot be removed was never there, or its folder is gone; the error on its way says more.
        with suppress(OSError):
            temporary.unlink()
