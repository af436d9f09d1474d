"""The commands for those who look for an adapter or write one: ``adapters``, ``new-adapter``, ``check``."""

from __future__ import annotations

from dataclasses import asdict
from textwrap import indent
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

import ctsdk
from ctsdk.cli.options import FolderToWrite, JsonFlag, PluginOptions, print_json
from ctsdk.errors import AdapterContractError
from ctsdk.own_modules import adapter_at
from ctsdk.plugins.skeleton import write_adapter_package

if TYPE_CHECKING:
    from ctsdk.plugins import PluginInfo

__all__ = ["adapters", "check", "new_adapter"]

_STYLES = {"passed": "green", "failed": "bold red", "failed as expected": "yellow", "skipped": "dim"}


def adapters(*, verbose: bool = False, plugins: PluginOptions | None = None, as_json: JsonFlag = False) -> None:
    """List the adapters of this installation, usable or not.

    Args:
        verbose: say all that is known of each: where it comes from, what it needs, how its import failed.
        plugins: what to import first.
        as_json: print JSON, with all that is known, instead of a table.
    """
    (plugins or PluginOptions()).import_plugins()
    found = ctsdk.list_adapters()
    if as_json:
        print_json([asdict(info) for info in found])
        return
    if verbose:
        for info in found:
            _describe(info)
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "status", "from", "variants, or what to do"):
        table.add_column(heading, overflow="fold")
    for info in found:
        # Text, not markup: the words are a third party's, and may hold brackets.
        cells = (info.name, info.status, info.origin, info.detail or ", ".join(info.variants) or info.summary)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


def new_adapter(name: str, /, *, out: FolderToWrite | None = None) -> None:
    """Write a package with an adapter that works, and a small tracker in the place of yours.

    Args:
        name: what users will type to name your tracker, such as `mine`.
        out: folder for the package, new or empty; `ctsdk-NAME` if left out.
    """
    folder = write_adapter_package(name, out)
    console = Console(soft_wrap=True, highlight=False)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        console.print(str(path), markup=False)
    console.print(f"Next: pip install -e {folder}, then read {folder / 'README.md'}.", markup=False)


def check(
    adapter: str,
    /,
    *,
    variant: str | None = None,
    weights: str | None = None,
    plugins: PluginOptions | None = None,
    as_json: JsonFlag = False,
) -> None:
    """Hold an adapter to every promise of the contract; the exit code is 1 if one is broken.

    Args:
        adapter: name of an adapter, or `MODULE:CLASS`, such as `my_module.py:MyAdapter`.
        variant: member of the tracker's family.
        weights: file of trained weights; untrained ones if left out, because the promises hold whatever the weights.
        plugins: what to import first.
        as_json: print JSON instead of lines.
    """
    (plugins or PluginOptions()).import_plugins()
    if ":" in adapter:
        bound = adapter_at(adapter, variant, weights)
    else:
        bound = ctsdk.load_adapter(adapter, variant, weights or "random")
    results = ctsdk.testing.check_adapter(bound, on_fail="collect", callback=None if as_json else _tell)
    if as_json:
        print_json([asdict(result) for result in results])
    broken = [result.name for result in results if result.status == "failed"]
    if broken:
        raise AdapterContractError(
            f"adapter {bound.name!r} breaks {len(broken)} of {len(results)} promises: {', '.join(broken)}. "
            "Each says above how to fix it."
        )


def _tell(result: ctsdk.testing.CheckResult) -> None:
    """Print how a check ended, as soon as it has ended."""
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text.assemble((f"{result.status:7}", _STYLES[result.status]), f" {result.name}"))
    if result.message:
        console.print(indent(result.message, " " * 8), markup=False)


def _describe(info: PluginInfo) -> None:
    """Print all that is known of an adapter; what is not known has no line."""
    console = Console(soft_wrap=True, highlight=False)
    needs = ", ".join(info.requires)
    lines = {
        "about": info.summary,
        "from": f"{info.origin} ({info.entry_point})",
        "contract": "" if info.api_version is None else f"version {info.api_version}",
        "needs": f"{needs}: pip install '{info.distribution}[{info.extra}]'" if needs and info.extra else needs,
        "variants": ", ".join(info.variants),
        "wrong": info.detail,
    }
    console.print(Text.assemble((info.name, "bold"), f"  {info.status}"))
    for heading, line in lines.items():
        if line:
            console.print(f"  {heading:9} {line}", markup=False)
    if info.traceback:
        console.print(indent(info.traceback, " " * 4), markup=False)
