"""Scoring the result files of any tracker, written by any tool."""

from __future__ import annotations

import logging
from pathlib import Path

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.videos import Video
from ctsdk.errors import DataError
from ctsdk.evaluation.preparing import choose_protocol
from ctsdk.evaluation.protocols.trackingnet import TrackingNetProtocol
from ctsdk.evaluation.results.reading import ResultFiles, find_results
from ctsdk.evaluation.scores import Evaluation, EvaluationProtocol, VideoScore

__all__ = ["score_results"]

_logger = logging.getLogger(__name__)


def score_results(
    place: str | Path,
    dataset: VideoDataset,
    *,
    protocol: str | EvaluationProtocol | None = None,
    skip_missing: bool = False,
) -> Evaluation:
    """Score a tracker's result files; no frame is read.

    Boxes are scored as the files have them, NaN included: what a protocol does with them is part of its rules.
    Several repetitions of a video count as the protocol says.

    Args:
        place: a folder or an archive of result files; see :func:`ctsdk.evaluation.results.reading.find_results`.
        dataset: what was tracked.
        protocol: whose rules, by name or made by :func:`~ctsdk.evaluation.protocols.names.make_protocol`; None
            for the data set's own.
        skip_missing: leave videos without results out, with a warning, instead of refusing; TrackingNet's protocol
            counts them as boxes of zero.

    Raises:
        DataError: results are missing or cannot be read, or the protocol refuses them or the truth.
        ConfigError: there is no such protocol.
    """
    rules = choose_protocol(protocol, dataset)
    found = find_results(place, dataset)
    if found.missing and not isinstance(rules, TrackingNetProtocol):
        _refuse_or_warn(found, dataset, skip_missing=skip_missing)
    scores = [
        score
        for name, video in zip(dataset.names, dataset, strict=True)
        if name in found.paths or isinstance(rules, TrackingNetProtocol)
        for score in _scores(video, name, found, rules)
    ]
    return Evaluation(rules, str(dataset), tuple(scores))


def _refuse_or_warn(found: ResultFiles, dataset: VideoDataset, *, skip_missing: bool) -> None:
    seen = (
        f"{len(found.missing)} of {len(dataset)} videos of {dataset} have no results, the first of them "
        f"{found.missing[0]!r}"
    )
    if not skip_missing:
        raise DataError(f"{seen}; expected all. Track them, or skip what is missing (skip_missing, --skip-missing).")
    _logger.warning("%s: left out, so the metrics are not those of the data set", seen)


def _scores(video: Video, name: str, found: ResultFiles, rules: EvaluationProtocol) -> list[VideoScore]:
    """Return the score of each repetition of a video."""
    if name not in found.paths and isinstance(rules, TrackingNetProtocol):
        return [rules.missing(video)]
    scores = []
    for repetition in found.read(name):
        # If counts differ, times cannot be matched to frames; ignore them.
        seconds = repetition.seconds if len(repetition.seconds) == len(repetition.boxes_xywh_px) else None
        try:
            scores.append(rules.score(video, repetition.boxes_xywh_px, seconds))
        except DataError as error:
            raise DataError(f"{repetition.place}: {error}") from error
    return scores
