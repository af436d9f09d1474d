from __future__ import annotations

import torch

from ctsdk import boxes


def test_both_ways_to_corners_agree() -> None:
    xywh = torch.rand(5, 4)
    xyxy = boxes.xywh_to_xyxy(xywh)
    assert torch.equal(xyxy, torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1))
    assert torch.allclose(boxes.cxcywh_to_xyxy(boxes.xywh_to_cxcywh(xywh)), xyxy)


def test_overlap_of_known_boxes() -> None:
    one = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    other = torch.tensor([[1.0, 1.0, 3.0, 3.0], [2.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    assert torch.allclose(boxes.iou(one, other), torch.tensor([1 / 7, 0.0, 0.0]))
    # Enclosing boxes: 3 x 3 with 7 covered; 3 x 1 with 2 covered.
    assert torch.allclose(boxes.generalized_iou(one, other)[:2], torch.tensor([1 / 7 - 2 / 9, -1 / 3]))


def test_same_boxes_have_no_distance_and_no_gradient_blows_up() -> None:
    box = torch.tensor([[0.2, 0.2, 0.6, 0.7]], requires_grad=True)
    loss = 1 - boxes.generalized_iou(box, box.detach())
    loss.sum().backward()
    assert loss.item() == 0
    assert torch.isfinite(box.grad).all()
