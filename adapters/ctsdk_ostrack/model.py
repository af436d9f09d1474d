"""OSTrack: one transformer over the tokens of a template and a search crop, and a centre head.

The whole network in one file, in the order in which it runs. Shapes at the line ends: B samples, Nz template tokens,
Nx search tokens, N tokens in all, C channels, H heads, G cells along a side of the search grid.

Module names are those of the official code, so that a state dict has the official keys.

Source: Ye et al., Joint Feature Learning and Relation Modeling for Tracking, ECCV 2022; botaoye/OSTrack @ 33b5e12,
lib/models/ostrack/{ostrack,vit,vit_ce}.py, lib/models/layers/{attn_blocks,head}.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from timm import layers
from torch import Tensor, nn

from ctsdk_ostrack.variants import OSTrackConfig

__all__ = ["OSTrack", "OSTrackConfig", "TrunkState", "decode_boxes"]

# The smallest and the largest value of the score and size maps.
_MAP_RANGE = (1e-4, 1 - 1e-4)
# Positions of the ViT-B/16 checkpoint that training started from; kept because official files hold them.
_NUM_UNUSED_POSITIONS = 197


class TrunkState(NamedTuple):
    """The tokens between two blocks, and which candidates were eliminated.

    Attributes:
        tokens: (B, Nz + Nx, C), template tokens first; Nx shrinks where candidates are eliminated.
        num_template: Nz.
        template_rows: (R,) int64, the template tokens whose attention ranks the candidates; None for all of them.
        kept: (B, Nx) the grid cell of each search token; None while every cell is there, in order.
        left: (B, G * G, C) each eliminated token as it was when it left, on its cell; None while none has left.
    """

    tokens: Tensor
    num_template: int
    template_rows: Tensor | None = None
    kept: Tensor | None = None
    left: Tensor | None = None


class Attention(layers.Attention):
    """Full self-attention, all tokens to all tokens, which can also return its weights."""

    def with_weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attended tokens (B, N, C) and the attention itself (B, H, N, N)."""
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, self.head_dim))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, C / H) each
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)  # (B, H, N, N)
        attended: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))  # (B, N, C)
        return attended, weights


class Block(nn.Module):
    """A pre-norm transformer block that may drop search tokens between attention and MLP.

    Attributes:
        keep_ratio: the share of search tokens that stay; None in a plain block, which keeps all.
    """

    def __init__(self, width: int, num_heads: int, drop_path: float = 0.0, keep_ratio: float | None = None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, num_heads, qkv_bias=True)
        self.drop_path = layers.DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = layers.Mlp(width, 4 * width)
        self.keep_ratio = keep_ratio

    def forward(self, state: TrunkState) -> TrunkState:
        """Return the state after this block."""
        if self.keep_ratio is None:
            x = state.tokens + self.drop_path(self.attn(self.norm1(state.tokens)))  # (B, N, C)
            state = state._replace(tokens=x)
        else:
            attended, weights = self.attn.with_weights(self.norm1(state.tokens))
            state = state._replace(tokens=state.tokens + self.drop_path(attended))
            state = _eliminate(state, weights, self.keep_ratio)
        x = state.tokens
        return state._replace(tokens=x + self.drop_path(self.mlp(self.norm2(x))))


def _eliminate(state: TrunkState, weights: Tensor, keep_ratio: float) -> TrunkState:
    """Eliminate the search tokens to which the template pays the least attention.

    Args:
        state: before the drop.
        weights: (B, H, N, N), the attention of this block.
        keep_ratio: share of the search tokens that stay.

    Source: OSTrack paper, section 3.3; botaoye/OSTrack @ 33b5e12, lib/models/layers/attn_blocks.py.
    """
    num_template = state.num_template
    search = state.tokens[:, num_template:]  # (B, Nx, C)
    batch, num_search, width = search.shape
    num_kept = math.ceil(keep_ratio * num_search)
    if num_kept == num_search:
        return state

    to_search = weights[:, :, :num_template, num_template:]  # (B, H, Nz, Nx)
    if state.template_rows is not None:
        to_search = to_search.index_select(2, state.template_rows)
    order = to_search.mean(dim=2).mean(dim=1).argsort(dim=1, descending=True)  # (B, Nx)

    cells = state.kept
    if cells is None:
        cells = torch.arange(num_search, device=search.device).expand(batch, num_search)
    cells = cells.gather(1, order)
    search = search.gather(1, order[..., None].expand(-1, -1, width))
    kept, gone = cells[:, :num_kept], cells[:, num_kept:]

    # The first drop happens while every cell is still there, so it knows the size of the grid.
    left = state.left if state.left is not None else search.new_zeros(batch, num_search, width)
    left = left.scatter(1, gone[..., None].expand(-1, -1, width), search[:, num_kept:])
    tokens = torch.cat([state.tokens[:, :num_template], search[:, :num_kept]], dim=1)
    return state._replace(tokens=tokens, kept=kept, left=left)


