"""Box formats and overlaps, on tensors.

Every name carries its format: ``xywh`` is (left, top, width, height), ``cxcywh`` is (centre, size), ``xyxy`` is
(left, top, right, bottom). The suffix ``_px`` marks pixels; without it, coordinates are shares of a crop. The functions
work with any unit.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["BoxPx", "cxcywh_to_xyxy", "generalized_iou", "iou", "xywh_to_cxcywh", "xywh_to_xyxy"]

BoxPx: TypeAlias = tuple[float, float, float, float]
"""A box (left, top, width, height) in pixels of a frame."""


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Turn (..., 4) cxcywh boxes into xyxy boxes."""
    centre, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    return torch.cat([centre - 0.5 * size, centre + 0.5 * size], dim=-1)


def xywh_to_xyxy(boxes_xywh: Tensor) -> Tensor:
    """Turn (..., 4) xywh boxes into xyxy boxes."""
    corner, size = boxes_xywh[..., :2], boxes_xywh[..., 2:]
    return torch.cat([corner, corner + size], dim=-1)


def xywh_to_cxcywh(boxes_xywh: Tensor) -> Tensor:
    """Turn (..., 4) xywh boxes into cxcywh boxes."""
    corner, size = boxes_xywh[..., :2], boxes_xywh[..., 2:]
    return torch.cat([corner + 0.5 * size, size], dim=-1)


def iou(boxes_xyxy: Tensor, other_xyxy: Tensor) -> Tensor:
    """Return the intersection over union of paired boxes.

    Args:
        boxes_xyxy: (..., 4).
        other_xyxy: (..., 4), the same shape.

    Returns:
        (...), intersection over union in [0, 1]; 0 where both boxes are empty.
    """
    intersection, union = _intersection_and_union(boxes_xyxy, other_xyxy)
    return intersection / union.clamp_min(torch.finfo(union.dtype).tiny)


def generalized_iou(boxes_xyxy: Tensor, other_xyxy: Tensor) -> Tensor:
    """Return the generalised intersection over union (GIoU) of paired boxes.

    Args:
        boxes_xyxy: (..., 4).
        other_xyxy: (..., 4), the same shape.

    Returns:
        (...), in [-1, 1]: the intersection over union, minus the share of the enclosing box that neither box covers.

    Source: Rezatofighi et al., Generalized Intersection over Union, CVPR 2019, algorithm 1.
    """
    tiny = torch.finfo(boxes_xyxy.dtype).tiny
    intersection, union = _intersection_and_union(boxes_xyxy, other_xyxy)
    start = torch.minimum(boxes_xyxy[..., :2], other_xyxy[..., :2])
    end = torch.maximum(boxes_xyxy[..., 2:], other_xyxy[..., 2:])
    enclosing = (end - start).clamp_min(0).prod(dim=-1)
    return intersection / union.clamp_min(tiny) - (enclosing - union) / enclosing.clamp_min(tiny)


def _intersection_and_union(boxes_xyxy: Tensor, other_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    start = torch.maximum(boxes_xyxy[..., :2], other_xyxy[..., :2])
    end = torch.minimum(boxes_xyxy[..., 2:], other_xyxy[..., 2:])
    intersection = (end - start).clamp_min(0).prod(dim=-1)
    area = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).prod(dim=-1)
    other_area = (other_xyxy[..., 2:] - other_xyxy[..., :2]).prod(dim=-1)
    return intersection, area + other_area - intersection
