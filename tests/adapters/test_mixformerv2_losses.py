"""MixFormerV2's losses and their gradients are those of the official code, and finite where it divides by zero."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ctsdk
from ctsdk.boxes import cxcywh_to_xyxy, xywh_to_xyxy
from ctsdk.engine.imitation import imitation_by_stage
from ctsdk_mixformerv2.adapter import MixFormerV2Adapter
from ctsdk_mixformerv2.losses import box_losses, complete_iou_loss, distribution_loss, score_divergence
from ctsdk_mixformerv2.model import MixFormerV2, MixFormerV2Config
from tests.golden.synthetic_weights import image

LOSSES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "mixformerv2" / "losses.json").read_text())
TASK, SCORE, STAGE_1, STAGE_2 = (LOSSES[name] for name in ("task", "score", "stage1", "stage2"))
NUM_BINS: int = LOSSES["bins"]
# The order of the official figures, and of our logits.
SIDES = "lrtb"
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@pytest.fixture(scope="module")
def adapter() -> MixFormerV2Adapter:
    """Only its losses are used, so any network does."""
    return MixFormerV2Adapter(MixFormerV2(MixFormerV2Config(width=8, num_heads=1, depth=1)))


def batch_of(truth_xywh: Tensor) -> ctsdk.Batch:
    crop = torch.zeros(1, len(truth_xywh), 3, 1, 1, dtype=truth_xywh.dtype)
    return ctsdk.Batch(crop, crop, torch.zeros_like(truth_xywh)[None], truth_xywh[None])


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


# -- the tracker's own loss --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_task_loss(adapter: MixFormerV2Adapter, dtype: torch.dtype) -> None:
    boxes = torch.tensor(TASK["pred_boxes_cxcywh"], dtype=dtype, requires_grad=True)
    truth = torch.tensor(TASK["gt_boxes_xywh"], dtype=dtype)
    terms = adapter.task_loss(ctsdk.Prediction(boxes), batch_of(truth))
    wanted = {name: TASK["weights"][name] * TASK["terms"][name] for name in ("ciou", "l1")}
    assert {name: loss.item() for name, loss in terms.items()} == pytest.approx(wanted, rel=TOLERANCE[dtype])
    assert total(terms).item() == pytest.approx(TASK["total"], rel=TOLERANCE[dtype])
    if dtype == torch.float64:
        (gradient,) = torch.autograd.grad(total(terms), boxes)
        expected = torch.tensor(TASK["grad_total_wrt_pred_boxes"], dtype=dtype)
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_complete_iou_of_each_box(dtype: torch.dtype) -> None:
    boxes = cxcywh_to_xyxy(torch.tensor(TASK["pred_boxes_cxcywh"], dtype=dtype))
    truth = xywh_to_xyxy(torch.tensor(TASK["gt_boxes_xywh"], dtype=dtype)).clamp(0, 1)
    wanted = [box["ciou_loss"] for box in TASK["per_box"]]
    assert complete_iou_loss(boxes, truth).tolist() == pytest.approx(wanted, rel=TOLERANCE[dtype])


def test_a_box_with_a_negative_width_overlaps_nothing() -> None:
    case = TASK["negative_width_prediction"]
    boxes = cxcywh_to_xyxy(torch.tensor([case["pred_cxcywh"]], dtype=torch.float64))
    loss = complete_iou_loss(boxes, xywh_to_xyxy(torch.tensor([case["gt_xywh"]], dtype=torch.float64)))
    assert loss.item() == pytest.approx(case["ciou_loss"], rel=1e-10)


def test_nearly_the_same_boxes() -> None:
    box = torch.tensor([[0.2, 0.2, 0.5, 0.6]], dtype=torch.float64)
    moved = box + torch.tensor([0.0, 0.0, 0.0, 1e-6], dtype=torch.float64)
    wanted = TASK["identical_boxes"]["second box off by 1e-6 in y2"]
    assert complete_iou_loss(box, moved).item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("box", [(0.25, 0.25, 0.75, 0.75), (0.2, 0.2, 0.5, 0.6), (0.1, 0.3, 0.1001, 0.9)])
def test_the_same_box_has_no_loss(dtype: torch.dtype, box: tuple[float, ...]) -> None:
    boxes = torch.tensor([box], dtype=dtype, requires_grad=True)
    loss = complete_iou_loss(boxes, boxes.detach().clone())
    loss.sum().backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert boxes.grad is not None
    assert torch.isfinite(boxes.grad).all()


# Points, lines, boxes inside out, and one that is a box.
ODD = [*itertools.product((0.2, 0.5), (0.2, 0.5), (0.2, 0.5), (0.2, 0.5)), (0.0, 0.0, 0.0, 0.0), (0.1, 0.1, 0.9, 0.8)]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_odd_boxes_have_finite_losses_and_gradients(dtype: torch.dtype) -> None:
    pairs = torch.tensor(list(itertools.product(ODD, ODD)), dtype=dtype)
    boxes, truth = pairs[:, 0].clone().requires_grad_(), pairs[:, 1]
    losses = complete_iou_loss(boxes, truth)
    assert losses.isfinite().all()
    assert losses.min() >= 0
    assert losses.max() <= 2
    losses.sum().backward()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()


def test_a_target_outside_the_crop_has_a_finite_loss(adapter: MixFormerV2Adapter) -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    truth = torch.tensor([[-0.6, 0.4, 0.2, 0.2], [1.5, 1.5, 0.3, 0.3]])
    loss = total(adapter.task_loss(ctsdk.Prediction(boxes), batch_of(truth)))
    loss.backward()
    assert loss.isfinite()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()


def test_gradient_where_the_shape_counts() -> None:
    """The trade-off between shape and place is a constant, the shape is not."""
    torch.manual_seed(0)
    corner = torch.rand(40, 2, dtype=torch.float64) * 0.3
    truth = torch.cat([corner, corner + 0.2 + torch.rand(40, 2, dtype=torch.float64) * 0.3], dim=1)
    boxes = (truth + 0.02 * torch.randn(40, 4, dtype=torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(complete_iou_loss(boxes, truth).sum(), boxes)

    step, numeric = 1e-6, torch.zeros_like(truth)
    for i in range(4):
        moved = [boxes.detach().clone() for _ in range(2)]
        moved[0][:, i] += step
        moved[1][:, i] -= step
        up, down = (complete_iou_loss(each, truth) for each in moved)
        numeric[:, i] = (up - down) / (2 * step)
    # Near, and not the same: the numeric gradient moves the trade-off too.
    torch.testing.assert_close(gradient, numeric, rtol=0.05, atol=0.05)
    assert not torch.allclose(gradient, numeric, rtol=1e-6, atol=1e-6)


# -- guidance ----------------------------------------------------------------------------------------------------------


def test_score_divergence_from_a_teacher_that_is_certain_is_the_official_loss_of_the_score() -> None:
    scores = torch.tensor(SCORE["pred_scores_logits"], dtype=torch.float64, requires_grad=True)
    certain = 60.0 * (2.0 * torch.tensor(SCORE["labels"], dtype=torch.float64) - 1.0)
    loss = score_divergence(scores, certain)
    assert loss.item() == pytest.approx(SCORE["total"], rel=1e-10)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert gradient.tolist() == pytest.approx(SCORE["grad_total_wrt_scores"], rel=1e-10)


def logits_of(side: str) -> Tensor:
    return 2 * image(f"mixformerv2/loss/student_{side}", (3, NUM_BINS)).double()


def test_distributions_from_a_teacher_with_corner_maps() -> None:
    """The official first stage: a teacher's map of a corner, summed along either axis, is a distribution of a side."""
    maps = {
        corner: (2 * image(f"mixformerv2/loss/teacher_{corner}", (3, NUM_BINS**2)).double()).softmax(dim=1)
        for corner in ("tl", "br")
    }
    top_left, bottom_right = (each.reshape(3, NUM_BINS, NUM_BINS) for each in maps.values())
    teacher = {"l": top_left.sum(1), "t": top_left.sum(2), "r": bottom_right.sum(1), "b": bottom_right.sum(2)}
    for side, wanted in STAGE_1["kl_per_side"].items():
        logits = logits_of(side).requires_grad_()
        loss = distribution_loss(logits[:, None], teacher[side].log()[:, None])
        assert loss.item() == pytest.approx(wanted, rel=1e-10)
        # One side of four, at a weight of 5.
        (gradient,) = torch.autograd.grad(5.0 * loss / 4.0, logits)
        assert gradient.norm().item() == pytest.approx(STAGE_1["grad_kl_norm_per_side"][side], rel=1e-10)
    student = torch.stack([logits_of(side) for side in SIDES], dim=1)
    targets = torch.stack([teacher[side].log() for side in SIDES], dim=1)
    divergence = distribution_loss(student, targets).item()
    assert divergence == pytest.approx(STAGE_1["terms"]["kl_mean_of_four"], rel=1e-10)
    assert official_boxes_loss(STAGE_1) + 5.0 * divergence == pytest.approx(STAGE_1["total"], rel=1e-10)


