"""Pickles read as data, by an interpreter that cannot call anything.

A pickle is a program, and Python's reader runs it. Readers with a list of allowed functions still call these with any
arguments that a file contains, and a few bytes are enough to fill the memory or to crash the process. Here nothing is
looked up or called: whatever a pickle would call or construct is returned as a :class:`Call`, a description of it.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any, Final

__all__ = ["Call", "Global", "PersistentId", "PickleReader", "unsafe_names"]

# Ten times what the largest official checkpoint has; takes some seconds.
_MAX_INSTRUCTIONS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Global:
    """The dotted name of a class or function in a pickle, not looked up."""

    text: str


@dataclass(frozen=True, slots=True)
class PersistentId:
    """A reference in a pickle to something that is stored outside of it."""

    identity: object


class Call(dict[str, object]):
    """A call that a pickle asks for, not executed. As a dict it holds the items that the pickle sets on the result.

    Attributes:
        maker: the dotted name of the class or function.
        arguments: of the call.
    """

    __slots__ = ("arguments", "maker")

    def __init__(self, maker: str, arguments: object) -> None:
        super().__init__()
        self.maker = maker
        self.arguments = arguments


class PickleReader:
    """Reads consecutive pickles of a file.

    Tuples, lists, dicts, text, bytes and numbers are returned as they are, sets as lists, and everything else as a
    :class:`Call`, a :class:`Global` or a :class:`PersistentId`. Dicts keep only items whose key is text or an integer,
    with the key as text. Besides the data itself, this takes at most about 200 bytes of memory per instruction.

    Attributes:
        names: all dotted names seen so far.
        references: the identities of all persistent ids seen so far.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.names: set[str] = set()
        self.references: list[object] = []
        self._file = file
        self._num_instructions = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def read(self) -> object:
        """Return the content of the next pickle.

        Raises:
            Exception: it ends too early, has too many instructions, or has one that weights files do not use.
        """
        self._stack, self._marks, self._memo = [], [], {}
        for opcode, argument, _ in pickletools.genops(self._file):
            self._num_instructions += 1
            if self._num_instructions > _MAX_INSTRUCTIONS:
                raise ValueError(f"it has more than {_MAX_INSTRUCTIONS} pickle instructions")
            if opcode.name in _VALUES:
                self._stack.append(argument)
            elif opcode.name in _INSTRUCTIONS:
                _INSTRUCTIONS[opcode.name](self, argument)
            else:
                raise ValueError(f"it has the pickle instruction {opcode.name}, which no weights need")
        return self._stack.pop()

    def _pass(self, _argument: object) -> None: ...

    def _mark(self, _argument: object) -> None:
        self._marks.append(len(self._stack))

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _drop(self, _argument: object) -> None:
        self._stack.pop()

    def _drop_marked(self, _argument: object) -> None:
        self._since_mark()

    def _duplicate(self, _argument: object) -> None:
        self._stack.append(self._stack[-1])

    def _keep(self, place: int | None) -> None:
        place = len(self._memo) if place is None else place
        if place > _MAX_INSTRUCTIONS:
            raise ValueError(f"it keeps something at place {place}, more than there can be")
        self._memo[place] = self._stack[-1]

    def _recall(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def _tuple(self, num_items: int) -> None:
        items = tuple(self._stack.pop() for _ in range(num_items))
        self._stack.append(items[::-1])

    def _tuple_since_mark(self, _argument: object) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _list_since_mark(self, _argument: object) -> None:
        self._stack.append(self._since_mark())

    def _dict_since_mark(self, _argument: object) -> None:
        made: dict[str, object] = {}
        _fill(made, self._since_mark())
        self._stack.append(made)

    def _append(self, _argument: object) -> None:
        item = self._stack.pop()
        _extend(self._stack[-1], [item])

    def _append_since_mark(self, _argument: object) -> None:
        items = self._since_mark()
        _extend(self._stack[-1], items)

    def _set_item(self, _argument: object) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        _fill(self._stack[-1], [key, value])

    def _set_items_since_mark(self, _argument: object) -> None:
        items = self._since_mark()
        _fill(self._stack[-1], items)

    def _name(self, argument: str) -> None:
        self._stack.append(self._add_name(argument.replace(" ", ".")))

    def _name_of_texts(self, _argument: object) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError(f"it names a class by a {type(name).__name__}")
        self._stack.append(self._add_name(f"{module}.{name}"))

    def _add_name(self, text: str) -> Global:
        self.names.add(text)
        return Global(text)

    def _refer(self, _argument: object) -> None:
        identity = self._stack.pop()
        self.references.append(identity)
        self._stack.append(PersistentId(identity))

    def _call(self, _argument: object) -> None:
        arguments, maker = self._stack.pop(), self._stack.pop()
        self._stack.append(Call(_text_of(maker), arguments))

    def _construct_with_keywords(self, _argument: object) -> None:
        self._stack.pop()
        self._call(None)

    def _construct_since_mark(self, _argument: object) -> None:
        maker, *arguments = self._since_mark()
        self._stack.append(Call(_text_of(maker), tuple(arguments)))

    def _construct_named_since_mark(self, argument: str) -> None:
        arguments = tuple(self._since_mark())
        self._stack.append(Call(self._add_name(argument.replace(" ", ".")).text, arguments))


def unsafe_names(names: Iterable[str]) -> list[str]:
    """Return the names that could run code, sorted: those of the standard library, except its plain data types."""
    return sorted(name for name in names if _is_of_python(name.partition(".")[0]) and name not in _HARMLESS)


def _is_of_python(module: str) -> bool:
    return module in sys.stdlib_module_names or module in _OLD_MODULES


def _text_of(maker: object) -> str:
    return maker.text if isinstance(maker, Global) else ""


def _extend(target: object, items: list[object]) -> None:
    if isinstance(target, list):
        target += items
    elif not isinstance(target, Call):
        raise ValueError(f"it appends to a {type(target).__name__}")


def _fill(target: object, items: list[object]) -> None:
    if not isinstance(target, dict):
        raise ValueError(f"it sets items of a {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # As text, because a hostile file can hold numbers and tuples whose hashing takes for ever, or crashes.
        if isinstance(key, (str, int)):
            target[str(key)] = value


_VALUES: Final = frozenset(
    {"INT", "LONG", "FLOAT", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)

_INSTRUCTIONS: Final[dict[str, Callable[[PickleReader, Any], None]]] = {
    "PROTO": PickleReader._pass,
    "FRAME": PickleReader._pass,
    "STOP": PickleReader._pass,
    # The object was not constructed, so its state is dropped.
    "BUILD": PickleReader._drop,
    "POP": PickleReader._drop,
    "POP_MARK": PickleReader._drop_marked,
    "DUP": PickleReader._duplicate,
    "MARK": PickleReader._mark,
    "NONE": lambda reader, _: reader._stack.append(None),
    "NEWTRUE": lambda reader, _: reader._stack.append(True),
    "NEWFALSE": lambda reader, _: reader._stack.append(False),
    "EMPTY_LIST": lambda reader, _: reader._stack.append([]),
    "EMPTY_SET": lambda reader, _: reader._stack.append([]),
    "EMPTY_DICT": lambda reader, _: reader._stack.append({}),
    "EMPTY_TUPLE": lambda reader, _: reader._stack.append(()),
    "TUPLE1": lambda reader, _: reader._tuple(1),
    "TUPLE2": lambda reader, _: reader._tuple(2),
    "TUPLE3": lambda reader, _: reader._tuple(3),
    "TUPLE": PickleReader._tuple_since_mark,
    "LIST": PickleReader._list_since_mark,
    "FROZENSET": PickleReader._list_since_mark,
    "DICT": PickleReader._dict_since_mark,
    "APPEND": PickleReader._append,
    "APPENDS": PickleReader._append_since_mark,
    "ADDITEMS": PickleReader._append_since_mark,
    "SETITEM": PickleReader._set_item,
    "SETITEMS": PickleReader._set_items_since_mark,
    "PUT": PickleReader._keep,
    "BINPUT": PickleReader._keep,
    "LONG_BINPUT": PickleReader._keep,
    "MEMOIZE": PickleReader._keep,
    "GET": PickleReader._recall,
    "BINGET": PickleReader._recall,
    "LONG_BINGET": PickleReader._recall,
    "GLOBAL": PickleReader._name,
    "STACK_GLOBAL": PickleReader._name_of_texts,
    "BINPERSID": PickleReader._refer,
    "REDUCE": PickleReader._call,
    "NEWOBJ": PickleReader._call,
    "NEWOBJ_EX": PickleReader._construct_with_keywords,
    "OBJ": PickleReader._construct_since_mark,
    "INST": PickleReader._construct_named_since_mark,
}

# Names of the standard library that are plain data types. Any other of its names in a weights file could run code.
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
# Modules that had another name in Python 2, as old pickles still have them.
_OLD_MODULES: Final = frozenset({"__builtin__", "commands", "copy_reg", "exceptions", "popen2"})
