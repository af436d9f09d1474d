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
import platform
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import TYPE_CHECKING, Any

import pytest
import torch
from eager_step import EagerTrainer
from torch.nn.attention import SDPBackend, sdpa_kernel

import ctsdk
from ctsdk.replacement import draw_mix
from ctsdk.stages import plan_stages
from ctsdk.student import trunk_depths
from ctsdk.training import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

BATCH_SIZE = int(os.environ.get("CTSDK_BENCHMARK_BATCH", "8"))
# The mixes of the first steps bring each stage in both forms, so that what is compiled is compiled before time counts.
NUM_STAGES, NUM_STEPS, NUM_WARM_UP = 4, 4, 4
SEED = 10  # half of the stages of the measured steps are the student's, each of them in both forms

EAGER, UNFUSED = "the official step, plainly", "ctsdk, attention not fused"
# What is measured, by name: changes of the configuration.
SWITCHES: dict[str, dict[str, Any]] = {
    UNFUSED: {},
    "ctsdk, float32": {"training": {"precision": "float32"}},
    "channels_last=false": {"training": {"precision": "float32", "channels_last": False}},
    "fused_optimizer=false": {"training": {"precision": "float32", "fused_optimizer": False}},
    "compile_blocks=true": {"training": {"precision": "float32", "compile_blocks": True}},
    "recompute_blocks=true": {"training": {"precision": "float32", "recompute_blocks": True}},
    "no guidance and no imitation": {
        "training": {"precision": "float32"},
        "losses": {"guidance": 0.0, "imitation": 0.0},
    },
    "precision=bfloat16": {"training": {"precision": "bfloat16"}},
    "bfloat16 and recompute_blocks": {"training": {"precision": "bfloat16", "recompute_blocks": True}},
    "bfloat16 and compile_blocks": {"training": {"precision": "bfloat16", "compile_blocks": True}},
}


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_training_step(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    has_bfloat16 = device == "cuda" or torch.cpu._is_amx_tile_supported()
    names = [EAGER, *(name for name in SWITCHES if has_bfloat16 or "bfloat16" not in name)]
    rows = {name: measured(name, device) for name in names}
    base = rows[EAGER]
    with capsys.disabled():
        print(f"\n{time.strftime('%Y-%m-%d')}, {hardware(device)}, torch {torch.__version__}, batch {BATCH_SIZE}")  # noqa: T201 - a benchmark is there to print
        for name, row in rows.items():
            speed, memory = base["seconds"] / row["seconds"], row["peak_mb"] / base["peak_mb"]
            print(  # noqa: T201
                f"| {name} | {BATCH_SIZE / row['seconds']:.3f} | {speed:.2f} | {row['peak_mb']:.0f} MB | {memory:.2f} |"
            )
        if not has_bfloat16:
            print("bfloat16 not measured: this processor emulates it")  # noqa: T201
    assert rows["ctsdk, float32"]["peak_mb"] < base["peak_mb"]


def measured(name: str, device: str) -> dict[str, float]:
    """Return the figures of a process that only does this."""
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    words = [sys.executable, __file__, name, device]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def hardware(device: str) -> str:
    """The name of the GPU, or of the processor with what it knows of bfloat16."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    words = "with amx_bf16" if torch.cpu._is_amx_tile_supported() else "without amx_bf16"
    return f"{processor()} {words}, 1 thread"


def processor() -> str:
    """The name of the processor."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main(name: str, device: str) -> None:
    """Take the steps, the same mixes in every process, and print seconds per step and the peak of memory."""
    torch.set_num_threads(1)
    adapter = ctsdk.load_adapter("ostrack", "vitb_256_mae_32x4_ep300", weights="random")
    batch = adapter.example_batch(BATCH_SIZE).to(torch.device(device))
    ends: list[float] = []

    def batches(_start: int) -> Iterator[ctsdk.Batch]:
        while True:
            ends.append(now(device))
            yield batch

    plans = plan_stages(trunk_depths(adapter), NUM_STAGES)
    with sdpa_kernel(SDPBackend.MATH) if name == UNFUSED else nullcontext():
        train_eagerly(adapter, plans, batches(0), device) if name == EAGER else train(
            adapter, plans, batches, device, SWITCHES[name]
        )
    ends.append(now(device))
    seconds = [end - begin for begin, end in zip(ends[NUM_WARM_UP:-1], ends[NUM_WARM_UP + 1 :], strict=True)]
    peak = torch.cuda.max_memory_allocated() / 1024 if device == "cuda" else getrusage(RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": sum(seconds) / len(seconds), "peak_mb": peak / 1024}))  # noqa: T201


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
    batches: Callable[[int], Iterator[ctsdk.Batch]],
    device: str,
    changes: dict[str, Any],
) -> None:
    """Take the steps of ctsdk."""
    settings = {"steps": NUM_WARM_UP + NUM_STEPS, "batch_size": BATCH_SIZE, "device": device}
    config = ctsdk.CompressionConfig.from_mapping(
        {
            **changes,
            "stages": NUM_STAGES,
            "seed": SEED,
            "replacement": {"schedule": "constant", "p": 0.5},
            "training": {**settings, **changes.get("training", {})},
        }
    )
    adapter.teacher.to(device)
    student = ctsdk.build_student(adapter, plans)
    Trainer(adapter, student, plans, config).train(batches, show_progress=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
