"""Running a tracker over a data set: every video once, in parallel, and going on where it was interrupted.

Tracking and scoring are two steps. :func:`track_dataset` does the first, :func:`score_tracked` the second, and
:func:`evaluate` both. Sets whose truth is kept behind a server are tracked only.

With a folder, these files are written:

======================  ==========================================================================
``evaluation.json``     whose boxes these are; see :class:`~ctsdk.evaluation.results.manifest.Manifest`
``predictions/``        every finished video; see :class:`~ctsdk.evaluation.results.predictions.PredictionFolder`
``scores.json``         the figures, of the data set, of each video and of each attribute
``videos.csv``       the figures of each video
``attributes.csv``      the figures of each attribute, if the videos have any
======================  ==========================================================================
"""

from __future__ import annotations

import logging
import math
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from ctsdk.data.datasets import VideoDataset
from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.protocols.names import make_protocol
from ctsdk.evaluation.results.manifest import Manifest
from ctsdk.evaluation.results.predictions import PredictionFolder, TrackedVideo
from ctsdk.evaluation.scores import Evaluation, EvaluationProtocol
from ctsdk.evaluation.tables import attribute_table, frames_per_second, video_table
from ctsdk.evaluation.workers import TrackingJob
from ctsdk.ranks import Ranks, open_ranks
from ctsdk.storage.atomic import write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import nn

    from ctsdk.data.videos import Video
    from ctsdk.engine.adapter import TrackerAdapter

__all__ = ["PREDICTIONS_FOLDER", "SCORES_FILE", "evaluate", "score_tracked", "track_dataset"]

PREDICTIONS_FOLDER, SCORES_FILE = "predictions", "scores.json"
_SEQUENCES_FILE, _ATTRIBUTES_FILE = "videos.csv", "attributes.csv"

# What videos that belong to no data set are called together.
_UNNAMED, _UNNAMED_PROTOCOL = "videos", "ostrack"

# A rank waits for the slowest one: for the rest of an evaluation, not for the half hour that is usual in training.
_PATIENCE = timedelta(days=30)

_logger = logging.getLogger(__name__)


def evaluate(
    adapter: TrackerAdapter,
    tracker: nn.Module,
    dataset: Iterable[Video],
    *,
    protocol: str | EvaluationProtocol | None = None,
    out: str | Path | None = None,
    num_workers: int = 0,
    show_progress: bool | None = None,
) -> Evaluation:
    """Track every video once and score it.

    The result does not depend on `num_workers`, nor on how many processes torchrun started: each video is tracked
    by one process, with one thread. Under torchrun, every rank must call this function; each tracks a part, and all
    return the whole.

    Args:
        adapter: the tracker's adapter.
        tracker: the teacher or a student, on the device that it is to run on.
        dataset: a :class:`~ctsdk.data.datasets.VideoDataset`, or any videos with true boxes.
        protocol: whose rules, by name or made by :func:`~ctsdk.evaluation.protocols.names.make_protocol`; None
            for those that the data set goes by, or "ostrack".
        out: folder for boxes and figures. Sequences that are finished there are not tracked again.
        num_workers: processes that track side by side, each with a tracker of its own; 0 for this process alone.
        show_progress: a progress bar on stderr; None for one if stderr is a terminal.

    Raises:
        DataError: the data set is empty, its truth is not public or cannot be scored, or a frame or box cannot be used.
            What is wrong with the truth is found before anything is tracked.
        ConfigError: there is no such protocol, `out` holds another evaluation, or the tracker or the videos cannot
            be sent to another process.
        CtsdkError: a worker process ended. Finished videos are kept in `out`.
    """
    given = _Given.of(dataset)
    rules = given.rules(protocol)
    given.check_scorable(rules)
    with open_ranks(_PATIENCE) as ranks:
        tracked = _Tracking(given, adapter.for_dataset(given.name), tracker, _path(out), ranks).run(
            num_workers, show_progress
        )
        evaluation = given.score(tracked, rules)
        if out is not None and ranks.is_first:
            _write_scores(Path(out), evaluation)
    return evaluation


def track_dataset(
    adapter: TrackerAdapter,
    tracker: nn.Module,
    dataset: Iterable[Video],
    *,
    out: str | Path | None = None,
    num_workers: int = 0,
    show_progress: bool | None = None,
) -> list[TrackedVideo]:
    """Track every video once, and score none: the truth need not be public.

    Args:
        adapter: the tracker's adapter.
        tracker: the teacher or a student, on the device that it is to run on.
        dataset: as for :func:`evaluate`; only the first box of a video is used.
        out: as for :func:`evaluate`.
        num_workers: as for :func:`evaluate`.
        show_progress: as for :func:`evaluate`.

    Returns:
        what the tracker said, in the order of the data set.

    Raises:
        DataError: the data set is empty, or a frame or box cannot be used.
        ConfigError: as :func:`evaluate`.
        CtsdkError: as :func:`evaluate`.
    """
    given = _Given.of(dataset)
    with open_ranks(_PATIENCE) as ranks:
        return _Tracking(given, adapter.for_dataset(given.name), tracker, _path(out), ranks).run(
            num_workers, show_progress
        )


