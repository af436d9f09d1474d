"""The rules of the GOT-10k toolkit: pooled frames on GOT-10k itself, one-pass evaluation on other data sets.

Source: got-10k/toolkit @ 956e728, got10k/experiments and got10k/utils/metrics.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctsdk.data.videos import Floats, Video
from ctsdk.errors import DataError
from ctsdk.evaluation.protocols.measures import centre_distances_px, centres_px, overlaps, shares_above, shares_within
from ctsdk.evaluation.scores import EvaluationProtocol, VideoScore, boxes_to_score, stack_curves

__all__ = ["Got10kOnePassProtocol", "Got10kProtocol"]

_EPS_PX2: Final = float(np.finfo(np.float64).eps)
# The toolkit has classes for LaSOT and UAV123; every other data set goes by the rules of OTB.
_NORMALISING = ("lasot", "lasot_ext")
_SKIPPING_NAN = (*_NORMALISING, "uav123")


class Got10kProtocol(EvaluationProtocol):
    """GOT-10k's own rules, which its toolkit applies to the validation split.

    1. There must be a box for every frame. The first frame does not count.
    2. Boxes and truth are clipped to the image: the corner first, then the size to what is left. A negative left moves
       to 0 without making the box narrower.
    3. Frames count in which the target is at least partly visible: those with ``cover`` above 0.
    4. ``AO`` is the mean overlap, ``SR50`` and ``SR75`` are shares of frames whose overlap exceeds 0.5 and 0.75. NaN
       makes AO NaN, and is a miss for the others.
    5. The frames of all videos and all repetitions are pooled: a long video weighs more than a short one.
    6. ``speed_fps`` is the mean of 1 / seconds over all frames, the first included; NaN if not measured.

    Metrics are shares of 1.
    """

    name = "got10k"
    headline = "AO"
    scale = 1.0
    thresholds: Mapping[str, Floats] = {"success": np.linspace(0.0, 1.0, 101)}

    def score(self, video: Video, boxes_xywh_px: Floats, seconds: Floats | None = None) -> VideoScore:
        """Score the boxes of one video; see :meth:`EvaluationProtocol.score`.

        As in the toolkit, the size of frames is the resolution in GOT-10k's meta_info.ini: some of its videos have
        frames of several sizes. Without it, the video's own size is used, for which a frame may be read.
        """
        boxes, truth = boxes_to_score(video, boxes_xywh_px), video.boxes_xywh_px
        if len(boxes) != len(truth):
            raise DataError(
                f"video {video.name!r} has {len(boxes)} boxes for {len(truth)} frames; the GOT-10k toolkit "
                "expects one for each. Run the tracker to the end."
            )
        size_px = _image_size_px(video)
        overlap = _clipped_overlaps(_clip(boxes, size_px), _clip(truth, size_px))[1:]
        overlap = overlap[_covers(video)[1:] > 0]
        success = (
            shares_above(overlap, self.thresholds["success"], len(overlap))
            if len(overlap)
            else np.full(len(self.thresholds["success"]), math.nan)
        )
        average = float(overlap.mean()) if len(overlap) else math.nan
        figures = _pooled_figures(average, success, np.empty(0) if seconds is None else seconds)
        return VideoScore.of(video, boxes_xywh_px, seconds, figures, {"success": success}, len(overlap))

    def summarise(self, scores: Sequence[VideoScore]) -> tuple[dict[str, float], dict[str, Floats]]:
        """Return the metrics and the curve of all frames pooled."""
        counted = [score for score in scores if score.weight]
        seconds = np.concatenate([score.seconds for score in scores])
        if not counted:
            success = np.full(len(self.thresholds["success"]), math.nan)
            return _pooled_figures(math.nan, success, seconds), {"success": success}
        weights = [score.weight for score in counted]
        average = float(np.average([score.figures["AO"] for score in counted], weights=weights))
        success = np.average([score.curves["success"] for score in counted], axis=0, weights=weights)
        return _pooled_figures(average, success, seconds), {"success": success}


class Got10kOnePassProtocol(EvaluationProtocol):
    """The rules by which the GOT-10k toolkit evaluates other data sets.

    1. The first box becomes the true one. The first frame counts.
    2. Boxes and truth are cut to the shorter of the two.
    3. LaSOT and UAV123: frames whose truth holds NaN are left out. Elsewhere they are misses.
    4. Overlap must exceed its threshold, distance may equal it; NaN is a miss. No flags are used, no box is replaced.
    5. ``success_score`` is the mean of the 21 values of the success curve, ``success_rate`` is the curve at 0.5,
       ``precision_score`` is precision at 20 px.
    6. LaSOT: ``normalized_precision_score`` is the mean of the 51 values from 0 to 0.5. Distances are divided by width
       and height of the truth, by at least 1 px each.
    7. Every video weighs the same. ``speed_fps`` is the mean over videos of the mean of 1 / seconds; NaN if
       not measured.

    Metrics are shares of 1.
    """

    name = "got10k"
    headline = "success_score"
    scale = 1.0

    def __init__(self, dataset_name: str) -> None:
        """Choose the rules.

        Args:
            dataset_name: of the data set, which some rules depend on.
        """
        self._skips_nan = dataset_name in _SKIPPING_NAN
        self.thresholds: Mapping[str, Floats] = {"success": np.linspace(0.0, 1.0, 21), "precision": np.arange(51.0)}
        if dataset_name in _NORMALISING:
            self.thresholds = {**self.thresholds, "normalised_precision": np.linspace(0.0, 0.5, 51)}

    def score(self, video: Video, boxes_xywh_px: Floats, seconds: Floats | None = None) -> VideoScore:
        """Score the boxes of one video; see :meth:`EvaluationProtocol.score`."""
        boxes, truth = boxes_to_score(video, boxes_xywh_px), video.boxes_xywh_px
        boxes[0] = truth[0]
        num_frames = min(len(boxes), len(truth))
        boxes, truth = boxes[:num_frames], truth[:num_frames]
        if self._skips_nan:
            known = ~np.isnan(truth).any(axis=1)
            boxes, truth = boxes[known], truth[known]
        if not len(truth):
            raise DataError(
                f"the truth of video {video.name!r} holds NaN in every frame; expected one without. Leave the "
                "video out."
            )
        values = {
            "success": _clipped_overlaps(boxes, truth),
            "precision": centre_distances_px(boxes, truth),
            "normalised_precision": _normalised_distances(boxes, truth),
        }
        curves = {
            name: (shares_above if name == "success" else shares_within)(values[name], thresholds, len(truth))
            for name, thresholds in self.thresholds.items()
        }
        speed = math.nan if seconds is None else _frames_per_second(seconds)
        figures = {**_one_pass_figures(curves), "speed_fps": speed}
        return VideoScore.of(video, boxes_xywh_px, seconds, figures, curves)

    def summarise(self, scores: Sequence[VideoScore]) -> tuple[dict[str, float], dict[str, Floats]]:
        """Return the metrics and the mean curves of several videos."""
        curves = {name: rows.mean(axis=0) for name, rows in stack_curves(scores).items()}
        speeds = [score.figures["speed_fps"] for score in scores if not math.isnan(score.figures["speed_fps"])]
        return {**_one_pass_figures(curves), "speed_fps": float(np.mean(speeds)) if speeds else math.nan}, curves


def _image_size_px(video: Video) -> tuple[int, int]:
    """Return the width and the height to which boxes are clipped."""
    resolution = re.fullmatch(r"([0-9]+)x([0-9]+)", video.about.get("resolution", ""))
    return (int(resolution[1]), int(resolution[2])) if resolution else video.frame_size_px(0)


def _clip(boxes_xywh_px: Floats, size_px: tuple[int, int]) -> Floats:
    corner = boxes_xywh_px[:, :2].clip(0, size_px)
    return np.concatenate([corner, boxes_xywh_px[:, 2:].clip(0, size_px - corner)], axis=1)


def _clipped_overlaps(boxes: Floats, truth: Floats) -> Floats:
    """Return overlaps in [0, 1]; 0 where both boxes are empty, NaN where one is NaN."""
    return overlaps(boxes, truth, eps_px2=_EPS_PX2).clip(0.0, 1.0)


def _normalised_distances(boxes: Floats, truth: Floats) -> Floats:
    offsets = (centres_px(boxes) - centres_px(truth)) / np.maximum(1.0, truth[:, 2:])
    distances: Floats = np.sqrt((offsets**2).sum(axis=1))
    return distances


def _covers(video: Video) -> NDArray[np.int64]:
    covers = video.labels.get("cover")
    if covers is None or len(covers) != len(video):
        raise DataError(
            f"video {video.name!r} has {'no' if covers is None else len(covers)} labels 'cover' for "
            f"{len(video)} frames; GOT-10k's rules need one for each, 0 to 8. Read them from cover.label, or use "
            "another protocol."
        )
    return covers


def _frames_per_second(seconds: Floats) -> float:
    """Return the mean of 1 / seconds over positive ones; NaN is not positive."""
    measured = seconds[seconds > 0]
    return float((1.0 / measured).mean()) if len(measured) else math.nan


def _pooled_figures(average: float, success: Floats, seconds: Floats) -> dict[str, float]:
    return {
        "AO": average,
        "SR50": float(success[50]),
        "SR75": float(success[75]),
        "speed_fps": _frames_per_second(seconds),
    }


def _one_pass_figures(curves: Mapping[str, Floats]) -> dict[str, float]:
    figures = {
        "success_score": float(curves["success"].mean()),
        "success_rate": float(curves["success"][10]),
        "precision_score": float(curves["precision"][20]),
    }
    if "normalised_precision" in curves:
        figures["normalized_precision_score"] = float(curves["normalised_precision"].mean())
    return figures
