"""How fast a training step is, and how much memory it takes, against the official step written out plainly.

    pytest -m benchmark tests/benchmarks/test_training_step.py

OSTrack ViT-B 256 to 4 stages, untrained weights, noise for data: neither changes what is computed. Each figure is of a
process of its own, so that peaks of memory are its own. On a CPU, seconds are of the processor, not of the clock, so
that others on the machine count less, and there is one thread; memory is that of the whole process, libraries included.
Where torch finds a GPU, the same is measured there, by the clock and by torch's own count of its memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import ctsdk
from ctsdk.engine.mixes import draw_mix
from ctsdk.engine.stages import plan_stages
from ctsdk.engine.step import StepLosses
from ctsdk.engine.student import trunk_depths
from ctsdk.ranks import Ranks
from ctsdk.training.loop import Trainer
from ctsdk.training.metrics import peak_memory_mib
from ctsdk.training.record import hardware
from ctsdk.training.samples import CallersBatches
from tests.benchmarks.eager_step import EagerTrainer

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

BATCH_SIZE = int(os.environ.get("CTSDK_BENCHMARK_BATCH", "8"))
# The mixes of the first steps bring each stage in both forms, so that what is compiled is compiled before time counts.
NUM_STAGES, NUM_STEPS, NUM_WARM_UP = 4, 4, 4
SEED = 10  # half of the stages of the measured steps are the student's, each of them in both forms

EAGER, UNFUSED, PLAIN = "the official step, plainly", "ctsdk, attention not fused", "ctsdk, float32"
# What is measured, by name: what differs from PLAIN in the configuration.
SWITCHES: dict[str, dict[str, Any]] = {
    UNFUSED: {},
    PLAIN: {},
    "channels_last=false": {"training.channels_last": False},
    "fused_optimizer=false": {"training.fused_optimizer": False},
    "compile_blocks=true": {"training.compile_blocks": True},
    "recompute_blocks=true": {"training.recompute_blocks": True},
    "no guidance and no imitation": {"losses.guidance": 0.0, "losses.imitation": 0.0},
    "precision=bfloat16": {"training.precision": "bfloat16"},
    "bfloat16 and recompute_blocks": {"training.precision": "bfloat16", "training.recompute_blocks": True},
    "bfloat16 and compile_blocks": {"training.precision": "bfloat16", "training.compile_blocks": True},
}


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_training_step(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    has_bfloat16 = device == "cuda" or torch.cpu._is_amx_tile_supported()
    names = [EAGER, *(name for name in SWITCHES if has_bfloat16 or "bfloat16" not in name)]
    rows = {name: measured(name, device) for name in names}
    base, described = rows[EAGER], hardware(torch.device(device))
    machine = described["accelerator"] or f"{described['cpu']}, 1 thread"
    lines = [
        f"\n{time.strftime('%Y-%m-%d')}, {machine}, torch {torch.__version__}, batch {BATCH_SIZE}, "
        f"bfloat16 {'in' if has_bfloat16 else 'not in'} hardware"
    ]
    for name, row in rows.items():
        speed, memory = base["seconds"] / row["seconds"], row["peak_mib"] / base["peak_mib"]
        lines.append(
            f"| {name} | {BATCH_SIZE / row['seconds']:.3f} | {speed:.2f} | {row['peak_mib']:.0f} MiB | {memory:.2f} |"
        )
    with capsys.disabled():
        print("\n".join(lines))  # noqa: T201 - a benchmark is there to print
    assert rows[PLAIN]["peak_mib"] < base["peak_mib"]


def measured(name: str, device: str) -> dict[str, float]:
    """Return the figures of a process that only does this."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    words = [sys.executable, __file__, name, device]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main(name: str, device: str) -> None:
    """Take the steps, the same mixes in every process, and print seconds per step and the peak of memory."""
    torch.set_num_threads(1)
    adapter = ctsdk.load_adapter("ostrack", "vitb_256_mae_32x4_ep300", weights="random")
    batch = adapter.example_batch(BATCH_SIZE).to(torch.device(device))
    ends: list[float] = []

    def batches() -> Iterator[ctsdk.Batch]:
        while True:
            ends.append(now(device))
            yield batch

    plans = plan_stages(trunk_depths(adapter), NUM_STAGES)
    with sdpa_kernel(SDPBackend.MATH) if name == UNFUSED else nullcontext():
        if name == EAGER:
            train_eagerly(adapter, plans, batches(), device)
        else:
            train(adapter, plans, batches(), device, SWITCHES[name])
    ends.append(now(device))
    seconds = [end - begin for begin, end in zip(ends[NUM_WARM_UP:-1], ends[NUM_WARM_UP + 1 :], strict=True)]
    peak_mib = peak_memory_mib(torch.device(device))
    print(json.dumps({"seconds": sum(seconds) / len(seconds), "peak_mib": peak_mib}))  # noqa: T201


def now(device: str) -> float:
    """Return seconds, of the clock when the GPU has done what it was given, or of the processor."""
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def train_eagerly(
    adapter: ctsdk.TrackerAdapter, plans: Mapping[str, ctsdk.StagePlan], stream: Iterator[ctsdk.Batch], device: str
) -> None:
    """Take the official steps."""
    trainer = EagerTrainer(adapter.teacher, NUM_STAGES, torch.device(device))
    del adapter.teacher  # it has its two copies
    for step in range(NUM_WARM_UP + NUM_STEPS):
        trainer.step(next(stream), draw_mix(plans, 0.5, seed=SEED, step=step)["backbone"])


def train(
    adapter: ctsdk.TrackerAdapter,
    plans: Mapping[str, ctsdk.StagePlan],
    stream: Iterator[ctsdk.Batch],
    device: str,
    changes: dict[str, Any],
) -> None:
    """Take the steps of ctsdk."""
    settings = {"steps": NUM_WARM_UP + NUM_STEPS, "batch_size": BATCH_SIZE, "device": device, "precision": "float32"}
    replacement = {"schedule": "constant", "p": 0.5}
    values = {"stages": NUM_STAGES, "seed": SEED, "replacement": replacement, "training": settings}
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    config = ctsdk.CompressionConfig.from_mapping(values, overrides)
    adapter.teacher.to(device)
    student = ctsdk.build_student(adapter, plans)
    trainer = Trainer(StepLosses(adapter, student, plans, config))
    trainer.train(CallersBatches(stream, None, Ranks()), show_progress=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
