"""OSTrack's training losses, their gradients and the heat map are those of the official code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import ctsdk
from ctsdk_ostrack.adapter import OSTrackAdapter
from ctsdk_ostrack.losses import centre_heat_map, focal_loss
from ctsdk_ostrack.model import OSTrack, OSTrackConfig
from tests.golden.synthetic_weights import image

CASES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "ostrack" / "losses.json").read_text()
)["cases"]
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


@pytest.fixture(scope="module")
def adapter() -> OSTrackAdapter:
    """Only its losses are used, so any network does."""
    return OSTrackAdapter(OSTrack(OSTrackConfig(width=8, num_heads=1, depth=1, head_width=8)))


class Losses:
    """The losses of one case, with the leaves that the gradients belong to."""

    def __init__(self, adapter: OSTrackAdapter, case: dict[str, Any], dtype: torch.dtype) -> None:
        truth = torch.tensor(case["truth_xywh"], dtype=dtype)
        count = len(truth)
        score = image(case["score_map"], (count, 1, 16, 16)).to(dtype).sigmoid().clamp(1e-4, 1 - 1e-4)
        self.score_map = score.requires_grad_()
        self.boxes = torch.tensor(case["boxes_cxcywh"], dtype=dtype, requires_grad=True)
        crop = torch.zeros(1, count, 3, 1, 1, dtype=dtype)
        batch = ctsdk.Batch(crop, crop, torch.zeros(1, count, 4, dtype=dtype), truth[None])
        prediction = ctsdk.Prediction(self.boxes, {"score_map": self.score_map})
        self.terms = adapter.task_loss(prediction, batch)
        self.total = torch.stack(list(self.terms.values())).sum()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_terms(adapter: OSTrackAdapter, name: str, dtype: torch.dtype) -> None:
    wanted = CASES[name][str(dtype).removeprefix("torch.")]
    losses = Losses(adapter, CASES[name], dtype)
    seen = {term: value.item() for term, value in losses.terms.items()}
    weighted = {"giou": 2 * wanted["giou"], "l1": 5 * wanted["l1"], "focal": wanted["focal"]}
    assert seen == pytest.approx(weighted, rel=TOLERANCE[dtype])
    assert losses.total.item() == pytest.approx(wanted["total"], rel=TOLERANCE[dtype])


@pytest.mark.parametrize("name", CASES)
def test_gradients(adapter: OSTrackAdapter, name: str) -> None:
    # In float64 alone: edges that coincide in one of the cases do so only there, and the losses have a kink at them.
    case = CASES[name]
    losses = Losses(adapter, case, torch.float64)
    boxes, score_map = torch.autograd.grad(losses.total, (losses.boxes, losses.score_map))
    wanted = torch.tensor(case["boxes_gradient"], dtype=torch.float64)
    torch.testing.assert_close(boxes, wanted, rtol=1e-9, atol=1e-9)
    figures = case["score_gradient"]
    assert score_map.sum().item() == pytest.approx(figures["sum"], rel=1e-9)
    assert score_map.abs().sum().item() == pytest.approx(figures["abs_sum"], rel=1e-9)
    assert score_map[0, 0, 0].tolist() == pytest.approx(figures["first_row"], rel=1e-9)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_heat_map(name: str, dtype: torch.dtype) -> None:
    heat = centre_heat_map(torch.tensor(CASES[name]["truth_xywh"], dtype=dtype), 16)
    assert heat.dtype == torch.float32
    for sample, wanted in zip(heat[:, 0], CASES[name]["heat"], strict=True):
        cells = [[*cell, sample[tuple(cell)].item()] for cell in sample.nonzero().tolist()]
        assert [cell[:2] for cell in cells] == [cell[:2] for cell in wanted]
        assert [cell[2] for cell in cells] == pytest.approx([cell[2] for cell in wanted], rel=1e-6)


def test_centre_is_rounded_at_the_precision_of_the_boxes() -> None:
    # The centre is a hair left of 9.5 cells; in float32 it is 9.5, and half goes to even.
    box = torch.tensor([[0.10819470137357712, 0.4, 0.9711105823516846, 0.2]])
    columns = [(centre_heat_map(boxes, 16)[0, 0] == 1).nonzero()[0, 1].item() for boxes in (box, box.double())]
    assert columns == [10, 9]


def test_a_centre_outside_the_map_has_no_cell() -> None:
    heat = centre_heat_map(torch.tensor([[-0.3, 0.4, 0.2, 0.2], [0.9, 0.4, 0.18, 0.2]]), 16)
    assert not (heat == 1).any()
    assert not heat[0].any()


def test_focal_loss_counts_the_centres_of_the_whole_batch() -> None:
    score = torch.full((2, 1, 4, 4), 0.5)
    heat = torch.zeros(2, 1, 4, 4)
    heat[0, 0, 1, 1] = heat[1, 0, 2, 2] = 1.0
    single = focal_loss(score[:1], heat[:1])
    torch.testing.assert_close(focal_loss(score, heat), single)
    # Without any centre the loss is that of the background, not divided.
    torch.testing.assert_close(focal_loss(score, torch.zeros_like(heat)), 32 * 0.25 * torch.tensor(2.0).log())