def official_boxes_loss(case: dict[str, Any]) -> float:
    """2 CIoU + 5 L1 against the truth, where the official stages leave the teacher's boxes out of their loss."""
    boxes = torch.tensor(case["pred_boxes_cxcywh"], dtype=torch.float64)
    truth = torch.tensor(case["gt_boxes_xywh"], dtype=torch.float64)
    losses = {name: loss.item() for name, loss in box_losses(boxes, truth).items()}
    assert losses == pytest.approx({name: case["terms"][name] for name in ("ciou", "l1")}, rel=1e-10)
    return 2.0 * losses["ciou"] + 5.0 * losses["l1"]


def test_distributions_and_features_from_a_teacher_of_the_family(adapter: MixFormerV2Adapter) -> None:
    """The official second stage."""
    student = torch.stack([logits_of(side) for side in SIDES], dim=1)
    teacher = torch.stack([2 * image(f"mixformerv2/loss/teacher_{side}", (3, NUM_BINS)).double() for side in SIDES], 1)
    for row, side in enumerate(SIDES):
        loss = distribution_loss(student[:, row : row + 1], teacher[:, row : row + 1])
        assert loss.item() == pytest.approx(STAGE_2["kl_per_side"][side], rel=1e-10)

    def features(of: str) -> dict[str, list[tuple[Tensor, ...]]]:
        names = [f"mixformerv2/loss/{of}_feat_{i:02d}" for i in STAGE_2[f"layers_{of}"]]
        return {"backbone": [(image(name, (3, 7, 8)).double(),) for name in names]}

    by_stage = imitation_by_stage(features("student"), features("teacher"))
    imitation = torch.stack(list(by_stage.values())).mean().item()
    assert imitation == pytest.approx(STAGE_2["terms"]["feature_mse"], rel=1e-10)

    truth = torch.tensor(STAGE_2["gt_boxes_xywh"], dtype=torch.float64)
    boxes, teacher_boxes = (
        torch.tensor(STAGE_2[name], dtype=torch.float64) for name in ("pred_boxes_cxcywh", "teacher_boxes_cxcywh")
    )
    prediction = ctsdk.Prediction(boxes, {"logits": student})
    guidance = adapter.guidance_loss(prediction, ctsdk.Prediction(teacher_boxes, {"logits": teacher}), batch_of(truth))
    divergence = guidance["distribution"].item()
    assert divergence == pytest.approx(5.0 * STAGE_2["terms"]["kl_mean_of_four"], rel=1e-10)
    official = total(adapter.task_loss(prediction, batch_of(truth))).item() + divergence + 0.2 * imitation
    assert official == pytest.approx(STAGE_2["total"], rel=1e-10)
    assert official_boxes_loss(STAGE_2) + divergence + 0.2 * imitation == pytest.approx(STAGE_2["total"], rel=1e-10)


