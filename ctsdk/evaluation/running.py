"""Running a tracker over a data set: every video once, in parallel, resumed where it was interrupted.

Tracking and scoring are two steps. :func:`track_dataset` does the first, :func:`score_tracked` the second, and
:func:`evaluate` both. Data sets whose truth is kept behind a server are tracked only.

With a folder, these files are written::

    evaluation.json  whose boxes these are; see Manifest
    predictions/     every finished video; see PredictionFolder
    scores.json      the metrics of the data set, of each video and of each attribute
    videos.csv       the metrics of each video
    attributes.csv   the metrics of each attribute, if the videos have any
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NoReturn

from torch import nn
from tqdm.auto import tqdm

from ctsdk.data.videos import Video
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.preparing import check_scorable, choose_protocol, dataset_name, dataset_title, read_videos
from ctsdk.evaluation.results.manifest import Manifest
from ctsdk.evaluation.results.predictions import PredictionFolder, TrackedVideo
from ctsdk.evaluation.score_files import SCORES_FILE, write_scores
from ctsdk.evaluation.scores import Evaluation, EvaluationProtocol
from ctsdk.evaluation.workers import TrackingJob
from ctsdk.ranks import Ranks, open_ranks

__all__ = ["PREDICTIONS_FOLDER", "SCORES_FILE", "evaluate", "score_tracked", "track_dataset"]

PREDICTIONS_FOLDER = "predictions"

# A rank waits for the slowest one, here for the rest of an evaluation; the half hour of training is too short.
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
            for the data set's own, or "ostrack".
        out: folder for boxes and metrics. Videos that are finished there are not tracked again.
        num_workers: processes that track side by side, each with a tracker of its own; 0 for this process alone.
        show_progress: a progress bar on stderr; None for one if stderr is a terminal.

    Raises:
        DataError: the data set is empty, its truth is not public or cannot be scored, or a frame or box cannot be used.
            A fault of the truth is found before anything is tracked.
        ConfigError: there is no such protocol, `out` holds another evaluation, or the tracker or the videos cannot
            be sent to another process.
        CtsdkError: a worker process ended. Finished videos are kept in `out`.
    """
    videos, title = read_videos(dataset), dataset_title(dataset)
    rules = choose_protocol(protocol, dataset)
    check_scorable(videos, rules, title)
    job = TrackingJob(adapter.for_dataset(dataset_name(dataset)), tracker, videos)
    with open_ranks(_PATIENCE) as ranks:
        tracked = _track(job, dataset, ranks, out, num_workers, show_progress)
        evaluation = _score(videos, tracked, rules, title)
        if out is not None and ranks.is_first:
            write_scores(Path(out), evaluation)
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
    """Track every video once without scoring: the truth need not be public.

    Args:
        adapter: the tracker's adapter.
        tracker: the teacher or a student, on the device that it is to run on.
        dataset: as for :func:`evaluate`; only the first box of a video is used.
        out: as for :func:`evaluate`.
        num_workers: as for :func:`evaluate`.
        show_progress: as for :func:`evaluate`.

    Returns:
        the tracked videos, in the order of the data set.

    Raises:
        DataError: the data set is empty, or a frame or box cannot be used.
        ConfigError: as :func:`evaluate`.
        CtsdkError: as :func:`evaluate`.
    """
    job = TrackingJob(adapter.for_dataset(dataset_name(dataset)), tracker, read_videos(dataset))
    with open_ranks(_PATIENCE) as ranks:
        return _track(job, dataset, ranks, out, num_workers, show_progress)


def score_tracked(
    dataset: Iterable[Video], tracked: Iterable[TrackedVideo], *, protocol: str | EvaluationProtocol | None = None
) -> Evaluation:
    """Score what was tracked before.

    Args:
        dataset: as for :func:`evaluate`.
        tracked: boxes of all its videos, in any order; those of other videos are ignored.
        protocol: as for :func:`evaluate`.

    Raises:
        DataError: the data set is empty, its truth is not public or cannot be scored, or boxes are missing.
        ConfigError: there is no such protocol.
    """
    videos, title = read_videos(dataset), dataset_title(dataset)
    rules = choose_protocol(protocol, dataset)
    check_scorable(videos, rules, title)
    by_name = {each.name: each for each in tracked}
    missing = [video.name for video in videos if video.name not in by_name]
    if missing:
        raise DataError(
            f"there are no boxes of {len(missing)} videos, the first of them {missing[0]!r}; expected those of all "
            f"{len(videos)}. Track the rest, or score a data set without it."
        )
    return _score(videos, [by_name[video.name] for video in videos], rules, title)


