from __future__ import annotations

import pytest
import torch

import ctsdk
from ctsdk_mixformerv2.adapter import MixFormerV2Adapter
from ctsdk_ostrack.adapter import OSTrackAdapter
from ctsdk_seqtrack.adapter import SeqTrackAdapter
from tests.helpers.toy import toy_adapter, toy_batches


def test_shapes_of_a_batch_are_checked() -> None:
    batch = toy_batches(1)[0]
    assert batch.size == 4
    with pytest.raises(ctsdk.DataError, match=r"Batch.templates has shape \(4, 3, 16, 16\).*crops\[None\]"):
        ctsdk.Batch(batch.templates[0], batch.searches, batch.template_boxes, batch.search_boxes)
    with pytest.raises(ctsdk.DataError, match="4 samples of templates and 2 of searches"):
        ctsdk.Batch(batch.templates, batch.searches[:, :2], batch.template_boxes, batch.search_boxes[:, :2])
    with pytest.raises(ctsdk.DataError, match="search_boxes"):
        ctsdk.Batch(batch.templates, batch.searches, batch.template_boxes, batch.search_boxes[..., :3])


def test_a_batch_moves_whole() -> None:
    batch = ctsdk.Batch(
        *(getattr(toy_batches(1)[0], name) for name in ("templates", "searches", "template_boxes", "search_boxes")),
        extra={"words": torch.zeros(4, 2)},
    )
    moved = batch.to("meta")
    assert {moved.templates.device.type, moved.search_boxes.device.type, moved.extra["words"].device.type} == {"meta"}


@pytest.mark.parametrize("wrong", [{"search_size": 0}, {"template_factor": -1.0}, {"std": (1.0, 0.0, 1.0)}])
def test_an_impossible_spec_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ctsdk.ConfigError, match="TrackerSpec"):
        ctsdk.TrackerSpec(**({"template_size": 16, "search_size": 32} | wrong))  # type: ignore[arg-type]


def test_example_batch_runs() -> None:
    adapter = toy_adapter()
    batch = adapter.example_batch(3)
    assert adapter.predict(adapter.teacher, batch).boxes.shape == (3, 4)
    assert torch.equal(batch.searches, adapter.example_batch(3).searches)


def test_default_tokens_are_the_first_tensor() -> None:
    adapter, batch, tokens = toy_adapter(), toy_batches(1)[0], torch.zeros(1, 2, 3)
    assert adapter.stage_tokens("layers", tokens, batch)[0] is tokens
    assert adapter.stage_tokens("layers", (tokens, None), batch)[0] is tokens
    with pytest.raises(ctsdk.AdapterContractError, match="Override stage_tokens in ToyAdapter"):
        adapter.stage_tokens("layers", {"x": tokens}, batch)


def test_default_guidance_is_two_giou_and_five_l1() -> None:
    adapter, batch = toy_adapter(), toy_batches(1)[0]
    one = ctsdk.Prediction(torch.tensor([[0.5, 0.5, 0.2, 0.2]]))
    other = ctsdk.Prediction(torch.tensor([[0.5, 0.5, 0.4, 0.4]]))
    terms = adapter.guidance_loss(one, other, batch)
    assert terms["giou"].item() == pytest.approx(2 * 0.75)
    assert terms["l1"].item() == pytest.approx(5 * 0.1)


def test_files_are_refused_by_default() -> None:
    with pytest.raises(ctsdk.AdapterContractError, match="Override from_official"):
        toy_adapter().from_official("x.pth")


def test_capabilities_say_what_can_be_asked_for() -> None:
    adapter = toy_adapter()
    assert adapter.capabilities == {"session"}
    adapter.session(adapter.teacher)
    adapter.capabilities = frozenset({"official"})
    with pytest.raises(
        ctsdk.AdapterContractError, match=r"'toy' follows no target: its capabilities are \['official'\]"
    ):
        adapter.session(adapter.teacher)


@pytest.mark.parametrize("adapter_class", [OSTrackAdapter, MixFormerV2Adapter, SeqTrackAdapter])
def test_built_in_adapters_track_and_speak_the_official_layout(adapter_class: type[ctsdk.TrackerAdapter]) -> None:
    assert adapter_class.capabilities == {"session", "official"}
    for method in ("to_official", "from_official"):
        assert method in vars(adapter_class)
