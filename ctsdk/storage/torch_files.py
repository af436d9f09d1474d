"""The tensors in files of ``torch.save``, in the formats before and since torch 1.6, read without torch's own reader.

Such a file has a pickle that describes the tensors, and storages that hold their numbers. Since 1.6 each storage is an
entry of a zip archive; before, the storages follow the pickles. The pickle is read as data (see
:mod:`ctsdk.storage.pickles`). Its descriptions are checked against the file, and then the tensors are built from their
storages.

Source: pytorch/pytorch @ v2.6.0, torch/serialization.py and torch/_utils.py.
"""

from __future__ import annotations

import functools
import io
import math
import zipfile
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import torch

from ctsdk.errors import CheckpointError
from ctsdk.storage.bounded import MAX_DESCRIPTION_BYTES, open_regular, open_zip
from ctsdk.storage.pickles import Call, Global, PersistentId, PickleReader, unsafe_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

__all__ = ["MAX_TENSORS", "read_torch_file"]

MAX_TENSORS: Final = 100_000
"""Limit of the number of tensors in a weights file: a hundred times what a large tracker has."""

# Keys of the state dict in a file that holds more than weights, the most reliable first.
# Source: the trainers of OSTrack, MixFormerV2, SeqTrack, SUTrack and CompressTracker write "net"; MAE and timm "model".
_WRAPPER_KEYS: Final = ("net", "model", "state_dict", "model_state_dict")

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_CHUNK_BYTES: Final = 1 << 20
# Far beyond any tensor of a tracker.
_MAX_NUMBER: Final = 1 << 40
_MAX_DIMS: Final = 64
_MAX_WRAPPERS: Final = 8

# By the names of storage classes, without "torch." or "torch.cuda." and without "Storage": "torch.FloatStorage".
_DTYPES_OF_STORAGES: Final = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
}
_DTYPES: Final = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}

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
            return _read_bytes(file, sizes[name])

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
    dtypes = {key: dtype for key, dtype, _ in map(_storage, reader.references)}
    file.seek(pickles.tell())
    places = _places(file, keys if isinstance(keys, list) else [], dtypes, path.stat().st_size)

    @functools.cache
    def read(key: str) -> Tensor:
        if key not in places:
            raise ValueError(f"the storage {key!r:.80} is missing")
        position, num_bytes = places[key]
        file.seek(position)
        return _read_bytes(file, num_bytes)

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
    described = {name: value for name, value in _state_dict(path, content).items() if _is_tensor(value)}
    if len(described) > MAX_TENSORS:
        raise ValueError(f"it has {len(described)} tensors, and {MAX_TENSORS} at most are expected")
    tensors = {}
    for name, value in described.items():
        try:
            tensors[name] = _tensor(value, read)
        except Exception as error:
            raise ValueError(f"tensor {name!r:.80}: {error}") from error
    return tensors


def _state_dict(path: Path, content: object) -> Mapping[str, object]:
    """Return what holds tensors by name: the content of a file, or what is in it under one of the known keys."""
    whole = _items(content)
    inner = (_items(whole[key]) for key in _WRAPPER_KEYS if key in whole) if whole is not None else ()
    weights = next((items for items in inner if items is not None), whole)
    if weights is not None and any(map(_is_tensor, weights.values())):
        return weights
    if weights is None:
        seen = "a Tensor" if _is_tensor(content) else f"a {type(content).__name__}"
    else:
        seen = f"the keys {_some(list(weights))}" if weights else "nothing else that can be read"
    raise CheckpointError(
        f"{path} contains no tensors by name, but {seen}; expected a state dict, plain or under one of "
        f"{', '.join(_WRAPPER_KEYS)}. A whole pickled model does not do: save its state_dict()."
    )


def _items(value: object) -> Mapping[str, object] | None:
    if not isinstance(value, dict) or _is_tensor(value):
        return None
    if isinstance(value, Call) and value.maker == "collections.OrderedDict" and not value:
        # Python 2 gave the items to the call.
        match value.arguments:
            case ([*pairs],):
                return {str(pair[0]): pair[1] for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2}
    return value


# -- from the description in a pickle to a tensor ---------------------------------------------------------------------


def _is_tensor(value: object) -> bool:
    return isinstance(value, Call) and value.maker.startswith(("torch._utils._rebuild_", "torch._tensor._rebuild_"))


