"""SeqTrack's training words, loss and gradients are those of the official code, and guidance is on their scale."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import ctsdk
from ctsdk_seqtrack.adapter import SeqTrackAdapter
from ctsdk_seqtrack.losses import cross_entropy, words_divergence, words_of_boxes
from ctsdk_seqtrack.model import SeqTrack, SeqTrackConfig
from tests.golden.seqtrack.networks import FOLDER, b256
from tests.golden.synthetic_weights import image

LOSSES: dict[str, Any] = json.loads((FOLDER / "losses.json").read_text())
FIXED, NETWORK, LABELS = (LOSSES[name] for name in ("fixed_logits", "network", "labels"))
# The official code has its weight of 0.01 in float32 in any case.
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-5}


def adapter_of(size: int = 256) -> SeqTrackAdapter:
    """Only its losses are used, so any network does."""
    config = SeqTrackConfig(template_size=size, search_size=size, width=8, num_heads=1, depth=1)
    return SeqTrackAdapter(SeqTrack(config))


def batch_of(boxes_xywh: Tensor) -> ctsdk.Batch:
    crop = torch.zeros(1, len(boxes_xywh), 3, 1, 1)
    return ctsdk.Batch(crop, crop, torch.zeros_like(boxes_xywh)[None], boxes_xywh[None])


def shares(boxes_xywh: Any, size: int = 256) -> Tensor:
    """Boxes as a batch has them, of boxes in SeqTrack's unit."""
    return (torch.tensor(boxes_xywh).double() * (size - 1) / size).float()


# -- words -------------------------------------------------------------------------------------------------------------


def test_words_of_boxes() -> None:
    words = words_of_boxes(torch.tensor(LABELS["boxes_xywh"]), 4000)
    assert words.tolist() == [row[:4] for row in LABELS["target_words"]]
    assert words.dtype == torch.int64


@pytest.mark.parametrize("size", [256, 384])
def test_words_of_a_batch(size: int) -> None:
    """A batch has shares of the crop's side, from the border of its first pixel."""
    words = adapter_of(size)._true_words(batch_of(shares(LABELS["boxes_xywh"], size)))
    assert words.tolist() == [row[:4] for row in LABELS["target_words"]]


def test_words_of_a_batch_from_the_pipeline() -> None:
    """A box of the frame, by way of ctsdk's crop, and by the official formula."""
    from ctsdk.crops import box_in_crop, crop_window

    box, around = (130.0, 84.5, 51.0, 38.0), (120.25, 90.0, 48.0, 41.0)
    label = torch.tensor([box_in_crop(box, around, 4.0, 256)])
    scale = 256 / crop_window(around, 4.0)[2]
    centre = [255 / 2 + (box[i] + box[i + 2] / 2 - around[i] - around[i + 2] / 2) * scale for i in (0, 1)]
    wanted = [int(value / 255 * 3999) for value in (*centre, box[2] * scale, box[3] * scale)]
    assert adapter_of()._true_words(batch_of(label)).tolist() == [wanted]


def test_what_leaves_the_crop_is_cut_off() -> None:
    boxes = torch.tensor([[-0.5, 0.25, 1.0, 0.5], [1.5, 1.5, 0.25, 0.25], [-1.0, -1.0, 3.0, 3.0]])
    assert words_of_boxes(boxes, 5).tolist() == [[1, 2, 2, 2], [4, 4, 0, 0], [2, 2, 4, 4]]


# -- the tracker's own loss --------------------------------------------------------------------------------------------


def fixed_logits(dtype: torch.dtype) -> Tensor:
    logits = image("seqtrack/loss_logits", (3, 5, 4002)).double()
    places = torch.tensor(FIXED["target_words"])[:, :4] + torch.tensor(FIXED["offsets"])
    logits[:, :4].scatter_add_(2, places[..., None], torch.full((3, 4, 1), 9.0, dtype=torch.float64))
    return logits.to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_task_loss(dtype: torch.dtype) -> None:
    logits = fixed_logits(dtype)
    terms = adapter_of().task_loss(
        ctsdk.Prediction(torch.zeros(3, 4), {"logits": logits}), batch_of(shares(FIXED["boxes_xywh"]))
    )
    assert {name: loss.item() for name, loss in terms.items()} == pytest.approx(
        {"cross_entropy": FIXED["cross_entropy"]}, rel=TOLERANCE[dtype]
    )
    (gradient,) = torch.autograd.grad(terms["cross_entropy"], logits)
    norms = torch.tensor(FIXED["gradient_norms"], dtype=dtype)
    torch.testing.assert_close(gradient.norm(dim=-1), norms, rtol=TOLERANCE[dtype], atol=0)
    at_target = gradient.gather(2, torch.tensor(FIXED["target_words"])[..., None])[..., 0]
    torch.testing.assert_close(at_target, torch.tensor(FIXED["gradients_at_target"], dtype=dtype), rtol=1e-4, atol=0)


