"""A compression from start to end on synthetic videos: compress a shipped teacher, evaluate, compare."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from ctsdk.compression import compress
from ctsdk.config import CompressionConfig
from ctsdk.data.synthetic.photographs import HELD_OUT_PHOTOGRAPHS, load_photographs
from ctsdk.data.synthetic.videos import synthetic_videos
from ctsdk.data.videos import Video
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.stages import plan_stages
from ctsdk.engine.student import build_student, trunk_depths
from ctsdk.evaluation.plots import save_plot
from ctsdk.evaluation.running import evaluate
from ctsdk.evaluation.scores import Evaluation
from ctsdk.plugins.adapters import load_adapter
from ctsdk.profiling import Profile, measure_trackers
from ctsdk.reporting import comparison_table, save_side_by_side
from ctsdk.storage.atomic import write_json
from ctsdk.training.states import States

__all__ = ["DEMO_CONFIG", "demo_config", "held_out_videos", "run_demo"]

# Photographs are held out by name, videos by seed: training uses TRAINING_PHOTOGRAPHS and seeds from 1.
_HELD_OUT_SEED = 2
_NUM_HELD_OUT = 40
_NUM_LATENCY_ROUNDS = 100

_logger = logging.getLogger(__name__)

DEMO_CONFIG = CompressionConfig.from_mapping(
    {
        # In a run this short, the student has to train alone for half of it instead of a tenth.
        "replacement": {"warm_up": 0.05, "cool_down": 0.5},
        "training": {
            "steps": 1050,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "rate_schedule": "cosine",
            "warm_up_steps": 30,
            "clip_norm": 1.0,
        },
        "data": {"flip": 0.0, "num_workers": 1},
    }
)


def held_out_videos(num_videos: int = _NUM_HELD_OUT) -> list[Video]:
    """Return the videos to evaluate on, made of photographs and seeds that training never uses.

    Raises:
        DataError: scikit-image, which ships the photographs, is not installed.
    """
    photographs = load_photographs()
    return synthetic_videos(num_videos, _HELD_OUT_SEED, [photographs[name] for name in HELD_OUT_PHOTOGRAPHS])


def demo_config(adapter: TrackerAdapter, *, seed: int = 0) -> CompressionConfig:
    """Return the demo's configuration for an adapter: each trunk keeps a third of its blocks, at least one."""
    stages = {name: max(1, depth // 3) for name, depth in trunk_depths(adapter).items()}
    named = {"adapter": {"name": adapter.name, "variant": adapter.variant}, "stages": stages, "seed": seed}
    return CompressionConfig.from_mapping({**DEMO_CONFIG.to_mapping(), **named})


def run_demo(out: Path, *, adapter: str = "ostrack", seed: int = 0) -> dict[str, Any]:
    """Compress a demo teacher to a third of its blocks and compare both with the untrained student.

    Args:
        out: folder for ``summary.json``, ``curves.png``, ``side_by_side.mp4``, and the result and metrics of the run.
        adapter: name of an adapter whose variant ``tiny`` ships trained weights.
        seed: of the run.

    Returns:
        what ``summary.json`` holds: by tracker, its :class:`ctsdk.profiling.Profile`, ``auc``, ``precision`` and their
        ``protocol``; ``retention`` and ``speedup`` of the student against the teacher; ``seconds``, the duration of the
        whole demo.

    Raises:
        AdapterNotFoundError: there is no such adapter.
        ConfigError: it has no variant ``tiny``.
        CheckpointError: its variant ``tiny`` ships no weights.
    """
    begin = time.monotonic()
    tiny = load_adapter(adapter, variant="tiny")
    config = demo_config(tiny, seed=seed)
    videos = held_out_videos()

    run_dir = out / "training"
    # A demo always starts again: states of an earlier one in this folder must not be resumed.
    States(run_dir).remove_all()
    result = compress(tiny, config, run_dir=run_dir, show_progress=True)
    result.save(out / "student")
    plans = plan_stages(trunk_depths(tiny), config.stages, config.initialisation)
    trackers = {
        "teacher": tiny.teacher,
        "student_untrained": build_student(tiny, plans).eval(),
        "student": result.student,
    }
    scores = {name: _track_all(name, tiny, tracker, videos) for name, tracker in trackers.items()}
    profiles = measure_trackers(tiny, trackers, num_rounds=_NUM_LATENCY_ROUNDS)
    summary = {
        **{name: {**asdict(profiles[name]), **_accuracy(score)} for name, score in scores.items()},
        "retention": scores["student"].auc / scores["teacher"].auc,
        "speedup": profiles["teacher"].latency_ms / profiles["student"].latency_ms,
        "seconds": time.monotonic() - begin,
    }
    write_json(out / "summary.json", summary)
    _show(out, profiles, scores, videos[0])
    return summary


def _track_all(name: str, adapter: TrackerAdapter, tracker: nn.Module, videos: list[Video]) -> Evaluation:
    _logger.info("tracking %d held-out videos with the %s", len(videos), _words(name))
    return evaluate(adapter, tracker, videos, show_progress=True)


def _accuracy(score: Evaluation) -> dict[str, Any]:
    return {"auc": score.auc, "precision": score.precision, "protocol": score.protocol.label}


def _show(out: Path, profiles: dict[str, Profile], scores: dict[str, Evaluation], video: Video) -> None:
    """Draw curves and a clip, and print the comparison."""
    scores = {_words(name): score for name, score in scores.items()}
    save_plot(out / "curves.png", scores, title="Success on held-out videos")
    boxes = {label: score.videos[0].boxes_xywh_px for label, score in scores.items()}
    save_side_by_side(out / "side_by_side.mp4", video, boxes)
    Console().print(comparison_table({_words(name): profile for name, profile in profiles.items()}, scores))


def _words(name: str) -> str:
    return name.replace("_", " ")
