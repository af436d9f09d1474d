"""The command ``score``: result files of any tracker, without tracking."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated

from cyclopts import Parameter

from ctsdk.cli.options import FolderToWrite, ProtocolOptions
from ctsdk.cli.reports import check_plots, draw_plots, print_evaluations, write_tables
from ctsdk.data.formats import open_dataset
from ctsdk.evaluation.scoring import score_results

__all__ = ["score"]


def score(
    results: Path,
    /,
    *,
    data: Annotated[str, Parameter(metavar="SOURCE")],
    against: Path | None = None,
    rules: ProtocolOptions | None = None,
    skip_missing: bool = False,
    out: FolderToWrite | None = None,
    plots: bool = False,
) -> None:
    """Score result files of any tracker and tool; no frame is read.

    Args:
        results: a folder or a zip archive with a file of boxes for each video.
        data: the data set: `NAME:PATH?option=value`, such as `lasot:/data/lasot`.
        against: results of a second tracker, to compare with.
        rules: how to score.
        skip_missing: leave out videos without results, instead of refusing.
        out: folder for `videos.csv` and, if the videos have attributes, `attributes.csv`.
        plots: draw the curves into the folder, as PNG and SVG.
    """
    check_plots(plots, out)
    dataset = open_dataset(data)
    protocol = (rules or ProtocolOptions()).protocol_for(dataset)
    places = [results] if against is None else [against, results]
    labels = [place.stem for place in places] if against is None else _labels(against, results)
    evaluations = {
        label: score_results(place, dataset, protocol=protocol, skip_missing=skip_missing)
        for label, place in zip(labels, places, strict=True)
    }
    print_evaluations(evaluations)
    if out is not None:
        write_tables(evaluations, out)
        if plots:
            draw_plots(evaluations, out)


def _labels(first: Path, second: Path) -> list[str]:
    """Return a label for each of two places of results: the part in which their paths differ."""
    parts, others = list(first.parts), list(second.parts)
    while len(parts) > 1 and len(others) > 1 and parts[-1] == others[-1]:
        parts.pop()
        others.pop()
    labels = [PurePath(parts[-1]).stem, PurePath(others[-1]).stem]
    return labels if labels[0] != labels[1] else [str(first), str(second)]
