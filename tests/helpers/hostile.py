"""Files that lie, made by code: torch files, safetensors files and things that are no files of weights at all.

Each maker writes one file and is known by a readable name. What a file would do if it were trusted is to call
:func:`act`, which leaves a mark.
"""

from __future__ import annotations

import functools
import io
import json
import os
import socket
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

Maker = Callable[[Path], None]


MARKS: list[object] = []


def act(*arguments: object) -> str:
    """What hostile files try to call."""
    MARKS.append(arguments)
    return "acted"


class Actor:
    """A class that acts when it is made or restored."""

    def __new__(cls, *arguments: object) -> Actor:
        act(*arguments)
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        act(state)


# -- pickles, instruction by instruction ------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(dotted: str) -> bytes:
    module, _, last = dotted.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def tuple_of(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def call(dotted: str, *arguments: bytes) -> bytes:
    return name(dotted) + tuple_of(*arguments) + b"R"


def dict_of(**items: bytes) -> bytes:
    return b"}" + b"".join(text(key) + value + b"s" for key, value in items.items())


def program(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def storage(key: bytes = text("0"), kind: str = "torch.FloatStorage", count: int = 6, where: str = "cpu") -> bytes:
    return tuple_of(text("storage"), name(kind), key, text(where), number(count)) + b"Q"


def whole(*values: int) -> bytes:
    return tuple_of(*map(number, values))


def tensor(
    size: bytes = whole(2, 3), stride: bytes = whole(3, 1), offset: bytes = number(0), stored: bytes = storage()
) -> bytes:
    hooks = call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", stored, offset, size, stride, b"\x89", hooks)


def weights(**layout: bytes) -> bytes:
    return program(dict_of(weight=tensor(**layout)))


# -- containers -------------------------------------------------------------------------------------------------------

NUMBERS = struct.pack("<6f", *range(6))


def entries(pickle: bytes, numbers: bytes = NUMBERS) -> dict[str, bytes]:
    return {"x/data.pkl": pickle, "x/byteorder": b"little", "x/data/0": numbers, "x/version": b"3\n"}


def write_entries(path: Path, contents: dict[str, bytes], **options: Any) -> None:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for entry, data in contents.items():
            archive.writestr(entry, data)


def zipped(pickle: bytes, numbers: bytes = NUMBERS) -> Maker:
    return lambda path: write_entries(path, entries(pickle, numbers))


def stream(content: bytes, keys: bytes = b"]" + text("0") + b"a", count: int = 6) -> bytes:
    """Return a file of torch before 1.6."""
    start = [number(0x1950A86A20F9469CFC6C), number(1001), dict_of(little_endian=b"\x88")]
    pickles = b"".join(map(program, start)) + content + program(keys)
    return pickles + struct.pack("<q", count) + NUMBERS


def old_storage(*, view: bytes = b"N", kind: str = "torch.FloatStorage") -> bytes:
    return tuple_of(text("storage"), name(kind), text("0"), text("cpu"), number(6), view) + b"Q"


def archive_of(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for entry, data in contents.items():
            archive.writestr(zipfile.ZipInfo(entry), data)
    return buffer.getvalue()


def bomb(entry: str, contents: dict[str, bytes]) -> bytes:
    """Return an archive in which one entry is a megabyte that unpacks to a gigabyte."""
    packer = zlib.compressobj(wbits=-15)
    megabyte = packer.compress(b"\0" * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    data = archive_of(contents | {entry: megabyte * 1024 + packer.flush()})
    method, size = struct.pack("<H", zipfile.ZIP_DEFLATED), struct.pack("<I", 1 << 30)
    first, last = data.index(entry.encode()), data.rindex(entry.encode())
    # Each entry is described twice: before its bytes, and in the directory at the end.
    for place, new in ((first - 22, method), (first - 8, size), (last - 36, method), (last - 22, size)):
        data = data[:place] + new + data[place + len(new) :]
    return data


def holding(data: bytes) -> Maker:
    return lambda path: path.write_bytes(data) and None


# -- the families -----------------------------------------------------------------------------------------------------


def calls() -> Iterator[tuple[str, bytes]]:
    """Each way in which a pickle can make its reader call something, as the content of a file."""
    victim, mine = b"cos\nsystem\n", name(f"{__name__}.act")
    order = text("touch ran")
    yield "global-reduce", program(dict_of(net=victim + tuple_of(order) + b"R"))
    yield "global-reduce-of-a-foreign-function", program(mine + tuple_of(order) + b"R")
    yield "stack-global", b"\x80\x04\x8c\x02os\x8c\x06system\x93" + tuple_of(order) + b"R."
    yield (
        "stack-global-of-kept-texts",
        b"\x80\x04\x8c\x06system\x94\x8c\x02os\x940h\x01h\x00\x93" + tuple_of(order) + b"R.",
    )
    yield "inst", program(b"(" + order + b"ios\nsystem\n")
    yield "obj", program(b"(" + victim + order + b"o")
    yield "newobj", program(name(f"{__name__}.Actor") + tuple_of(order) + b"\x81")
    yield "newobj-ex", b"\x80\x04" + name(f"{__name__}.Actor") + tuple_of(order) + b"}\x92."
    yield "build", program(name(f"{__name__}.Actor") + b")\x81" + order + b"b")
    yield "build-on-a-function", program(mine + dict_of(__setstate__=victim) + b"b")
    yield (
        "reconstructor",
        program(
            call("copyreg._reconstructor", name(f"{__name__}.Actor"), name("builtins.object"), b"N") + order + b"b"
        ),
    )
    for width in (1, 2, 4):
        code = {1: b"\x82\x01", 2: b"\x83\x01\x00", 4: b"\x84\x01\x00\x00\x00"}[width]
        yield f"extension-{width}", program(code + tuple_of(order) + b"R")
    yield "persistent-text", program(b"Pos.system\n" + tuple_of(order) + b"R")
    yield "persistent-object", program(mine + tuple_of(order) + b"RQ")
    yield "getattr", program(call("builtins.getattr", call("builtins.__import__", text("os")), text("system")))
    yield "import-with-an-effect", program(call("importlib.import_module", text("this")))
    yield "eval-of-python-2", program(call("__builtin__.eval", text("1")))
    yield "commands-of-python-2", program(call("commands.getoutput", order))
    yield "dotted-name", b"\x80\x04\x8c\x02os\x8c\x0bpath.system\x93" + tuple_of(order) + b"R."
    yield "text-protocol", b"cos\nsystem\n(S'touch ran'\ntR."
    yield "torch-load", program(call("torch.serialization.load", text("/etc/passwd")))
    yield "torch-hub", program(call("torch.hub.load", text("a/b"), text("c")))
    yield "numpy-load", program(call("numpy.load", text("x.npy")))
    yield "after-good-weights", program(dict_of(weight=tensor(), stats=victim + tuple_of(order) + b"R"))
    yield "cut-after-the-call", program(victim + tuple_of(order) + b"R")[:-1]


def builders() -> Iterator[tuple[str, Maker]]:
    """Calls that torch's own reader allows, with arguments that fill the memory or make what is no dense tensor."""
    large = number(10**11)
    hexes = b"".join(name("_codecs.encode") + b"h\x01" + text("hex") + b"\x86Rq\x01" for _ in range(40))
    made = {
        "tensor-of-100-GB": call("torch.FloatTensor", large),
        "storage-of-100-GB": call("torch.storage.UntypedStorage", large),
        "bytearray-of-100-GB": call("builtins.bytearray", large),
        "text-doubled-40-times": text("abcd") + b"q\x01" + hexes,
        "tensor-of-torch-restored": name("torch.Tensor") + b")\x81" + whole(1) + b"b",
    }
    yield from ((kind, zipped(program(dict_of(weight=pickle)))) for kind, pickle in made.items())
    hooks, dtype = call("collections.OrderedDict"), name("torch.float32")
    rebuilt: dict[str, tuple[bytes, ...]] = {
        "_rebuild_meta_tensor_no_storage": (dtype, whole(1 << 40), whole(1), b"\x89"),
        "_rebuild_sparse_tensor": (name("torch.sparse_coo"), tuple_of(tensor(), tensor(), whole(1 << 40))),
        "_rebuild_qtensor": (storage(), number(0), whole(2, 3), whole(3, 1), whole(), b"\x89", hooks),
        "_rebuild_nested_tensor": (tensor(), tensor(), tensor(), tensor()),
        "_rebuild_wrapper_subclass": (name("torch.Tensor"), dtype, whole(9), whole(1), number(0), b"N", b"N", b"\x89"),
        "_rebuild_device_tensor_from_numpy": (tensor(), dtype, text("cuda"), b"\x89"),
        "_rebuild_tensor_v9": (storage(), number(0), whole(2, 3), whole(3, 1)),
        "_rebuild_tensor": (storage(),),
        "_rebuild_parameter": (),
        "_rebuild_tensor_v3": (
            *(storage(kind="torch.storage.UntypedStorage", count=24), number(0), whole(2, 3), whole(3, 1)),
            *(b"\x89", hooks, name("torch.load")),
        ),
    }
    for maker, arguments in rebuilt.items():
        yield maker, zipped(program(dict_of(weight=call(f"torch._utils.{maker}", *arguments))))
    conjugate = call(
        "torch._utils._rebuild_tensor_v2",
        *(storage(), number(0), whole(2, 3), whole(3, 1), b"\x89", hooks, dict_of(conj=b"\x88")),
    )
    yield "conjugate", zipped(program(dict_of(weight=conjugate)))
    from_type = call(
        "torch._tensor._rebuild_from_type_v2", name(f"{__name__}.act"), name("torch.Tensor"), whole(), b"N"
    )
    yield "from-type-by-a-foreign-function", zipped(program(dict_of(weight=from_type)))
    wrapped = tensor()
    for _ in range(100):
        wrapped = call("torch._utils._rebuild_parameter", wrapped, b"\x89", hooks)
    yield "parameter-of-100-parameters", zipped(program(dict_of(weight=wrapped)))


def layouts() -> Iterator[tuple[str, Maker]]:
    """Tensors that do not fit their storage of 6 numbers, or grow when they are copied."""
    wrong: dict[str, dict[str, bytes]] = {
        "larger-than-the-storage": {"size": whole(2, 4), "stride": whole(4, 1)},
        "100-TB": {"size": whole(5_000_000, 5_000_000), "stride": whole(5_000_000, 1)},
        "expanded": {"size": whole(10**12), "stride": whole(0)},
        "overlapping": {"size": whole(5, 2), "stride": whole(1, 1)},
        "negative-size": {"size": whole(-2, 3)},
        "negative-stride": {"stride": whole(-3, 1), "offset": number(5)},
        "negative-offset": {"offset": number(-1)},
        "offset-behind-the-end": {"offset": number(1)},
        "offset-without-end": {"offset": number(1 << 200)},
        "no-elements-of-huge-size": {"size": whole(0, 1 << 62), "stride": whole(1, 1)},
        "no-elements-behind-the-end": {"size": whole(0), "stride": whole(1), "offset": number(7)},
        "overflowing-size": {"size": whole(1 << 32, 1 << 32), "stride": whole(0, 0)},
        "fewer-strides-than-sizes": {"stride": whole(1)},
        "1000-dimensions": {"size": whole(*[1] * 1000), "stride": whole(*[1] * 1000)},
        "sizes-of-text": {"size": tuple_of(text("2"), text("3"))},
        "sizes-of-flags": {"size": tuple_of(b"\x88", b"\x88")},
        "sizes-in-a-list": {"size": b"](" + number(2) + number(3) + b"e"},
        "size-made-by-a-call": {"size": call("torch.Size", whole(2, 3))},
        "storage-missing": {"stored": storage(key=text("7"))},
        "storage-outside": {"stored": storage(key=text("../../../../etc/passwd"))},
        "storage-key-a-number": {"stored": storage(key=number(0))},
        "storage-key-a-tuple": {"stored": storage(key=whole(0))},
        "storage-larger-than-its-entry": {"stored": storage(count=10**9)},
        "storage-smaller-than-its-entry": {"stored": storage(count=3)},
        "storage-of-negative-count": {"stored": storage(count=-6)},
        "storage-of-another-kind": {"stored": storage(kind="torch.DoubleStorage")},
        "storage-quantised": {"stored": storage(kind="torch.QInt8Storage")},
        "storage-of-a-foreign-class": {"stored": storage(kind=f"{__name__}.Actor")},
        "storage-a-number": {"stored": number(0)},
        "storage-a-dict": {"stored": b"}Q"},
        "storage-of-no-kind": {"stored": tuple_of(text("storage")) + b"Q"},
        "storage-a-module": {"stored": tuple_of(text("module"), name(f"{__name__}.Actor"), text("0"), text("")) + b"Q"},
        "storage-a-view": {"stored": old_storage(view=tuple_of(text("1"), number(3), number(10**9)))},
    }
    yield from ((kind, zipped(weights(**layout))) for kind, layout in wrong.items())


def broken_pickles() -> Iterator[tuple[str, bytes]]:
    """Pickles that cannot be followed."""
    yield "empty", b""
    yield "no-end", weights()[:-1]
    yield "nothing-but-the-end", b"."
    yield "mark-missing", program(b"t")
    yield "item-of-nothing", program(b"s")
    yield "append-to-text", program(text("a") + b"Na")
    yield "items-of-a-list", program(b"]" + text("a") + b"Ns")
    yield "odd-items", program(b"}(" + text("a") + b"u")
    yield "unknown-instruction", program(b"\xff")
    yield "kept-nowhere", program(b"h\x07")


def costly_pickles() -> Iterator[tuple[str, bytes]]:
    """Pickles whose mere reading would cost more than it should."""
    yield "kept-at-4-billion", program(b"Nr\xff\xff\xff\xff")
    yield "kept-at-colliding-places", program(b"N", *(b"p%d\n" % (i * (2**61 - 1)) for i in range(50_000)))
    yield "tuples-in-tuples-as-a-key", program(b"})" + b"\x85" * 150_000 + b"Ns")
    yield "lists-in-lists", program(b"](" * 50_000 + b"e" * 50_000)
    yield "dict-in-itself", program(b"}q\x00" + text("net") + b"h\x00s")
    yield "list-in-itself", program(b"]q\x00h\x00a")
    yield "colliding-keys", program(b"}", *(number(i * (2**61 - 1)) + b"Ns" for i in range(50_000)))
    yield "key-that-cannot-be-hashed", program(b"}]Ns")
    yield "a-million-instructions", program(b"N" * 1_000_001)
    yield "dicts-without-end", program(b"}" * 200_000)
    yield "calls-without-end", program(name("a.b") + b"q\x00", b"h\x00)R" * 50_000)
    yield "doubling-lists", program(b"]", *(b"q\x01]q\x02h\x01ah\x01a" for _ in range(10_000)))
    yield "text-of-2-to-the-60", b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"abc."
    yield "bytes-of-2-to-the-60", b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"abc."
    yield "bytearray-of-2-to-the-40", b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"abc."
    yield "frame-of-2-to-the-60", b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N."
    yield "number-of-4-MB", program(b"}\x8b" + struct.pack("<i", 4 << 20) + b"\x7f" * (4 << 20) + b"Ns")
    yield "number-of-negative-length", program(b"\x8b" + struct.pack("<i", -5))
    yield "digits-without-end", program(b"I" + b"9" * 1_000_000 + b"\n")
    yield "name-without-end", program(b"c" + b"a" * 1_000_000 + b"\nb\n")
    yield "name-by-numbers", b"\x80\x04K\x01K\x02\x93."
    yield "text-that-is-no-utf-8", program(b"X\x02\x00\x00\x00\xff\xfe")
    yield "buffer-from-outside", b"\x80\x05\x97."
    yield "9-MB", program(*(b"U\xff" + b"a" * 255 + b"0" for _ in range(36_000)))
    yield "many-tensors", program(b"}", tensor() + b"q\x070(", *(text(f"{i}") + b"h\x07" for i in range(100_001)), b"u")


def archives() -> Iterator[tuple[str, Maker]]:
    """Zip archives that lie about their entries."""
    good = entries(weights())

    def packed(method: int) -> Maker:
        return lambda path: write_entries(path, good | {"x/data/0": b"\0" * (1 << 20)}, compression=method)

    yield "deflated", packed(zipfile.ZIP_DEFLATED)
    yield "packed-by-bzip2", packed(zipfile.ZIP_BZIP2)
    yield "packed-by-lzma", packed(zipfile.ZIP_LZMA)
    yield "bomb", holding(bomb("x/data/0", good))
    yield "zip-in-zip", lambda path: write_entries(path, {"x/data.pkl": archive_of(good)})
    yield "weights-in-zip", lambda path: write_entries(path, {"x.pth": archive_of(good)})
    yield "no-entries", lambda path: write_entries(path, {})
    yield "no-pickle", lambda path: write_entries(path, {"x/data/0": NUMBERS})
    yield "pickle-without-a-folder", lambda path: write_entries(path, {"data.pkl": weights()})
    yield "two-pickles", lambda path: write_entries(path, good | {"y/data.pkl": weights()})
    yield "program-of-torchscript", lambda path: write_entries(path, good | {"x/code/a.py": b"import os"})
    yield "big-endian", lambda path: write_entries(path, good | {"x/byteorder": b"big"})
    yield "storage-too-short", zipped(weights(), NUMBERS[:5])
    yield "directory-of-9-MB", lambda path: write_entries(path, good | {f"{i:060000}": b"" for i in range(150)})
    yield "one-name-twice", _twice
    for entry in ("x/data/0", "x/data.pkl"):
        yield f"link-as-{entry.rpartition('/')[2]}", _linked(entry, good)
    data = archive_of(good)
    yield "entries-over-each-other", holding(_overlapping(data))
    yield "locked", holding(_changed(data, b"PK\x01\x02", 8, b"\x01"))
    yield "unknown-packing", holding(_changed(data, b"PK\x01\x02", 10, b"\x63"))
    yield "sizes-of-4-GB", holding(_changed(data, b"PK\x01\x02", 20, b"\xfe\xff\xff\xff\xfe\xff\xff\xff"))
    yield "wrong-sum", holding(_changed(data, b"PK\x01\x02", 16, b"\0\0\0\0"))
    yield "directory-elsewhere", holding(_changed(data, b"PK\x05\x06", 16, b"\xff\xff\xff\x7f"))
    yield "directory-of-2-GB", holding(_changed(data, b"PK\x05\x06", 12, b"\xff\xff\xff\x7f"))
    for share in range(1, 20, 2):
        yield f"cut-at-{5 * share}-percent", holding(data[: len(data) * share // 20])


def streams() -> Iterator[tuple[str, Maker]]:
    """Files of torch before 1.6 that lie, and the tar archives from before that."""
    data = stream(program(dict_of(weight=tensor(stored=old_storage()))))
    for share in range(1, 10, 2):
        yield f"cut-at-{10 * share}-percent", holding(data[: len(data) * share // 10])
    content = program(dict_of(weight=tensor(stored=old_storage())))
    for kind, count in {"2-to-the-62": 1 << 62, "negative": -1, "zero": 0, "five": 5, "a-billion": 10**9}.items():
        yield f"storage-of-{kind}", holding(stream(content, count=count))
    for kind, keys in {
        "no-list": b"N",
        "an-empty-list": b"]",
        "others": b"]" + text("1") + b"a",
        "numbers": b"]K\x00a",
        "twice": b"]" + text("0") + b"a" + text("0") + b"a",
        "a-hundred-thousand": b"](" + text("0") + b"q\x00" + b"h\x00" * 100_000 + b"e",
    }.items():
        yield f"keys-are-{kind}", holding(stream(content, keys=keys))
    view = old_storage(view=tuple_of(text("1"), number(3), number(10**9)))
    yield "view-of-a-storage", holding(stream(program(dict_of(weight=tensor(stored=view)))))
    yield "other-magic", holding(data.replace(b"\x8a\x0al\xfc\x9c\x46\xf9", b"\x8a\x0al\xfc\x9c\x46\xf8"))
    yield "big-endian", holding(data.replace(b"\x88s", b"\x89s", 1))
    yield "tar", _tar(link=False)
    yield "tar-with-links", _tar(link=True)


def safetensors() -> Iterator[tuple[str, Maker]]:
    """Safetensors files that lie."""
    good = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}

    def headed(header: bytes, length: int | None = None, data: bytes = NUMBERS) -> Maker:
        return holding(struct.pack("<Q", len(header) if length is None else length) + header + data)

    def described(**changes: object) -> Maker:
        return headed(json.dumps({"weight": good | changes}).encode())

    header = json.dumps({"weight": good}).encode()
    for kind, length in {
        "0": 0,
        "1": 1,
        "too-short": 20,
        "too-long": 90,
        "100-MB": 10**8,
        "2-to-the-63": 1 << 63,
    }.items():
        yield f"header-length-{kind}", headed(header, length)
    yield "header-no-json", headed(b"{" + b"x" * 60)
    yield "header-a-list", headed(b"[]")
    yield "header-nested", headed(b'{"a":' * 100_000)
    yield "header-no-utf-8", headed(b'{"\xff\xfe": 1}')
    yield "header-of-9-MB", headed(b'{"__metadata__": {"a": "' + b" " * (9 << 20) + b'"}}')
    yield (
        "many-tensors",
        headed(
            json.dumps({f"{i}": good | {"shape": [0], "data_offsets": [0, 0]} for i in range(100_001)}).encode(),
            data=b"",
        ),
    )
    yield "metadata-of-numbers", headed(json.dumps({"__metadata__": {"a": 1}, "weight": good}).encode())
    yield "no-tensors", headed(b"{}", data=b"")
    for kind, changes in {
        "kind-unknown": {"dtype": "F31"},
        "kind-no-text": {"dtype": 32},
        "kind-too-wide": {"dtype": "F64"},
        "kind-too-narrow": {"dtype": "F16"},
        "shape-huge": {"shape": [1 << 62, 3]},
        "shape-overflowing": {"shape": [1 << 63, 2, 3]},
        "shape-negative": {"shape": [-2, -3]},
        "shape-a-fraction": {"shape": [2.5, 3]},
        "shape-empty-and-huge": {"shape": [0, 1 << 62]},
        "offsets-behind-the-end": {"data_offsets": [0, 1 << 40]},
        "offsets-backwards": {"data_offsets": [24, 0]},
        "offsets-negative": {"data_offsets": [-24, 0]},
        "offsets-with-a-hole": {"data_offsets": [4, 28]},
        "offsets-missing": {"data_offsets": []},
    }.items():
        yield kind, described(**changes)
    shared = json.dumps({"a": good, "b": good}).encode()
    yield "tensors-over-each-other", headed(shared)
    yield "bytes-left-over", headed(header, data=NUMBERS * 2)
    data = struct.pack("<Q", len(header)) + header + NUMBERS
    for share in range(1, 10, 2):
        yield f"cut-at-{10 * share}-percent", holding(data[: len(data) * share // 10])


def others() -> Iterator[tuple[str, Maker]]:
    """What is no file of weights, and what is no file."""
    yield "empty", holding(b"")
    yield "one-byte", holding(b"\x80")
    yield "zeros", holding(b"\0" * 10_000)
    yield (
        "noise",
        holding(torch.randint(256, (10_000,), generator=torch.Generator().manual_seed(0)).byte().numpy().tobytes()),
    )
    yield "web-page", holding(b"<!DOCTYPE html><html>")
    yield "gzip", holding(b"\x1f\x8b\x08\x00" * 20)
    yield "rar", holding(b"Rar!\x1a\x07\x00")
    yield "folder", lambda path: path.mkdir()
    yield "link-to-nothing", lambda path: path.symlink_to("nothing")
    yield "link-to-itself", lambda path: path.symlink_to(path.name)
    yield "17-GB-of-nothing", _sparse
    if sys.platform != "win32":
        yield "pipe", lambda path: os.mkfifo(path)
        yield "link-to-a-device", lambda path: path.symlink_to("/dev/zero")
        yield "socket", _socket


@functools.cache
def makers() -> dict[str, Maker]:
    """Return every maker by the name of its file."""
    made: dict[str, Maker] = {}
    for kind, pickle in calls():
        made |= {f"call-{kind}.zip.pth": zipped(pickle), f"call-{kind}.old.pth": holding(stream(pickle))}
        made[f"call-{kind}.pkl"] = holding(pickle)
    for kind, pickle in (*broken_pickles(), *costly_pickles()):
        made[f"pickle-{kind}.pth"] = zipped(pickle)
    families = {"builder": builders, "layout": layouts, "archive": archives, "stream": streams, "other": others}
    made |= {f"{family}-{kind}.pth": maker for family, kinds in families.items() for kind, maker in kinds()}
    made |= {f"{kind}.safetensors": maker for kind, maker in safetensors()}
    made |= {f"other-{kind}.safetensors": maker for kind, maker in others()}
    return made


def _changed(data: bytes, mark: bytes, offset: int, new: bytes) -> bytes:
    """Put `new` in the place that is `offset` bytes behind the first `mark`."""
    place = data.index(mark) + offset
    return data[:place] + new + data[place + len(new) :]


def _overlapping(data: bytes) -> bytes:
    """Let every entry claim to reach to the directory."""
    start = data.index(b"PK\x01\x02")
    changed, place = data, start
    while (place := changed.find(b"PK\x01\x02", place)) >= 0:
        changed = changed[: place + 20] + struct.pack("<II", start, start) + changed[place + 28 :]
        place += 1
    return changed


def _twice(path: Path) -> None:
    other = entries(weights())
    data = archive_of(other | {"y/data.pkl": weights()})
    path.write_bytes(data.replace(b"y/data.pkl", b"x/data.pkl"))


def _linked(entry: str, contents: dict[str, bytes]) -> Maker:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for other, data in contents.items():
                info = zipfile.ZipInfo(other)
                if other == entry:
                    info.create_system, info.external_attr = 3, 0o120777 << 16
                archive.writestr(info, b"/etc/passwd" if other == entry else data)

    return write


def _tar(*, link: bool) -> Maker:
    def write(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            for entry in ("sys_info", "pickle", "tensors", "storages"):
                info = tarfile.TarInfo(entry)
                if link:
                    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(info, io.BytesIO())

    return write


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(17 << 30)


def _socket(path: Path) -> None:
    # A path of a socket is short, so it is bound from inside the folder.
    home = os.getcwd()  # noqa: PTH109 - as os.chdir wants it
    os.chdir(path.parent)
    try:
        with closing(socket.socket(socket.AF_UNIX)) as made:
            made.bind(path.name)
    finally:
        os.chdir(home)
