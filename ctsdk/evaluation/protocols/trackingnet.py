"""The rules of the TrackingNet development kit; according to its author, its server applies them too.

Source: SilvioGiancola/TrackingNet-devkit @ 79783f2, metrics.py; its issues 12 and 22.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ctsdk.data.videos import Floats, Video
from ctsdk.evaluation.protocols.measures import (
    centre_distances_px,
    centres_px,
    overlaps_of_pixels,
    shares_from,
    shares_within,
)
from ctsdk.evaluation.scores import EvaluationProtocol, VideoScore, boxes_to_score, stack_curves

__all__ = ["TrackingNetProtocol"]


class TrackingNetProtocol(EvaluationProtocol):
    """TrackingNet's rules.

    1. Boxes and truth are rounded to whole pixels, halves to the even neighbour.
    2. The first box becomes the true one. The first frame counts. Surplus boxes are cut; missing ones are NaN.
    3. Overlap and distance may equal their thresholds; NaN is a miss.
    4. ``success``, ``precision`` and ``normalized_precision`` are areas by the trapezium rule, so that a perfect
       tracker has 100: over overlaps from 0 to 1, distances from 0 to 50 px and from 0 to 0.5 of the true box, 21
       thresholds each. Every video weighs the same.
    5. ``coverage`` is the share of frames, of all videos pooled, in which left, top, width and height add up to more
       than 0.
    6. A video without a result file counts as zero boxes: see :meth:`missing`.

    Metrics are in percent.
    """

    name = "trackingnet"
    headline = "success"
    scale = 100.0
    thresholds: Mapping[str, Floats] = {
        "success": np.linspace(0.0, 1.0, 21),
        "precision": np.linspace(0.0, 50.0, 21),
        "normalised_precision": np.linspace(0.0, 0.5, 21),
    }

    def score(self, video: Video, boxes_xywh_px: Floats, seconds: Floats | None = None) -> VideoScore:
        """Score the boxes of one video; see :meth:`EvaluationProtocol.score`."""
        truth = np.round(video.boxes_xywh_px)
        boxes = np.round(boxes_to_score(video, boxes_xywh_px))[: len(truth)]
        boxes = np.concatenate([boxes, np.full((len(truth) - len(boxes), 4), np.nan)])
        boxes[0] = truth[0]
        distances, normalised = centre_distances_px(boxes, truth), _normalised_distances(boxes, truth)
        curves = {
            "success": shares_from(overlaps_of_pixels(boxes, truth), self.thresholds["success"], len(truth)),
            "precision": shares_within(distances, self.thresholds["precision"], len(truth)),
            "normalised_precision": shares_within(normalised, self.thresholds["normalised_precision"], len(truth)),
        }
        figures = {"coverage": 100 * float((boxes.sum(axis=1) > 0).mean()), **_areas(curves)}
        return VideoScore.of(video, boxes_xywh_px, seconds, figures, curves, len(truth))

    def missing(self, video: Video) -> VideoScore:
        """Return the score of a video that has no result file.

        Raises:
            DataError: the truth of the video is not public.
        """
        return self.score(video, np.zeros((len(video), 4)))

    def summarise(self, scores: Sequence[VideoScore]) -> tuple[dict[str, float], dict[str, Floats]]:
        """Return the metrics and the mean curves of several videos."""
        curves = {name: rows.mean(axis=0) for name, rows in stack_curves(scores).items()}
        coverage = np.average([score.figures["coverage"] for score in scores], weights=[s.weight for s in scores])
        return {"coverage": float(coverage), **_areas(curves)}, curves


def _normalised_distances(boxes: Floats, truth: Floats) -> Floats:
    offsets, sizes = centres_px(truth) - centres_px(boxes), truth[:, 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        # The devkit's order: boxes are whole numbers here, and distances fall on thresholds.
        distances: Floats = np.sqrt((offsets / sizes * offsets / sizes).sum(axis=1))
    return distances


def _areas(curves: Mapping[str, Floats]) -> dict[str, float]:
    names = {"success": "success", "precision": "precision", "normalized_precision": "normalised_precision"}
    return {figure: 100 * float((curves[name][1:] + curves[name][:-1]).mean()) / 2 for figure, name in names.items()}
