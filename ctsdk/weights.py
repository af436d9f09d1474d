"""Read and write files of weights, without ever running code from them.

:func:`read_tensors` reads safetensors files and torch files, the official ones included: see
:mod:`ctsdk.storage.torch_files`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ctsdk.errors import CheckpointError, OutputError
from ctsdk.storage.atomic import atomic_write
from ctsdk.storage.bounded import MAX_DESCRIPTION_BYTES, open_regular
from ctsdk.storage.torch_files import MAX_TENSORS, read_torch_file

__all__ = ["check_same_keys", "read_safetensors", "read_tensors", "without_parallel_prefix", "write_safetensors"]

# Ten times the largest training checkpoint of a tracker.
_MAX_BYTES: Final = 16 << 30
_PARALLEL: Final = "module."


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name, on the CPU.

    Reads safetensors files and torch files: plain state dicts, and wrappers with one under "net", "model",
    "state_dict" or "model_state_dict". If all names begin with "module.", this prefix is removed.

    The file need not be trusted: no code in it is run, and reading takes at most twice its size plus 256 MiB of memory.
    Files larger than 16 GiB are refused.

    Raises:
        CheckpointError: the file is missing, empty, too large, damaged, no weights file, without tensors, or names
            code to run.
    """
    path = Path(path)
    start = _first_bytes(path)
    tensors = read_safetensors(path)[0] if _is_safetensors(path, start) else read_torch_file(path)
    if not tensors:
        raise CheckpointError(f"{path} contains no tensors; expected the weights of a tracker. Save it again.")
    return without_parallel_prefix(tensors)


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file by name, on the CPU, and its metadata.

    The tensors are copies, so the file may be replaced or removed. Memory is limited as in :func:`read_tensors`.

    Raises:
        CheckpointError: the file is missing, empty, too large or damaged.
    """
    path = Path(path)
    length = int.from_bytes(_first_bytes(path)[:8], "little")
    try:
        if length > MAX_DESCRIPTION_BYTES:
            raise ValueError(f"its header should have {length} bytes; expected {MAX_DESCRIPTION_BYTES} at most")
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            names = file.keys()
            if len(names) > MAX_TENSORS:
                raise ValueError(f"it has {len(names)} tensors; expected {MAX_TENSORS} at most")
            # Without a copy, all tensors would share one memory mapping of the file.
            return {name: file.get_tensor(name).clone() for name in names}, dict(file.metadata() or {})
    except Exception as error:  # a damaged file can raise anything
        raise CheckpointError(
            f"{path} cannot be read: {type(error).__name__}: {error!s:.200}. It is damaged or incomplete; download or "
            "copy it again."
        ) from error


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors and metadata to a safetensors file, atomically.

    Tensors may be on any device, share memory or be non-contiguous; each is written separately. Equal tensors and
    metadata give equal bytes.

    Raises:
        OutputError: the file cannot be written, or the format cannot hold a tensor or the metadata.
    """
    try:
        whole = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
        }
        # With an empty dict as metadata, a file without tensors could not be read again.
        data = safetensors.torch.save(whole, metadata=dict(metadata) if metadata else None)
    except Exception as error:
        raise OutputError(f"cannot write {path}: {error}. Expected dense tensors and metadata of strings.") from error
    # The library writes metadata in a random order; sort them, so that equal content gives equal bytes.
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        file.write(memoryview(data)[8 + length :])


def without_parallel_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the prefix "module." that torch's parallel wrappers add to every name."""
    while tensors and all(name.startswith(_PARALLEL) for name in tensors):
        tensors = {name.removeprefix(_PARALLEL): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def check_same_keys(seen: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights whose names or shapes are not exactly those of the tracker.

    Args:
        seen: the weights.
        expected: the tracker's own state dict.
        what: what is loaded, for the message, such as "x.pth for OSTrack vitb_256".

    Raises:
        CheckpointError: a name is missing or unexpected, or a shape differs.
    """
    missing = [f"{name} {tuple(expected[name].shape)}" for name in expected if name not in seen]
    unexpected = [f"{name} {tuple(seen[name].shape)}" for name in seen if name not in expected]
    reshaped = [
        f"{name} is {tuple(seen[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected
        if name in seen and seen[name].shape != expected[name].shape
    ]
    faults = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
    parts = [f"{len(names)} {fault}: {_some(names)}" for fault, names in faults if names]
    if parts:
        raise CheckpointError(
            f"{what}: the weights do not fit. {'. '.join(parts)}. "
            f"{len(seen)} tensors were seen and {len(expected)} expected. "
            "Choose the variant that these weights were trained as."
        )


def _some(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return "; ".join(names[:limit]) + more


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; expected a file of weights. Give the file inside it.")
    try:
        with open_regular(path) as file:
            start, num_bytes = file.read(64), os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist; expected a file of weights. Check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        raise CheckpointError(f"{path} cannot be read: {error}. Expected a file of weights; check the path.") from error
    if not start:
        raise CheckpointError(f"{path} is empty; expected a file of weights. Download or copy it again.")
    if num_bytes > _MAX_BYTES:
        raise CheckpointError(
            f"{path} has {num_bytes} bytes; expected {_MAX_BYTES} at most. If these are weights, have the state dict "
            "re-saved alone, as safetensors."
        )
    return start


def _is_safetensors(path: Path, start: bytes) -> bool:
    # The file starts with the length of its header in 8 bytes, then the header, a JSON object.
    return path.suffix == ".safetensors" or start[8:9] == b"{"
