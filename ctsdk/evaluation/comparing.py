"""Whether two trackers differ, or only seem to: a paired bootstrap over videos.

A data set is a sample of all possible videos. Drawing its videos again and again, with replacement, shows how far a
difference would move with another sample. Both trackers always get the same draw, because a video that is hard for one
is mostly hard for the other: the interval of their difference is narrower than either tracker's own.

The interval does not show how far a metric moves when a tracker is trained again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ctsdk.data.videos import Floats
from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.scores import Evaluation, VideoScore, repetitions_by_name

__all__ = ["CONFIDENCE", "Comparison", "check_comparable", "compare"]

CONFIDENCE = 0.95
"""The share of draws whose difference lies in the interval."""

# Draws in memory at a time.
_CHUNK = 1000


@dataclass(frozen=True)
class Comparison:
    """One metric of two trackers on the same videos.

    Attributes:
        figure: name of the metric.
        protocol: by whose rules.
        dataset: that both were evaluated on.
        first: the first tracker's, on the protocol's scale.
        second: the second tracker's.
        difference: ``second - first``: above 0 where the second tracker's metric is higher.
        low: lower end of the interval that holds 95 % of the differences of the draws.
        high: upper end of it.
        num_videos: that both were evaluated on.
        num_resamples: how often the videos were drawn.
    """

    figure: str
    protocol: str
    dataset: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    num_videos: int
    num_resamples: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return (
            f"{self.figure} ({self.protocol}) {self.first:.4g} and {self.second:.4g}: difference "
            f"{self.difference:+.3g}, {CONFIDENCE:.0%} interval {self.low:+.3g} to {self.high:+.3g} over "
            f"{self.num_videos} videos"
        )


def compare(
    first: Evaluation, second: Evaluation, *, figure: str | None = None, num_resamples: int = 10_000, seed: int = 0
) -> Comparison:
    """Return the difference of two trackers with its 95 % percentile interval over videos.

    A video has the weight in a draw that it has in the metric of the data set: all have the same where that is a mean
    over videos; where frames are pooled, the number of its frames.

    Args:
        first: the evaluation that the second is compared with.
        second: by the same protocol, on the same videos, in any order.
        figure: name of the metric; None for the protocol's headline.
        num_resamples: how often the videos are drawn.
        seed: of the draws.

    Raises:
        ConfigError: the protocols, the data sets or the videos differ; the protocol has no such metric, or it is no
            mean over videos or frames; there are no resamples.
        DataError: there are fewer than two videos.
    """
    check_comparable({"first": first, "second": second})
    if num_resamples < 1:
        raise ConfigError(f"num_resamples is {num_resamples}; expected at least 1, such as 10000.")
    name = figure or first.protocol.headline
    numerators, denominators = _sums(first, second, name)
    num_videos = numerators.shape[1]
    if num_videos < 2:
        raise DataError(
            f"{num_videos} video with frames that count is too few to draw from; expected at least 2, better 50. "
            "One video does not show how far a difference moves with the choice of videos."
        )
    drawn = _draw_differences(numerators, denominators, num_resamples, seed)
    low, high = np.quantile(drawn, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Comparison(
        figure=name,
        protocol=first.protocol.label,
        dataset=first.dataset_name,
        first=first.figures[name],
        second=second.figures[name],
        difference=second.figures[name] - first.figures[name],
        low=float(low),
        high=float(high),
        num_videos=num_videos,
        num_resamples=num_resamples,
    )


def check_comparable(evaluations: Mapping[str, Evaluation]) -> None:
    """Refuse evaluations that cannot be compared.

    Args:
        evaluations: by the tracker's label.

    Raises:
        ConfigError: there are none, or their protocols, data sets or videos differ.
    """
    if not evaluations:
        raise ConfigError("there are no evaluations to show; expected at least one, by the tracker's label.")
    (label, first), *others = evaluations.items()
    for other_label, other in others:
        for what, seen, expected in (
            ("protocol", other.protocol.label, first.protocol.label),
            ("data set", other.dataset_name, first.dataset_name),
        ):
            if seen != expected:
                raise ConfigError(
                    f"the {what} of {other_label!r} is {seen!r} and that of {label!r} {expected!r}; their metrics "
                    "cannot be compared. Evaluate both alike."
                )
        names, other_names = ({score.name for score in each.videos} for each in (first, other))
        if names != other_names:
            lacking = sorted(names ^ other_names)
            raise ConfigError(
                f"{label!r} and {other_label!r} were evaluated on different videos: {len(lacking)} are in one only, "
                f"such as {lacking[0]!r}. Evaluate both on the same."
            )


def _sums(first: Evaluation, second: Evaluation, figure: str) -> tuple[Floats, Floats]:
    """Return numerators and denominators of the two trackers' means, (2, S) each.

    A protocol may pool frames for one metric and not for another. Which it does is found by computing both means and
    comparing them with the protocol's own result.
    """
    both = (first, second)
    for evaluation in both:
        if figure not in evaluation.figures:
            raise ConfigError(
                f"protocol {evaluation.protocol.label!r} has no metric {figure!r}; it has "
                f"{', '.join(evaluation.figures)}."
            )
    repetitions = [repetitions_by_name(evaluation.videos) for evaluation in both]
    wholes = [evaluation.figures[figure] for evaluation in both]
    for is_pooled in (False, True):
        parts = np.array(
            [[_part(by_name[name], figure, is_pooled) for name in repetitions[0]] for by_name in repetitions]
        )
        numerators, denominators = parts[..., 0], parts[..., 1]
        with np.errstate(invalid="ignore"):
            means = numerators.sum(axis=1) / denominators.sum(axis=1)
        if np.allclose(means, wholes, rtol=1e-6, atol=0.0):
            # A video without a frame that counts adds nothing to a mean.
            counts = (denominators > 0).all(axis=0)
            return numerators[:, counts], denominators[:, counts]
    raise ConfigError(
        f"{figure} by protocol {first.protocol.label!r} is no mean over videos or their frames, or is no number, so "
        "drawing videos says nothing about it. Compare another metric, or leave out videos that have none."
    )


def _part(repetitions: Sequence[VideoScore], figure: str, is_pooled: bool) -> tuple[float, float]:
    """Return what a video adds to the numerator and to the denominator of a mean; its repetitions are averaged."""
    weights = [score.weight if is_pooled else 1.0 / len(repetitions) for score in repetitions]
    # A video without a frame that counts may lack the metric.
    terms = [
        weight * score.figures.get(figure, np.nan) for weight, score in zip(weights, repetitions, strict=True) if weight
    ]
    return sum(terms), sum(weights)


def _draw_differences(numerators: Floats, denominators: Floats, num_resamples: int, seed: int) -> Floats:
    """Return (num_resamples,) differences of the second mean and the first."""
    rng, num_videos = np.random.default_rng(seed), numerators.shape[1]
    shares = np.full(num_videos, 1.0 / num_videos)
    differences = []
    for start in range(0, num_resamples, _CHUNK):
        # A mean depends only on how often each video is drawn.
        counts = rng.multinomial(num_videos, shares, size=min(_CHUNK, num_resamples - start)).astype(np.float64)
        first, second = (counts @ numerators[row] / (counts @ denominators[row]) for row in (0, 1))
        differences.append(second - first)
    return np.concatenate(differences)
