"""Tables of metrics: on a terminal, as CSV, as Markdown.

In each of these, the heading or the row of a metric names its protocol.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from ctsdk.errors import ConfigError
from ctsdk.evaluation.comparing import check_comparable
from ctsdk.evaluation.scores import Evaluation, VideoScore, repetitions_by_name
from ctsdk.storage.atomic import atomic_write

__all__ = ["Cell", "Table", "attribute_table", "figure_table", "frames_per_second", "video_table"]

Cell: TypeAlias = str | int | float | None

_BLANK = "-"


@dataclass(frozen=True)
class Table:
    """Cells under headings. A rich console prints it as it is.

    Attributes:
        headings: of the columns.
        rows: as many cells each; None for an empty one.
        title: above the table; not part of CSV.
        digits: after the point, on a terminal and in Markdown; CSV has all of them.

    Raises:
        ConfigError: a row is longer or shorter than the headings.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    digits: int = 2

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.headings)]
        if wrong:
            raise ConfigError(
                f"a row has {len(wrong[0])} cells, {wrong[0]}; expected {len(self.headings)}, one for each of "
                f"{', '.join(self.headings)}."
            )

    def __rich__(self) -> RichTable:
        # Text, not markup: a label may hold brackets.
        title = Text(self.title, "bold") if self.title else None
        table = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for number, heading in enumerate(self.headings):
            table.add_column(Text(heading), justify="right" if number else "left", no_wrap=not number)
        for row in self.rows:
            table.add_row(*(Text(self._format(cell)) for cell in row))
        return table

    def to_markdown(self) -> str:
        """Return the table in Markdown, under its title."""
        lines = [self.headings, ["---", *["---:"] * (len(self.headings) - 1)]]
        lines += [[self._format(cell) for cell in row] for row in self.rows]
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"{self.title}\n\n{text}\n" if self.title else f"{text}\n"

    def write_csv(self, path: Path) -> Path:
        """Write the table as comma-separated values, whole or not at all; numbers have all their digits.

        Returns:
            the path.

        Raises:
            OutputError: the file cannot be written.
        """
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.headings)
            writer.writerows(["" if _is_blank(cell) else cell for cell in row] for row in self.rows)
        return path

    def _format(self, cell: Cell) -> str:
        if _is_blank(cell):
            return _BLANK
        return f"{cell:.{self.digits}f}" if isinstance(cell, float) else str(cell)


def figure_table(evaluations: Mapping[str, Evaluation]) -> Table:
    """Return a table with a row for each metric of the protocol and a column for each tracker.

    Args:
        evaluations: by the tracker's label, by one protocol and on the same videos.

    Raises:
        ConfigError: there are no evaluations, or they were not made alike.
    """
    first = _first(evaluations)
    rows: list[tuple[Cell, ...]] = [
        (_label(figure, first), *(evaluation.figures[figure] for evaluation in evaluations.values()))
        for figure in first.figures
    ]
    speeds = [frames_per_second(evaluation.videos) for evaluation in evaluations.values()]
    if any(speed is not None for speed in speeds):
        rows.append(("frames per second", *speeds))
    return Table(("", *evaluations), tuple(rows), _title("Metrics", first), _digits(first))


def video_table(evaluations: Mapping[str, Evaluation], figures: Sequence[str] | None = None) -> Table:
    """Return a table with a row for each video, in the order of the first evaluation; repetitions are averaged.

    Args:
        evaluations: by the tracker's label, by one protocol and on the same videos; an empty label is left out.
        figures: names of the metrics to show of each tracker; None for the protocol's headline.

    Raises:
        ConfigError: there are no evaluations, they were not made alike, or there is no such metric.
    """
    first = _first(evaluations)
    chosen = _choose(first, figures, first.videos[0].figures)
    of_trackers = [repetitions_by_name(evaluation.videos) for evaluation in evaluations.values()]
    rows: list[tuple[Cell, ...]] = []
    for name, repetitions in of_trackers[0].items():
        cells = [
            fmean(score.figures[figure] for score in by_name[name]) for by_name in of_trackers for figure in chosen
        ]
        speeds = [frames_per_second(by_name[name]) for by_name in of_trackers]
        rows.append((name, len(repetitions[0].boxes_xywh_px), *cells, *speeds))
    speed_headings = (f"{label}: fps".removeprefix(": ") for label in evaluations)
    headings = ("video", "frames", *_headings(evaluations, chosen), *speed_headings)
    return Table(headings, tuple(rows), _title("Videos", first), _digits(first))


def attribute_table(evaluations: Mapping[str, Evaluation], figures: Sequence[str] | None = None) -> Table:
    """Return a table with a row for each attribute: the metrics of the videos that have it.

    Arguments and errors are those of :func:`video_table`.
    """
    first = _first(evaluations)
    chosen = _choose(first, figures, first.figures)
    parts = [evaluation.by_attribute() for evaluation in evaluations.values()]
    rows: list[tuple[Cell, ...]] = []
    for attribute in parts[0]:
        names = {score.name for score in first.videos if attribute in score.attributes}
        rows.append((attribute, len(names), *(part[attribute][figure] for part in parts for figure in chosen)))
    headings = ("attribute", "videos", *_headings(evaluations, chosen))
    return Table(headings, tuple(rows), _title("Attributes", first), _digits(first))


def frames_per_second(scores: Iterable[VideoScore]) -> float | None:
    """Return frames divided by seconds, first frames included, of the videos that were timed; None if none was.

    Only the tracker's own time counts, not that of reading frames.
    """
    timed = [score.seconds for score in scores if len(score.seconds)]
    total = sum(float(seconds.sum()) for seconds in timed)
    return sum(map(len, timed)) / total if total > 0 else None


def _first(evaluations: Mapping[str, Evaluation]) -> Evaluation:
    check_comparable(evaluations)
    return next(iter(evaluations.values()))


def _choose(evaluation: Evaluation, figures: Sequence[str] | None, known: Mapping[str, float]) -> tuple[str, ...]:
    chosen = (evaluation.protocol.headline,) if figures is None else tuple(figures)
    unknown = [figure for figure in chosen if figure not in known]
    if unknown:
        raise ConfigError(
            f"the protocol {evaluation.protocol.label!r} has no metric {unknown[0]!r} here; it has {', '.join(known)}."
        )
    return chosen


def _headings(evaluations: Mapping[str, Evaluation], figures: tuple[str, ...]) -> list[str]:
    return [
        f"{label}: {_label(figure, evaluation)}".removeprefix(": ")
        for label, evaluation in evaluations.items()
        for figure in figures
    ]


def _label(figure: str, evaluation: Evaluation) -> str:
    return f"{figure} ({evaluation.protocol.label})"


def _title(what: str, evaluation: Evaluation) -> str:
    return f"{what}: {evaluation.dataset_name}, {len(repetitions_by_name(evaluation.videos))} videos"


def _digits(evaluation: Evaluation) -> int:
    return 2 if evaluation.protocol.scale > 1 else 3


def _is_blank(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))
