"""How fast a training step is, and how much memory it takes, against the official step written out plainly.

    pytest -m benchmark tests/benchmarks/test_training_step.py

OSTrack ViT-B 256 to 4 stages, untrained weights, noise for data: neither changes what is computed. Each figure is of a
process of its own, so that peaks of memory are its own. Seconds are of the processor, not of the clock, so that others
on the machine count less; with one thread both are the same on a calm one.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from eager_step import EagerTrainer

import ctsdk
from ctsdk.replacement import draw_mix
from ctsdk.stages import plan_stages
from ctsdk.student import trunk_depths
from ctsdk.training import Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

BATCH_SIZE = int(os.environ.get("CTSDK_BENCHMARK_BATCH", "2"))
NUM_STAGES, NUM_STEPS, NUM_WARM_UP = 4, 3, 1
SEED = 0

# What is measured, by name: changes of the configuration.
SWITCHES: dict[str, dict[str, Any]] = {
    "ctsdk, defaults": {},
    "ctsdk, fused optimiser": {"training": {"fused_optimizer": True}},
    "ctsdk, compiled blocks": {"training": {"compile_blocks": True}},
    "ctsdk, no guidance and no imitation": {"losses": {"guidance": 0.0, "imitation": 0.0}},
}
EAGER = "eager, as the official step"


def test_training_step(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {name: measured(name) for name in (EAGER, *SWITCHES)}
    base = rows[EAGER]
    lines = [f"\n{time.strftime('%Y-%m-%d')}, {processor()}, torch {torch.__version__}, batch {BATCH_SIZE}, 1 thread"]
    for name, row in rows.items():
        speed, memory = base["seconds"] / row["seconds"], row["peak_mb"] / base["peak_mb"]
        lines.append(
            f"{name:36} {BATCH_SIZE / row['seconds']:6.3f} samples/s {speed:5.2f} x, "
            f"{row['peak_mb']:6.0f} MB {memory:5.2f} x"
        )
    with capsys.disabled():
        print("\n".join(lines))  # noqa: T201 - a benchmark is there to print
    assert rows["ctsdk, defaults"]["peak_mb"] < base["peak_mb"]


def measured(name: str) -> dict[str, float]:
    """Return the figures of a process that only does this."""
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    words = [sys.executable, __file__, name]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def processor() -> str:
    """The name of the processor."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main(name: str) -> None:
    """Take the steps, the same mixes in every process, and print seconds per step and the peak of memory."""
    torch.set_num_threads(1)
    adapter = ctsdk.load_adapter("ostrack", "vitb_256_mae_32x4_ep300", weights="random")
    batch = adapter.example_batch(BATCH_SIZE)
    ends: list[float] = []

    def batches(_start: int) -> Iterator[ctsdk.Batch]:
        while True:
            ends.append(time.process_time())
            yield batch

    plans = plan_stages(trunk_depths(adapter), NUM_STAGES)
    if name == EAGER:
        trainer = EagerTrainer(adapter.teacher, NUM_STAGES)
        del adapter.teacher  # it has its two copies
        stream = batches(0)
        for step in range(NUM_WARM_UP + NUM_STEPS):
            trainer.step(next(stream), draw_mix(plans, 0.5, seed=SEED, step=step)["backbone"])
    else:
        changes = SWITCHES[name]
        settings = {"steps": NUM_WARM_UP + NUM_STEPS, "batch_size": BATCH_SIZE, "device": "cpu"}
        config = ctsdk.CompressionConfig.from_mapping(
            {
                **changes,
                "stages": NUM_STAGES,
                "seed": SEED,
                "replacement": {"schedule": "constant", "p": 0.5},
                "training": {**settings, **changes.get("training", {})},
            }
        )
        student = ctsdk.build_student(adapter, plans)
        Trainer(adapter, student, plans, config).train(batches, show_progress=False)
    ends.append(time.process_time())
    seconds = [end - begin for begin, end in zip(ends[NUM_WARM_UP:-1], ends[NUM_WARM_UP + 1 :], strict=True)]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": sum(seconds) / len(seconds), "peak_mb": peak_mb}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