def _track(
    job: TrackingJob,
    dataset: Iterable[Video],
    ranks: Ranks,
    out: str | Path | None,
    num_workers: int,
    show_progress: bool | None,
) -> list[TrackedVideo]:
    """Track the videos that are not finished, and return all in the order of the data set."""
    if num_workers < 0:
        raise ConfigError(f"num_workers is {num_workers}; expected 0 or more processes.")
    folder, videos = None if out is None else PredictionFolder(Path(out) / PREDICTIONS_FOLDER), job.videos
    finished = ranks.from_first(partial(_read_finished, job, dataset, folder))
    if finished:
        _logger.info("%d of %d videos are in %s already", len(finished), len(videos), out)
    # The longest first, so that no process is still at a long one when all others are done.
    pending = sorted(set(range(len(videos))) - set(finished), key=lambda number: (-len(videos[number]), number))
    mine = pending[ranks.rank :: ranks.num_ranks]
    # Without smoothing, so that the speed is that of the whole evaluation.
    bar = tqdm(
        total=sum(len(videos[number]) for number in mine),
        desc=f"tracking {dataset_title(dataset)}",
        unit="frame",
        smoothing=0,
        disable=(None if show_progress is None else not show_progress) if mine and ranks.is_first else True,
    )
    parts = ranks.gather(_track_and_keep(job, mine, num_workers, folder, bar))
    if folder is not None and ranks.is_first:
        _keep_missing(parts[1:], folder)
    for part in parts:
        finished.update(part)
    return [finished[number] for number in range(len(videos))]


def _read_finished(
    job: TrackingJob, dataset: Iterable[Video], folder: PredictionFolder | None
) -> dict[int, TrackedVideo]:
    """Return the videos that the folder holds, by number, once it is known to be this evaluation's."""
    if folder is None:
        return {}
    Manifest.of(job.adapter, job.tracker, dataset).claim(folder.root.parent, PREDICTIONS_FOLDER)
    finished = {number: folder.read(video.name) for number, video in enumerate(job.videos) if folder.has(video.name)}
    for number, tracked in finished.items():
        _check_same_video(tracked, job.videos[number], folder)
    return finished


def _track_and_keep(
    job: TrackingJob, numbers: Sequence[int], num_workers: int, folder: PredictionFolder | None, bar: tqdm[NoReturn]
) -> dict[int, TrackedVideo]:
    """Track some videos, and write each as soon as it is done."""
    done: dict[int, TrackedVideo] = {}
    # Closed at once when something breaks, so that the workers end.
    with bar, closing(job.run(numbers, num_workers, bar.update)) as results:
        for number, tracked in results:
            done[number] = tracked
            if folder is not None:
                folder.write(tracked)
            bar.set_postfix_str(f"{len(done)} of {len(numbers)} videos")
    return done


def _keep_missing(parts: Iterable[Mapping[int, TrackedVideo]], folder: PredictionFolder) -> None:
    """Write the videos of ranks that wrote to another disk."""
    for part in parts:
        for tracked in part.values():
            if not folder.has(tracked.name):
                folder.write(tracked)


def _check_same_video(tracked: TrackedVideo, video: Video, folder: PredictionFolder) -> None:
    seen, expected = tracked.boxes_xywh_px[0], video.boxes_xywh_px[0]
    if len(tracked) != len(video) or (seen != expected).any():
        raise ConfigError(
            f"{folder.root} holds {len(tracked)} boxes of a video {video.name!r}, which begin with "
            f"{seen.tolist()}; the data set's has {len(video)} frames and begins with {expected.tolist()}. Use "
            "another folder for another version of the data."
        )


def _score(
    videos: Sequence[Video], tracked: Sequence[TrackedVideo], rules: EvaluationProtocol, title: str
) -> Evaluation:
    """Score one tracked video for each of the data set's, in its order."""
    pairs = zip(videos, tracked, strict=True)
    scores = tuple(rules.score(video, each.boxes_xywh_px, each.seconds) for video, each in pairs)
    return Evaluation(rules, title, scores)
