"""The losses of MixFormerV2: box overlap and distance; for students also the teacher's distributions.

Source: MCG-NJU/MixFormerV2 @ 1041438, lib/train/actors/{mixformer,mixformer_distill_st1,mixformer_distill_st2}.py,
lib/utils/box_ops.py.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ctsdk.boxes import cxcywh_to_xyxy, xywh_to_xyxy

__all__ = ["box_losses", "complete_iou_loss", "distribution_loss", "score_divergence"]

# Boxes with a smaller IoU are first brought together; their shapes do not count.
_SHAPE_COUNTS_ABOVE = 0.5
_EPSILON = 1e-7


def box_losses(boxes_cxcywh: Tensor, truth_xywh: Tensor) -> dict[str, Tensor]:
    """Return the unweighted ``ciou`` and ``l1`` losses, means over the batch.

    Args:
        boxes_cxcywh: (B, 4), shares of the search crop.
        truth_xywh: (B, 4), shares of the search crop; its corners are clamped to [0, 1], the prediction's are not.
    """
    boxes = cxcywh_to_xyxy(boxes_cxcywh)
    truth = xywh_to_xyxy(truth_xywh).clamp(0.0, 1.0)
    return {"ciou": complete_iou_loss(boxes, truth).mean(), "l1": F.l1_loss(boxes, truth)}


def complete_iou_loss(boxes_xyxy: Tensor, truth_xyxy: Tensor) -> Tensor:
    """Return 1 - CIoU of each pair, (B,) in [0, 2].

    A box whose right is left of its left overlaps nothing. Loss and gradient are finite for every pair of boxes; the
    official code divides 0 by 0 where two boxes are the same, and where an area is 0.

    Source: Zheng et al., Distance-IoU Loss, AAAI 2020.
    """
    size, truth_size = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], truth_xyxy[:, 2:] - truth_xyxy[:, :2]
    overlap = torch.minimum(boxes_xyxy[:, 2:], truth_xyxy[:, 2:]) - torch.maximum(boxes_xyxy[:, :2], truth_xyxy[:, :2])
    intersection = overlap.clamp_min(0).prod(dim=1)
    iou = intersection / _or_one(size.prod(dim=1) + truth_size.prod(dim=1) - intersection)
    hull = torch.maximum(boxes_xyxy[:, 2:], truth_xyxy[:, 2:]) - torch.minimum(boxes_xyxy[:, :2], truth_xyxy[:, :2])
    offset = 0.5 * (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:] - truth_xyxy[:, :2] - truth_xyxy[:, 2:])
    distance = offset.square().sum(dim=1) / _or_one(hull.clamp_min(0).square().sum(dim=1))
    # Elsewhere a side may be 0 or less, and there is no angle; two squares have the same.
    has_shape = iou > _SHAPE_COUNTS_ABOVE
    width, height = size.where(has_shape[:, None], 1.0).unbind(dim=1)
    truth_width, truth_height = truth_size.where(has_shape[:, None], 1.0).unbind(dim=1)
    angle = torch.atan(truth_width / truth_height) - torch.atan(width / height)
    shape = 4 / math.pi**2 * angle.square()
    with torch.no_grad():
        trade_off = shape / (1 - iou + shape).clamp_min(_EPSILON)
    return 1 - (iou - distance - trade_off * shape).clamp(-1.0, 1.0)


def _or_one(divisors: Tensor) -> Tensor:
    """Return the divisors, with 1 for those that are not positive: areas and diagonals of empty boxes."""
    return divisors.where(divisors > 0, 1.0)


def distribution_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the divergence of a student's distributions from its teacher's: the mean over batch and sides, a scalar.

    Args:
        logits: (B, 4, F).
        teacher_logits: (B, 4, F).
    """
    student, teacher = logits.log_softmax(dim=-1), teacher_logits.log_softmax(dim=-1)
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=-1).mean()


def score_divergence(scores: Tensor, teacher_scores: Tensor) -> Tensor:
    """Return the divergence of a student's confidence from its teacher's, the mean over the batch, a scalar.

    Args:
        scores: (B,), logits.
        teacher_scores: (B,), logits.
    """
    confidences = teacher_scores.sigmoid()
    # Less the teacher's entropy, so that a student like its teacher has no loss. From logits, because autocast refuses
    # the cross entropy of probabilities.
    entropy = F.binary_cross_entropy_with_logits(teacher_scores, confidences)
    return F.binary_cross_entropy_with_logits(scores, confidences) - entropy