def test_words_that_are_no_coordinates_count_a_hundredth() -> None:
    logits, words = fixed_logits(torch.float64), torch.tensor(FIXED["target_words"])
    likelihoods = torch.tensor(FIXED["negative_log_likelihoods"], dtype=torch.float64)
    torch.testing.assert_close(
        F.cross_entropy(logits.flatten(0, 1), words.flatten(), reduction="none").reshape(3, 5), likelihoods
    )
    weights = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.01], dtype=torch.float64)
    wanted = (likelihoods * weights).sum() / (3 * 4.01)
    assert cross_entropy(logits, words).item() == pytest.approx(wanted.item(), rel=1e-8)
    words[:, 4] = 4001
    assert cross_entropy(logits, words).isfinite()


def test_gradients_of_the_network() -> None:
    adapter = b256()
    names = ("template_0", "template_1", "search")
    crops = [image(f"seqtrack_b256/{name}", (2, 3, 256, 256))[:1] for name in names]
    batch = ctsdk.Batch(
        torch.stack(crops[:2]), crops[2][None], torch.zeros(2, 1, 4), shares(NETWORK["boxes_xywh"][:1])[None]
    )
    parameters = dict(adapter.teacher.named_parameters())
    loss = adapter.task_loss(adapter.predict(adapter.teacher, batch), batch)["cross_entropy"]
    assert loss.item() == pytest.approx(NETWORK["batch_of_1"], abs=1e-5)
    gradients = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    norms = {name: gradients[name].norm().item() for name in NETWORK["gradient_norms"]}
    assert norms == pytest.approx(NETWORK["gradient_norms"], rel=1e-3)
    of_all = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert of_all.item() == pytest.approx(NETWORK["gradient_norm_of_all"], rel=1e-3)


# -- guidance ----------------------------------------------------------------------------------------------------------


def logits_of(seed: int, batch_size: int = 3) -> Tensor:
    return torch.randn(batch_size, 5, 42, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_guidance_vanishes_where_both_agree() -> None:
    for dtype in TOLERANCE:
        logits = logits_of(0).to(dtype).requires_grad_()
        loss = words_divergence(logits, logits.detach())
        assert loss.item() == 0.0
        (gradient,) = torch.autograd.grad(loss, logits)
        assert gradient.abs().max() < 1e-6


def test_guidance_by_a_certain_teacher_is_the_task_loss() -> None:
    """So both losses have one scale."""
    logits, words = logits_of(0), torch.tensor([[1, 2, 3, 4, 40], [5, 6, 7, 8, 40], [39, 0, 39, 0, 40]])
    certain = 1000.0 * F.one_hot(words, 42).double()
    assert words_divergence(logits, certain).item() == pytest.approx(cross_entropy(logits, words).item(), rel=1e-10)


def test_guidance_has_the_gradient_of_the_soft_cross_entropy() -> None:
    logits, teacher = logits_of(0).requires_grad_(), logits_of(1)
    weights = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.01], dtype=torch.float64)
    soft = -(teacher.softmax(-1) * logits.log_softmax(-1)).sum(-1)
    wanted = torch.autograd.grad((soft * weights).sum() / (3 * 4.01), logits)[0]
    seen = torch.autograd.grad(words_divergence(logits, teacher), logits)[0]
    torch.testing.assert_close(seen, wanted)


def test_guidance_is_a_mean_over_samples() -> None:
    one, other = logits_of(0), logits_of(1)
    apart = [words_divergence(one[i : i + 1], other[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(words_divergence(one, other), torch.stack(apart).mean())


def test_teacher_and_student_are_asked_for_the_same_words() -> None:
    adapter = SeqTrackAdapter.load("tiny", "random")
    seen = []
    adapter.teacher.decoder.embedding.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    batch = adapter.example_batch(2)
    with torch.inference_mode():
        prediction = adapter.predict(adapter.teacher, batch)
        terms = adapter.guidance_loss(prediction, prediction, batch)
    # A box in the middle, a quarter of the crop's side: 48 of 96 pixels, the last of which is number 95.
    wanted = [int(399 * 48 / 95)] * 2 + [int(399 * 24 / 95)] * 2
    assert [words.tolist() for words in seen] == [[[401, *wanted]] * 2]
    assert terms["words"].item() == 0.0
