"""What was measured of trackers of one family, for people: a table of costs and accuracy, a clip side by side.

Figures and curves of evaluations alone are in :mod:`ctsdk.evaluation.tables` and :mod:`ctsdk.evaluation.plots`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console

from ctsdk.boxes import iou, xywh_to_xyxy
from ctsdk.crops import import_cv2
from ctsdk.errors import DataError
from ctsdk.evaluation.comparing import check_comparable
from ctsdk.evaluation.plots import TRACKER_COLOURS
from ctsdk.evaluation.tables import Table
from ctsdk.profiling import count_macs, measure_latencies_ms
from ctsdk.video import draw_box, draw_label, write_video

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray
    from torch import nn

    from ctsdk.data.videos import Video
    from ctsdk.engine.adapter import TrackerAdapter
    from ctsdk.evaluation.scores import Evaluation
    from ctsdk.video import Colour

__all__ = [
    "TRACKER_COLOURS",
    "TrackerFigures",
    "comparison_table",
    "measure_trackers",
    "print_comparison",
    "save_side_by_side",
]

_TRUTH_COLOUR: Colour = (255, 255, 255)
_PANEL_WIDTH_PX, _CLIP_WIDTH_PX, _GAP_PX = 480, 1920, 8
_HEADER_PX, _HEADER_SCALE = 34, 0.55


@dataclass(frozen=True)
class TrackerFigures:
    """What was measured of one tracker; None where it was not.

    Attributes:
        params: number of parameters.
        macs: multiply-adds of a forward pass with one sample.
        latency_ms: median duration of such a pass, milliseconds.
        num_blocks: blocks of all its trunks together.
        auc: area under the success curve, in [0, 1].
        precision: share of frames whose centre is off by at most 20 px, in [0, 1].
        protocol: by whose rules the last two were found.
    """

    params: int
    macs: int
    latency_ms: float
    num_blocks: int | None = None
    auc: float | None = None
    precision: float | None = None
    protocol: str | None = None


def measure_trackers(
    adapter: TrackerAdapter,
    trackers: Mapping[str, nn.Module],
    evaluations: Mapping[str, Evaluation] | None = None,
    *,
    num_rounds: int = 30,
) -> dict[str, TrackerFigures]:
    """Measure what trackers of one family cost, their latencies in turn.

    Args:
        adapter: runs them.
        trackers: by label, all on one device; put into eval mode.
        evaluations: by label, if they were made; their figures are taken over.
        num_rounds: timed passes of each.

    Raises:
        ConfigError: the evaluations were not made alike, or by a protocol that has no ``AUC`` and ``P``.
    """
    evaluations = evaluations or {}
    if evaluations:
        check_comparable(evaluations)
    latencies_ms = measure_latencies_ms(adapter, list(trackers.values()), num_rounds=num_rounds)
    figures = {}
    for (label, tracker), latency_ms in zip(trackers.items(), latencies_ms, strict=True):
        evaluation = evaluations.get(label)
        figures[label] = TrackerFigures(
            params=sum(parameter.numel() for parameter in tracker.parameters()),
            macs=count_macs(adapter, tracker),
            latency_ms=latency_ms,
            num_blocks=sum(len(trunk.blocks(tracker)) for trunk in adapter.trunks().values()),
            auc=None if evaluation is None else evaluation.auc,
            precision=None if evaluation is None else evaluation.precision,
            protocol=None if evaluation is None else evaluation.protocol.label,
        )
    return figures


def comparison_table(trackers: Mapping[str, TrackerFigures], *, title: str = "") -> Table:
    """Return a table with one column per tracker and a row for whatever was measured of any of them.

    Args:
        trackers: by label; the first, the teacher, is what the others are compared with.
        title: above the table.
    """
    teacher, *students = trackers.values()
    protocols = dict.fromkeys(tracker.protocol for tracker in trackers.values() if tracker.protocol)
    rules = f" ({', '.join(protocols)})" if protocols else ""
    rows: dict[str, list[str | None]] = {
        f"success AUC{rules}": [_share(tracker.auc) for tracker in trackers.values()],
        f"precision at 20 px{rules}": [_share(tracker.precision) for tracker in trackers.values()],
        "AUC kept": [None, *(_ratio(student.auc, teacher.auc, "{:.1%}") for student in students)],
        "blocks": [_scaled(tracker.num_blocks) for tracker in trackers.values()],
        "parameters": [_scaled(tracker.params) for tracker in trackers.values()],
        "multiply-adds": [_scaled(tracker.macs) for tracker in trackers.values()],
        "latency": [f"{tracker.latency_ms:.2f} ms" for tracker in trackers.values()],
        "speed-up": [None, *(_ratio(teacher.latency_ms, student.latency_ms, "{:.2f}x") for student in students)],
    }
    shown = tuple((name, *cells) for name, cells in rows.items() if any(cell is not None for cell in cells))
    return Table(("", *trackers), shown, title)


def print_comparison(summary: Mapping[str, Any]) -> None:
    """Print the table to stdout.

    Args:
        summary: fields of :class:`TrackerFigures` by tracker, the teacher first; values that are no mappings are left
            out.
    """
    trackers = {
        name.replace("_", " "): TrackerFigures(**figures)
        for name, figures in summary.items()
        if isinstance(figures, Mapping)
    }
    Console().print(comparison_table(trackers))


def save_side_by_side(
    path: str | Path,
    video: Video,
    boxes_xywh_px: Mapping[str, NDArray[np.float64]],
    *,
    frames_per_second: float = 15.0,
) -> Path:
    """Write a clip with one panel per tracker: its box, the true box in white, the overlap of the two.

    Args:
        path: ends in ``.mp4``.
        video: the video and the true boxes.
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
        if np.shape(boxes) != (len(video), 4):
            raise DataError(
                f"boxes of {label!r} have shape {np.shape(boxes)}; expected {(len(video), 4)}, one box per frame of "
                f"{video.name!r}."
            )
    return write_video(path, _side_by_side(video, boxes_xywh_px), frames_per_second=frames_per_second)


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _ratio(value: float | None, base: float | None, form: str) -> str | None:
    return form.format(value / base) if value is not None and base else None


