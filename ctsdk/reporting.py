"""Comparisons of trackers of one family: a table of costs and accuracy, a clip with the trackers side by side.

Tables and plots of evaluations alone are in :mod:`ctsdk.evaluation.tables` and :mod:`ctsdk.evaluation.plots`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from ctsdk.boxes import iou, xywh_to_xyxy
from ctsdk.crops import Pixels, import_cv2
from ctsdk.data.videos import Floats, Video
from ctsdk.errors import DataError
from ctsdk.evaluation.comparing import check_comparable
from ctsdk.evaluation.plots import TRACKER_COLOURS
from ctsdk.evaluation.scores import Evaluation
from ctsdk.evaluation.tables import Table
from ctsdk.profiling import Profile
from ctsdk.video import Colour, draw_box, draw_label, write_video

__all__ = ["TRACKER_COLOURS", "comparison_table", "save_side_by_side"]

_TRUTH_COLOUR: Colour = (255, 255, 255)
_PANEL_WIDTH_PX, _CLIP_WIDTH_PX, _GAP_PX = 480, 1920, 8
_HEADER_PX, _HEADER_SCALE = 34, 0.55


def comparison_table(
    profiles: Mapping[str, Profile], evaluations: Mapping[str, Evaluation] | None = None, *, title: str = ""
) -> Table:
    """Return a table with a column for each tracker and a row for each cost and metric that is known of any.

    Args:
        profiles: by the tracker's label; the first, the teacher, is what the others are compared with.
        evaluations: by label, of trackers that were evaluated.
        title: above the table.

    Raises:
        ConfigError: the evaluations were not made alike, or by a protocol that has no ``AUC`` and ``P``.
    """
    evaluations = evaluations or {}
    if evaluations:
        check_comparable(evaluations)
    scores = [evaluations.get(label) for label in profiles]
    rules = "".join({f" ({evaluation.protocol.label})" for evaluation in evaluations.values()})
    aucs = [None if score is None else score.auc for score in scores]
    teacher, *students = profiles.values()
    rows: dict[str, list[str | None]] = {
        f"success AUC{rules}": [_share(auc) for auc in aucs],
        f"precision at 20 px{rules}": [None if score is None else _share(score.precision) for score in scores],
        "AUC kept": [None, *(_ratio(auc, aucs[0], "{:.1%}") for auc in aucs[1:])],
        "blocks": [_scale_count(profile.num_blocks) for profile in profiles.values()],
        "parameters": [_scale_count(profile.params) for profile in profiles.values()],
        "multiply-adds": [_scale_count(profile.macs) for profile in profiles.values()],
        "latency": [f"{profile.latency_ms:.2f} ms" for profile in profiles.values()],
        "speed-up": [None, *(_ratio(teacher.latency_ms, student.latency_ms, "{:.2f}x") for student in students)],
    }
    shown = tuple((name, *cells) for name, cells in rows.items() if any(cell is not None for cell in cells))
    return Table(("", *profiles), shown, title)


def save_side_by_side(
    path: str | Path, video: Video, boxes_xywh_px: Mapping[str, Floats], *, frames_per_second: float = 15.0
) -> Path:
    """Write a clip with one panel per tracker: its box, the true box in white, the overlap of the two.

    Args:
        path: ends in ``.mp4``.
        video: the video and the true boxes.
        boxes_xywh_px: by label, (N, 4): each tracker's boxes, one per frame.
        frames_per_second: of the clip.

    Returns:
        the path.

    Raises:
        DataError: there are no boxes, or not one per frame.
        OutputError: the clip cannot be written.
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


def _scale_count(count: int) -> str:
    """Return a count with at most two decimals and K, M, G or T."""
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:.2f} {' KMGT'[power]}" if power else str(count)


def _side_by_side(video: Video, boxes_xywh_px: Mapping[str, Floats]) -> Iterator[Pixels]:
    scale = min(_PANEL_WIDTH_PX, _CLIP_WIDTH_PX // len(boxes_xywh_px)) / video.frame_size_px(0)[0]
    colours = itertools.cycle(TRACKER_COLOURS)
    overlaps = {label: _overlaps(boxes, video) for label, boxes in boxes_xywh_px.items()}
    for index in range(len(video)):
        picture = _resize(video.frame(index), scale)
        if video.visible[index]:
            draw_box(picture, scale * video.boxes_xywh_px[index], _TRUTH_COLOUR, thickness_px=1)
        draw_label(picture, "white: true box", (_GAP_PX, len(picture)), _TRUTH_COLOUR, scale=0.4)
        gap = np.full((len(picture) + _HEADER_PX, _GAP_PX, 3), 255, dtype=np.uint8)
        row = []
        for (label, boxes), colour in zip(boxes_xywh_px.items(), colours, strict=False):
            panel = picture.copy()
            draw_box(panel, scale * boxes[index], colour)
            overlap = f"IoU {overlaps[label][index]:.2f}" if video.visible[index] else "hidden"
            row += [gap, np.concatenate([_header(panel.shape[1], label, overlap, colour), panel])]
        yield np.concatenate(row[1:], axis=1)


def _resize(frame: Pixels, scale: float) -> Pixels:
    cv2 = import_cv2()
    size_px = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    return np.asarray(cv2.resize(frame, size_px, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _header(width_px: int, label: str, overlap: str, colour: Colour) -> Pixels:
    header = np.zeros((_HEADER_PX, width_px, 3), dtype=np.uint8)
    draw_label(header, label, (_GAP_PX, 0), colour, scale=_HEADER_SCALE)
    draw_label(header, overlap, (width_px, 0), _TRUTH_COLOUR, scale=_HEADER_SCALE)
    return header


def _overlaps(boxes_xywh_px: Floats, video: Video) -> Floats:
    boxes, truth = torch.as_tensor(boxes_xywh_px), torch.as_tensor(video.boxes_xywh_px)
    return iou(xywh_to_xyxy(boxes), xywh_to_xyxy(truth)).numpy()
