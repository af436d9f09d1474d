"""Runs the code blocks of the documentation: ``pytest README.md docs``.

The blocks of one page share their names and an empty working folder, and run in the order of the page.

- A ``python`` block runs; where it is written as a prompt (``>>>``), what it prints is compared.
- A block whose first line is a comment that names a file, such as ``# compress.yaml``, is written to that file.
- In an ``sh`` block, what starts with ``ctsdk`` is read by the command line, but not run. Where the page has set
  ``exit_code``, it is run and has to exit with that, and ``pip install -e FOLDER`` makes FOLDER importable.
- ``% invisible-code-block: python`` holds what readers need not see; ``% skip: next if(...)`` leaves a block out.
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sybil import Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sybil import Document, Example, Region

_FILE_NAME = re.compile(r"# ([\w./-]+\.(?:py|toml|yaml|yml))\n")


class _FileParser(CodeBlockParser):
    """Writes a block of any language that names a file to that file."""

    language = "any"

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in self.lexers(document):
            source = region.lexemes["source"]
            if _FILE_NAME.match(source):
                region.parsed, region.evaluator = source, self.evaluate
                yield region

    def evaluate(self, example: Example) -> None:
        name = _FILE_NAME.match(example.parsed)
        assert name is not None
        path = Path(name[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(example.parsed, encoding="utf-8")


class _PythonParser(PythonCodeBlockParser):
    """Runs a Python block that names no file."""

    def __call__(self, document: Document) -> Iterable[Region]:
        return (region for region in super().__call__(document) if not _FILE_NAME.match(str(region.parsed)))


def _read_commands(example: Example) -> None:
    """Let the command line read what a page tells people to type, or run it where the page says how it ends."""
    text = re.sub(r"\\\n\s*", "", example.parsed)
    exit_code = example.namespace.get("exit_code")
    cli = importlib.import_module("ctsdk.cli")
    for command in re.split(r"\n|&&", text):
        words = shlex.split(command, comments=True)
        if words[:1] == ["ctsdk"] and exit_code is None:
            cli.app.parse_args(words[1:], exit_on_error=False, print_error=False)
        elif words[:1] == ["ctsdk"]:
            # The page may have written the modules anew.
            _forget_modules(example.namespace["_before"][1])
            assert cli.main(words[1:]) == exit_code, command
        elif words[:3] == ["pip", "install", "-e"] and exit_code is not None:
            _install(words[3])


def _install(folder: str) -> None:
    """Make a project importable and its entry points visible, as ``pip install`` would, without a network."""
    from tests.helpers.distributions import write_metadata

    write_metadata(Path(folder))
    sys.path.insert(0, str(Path(folder).resolve()))


def _set_up(namespace: dict[str, Any]) -> None:
    """Give a page its folder, and remember what it may change in the process."""
    # Pages make untrained networks; they are the same in every run.
    torch.manual_seed(0)
    folder = tempfile.mkdtemp(prefix="ctsdk-docs-")
    namespace.update(__name__="__main__", install=_install)
    namespace["_before"] = (Path.cwd(), folder, list(sys.path))
    os.chdir(folder)


def _tear_down(namespace: dict[str, Any]) -> None:
    from ctsdk.plugins import clear_registered

    home, folder, path = namespace["_before"]
    os.chdir(home)
    sys.path[:] = path
    clear_registered()
    _forget_modules(folder)
    shutil.rmtree(folder)


def _forget_modules(folder: str) -> None:
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(folder):
            del sys.modules[name]


pytest_collect_file = Sybil(
    parsers=[
        _FileParser(),
        _PythonParser(doctest_optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE),
        CodeBlockParser(language="sh", evaluator=_read_commands),
        SkipParser(),
    ],
    patterns=["README.md", "docs/*.md", "docs/**/*.md", "adapters/*/README.md"],
    excludes=["docs/_build/**"],
    setup=_set_up,
    teardown=_tear_down,
).pytest()
