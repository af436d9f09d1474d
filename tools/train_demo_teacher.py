"""Train the `tiny` OSTrack that ships with ctsdk, from nothing, on synthetic videos.

    python tools/train_demo_teacher.py --out runs/teacher --steps 5000

Training photographs and seeds differ from those of the held-out videos on which it is measured at the end (the same
videos as `ctsdk demo` shows). Two cores need about an hour and a half. The last line printed is the measured score;
`OUT/tiny.safetensors` then holds the weights in half precision.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from ctsdk import Batch
from ctsdk.boxes import cxcywh_to_xyxy, iou, xywh_to_xyxy
from ctsdk.config import DataConfig
from ctsdk.data.samples.augmentation import Augmentation
from ctsdk.data.samples.pairs import PairDataset, batches
from ctsdk.data.synthetic.photographs import TRAINING_PHOTOGRAPHS, load_photographs, procedural_textures
from ctsdk.data.synthetic.videos import synthetic_videos
from ctsdk.demo import held_out_videos
from ctsdk.evaluation.running import evaluate
from ctsdk.weights import write_safetensors
from ctsdk_ostrack.adapter import OSTrackAdapter
from ctsdk_ostrack.model import Attention, OSTrack

NUM_SEQUENCES, TRAINING_SEED = 20_000, 1


def initialise(tracker: OSTrack, generator: torch.Generator) -> None:
    """Start attention near "look at what looks like me" and positions at sines, so that matching is learned early.

    Source: Trockman and Kolter, Mimetic Initialization of Self-Attention Layers, ICML 2023.
    """
    for module in tracker.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
            nn.init.zeros_(module.bias)
    for attention in tracker.modules():
        if isinstance(attention, Attention):
            _initialise_attention(attention, generator)
    backbone = tracker.backbone
    # Cells of both crops get the same code where they show the same offset from the centre in target sizes.
    width = tracker.config.width
    with torch.no_grad():
        backbone.pos_embed_z.copy_(0.3 * _sines(tracker.config.template_cells, width, extent=1.0))
        backbone.pos_embed_x.copy_(0.3 * _sines(tracker.config.search_cells, width, extent=2.0))


def _initialise_attention(attention: Attention, generator: torch.Generator) -> None:
    width, num_heads = attention.proj.in_features, attention.num_heads
    per_head = width // num_heads
    query, key, value = (torch.empty(width, width) for _ in range(3))
    for head in range(num_heads):
        rows = slice(head * per_head, (head + 1) * per_head)
        noise = torch.randn(width, width, generator=generator) / math.sqrt(width)
        u, s, v = torch.linalg.svd(0.7 * noise + 0.7 * torch.eye(width))
        query[rows] = (u[:, :per_head] * s[:per_head].sqrt()).T
        key[rows] = (v[:per_head].T * s[:per_head].sqrt()).T
    noise = torch.randn(width, width, generator=generator) / math.sqrt(width)
    u, s, v = torch.linalg.svd(0.4 * noise - 0.4 * torch.eye(width))
    value, projection = (v.T * s.sqrt()).T, u * s.sqrt()
    with torch.no_grad():
        attention.qkv.weight.copy_(torch.cat([query, key, value]))
        attention.proj.weight.copy_(projection)


def _sines(num_cells: int, width: int, extent: float) -> torch.Tensor:
    steps = (torch.arange(num_cells) + 0.5) / num_cells * 2 - 1  # [-1, 1]
    frequencies = 2.0 ** torch.linspace(0, 3, width // 4) * math.pi / 2
    angles = extent * steps[:, None] * frequencies  # (cells, C / 4)
    code = torch.cat([angles.sin(), angles.cos()], dim=1)  # (cells, C / 2)
    rows, columns = code[:, None].expand(-1, num_cells, -1), code[None].expand(num_cells, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)[None]  # (1, cells ** 2, C)


def learning_rate(step: int, num_steps: int, peak: float) -> float:
    """Rise for 3 % of the run, then fall along a cosine to a hundredth."""
    warm_up = max(1, round(0.03 * num_steps))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, num_steps - warm_up)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def training_batches(adapter: OSTrackAdapter, seed: int, batch_size: int) -> Iterator[Batch]:
    """Yield batches of training videos without end."""
    photographs = load_photographs()
    images = [photographs[name] for name in TRAINING_PHOTOGRAPHS] + procedural_textures(TRAINING_SEED)
    videos = synthetic_videos(NUM_SEQUENCES, TRAINING_SEED, images)
    return batches(
        PairDataset(videos, adapter.spec, seed, None, Augmentation.of(DataConfig(flip=0.0))), batch_size, num_workers=1
    )


def train(adapter: OSTrackAdapter, options: argparse.Namespace) -> None:
    """Train the adapter's teacher in place, with a row of figures every 50 steps in OUT/log.jsonl."""
    tracker = adapter.teacher.train()
    optimizer = torch.optim.AdamW(tracker.parameters(), lr=1.0, weight_decay=0.05)
    data = training_batches(adapter, options.seed, options.batch_size)
    begin = time.monotonic()
    with (options.out / "log.jsonl").open("w") as log:
        for step, batch in zip(range(options.steps), data, strict=False):
            rate = learning_rate(step, options.steps, options.peak_learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            prediction = adapter.predict(tracker, batch)
            losses = adapter.task_loss(prediction, batch)
            loss = torch.stack(list(losses.values())).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(tracker.parameters(), 1.0)
            optimizer.step()
            if step % 50 == 0:
                overlap = iou(cxcywh_to_xyxy(prediction.boxes), xywh_to_xyxy(batch.search_boxes[0])).mean()
                row = {"step": step, "lr": rate, "loss": loss.item(), "iou": overlap.item()}
                row |= {name: value.item() for name, value in losses.items()} | {"seconds": time.monotonic() - begin}
                print(json.dumps(row), file=log, flush=True)


def main() -> None:
    """Train, save, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--peak-learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    adapter = OSTrackAdapter.load("tiny", "random")
    initialise(adapter.teacher, torch.Generator().manual_seed(options.seed))
    train(adapter, options)
    weights = adapter.teacher.state_dict()
    half = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    path = options.out / "tiny.safetensors"
    write_safetensors(path, half, {"made_by": f"tools/train_demo_teacher.py --steps {options.steps}"})

    shipped = OSTrackAdapter.load("tiny", path)
    score = evaluate(shipped, shipped.teacher, held_out_videos())
    print(f"held-out AUC {score.auc:.4f}, precision {score.precision:.4f}")


if __name__ == "__main__":
    main()
