"""Whether two trackers differ, or only seem to: a paired bootstrap over videos.

A data set is a sample of the videos that there could be. Drawing its videos again and again, with replacement, shows
how far a difference would move with another sample. Both trackers always get the same draw, because a video that is
hard for one is mostly hard for the other: the interval of their difference is narrower than either tracker's own.

What it does not show is how far a figure moves when a tracker is trained again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ctsdk.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ctsdk.evaluation.scores import Evaluation, VideoScore

__all__ = ["CONFIDENCE", "Comparison", "check_comparable", "compare", "runs_by_name"]

CONFIDENCE = 0.95
"""The share of draws whose difference lies in the interval."""

# Draws that are in memory at once.
_CHUNK = 1000


@dataclass(frozen=True)
class Comparison:
    """One figure of two trackers on the same videos.

    Attributes:
        figure: its name.
        protocol: that made it.
        dataset: that both were run on.
        first: the first tracker's, on the protocol's scale.
        second: the second tracker's.
        difference: ``second - first``: above 0 where the second tracker's figure is higher.
        low: lower end of the interval that holds 95 % of the differences of the draws.
        high: upper end of it.
        num_videos: that both were run on.
        num_resamples: how often they were drawn.
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
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return (
            f"{self.figure} ({self.protocol}) {self.first:.4g} and {self.second:.4g}: difference "
            f"{self.difference:+.3g}, {CONFIDENCE:.0%} interval {self.low:+.3g} to {self.high:+.3g} over "
            f"{self.num_videos} videos"
        )


def compare(
    first: Evaluation,
    second: Evaluation,
    *,
    figure: str | None = None,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Return the difference of two trackers with its 95 % percentile interval over videos.

    A video counts in a draw as it counts in the figure of the data set: all the same where that is a mean over
    videos, by its number of frames where frames are pooled.

    Args:
        first: what the second is compared with.
        second: by the same protocol, on the same videos, in any order.
        figure: name of the figure; None for the one that the protocol puts first.
        num_resamples: how often the videos are drawn.
        seed: of the draws.

    Raises:
        ConfigError: the protocols, the data sets or the videos differ; the protocol has no such figure, or it
            is no mean over videos or frames; there are no resamples.
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
    drawn = _drawn_differences(numerators, denominators, num_resamples, seed)
    low, high = np.quantile(drawn, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    values = [evaluation.figures[name] for evaluation in (first, second)]
    return Comparison(
        figure=name,
        protocol=first.protocol.label,
        dataset=first.dataset_name,
        first=values[0],
        second=values[1],
        difference=values[1] - values[0],
        low=float(low),
        high=float(high),
        num_videos=num_videos,
        num_resamples=num_resamples,
    )


def check_comparable(evaluations: Mapping[str, Evaluation]) -> None:
    """Refuse to put evaluations side by side that were not made alike.

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
                    f"the {what} of {other_label!r} is {seen!r} and that of {label!r} {expected!r}; their figures "
                    "cannot be compared. Evaluate both alike."
                )
        names, other_names = ({score.name for score in each.videos} for each in (first, other))
        if names != other_names:
            lacking = sorted(names ^ other_names)
            raise ConfigError(
                f"{label!r} and {other_label!r} were evaluated on different videos: {len(lacking)} are in one only, "
                f"such as {lacking[0]!r}. Evaluate both on the same."
            )


def runs_by_name(evaluation: Evaluation) -> dict[str, list[VideoScore]]:
    """Return the scores of each video, one for each time that it was run, in the order of the evaluation."""
    runs: dict[str, list[VideoScore]] = {}
    for score in evaluation.videos:
        runs.setdefault(score.name, []).append(score)
    return runs


def _sums(first: Evaluation, second: Evaluation, figure: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return numerators and denominators of the two trackers' means, (2, S) each.

    A protocol may pool the frames for one of its figures and not for another. Which it does, its own figure tells.
    """
    both = (first, second)
    for evaluation in both:
        if figure not in evaluation.figures:
            raise ConfigError(
                f"protocol {evaluation.protocol.label!r} has no figure {figure!r}; it has "
                f"{', '.join(evaluation.figures)}."
            )
    runs, wholes = (
        [runs_by_name(evaluation) for evaluation in both],
        [evaluation.figures[figure] for evaluation in both],
    )
    for is_pooled in (False, True):
        parts = np.array([[_part(of_tracker[name], figure, is_pooled) for name in runs[0]] for of_tracker in runs])
        numerators, denominators = parts[..., 0], parts[..., 1]
        with np.errstate(invalid="ignore"):
            means = numerators.sum(axis=1) / denominators.sum(axis=1)
        if np.allclose(means, wholes, rtol=1e-6, atol=0.0):
            # A video without a frame that counts brings nothing to draw.
            counts = (denominators > 0).all(axis=0)
            return numerators[:, counts], denominators[:, counts]
    raise ConfigError(
        f"{figure} by protocol {first.protocol.label!r} is no mean over videos or their frames, or is no number, so "
        "drawing videos says nothing about it. Compare another figure, or leave out videos that have none."
    )


def _part(runs: Sequence[VideoScore], figure: str, is_pooled: bool) -> tuple[float, float]:
    """Return what a video adds to the numerator and to the denominator of a mean; runs of it are averaged."""
    weights = [run.weight if is_pooled else 1.0 / len(runs) for run in runs]
    # A video without a frame that counts may have no figure.
    terms = [weight * run.figures.get(figure, np.nan) for weight, run in zip(weights, runs, strict=True) if weight]
    return sum(terms), sum(weights)


def _drawn_differences(
    numerators: NDArray[np.float64], denominators: NDArray[np.float64], num_resamples: int, seed: int
) -> NDArray[np.float64]:
    """Return (num_resamples,) differences of the second mean and the first."""
    rng, num_videos = np.random.default_rng(seed), numerators.shape[1]
    shares = np.full(num_videos, 1.0 / num_videos)
    differences = []
    for start in range(0, num_resamples, _CHUNK):
        # How often each video is drawn is all that a mean needs to know.
        counts = rng.multinomial(num_videos, shares, size=min(_CHUNK, num_resamples - start)).astype(np.float64)
        first, second = (counts @ numerators[row] / (counts @ denominators[row]) for row in (0, 1))
        differences.append(second - first)
    return np.concatenate(differences)
