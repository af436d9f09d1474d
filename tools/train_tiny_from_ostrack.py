"""Train the `tiny` SeqTrack or MixFormerV2 that ships with ctsdk, from the blocks of the `tiny` OSTrack.

    python tools/train_tiny_from_ostrack.py seqtrack --out runs/tiny-seqtrack
    python tools/train_tiny_from_ostrack.py mixformerv2 --out runs/tiny-mixformerv2

The blocks of OSTrack find the target already; what is new learns to read it from them. First the new parts are trained
on what the frozen blocks make of a fixed set of samples, then the whole tracker on new ones. One core needs about an
hour. The last line printed is the score on the held-out videos of `ctsdk demo`; `OUT/tiny.safetensors` then holds
the weights in half precision.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from train_demo_teacher import learning_rate, training_batches

from ctsdk import Batch, TrackerAdapter
from ctsdk.boxes import cxcywh_to_xyxy, iou, xywh_to_cxcywh, xywh_to_xyxy
from ctsdk.demo import held_out_videos
from ctsdk.evaluation.running import evaluate
from ctsdk.weights import write_safetensors
from ctsdk_mixformerv2.adapter import MixFormerV2Adapter
from ctsdk_mixformerv2.losses import box_losses
from ctsdk_mixformerv2.model import SIDES, MixedAttention
from ctsdk_ostrack.adapter import OSTrackAdapter
from ctsdk_seqtrack.adapter import SeqTrackAdapter
from ctsdk_seqtrack.losses import words_of_boxes
from ctsdk_seqtrack.model import NUM_COORDINATES, KeysValues, PackedAttention

# How far a position is moved along directions that no block minds, in units of a token's channels.
_POSITION_GAIN = 8.0
_NUM_POSITION_CHANNELS = 8
# Cells around the target's centre that attention is first told to look at.
_LOOK_SIGMA = 0.8


@dataclass(frozen=True)
class Sample:
    """What the frozen blocks make of samples.

    Attributes:
        tokens: (B, N, C), before the first trained part.
        boxes: (B, 4), xywh, shares of the search crop.
        is_there: (B,), whether the target is in the search crop.
    """

    tokens: Tensor
    boxes: Tensor
    is_there: Tensor


class Course(ABC):
    """How one tracker learns: what it starts from, what runs frozen, what it is trained on."""

    adapter: TrackerAdapter
    #: encoder blocks that learn in the first phase
    num_late_blocks: int

    @abstractmethod
    def late_parameters(self) -> Iterable[nn.Parameter]:
        """Return what learns in the first phase."""

    @abstractmethod
    def early(self, templates: Tensor, search: Tensor) -> Tensor:
        """Return the tokens before the first part that learns in the first phase."""

    @abstractmethod
    def losses(self, sample: Sample) -> tuple[dict[str, Tensor], Tensor]:
        """Return losses, already weighted, and boxes (B, 4), cxcywh, for tokens of :meth:`early`."""


def quiet_directions(blocks: nn.ModuleList) -> Tensor:
    """Return directions of a token, (C, C) by columns, those first that the blocks read and write least."""
    width = blocks[0].norm1.weight.numel()
    use = 0.1 * torch.ones(width, width)  # the mean of the channels is taken out by the norms
    for block in blocks:
        for layer, norm in ((block.attn.qkv, block.norm1), (block.mlp.fc1, block.norm2)):
            reads = layer.weight * norm.weight
            use += reads.T @ reads / reads.norm() ** 2
        for layer in (block.attn.proj, block.mlp.fc2):
            use += layer.weight @ layer.weight.T / layer.weight.norm() ** 2
    return torch.linalg.eigh(use.detach()).eigenvectors


def position_code(num_cells: int) -> Tensor:
    """Return a smooth code of each cell of a grid, (num_cells ** 2, 8), row by row."""
    places = (torch.arange(num_cells) + 0.5) / num_cells * 2 - 1  # [-1, 1]
    angles = places[:, None] * torch.tensor([0.25, 0.5]) * math.pi
    code = torch.cat([angles.sin(), angles.cos() - angles.cos().mean(dim=0)], dim=1)  # (cells, 4)
    rows, columns = code[:, None].expand(-1, num_cells, -1), code[None].expand(num_cells, -1, -1)
    return torch.cat([columns, rows], dim=2).flatten(0, 1)


def looking_loss(weights: Tensor, boxes_xywh: Tensor, num_cells: int) -> Tensor:
    """Return how far attention is from the centre of the target: a mean over (B, H, L).

    Args:
        weights: (B, H, L, cells), attention to the search crop; of each query, 1 in all.
        boxes_xywh: (B, 4), shares of the search crop.
        num_cells: along a side of the search grid.
    """
    centres = xywh_to_cxcywh(boxes_xywh)[:, :2] * num_cells  # (B, 2)
    places = torch.arange(num_cells) + 0.5
    x, y = (-0.5 * ((places - centres[:, i : i + 1]) / _LOOK_SIGMA).square() for i in range(2))  # (B, cells) each
    wanted = (y[:, :, None] + x[:, None]).flatten(1).softmax(dim=1)  # (B, cells ** 2)
    return -(wanted[:, None, None] * weights.clamp_min(1e-6).log()).sum(dim=-1).mean()


def soft_targets(places: Tensor, num_bins: int, sigma: float) -> Tensor:
    """Return distributions (..., F) around bins (...), which may lie between two."""
    return (-0.5 * ((torch.arange(num_bins) - places[..., None]) / sigma).square()).softmax(dim=-1)


class SeqTrackCourse(Course):
    """The encoder is OSTrack's; the decoder learns where to look in it, and words that are close are alike."""

    num_late_blocks = 0

    def __init__(self, ostrack: nn.Module) -> None:
        self.adapter = SeqTrackAdapter.load("tiny", "random")
        self.tracker: Any = self.adapter.teacher
        config, body, old = self.tracker.config, self.tracker.encoder.body, ostrack.backbone
        body.blocks.load_state_dict(old.blocks.state_dict())
        body.patch_embed.load_state_dict(old.patch_embed.state_dict())
        body.norm.load_state_dict(old.norm.state_dict())
        quiet = quiet_directions(old.blocks)[:, :_NUM_POSITION_CHANNELS].T
        with torch.no_grad():
            searches = old.pos_embed_x + _POSITION_GAIN * position_code(config.search_cells) @ quiet
            body.pos_embed.copy_(torch.cat([searches, old.pos_embed_z], dim=1))
            waves = _waves(config.num_bins, config.decoder_width)
            self.tracker.decoder.embedding.word_embeddings.weight[: config.num_bins] = waves
            self.tracker.vocab_embed.layers[-1].weight[: config.num_bins] = 0.3 * waves
        self._looks: list[Tensor] = []
        for layer in self.tracker.decoder.body.layers:
            layer.multihead_attn.register_forward_pre_hook(self._look)

    def late_parameters(self) -> Iterable[nn.Parameter]:
        """Return what learns in the first phase."""
        return [p for name, p in self.tracker.named_parameters() if not name.startswith("encoder")]

    def early(self, templates: Tensor, search: Tensor) -> Tensor:
        """Return the tokens before the first part that learns in the first phase."""
        body = self.tracker.encoder.body
        return self.tracker.encoder(search, body.embed_templates(templates))

    def losses(self, sample: Sample) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses of the words of the true box and of where the decoder looks."""
        config, boxes = self.tracker.config, sample.boxes
        size = config.search_size
        words = words_of_boxes(boxes * size / (size - 1), config.num_bins)  # (B, 4)
        memory = self.tracker.bottleneck(sample.tokens).transpose(0, 1)
        self._looks = []
        logits = self.tracker.read(memory, F.pad(words, (1, 0), value=config.start_word))
        shares = logits.log_softmax(dim=-1)
        wanted = soft_targets(words, config.num_bins, sigma=4.0)  # (B, 4, F)
        losses = {
            "words": -(wanted * shares[:, :NUM_COORDINATES, : config.num_bins]).sum(dim=-1).mean(),
            "end": -0.01 * shares[:, -1, config.end_word].mean(),
            "looking": 0.1 * sum(looking_loss(look, boxes, config.search_cells) for look in self._looks),
        }
        likeliest = logits[:, :NUM_COORDINATES, : config.num_bins].argmax(dim=-1)
        return losses, likeliest / (config.num_bins - 1)

    def _look(self, attention: PackedAttention, args: tuple[Tensor, KeysValues]) -> None:
        queries, seen = args
        q = attention._projected(queries[:NUM_COORDINATES], part=0)  # (B, H, L, D / H)
        self._looks.append((q @ seen.keys.mT / math.sqrt(q.shape[-1])).softmax(dim=-1))


class MixFormerV2Course(Course):
    """The blocks are OSTrack's; the prediction tokens begin where they disturb nobody, and learn where to look."""

    num_late_blocks = 3

    def __init__(self, ostrack: nn.Module) -> None:
        self.adapter = MixFormerV2Adapter.load("tiny", "random")
        self.tracker: Any = self.adapter.teacher
        config, backbone, old = self.tracker.config, self.tracker.backbone, ostrack.backbone
        backbone.blocks.load_state_dict(old.blocks.state_dict())
        backbone.patch_embed.load_state_dict(old.patch_embed.state_dict())
        quiet = quiet_directions(old.blocks).T
        with torch.no_grad():
            code = position_code(config.search_cells) @ quiet[:_NUM_POSITION_CHANNELS]
            backbone.pos_embed_s.copy_(old.pos_embed_x + _POSITION_GAIN * code)
            backbone.pos_embed_t.copy_(old.pos_embed_z)
            backbone.reg_tokens.copy_(_POSITION_GAIN * quiet[_NUM_POSITION_CHANNELS:][: len(SIDES)])
            # Distributions of some sharpness from the start: the last norm has no other scale.
            self.tracker.box_head.layers[-1][1].weight.fill_(3.0)
        self._looks: list[Tensor] = []
        for block in backbone.blocks[-self.num_late_blocks :]:
            block.attn.register_forward_pre_hook(self._look)

    def late_parameters(self) -> Iterable[nn.Parameter]:
        """Return what learns in the first phase."""
        late = [*self.tracker.backbone.blocks[-self.num_late_blocks :], self.tracker.box_head, self.tracker.score_head]
        return [parameter for module in late for parameter in module.parameters()]

    def early(self, templates: Tensor, search: Tensor) -> Tensor:
        """Return the tokens before the first part that learns in the first phase."""
        backbone = self.tracker.backbone
        both = backbone._embed_templates(templates[0], templates[1])
        x = torch.cat([both, backbone._embed_search(search)], dim=1)
        for block in backbone.blocks[: -self.num_late_blocks]:
            x = block(x, both.shape[1])
        return x

    def losses(self, sample: Sample) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses of the box, of its sides, of the score, and of where the prediction tokens look."""
        config, x = self.tracker.config, sample.tokens
        self._looks = []
        for block in self.tracker.backbone.blocks[-self.num_late_blocks :]:
            x = block(x, 2 * config.template_cells**2)
        outputs = self.tracker.read(x[:, -len(SIDES) :])
        there, boxes = sample.is_there, sample.boxes[sample.is_there]
        logits, corners = outputs["logits"][there], xywh_to_xyxy(boxes).clamp(0.0, 1.0)
        sides = corners[:, [0, 2, 1, 3]] * config.num_bins  # left, right, top, bottom
        wanted = soft_targets(sides, config.num_bins, sigma=1.0)
        boxed = box_losses(outputs["boxes"][there], boxes)
        losses = {
            "ciou": 2.0 * boxed["ciou"],
            "l1": 5.0 * boxed["l1"],
            "sides": -(wanted * logits.log_softmax(dim=-1)).sum(dim=-1).mean(),
            "score": F.binary_cross_entropy_with_logits(outputs["score"], there.float()),
            "looking": 0.1 * sum(looking_loss(look[there], boxes, config.search_cells) for look in self._looks),
        }
        return losses, outputs["boxes"]

    def _look(self, attention: MixedAttention, args: tuple[Tensor, int]) -> None:
        x, num_template = args
        q, k, _ = attention._heads(x)
        q, k = q[:, :, -len(SIDES) :], k[:, :, num_template : -len(SIDES)]
        self._looks.append((q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1))


def _waves(num_places: int, width: int) -> Tensor:
    """Return smooth codes of places along a line, (num_places, width), of about 1 in each channel."""
    generator = torch.Generator().manual_seed(0)
    phases = torch.pi * torch.outer(torch.linspace(0, 1, num_places), torch.arange(1, width // 4 + 1).float())
    falling = 1.0 / torch.arange(1, width // 4 + 1).float().sqrt()
    code = torch.cat([phases.sin() * falling, phases.cos() * falling], dim=1)
    return code @ (torch.randn(code.shape[1], width, generator=generator) / falling.square().sum().sqrt())


def with_absent(batch: Batch, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return templates, search crop, and whether they show one target: the first samples get others' templates."""
    num_absent = int(share * batch.size)
    templates = batch.templates.clone()
    # From half of the batch away, another video.
    templates[:, :num_absent] = batch.templates.roll(batch.size // 2, dims=1)[:, :num_absent]
    return templates, batch.searches[0], torch.arange(batch.size) >= num_absent


def samples(course: Course, data: Iterator[Batch], absent: float) -> Iterator[Sample]:
    """Yield samples without end."""
    for batch in data:
        templates, search, is_there = with_absent(batch, absent)
        yield Sample(course.early(templates, search), batch.search_boxes[0], is_there)


def remembered(found: Iterator[Sample], num_batches: int, batch_size: int, seed: int) -> Iterator[Sample]:
    """Keep what `num_batches` batches give, and yield it again in new orders without end."""
    with torch.no_grad():
        kept = [next(found) for _ in range(num_batches)]
    tokens = torch.cat([sample.tokens.half() for sample in kept])
    boxes, is_there = torch.cat([s.boxes for s in kept]), torch.cat([s.is_there for s in kept])
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(tokens), generator=generator)
        for rows in order[: len(order) // batch_size * batch_size].view(-1, batch_size):
            yield Sample(tokens[rows].float(), boxes[rows], is_there[rows])


def train(course: Course, groups: list[dict[str, Any]], data: Iterator[Sample], num_steps: int, log: TextIO) -> None:
    """Train parameter groups, each with its highest learning rate, with a row of figures every 20 steps."""
    for group in groups:
        group["peak"] = group["lr"]
    optimizer, begin = torch.optim.AdamW(groups, weight_decay=0.01), time.monotonic()
    parameters = [parameter for group in groups for parameter in group["params"]]
    for step, sample in zip(range(num_steps), data, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, num_steps, group["peak"])
        losses, boxes = course.losses(sample)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 20 == 0 or step == num_steps - 1:
            there = sample.is_there
            overlap = iou(cxcywh_to_xyxy(boxes[there]), xywh_to_xyxy(sample.boxes[there])).mean()
            row = {"step": step, "iou": overlap.item(), "seconds": time.monotonic() - begin}
            row |= {name: value.item() for name, value in losses.items()}
            print(json.dumps(row), file=log, flush=True)


def main() -> None:
    """Train, save, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", choices=("seqtrack", "mixformerv2"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--num-remembered", type=int, default=12_000, help="samples of the first phase")
    parser.add_argument("--late-steps", type=int, default=1000)
    parser.add_argument("--late-batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1000, help="of the second phase, in which all parameters learn")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)

    ostrack = OSTrackAdapter.load("tiny", None).teacher
    course: Course = (SeqTrackCourse if options.adapter == "seqtrack" else MixFormerV2Course)(ostrack)
    with (options.out / "log.jsonl").open("w") as log:
        learn(course, options, log)

    tracker, path = course.adapter.teacher, options.out / "tiny.safetensors"
    half = {key: value.half() if value.is_floating_point() else value for key, value in tracker.state_dict().items()}
    write_safetensors(path, half, {"made_by": f"tools/train_tiny_from_ostrack.py {options.adapter}"})
    shipped = type(course.adapter).load("tiny", path)
    score = evaluate(shipped, shipped.teacher, held_out_videos())
    print(f"held-out AUC {score.auc:.4f}, precision {score.precision:.4f}")


def learn(course: Course, options: argparse.Namespace, log: TextIO) -> None:
    """Train what is new on a fixed set of samples, then everything on new ones."""
    absent = 0.0 if options.adapter == "seqtrack" else 0.2
    late = list(course.late_parameters())
    found = samples(course, training_batches(course.adapter, options.seed, 64), absent)
    data = remembered(found, options.num_remembered // 64, options.late_batch_size, options.seed)
    train(course, [{"params": late, "lr": 1e-3}], data, options.late_steps, log)

    found = samples(course, training_batches(course.adapter, options.seed + 1, options.batch_size), absent)
    parameters = course.adapter.teacher.parameters()
    early = [p for p in parameters if p.requires_grad and not any(p is other for other in late)]
    train(course, [{"params": late, "lr": 5e-4}, {"params": early, "lr": 2e-4}], found, options.steps, log)


if __name__ == "__main__":
    main()
