"""The rules of the pysot toolkit, by which many papers on UAV123, OTB and NFS report.

Source: StrangerZhang/pysot-toolkit @ 8b5ced3, pysot/evaluation/ope_benchmark.py and pysot/utils/statistics.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctsdk.data.videos import Floats, Video
from ctsdk.errors import DataError
from ctsdk.evaluation.protocols.measures import (
    ONE_PASS_THRESHOLDS,
    centre_distances_px,
    centres_px,
    normalised_centre_distances,
    one_pass_curves,
    one_pass_figures,
    overlaps,
)
from ctsdk.evaluation.scores import EvaluationProtocol, VideoScore, boxes_to_score, stack_curves

__all__ = ["PysotProtocol"]

_EPS_PX = 1e-16


class PysotProtocol(EvaluationProtocol):
    """The rules of pysot.

    1. There must be a box for every frame. No box is replaced, not even the first.
    2. LaSOT: frames whose target is not visible are left out, but shares stay those of all frames.
    3. Where not all four numbers of the truth are above 0, the frame misses every overlap threshold. Where not both
       numbers of the truth's centre are, it satisfies every distance and every normalised threshold.
    4. Overlap must exceed its threshold; distance may equal it; NaN is a miss. Normalised distances are divided by
       width and height of the truth plus 1e-16.
    5. ``AUC`` is the mean of the 21 values of the success curve, ``P`` is precision at 20 px, ``P_norm`` is normalised
       precision at 0.20. Every video weighs the same.

    Metrics are in percent.
    """

    name = "pysot"
    headline = "AUC"
    scale = 100.0
    thresholds = ONE_PASS_THRESHOLDS

    def __init__(self, dataset_name: str) -> None:
        """Choose the rules.

        Args:
            dataset_name: step 2 is for ``lasot``.
        """
        self._uses_visibility = dataset_name == "lasot"

    def score(self, video: Video, boxes_xywh_px: Floats, seconds: Floats | None = None) -> VideoScore:
        """Score the boxes of one video; see :meth:`EvaluationProtocol.score`."""
        boxes, truth = boxes_to_score(video, boxes_xywh_px), video.boxes_xywh_px
        if len(boxes) != len(truth):
            raise DataError(
                f"video {video.name!r} has {len(boxes)} boxes for {len(truth)} frames; pysot expects one for "
                "each. Run the tracker to the end."
            )
        num_frames = len(truth)
        if self._uses_visibility:
            boxes, truth = boxes[video.visible], truth[video.visible]
        # NaN is above nothing.
        overlap = np.where((truth > 0).all(axis=1), overlaps(boxes, truth).clip(0.0, 1.0), -1.0)
        centred = (centres_px(truth) > 0).all(axis=1)
        distances = np.where(centred, centre_distances_px(boxes, truth), -1.0)
        normalised = np.where(centred, normalised_centre_distances(boxes, truth, eps_px=_EPS_PX), -1.0)
        curves = one_pass_curves(overlap, distances, normalised, num_frames)
        return VideoScore.of(video, boxes_xywh_px, seconds, one_pass_figures(curves), curves)

    def summarise(self, scores: Sequence[VideoScore]) -> tuple[dict[str, float], dict[str, Floats]]:
        """Return the metrics and the mean curves of several videos."""
        curves = {name: rows.mean(axis=0) for name, rows in stack_curves(scores).items()}
        return one_pass_figures(curves), curves
