"""The rules of LaSOT's own toolkit, a MATLAB program; TNL2K's toolkit has the same.

Source: HengLan/LaSOT_Evaluation_Toolkit @ 95bf38a, utils/calc_seq_err_robust.m, eval_tracker.m and plot_draw_save.m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ctsdk.data.videos import Floats, Video
from ctsdk.errors import DataError
from ctsdk.evaluation.protocols.measures import (
    ONE_PASS_THRESHOLDS,
    centre_distances_px,
    normalised_centre_distances,
    one_pass_curves,
    one_pass_figures,
    overlaps_of_pixels,
    repeat_previous,
)
from ctsdk.evaluation.scores import EvaluationProtocol, VideoScore, boxes_to_score, stack_curves

__all__ = ["LasotToolkitProtocol"]


class LasotToolkitProtocol(EvaluationProtocol):
    """LaSOT's rules.

    1. Surplus boxes are cut; too few are refused.
    2. A box that holds NaN or has no positive size becomes the box before it, unless the truth of its frame holds NaN.
    3. The first box becomes the true one. The first frame counts.
    4. Frames whose target is not visible are left out, but shares stay those of all frames: they miss every threshold.
    5. Where not all four numbers of the truth are above 0, the frame misses every overlap threshold, and satisfies
       every distance and every normalised one.
    6. Overlap must exceed its threshold; distance may equal it.
    7. ``AUC`` is the mean of the 21 values of the success curve, ``P`` is precision at 20 px, ``P_norm`` is normalised
       precision at 0.20. Each is taken from a mean over videos that leaves out those whose whole curve is 0.

    Metrics are in percent.
    """

    name = "lasot"
    headline = "AUC"
    scale = 100.0
    thresholds = ONE_PASS_THRESHOLDS

    def score(self, video: Video, boxes_xywh_px: Floats, seconds: Floats | None = None) -> VideoScore:
        """Score the boxes of one video; see :meth:`EvaluationProtocol.score`."""
        boxes, truth = boxes_to_score(video, boxes_xywh_px), video.boxes_xywh_px
        if len(boxes) < len(truth):
            raise DataError(
                f"video {video.name!r} has {len(boxes)} boxes for {len(truth)} frames; LaSOT's toolkit expects "
                "one for each. Run the tracker to the end."
            )
        boxes = _replace_lost(boxes[: len(truth)], truth)
        boxes[0] = truth[0]
        boxes, truth, num_frames = boxes[video.visible], truth[video.visible], len(truth)
        # NaN is above nothing.
        valid = (truth > 0).all(axis=1)
        overlap = np.where(valid, overlaps_of_pixels(boxes, truth), -1.0)
        distances = np.where(valid, centre_distances_px(boxes, truth), -1.0)
        normalised = np.where(valid, normalised_centre_distances(boxes, truth), -1.0)
        curves = one_pass_curves(overlap, distances, normalised, num_frames)
        return VideoScore.of(video, boxes_xywh_px, seconds, one_pass_figures(curves), curves)

    def summarise(self, scores: Sequence[VideoScore]) -> tuple[dict[str, float], dict[str, Floats]]:
        """Return the metrics and the mean curves of several videos; NaN where every curve is 0."""
        curves = {name: _mean_of_nonzero(rows) for name, rows in stack_curves(scores).items()}
        return one_pass_figures(curves), curves


def _replace_lost(boxes: Floats, truth: Floats) -> Floats:
    lost = np.isnan(boxes).any(axis=1) | (boxes[:, 2:] <= 0).any(axis=1)
    return repeat_previous(boxes, np.logical_and(lost, ~np.isnan(truth).any(axis=1)))


def _mean_of_nonzero(rows: Floats) -> Floats:
    kept = rows[rows.sum(axis=1) > 0]
    mean: Floats = kept.mean(axis=0) if len(kept) else np.full(rows.shape[1], math.nan)
    return mean