def _tensor(value: object, read: Callable[[str], Tensor]) -> Tensor:
    """Return the tensor of a description; raise ValueError if there is none, or it does not fit its storage."""
    reference, offset, size, stride, dtype = _layout(value)
    key, stored_dtype, stored_elements = _storage(reference.identity)
    dtype = dtype or stored_dtype
    numbers = read(key)
    if stored_elements * stored_dtype.itemsize != len(numbers):
        raise ValueError(
            f"its storage should have {stored_elements} elements of {stored_dtype} in {len(numbers)} bytes"
        )
    num_elements = len(numbers) // dtype.itemsize
    _check_layout(num_elements, offset, size, stride)
    typed = numbers[: num_elements * dtype.itemsize].view(dtype)
    return typed.as_strided(size, stride, offset)


def _layout(value: object) -> tuple[PersistentId, int, tuple[int, ...], tuple[int, ...], torch.dtype | None]:
    """Return storage, offset, size and stride in elements, and the dtype if it differs from that of the storage."""
    for _ in range(_MAX_WRAPPERS):
        match value:
            case Call(
                maker="torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state",
                arguments=(inner, *_),
            ):
                value = inner
            case Call(maker="torch._tensor._rebuild_from_type_v2", arguments=(Global(text=maker), _, arguments, _)):
                value = Call(maker, arguments)
            case Call(
                maker="torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2",
                arguments=(PersistentId() as reference, int(offset), tuple(size), tuple(stride), *rest),
            ) if not any(rest[2:]):
                return reference, offset, size, stride, None
            case Call(
                maker="torch._utils._rebuild_tensor_v3",
                arguments=(
                    PersistentId() as reference,
                    int(offset),
                    tuple(size),
                    tuple(stride),
                    _,
                    _,
                    Global(text=name),
                    *rest,
                ),
            ) if not any(rest):
                return reference, offset, size, stride, _DTYPES[name]
            case _:
                break
    maker = value.maker if isinstance(value, Call) else type(value).__name__
    raise ValueError(f"it is made by {maker!r:.80}; expected a dense tensor")


def _storage(identity: object) -> tuple[str, torch.dtype, int]:
    """Return the key of a storage, its dtype (uint8 for an untyped one), and its number of elements."""
    match identity:
        case ("storage", Global(text=text), str(key), str(), int(count), *view) if not any(view):
            kind = text.rpartition(".")[2].removesuffix("Storage")
            dtype = torch.uint8 if kind == "Untyped" else _DTYPES_OF_STORAGES.get(kind)
            if dtype is not None:
                return key, dtype, count
            raise ValueError(f"its storage is a {text!r:.80}; expected one of dense numbers")
    raise ValueError(f"its storage is {type(identity).__name__} of an unknown form")


def _check_layout(num_elements: int, offset: int, size: tuple[Any, ...], stride: tuple[Any, ...]) -> None:
    """Refuse a tensor that reaches beyond its storage, or has more elements: a copy of it would be larger."""
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > _MAX_DIMS:
        raise ValueError(f"it has {len(size)} dimensions and {len(stride)} strides")
    if not all(type(number) is int and 0 <= number < _MAX_NUMBER for number in numbers):
        raise ValueError(f"offset {offset}, size {size} and stride {stride} should be whole numbers, and not negative")
    count = math.prod(size)
    last = offset + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True)) if count else offset - 1
    if last >= num_elements or count > num_elements:
        raise ValueError(
            f"size {size}, stride {stride} and offset {offset} do not fit its storage of {num_elements} elements"
        )


def _read_bytes(file: IO[bytes], num_bytes: int) -> Tensor:
    """Return the next bytes of a file, (N,) uint8."""
    numbers = torch.empty(num_bytes, dtype=torch.uint8, device="cpu")
    target = numbers.numpy()
    position = 0
    while position < num_bytes:
        chunk = file.read(min(_CHUNK_BYTES, num_bytes - position))
        if not chunk:
            raise ValueError(f"a storage should have {num_bytes} bytes, and {position} are there")
        target[position : position + len(chunk)] = np.frombuffer(chunk, dtype=np.uint8)
        position += len(chunk)
    return numbers


def _some(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return "; ".join(f"{name:.80}" for name in names[:limit]) + more
