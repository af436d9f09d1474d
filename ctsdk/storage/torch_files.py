"""The tensors in files of ``torch.save``, in the formats before and since torch 1.6, read without torch's own reader.

Such a file has a pickle that describes the tensors, and storages that hold their numbers. Since 1.6 each storage is an
entry of a zip archive; before, the storages follow the pickles. The pickle is read as data (see
:mod:`ctsdk.storage.pickles`). Its descriptions are checked against the file, and then the tensors are built from their
storages.

Source: pytorch/pytorch @ v2.6.0, torch/serialization.py.
"""

from __future__ import annotations

import functools
import io
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import torch
from torch import Tensor

from ctsdk.errors import CheckpointError
from ctsdk.storage.bounded import MAX_DESCRIPTION_BYTES, open_regular, open_zip
from ctsdk.storage.described_tensors import build_tensor, is_tensor, parse_storage, read_storage_bytes
from ctsdk.storage.pickles import Call, PickleReader, unsafe_names

__all__ = ["MAX_TENSORS", "read_torch_file"]

MAX_TENSORS: Final = 100_000
"""Limit of the number of tensors in a weights file: a hundred times what a large tracker has."""

# Keys of the state dict in a file that holds more than weights, the most reliable first.
# Source: the trainers of OSTrack, MixFormerV2, SeqTrack, SUTrack and CompressTracker write "net"; MAE and timm "model".
_WRAPPER_KEYS: Final = ("net", "model", "state_dict", "model_state_dict")

_MAGIC: Final = 0x1950A86A20F9469CFC6C
# Files that are often mistaken for weights, by their first bytes in lower case.
_MISTAKEN: Final = (
    ((b"<!doctype", b"<html"), "a web page; the download asked for a login or a confirmation, so fetch it by hand"),
    ((b"version https://git-lfs",), "a Git LFS pointer; run `git lfs pull` where it came from"),
    ((b"\x1f\x8b", b"7z\xbc\xaf", b"rar!"), "a compressed archive; unpack it and give the file inside"),
)
_TAR_MARK: Final = slice(257, 262)