def outputs_of(boxes: list[list[float]], seed: int) -> ctsdk.Prediction:
    torch.manual_seed(seed)
    outputs = {"logits": torch.randn(len(boxes), 4, NUM_BINS), "score": torch.randn(len(boxes))}
    leaves = {name: value.requires_grad_() for name, value in outputs.items()}
    return ctsdk.Prediction(torch.tensor(boxes, requires_grad=True), leaves)


def test_guidance_pulls_at_boxes_distributions_and_score(adapter: MixFormerV2Adapter) -> None:
    student = outputs_of([[0.5, 0.5, 0.2, 0.2], [0.4, 0.6, 0.1, 0.3]], seed=0)
    teacher = outputs_of([[0.52, 0.5, 0.2, 0.25], [0.45, 0.5, 0.2, 0.3]], seed=1)
    batch = batch_of(torch.zeros(2, 4))
    terms = adapter.guidance_loss(student, teacher, batch)
    assert list(terms) == ["ciou", "l1", "distribution", "score"]
    assert all(loss.item() > 0 for loss in terms.values())
    total(terms).backward()
    for leaf in (student.boxes, *student.outputs.values()):
        assert leaf.grad is not None
        assert leaf.grad.abs().sum() > 0


def test_guidance_vanishes_where_both_agree(adapter: MixFormerV2Adapter) -> None:
    prediction = outputs_of([[0.5, 0.5, 0.2, 0.2], [0.4, 0.6, 0.1, 0.3], [0.3, 0.3, -0.1, 0.2]], seed=0)
    terms = adapter.guidance_loss(prediction, prediction, batch_of(torch.zeros(3, 4)))
    assert {name: loss.item() for name, loss in terms.items()} == pytest.approx(
        {"ciou": 0.0, "l1": 0.0, "distribution": 0.0, "score": 0.0}, abs=1e-6
    )


def test_a_teachers_box_that_is_none_guides_by_its_sides_alone(adapter: MixFormerV2Adapter) -> None:
    student = outputs_of([[0.5, 0.5, 0.2, 0.2], [0.4, 0.6, 0.1, 0.3]], seed=0)
    for boxes in ([[0.5, 0.5, -0.1, 0.2], [0.4, 0.6, 0.1, 0.0]], [[0.5, 0.5, -0.1, 0.2], [0.4, 0.6, 0.2, 0.2]]):
        terms = adapter.guidance_loss(student, outputs_of(boxes, seed=0), batch_of(torch.zeros(2, 4)))
        overlap = complete_iou_loss(*(cxcywh_to_xyxy(torch.tensor(b[1:])) for b in (student.boxes.tolist(), boxes)))
        assert terms["ciou"].item() == pytest.approx(overlap.item() if boxes[1][3] > 0 else 0.0)
        assert terms["l1"].item() > 0
        (gradient,) = torch.autograd.grad(total(terms), student.boxes)
        assert gradient.isfinite().all()


def test_a_tracker_without_a_score_is_guided_without_one(adapter: MixFormerV2Adapter) -> None:
    one, other = (outputs_of([[0.5, 0.5, 0.2, 0.2]], seed) for seed in (0, 1))
    bare = [ctsdk.Prediction(each.boxes, {"logits": each.outputs["logits"]}) for each in (one, other)]
    assert "score" not in adapter.guidance_loss(*bare, batch_of(torch.zeros(1, 4)))
