"""The command ``profile``: what a tracker costs."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console

from ctsdk.cli.options import JsonFlag, print_json
from ctsdk.cli.trackers import TrackerName, TrackerOptions, load_tracker
from ctsdk.profiling import measure_trackers
from ctsdk.reporting import comparison_table

__all__ = ["profile"]


def profile(tracker: TrackerName = None, *, options: TrackerOptions | None = None, as_json: JsonFlag = False) -> None:
    """Measure the parameters, multiply-adds and latency of a tracker, with batch size 1.

    Args:
        tracker: the folder of a run, for its student; or an adapter, as `NAME` or `NAME/VARIANT`.
        options: variant, weights and device.
        as_json: print JSON instead of a table.
    """
    named = load_tracker(tracker, options or TrackerOptions())
    adapter, device = named.adapter, str(next(named.tracker.parameters()).device)
    figures = measure_trackers(adapter, {named.label: named.tracker})
    if as_json:
        measured = {key: value for key, value in asdict(figures[named.label]).items() if value is not None}
        print_json({"adapter": adapter.name, "variant": adapter.variant, "device": device, **measured})
    else:
        Console().print(comparison_table(figures, title=f"{adapter.name} on {device}"))
