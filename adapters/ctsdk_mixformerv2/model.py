"""MixFormerV2: one transformer over two templates, a search crop and four prediction tokens.

The whole network in one file, in the order in which it runs. Shapes at the line ends: B samples, Nz tokens of one
template, Nx search tokens, N = 2 Nz + Nx + 4 tokens in all, C channels, H heads, F bins.

Module names are those of the official code, so that a state dict has the official keys.

Source: Cui et al., MixFormerV2: Efficient Fully Transformer Tracking, NeurIPS 2023; MCG-NJU/MixFormerV2 @ 1041438,
lib/models/mixformer2_vit/{mixformer2_vit_online,mixformer2_vit,head}.py, lib/models/mixformer_vit/pos_util.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from timm import layers
from torch import Tensor, nn
from torch.nn import functional as F

from ctsdk_mixformerv2.variants import MixFormerV2Config

__all__ = ["SIDES", "Block", "Memory", "MixFormerV2", "MixFormerV2Config", "position_table"]

SIDES = ("left", "right", "top", "bottom")
"""The side of the box that each prediction token is for, in the order of the tokens."""


class Memory(NamedTuple):
    """Keys and values of the template tokens in one block, (B, H, 2 Nz, C / H) each.

    Template tokens never attend to the search crop, so these hold until a template changes.
    """

    keys: Tensor
    values: Tensor


class MixedAttention(nn.Module):
    """Asymmetric attention: template tokens attend to templates, the others to all tokens."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, num_template: int) -> Tensor:
        """Return the attended tokens, (B, N, C), of which the first `num_template` are templates."""
        q, k, v = self._heads(x)
        of_template = F.scaled_dot_product_attention(
            q[:, :, :num_template], k[:, :, :num_template], v[:, :, :num_template]
        )
        of_search = F.scaled_dot_product_attention(q[:, :, num_template:], k, v)
        return self._merge(torch.cat([of_template, of_search], dim=2))

    def of_templates(self, x: Tensor) -> tuple[Tensor, Memory]:
        """Return the attended template tokens (B, 2 Nz, C) and their keys and values."""
        q, k, v = self._heads(x)
        return self._merge(F.scaled_dot_product_attention(q, k, v)), Memory(k, v)

    def of_search(self, x: Tensor, memory: Memory) -> Tensor:
        """Return the attended search and prediction tokens, (B, Nx + 4, C)."""
        q, k, v = self._heads(x)
        keys, values = torch.cat([memory.keys, k], dim=2), torch.cat([memory.values, v], dim=2)
        return self._merge(F.scaled_dot_product_attention(q, keys, values))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, C / H) each
        return q, k, v

    def _merge(self, x: Tensor) -> Tensor:
        projected: Tensor = self.proj(x.transpose(1, 2).flatten(2))  # (B, N, C)
        return projected