def score_tracked(
    dataset: Iterable[Video],
    tracked: Iterable[TrackedVideo],
    *,
    protocol: str | EvaluationProtocol | None = None,
) -> Evaluation:
    """Score what was tracked before.

    Args:
        dataset: as for :func:`evaluate`.
        tracked: boxes of all its videos, in any order; those of others are left alone.
        protocol: as for :func:`evaluate`.

    Raises:
        DataError: the data set is empty, its truth is not public or cannot be scored, or boxes are missing.
        ConfigError: there is no such protocol.
    """
    given = _Given.of(dataset)
    rules = given.rules(protocol)
    given.check_scorable(rules)
    by_name = {each.name: each for each in tracked}
    missing = [video.name for video in given.videos if video.name not in by_name]
    if missing:
        raise DataError(
            f"there are no boxes of {len(missing)} videos, the first of them {missing[0]!r}; expected those of all "
            f"{len(given.videos)}. Track the rest, or score a data set without it."
        )
    return given.score([by_name[video.name] for video in given.videos], rules)


@dataclass(frozen=True)
class _Given:
    """A data set whose annotations have been read.

    Attributes:
        dataset: as it was given.
        name: that protocols go by.
        title: the name for people.
        videos: at least one, each with a first box and a name of its own.
    """

    dataset: Iterable[Video]
    name: str
    title: str
    videos: tuple[Video, ...]

    @classmethod
    def of(cls, dataset: Iterable[Video]) -> _Given:
        """Read the annotations.

        Raises:
            DataError: there is no video, a name is used twice, or a tracker cannot start from the first box.
        """
        name, title = (dataset.name, str(dataset)) if isinstance(dataset, VideoDataset) else (_UNNAMED, _UNNAMED)
        videos = tuple(dataset)
        if not videos:
            raise DataError(f"{title} has no videos; expected at least one. Check its folder and split.")
        seen = set()
        for video in videos:
            if video.name in seen:
                raise DataError(f"{title} has two videos called {video.name!r}; results are kept by name. Rename one.")
            seen.add(video.name)
            box = video.boxes_xywh_px[0]
            if not (np.isfinite(box).all() and (box[2:] > 0).all()):
                raise DataError(
                    f"video {video.name!r}: the first true box is {box.tolist()}; a tracker starts from it, so "
                    "expected four numbers with a width and a height. Begin the video where the target is."
                )
        return cls(dataset, name, title, videos)

    def rules(self, protocol: str | EvaluationProtocol | None) -> EvaluationProtocol:
        """Return the protocol that is meant."""
        if isinstance(protocol, EvaluationProtocol):
            return protocol
        default = self.dataset.protocol if isinstance(self.dataset, VideoDataset) else _UNNAMED_PROTOCOL
        return make_protocol(protocol or default, self.name)

    def check_scorable(self, rules: EvaluationProtocol) -> None:
        """Find out before hours of tracking what cannot be scored after them.

        Raises:
            DataError: the truth of a video is not public, or the protocol refuses it.
        """
        hidden = [video.name for video in self.videos if not video.has_truth]
        if hidden:
            raise DataError(
                f"the truth of {len(hidden)} of {len(self.videos)} videos of {self.title} is not public, the "
                f"first of them {hidden[0]!r}: only its first box is. Track the data set without scoring it "
                "(ctsdk.evaluation.running.track_dataset), and pack the boxes for its server."
            )
        for video in self.videos:
            # A tracker that never moves; no protocol minds such boxes, so what it minds is the truth.
            rules.score(video, np.tile(video.boxes_xywh_px[0], (len(video), 1)))

    def score(self, tracked: Sequence[TrackedVideo], rules: EvaluationProtocol) -> Evaluation:
        """Score one tracked video for each of the data set's, in its order."""
        scores = [
            rules.score(video, each.boxes_xywh_px, each.seconds)
            for video, each in zip(self.videos, tracked, strict=True)
        ]
        return Evaluation(rules, self.title, tuple(scores))


