"""SeqTrack keeps the contract with either trunk or both, and its students are trained, saved and read again."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ctsdk
from ctsdk import AdapterContractError
from ctsdk.engine.mixes import StageRecorder, all_teacher, mixed
from ctsdk.engine.stages import StagePlan
from ctsdk.engine.step import frozen, step_losses
from ctsdk.testing import parametrize_with_checks
from ctsdk_seqtrack.adapter import SeqTrackAdapter
from ctsdk_seqtrack.model import SeqTrack, SeqTrackConfig

# Small enough for every mix, with the dropout of the official models.
SMALL = SeqTrackConfig(
    template_size=32,
    search_size=64,
    patch_size=16,
    width=24,
    depth=4,
    num_heads=3,
    decoder_width=16,
    decoder_num_heads=2,
    decoder_hidden_width=32,
    dropout=0.1,
    num_bins=50,
)


def tiny() -> SeqTrackAdapter:
    adapter = ctsdk.load_adapter("seqtrack", variant="tiny", weights="random")
    assert isinstance(adapter, SeqTrackAdapter)
    return adapter


def small() -> SeqTrackAdapter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SeqTrackAdapter(SeqTrack(SMALL).eval())


def config(**settings: Any) -> ctsdk.CompressionConfig:
    training = {"steps": 3, "batch_size": 2, "device": "cpu", "learning_rate": 1e-3} | settings.pop("training", {})
    stages = {"stages": {"encoder": 4, "decoder": 1}}
    return ctsdk.CompressionConfig.from_mapping({**stages, **settings, "training": training})


@parametrize_with_checks([tiny(), small()])
def test_contract(adapter: ctsdk.TrackerAdapter, check: Callable[[ctsdk.TrackerAdapter], None]) -> None:
    check(adapter)


# -- two trunks --------------------------------------------------------------------------------------------------------


class Mixing:
    """A teacher, its student of two encoder stages and one or two decoder stages, and a batch."""

    def __init__(self, decoder_stages: int) -> None:
        self.adapter = small()
        self.plans = {"encoder": StagePlan.divide(4, 2), "decoder": StagePlan.divide(2, decoder_stages)}
        student = ctsdk.build_student(self.adapter, self.plans)
        assert isinstance(student, SeqTrack)
        self.student, self.batch = student.eval(), self.adapter.example_batch(2)

    def losses(self, mix: dict[str, tuple[bool, ...]]) -> dict[str, torch.Tensor]:
        with frozen(self.adapter.teacher):
            return step_losses(self.adapter, self.student, self.plans, mix, self.batch, ctsdk.CompressionConfig())


@pytest.mark.parametrize("decoder_stages", [1, 2])
def test_gradients_reach_the_replaced_stages_of_both_trunks(decoder_stages: int) -> None:
    mixing = Mixing(decoder_stages)
    blocks = {name: trunk.blocks(mixing.student) for name, trunk in mixing.adapter.trunks().items()}
    for flags in itertools.product((False, True), repeat=2 + decoder_stages):
        mix = {"encoder": flags[:2], "decoder": flags[2:]}
        mixing.student.zero_grad(set_to_none=True)
        terms = mixing.losses(mix)
        assert all(term.isfinite() for term in terms.values())
        torch.stack(list(terms.values())).sum().backward()
        for name, is_student in mix.items():
            for block, is_own in zip(blocks[name], is_student, strict=True):
                gradients = [parameter.grad for parameter in block.parameters()]
                assert all((gradient is not None and gradient.isfinite().all()) == is_own for gradient in gradients)
        # What is outside the trunks is the student's in every mix.
        for part in (mixing.student.bottleneck, mixing.student.vocab_embed, mixing.student.decoder.embedding):
            assert all(parameter.grad is not None for parameter in part.parameters())
        assert all(parameter.grad is None for parameter in mixing.adapter.teacher.parameters())


def test_all_teacher_mix_is_the_teacher() -> None:
    mixing = Mixing(1)
    terms = mixing.losses(all_teacher(mixing.plans))
    assert terms["imitation"].item() == terms["guidance/words"].item() == 0.0
    with torch.no_grad():
        target = mixing.adapter.predict(mixing.adapter.teacher, mixing.batch)
        task = mixing.adapter.task_loss(target, mixing.batch)["cross_entropy"]
    assert terms["task/cross_entropy"].item() == task.item()


def test_layers_of_the_teacher_drop_nothing_in_a_mix() -> None:
    """A student in training mode drops channels in its own layers and embedding alone."""
    mixing = Mixing(2)
    mixing.student.train()
    teacher, student = mixing.adapter.teacher, mixing.student
    modes: list[tuple[bool, ...]] = []
    parts = [*teacher.decoder.body.layers, *student.decoder.body.layers, student.decoder.embedding]
    for part in parts:
        part.register_forward_hook(
            lambda module, _i, _o: modes.append(tuple({each.training for each in module.modules()}))
        )
    with (
        frozen(teacher),
        mixed(mixing.adapter, student, mixing.plans, {"encoder": (True, True), "decoder": (False, True)}),
    ):
        assert len(student.decoder.body.layers) == 2
        one, other = (mixing.adapter.predict(student, mixing.batch).outputs["logits"] for _ in range(2))
    # Embedding, the teacher's first layer, the student's second; twice.
    assert modes == [(True,), (False,), (True,)] * 2
    assert not torch.equal(one, other)

    # With its own dropout away, nothing is left to chance, though the student is in training mode.
    student.decoder.embedding.dropout.p = 0.0
    with (
        frozen(teacher),
        mixed(mixing.adapter, student, mixing.plans, {"encoder": (True, True), "decoder": (False, False)}),
    ):
        one, other = (mixing.adapter.predict(student, mixing.batch).outputs["logits"] for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.parametrize(("encoder", "decoder"), [(4, 2), (12, 1), (4, 1), (1, 1)])
def test_trunks_are_divided_alone_or_together(encoder: int, decoder: int) -> None:
    adapter = tiny()
    plans = {"encoder": StagePlan.divide(12, encoder), "decoder": StagePlan.divide(2, decoder)}
    student = ctsdk.build_student(adapter, plans)
    assert isinstance(student, SeqTrack)
    assert (len(student.encoder.body.blocks), len(student.decoder.body.layers)) == (encoder, decoder)
    # The last layer of the teacher is what follows its stage.
    assert torch.equal(
        student.decoder.body.layers[-1].linear1.weight, adapter.teacher.decoder.body.layers[1].linear1.weight
    )
    with torch.inference_mode():
        assert adapter.predict(student.eval(), adapter.example_batch()).boxes.isfinite().all()


def test_student_layers_can_start_at_random() -> None:
    adapter = small()
    plans = {name: StagePlan.divide(depth, 1, "random") for name, depth in (("encoder", 4), ("decoder", 2))}
    student = ctsdk.build_student(adapter, plans)
    assert isinstance(student, SeqTrack)
    own, source = (tracker.decoder.body.layers[-1].self_attn.in_proj_weight for tracker in (student, adapter.teacher))
    assert own.shape == source.shape
    assert not torch.equal(own, source)


# -- stage tokens ------------------------------------------------------------------------------------------------------


def test_stage_tokens_are_search_and_templates_and_the_words() -> None:
    adapter = tiny()
    plans, batch = {"encoder": StagePlan.divide(12, 4), "decoder": StagePlan.divide(2, 2)}, adapter.example_batch(3)
    states = []
    adapter.teacher.encoder.body.blocks[2].register_forward_hook(lambda _m, _i, tokens: states.append(tokens))
    with torch.inference_mode(), StageRecorder.of_teacher(adapter, plans) as recorder:
        adapter.predict(adapter.teacher, batch)
    tokens = recorder.tokens(batch)
    shapes = {name: [[tuple(each.shape) for each in stage] for stage in stages] for name, stages in tokens.items()}
    assert shapes == {"encoder": [[(3, 144, 128), (3, 72, 128)]] * 4, "decoder": [[(5, 3, 96)]] * 2}
    search, templates = tokens["encoder"][0]
    assert torch.equal(torch.cat([search, templates], dim=1), states[0])


def test_a_block_of_another_kind_is_explained() -> None:
    with pytest.raises(AdapterContractError, match="returned tuple; expected a tensor"):
        tiny().stage_tokens("decoder", (torch.zeros(1),), tiny().example_batch())


# -- runs --------------------------------------------------------------------------------------------------------------


def test_both_trunks_are_compressed(tmp_path: Path) -> None:
    adapter = tiny()
    result = ctsdk.compress(adapter, config(), batches=[adapter.example_batch(2)], show_progress=False)
    student = result.student
    assert isinstance(student, SeqTrack)
    assert (len(student.encoder.body.blocks), len(student.decoder.body.layers)) == (4, 1)
    assert len(result.history) == 3
    for row in result.history:
        assert {"task/cross_entropy", "guidance/words", "imitation"} <= set(row)
        assert 1 <= row["student_stages"] <= 5
    result.save(tmp_path)
    again = ctsdk.load_result(tmp_path).student
    batch = adapter.example_batch()
    with torch.inference_mode():
        seen, wanted = (adapter.predict(tracker, batch).outputs["logits"] for tracker in (again, student))
    assert torch.equal(seen, wanted)
    assert torch.equal(
        adapter.predict(adapter.from_official(adapter.to_official(student)), batch).outputs["logits"], wanted
    )


def test_a_run_in_bfloat16() -> None:
    adapter = small()
    settings = config(stages={"encoder": 2, "decoder": 1}, training={"precision": "bfloat16"})
    result = ctsdk.compress(adapter, settings, batches=[adapter.example_batch(2)], show_progress=False)
    reference = ctsdk.compress(
        adapter, config(stages={"encoder": 2, "decoder": 1}), batches=[adapter.example_batch(2)], show_progress=False
    )
    for seen, wanted in zip(result.history, reference.history, strict=True):
        assert seen["loss"] == pytest.approx(wanted["loss"], rel=0.02)


def test_a_student_learns_the_words_of_a_box() -> None:
    adapter = small()
    settings = config(
        stages={"encoder": 2, "decoder": 1},
        preset="naive",
        training={"steps": 100, "learning_rate": 1e-2, "rate_schedule": "cosine", "validate_every": 100},
    )
    batch = adapter.example_batch(2)
    result = ctsdk.compress(adapter, settings, batches=[batch], validation=[batch], show_progress=False)
    losses = [row["task/cross_entropy"] for row in result.history if "task/cross_entropy" in row]
    assert losses[0] > 3.5
    assert losses[-1] < 1.0
    validation = next(row for row in result.history if "validation/iou" in row)
    assert validation["validation/loss"] < 0.5
    # Coordinates are cut off by up to 2 % of the crop, of which the box has a quarter.
    assert validation["validation/iou"] > 0.7


def test_validation_compares_boxes_in_the_unit_of_the_batch() -> None:
    """A tracker that knows every word has boxes that are off by less than a word."""
    adapter = tiny()
    boxes = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.1, 0.3, 0.4, 0.2]])
    batch = adapter.example_batch(2)
    batch.search_boxes.copy_(boxes[None])

    class Knowing(torch.nn.Module):
        def forward(self, templates: torch.Tensor, search: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
            following = words.roll(-1, dims=1)
            following[:, -1] = 400
            return 100.0 * torch.nn.functional.one_hot(following, 402).float()

    prediction = adapter.predict(Knowing(), batch)
    wanted = torch.cat([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], dim=1)
    assert ((wanted - prediction.boxes) >= -1e-6).all()
    assert ((wanted - prediction.boxes) < 1 / 399).all()
    assert adapter.task_loss(prediction, batch)["cross_entropy"].item() == pytest.approx(0.0, abs=1e-6)