class Block(nn.Module):
    """A pre-norm transformer block. All tokens at once in training; templates and search apart in a session."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = MixedAttention(width, num_heads)
        self.drop_path = layers.DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = layers.Mlp(width, round(width * mlp_ratio))

    def forward(self, x: Tensor, num_template: int) -> Tensor:
        """Return the tokens after this block, (B, N, C)."""
        return self._fed(x + self.drop_path(self.attn(self.norm1(x), num_template)))

    def of_templates(self, x: Tensor) -> tuple[Tensor, Memory]:
        """Return the template tokens after this block (B, 2 Nz, C) and their keys and values."""
        attended, memory = self.attn.of_templates(self.norm1(x))
        return self._fed(x + self.drop_path(attended)), memory

    def of_search(self, x: Tensor, memory: Memory) -> Tensor:
        """Return the search and prediction tokens after this block, (B, Nx + 4, C)."""
        return self._fed(x + self.drop_path(self.attn.of_search(self.norm1(x), memory)))

    def _fed(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


def position_table(num_cells: int, width: int) -> Tensor:
    """Return the fixed position of each cell of a grid, (1, num_cells ** 2, width), row by row.

    The first half of the channels says the column, the second half the row; each half is sines, then cosines, at
    wavelengths that grow from 2 pi to 20 000 pi cells.

    Source: He et al., Masked Autoencoders, CVPR 2022.
    """
    # NumPy and float32 all through, as in the official code: its files hold these very digits.
    quarter = width // 4
    rates = 1.0 / 10_000.0 ** (np.arange(quarter, dtype=np.float32) / np.float32(quarter))
    angles = np.outer(np.arange(num_cells, dtype=np.float32), rates)  # (cells, C / 4)
    along = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)  # (cells, C / 2)
    shape = (num_cells, num_cells, 2 * quarter)
    columns, rows = np.broadcast_to(along[None], shape), np.broadcast_to(along[:, None], shape)
    return torch.tensor(np.concatenate([columns, rows], axis=2).reshape(1, num_cells**2, 4 * quarter))


class Backbone(nn.Module):
    """Embeds the crops and runs the blocks over all their tokens and the prediction tokens."""

    def __init__(self, config: MixFormerV2Config) -> None:
        super().__init__()
        width = config.width
        self.patch_embed = layers.PatchEmbed(img_size=None, patch_size=config.patch_size, embed_dim=width)
        self.pos_embed_s = nn.Parameter(position_table(config.search_cells, width), requires_grad=False)
        self.pos_embed_t = nn.Parameter(position_table(config.template_cells, width), requires_grad=False)
        self.reg_tokens = nn.Parameter(layers.trunc_normal_(torch.empty(1, 4, width), std=0.02))
        self.pos_embed_reg = nn.Parameter(torch.zeros(1, 4, width))
        # On the CPU by name, so that a network can also be described without memory, under torch.device("meta").
        rates = torch.linspace(0, config.drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(Block(width, config.num_heads, config.mlp_ratio, rate) for rate in rates)

    def forward(self, template: Tensor, online_template: Tensor, search: Tensor) -> Tensor:
        """Return the prediction tokens after the last block, (B, 4, C); no norm follows."""
        templates, searches = self._embed_templates(template, online_template), self._embed_search(search)
        x = torch.cat([templates, searches], dim=1)  # (B, N, C)
        for block in self.blocks:
            x = block(x, templates.shape[1])
        return x[:, -len(SIDES) :]

    def remember(self, template: Tensor, online_template: Tensor) -> list[Memory]:
        """Return the keys and values of the templates in each block."""
        x = self._embed_templates(template, online_template)  # (B, 2 Nz, C)
        memories = []
        for block in self.blocks:
            x, memory = block.of_templates(x)  # type: ignore[operator]
            memories.append(memory)
        return memories

    def recall(self, search: Tensor, memories: list[Memory]) -> Tensor:
        """Return the prediction tokens after the last block, (B, 4, C), from the keys and values of the templates."""
        x = self._embed_search(search)  # (B, Nx + 4, C)
        for block, memory in zip(self.blocks, memories, strict=True):
            x = block.of_search(x, memory)  # type: ignore[operator]
        return x[:, -len(SIDES) :]

    def _embed_templates(self, template: Tensor, online_template: Tensor) -> Tensor:
        # Detached, because the parameters of a student are all made to be trained, and positions are constants.
        both = [self.patch_embed(crop) + self.pos_embed_t.detach() for crop in (template, online_template)]
        return torch.cat(both, dim=1)  # (B, 2 Nz, C)

    def _embed_search(self, search: Tensor) -> Tensor:
        tokens = self.patch_embed(search) + self.pos_embed_s.detach()
        prediction = (self.reg_tokens + self.pos_embed_reg).expand(tokens.shape[0], -1, -1)
        return torch.cat([tokens, prediction], dim=1)  # (B, Nx + 4, C)


class DistributionHead(nn.Module):
    """Gives for each prediction token how likely its side of the box is at each place."""

    def __init__(self, width: int, num_bins: int) -> None:
        super().__init__()
        hidden = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(inplace=True))
        self.layers = nn.ModuleList([hidden, nn.Sequential(nn.Linear(width, num_bins), nn.LayerNorm(num_bins))])

    def forward(self, prediction_tokens: Tensor) -> Tensor:
        """Return logits (B, 4, F), float32 or better: a bin is a few pixels, and boxes are sums over bins."""
        x = prediction_tokens
        for layer in self.layers:
            x = layer(x)
        return x.to(torch.promote_types(x.dtype, torch.float32))


class ScoreHead(nn.Module):
    """Gives the confidence that the target is in the search crop."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True))
        self.layers = nn.ModuleList([hidden, nn.Linear(width, 1)])

    def forward(self, prediction_tokens: Tensor) -> Tensor:
        """Return one logit a sample, (B,)."""
        x = prediction_tokens
        for layer in self.layers:
            x = layer(x)
        return x.mean(dim=(1, 2)).to(torch.promote_types(x.dtype, torch.float32))


class MixFormerV2(nn.Module):
    """The tracker: backbone, distribution head and, for most, score head.

    Attributes:
        config: the architecture; a student's ``len(backbone.blocks)`` and the width of its MLPs may be less.
    """

    def __init__(self, config: MixFormerV2Config) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.box_head = DistributionHead(config.width, config.num_bins)
        self.score_head = ScoreHead(config.width) if config.has_score else None

    def forward(self, template: Tensor, online_template: Tensor, search: Tensor) -> dict[str, Tensor]:
        """Find the templates' target in the search crop.

        Args:
            template: (B, 3, Hz, Hz), normalised: the target in the first frame.
            online_template: (B, 3, Hz, Hz), normalised: the target in a later one, or the same crop.
            search: (B, 3, Hx, Hx), normalised.

        Returns:
            boxes (B, 4) cxcywh, shares of the search crop; logits (B, 4, F) by side, in the order of :data:`SIDES`; and
            score (B,), a logit, if the tracker has a score head.
        """
        return self.read(self.backbone(template, online_template, search))

    def read(self, prediction_tokens: Tensor) -> dict[str, Tensor]:
        """Return what :meth:`forward` returns, from the prediction tokens (B, 4, C)."""
        logits = self.box_head(prediction_tokens)  # (B, 4, F)
        outputs = {"boxes": _expected_boxes(logits), "logits": logits}
        if self.score_head is not None:
            outputs["score"] = self.score_head(prediction_tokens)
        return outputs


def _expected_boxes(logits: Tensor) -> Tensor:
    """Return (B, 4), cxcywh: the mean place of each side. Nothing keeps right beyond left, or bottom below top."""
    num_bins = logits.shape[-1]
    # A bin stands for its left edge, so the largest coordinate is one bin short of 1.
    places = torch.arange(num_bins, device=logits.device, dtype=logits.dtype) / num_bins
    left, right, top, bottom = (logits.softmax(dim=-1) * places).sum(dim=-1).unbind(dim=-1)
    return torch.stack([0.5 * (left + right), 0.5 * (top + bottom), right - left, bottom - top], dim=-1)
