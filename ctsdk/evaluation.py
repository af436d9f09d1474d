"""How well a tracker follows targets: one-pass evaluation by the rules of the OSTrack family.

The tracker starts from the true box of the first frame and is never helped again. The rules, in the order in which they
apply, are in the docstring of :func:`score_sequence`; they are the family's, quirks included, because figures of
different rules cannot be compared.

Source: botaoye/OSTrack @ 33b5e12, lib/test/analysis/extract_results.py and plot_results.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ctsdk.errors import DataError
from ctsdk.tracking import track

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import nn

    from ctsdk.adapter import TrackerAdapter
    from ctsdk.data.sequences import VideoSequence

__all__ = ["Evaluation", "SequenceScore", "evaluate", "score_sequence"]

_OVERLAP_THRESHOLDS = np.arange(0.0, 1.05, 0.05)  # 21
_DISTANCE_THRESHOLDS_PX = np.arange(0, 51)
_NORMALISED_THRESHOLDS = np.arange(0, 51) / 100


@dataclass(frozen=True)
class SequenceScore:
    """The curves of one tracker on one sequence.

    Attributes:
        name: of the sequence.
        success: (21,), share of frames whose overlap exceeds 0, 0.05, ..., 1.
        precision: (51,), share of frames whose centre is off by at most 0, 1, ..., 50 px.
        normalised_precision: (51,), the same at 0, 0.01, ..., 0.5 of the target's size.
        boxes_xywh_px: (N, 4), what the tracker said.
    """

    name: str
    success: NDArray[np.float64]
    precision: NDArray[np.float64]
    normalised_precision: NDArray[np.float64]
    boxes_xywh_px: NDArray[np.float64]

    @property
    def auc(self) -> float:
        """Mean of the success curve, in [0, 1]."""
        return float(self.success.mean())


@dataclass(frozen=True)
class Evaluation:
    """The scores of one tracker on a data set; every sequence weighs the same."""

    sequences: tuple[SequenceScore, ...]

    @property
    def success(self) -> NDArray[np.float64]:
        """(21,), the mean success curve."""
        mean: NDArray[np.float64] = np.stack([sequence.success for sequence in self.sequences]).mean(axis=0)
        return mean

    @property
    def auc(self) -> float:
        """Area under the mean success curve, in [0, 1]; a perfect tracker has 20/21."""
        return float(self.success.mean())

    @property
    def precision(self) -> float:
        """Share of frames whose centre is off by at most 20 px, in [0, 1]."""
        return float(np.mean([sequence.precision[20] for sequence in self.sequences]))

    @property
    def normalised_precision(self) -> float:
        """Share of frames whose centre is off by at most 0.2 of the target's size, in [0, 1]."""
        return float(np.mean([sequence.normalised_precision[20] for sequence in self.sequences]))


def evaluate(
    adapter: TrackerAdapter,
    tracker: nn.Module,
    dataset: Iterable[VideoSequence],
) -> Evaluation:
    """Track every sequence once and score it.

    Args:
        adapter: the tracker's adapter.
        tracker: the teacher or a student.
        dataset: sequences with true boxes.

    Raises:
        DataError: the data set is empty, or a frame or box cannot be used.
    """
    scores = []
    for sequence in dataset:
        frames = (sequence.frame(index) for index in range(len(sequence)))
        x, y, w, h = sequence.boxes_xywh_px[0].tolist()
        boxes = [result.box_xywh_px for result in track(adapter, tracker, frames, (x, y, w, h))]
        scores.append(score_sequence(sequence.name, np.array(boxes), sequence.boxes_xywh_px, sequence.visible))
    if not scores:
        raise DataError("the data set has no sequences; expected at least one. Check its folder and split.")
    return Evaluation(tuple(scores))