def _scaled(count: int | None) -> str | None:
    """Return a count with at most two decimals and K, M, G or T."""
    if count is None:
        return None
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:.2f} {' KMGT'[power]}" if power else str(count)


def _colours(count: int) -> list[Colour]:
    return [TRACKER_COLOURS[i % len(TRACKER_COLOURS)] for i in range(count)]


def _side_by_side(video: Video, boxes_xywh_px: Mapping[str, NDArray[np.float64]]) -> Iterator[NDArray[np.uint8]]:
    scale = min(_PANEL_WIDTH_PX, _CLIP_WIDTH_PX // len(boxes_xywh_px)) / video.frame_size_px(0)[0]
    colours = _colours(len(boxes_xywh_px))
    overlaps = {label: _overlaps(boxes, video) for label, boxes in boxes_xywh_px.items()}
    for index in range(len(video)):
        picture = _scaled_up(video.frame(index), scale)
        if video.visible[index]:
            draw_box(picture, scale * video.boxes_xywh_px[index], _TRUTH_COLOUR, thickness_px=1)
        draw_label(picture, "white: true box", (_GAP_PX, len(picture)), _TRUTH_COLOUR, scale=0.4)
        gap = np.full((len(picture) + _HEADER_PX, _GAP_PX, 3), 255, dtype=np.uint8)
        row = []
        for (label, boxes), colour in zip(boxes_xywh_px.items(), colours, strict=True):
            panel = picture.copy()
            draw_box(panel, scale * boxes[index], colour)
            overlap = f"IoU {overlaps[label][index]:.2f}" if video.visible[index] else "hidden"
            row += [gap, np.concatenate([_header(panel.shape[1], label, overlap, colour), panel])]
        yield np.concatenate(row[1:], axis=1)


def _scaled_up(frame: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    cv2 = import_cv2()
    size_px = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    return np.asarray(cv2.resize(frame, size_px, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _header(width_px: int, label: str, overlap: str, colour: Colour) -> NDArray[np.uint8]:
    header = np.zeros((_HEADER_PX, width_px, 3), dtype=np.uint8)
    draw_label(header, label, (_GAP_PX, 0), colour, scale=_HEADER_SCALE)
    draw_label(header, overlap, (width_px, 0), _TRUTH_COLOUR, scale=_HEADER_SCALE)
    return header


def _overlaps(boxes_xywh_px: NDArray[np.float64], video: Video) -> NDArray[np.float64]:
    boxes, truth = torch.as_tensor(boxes_xywh_px), torch.as_tensor(video.boxes_xywh_px)
    return iou(xywh_to_xyxy(boxes), xywh_to_xyxy(truth)).numpy()
