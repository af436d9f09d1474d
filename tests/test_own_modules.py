"""Custom modules: files and dotted names, and the errors where they cannot be imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ctsdk
from ctsdk.own_modules import adapter_at, import_own_module

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Give a function that writes a module; path and imports are as before afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)

    def write_module(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    yield write_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_a_file_finds_what_lies_beside_it_and_is_imported_once(write: Write) -> None:
    write("own_network.py", "depth = 3")
    path = write("own_module.py", "import own_network\ndepth = own_network.depth")
    module = import_own_module(str(path))
    assert (module.__name__, module.depth) == ("own_module", 3)
    # Worker processes unpickle what the module defines by this name.
    assert sys.modules["own_module"] is module
    assert import_own_module(str(path)) is module
    assert sys.path.count(str(path.parent)) == 1
    # An installed module goes before a file that happens to be called like it.
    assert sys.path[-1] == str(path.parent)


def test_a_dotted_name_is_found_on_the_path(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(write("own_package/inner.py", "depth = 4").parents[1])
    assert import_own_module("own_package.inner").depth == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import no_such_module", r"ModuleNotFoundError: No module named 'no_such_module' \(.*own_bad.py, line 1\)"),
        ("x = 1\nraise RuntimeError('no luck')", r"RuntimeError: no luck \(.*own_bad.py, line 2\)"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def (:", "SyntaxError"),
    ],
)
def test_a_module_that_fails_is_named_with_the_line(write: Write, text: str, told: str) -> None:
    with pytest.raises(ctsdk.ConfigError, match=rf"own_bad.py cannot be imported: {told}") as raised:
        import_own_module(str(write("own_bad.py", text)))
    assert raised.value.__cause__ is not None


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ctsdk.ConfigError, match=r"own_none.py does not exist"):
        import_own_module(str(tmp_path / "own_none.py"))
    with pytest.raises(ctsdk.ConfigError, match=r"no module 'own_none' on Python's path.*such as own_none.py"):
        import_own_module("own_none")


def test_a_file_that_hides_behind_another_module_is_refused(write: Write) -> None:
    with pytest.raises(ctsdk.ConfigError, match=r"as 'random': that name leads to .*random.py. Rename the file"):
        import_own_module(str(write("random.py", "")))
    with pytest.raises(ctsdk.ConfigError, match=r"cannot be imported as 'own-module'"):
        import_own_module(str(write("own-module.py", "")))


ADAPTERS = """
from tests.helpers.toy import ToyAdapter, ToyTracker, toy_adapter

class Mine(ToyAdapter):
    @classmethod
    def load(cls, variant, weights):
        adapter = cls(ToyTracker())
        adapter.variant = f"{variant} {weights}"
        return adapter

class Ready(ToyAdapter):
    def __init__(self):
        super().__init__(ToyTracker())

made = toy_adapter()
number = 7
nothing = dict
"""


def test_an_adapter_is_found_as_class_function_or_object(write: Write) -> None:
    path = write("own_adapters.py", ADAPTERS)
    assert adapter_at(f"{path}:Mine").variant == "None random"
    assert adapter_at(f"{path}:Mine", "small", "file.pth").variant == "small file.pth"
    assert type(adapter_at(f"{path}:Ready")).__name__ == "Ready"
    assert adapter_at(f"{path}:toy_adapter").name == "toy"
    assert adapter_at(f"{path}:made") is sys.modules["own_adapters"].made
    assert adapter_at("own_adapters:made") is sys.modules["own_adapters"].made


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Minne", r"has no 'Minne'. Did you mean 'Mine'\? It defines: Mine, Ready."),
        ("number", "gives a int; expected an instance"),
        ("nothing", "gives a dict; expected an instance"),
        ("ToyAdapter", r"cannot be called without arguments: .*'teacher'\. Give the class a classmethod load"),
        ("", "names no adapter; expected MODULE:NAME"),
    ],
)
def test_what_is_no_adapter_is_refused(write: Write, name: str, told: str) -> None:
    with pytest.raises(ctsdk.CtsdkError, match=told):
        adapter_at(f"{write('own_adapters.py', ADAPTERS)}:{name}")


def test_a_variant_for_what_takes_none_is_refused(write: Write) -> None:
    with pytest.raises(ctsdk.ConfigError, match=r"Ready has no classmethod load"):
        adapter_at(f"{write('own_adapters.py', ADAPTERS)}:Ready", "small")