def score_sequence(
    name: str,
    boxes_xywh_px: NDArray[np.float64],
    truth_xywh_px: NDArray[np.float64],
    visible: NDArray[np.bool_] | None = None,
) -> SequenceScore:
    """Score the boxes of one sequence.

    1. NaN boxes, negative sizes and NaN truth are refused.
    2. A box of zero width or height becomes the box before it.
    3. Boxes beyond the truth are cut; missing ones are zero boxes, hence misses.
    4. The first box becomes the true one; the first frame counts.
    5. A frame is valid if the true box has an area and, where flags are given, the target is visible.
    6. Invalid frames miss every overlap and distance threshold but satisfy every normalised one.
    7. Shares are of all frames, invalid ones included. Overlap must exceed its threshold; distance may equal it.

    Args:
        name: of the sequence.
        boxes_xywh_px: (M, 4), predicted.
        truth_xywh_px: (N, 4), true.
        visible: (N,), or None if every target is visible.

    Raises:
        DataError: step 1.
    """
    _check_boxes(name, boxes_xywh_px, truth_xywh_px)
    truth = truth_xywh_px.astype(np.float64)
    boxes = _filled(boxes_xywh_px.astype(np.float64), len(truth))
    boxes[0] = truth[0]
    valid = np.all(truth[:, 2:] > 0, axis=1) & (np.ones(len(truth), dtype=bool) if visible is None else visible)

    overlap = np.where(valid, _overlap(boxes, truth), -1.0)
    offset = (boxes[:, :2] + 0.5 * boxes[:, 2:]) - (truth[:, :2] + 0.5 * truth[:, 2:])
    distance_px = np.where(valid, np.hypot(*offset.T), math.inf)
    size = np.where(valid[:, None], truth[:, 2:], 1.0)
    normalised = np.where(valid, np.hypot(*(offset / size).T), -1.0)
    return SequenceScore(
        name=name,
        success=(overlap[:, None] > _OVERLAP_THRESHOLDS).mean(axis=0),
        precision=(distance_px[:, None] <= _DISTANCE_THRESHOLDS_PX).mean(axis=0),
        normalised_precision=(normalised[:, None] <= _NORMALISED_THRESHOLDS).mean(axis=0),
        boxes_xywh_px=boxes,
    )


def _check_boxes(name: str, boxes: NDArray[np.float64], truth: NDArray[np.float64]) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes) or not len(truth):
        raise DataError(
            f"sequence {name!r}: boxes have shape {boxes.shape}, truth {truth.shape}; expected (N, 4) each."
        )
    if np.isnan(boxes).any() or (boxes[:, 2:] < 0).any():
        row = int(np.flatnonzero(np.isnan(boxes).any(axis=1) | (boxes[:, 2:] < 0).any(axis=1))[0])
        raise DataError(
            f"sequence {name!r}: box {row} is {boxes[row].tolist()}; expected numbers and sizes of at least 0. "
            "Write a lost target as its last box."
        )
    if np.isnan(truth).any():
        raise DataError(f"sequence {name!r}: the truth holds NaN; mark absent targets by visible=False instead.")


def _filled(boxes: NDArray[np.float64], num_frames: int) -> NDArray[np.float64]:
    """Return `num_frames` boxes: empty ones repeated from before, surplus cut, missing zero."""
    filled = boxes.copy()
    for i in range(1, len(filled)):
        if (filled[i, 2:] == 0).any():
            filled[i] = filled[i - 1]
    missing = max(num_frames - len(filled), 0)
    return np.concatenate([filled[:num_frames], np.zeros((missing, 4))])


def _overlap(boxes: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    start = np.maximum(boxes[:, :2], truth[:, :2])
    end = np.minimum(boxes[:, :2] + boxes[:, 2:], truth[:, :2] + truth[:, 2:])
    intersection: NDArray[np.float64] = np.clip(end - start, 0, None).prod(axis=1)
    union: NDArray[np.float64] = boxes[:, 2:].prod(axis=1) + truth[:, 2:].prod(axis=1) - intersection
    overlap: NDArray[np.float64] = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return overlap
