"""Overlaps and distances of paired boxes, curves as shares of frames, and the metrics of one-pass evaluation.

Operations have the tools' own order where the tools agree: coordinates in result files are whole numbers, so values can
equal thresholds, and then the last bit decides. No measure adds anything to a denominator unless asked to; each
protocol decides what 0 / 0 means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctsdk.data.videos import Floats

__all__ = [
    "ONE_PASS_THRESHOLDS",
    "centre_distances_px",
    "centres_px",
    "normalised_centre_distances",
    "one_pass_curves",
    "one_pass_figures",
    "overlaps",
    "overlaps_of_pixels",
    "repeat_previous",
    "shares_above",
    "shares_from",
    "shares_within",
]

# As products, not as quotients: 3 * 0.05 is above 0.15.
ONE_PASS_THRESHOLDS: Final[Mapping[str, Floats]] = {
    "success": np.arange(21.0) * 0.05,
    "precision": np.arange(51.0),
    "normalised_precision": np.arange(51.0) / 100,
}
"""Of the curves of one-pass evaluation: overlap; distance in px; distance in widths and heights of the true box."""


def overlaps(boxes_xywh_px: Floats, truth_xywh_px: Floats, *, eps_px2: float = 0.0) -> Floats:
    """Return the intersection over union of paired boxes.

    Args:
        boxes_xywh_px: (N, 4).
        truth_xywh_px: (N, 4).
        eps_px2: added to the union, as some tools do; then empty boxes have an overlap of 0.

    Returns:
        (N,), in [0, 1] up to rounding; NaN where a box holds NaN, and where the union is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        start = np.maximum(boxes_xywh_px[:, :2], truth_xywh_px[:, :2])
        end = np.minimum(_ends_px(boxes_xywh_px), _ends_px(truth_xywh_px))
        return _quotients(boxes_xywh_px, truth_xywh_px, end - start, eps_px2)


def overlaps_of_pixels(boxes_xywh_px: Floats, truth_xywh_px: Floats) -> Floats:
    """Return the same as :func:`overlaps`, computed from first and last pixels as the older tools do.

    It differs in rounding, which decides where boxes only touch or are equal. Also, an edge at NaN does not bound the
    intersection, because in MATLAB and pandas the maximum of a number and NaN is the number. The overlap is still NaN
    where a width or a height is.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.fmax(boxes_xywh_px[:, :2], truth_xywh_px[:, :2])
        last = np.fmin(_ends_px(boxes_xywh_px) - 1.0, _ends_px(truth_xywh_px) - 1.0)
        return _quotients(boxes_xywh_px, truth_xywh_px, last - first + 1.0, 0.0)


def centres_px(boxes_xywh_px: Floats) -> Floats:
    """Return the centres of (N, 4) boxes, (N, 2), counted from the middle of the first pixel as most tools do."""
    return boxes_xywh_px[:, :2] + 0.5 * (boxes_xywh_px[:, 2:] - 1.0)


def centre_distances_px(boxes_xywh_px: Floats, truth_xywh_px: Floats) -> Floats:
    """Return the distances between the centres of paired boxes, (N,)."""
    with np.errstate(invalid="ignore"):
        return _lengths(centres_px(boxes_xywh_px) - centres_px(truth_xywh_px))


def normalised_centre_distances(boxes_xywh_px: Floats, truth_xywh_px: Floats, *, eps_px: float = 0.0) -> Floats:
    """Return the distances between centres in widths and heights of the true box, (N,).

    Args:
        boxes_xywh_px: (N, 4).
        truth_xywh_px: (N, 4); infinity or NaN comes out where a box has no area.
        eps_px: added to widths and heights, as one tool does.
    """
    sizes = truth_xywh_px[:, 2:] + eps_px
    with np.errstate(divide="ignore", invalid="ignore"):
        return _lengths(centres_px(boxes_xywh_px) / sizes - centres_px(truth_xywh_px) / sizes)


def repeat_previous(boxes_xywh_px: Floats, lost: NDArray[np.bool_]) -> Floats:
    """Return (N, 4) boxes in which each lost one, except the first, is replaced by the last one that is not lost.

    Args:
        boxes_xywh_px: (N, 4).
        lost: (N,).
    """
    rows = np.arange(len(boxes_xywh_px))
    return boxes_xywh_px[np.maximum.accumulate(np.where(lost, 0, rows))]


def shares_above(values: Floats, thresholds: Floats, num_frames: int) -> Floats:
    """Return how many of (N,) values exceed each threshold, as shares of `num_frames`; NaN exceeds none."""
    return _shares(values[:, None] > thresholds, num_frames)


def shares_from(values: Floats, thresholds: Floats, num_frames: int) -> Floats:
    """Return how many of (N,) values reach each threshold, as shares of `num_frames`; NaN reaches none."""
    return _shares(values[:, None] >= thresholds, num_frames)


def shares_within(values: Floats, thresholds: Floats, num_frames: int) -> Floats:
    """Return how many of (N,) values are at most each threshold, as shares of `num_frames`; NaN never is."""
    return _shares(values[:, None] <= thresholds, num_frames)


def one_pass_curves(
    overlap: Floats, distances_px: Floats, normalised_distances: Floats, num_frames: int
) -> dict[str, Floats]:
    """Return the curves of one video at :data:`ONE_PASS_THRESHOLDS`.

    Args:
        overlap: (K,), of the frames that may count; a hit exceeds the threshold.
        distances_px: (K,), of the centres; a hit is at most the threshold.
        normalised_distances: (K,), the same in widths and heights of the true box.
        num_frames: the number that shares refer to, usually K or more.
    """
    return {
        "success": shares_above(overlap, ONE_PASS_THRESHOLDS["success"], num_frames),
        "precision": shares_within(distances_px, ONE_PASS_THRESHOLDS["precision"], num_frames),
        "normalised_precision": shares_within(
            normalised_distances, ONE_PASS_THRESHOLDS["normalised_precision"], num_frames
        ),
    }


def one_pass_figures(curves: Mapping[str, Floats]) -> dict[str, float]:
    """Return the metrics of curves at :data:`ONE_PASS_THRESHOLDS`, in percent.

    ``AUC`` is the mean of the 21 values of the success curve, ``P`` is precision at 20 px, ``P_norm`` is normalised
    precision at 0.20: a point of the curve, not an area.
    """
    return {
        "AUC": 100 * float(curves["success"].mean()),
        "P": 100 * float(curves["precision"][20]),
        "P_norm": 100 * float(curves["normalised_precision"][20]),
    }


def _ends_px(boxes_xywh_px: Floats) -> Floats:
    return boxes_xywh_px[:, :2] + boxes_xywh_px[:, 2:]


def _quotients(boxes: Floats, truth: Floats, shared_px: Floats, eps_px2: float) -> Floats:
    """Return intersection over union; `shared_px` is width and height of the intersection, negative if it is empty."""
    intersection = shared_px.clip(min=0.0).prod(axis=1)
    union = boxes[:, 2:].prod(axis=1) + truth[:, 2:].prod(axis=1) - intersection
    quotients: Floats = intersection / (union + eps_px2)
    return quotients


def _shares(hits: NDArray[np.bool_], num_frames: int) -> Floats:
    shares: Floats = hits.sum(axis=0) / num_frames
    return shares


def _lengths(offsets: Floats) -> Floats:
    lengths: Floats = np.sqrt((offsets**2).sum(axis=1))
    return lengths
