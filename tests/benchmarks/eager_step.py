"""The training step of CompressTracker as its official code does it, written out plainly to be measured against.

Two whole copies of the teacher, one whose blocks stand in the mix and one that guides; attention as two products with a
softmax between them, whose weights are kept for the way back; the teacher in train mode. What the official code does is
told in arXiv 2409.17564 and LingyiHongfd/CompressTracker @ efd98ec, lib/train/actors/compresstracker.py.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctsdk import Batch
from ctsdk.boxes import cxcywh_to_xyxy, generalized_iou
from ctsdk_ostrack.losses import box_losses, centre_heat_map, focal_loss
from ctsdk_ostrack.model import OSTrack, decode_boxes

if TYPE_CHECKING:
    from timm.layers import Mlp

__all__ = ["EagerTrainer"]


class PlainAttention(nn.Module):
    """Softmax(Q K^T) V, step by step."""

    def __init__(self, fused: nn.Module) -> None:
        super().__init__()
        self.num_heads: int = fused.num_heads  # type: ignore[assignment]
        self.qkv, self.proj = copy.deepcopy(fused.qkv), copy.deepcopy(fused.proj)

    def forward(self, x: Tensor) -> Tensor:
        batch, num_tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, num_tokens, 3, self.num_heads, width // self.num_heads)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)
        scores = (queries @ keys.transpose(-2, -1)) * (width // self.num_heads) ** -0.5
        attended = scores.softmax(dim=-1) @ values
        return self.proj(attended.transpose(1, 2).reshape(batch, num_tokens, width))


class PlainBlock(nn.Module):
    """One block over tokens (B, N, C)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = copy.deepcopy(block.norm1), copy.deepcopy(block.norm2)
        self.attn, self.mlp = PlainAttention(block.attn), copy.deepcopy(block.mlp)  # type: ignore[arg-type]
        self.drop_path = copy.deepcopy(block.drop_path)
        self.mlp: Mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PlainTracker(nn.Module):
    """Embeddings, norm and head of a tracker, to be run around any blocks."""

    def __init__(self, tracker: OSTrack, blocks: list[PlainBlock]) -> None:
        super().__init__()
        backbone = tracker.backbone
        self.patch_embed, self.norm = copy.deepcopy(backbone.patch_embed), copy.deepcopy(backbone.norm)
        self.pos_embed_z, self.pos_embed_x = (
            nn.Parameter(value.detach().clone()) for value in (backbone.pos_embed_z, backbone.pos_embed_x)
        )
        self.blocks, self.box_head = nn.ModuleList(blocks), copy.deepcopy(tracker.box_head)
        self.num_template, self.cells = tracker.config.template_cells**2, tracker.config.search_cells

    def forward(
        self, template: Tensor, search: Tensor, stages: list[list[nn.Module]]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        x = torch.cat([self.patch_embed(template) + self.pos_embed_z, self.patch_embed(search) + self.pos_embed_x], 1)
        features = []
        for stage in stages:
            for block in stage:
                x = block(x)
            features.append(x)
        grid = self.norm(x)[:, self.num_template :].transpose(1, 2).unflatten(2, (self.cells, self.cells))
        maps = self.box_head(grid)
        boxes = decode_boxes(maps["score_map"], maps["size_map"], maps["offset_map"])
        return {"boxes": boxes, **maps}, features


class EagerTrainer:
    """The training form: the student, the teacher's blocks for the mix, and the whole teacher once more."""

    def __init__(self, teacher: OSTrack, num_stages: int, device: torch.device) -> None:
        blocks, depth = teacher.backbone.blocks, len(teacher.backbone.blocks)
        self.length = depth // num_stages
        own = [PlainBlock(blocks[(stage + 1) * self.length - 1]) for stage in range(num_stages)]
        self.student = PlainTracker(teacher, own).train()
        self.in_mix = nn.ModuleList(PlainBlock(block) for block in blocks).train().requires_grad_(False)
        self.original = PlainTracker(teacher, [PlainBlock(block) for block in blocks]).train().requires_grad_(False)
        for part in (self.student, self.in_mix, self.original):
            part.to(device)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=4e-5, weight_decay=1e-4)

    def step(self, batch: Batch, flags: tuple[bool, ...]) -> None:
        """Train on a batch with the mix of the flags."""
        template, search, truth = batch.templates[0], batch.searches[0], batch.search_boxes[0]
        stages = [
            [self.student.blocks[stage]] if is_student else self._stage(self.in_mix, stage)
            for stage, is_student in enumerate(flags)
        ]
        seen, features = self.student(template, search, stages)
        whole = [self._stage(self.original.blocks, stage) for stage in range(len(flags))]
        with torch.no_grad():
            target, wanted = self.original(template, search, whole)
        task = box_losses(seen["boxes"], truth)
        heat = centre_heat_map(truth, seen["score_map"].shape[-1])
        loss = 2 * task["giou"] + 5 * task["l1"] + focal_loss(seen["score_map"], heat)
        boxes, targets = cxcywh_to_xyxy(seen["boxes"]), cxcywh_to_xyxy(target["boxes"])
        loss = loss + 2 * (1 - generalized_iou(boxes, targets)).mean() + 5 * F.l1_loss(boxes, targets)
        split = self.student.num_template
        errors = [
            (F.mse_loss(a[:, :split], b[:, :split]) + F.mse_loss(a[:, split:], b[:, split:])) / 2
            for a, b in zip(features, wanted, strict=True)
        ]
        loss = loss + 0.2 * torch.stack(errors).mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 0.1)
        self.optimizer.step()

    def _stage(self, blocks: nn.ModuleList, stage: int) -> list[nn.Module]:
        return list(blocks[stage * self.length : (stage + 1) * self.length])
