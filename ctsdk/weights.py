"""Weights in and out of files, without ever running code from them.

:func:`read_tensors` reads safetensors files and torch files, the official ones included. An official file pickles
classes of its own repository next to the weights; torch refuses them, and importing them would mean running foreign
code. Here every class that torch does not know meets an inert stand-in, and only the tensors are kept.

Files are written whole or not at all: see :func:`atomic_write`.
"""

from __future__ import annotations

import json
import os
import pickletools
import sys
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ctsdk.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "atomic_write",
    "check_same_keys",
    "read_safetensors",
    "read_tensors",
    "write_json",
    "write_safetensors",
]

# Where a file that holds more than weights keeps them, in the order of trust.
# Source: the trainers of OSTrack, MixFormerV2, SeqTrack, SUTrack and CompressTracker write "net"; MAE and timm "model".
_WRAPPER_KEYS: Final = ("net", "model", "state_dict", "model_state_dict")

# Files that people take for weights, by their first bytes in lower case.
_MISTAKEN: Final = (
    ((b"<!doctype", b"<html"), "a web page; the download asked for a login or a confirmation, so fetch it by hand"),
    ((b"version https://git-lfs",), "a Git LFS pointer; run `git lfs pull` where it came from"),
    ((b"\x1f\x8b", b"7z\xbc\xaf", b"rar!"), "a compressed archive; unpack it and give the file inside"),
)

