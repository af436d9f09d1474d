"""What the code base in consumer.py has already. Types of PyTorch and NumPy that hold Any stay in here."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class PixelTracker(nn.Module):
    """Blocks over the patches of both crops."""

    def __init__(self, width: int = 16, depth: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, stride=8)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(width, 2, 32, batch_first=True) for _ in range(depth))
        self.box = nn.Linear(width, 4)

    def forward(self, template: Tensor, search: Tensor) -> Tensor:
        tokens = torch.cat([self.patches(crop).flatten(2).mT for crop in (template, search)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        boxes: Tensor = self.box(tokens.mean(dim=1)).sigmoid()
        return boxes

    def boxes(self, template: Tensor, search: Tensor) -> Tensor:
        """Return boxes (B, 4), centre and size, shares of the search crop."""
        found: Tensor = self(template, search)
        return found


def target_box() -> Tensor:
    return torch.tensor([0.25, 0.25, 0.5, 0.5]).expand(1, 2, 4)


def boxes_of_a_video() -> NDArray[np.float64]:
    return np.tile(np.array([20.0, 10.0, 12.0, 12.0]), (3, 1))


def all_visible() -> NDArray[np.bool_]:
    return np.ones(3, dtype=np.bool_)


def split(tokens: object) -> tuple[Tensor, Tensor]:
    assert isinstance(tokens, Tensor)
    return tokens[:, :4], tokens[:, 4:]
