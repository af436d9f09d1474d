"""Runs for the tests of several processes: ``torchrun -m tests.helpers.shared_steps FOLDER NUM_STEPS NAME...``.

A process alone takes batches of 4; two processes take the halves of the same batches. What each run ends with is left
in FOLDER, by the name of its case.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import ctsdk
from ctsdk.engine.trunk import Trunk
from tests.helpers.toy import ToyAdapter, toy_adapter, toy_config

CASES = ("toy", "toy_parts", "toy_recomputed", "ostrack", "ostrack_double", "seqtrack", "seqtrack_double")
BATCH_SIZE, NUM_BATCHES = 4, 6


class SpoiltAdapter(ToyAdapter):
    """Its fourth loss is NaN in the last process, and in no other."""

    num_losses = 0

    def task_loss(self, prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> dict[str, Tensor]:
        losses = super().task_loss(prediction, batch)
        self.num_losses += 1
        is_last = int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1
        return {"l1": losses["l1"] * float("nan")} if is_last and self.num_losses == 4 else losses


def make_adapter(name: str) -> ctsdk.TrackerAdapter:
    """Return the adapter of a case; none drops anything out, because processes draw apart from each other."""
    if name.startswith("toy"):
        adapter = toy_adapter()
        for layer in Trunk("layers").blocks(adapter.teacher):
            layer.dropout.p = 0.0  # type: ignore[union-attr]
        return SpoiltAdapter(adapter.teacher) if name == "toy_spoilt" else adapter
    adapter = ctsdk.load_adapter(name.partition("_")[0], variant="tiny", weights="random")
    if name.endswith("double"):
        adapter.teacher.double()
    return adapter


def make_batches(adapter: ctsdk.TrackerAdapter, batch_size: int) -> list[ctsdk.Batch]:
    """Return the same samples in batches of any size that divides 4."""
    generator = torch.Generator().manual_seed(0)
    whole = adapter.example_batch(BATCH_SIZE * NUM_BATCHES)
    dtype = next(adapter.teacher.parameters()).dtype

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(dtype)

    def boxes(like: Tensor) -> Tensor:
        return (0.2 + 0.3 * torch.rand(like.shape, generator=generator)).to(dtype)

    whole = replace(
        whole,
        templates=noise(whole.templates),
        searches=noise(whole.searches),
        template_boxes=boxes(whole.template_boxes),
        search_boxes=boxes(whole.search_boxes),
    )
    names = ("templates", "searches", "template_boxes", "search_boxes")
    return [
        ctsdk.Batch(*(getattr(whole, name)[:, first : first + batch_size] for name in names))
        for first in range(0, whole.size, batch_size)
    ]


def run(name: str, num_steps: int, num_ranks: int, run_dir: Path) -> ctsdk.CompressionResult:
    """Train a case."""
    adapter = make_adapter(name)
    settings = {"steps": num_steps, "batch_size": BATCH_SIZE, "validate_every": num_steps, "save_every": 2}
    settings |= {"learning_rate": 1e-4, "recompute_blocks": name.endswith("recomputed")}
    stages = {"encoder": 4, "decoder": 2} if name.startswith("seqtrack") else 3
    config = toy_config(stages=stages, training=settings)
    # "parts": each process reads its share of a step in two portions.
    size = BATCH_SIZE // num_ranks // (2 if name.endswith("parts") else 1)
    batches = make_batches(adapter, size)
    if name == "toy_parts" and num_ranks == 1:
        batches = make_batches(adapter, 2)
    validation = make_batches(adapter, 2)[:3]
    return ctsdk.compress(adapter, config, batches=batches, validation=validation, run_dir=run_dir)


def main() -> None:
    """Run the cases in every process, and leave what each has, or the error that ended it."""
    folder, num_steps, *names = sys.argv[1:]
    for name in names:
        path = Path(folder) / name / f"rank-{os.environ['RANK']}.pt"
        try:
            result = run(name, int(num_steps), int(os.environ["WORLD_SIZE"]), Path(folder) / name / "run")
        except ctsdk.TrainingError as error:
            torch.save({"error": str(error)}, path)
        else:
            torch.save({"student": result.student.state_dict(), "history": result.history}, path)


if __name__ == "__main__":
    assert ToyAdapter.name == "toy"
    main()