# Names of the standard library that only describe data. Every other name of it in a weights file is there to act.
_HARMLESS: Final = frozenset(
    {
        "_codecs.encode",
        "argparse.Namespace",
        "copy_reg._reconstructor",
        "copyreg._reconstructor",
        "decimal.Decimal",
        "fractions.Fraction",
        "types.SimpleNamespace",
        "uuid.UUID",
    }
    | {f"collections.{kind}" for kind in ("Counter", "OrderedDict", "defaultdict", "deque")}
    | {f"datetime.{kind}" for kind in ("date", "datetime", "timedelta", "timezone")}
    | {f"pathlib.{kind}" for kind in ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath")}
    | {f"pathlib._local.{kind}" for kind in ("PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath")}
    | {
        f"{module}.{kind.__name__}"
        for module in ("builtins", "__builtin__")
        for kind in (bool, bytearray, bytes, complex, dict, float, frozenset, int, list, object, range, set, str, tuple)
    }
)
# The modules that Python 2 called otherwise and that its pickles still name.
_OLD_MODULES: Final = frozenset({"__builtin__", "commands", "copy_reg", "exceptions", "popen2"})


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name, on the CPU.

    Reads safetensors files and torch files: plain state dicts, and wrappers that keep one under "net", "model",
    "state_dict" or "model_state_dict". A prefix "module." that all names share is taken off. Nothing in the file runs.

    Raises:
        CheckpointError: the file is missing, empty, damaged, no weights file, without tensors, or names code to run.
    """
    path = Path(path)
    start = _first_bytes(path)
    if _is_safetensors(path, start):
        content: object = read_safetensors(path)[0]
    elif start.startswith(b"PK\x03\x04"):
        content = _read_zip(path)
    else:
        content = _read_legacy(path, start)
    return _state_dict(path, content)


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file by name, on the CPU, and its metadata.

    The tensors are copies: the file may be replaced or removed while they are in use.

    Raises:
        CheckpointError: the file is missing, empty or damaged.
    """
    path = Path(path)
    _first_bytes(path)
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            # A tensor as it comes shares one mapping of the whole file with its neighbours.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except Exception as error:  # a damaged file can raise anything
        raise _damaged(path, error) from error


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors and metadata to a safetensors file, whole or not at all.

    Tensors may live on any device, share memory or be non-contiguous: each is written out on its own. The same tensors
    and metadata give the same bytes.

    Raises:
        CheckpointError: the file cannot be written, or a tensor or the metadata is of a kind that it cannot hold.
    """
    try:
        whole = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
        }
        # An empty dict of metadata makes a file without tensors that nothing can read, so it becomes None.
        data = safetensors.torch.save(whole, metadata=dict(metadata) if metadata else None)
    except Exception as error:
        raise CheckpointError(
            f"cannot write {path}: {error}. Expected dense tensors and metadata of strings."
        ) from error
    # The library writes metadata in a new order each time; sorted, equal content is equal bytes.
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        file.write(memoryview(data)[8 + length :])


def write_json(path: str | Path, data: object) -> None:
    """Write `data` as indented JSON, whole or not at all.

    Raises:
        CheckpointError: the file cannot be written.
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
        CheckpointError: the file cannot be written.
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
        raise CheckpointError(
            f"cannot write {path}: {error}. Check that the folder can be written to and that the disk has room."
        ) from error
    finally:
        # What cannot be removed was never there, or its folder is gone; the error on its way says more.
        with suppress(OSError):
            temporary.unlink()


def check_same_keys(seen: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights whose names or shapes are not exactly those of the tracker.

    Args:
        seen: the weights.
        expected: the tracker's own state dict.
        what: the weights and the tracker in words, such as "x.pth for OSTrack vitb_256".

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
    told = [f"{len(names)} {fault}: {_some(names)}" for fault, names in faults if names]
    if told:
        raise CheckpointError(
            f"{what}: the weights do not fit. {'. '.join(told)}. "
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
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist; expected a file of weights. Check the path.") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    if not start:
        raise CheckpointError(f"{path} is empty; expected a file of weights. Download or copy it again.")
    return start


def _is_safetensors(path: Path, start: bytes) -> bool:
    # The file starts with the length of its header in 8 bytes, then the header, a JSON object.
    return path.suffix == ".safetensors" or start[8:9] == b"{"


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read: {type(error).__name__}: {error}. It is damaged or incomplete; download or copy it "
        "again."
    )


# -- torch files ------------------------------------------------------------------------------------------------------
#
# What keeps code from running is that torch's weights-only reader calls nothing but its own list of tensor builders and
# what it is handed here: the stand-ins, which do nothing. The search for names that act comes on top: such a file is
# not merely odd, and its owner should hear so.


def _read_zip(path: Path) -> object:
    """Read what torch.save writes since version 1.6."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            pickles = [member for member in members if member.endswith("/data.pkl")]
            names = set()
            for member in pickles:
                with archive.open(member) as file:
                    names |= _names_in_pickles(file)
    except Exception as error:
        raise _damaged(path, error) from error
    if any("/code/" in member or member.endswith("/constants.pkl") for member in members):
        raise CheckpointError(
            f"{path} is a TorchScript program; expected weights. Save the state_dict() of the model it was made from."
        )
    if not pickles:
        raise CheckpointError(
            f"{path} is a zip archive without torch weights. If weights are inside, unpack it and give that file."
        )
    _refuse_code(path, names)
    with _nothing_allowed():
        try:
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
            _refuse_code(path, unknown)
            with torch.serialization.safe_globals([(_stand_in(name), name) for name in unknown]):
                return torch.load(path, map_location="cpu", weights_only=True)
        except CheckpointError:
            raise
        except Exception as error:
            raise _unreadable(path, names, error) from error


def _read_legacy(path: Path, start: bytes) -> object:
    """Read what torch.save wrote before version 1.6, if it needs no class that torch does not know."""
    for marks, what in _MISTAKEN:
        if start.lower().startswith(marks):
            raise CheckpointError(f"{path} is no weights file but {what}.")
    with path.open("rb") as file:
        names = _names_in_pickles(file)
    _refuse_code(path, names)
    if not names and not start.startswith(b"\x80"):
        raise CheckpointError(f"{path} is no weights file; expected one written by safetensors or torch.save.")
    with _nothing_allowed():
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise _unreadable(path, names, error) from error


def _unreadable(path: Path, names: Iterable[str], error: Exception) -> CheckpointError:
    foreign = sorted(name for name in names if name.partition(".")[0] not in ("torch", "collections"))
    named = f" It names {_some(foreign)}." if foreign else ""
    return CheckpointError(
        f"{path} is damaged, or holds objects that cannot be read without running its code, which was not done "
        f"({type(error).__name__}: {str(error).partition(chr(10))[0]:.200}).{named} Download it again, or re-save its "
        "state dict as safetensors, or with torch.save of torch 1.6 or later, where it was made."
    )


def _names_in_pickles(file: IO[bytes]) -> set[str]:
    """Return the dotted names that the pickles at the start of a file mention; nothing is loaded.

    A torch file has at most five pickles, one after the other. Where one cannot be followed, the search ends.
    """
    names: set[str] = set()
    last_strings = ("", "")
    try:
        for _ in range(5):
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name in ("GLOBAL", "INST"):
                    names.add(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL":
                    names.add(".".join(last_strings))
                elif isinstance(argument, str):
                    last_strings = (last_strings[1], argument)
    except Exception:  # noqa: BLE001 - whatever cannot be followed is left to the reader, which runs nothing either
        return names
    return names


def _refuse_code(path: Path, names: Iterable[str]) -> None:
    acting = sorted(name for name in names if _acts(name))
    if acting:
        raise CheckpointError(
            f"{path} tries to run code: it names {_some(acting)}, which no weights need; it was not run. "
            "Get the file from its authors, or have it re-saved as safetensors."
        )


def _acts(name: str) -> bool:
    module = name.partition(".")[0]
    return (module in sys.stdlib_module_names or module in _OLD_MODULES) and name not in _HARMLESS


@contextmanager
def _nothing_allowed() -> Iterator[None]:
    """Take away, for a while, what others in this process have allowed torch to construct."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)


class _DictStandIn:
    """Stands in for a class: whatever is constructed, it is an empty dict, which takes items and attributes."""

    def __new__(cls, *_args: object) -> Any:  # noqa: ANN401 - not one of its own
        # torch lets a file fill nothing but exactly a dict, an OrderedDict or a Counter; only the second takes
        # attributes as well, and so can pose both as an EasyDict and as an object.
        return OrderedDict()


class _ListStandIn:
    """Stands in for a sequence that is filled item by item."""

    def __new__(cls, *_args: object) -> Any:  # noqa: ANN401 - not one of its own
        return []


class _ValueStandIn:
    """Stands in for a value whose state is not a dict, such as a numpy scalar."""

    def __new__(cls, *_args: object) -> _ValueStandIn:
        return super().__new__(cls)

    def __init__(self, *_args: object) -> None: ...

    def __setstate__(self, _state: object) -> None: ...


def _stand_in(name: str) -> type:
    if name.startswith("numpy."):
        return _ValueStandIn
    return _ListStandIn if name == "collections.deque" else _DictStandIn


def _state_dict(path: Path, content: object) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        inner = (content[key] for key in _WRAPPER_KEYS if isinstance(content.get(key), Mapping))
        weights = next(inner, content)
        tensors = {str(name): value.detach() for name, value in weights.items() if isinstance(value, Tensor)}
        if tensors:
            return _without_prefix(tensors)
        seen = f"the keys {_some([str(key) for key in weights])}" if weights else "nothing else that can be read"
    else:
        seen = f"a {type(content).__name__}"
    raise CheckpointError(
        f"{path} contains no tensors by name, but {seen}; expected a state dict, plain or under one of "
        f"{', '.join(_WRAPPER_KEYS)}. A whole pickled model does not do: save its state_dict()."
    )


def _without_prefix(tensors: dict[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    # torch's parallel wrappers put their own name in front of every other.
    while all(name.startswith(prefix) for name in tensors):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
