"""Where result files are: below a folder, or in a zip archive that is read without being unpacked."""

from __future__ import annotations

import os
import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from ctsdk.data.readers.files import too_long
from ctsdk.errors import DataError
from ctsdk.storage.bounded import open_zip

__all__ = ["Archive", "list_folder"]

# Results of a whole data set are some thousand files and 100 MB at most; more is a mistake or an attack.
_MAX_FILES: Final = 100_000
_MAX_BYTES: Final = 1 << 30
_MAX_BYTES_AT_ONCE: Final = 1 << 20
# As in results/OTB2015/<tracker>/<video>/<file>, counted from the folder above results.
_MAX_FOLDERS: Final = 5
# Absolute paths, those with a drive, or upwards; a backslash separates folders on some systems.
_OUTSIDE: Final = re.compile(r"^/|^[A-Za-z]:|\\|(?:^|/)\.\.(?:/|$)")


def list_folder(root: Path) -> list[str]:
    """Return the files below a folder, as paths with slashes; links are followed, except to a folder above.

    Raises:
        DataError: there are too many, or a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"the folder {error.filename} cannot be listed: {error.strerror}. Check its permissions.")

    found: list[str] = []
    # Of each folder, which ones are above it: following a link to one of them would never end.
    above: dict[str, frozenset[tuple[int, int]]] = {}
    for folder, subfolders, names in os.walk(root, onerror=refuse, followlinks=True):
        inside, status = Path(folder).relative_to(root), Path(folder).stat()
        identity, parents = (status.st_dev, status.st_ino), above.get(str(Path(folder).parent), frozenset())
        above[folder] = parents | {identity}
        if identity in parents:
            subfolders.clear()
            continue
        if len(inside.parts) >= _MAX_FOLDERS:
            subfolders.clear()
        subfolders.sort()
        found += [(inside / name).as_posix() for name in sorted(names)]
        if len(found) + len(above) > _MAX_FILES:
            raise DataError(
                f"{root} holds more than {_MAX_FILES} files; expected the results of one tracker. Give their folder."
            )
    return found


@dataclass(frozen=True)
class Archive:
    """A zip archive of result files, read into memory; nothing of it reaches the disk.

    Attributes:
        path: of the archive.
        contents: bytes of each file by its path.
        folders: entries that are folders.
    """

    path: Path
    contents: Mapping[str, bytes]
    folders: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Read an archive.

        Raises:
            DataError: it is missing, no zip archive, damaged, too large, encrypted, or names a file twice or outside.
        """
        if not path.is_file():
            raise DataError(f"{path} does not exist; expected a folder or a zip archive of result files.")
        try:
            with open_zip(path) as archive:
                entries = archive.infolist()
                _check_entries(path, entries)
                contents = {_path(entry): _read(archive, entry) for entry in entries if not entry.is_dir()}
        except DataError:
            raise
        except Exception as error:  # a damaged archive can raise anything
            raise DataError(
                f"{path} cannot be read as a zip archive: {error}. Expected a folder or a zip archive of result files, "
                "without a password."
            ) from error
        return cls(path, contents, tuple(_path(entry) for entry in entries if entry.is_dir()))

    def place(self, path: str) -> str:
        """Return where `path` is, for messages; empty means the archive itself."""
        return f"{path!r} in {self.path}" if path else str(self.path)

    def read(self, path: str, max_bytes: int = _MAX_BYTES) -> bytes:
        """Return the bytes of a file.

        Raises:
            DataError: there is no such file, or it has more than `max_bytes`.
        """
        if path not in self.contents:
            raise DataError(f"there is no {self.place(path)}.")
        if len(self.contents[path]) > max_bytes:
            raise too_long(self.place(path), len(self.contents[path]), max_bytes)
        return self.contents[path]

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder called `path`."""
        return any(entry == path or entry.startswith(f"{path}/") for entry in (*self.contents, *self.folders))

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted as text.

        Raises:
            DataError: there is no such folder.
        """
        prefix = f"{folder}/" if folder not in ("", ".") else ""
        inside = (entry.removeprefix(prefix) for entry in self.contents if entry.startswith(prefix))
        found = sorted({entry.partition("/")[0] for entry in inside})
        if not found:
            raise DataError(f"there is no folder {self.place(folder)}.")
        return found


def _check_entries(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    num_bytes = sum(entry.file_size for entry in entries)
    if len(entries) > _MAX_FILES or num_bytes > _MAX_BYTES:
        raise DataError(
            f"{path} has {len(entries)} entries of {num_bytes} bytes when unpacked; expected at most {_MAX_FILES} and "
            f"{_MAX_BYTES}. Give an archive of nothing but result files."
        )
    bad = [repr(entry.filename) for entry in entries if _OUTSIDE.search(entry.filename)]
    if bad:
        raise DataError(
            f"{path} names {len(bad)} files outside of itself, such as {bad[0]}; it was not read. Pack it again."
        )
    twice = [repr(name) for name, count in Counter(map(_path, entries)).items() if count > 1]
    if twice:
        raise DataError(f"{path} has {len(twice)} names more than once, such as {twice[0]}. Pack it again.")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    # Other ways of packing may unpack any amount before the stated size is checked.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{entry.filename!r:.80} is packed in a way that result files never are")
    with archive.open(entry) as file:
        content = b"".join(iter(lambda: file.read(_MAX_BYTES_AT_ONCE), b""))
    if len(content) != entry.file_size:
        raise ValueError(f"{entry.filename!r:.80} should have {entry.file_size} bytes and has {len(content)}")
    return content


def _path(entry: zipfile.ZipInfo) -> str:
    return str(PurePosixPath(entry.filename))
