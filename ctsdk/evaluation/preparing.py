"""What an evaluation needs of a data set: its names, its protocol, its videos with their true boxes checked.

A data set is a :class:`~ctsdk.data.datasets.VideoDataset` or any videos.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.videos import Video
from ctsdk.errors import DataError
from ctsdk.evaluation.protocols.names import make_protocol
from ctsdk.evaluation.scores import EvaluationProtocol

__all__ = ["check_scorable", "choose_protocol", "dataset_name", "dataset_title", "read_videos"]

# The name of videos that belong to no data set, and their protocol.
_UNNAMED, _UNNAMED_PROTOCOL = "videos", "ostrack"


def dataset_name(dataset: Iterable[Video]) -> str:
    """Return the name that protocols and adapters know a data set by."""
    return dataset.name if isinstance(dataset, VideoDataset) else _UNNAMED


def dataset_title(dataset: Iterable[Video]) -> str:
    """Return the name of a data set for people, with its split."""
    return str(dataset) if isinstance(dataset, VideoDataset) else _UNNAMED


def choose_protocol(protocol: str | EvaluationProtocol | None, dataset: Iterable[Video]) -> EvaluationProtocol:
    """Return the protocol that is given, or named; for None the data set's own.

    Raises:
        ConfigError: there is no protocol of that name.
    """
    if isinstance(protocol, EvaluationProtocol):
        return protocol
    default = dataset.protocol if isinstance(dataset, VideoDataset) else _UNNAMED_PROTOCOL
    return make_protocol(protocol or default, dataset_name(dataset))


def read_videos(dataset: Iterable[Video]) -> tuple[Video, ...]:
    """Read the annotations of all videos: at least one, each with a first box and a name of its own.

    Raises:
        DataError: there is no video, a name is used twice, or a tracker cannot start from the first box.
    """
    title, videos = dataset_title(dataset), tuple(dataset)
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
    return videos


def check_scorable(videos: Sequence[Video], protocol: EvaluationProtocol, title: str) -> None:
    """Refuse videos that cannot be scored, before hours are spent on tracking them.

    Args:
        videos: at least one.
        protocol: by which they are to be scored.
        title: of the data set, for messages.

    Raises:
        DataError: the truth of a video is not public, or the protocol refuses it.
    """
    hidden = [video.name for video in videos if not video.has_truth]
    if hidden:
        raise DataError(
            f"the truth of {len(hidden)} of {len(videos)} videos of {title} is not public, the first of them "
            f"{hidden[0]!r}: only its first box is. Track the data set without scoring it "
            "(ctsdk.evaluation.running.track_dataset), and pack the boxes for its server."
        )
    for video in videos:
        # Every protocol accepts the boxes of a tracker that never moves, so what it refuses is the truth.
        protocol.score(video, np.tile(video.boxes_xywh_px[0], (len(video), 1)))
