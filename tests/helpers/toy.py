"""A tracker that ctsdk has never seen, and its adapter: small enough to train in a test."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ctsdk


class ToyBlock(nn.Module):
    """Mixes tokens and channels; drops out in training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.linear = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        x = x + F.scaled_dot_product_attention(q, k, v)
        return x + self.dropout(F.gelu(self.linear(x)))


class ToyTracker(nn.Module):
    """Six blocks over the patches of both crops; batch norm in the head, like the real ones."""

    def __init__(self, width: int = 16, depth: int = 6) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 8, stride=8)
        self.layers = nn.ModuleList(ToyBlock(width) for _ in range(depth))
        self.head_norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, 4)

    def forward(self, template: Tensor, search: Tensor) -> Tensor:
        x = torch.cat([self.embed(crop).flatten(2).transpose(1, 2) for crop in (template, search)], dim=1)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.head_norm(x.mean(dim=1))).sigmoid()


class ToyAdapter(ctsdk.TrackerAdapter):
    name = "toy"
    spec = ctsdk.TrackerSpec(template_size=16, search_size=32)

    def trunks(self) -> dict[str, ctsdk.Trunk]:
        return {"layers": ctsdk.Trunk("layers")}

    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        return ctsdk.Prediction(tracker(batch.templates[0], batch.searches[0]))

    def task_loss(self, prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> dict[str, Tensor]:
        x, y, w, h = batch.search_boxes[0].unbind(-1)
        return {"l1": F.l1_loss(prediction.boxes, torch.stack([x + w / 2, y + h / 2, w, h], dim=-1))}


def toy_adapter(seed: int = 0, depth: int = 6) -> ToyAdapter:
    """Return an adapter of an untrained toy, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ToyAdapter(ToyTracker(depth=depth))


def toy_batches(count: int = 4, batch_size: int = 4, seed: int = 0) -> list[ctsdk.Batch]:
    """Return batches of noise with boxes of noise."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(count):
        boxes = 0.25 + 0.25 * torch.rand(2, 1, batch_size, 4, generator=generator)
        templates = torch.randn(1, batch_size, 3, 16, 16, generator=generator)
        searches = torch.randn(1, batch_size, 3, 32, 32, generator=generator)
        batches.append(ctsdk.Batch(templates, searches, boxes[0], boxes[1]))
    return batches


def toy_config(**changes: object) -> ctsdk.CompressionConfig:
    """Return a run of 12 steps on batches of 4."""
    training = {"steps": 12, "batch_size": 4, "learning_rate": 1e-3, "device": "cpu"}
    return ctsdk.CompressionConfig.from_mapping(
        {"stages": 3, "training": training | changes.pop("training", {}), **changes}
    )  # type: ignore[operator]
