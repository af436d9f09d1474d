"""MixFormerV2 computes what the official code computes, number by number, with the same weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import ctsdk
from ctsdk.boxes import cxcywh_to_xyxy
from ctsdk.engine.mixes import mixed
from ctsdk.engine.stages import StagePlan
from ctsdk_mixformerv2.adapter import MixFormerV2Adapter
from ctsdk_mixformerv2.model import MixFormerV2, MixFormerV2Config, position_table
from tests.golden.synthetic_weights import image

GOLDEN = Path(__file__).parents[1] / "golden" / "mixformerv2"
# The official name of a side by the row of our logits.
SIDES = "lrtb"


def close(seen: Tensor, wanted: NDArray[np.float32], tolerance: float) -> None:
    assert seen.shape == wanted.shape
    np.testing.assert_allclose(seen.numpy(), wanted, rtol=0, atol=tolerance)


def crops_of(adapter: MixFormerV2Adapter) -> tuple[Tensor, Tensor, Tensor]:
    """Two templates and a search crop, for two samples."""
    small, large = adapter.spec.template_size, adapter.spec.search_size
    names = (("template", small), ("online_template", small), ("search", large))
    template, online, search = (image(f"mixformerv2/{name}", (2, 3, size, size)) for name, size in names)
    return template, online, search


class Run:
    """One forward pass, and what every block took and handed on."""

    def __init__(self, adapter: MixFormerV2Adapter, tracker: MixFormerV2 | None = None) -> None:
        tracker = tracker or adapter.teacher
        self.num_cells = adapter.teacher.config.template_cells**2
        self.embedded: list[Tensor] = []
        self.states: list[Tensor] = []
        blocks = tracker.backbone.blocks
        handles = [
            blocks[0].register_forward_pre_hook(lambda _, inputs: self.embedded.append(inputs[0])),
            *(block.register_forward_hook(lambda _m, _i, tokens: self.states.append(tokens)) for block in blocks),
        ]
        with torch.inference_mode():
            self.outputs = tracker(*crops_of(adapter))
        for handle in handles:
            handle.remove()

    def groups(self, tokens: Tensor) -> dict[str, Tensor]:
        """The tokens by what they are of, under the names of the recorded figures."""
        parts = tokens.split([self.num_cells, self.num_cells, tokens.shape[1] - 2 * self.num_cells - 4, 4], dim=1)
        return dict(zip(("template", "online_template", "search", "reg"), parts, strict=True))


@pytest.fixture(scope="module")
def golden() -> Mapping[str, NDArray[np.float32]]:
    with np.load(GOLDEN / "forward.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def run(mixformerv2_base: MixFormerV2Adapter) -> Run:
    return Run(mixformerv2_base)


@pytest.fixture(scope="module")
def shaped(mixformerv2_shaped: MixFormerV2Adapter) -> Run:
    return Run(mixformerv2_shaped)


@pytest.fixture(scope="module")
def at_224(mixformerv2_at_224: MixFormerV2Adapter) -> Run:
    return Run(mixformerv2_at_224)


# -- recorded figures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["embed", *(f"block_{i:02d}" for i in range(8))])
def test_tokens(run: Run, golden: Mapping[str, NDArray[np.float32]], place: str) -> None:
    tokens = run.embedded[0] if place == "embed" else run.states[int(place[-2:])]
    # Nothing is computed twice on the way to the first block, so there the last digit is compared.
    tolerance = 1e-6 if place == "embed" else 5e-5
    close(tokens.mean(dim=(1, 2)), golden[f"{place}/mean"], tolerance)
    close(tokens.flatten(1).std(dim=1, correction=0), golden[f"{place}/std"], tolerance)
    groups = run.groups(tokens)
    means = [group.mean(dim=(1, 2)) for group in groups.values()]
    deviations = [group.flatten(1).std(dim=1, correction=0) for group in groups.values()]
    close(torch.stack(means, dim=1), golden[f"{place}/group_mean"], tolerance)
    close(torch.stack(deviations, dim=1), golden[f"{place}/group_std"], tolerance)
    for name, group in groups.items():
        close(group[:, :4, :16], golden[f"{place}/{name}"], tolerance)


def check_heads(run: Run, golden: Mapping[str, NDArray[np.float32]], prefix: str) -> None:
    outputs, of_share, of_box = run.outputs, 2e-5 if prefix else 1e-6, 2e-5 if prefix else 5e-6
    close(run.states[-1][:, -4:], golden[f"{prefix}reg_tokens"], 5e-5)
    for row, side in enumerate(SIDES):
        close(outputs["logits"][:, row], golden[f"{prefix}logits_{side}"], 5e-5)
        close(outputs["logits"][:, row].softmax(dim=1), golden[f"{prefix}prob_{side}"], of_share)
    close(cxcywh_to_xyxy(outputs["boxes"]), golden[f"{prefix}coords_ltrb"], of_box)
    close(outputs["boxes"], golden[f"{prefix}pred_boxes"][:, 0], of_box)
    close(outputs["score"], golden[f"{prefix}pred_scores"], 2e-5)


def test_heads(run: Run, golden: Mapping[str, NDArray[np.float32]]) -> None:
    check_heads(run, golden, "")


def test_heads_whose_boxes_have_an_extent(shaped: Run, golden: Mapping[str, NDArray[np.float32]]) -> None:
    check_heads(shaped, golden, "shaped/")
    assert (golden["shaped/pred_boxes"][..., 2:] > 0.05).any()


def test_the_same_weights_at_224_px(at_224: Run, golden: Mapping[str, NDArray[np.float32]]) -> None:
    for i, tokens in enumerate(at_224.states):
        close(at_224.groups(tokens)["search"][:, :4, :16], golden[f"at_224/block_{i:02d}/search"], 5e-5)
    close(at_224.states[-1][:, -4:], golden["at_224/reg_tokens"], 5e-5)
    close(at_224.outputs["boxes"], golden["at_224/pred_boxes"][:, 0], 5e-6)
    close(at_224.outputs["score"], golden["at_224/pred_scores"], 2e-5)


# -- how a forward pass may be cut up ----------------------------------------------------------------------------------


def tiny(**settings: object) -> MixFormerV2Adapter:
    adapter = ctsdk.load_adapter("mixformerv2", variant="tiny", weights="random")
    assert isinstance(adapter, MixFormerV2Adapter)
    for name, value in settings.items():
        setattr(adapter, name, value)
    return adapter


def test_remembered_templates_change_nothing(run: Run, mixformerv2_base: MixFormerV2Adapter) -> None:
    tracker, (template, online, search) = mixformerv2_base.teacher, crops_of(mixformerv2_base)
    with torch.inference_mode():
        outputs = tracker.read(tracker.backbone.recall(search, tracker.backbone.remember(template, online)))
    # Equal to the bit where this was written; another split of a matrix product may cost the last digits.
    for name, value in outputs.items():
        torch.testing.assert_close(value, run.outputs[name], rtol=0, atol=1e-5)


def test_template_tokens_never_see_the_search_crop() -> None:
    tracker, states = tiny().teacher, []
    for block in tracker.backbone.blocks:
        block.register_forward_hook(lambda _m, _i, tokens: states.append(tokens))
    template, online = image("one", (1, 3, 48, 48)), image("other", (1, 3, 48, 48))
    with torch.inference_mode():
        for name in ("here", "there"):
            tracker(template, online, image(name, (1, 3, 96, 96)))
    for one, other in zip(states[:12], states[12:], strict=True):
        assert torch.equal(one[:, :72], other[:, :72])
        assert not torch.equal(one[:, 72:], other[:, 72:])


def test_adapter_predicts_what_the_tracker_computes() -> None:
    adapter = tiny()
    batch = adapter.example_batch(2)
    with torch.inference_mode():
        outputs = adapter.teacher(batch.templates[0], batch.templates[1], batch.searches[0])
        prediction = adapter.predict(adapter.teacher, batch)
    assert torch.equal(prediction.boxes, outputs["boxes"])
    assert {name: value.shape for name, value in prediction.outputs.items()} == {
        "boxes": (2, 4),
        "logits": (2, 4, 48),
        "score": (2,),
    }


@pytest.mark.parametrize("flags", [(True, False, True, False), (False, True, True, False), (False, False, False, True)])
def test_a_mix_runs_wide_and_narrow_blocks_in_turn(flags: Sequence[bool]) -> None:
    adapter = tiny(student_mlp_ratio=1.0)
    plans = {"backbone": StagePlan.divide(12, 4)}
    student = ctsdk.build_student(adapter, plans).eval()
    assert isinstance(student, MixFormerV2)
    batch = adapter.example_batch(2)
    with torch.inference_mode():
        with mixed(adapter, student, plans, {"backbone": tuple(flags)}) as recorder:
            seen = adapter.predict(student, batch)
        tokens = recorder.tokens(batch)["backbone"]

        backbone, num_template = student.backbone, 2 * adapter.teacher.config.template_cells**2
        templates = backbone._embed_templates(batch.templates[0], batch.templates[1])
        x = torch.cat([templates, backbone._embed_search(batch.searches[0])], dim=1)
        for stage, is_student in enumerate(flags):
            teacher_blocks = [adapter.teacher.backbone.blocks[i] for i in plans["backbone"].blocks(stage)]
            for block in [backbone.blocks[stage]] if is_student else teacher_blocks:
                x = block(x, num_template)
            assert torch.equal(torch.cat(tokens[stage], dim=1), x)
        assert torch.equal(seen.boxes, student.read(x[:, -4:])["boxes"])


# -- parts -------------------------------------------------------------------------------------------------------------


def test_position_table_is_the_formula_of_masked_autoencoders() -> None:
    table = position_table(18, 768)[0].reshape(18, 18, 768)
    assert table.dtype == torch.float32
    rates = 10_000.0 ** -(torch.arange(192, dtype=torch.float64) / 192)
    for row, column in ((0, 0), (0, 17), (17, 0), (5, 11)):
        wanted = torch.cat([(column * rates).sin(), (column * rates).cos(), (row * rates).sin(), (row * rates).cos()])
        torch.testing.assert_close(table[row, column].double(), wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("num_cells", [14, 8, 7])
def test_position_tables_begin_alike(num_cells: int) -> None:
    large = position_table(18, 768)[0].reshape(18, 18, 768)
    small = position_table(num_cells, 768)[0].reshape(num_cells, num_cells, 768)
    assert torch.equal(small, large[:num_cells, :num_cells])


def test_positions_are_not_trained() -> None:
    adapter = tiny()
    student = ctsdk.build_student(adapter, {"backbone": StagePlan.divide(12, 4)})
    assert isinstance(student, MixFormerV2)
    prediction, batch = adapter.predict(student, adapter.example_batch(2)), adapter.example_batch(2)
    torch.stack(list(adapter.task_loss(prediction, batch).values())).sum().backward()
    without = {name for name, parameter in student.named_parameters() if parameter.grad is None}
    assert without == {"backbone.pos_embed_s", "backbone.pos_embed_t"} | {
        name for name, _ in student.named_parameters() if name.startswith("score_head.")
    }


def test_drop_path_rises_over_the_blocks() -> None:
    rates = [
        block.drop_path.drop_prob for block in MixFormerV2(MixFormerV2Config(width=8, num_heads=1)).backbone.blocks
    ]
    assert rates == pytest.approx([0.1 * i / 7 for i in range(8)])


def test_a_student_has_the_drop_path_of_its_own_depth() -> None:
    adapter = MixFormerV2Adapter(MixFormerV2(MixFormerV2Config(width=8, num_heads=1)))
    student = ctsdk.build_student(adapter, {"backbone": StagePlan.divide(8, 3)})
    assert [block.drop_path.drop_prob for block in student.backbone.blocks] == pytest.approx([0.0, 0.05, 0.1])


def test_last_bin_is_one_short_of_the_border() -> None:
    tracker = tiny().teacher
    tracker.box_head, tracker.score_head = nn.Identity(), None  # type: ignore[assignment]
    logits = torch.full((1, 4, 48), -1e4)
    for row, place in enumerate((12, 47, 6, 24)):  # left, right, top, bottom
        logits[0, row, place] = 1e4
    assert cxcywh_to_xyxy(tracker.read(logits)["boxes"])[0].tolist() == pytest.approx([12 / 48, 6 / 48, 47 / 48, 0.5])


def test_sides_keep_their_digits_under_autocast() -> None:
    adapter = tiny()
    batch = adapter.example_batch(2)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        prediction = adapter.predict(adapter.teacher, batch)
        guidance = adapter.guidance_loss(prediction, prediction, batch)
    assert {value.dtype for value in prediction.outputs.values()} == {torch.float32}
    assert all(loss.item() == pytest.approx(0.0, abs=1e-6) for loss in guidance.values())


def test_double_precision_stays_double() -> None:
    adapter = tiny()
    crops = [torch.randn(1, 3, size, size).double() for size in (48, 48, 96)]
    with torch.inference_mode():
        outputs = adapter.teacher.double()(*crops)
    assert {value.dtype for value in outputs.values()} == {torch.float64}
