"""The command ``check``: whether an adapter keeps the contract."""

from __future__ import annotations

from dataclasses import asdict
from textwrap import indent

from rich.console import Console
from rich.text import Text

import ctsdk
from ctsdk.cli.options import JsonFlag, PluginOptions, print_json
from ctsdk.errors import AdapterContractError
from ctsdk.own_modules import adapter_at

__all__ = ["check"]

_STYLES = {"passed": "green", "failed": "bold red", "failed as expected": "yellow", "skipped": "dim"}


def check(
    adapter: str,
    /,
    *,
    variant: str | None = None,
    weights: str | None = None,
    plugins: PluginOptions | None = None,
    as_json: JsonFlag = False,
) -> None:
    """Check an adapter against every promise of the contract; the exit code is 1 if one is broken.

    Args:
        adapter: name of an adapter, or `MODULE:CLASS`, such as `my_module.py:MyAdapter`.
        variant: which member of the adapter's family.
        weights: file of trained weights; untrained ones if left out: the promises hold for any weights.
        plugins: what to import first.
        as_json: print JSON instead of lines.
    """
    (plugins or PluginOptions()).import_plugins()
    if ":" in adapter:
        bound = adapter_at(adapter, variant, weights)
    else:
        bound = ctsdk.load_adapter(adapter, variant, weights or "random")
    results = ctsdk.testing.check_adapter(bound, on_fail="collect", callback=None if as_json else _print_result)
    if as_json:
        print_json([asdict(result) for result in results])
    broken = [result.name for result in results if result.status == "failed"]
    if broken:
        raise AdapterContractError(
            f"adapter {bound.name!r} breaks {len(broken)} of {len(results)} promises: {', '.join(broken)}. "
            "Each says above how to fix it."
        )


def _print_result(result: ctsdk.testing.CheckResult) -> None:
    """Print how a check ended, as soon as it has."""
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text.assemble((f"{result.status:7}", _STYLES[result.status]), f" {result.name}"))
    if result.message:
        console.print(indent(result.message, " " * 8), markup=False)
