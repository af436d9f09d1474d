"""The main job end to end, on data made by code: compress the shipped teacher, track what neither has seen, compare."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from ctsdk.compression import compress
from ctsdk.config import CompressionConfig
from ctsdk.data.synthetic import HELD_OUT_PHOTOGRAPHS, load_photographs, synthetic_sequences
from ctsdk.evaluation import Evaluation, evaluate
from ctsdk.plugins import load_adapter
from ctsdk.profiling import count_macs, measure_latencies_ms
from ctsdk.reporting import print_comparison, save_curves, save_side_by_side
from ctsdk.stages import plan_stages
from ctsdk.student import build_student, trunk_depths
from ctsdk.weights import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from ctsdk.adapter import TrackerAdapter
    from ctsdk.data.sequences import VideoSequence

__all__ = ["DEMO_CONFIG", "TrackerSummary", "held_out_sequences", "run_demo"]

# Photographs are held out by name, videos by seed: training uses TRAINING_PHOTOGRAPHS and seeds from 1.
_HELD_OUT_SEED = 2
_NUM_HELD_OUT = 16

DEMO_CONFIG = CompressionConfig.from_mapping(
    {
        "adapter": {"name": "ostrack", "variant": "tiny"},
        "stages": 4,
        "training": {
            "steps": 400,
            "batch_size": 32,
            "learning_rate": 5e-4,
            "rate_schedule": "cosine",
            "warm_up_steps": 10,
            "clip_norm": 1.0,
        },
        "data": {"flip": 0.0, "num_workers": 1},
    }
)


@dataclass(frozen=True)
class TrackerSummary:
    """One tracker's figures.

    Attributes:
        auc: area under the success curve on the held-out sequences, in [0, 1].
        precision: share of frames whose centre is off by at most 20 px, in [0, 1].
        params: number of parameters.
        macs: multiply-adds of one forward pass.
        latency_ms: median duration of one forward pass with one sample.
    """

    auc: float
    precision: float
    params: int
    macs: int
    latency_ms: float


def held_out_sequences(num_sequences: int = _NUM_HELD_OUT) -> list[VideoSequence]:
    """Return the sequences to measure on, made of photographs and seeds that no training sees.

    Raises:
        DataError: scikit-image, which ships the photographs, is not installed.
    """
    photographs = load_photographs()
    return synthetic_sequences(num_sequences, _HELD_OUT_SEED, [photographs[name] for name in HELD_OUT_PHOTOGRAPHS])


def run_demo(out: Path, *, seed: int = 0) -> dict[str, Any]:
    """Compress the demo teacher from 12 blocks to 4 and compare both with the untrained student.

    Args:
        out: folder for ``summary.json``, ``curves.png``, ``side_by_side.mp4``, and the result and metrics of the run.
        seed: of the run.

    Returns:
        what ``summary.json`` holds: :class:`TrackerSummary` by tracker; ``retention`` and ``speedup`` of the student
        against the teacher; ``seconds``, the duration of the whole demo.
    """
    begin = time.monotonic()
    config = CompressionConfig.from_mapping({**DEMO_CONFIG.to_mapping(), "seed": seed})
    adapter = load_adapter("ostrack", variant="tiny")
    sequences = held_out_sequences()

    result = compress(adapter, config, run_dir=out / "training", show_progress=True)
    result.save(out / "student")
    plans = plan_stages(trunk_depths(adapter), config.stages, config.initialisation)
    trackers = {
        "teacher": adapter.teacher,
        "student_untrained": build_student(adapter, plans).eval(),
        "student": result.student,
    }
    scores = {name: _track_all(name, adapter, tracker, sequences) for name, tracker in trackers.items()}
    summaries = _summarise(adapter, trackers, scores)
    teacher, student = summaries["teacher"], summaries["student"]
    summary = {
        **{name: asdict(figures) for name, figures in summaries.items()},
        "retention": student.auc / teacher.auc,
        "speedup": teacher.latency_ms / student.latency_ms,
        "seconds": time.monotonic() - begin,
    }
    _write(out, summary, scores, sequences)
    return summary


def _track_all(name: str, adapter: TrackerAdapter, tracker: nn.Module, sequences: list[VideoSequence]) -> Evaluation:
    # tqdm's iterator advances when the next sequence is asked for, which is when one is done.
    return evaluate(adapter, tracker, tqdm(sequences, desc=f"tracking, {name}", unit="video"))


def _summarise(
    adapter: TrackerAdapter, trackers: dict[str, nn.Module], scores: dict[str, Evaluation]
) -> dict[str, TrackerSummary]:
    latencies_ms = measure_latencies_ms(adapter, list(trackers.values()), num_rounds=100)
    return {
        name: TrackerSummary(
            auc=scores[name].auc,
            precision=scores[name].precision,
            params=sum(parameter.numel() for parameter in tracker.parameters()),
            macs=count_macs(adapter, tracker),
            latency_ms=latency_ms,
        )
        for (name, tracker), latency_ms in zip(trackers.items(), latencies_ms, strict=True)
    }


def _write(out: Path, summary: dict[str, Any], scores: dict[str, Evaluation], sequences: list[VideoSequence]) -> None:
    write_json(out / "summary.json", summary)
    save_curves(out / "curves.png", {name: score.success for name, score in scores.items()})
    boxes = {name: score.sequences[0].boxes_xywh_px for name, score in scores.items()}
    save_side_by_side(out / "side_by_side.mp4", sequences[0], boxes)
    print_comparison(summary)
