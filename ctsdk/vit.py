"""Parts of a plain vision transformer, under the names that official state dicts have, for networks of adapters.

Shapes at the line ends: B samples, N tokens, C channels, H heads.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DropPath", "Mlp", "PatchEmbed", "merge_heads", "split_heads"]


class DropPath(nn.Module):
    """Skips a residual branch for whole samples in training. Source: Huang et al., ECCV 2016.

    Attributes:
        probability: that a sample's branch is skipped.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (B, ...), some samples zero and the others scaled so that the mean stays."""
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * mask / keep

    def extra_repr(self) -> str:
        """Show the probability when printed."""
        return f"{self.probability:.3f}"


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them, token by token."""

    def __init__(self, width: int, hidden_width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden_width)
        self.fc2 = nn.Linear(hidden_width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N, C)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class PatchEmbed(nn.Module):
    """Cuts a crop into patches and projects each to a token."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size)

    def forward(self, crops: Tensor) -> Tensor:
        """Return (B, cells, C), row by row."""
        tokens: Tensor = self.proj(crops).flatten(2).transpose(1, 2)
        return tokens


def split_heads(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values, (B, H, N, C / H) each, from what one layer made of all three, (B, N, 3 C)."""
    batch, num_tokens, width = qkv.shape
    q, k, v = qkv.reshape(batch, num_tokens, 3, num_heads, width // (3 * num_heads)).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def merge_heads(x: Tensor) -> Tensor:
    """Return tokens (B, N, C) from those of each head, (B, H, N, C / H)."""
    return x.transpose(1, 2).flatten(2)
