"""One-pass evaluation by the rules of pytracking and of the OSTrack family.

The family's metrics on LaSOT, its extension, UAV123, NFS, OTB and TNL2K come from these rules, applied in this order:

1. NaN boxes and negative sizes are refused; NaN truth is too, except on UAV123.
2. A box of zero width or height becomes the box before it, unless the truth of its frame holds NaN.
3. Boxes beyond the truth are cut. Missing ones become zero boxes, hence misses; LaSOT refuses them.
4. The first box becomes the true one. The first frame counts.
5. A frame is valid if its truth is, and the target is visible where the data set's flags are used. Truth is valid with
   a width and a height; for pytracking itself its left and top must be above 0 too.
6. Invalid frames miss every overlap threshold. They miss every distance threshold too, except on UAV123, where they
   satisfy it. They satisfy every normalised threshold, except unseen frames on LaSOT.
7. Shares are of all frames, or optionally of the valid ones; the counts stay the same, so that a normalised precision
   may then exceed 100. Overlap must exceed its threshold; distance may equal it.

Every video weighs the same, however long it is.

Source: botaoye/OSTrack @ 33b5e12, lib/test/analysis/extract_results.py and plot_results.py; visionml/pytracking @
7eb9e74, pytracking/analysis, which differs in step 5 only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

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

__all__ = ["FrameErrors", "OnePassProtocol"]


@dataclass(frozen=True)
class _Rules:
    """The rules that depend on the data set.

    Attributes:
        uses_visibility: whether the tool uses the data set's flags of visible targets.
        allows_short: whether missing boxes are misses; otherwise they are refused.
        allows_nan_truth: whether a row of the truth may hold NaN.
        invalid_px: the distance in invalid frames.
        unseen: the normalised distance in frames whose target is not visible.
    """

    uses_visibility: bool = False
    allows_short: bool = True
    allows_nan_truth: bool = False
    invalid_px: float = math.inf
    unseen: float = -1.0


_GENERIC = _Rules()
_RULES: Final[Mapping[str, _Rules]] = {
    "lasot": _Rules(uses_visibility=True, allows_short=False, unseen=math.inf),
    "lasot_ext": _Rules(uses_visibility=True),
    "uav123": _Rules(allows_nan_truth=True, invalid_px=-1.0),
    **dict.fromkeys(("got10k", "trackingnet", "tnl2k", "nfs", "otb", "vot", "coco", "vid"), _GENERIC),
}
# Custom data: frames whose target is flagged as absent are invalid.
_CUSTOM = _Rules(uses_visibility=True)


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """The errors of one tracker in each of N frames, as the curves count them.

    Attributes:
        overlaps: (N,), intersection over union; -1 in invalid frames.
        distances_px: (N,), between centres; infinity in invalid frames, -1 on UAV123.
        normalised_distances: (N,), the same in widths and heights of the true box; -1 in invalid frames, infinity in
            unseen ones on LaSOT.
        valid: (N,), the frames whose truth is valid and, where flags are used, whose target is visible.
    """

    overlaps: Floats
    distances_px: Floats
    normalised_distances: Floats
    valid: NDArray[np.bool_]


class OnePassProtocol(EvaluationProtocol):
    """One-pass evaluation by the rules of this module.

    Metrics of a data set: ``AUC``, ``OP50``, ``OP75``, ``P`` (20 px) and ``P_norm`` (0.20), in percent. A video has
    ``AO_valid_frames`` too, the mean overlap over its valid frames, a share of 1.
    """

    headline = "AUC"
    scale = 100.0
    thresholds = ONE_PASS_THRESHOLDS

    def __init__(
        self, name: str, dataset_name: str, *, exclude_invalid_frames: bool = False, integer_boxes: bool = False
    ) -> None:
        """Choose the rules.

        Args:
            name: ``pytracking`` for its own rule of validity, ``ostrack`` for the family's.
            dataset_name: of the data set, which some rules depend on.
            exclude_invalid_frames: take shares of valid frames only.
            integer_boxes: cut coordinates towards zero first, as official result files have them.
        """
        self.name = name
        self.exclude_invalid_frames = exclude_invalid_frames
        self.integer_boxes = integer_boxes
        self._rules = _RULES.get(dataset_name, _CUSTOM)

    @property
    def label(self) -> str:
        """The name and the options in use."""
        options = {"valid frames only": self.exclude_invalid_frames, "integer boxes": self.integer_boxes}
        chosen = [option for option, on in options.items() if on]
        return f"{self.name} ({', '.join(chosen)})" if chosen else self.name

    def score(self, video: Video, boxes_xywh_px: Floats, seconds: Floats | None = None) -> VideoScore:
        """Score the boxes of one video; see :meth:`EvaluationProtocol.score`."""
        errors = self.frame_errors(video, boxes_xywh_px)
        num_frames = int(errors.valid.sum()) if self.exclude_invalid_frames else len(errors.valid)
        if not num_frames:
            raise DataError(
                f"video {video.name!r} has no valid frame; expected one at least. Leave it out, or keep invalid frames."
            )
        curves = one_pass_curves(errors.overlaps, errors.distances_px, errors.normalised_distances, num_frames)
        valid = errors.overlaps[errors.valid]
        figures = {**_figures(curves), "AO_valid_frames": float(valid.mean()) if len(valid) else math.nan}
        return VideoScore.of(video, boxes_xywh_px, seconds, figures, curves)

    def summarise(self, scores: Sequence[VideoScore]) -> tuple[dict[str, float], dict[str, Floats]]:
        """Return the metrics and the mean curves of several videos."""
        curves = {name: rows.mean(axis=0) for name, rows in stack_curves(scores).items()}
        return _figures(curves), curves

    def frame_errors(self, video: Video, boxes_xywh_px: Floats) -> FrameErrors:
        """Return overlap and distances in every frame.

        Args:
            video: its true boxes.
            boxes_xywh_px: (M, 4), predicted, the first frame's included.

        Raises:
            DataError: the public tool refuses such boxes or such truth, or the truth is not public.
        """
        boxes, truth = boxes_to_score(video, boxes_xywh_px), video.boxes_xywh_px
        if self.integer_boxes:
            boxes = _cut_to_integers(boxes)
        _refuse(video.name, boxes, truth, self._rules)
        boxes = _fit_to(truth, boxes)
        visible = video.visible if self._rules.uses_visibility else np.ones(len(truth), dtype=bool)
        # NaN is above nothing.
        needed = truth if self.name == "pytracking" else truth[:, 2:]
        valid = (needed > 0).all(axis=1) & visible

        overlap = np.where(valid, overlaps_of_pixels(boxes, truth), -1.0)
        normalised = np.where(valid, normalised_centre_distances(boxes, truth), -1.0)
        unclear = np.isnan(overlap) | (np.isnan(truth).any(axis=1) & valid)
        if unclear.any():
            row = int(np.flatnonzero(unclear)[0])
            raise DataError(
                f"video {video.name!r}: box {boxes[row].tolist()} and truth {truth[row].tolist()} of frame {row} "
                "have no overlap that is a number. Correct whichever is wrong."
            )
        return FrameErrors(
            overlaps=overlap,
            distances_px=np.where(valid, centre_distances_px(boxes, truth), self._rules.invalid_px),
            normalised_distances=np.where(visible, normalised, self._rules.unseen),
            valid=valid,
        )


def _cut_to_integers(boxes: Floats) -> Floats:
    """Return boxes as official result files have them."""
    saved = np.trunc(boxes)
    # The official cast to int64 turns NaN into the smallest integer, far outside any frame. Sizes of NaN are refused.
    saved[:, :2] = np.where(np.isnan(saved[:, :2]), -(2.0**63), saved[:, :2])
    return saved


def _refuse(name: str, boxes: Floats, truth: Floats, rules: _Rules) -> None:
    wrong = np.isnan(boxes).any(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"video {name!r}: box {row} is {boxes[row].tolist()}; expected numbers and sizes of at least 0. "
            "Write a lost target as its last box."
        )
    if np.isnan(truth).any() and not rules.allows_nan_truth:
        row = int(np.flatnonzero(np.isnan(truth).any(axis=1))[0])
        raise DataError(
            f"video {name!r}: the truth of frame {row} is {truth[row].tolist()}, which the family's code refuses "
            "everywhere but on UAV123. Mark absent targets by visible=False instead."
        )
    if len(boxes) < len(truth) and not rules.allows_short:
        raise DataError(
            f"video {name!r} has {len(boxes)} boxes for {len(truth)} frames, which the family's code refuses on "
            "LaSOT. Run the tracker to the end."
        )
    beyond = np.flatnonzero((boxes[len(truth) :, 2:] == 0).any(axis=1))
    if len(beyond):
        raise DataError(
            f"video {name!r}: box {len(truth) + beyond[0]} is empty and beyond the last of {len(truth)} frames, "
            "where the family's code fails. Cut the boxes to the frames."
        )


def _fit_to(truth: Floats, boxes: Floats) -> Floats:
    """Return one box per frame: empty ones repeat the one before, surplus is cut, missing are 0, the first is true."""
    boxes = boxes[: len(truth)]
    known = ~np.isnan(truth[: len(boxes)]).any(axis=1)
    filled = repeat_previous(boxes, (boxes[:, 2:] == 0).any(axis=1) & known)
    filled = np.concatenate([filled, np.zeros((len(truth) - len(boxes), 4))])
    filled[0] = truth[0]
    return filled


def _figures(curves: Mapping[str, Floats]) -> dict[str, float]:
    figures = one_pass_figures(curves)
    success = {name: 100 * float(curves["success"][index]) for name, index in {"OP50": 10, "OP75": 15}.items()}
    return {"AUC": figures["AUC"], **success, "P": figures["P"], "P_norm": figures["P_norm"]}