@dataclass(frozen=True)
class _Tracking:
    """One tracker on one data set, by one process or by several ranks.

    Attributes:
        given: the data set.
        adapter: the tracker's adapter.
        tracker: what tracks.
        out: folder for the boxes, or None.
        ranks: that share the work.
    """

    given: _Given
    adapter: TrackerAdapter
    tracker: nn.Module
    out: Path | None
    ranks: Ranks

    @property
    def folder(self) -> PredictionFolder | None:
        """Where finished videos are kept."""
        return None if self.out is None else PredictionFolder(self.out / PREDICTIONS_FOLDER)

    def run(self, num_workers: int, show_progress: bool | None) -> list[TrackedVideo]:
        """Track what is not finished, and return all of it in the order of the data set."""
        if num_workers < 0:
            raise ConfigError(f"num_workers is {num_workers}; expected 0 or more processes.")
        videos = self.given.videos
        finished = self.ranks.from_first(self._finished)
        if finished:
            _logger.info("%d of %d videos are in %s already", len(finished), len(videos), self.out)
        # The longest first, so that nobody is still at a long one when all others are done.
        pending = sorted(set(range(len(videos))) - set(finished), key=lambda number: (-len(videos[number]), number))
        mine = pending[self.ranks.rank :: self.ranks.num_ranks]
        parts = self.ranks.gather(self._track(mine, num_workers, show_progress))
        for part in parts:
            finished.update(part)
        self._keep_of_others(parts)
        return [finished[number] for number in range(len(videos))]

    def _finished(self) -> dict[int, TrackedVideo]:
        """Return the videos that the folder holds, by number."""
        if self.out is None or self.folder is None:
            return {}
        Manifest.of(self.adapter, self.tracker, self.given.dataset).claim(self.out, PREDICTIONS_FOLDER)
        finished = {}
        for number, video in enumerate(self.given.videos):
            if self.folder.has(video.name):
                finished[number] = self.folder.read(video.name)
                _check_same_video(finished[number], video, self.folder)
        return finished

    def _track(self, numbers: Sequence[int], num_workers: int, show_progress: bool | None) -> dict[int, TrackedVideo]:
        """Track some videos, and keep each as soon as it is done."""
        job = TrackingJob(self.adapter, self.tracker, self.given.videos)
        is_off = None if show_progress is None else not show_progress
        # Without smoothing, so that the speed is that of the whole evaluation.
        bar = tqdm(
            total=sum(len(self.given.videos[number]) for number in numbers),
            desc=f"tracking {self.given.title}",
            unit="frame",
            smoothing=0,
            disable=is_off if numbers and self.ranks.is_first else True,
        )
        done: dict[int, TrackedVideo] = {}
        # Closed at once when something breaks, so that no worker goes on.
        with bar, closing(job.run(numbers, num_workers, bar.update)) as results:
            for number, tracked in results:
                done[number] = tracked
                if self.folder is not None:
                    self.folder.write(tracked)
                bar.set_postfix_str(f"{len(done)} of {len(numbers)} videos")
        return done

    def _keep_of_others(self, parts: Sequence[Mapping[int, TrackedVideo]]) -> None:
        """Write what other ranks tracked, if they write to a disk of their own."""
        if self.folder is None or not self.ranks.is_first:
            return
        for part in parts[1:]:
            for tracked in part.values():
                if not self.folder.has(tracked.name):
                    self.folder.write(tracked)


def _check_same_video(tracked: TrackedVideo, video: Video, folder: PredictionFolder) -> None:
    seen, expected = tracked.boxes_xywh_px[0], video.boxes_xywh_px[0]
    if len(tracked) != len(video) or (seen != expected).any():
        raise ConfigError(
            f"{folder.root} holds {len(tracked)} boxes of a video {video.name!r}, which begin with "
            f"{seen.tolist()}; the data set's has {len(video)} frames and begins with {expected.tolist()}. Use "
            "another folder for another version of the data."
        )


def _write_scores(out: Path, evaluation: Evaluation) -> None:
    of_videos = {
        score.name: {
            "figures": _for_json(score.figures),
            "num_frames": len(score.boxes_xywh_px),
            "frames_per_second": frames_per_second([score]),
            "attributes": list(score.attributes),
        }
        for score in evaluation.videos
    }
    by_attribute = evaluation.by_attribute()
    content = {
        "protocol": evaluation.protocol.label,
        "dataset": evaluation.dataset_name,
        "headline": evaluation.protocol.headline,
        "figures": _for_json(evaluation.figures),
        "frames_per_second": frames_per_second(evaluation.videos),
        "attributes": {attribute: _for_json(figures) for attribute, figures in by_attribute.items()},
        "videos": of_videos,
    }
    # The tables first: where the figures are, the evaluation is complete.
    only = {"": evaluation}
    video_table(only, tuple(evaluation.videos[0].figures)).write_csv(out / _SEQUENCES_FILE)
    if by_attribute:
        attribute_table(only, tuple(evaluation.figures)).write_csv(out / _ATTRIBUTES_FILE)
    write_json(out / SCORES_FILE, content)


def _for_json(figures: Mapping[str, float]) -> dict[str, Any]:
    """Return figures as JSON knows them: it has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def _path(out: str | Path | None) -> Path | None:
    return None if out is None else Path(out)
