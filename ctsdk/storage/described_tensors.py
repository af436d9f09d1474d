"""Dense tensors from their descriptions in a pickle, and from the bytes of their storages.

Every description is checked against its storage first, because a hostile file can claim anything.

Source: pytorch/pytorch @ v2.6.0, torch/_utils.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import IO, Any, Final

import numpy as np
import torch
from torch import Tensor

from ctsdk.storage.pickles import Call, Global, PersistentId

__all__ = ["build_tensor", "is_tensor", "parse_storage", "read_storage_bytes"]

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


def is_tensor(value: object) -> bool:
    """Whether a value from a pickle describes a tensor."""
    return isinstance(value, Call) and value.maker.startswith(("torch._utils._rebuild_", "torch._tensor._rebuild_"))


def build_tensor(value: object, read: Callable[[str], Tensor]) -> Tensor:
    """Return the tensor of a description.

    Args:
        value: the description.
        read: returns the bytes of a storage by its key, (N,) uint8.

    Raises:
        ValueError: it describes no dense tensor, or one that does not fit its storage.
    """
    reference, offset, size, stride, dtype = _parse_layout(value)
    key, stored_dtype, stored_elements = parse_storage(reference.identity)
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


def _parse_layout(value: object) -> tuple[PersistentId, int, tuple[int, ...], tuple[int, ...], torch.dtype | None]:
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


def parse_storage(identity: object) -> tuple[str, torch.dtype, int]:
    """Return the key of a storage, its dtype (uint8 for an untyped one), and its number of elements.

    Raises:
        ValueError: this is no storage of dense numbers.
    """
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


def read_storage_bytes(file: IO[bytes], num_bytes: int) -> Tensor:
    """Return the next bytes of a file, (N,) uint8.

    Raises:
        ValueError: the file ends before.
    """
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