def read_torch_file(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a torch file, on the CPU; it may be the whole content, or in a wrapper.

    No code in the file is run, and no class that it names is looked up. Only the storages of the tensors are read.
    Tensors that share a storage in the file share memory.

    Raises:
        CheckpointError: the file names code to run, is a TorchScript program, has no tensors by name, has tensors that
            are not dense or do not fit their storages, or is damaged.
    """
    try:
        with open_regular(path) as raw, io.BufferedReader(raw) as file:
            is_zip = file.peek(4).startswith(b"PK\x03\x04")
            if not is_zip:
                return _read_stream(path, file)
        with open_zip(path) as archive:
            return _read_zip(path, archive)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise CheckpointError(
            f"{path} cannot be read: {type(error).__name__}: {error!s:.200}. It is damaged, incomplete or made to look "
            "like weights; download or copy it again, or have its state dict re-saved as safetensors."
        ) from error


def _read_zip(path: Path, archive: zipfile.ZipFile) -> dict[str, Tensor]:
    """Read the format of torch.save since version 1.6."""
    entries = archive.infolist()
    description = _find_description(path, [entry.filename for entry in entries])
    _check_entries(entries, path.stat().st_size)
    folder = description.removesuffix("data.pkl")
    sizes = {entry.filename: entry.file_size for entry in entries}
    if sizes[description] > MAX_DESCRIPTION_BYTES:
        raise ValueError(
            f"{description} has {sizes[description]} bytes, and {MAX_DESCRIPTION_BYTES} at most are expected"
        )
    content = _next(path, PickleReader(io.BytesIO(archive.read(description))))
    order = f"{folder}byteorder"
    if sizes.get(order) == len("big") and archive.read(order) == b"big":
        raise ValueError("its numbers are in the byte order of another kind of machine")

    @functools.cache
    def read(key: str) -> Tensor:
        name = f"{folder}data/{key}"
        if name not in sizes:
            raise ValueError(f"the storage {name} is missing")
        with archive.open(name) as file:
            return read_storage_bytes(file, sizes[name])

    return _tensors(path, content, read)


def _find_description(path: Path, names: Sequence[str]) -> str:
    """Return the name of the pickle that describes the tensors."""
    if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(
            f"{path} is a TorchScript program; expected weights. Save the state_dict() of the model it was made from."
        )
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if not pickles:
        raise CheckpointError(
            f"{path} is a zip archive without torch weights. If weights are inside, unpack it and give that file."
        )
    if len(pickles) > 1:
        raise ValueError(f"it has {len(pickles)} entries called data.pkl")
    return pickles[0]


def _check_entries(entries: Sequence[zipfile.ZipInfo], num_bytes: int) -> None:
    """Refuse an archive with compressed entries, with equal names, or with more bytes than the file."""
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise ValueError(f"{len(packed)} entries are packed, such as {packed[0]!r:.80}; torch packs none")
    twice = [name for name, count in Counter(entry.filename for entry in entries).items() if count > 1]
    if twice:
        raise ValueError(f"{len(twice)} entries have one name, such as {twice[0]!r:.80}")
    total = sum(entry.file_size for entry in entries)
    if total > num_bytes or any(entry.file_size != entry.compress_size for entry in entries):
        raise ValueError(f"its entries claim {total} bytes, and the file has {num_bytes}")


def _read_stream(path: Path, file: IO[bytes]) -> dict[str, Tensor]:
    """Read the format of torch.save before version 1.6: five pickles, then one storage after the other."""
    start = file.read(MAX_DESCRIPTION_BYTES)
    _refuse_mistaken(path, start)
    pickles = io.BytesIO(start)
    reader = PickleReader(pickles)
    if not _has_magic(path, reader):
        raise CheckpointError(f"{path} is no weights file; expected one written by safetensors or torch.save.")
    _, system, content, keys = (_next(path, reader) for _ in range(4))
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise ValueError("its numbers are in the byte order of another kind of machine")
    dtypes = {key: dtype for key, dtype, _ in map(parse_storage, reader.references)}
    file.seek(pickles.tell())
    places = _places(file, keys if isinstance(keys, list) else [], dtypes, path.stat().st_size)

    @functools.cache
    def read(key: str) -> Tensor:
        if key not in places:
            raise ValueError(f"the storage {key!r:.80} is missing")
        position, num_bytes = places[key]
        file.seek(position)
        return read_storage_bytes(file, num_bytes)

    return _tensors(path, content, read)


def _places(
    file: IO[bytes], keys: Sequence[str], dtypes: Mapping[str, torch.dtype], file_bytes: int
) -> dict[str, tuple[int, int]]:
    """Return the position of each storage in the file, and its number of bytes."""
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        if key not in dtypes or key in places:
            raise ValueError(f"it lists the storage {key!r:.80}, which no tensor has, or twice")
        num_bytes = int.from_bytes(file.read(8), "little") * dtypes[key].itemsize
        position = file.tell()
        if position + num_bytes > file_bytes:
            raise ValueError(f"the storage {key!r:.80} should have {num_bytes} bytes, and the file ends before")
        places[key] = position, num_bytes
        file.seek(position + num_bytes)
    return places


def _refuse_mistaken(path: Path, start: bytes) -> None:
    for marks, what in _MISTAKEN:
        if start[:64].lower().startswith(marks):
            raise CheckpointError(f"{path} is no weights file but {what}.")
    if start[_TAR_MARK] == b"ustar":
        raise CheckpointError(
            f"{path} is no weights file but a tar archive; give the file inside. If torch wrote it itself, long ago, "
            "have its state dict re-saved as safetensors."
        )


def _has_magic(path: Path, reader: PickleReader) -> bool:
    try:
        return _next(path, reader) == _MAGIC
    except CheckpointError:
        raise
    except Exception:  # noqa: BLE001 - no pickle at all
        return False


def _next(path: Path, reader: PickleReader) -> object:
    """Return the next pickle. An unsafe name in it is reported even if the rest of it cannot be read."""
    try:
        return reader.read()
    finally:
        names = unsafe_names(reader.names)
        if names:
            raise CheckpointError(
                f"{path} tries to run code: it names {_some(names)}, which no weights need; it was not run. "
                "Get the file from its authors, or have it re-saved as safetensors."
            )


def _tensors(path: Path, content: object, read: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the state dict in `content`; `read` returns the bytes of a storage, (N,) uint8."""
    described = {name: value for name, value in _state_dict(path, content).items() if is_tensor(value)}
    if len(described) > MAX_TENSORS:
        raise ValueError(f"it has {len(described)} tensors, and {MAX_TENSORS} at most are expected")
    tensors = {}
    for name, value in described.items():
        try:
            tensors[name] = build_tensor(value, read)
        except Exception as error:
            raise ValueError(f"tensor {name!r:.80}: {error}") from error
    return tensors


def _state_dict(path: Path, content: object) -> Mapping[str, object]:
    """Return what holds tensors by name: the content of a file, or what is in it under one of the known keys."""
    whole = _items(content)
    inner = (_items(whole[key]) for key in _WRAPPER_KEYS if key in whole) if whole is not None else ()
    weights = next((items for items in inner if items is not None), whole)
    if weights is not None and any(map(is_tensor, weights.values())):
        return weights
    if weights is None:
        seen = "a Tensor" if is_tensor(content) else f"a {type(content).__name__}"
    else:
        seen = f"the keys {_some(list(weights))}" if weights else "nothing else that can be read"
    raise CheckpointError(
        f"{path} contains no tensors by name, but {seen}; expected a state dict, plain or under one of "
        f"{', '.join(_WRAPPER_KEYS)}. A whole pickled model does not do: save its state_dict()."
    )


def _items(value: object) -> Mapping[str, object] | None:
    if not isinstance(value, dict) or is_tensor(value):
        return None
    if isinstance(value, Call) and value.maker == "collections.OrderedDict" and not value:
        # Python 2 gave the items to the call.
        match value.arguments:
            case ([*pairs],):
                return {str(pair[0]): pair[1] for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2}
    return value


def _some(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return "; ".join(f"{name:.80}" for name in names[:limit]) + more
