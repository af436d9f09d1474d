"""The scores of an evaluation as files: one for programs, two tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from ctsdk.evaluation.scores import Evaluation
from ctsdk.evaluation.tables import attribute_table, frames_per_second, video_table
from ctsdk.storage.atomic import write_json

__all__ = ["SCORES_FILE", "write_scores"]

SCORES_FILE = "scores.json"
_VIDEOS_FILE, _ATTRIBUTES_FILE = "videos.csv", "attributes.csv"


def write_scores(folder: Path, evaluation: Evaluation) -> None:
    """Write ``scores.json``, ``videos.csv`` and, if the videos have attributes, ``attributes.csv``.

    Raises:
        OutputError: a file cannot be written.
    """
    of_videos = {
        score.name: {
            "figures": _to_json(score.figures),
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
        "figures": _to_json(evaluation.figures),
        "frames_per_second": frames_per_second(evaluation.videos),
        "attributes": {attribute: _to_json(figures) for attribute, figures in by_attribute.items()},
        "videos": of_videos,
    }
    # scores.json last: where it is, all files are.
    unlabelled = {"": evaluation}
    video_table(unlabelled, tuple(evaluation.videos[0].figures)).write_csv(folder / _VIDEOS_FILE)
    if by_attribute:
        attribute_table(unlabelled, tuple(evaluation.figures)).write_csv(folder / _ATTRIBUTES_FILE)
    write_json(folder / SCORES_FILE, content)


def _to_json(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Return metrics with None for NaN, which JSON lacks."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}
