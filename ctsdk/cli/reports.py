"""How the results of evaluations are printed, written and drawn."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.comparing import compare
from ctsdk.evaluation.plots import save_plots
from ctsdk.evaluation.scores import Evaluation
from ctsdk.evaluation.tables import attribute_table, figure_table, video_table

__all__ = ["check_plots", "draw_plots", "print_evaluations", "write_tables"]

_logger = logging.getLogger(__name__)


def check_plots(plots: bool, out: Path | None) -> None:
    """Refuse plots without a folder for them."""
    if plots and out is None:
        raise ConfigError("--plots needs --out DIR, the folder to draw into.")


def print_evaluations(evaluations: Mapping[str, Evaluation]) -> None:
    """Print the results of trackers side by side; of two trackers also the interval of their difference."""
    console = Console(soft_wrap=True)
    console.print(figure_table(evaluations))
    first = next(iter(evaluations.values()))
    if first.by_attribute():
        console.print(attribute_table(evaluations))
    if len(evaluations) == 2 and len({video.name for video in first.videos}) > 1:
        try:
            console.print(str(compare(*evaluations.values())), markup=False)
        except (ConfigError, DataError) as error:
            # The table above still holds. There is no interval where the main result is no mean over videos, or where
            # too few videos have frames that count.
            _logger.warning("no interval of the difference: %s", error)


def write_tables(evaluations: Mapping[str, Evaluation], folder: Path) -> None:
    """Write the results of each video and attribute into a folder."""
    first = next(iter(evaluations.values()))
    folder.mkdir(parents=True, exist_ok=True)
    video_table(evaluations, tuple(first.videos[0].figures)).write_csv(folder / "videos.csv")
    if first.by_attribute():
        attribute_table(evaluations, tuple(first.figures)).write_csv(folder / "attributes.csv")
    _logger.info("the tables are in %s", folder)


def draw_plots(evaluations: Mapping[str, Evaluation], folder: Path) -> None:
    """Draw the curves into a folder."""
    for path in save_plots(folder, evaluations):
        _logger.info("wrote %s", path)
