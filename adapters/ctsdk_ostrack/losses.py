"""The losses of OSTrack: box overlap, box distance, and a heat map of the centre.

Source: botaoye/OSTrack @ 33b5e12, lib/train/actors/ostrack.py, lib/utils/{focal_loss,heapmap_utils}.py.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ctsdk.boxes import cxcywh_to_xyxy, generalized_iou, xywh_to_xyxy

__all__ = ["box_losses", "centre_heat_map", "focal_loss"]

# A box moved within the Gaussian's radius keeps this IoU with the true box (CornerNet's rule).
_MIN_OVERLAP = 0.7


def box_losses(boxes_cxcywh: Tensor, truth_xywh: Tensor) -> dict[str, Tensor]:
    """Return the unweighted ``giou`` and ``l1`` losses, means over the batch.

    Args:
        boxes_cxcywh: (B, 4), shares of the search crop.
        truth_xywh: (B, 4), shares of the search crop; its corners are clamped to [0, 1], the prediction's are not.
    """
    boxes = cxcywh_to_xyxy(boxes_cxcywh)
    truth = xywh_to_xyxy(truth_xywh).clamp(0.0, 1.0)
    return {"giou": (1.0 - generalized_iou(boxes, truth)).mean(), "l1": F.l1_loss(boxes, truth)}


def centre_heat_map(truth_xywh: Tensor, num_cells: int) -> Tensor:
    """Return a Gaussian around each true centre, exactly 1 at the cell nearest to it.

    The nearest cell is round(centre * num_cells), half to even, so a centre in the last half cell has none.

    Args:
        truth_xywh: (B, 4), shares of the search crop, not clamped.
        num_cells: cells along a side of the search grid.

    Returns:
        (B, 1, num_cells, num_cells), float32 in [0, 1].
    """
    # Centre and radius are rounded at the precision of the boxes; only the Gaussian is drawn at the best there is.
    precise = torch.float32 if truth_xywh.device.type == "mps" else torch.float64
    boxes = truth_xywh * num_cells
    centre = (boxes[:, :2] + 0.5 * boxes[:, 2:]).round().to(precise)  # (B, 2) column, row
    radius = _gaussian_radius(boxes[:, 2], boxes[:, 3]).clamp_min(0).floor().to(precise)[:, None, None]  # (B, 1, 1)
    cells = torch.arange(num_cells, device=boxes.device, dtype=precise)
    dx = (cells - centre[:, :1])[:, None, :]  # (B, 1, G)
    dy = (cells - centre[:, 1:])[:, :, None]  # (B, G, 1)
    sigma = (2 * radius + 1) / 6
    heat = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2))
    heat = heat * ((dx.abs() <= radius) & (dy.abs() <= radius))
    return heat[:, None].float()


def _gaussian_radius(width: Tensor, height: Tensor) -> Tensor:
    """Return the radius in cells, (B,).

    The three roots are divided by 2 where the quadratic formula says 2 a: released models were trained so.
    """
    total, area = width + height, width * height
    equations = (
        (1.0, total, area * (1 - _MIN_OVERLAP) / (1 + _MIN_OVERLAP)),
        (4.0, 2 * total, (1 - _MIN_OVERLAP) * area),
        (4 * _MIN_OVERLAP, -2 * _MIN_OVERLAP * total, (_MIN_OVERLAP - 1) * area),
    )
    roots = [(b + (b**2 - 4 * a * c).sqrt()) / 2 for a, b, c in equations]
    return torch.stack(roots).amin(dim=0)


def focal_loss(score_map: Tensor, heat_map: Tensor) -> Tensor:
    """Return the Gaussian focal loss (alpha 2, beta 4), a scalar.

    It is summed over the batch and divided by the number of cells whose heat is exactly 1, or by 1 if there are none.

    Args:
        score_map: (B, 1, G, G) in (0, 1).
        heat_map: (B, 1, G, G) in [0, 1].
    """
    is_centre = heat_map == 1
    centre_loss = score_map.log() * (1 - score_map) ** 2 * is_centre
    other_loss = (1 - score_map).log() * score_map**2 * (1 - heat_map) ** 4 * ~is_centre
    return -(centre_loss.sum() + other_loss.sum()) / is_centre.sum().clamp_min(1)