class Backbone(nn.Module):
    """Embeds both crops and runs the blocks over all their tokens."""

    def __init__(self, config: OSTrackConfig) -> None:
        super().__init__()
        width = config.width
        self.patch_embed = layers.PatchEmbed(img_size=None, patch_size=config.patch_size, embed_dim=width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, _NUM_UNUSED_POSITIONS, width))
        self.pos_embed_z = nn.Parameter(torch.zeros(1, config.template_cells**2, width))
        self.pos_embed_x = nn.Parameter(torch.zeros(1, config.search_cells**2, width))
        # On the CPU by name, so that a network can also be described without memory, under torch.device("meta").
        rates = torch.linspace(0, config.drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            Block(width, config.num_heads, rates[i], config.keep_ratios.get(i)) for i in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, template: Tensor, search: Tensor, template_rows: Tensor | None) -> Tensor:
        """Return the search tokens after the last norm, (B, G * G, C); eliminated cells are zero."""
        templates = self.patch_embed(template) + self.pos_embed_z  # (B, Nz, C)
        searches = self.patch_embed(search) + self.pos_embed_x  # (B, Nx, C)
        state = TrunkState(torch.cat([templates, searches], dim=1), templates.shape[1], template_rows)
        for block in self.blocks:
            state = block(state)
        x: Tensor = self.norm(state.tokens)[:, state.num_template :]  # (B, Nx, C)
        if state.kept is None:
            return x
        cells = state.kept[..., None].expand_as(x)
        return x.new_zeros(x.shape[0], self.pos_embed_x.shape[1], x.shape[2]).scatter(1, cells, x)


class CentreHead(nn.Module):
    """Three convolutional towers over the search grid: where the centre is, its offset in the cell, the box's size."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        widths = (width, head_width, head_width // 2, head_width // 4, head_width // 8)
        for tower, channels in (("ctr", 1), ("offset", 2), ("size", 2)):
            for i in range(1, 5):
                self.add_module(f"conv{i}_{tower}", _conv_norm_relu(widths[i - 1], widths[i]))
            self.add_module(f"conv5_{tower}", nn.Conv2d(widths[4], channels, kernel_size=1))

    def forward(self, grid: Tensor) -> dict[str, Tensor]:
        """Return the maps of the search grid.

        Args:
            grid: (B, C, G, G).

        Returns:
            score_map (B, 1, G, G) in [1e-4, 1 - 1e-4]; size_map (B, 2, G, G) width and height as shares of the crop, in
            the same range; offset_map (B, 2, G, G) x and y in cells, unbounded.
        """
        return {
            "score_map": self._tower("ctr", grid).sigmoid().clamp(*_MAP_RANGE),
            "size_map": self._tower("size", grid).sigmoid().clamp(*_MAP_RANGE),
            "offset_map": self._tower("offset", grid),
        }

    def _tower(self, tower: str, x: Tensor) -> Tensor:
        for i in range(1, 6):
            x = self.get_submodule(f"conv{i}_{tower}")(x)
        # In bfloat16 the largest score would be 1, whose focal loss is infinite, and boxes would move in whole pixels.
        return x.to(torch.promote_types(x.dtype, torch.float32))


def _conv_norm_relu(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel_size=3, padding=1), nn.BatchNorm2d(width_out), nn.ReLU(inplace=True)
    )


def decode_boxes(response: Tensor, size_map: Tensor, offset_map: Tensor) -> Tensor:
    """Return the boxes at the peak of the response.

    Args:
        response: (B, 1, G, G): the score map, windowed or not.
        size_map: (B, 2, G, G), width and height as shares of the crop.
        offset_map: (B, 2, G, G), x and y in cells.

    Returns:
        (B, 4), cxcywh, shares of the search crop. No gradient flows through the choice of the peak.
    """
    num_cells = response.shape[-1]
    peak = response.flatten(1).argmax(dim=1, keepdim=True)  # (B, 1)
    index = peak[:, None].expand(-1, 2, 1)
    size = size_map.flatten(2).gather(2, index)[..., 0]  # (B, 2)
    offset = offset_map.flatten(2).gather(2, index)[..., 0]  # (B, 2)
    cell = torch.cat([peak % num_cells, peak // num_cells], dim=1)  # (B, 2) column, row
    return torch.cat([(cell + offset) / num_cells, size], dim=1)


class OSTrack(nn.Module):
    """The tracker: backbone and centre head.

    Attributes:
        config: the architecture; ``len(backbone.blocks)`` may be less than ``config.depth`` in a student.
    """

    def __init__(self, config: OSTrackConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.box_head = CentreHead(config.width, config.head_width)
        # One template token, up and left of the true centre on an even grid, ranks the candidates.
        centre = (config.template_cells - 1) // 2
        self.centre_row: Tensor
        self.register_buffer("centre_row", torch.tensor([centre * (config.template_cells + 1)]), persistent=False)

    def forward(self, template: Tensor, search: Tensor, template_rows: Tensor | None = None) -> dict[str, Tensor]:
        """Find the template's target in the search crop.

        Args:
            template: (B, 3, Hz, Hz), normalised.
            search: (B, 3, Hx, Hx), normalised.
            template_rows: (R,) int64, the template tokens that rank candidates for elimination; None for all of them.

        Returns:
            boxes (B, 4) cxcywh at the peak of the score map, and score_map, size_map, offset_map of the head.
        """
        cells = self.config.search_cells
        tokens = self.backbone(template, search, template_rows)  # (B, G * G, C)
        grid = tokens.transpose(1, 2).unflatten(2, (cells, cells))  # (B, C, G, G)
        maps: dict[str, Tensor] = self.box_head(grid)
        boxes = decode_boxes(maps["score_map"], maps["size_map"], maps["offset_map"])
        return {"boxes": boxes, **maps}
