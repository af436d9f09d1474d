"""The command ``adapters``: what this installation can compress."""

from __future__ import annotations

from dataclasses import asdict
from textwrap import indent

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

import ctsdk
from ctsdk.cli.options import JsonFlag, PluginOptions, print_json
from ctsdk.plugins import PluginInfo

__all__ = ["adapters"]


def adapters(*, verbose: bool = False, plugins: PluginOptions | None = None, as_json: JsonFlag = False) -> None:
    """List the adapters of this installation, usable or not.

    Args:
        verbose: print everything known about each: where it comes from, what it needs, how its import failed.
        plugins: what to import first.
        as_json: print everything known as JSON, instead of a table.
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
        # Text, not markup: third-party words may hold brackets.
        cells = (info.name, info.status, info.origin, info.detail or ", ".join(info.variants) or info.summary)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


def _describe(info: PluginInfo) -> None:
    """Print everything known about an adapter, a line each."""
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
