"""What was measured, for people: a table, the success curves, a clip with the trackers side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ctsdk.data.crops import import_cv2
from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation import score_sequence
from ctsdk.profiling import Profile, count_macs, measure_latencies_ms
from ctsdk.video import draw_box, draw_label, write_video
from ctsdk.weights import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray
    from torch import nn

    from ctsdk.adapter import TrackerAdapter
    from ctsdk.data.sequences import VideoSequence
    from ctsdk.evaluation import Evaluation
    from ctsdk.video import Colour

__all__ = [
    "TRACKER_COLOURS",
    "TrackerReport",
    "comparison_table",
    "measure_trackers",
    "save_curves",
    "save_side_by_side",
]

# Source: Okabe and Ito, Color Universal Design; these can be told apart with any kind of colour vision.
TRACKER_COLOURS: tuple[Colour, ...] = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (213, 94, 0))
"""RGB of the first, second, ... tracker of a figure or clip."""

_TRUTH_COLOUR: Colour = (255, 255, 255)
_FIGURE_SUFFIXES = (".png", ".svg", ".pdf")
_PANEL_WIDTH_PX, _CLIP_WIDTH_PX, _GAP_PX = 480, 1920, 8


@dataclass(frozen=True)
class TrackerReport:
    """The figures of one tracker.

    Attributes:
        label: what tables call it.
        num_blocks: blocks of all its trunks together.
        profile: what it costs.
        evaluation: how well it follows; None if that was not measured.
    """

    label: str
    num_blocks: int
    profile: Profile
    evaluation: Evaluation | None = None


def measure_trackers(
    adapter: TrackerAdapter,
    trackers: Mapping[str, nn.Module],
    evaluations: Mapping[str, Evaluation] | None = None,
    *,
    num_rounds: int = 30,
) -> list[TrackerReport]:
    """Measure what trackers of one family cost, their latencies in turn.

    Args:
        adapter: runs them.
        trackers: by label, all on one device; put into eval mode.
        evaluations: by label, if they were made.
        num_rounds: timed passes of each.
    """
    latencies_ms = measure_latencies_ms(adapter, list(trackers.values()), num_rounds=num_rounds)
    return [
        TrackerReport(
            label=label,
            num_blocks=sum(len(trunk.blocks(tracker)) for trunk in adapter.trunks().values()),
            profile=Profile(
                params=sum(parameter.numel() for parameter in tracker.parameters()),
                macs=count_macs(adapter, tracker),
                latency_ms=latency_ms,
                device=str(next(tracker.parameters()).device),
            ),
            evaluation=(evaluations or {}).get(label),
        )
        for (label, tracker), latency_ms in zip(trackers.items(), latencies_ms, strict=True)
    ]


def comparison_table(reports: Sequence[TrackerReport], *, title: str | None = None) -> Table:
    """Return a table with one column per tracker.

    Args:
        reports: the first is what the others are compared with, the teacher. Rows about accuracy are there if any
            tracker was evaluated.
        title: above the table.
    """
    teacher = reports[0]
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for report in reports:
        table.add_column(report.label, justify="right")
    if any(report.evaluation for report in reports):
        table.add_row("success AUC", *(_accuracy(report, "auc") for report in reports))
        table.add_row("precision at 20 px", *(_accuracy(report, "precision") for report in reports))
        table.add_row("AUC kept", *(_kept(report, teacher) for report in reports), end_section=True)
    table.add_row("blocks", *(str(report.num_blocks) for report in reports))
    table.add_row("parameters", *(_scaled(report.profile.params) for report in reports))
    table.add_row("multiply-adds", *(_scaled(report.profile.macs) for report in reports))
    table.add_row(
        f"latency on {teacher.profile.device}", *(f"{report.profile.latency_ms:.2f} ms" for report in reports)
    )
    table.add_row("speed-up", *(_speed_up(report, teacher) for report in reports))
    return table


def save_curves(path: str | Path, curves: Mapping[str, NDArray[np.float64]], *, title: str = "Success") -> Path:
    """Draw success plots into one figure, written whole or not at all.

    Args:
        path: ends in ``.png``, ``.svg`` or ``.pdf``.
        curves: by label, (21,): the share of frames whose overlap exceeds 0, 0.05, ..., 1.
        title: above the plot.

    Returns:
        the path.

    Raises:
        ConfigError: matplotlib is not installed, or the figure's format is unknown.
        DataError: there is no curve, or one has another shape.
    """
    path = Path(path)
    if path.suffix.lower() not in _FIGURE_SUFFIXES:
        raise ConfigError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(_FIGURE_SUFFIXES)}.")
    wrong = {label: np.shape(curve) for label, curve in curves.items() if np.shape(curve) != (21,)}
    if wrong or not curves:
        raise DataError(f"curves have shapes {wrong or 'of no tracker'}; expected (21,) each, as in Evaluation.success.")
    figure = _new_figure(5.6, 4.4)
    axes = figure.add_subplot()
    thresholds = np.linspace(0.0, 1.0, 21)
    for (label, curve), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        shares = np.array(colour) / 255
        axes.plot(thresholds, curve, color=shares, linewidth=2.2, label=f"{label}  (AUC {np.mean(curve):.3f})")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="overlap threshold (IoU)", ylabel="share of frames above it")
    axes.set_title(title, loc="left", fontweight="bold")
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=160)
    return path


def save_side_by_side(
    path: str | Path,
    sequence: VideoSequence,
    boxes_xywh_px: Mapping[str, NDArray[np.float64]],
    *,
    frames_per_second: float = 15.0,
) -> Path:
    """Write a clip with one panel per tracker: its box, the true box in white, the overlap of the two.

    Args:
        path: ends in ``.mp4``.
        sequence: the video and the true boxes.
        boxes_xywh_px: by label, (N, 4): what each tracker said, one box per frame.
        frames_per_second: of the clip.

    Returns:
        the path.

    Raises:
        DataError: there are no boxes, not one per frame, or the clip cannot be written.
    """
    if not boxes_xywh_px:
        raise DataError("there are no boxes to draw; expected at least one tracker's, (N, 4) by label.")
    for label, boxes in boxes_xywh_px.items():
        if np.shape(boxes) != (len(sequence), 4):
            raise DataError(
                f"boxes of {label!r} have shape {np.shape(boxes)}; expected {(len(sequence), 4)}, one box per frame of "
                f"{sequence.name!r}."
            )
    return write_video(path, _side_by_side(sequence, boxes_xywh_px), frames_per_second=frames_per_second)


def _accuracy(report: TrackerReport, name: str) -> str:
    return "-" if report.evaluation is None else f"{getattr(report.evaluation, name):.3f}"


def _kept(report: TrackerReport, teacher: TrackerReport) -> str:
    if report is teacher or report.evaluation is None or teacher.evaluation is None or teacher.evaluation.auc <= 0:
        return "-"
    return f"{report.evaluation.auc / teacher.evaluation.auc:.1%}"


def _speed_up(report: TrackerReport, teacher: TrackerReport) -> str:
    if report is teacher or report.profile.latency_ms <= 0:
        return "-"
    return f"{teacher.profile.latency_ms / report.profile.latency_ms:.2f}x"


def _scaled(count: int) -> str:
    """Return a count with three or four digits and K, M, G or T."""
    power = 0 if count < 1000 else min(int(math.log10(count)) // 3, 4)
    return str(count) if power == 0 else f"{count / 1000**power:.2f} {' KMGT'[power]}"


def _new_figure(width_inch: float, height_inch: float) -> Any:
    """Return a figure that draws into memory; pyplot and its global state stay out of it."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"drawing curves needs matplotlib, which does not import here ({error}). "
            "Install it: pip install 'ctsdk[demo]'"
        ) from error
    figure = Figure(figsize=(width_inch, height_inch), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _colours(count: int) -> list[Colour]:
    return [TRACKER_COLOURS[i % len(TRACKER_COLOURS)] for i in range(count)]


def _side_by_side(
    sequence: VideoSequence, boxes_xywh_px: Mapping[str, NDArray[np.float64]]
) -> Iterator[NDArray[np.uint8]]:
    width, _ = sequence.size_px
    scale = min(_PANEL_WIDTH_PX, _CLIP_WIDTH_PX // len(boxes_xywh_px)) / width
    for index in range(len(sequence)):
        frame = sequence.frame(index)
        panels = [
            _panel(sequence, frame, index, label, boxes[index], colour, scale)
            for (label, boxes), colour in zip(boxes_xywh_px.items(), _colours(len(boxes_xywh_px)), strict=True)
        ]
        gap = np.full((len(panels[0]), _GAP_PX, 3), 255, dtype=np.uint8)
        row = [part for panel in panels for part in (gap, panel)][1:]
        yield np.concatenate(row, axis=1)
