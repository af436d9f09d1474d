"""Scores of trackers by a protocol: of one video, of a data set.

A protocol is the set of rules of one public tool. Metrics of different protocols cannot be compared, so each carries
the name of its protocol.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ctsdk.data.videos import Floats, Video
from ctsdk.errors import ConfigError, DataError

__all__ = ["Evaluation", "EvaluationProtocol", "VideoScore", "boxes_to_score", "repetitions_by_name", "stack_curves"]


@dataclass(frozen=True, eq=False)
class VideoScore:
    """One tracker on one video, by one protocol.

    Attributes:
        name: of the video.
        figures: metrics by the names that the protocol's tool gives them, on its scale: ``{"AUC": 61.2, "P": ...}``.
        curves: by name, shares of frames at the protocol's thresholds: ``{"success": ...}``.
        attributes: of the video.
        weight: the number of frames that count, where the protocol pools frames; 1 otherwise.
        boxes_xywh_px: (M, 4), the tracker's own, before the protocol changed them.
        seconds: (M,), how long each frame took; empty if not measured.
    """

    name: str
    figures: Mapping[str, float]
    curves: Mapping[str, Floats]
    attributes: tuple[str, ...] = ()
    weight: float = 1.0
    boxes_xywh_px: Floats = field(default_factory=lambda: np.empty((0, 4)))
    seconds: Floats = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(
        cls,
        video: Video,
        boxes_xywh_px: Floats,
        seconds: Floats | None,
        figures: Mapping[str, float],
        curves: Mapping[str, Floats],
        weight: float = 1.0,
    ) -> VideoScore:
        """Return the score of a video with its name and its attributes; `seconds` is None if not measured."""
        return cls(
            name=video.name,
            figures=figures,
            curves=curves,
            attributes=video.attributes,
            weight=weight,
            boxes_xywh_px=np.array(boxes_xywh_px, dtype=np.float64),
            seconds=np.array([] if seconds is None else seconds, dtype=np.float64),
        )


class EvaluationProtocol(ABC):
    """The rules by which boxes become metrics. Protocols can be pickled.

    Attributes:
        name: what users type.
        headline: the metric by which trackers are compared first.
        scale: 100 if shares of frames are given in percent, else 1.
        thresholds: of each curve, by its name.
    """

    name: str
    headline: str
    scale: float
    thresholds: Mapping[str, Floats]

    @property
    def label(self) -> str:
        """The name of the protocol with the options that make metrics incomparable; shown beside every metric."""
        return self.name

    @abstractmethod
    def score(self, video: Video, boxes_xywh_px: Floats, seconds: Floats | None = None) -> VideoScore:
        """Score the boxes of one video.

        Args:
            video: its true boxes and labels.
            boxes_xywh_px: (M, 4), predicted, the first frame's included.
            seconds: (M,), how long each frame took; None if not measured.

        Raises:
            DataError: the public tool refuses such boxes or such truth, the video lacks labels, or its truth is not
                public.
        """

    @abstractmethod
    def summarise(self, scores: Sequence[VideoScore]) -> tuple[dict[str, float], dict[str, Floats]]:
        """Return the metrics and the curves of several videos together.

        Args:
            scores: at least one, all by this protocol; one for each repetition of a video.
        """


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One tracker on a data set, by one protocol.

    Attributes:
        protocol: by whose rules.
        dataset_name: such as ``lasot``.
        videos: the score of each video, or of each repetition where there are several.

    Raises:
        DataError: there are no videos.
    """

    protocol: EvaluationProtocol
    dataset_name: str
    videos: tuple[VideoScore, ...]

    def __post_init__(self) -> None:
        if not self.videos:
            raise DataError(
                f"the data set {self.dataset_name!r} has no videos; expected at least one. Check its folder and split."
            )

    @cached_property
    def _summary(self) -> tuple[dict[str, float], dict[str, Floats]]:
        return self.protocol.summarise(self.videos)

    @property
    def figures(self) -> dict[str, float]:
        """The metrics of the data set by the names that the protocol's tool gives them, on its scale."""
        return self._summary[0]

    @property
    def curves(self) -> dict[str, Floats]:
        """The curves of the data set by name, shares of frames at ``protocol.thresholds``."""
        return self._summary[1]

    @property
    def headline(self) -> float:
        """The metric by which trackers are compared first."""
        return self.figures[self.protocol.headline]

    @property
    def auc(self) -> float:
        """Area under the success curve, a share of 1; ConfigError where the protocol has none."""
        return self._share("AUC")

    @property
    def precision(self) -> float:
        """Share of frames whose centre is off by at most 20 px; ConfigError where the protocol has no such metric."""
        return self._share("P")

    @property
    def normalised_precision(self) -> float:
        """Share of frames whose centre is off by at most 0.2 of the target's size; ConfigError as for precision."""
        return self._share("P_norm")

    @property
    def success(self) -> Floats:
        """The success curve; (21,) in one-pass evaluation: shares of frames whose overlap exceeds 0, 0.05, ..., 1."""
        return self.curves["success"]

    def by_attribute(self) -> dict[str, dict[str, float]]:
        """Return the metrics of the videos that have an attribute, by attribute, sorted by name."""
        attributes = sorted({attribute for score in self.videos for attribute in score.attributes})
        return {
            attribute: self.protocol.summarise([score for score in self.videos if attribute in score.attributes])[0]
            for attribute in attributes
        }

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {value:.2f}" for name, value in self.figures.items())
        return f"{self.dataset_name} by {self.protocol.label}: {figures}"

    def _share(self, figure: str) -> float:
        if figure not in self.figures:
            raise ConfigError(
                f"the protocol {self.protocol.label!r} has no metric {figure!r}; it has {', '.join(self.figures)}. Ask "
                "for one of these, or evaluate by 'ostrack'."
            )
        return self.figures[figure] / self.protocol.scale


def boxes_to_score(video: Video, boxes_xywh_px: ArrayLike) -> Floats:
    """Return a copy of predicted boxes, checked, for a protocol to change.

    Args:
        video: what they belong to.
        boxes_xywh_px: (M, 4), one or more.

    Raises:
        DataError: the truth of the video is not public, or the shape is another.
    """
    if not video.has_truth:
        raise DataError(
            f"video {video.name!r} cannot be scored here: its truth is not public, only the first of its "
            f"{len(video)} boxes is. Track it and pack the results for its server."
        )
    boxes = np.array(boxes_xywh_px, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise DataError(
            f"the boxes of video {video.name!r} have shape {boxes.shape}; expected (N, 4), a box for each frame "
            "from the first on."
        )
    return boxes


def stack_curves(scores: Sequence[VideoScore]) -> dict[str, Floats]:
    """Return the curves of S different videos, (S, number of thresholds) by name.

    The curves of several repetitions of a video are averaged first.
    """
    groups = repetitions_by_name(scores).values()
    return {
        curve: np.stack([np.mean([score.curves[curve] for score in group], axis=0) for group in groups])
        for curve in scores[0].curves
    }


def repetitions_by_name(scores: Sequence[VideoScore]) -> dict[str, list[VideoScore]]:
    """Return the scores of each video, one for each repetition, in their order."""
    by_name: dict[str, list[VideoScore]] = {}
    for score in scores:
        by_name.setdefault(score.name, []).append(score)
    return by_name
