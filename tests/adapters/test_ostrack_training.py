"""The engine trains an OSTrack student as the official CompressTracker code does: losses, gradients, optimiser steps.

Two sets of weights: ``init``, students as copies of teacher blocks, and ``drawn``, students of their own. Two modes:
``eval``, and ``train``, in which the batch norms of both heads use the statistics of the batch, as in the official
code; drop path is off in both. In a mask, 1 is a stage of the student.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from timm.layers import DropPath
from torch import Tensor, nn

import ctsdk
from ctsdk import Batch, Prediction
from ctsdk.engine.mixes import draw_mix
from ctsdk.engine.stages import plan_stages
from ctsdk.engine.step import StepLosses, step_losses
from ctsdk.engine.student import trunk_depths
from ctsdk.ranks import Ranks
from ctsdk.training.loop import Trainer
from ctsdk.training.samples import CallersBatches
from ctsdk_ostrack.adapter import OSTrackAdapter
from ctsdk_ostrack.model import OSTrack
from tests.golden.synthetic_weights import draw, image

GOLDEN = Path(__file__).parents[1] / "golden" / "ostrack"
FIGURES: dict[str, Any] = json.loads((GOLDEN / "training.json").read_text())
# Every mask once in each set and mode; what is left out here runs with `pytest -m slow`.
QUICK = (
    *("init/eval/1010", "init/eval/0001", "init/eval/1111", "init/eval/0100"),
    *("init/train/1010", "drawn/eval/0001", "drawn/train/0100"),
)
CASES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FIGURES["cases"]]


def mix_of(mask: str) -> dict[str, tuple[bool, ...]]:
    return {"backbone": tuple(flag == "1" for flag in mask)}


def group_of(name: str) -> str:
    """What the golden figures call a group of parameters: a head, a block, or a part of the backbone."""
    parts = name.split(".")
    if parts[0] == "box_head":
        return "box_head"
    return f"backbone.distill_blocks.{parts[2]}" if parts[1] == "blocks" else ".".join(parts[:2])


def drawn_student(student: OSTrack, layout: Mapping[str, str]) -> OSTrack:
    """The student with blocks of their own, drawn by their official names."""
    state = {
        name: draw(name.replace("blocks.", "distill_blocks."), value.shape, layout[name])
        for name, value in student.state_dict().items()
        if name.startswith("backbone.blocks.")
    }
    student.load_state_dict(state, strict=False)
    return student


@contextmanager
def without_drop_path(tracker: nn.Module) -> Iterator[None]:
    paths = [module for module in tracker.modules() if isinstance(module, DropPath)]
    before = [path.drop_prob for path in paths]
    for path in paths:
        path.drop_prob = 0.0
    yield
    for path, probability in zip(paths, before, strict=True):
        path.drop_prob = probability


@contextmanager
def in_train_mode(teacher: OSTrack) -> Iterator[None]:
    """The teacher as the official code leaves it, without drop path; as before afterwards."""
    before = {name: value.clone() for name, value in teacher.box_head.named_buffers()}
    with without_drop_path(teacher):
        teacher.train()
        yield
    teacher.eval()
    teacher.box_head.load_state_dict(before, strict=False)


class Recorder(OSTrackAdapter):
    """The adapter, and what passed through it: the mix first, the clean teacher second."""

    def __init__(self, adapter: OSTrackAdapter) -> None:
        super().__init__(adapter.teacher, spec=adapter.spec, variant=adapter.variant)
        self.predictions: list[Prediction] = []
        self.tokens: list[tuple[Tensor, ...]] = []

    def predict(self, tracker: nn.Module, batch: Batch) -> Prediction:
        self.predictions.append(super().predict(tracker, batch))
        return self.predictions[-1]

    def stage_tokens(self, trunk: str, output: object, batch: Batch) -> tuple[Tensor, ...]:
        self.tokens.append(super().stage_tokens(trunk, output, batch))
        return self.tokens[-1]


@dataclass
class Step:
    """One training step before the optimiser."""

    name: str
    student: OSTrack
    terms: dict[str, Tensor]
    mix: list[tuple[Tensor, ...]]
    teacher: list[tuple[Tensor, ...]]
    predictions: list[Prediction]
    buffers: dict[str, Tensor] = field(default_factory=dict)

    @property
    def is_training(self) -> bool:
        return "/train/" in self.name

    @property
    def figures(self) -> dict[str, Any]:
        return FIGURES["cases"][self.name] if self.name in FIGURES["cases"] else FIGURES["other_depths"][self.name]


def run_step(adapter: OSTrackAdapter, batch: Batch, student: OSTrack, name: str) -> Step:
    mask = name.rpartition("/")[2]
    plans = plan_stages(trunk_depths(adapter), len(mask))
    recorder = Recorder(adapter)
    terms = step_losses(recorder, student, plans, mix_of(mask), batch, ctsdk.CompressionConfig())
    tokens = recorder.tokens
    buffers = {name: value.clone() for name, value in adapter.teacher.box_head.named_buffers()}
    return Step(name, student, terms, tokens[: len(mask)], tokens[len(mask) :], recorder.predictions, buffers)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return ctsdk.Batch(
        image("compresstracker/template", (1, 2, 3, 128, 128)),
        image("compresstracker/search", (1, 2, 3, 256, 256)),
        torch.zeros(1, 2, 4),
        torch.tensor([FIGURES["truth_xywh"]]),
    )


@pytest.fixture(scope="module")
def adapter(ostrack_plain: OSTrackAdapter) -> Iterator[OSTrackAdapter]:
    ostrack_plain.teacher.requires_grad_(False)
    yield ostrack_plain
    ostrack_plain.teacher.requires_grad_(True)


@pytest.fixture(scope="module")
def golden() -> Iterator[Mapping[str, NDArray[np.float32]]]:
    with np.load(GOLDEN / "training.npz") as arrays:
        yield arrays


@pytest.fixture(scope="module")
def kinds() -> dict[str, str]:
    layouts = json.loads((GOLDEN / "layouts.json").read_text())
    return {name: kind for name, _, kind in layouts["ostrack"]}


def build(adapter: OSTrackAdapter, num_stages: int) -> OSTrack:
    student = ctsdk.build_student(adapter, plan_stages(trunk_depths(adapter), num_stages))
    assert isinstance(student, OSTrack)
    return student.eval()


@pytest.fixture(scope="module", params=CASES)
def step(
    request: pytest.FixtureRequest, adapter: OSTrackAdapter, batch: Batch, kinds: dict[str, str]
) -> Iterator[Step]:
    """A step of every case, with gradients."""
    name: str = request.param
    student = build(adapter, 4)
    if name.startswith("drawn/"):
        drawn_student(student, kinds)
    if "/train/" in name:
        with in_train_mode(adapter.teacher), without_drop_path(student.train()):
            step = run_step(adapter, batch, student, name)
    else:
        step = run_step(adapter, batch, student, name)
    torch.stack(list(step.terms.values())).sum().backward()
    yield step
    for parameter in student.parameters():
        parameter.grad = None


def check_terms(step: Step) -> None:
    seen = {name: value.item() for name, value in step.terms.items()}
    wanted = dict(step.figures["terms"])
    assert sum(seen.values()) == pytest.approx(wanted.pop("total"), rel=1e-5)
    assert seen == pytest.approx(wanted, rel=1e-5)


def check_stages(step: Step) -> None:
    seen = [
        [nn.functional.mse_loss(token, target).item() for token, target in zip(mix, teacher, strict=True)]
        for mix, teacher in zip(step.mix, step.teacher, strict=True)
    ]
    for mine, wanted in zip(seen, step.figures["stages"], strict=True):
        # Exactly zero where the teacher's own blocks ran on embeddings that are still the teacher's.
        assert mine == pytest.approx(wanted, rel=1e-5, abs=0)


def check_boxes(step: Step) -> None:
    tolerance = 1e-4 if step.is_training else 2e-5
    for prediction, key in zip(step.predictions, ("boxes", "teacher_boxes"), strict=True):
        wanted = torch.tensor(step.figures[key])
        torch.testing.assert_close(prediction.boxes.detach(), wanted, rtol=0, atol=tolerance)


def test_losses(step: Step) -> None:
    check_terms(step)
    check_stages(step)
    check_boxes(step)


def test_stage_tokens(step: Step, golden: Mapping[str, NDArray[np.float32]]) -> None:
    places = ((step.mix, step.name), (step.teacher, "teacher"))
    for stages, prefix in places:
        for stage, (template, search) in enumerate(stages):
            tokens = torch.cat([template, search], dim=1).detach()
            place = f"{prefix}/stage_{stage}"
            assert tokens.mean().item() == pytest.approx(golden[f"{place}/mean"].item(), abs=1e-5)
            assert tokens.std(correction=0).item() == pytest.approx(golden[f"{place}/std"].item(), abs=1e-5)
            for part, key in ((template, "tokens"), (search, "search_tokens")):
                seen = part[:, :4, :16].detach().numpy()
                np.testing.assert_allclose(seen, golden[f"{place}/{key}"], rtol=0, atol=2e-4)


def test_maps(step: Step, golden: Mapping[str, NDArray[np.float32]]) -> None:
    wider = 5 if step.is_training else 1
    outputs = step.predictions[0].outputs
    for key, tolerance in (("score_map", 2e-5), ("size_map", 2e-5), ("offset_map", 1e-4)):
        seen = outputs[key].detach().numpy()
        np.testing.assert_allclose(seen, golden[f"{step.name}/{key}"], rtol=0, atol=wider * tolerance)
    mode = step.name.split("/")[1]
    places = (f"{step.name}/pred_boxes", f"teacher/{mode}/pred_boxes")
    for prediction, place in zip(step.predictions, places, strict=True):
        seen = prediction.boxes.detach().numpy()
        np.testing.assert_allclose(seen, golden[place][:, 0], rtol=0, atol=wider * 2e-5)


def test_gradients(step: Step, adapter: OSTrackAdapter) -> None:
    squares: dict[str, float] = {}
    untouched = set()
    for name, parameter in step.student.named_parameters():
        if parameter.grad is None:
            untouched.add(group_of(name))
        else:
            squares[group_of(name)] = squares.get(group_of(name), 0.0) + parameter.grad.double().square().sum().item()
    norms = {group: square**0.5 for group, square in squares.items()}
    assert norms == pytest.approx(step.figures["gradient_norms"], rel=1e-3)
    assert sum(squares.values()) ** 0.5 == pytest.approx(step.figures["gradient_norm"], rel=1e-3)
    assert untouched == set(step.figures["without_gradient"])
    assert all(parameter.grad is None for parameter in adapter.teacher.parameters())


def test_batch_norms_of_both_heads(step: Step) -> None:
    """In the official train mode the teacher's statistics move as well; in eval mode nothing does."""
    student = dict(step.student.box_head.named_buffers())
    for key, wanted in step.figures.get("batch_norm", {}).items():
        buffers = step.buffers if key.startswith("ori_") else student
        place = key.rpartition("box_head.")[2]
        assert buffers[f"{place}.running_mean"][:4].tolist() == pytest.approx(wanted["mean"], rel=1e-4, abs=1e-6)
        assert buffers[f"{place}.running_var"][:4].tolist() == pytest.approx(wanted["var"], rel=1e-4)
        assert buffers[f"{place}.num_batches_tracked"] == wanted["batches"]
    if not step.is_training:
        assert not student["conv1_ctr.1.num_batches_tracked"]
        assert not step.buffers["conv1_ctr.1.num_batches_tracked"]


@pytest.mark.parametrize("name", FIGURES["other_depths"])
def test_other_depths(adapter: OSTrackAdapter, batch: Batch, name: str) -> None:
    student = build(adapter, int(name.partition("/")[0]))
    with torch.no_grad():
        step = run_step(adapter, batch, student, name)
    check_terms(step)
    check_stages(step)
    check_boxes(step)


@pytest.mark.parametrize("num_stages", [2, 3, 4, 6])
def test_student_starts_from_the_last_block_of_each_stage(adapter: OSTrackAdapter, num_stages: int) -> None:
    student = build(adapter, num_stages)
    teacher = adapter.teacher.state_dict()
    for name, value in student.state_dict().items():
        source = name
        if name.startswith("backbone.blocks."):
            index = FIGURES["sources"][str(num_stages)][int(name.split(".")[2])]
            source = f"backbone.blocks.{index}." + name.split(".", 3)[3]
        assert torch.equal(value, teacher[source]), name
    rates = [block.drop_path.drop_prob for block in student.backbone.blocks]
    assert rates == pytest.approx(FIGURES["drop_path"][str(num_stages)])


def test_all_but_the_teacher_is_trained(adapter: OSTrackAdapter) -> None:
    trained = [parameter for parameter in build(adapter, 4).parameters() if parameter.requires_grad]
    assert len(trained) == FIGURES["trained"]["tensors"]
    assert sum(parameter.numel() for parameter in trained) == FIGURES["trained"]["values"]


def test_a_draw_without_student_gets_one(adapter: OSTrackAdapter, batch: Batch) -> None:
    rescued = FIGURES["rescued_all_teacher"]
    plans = plan_stages(trunk_depths(adapter), 4)
    step = next(step for step in range(1000) if draw_mix(plans, 0.0, seed=0, step=step) == mix_of(rescued["mask"]))
    mix = draw_mix(plans, 0.0, seed=0, step=step)
    with torch.no_grad():
        terms = step_losses(adapter, build(adapter, 4), plans, mix, batch, ctsdk.CompressionConfig())
    assert sum(term.item() for term in terms.values()) == pytest.approx(rescued["total"], rel=1e-5)
    assert terms["imitation"].item() == pytest.approx(rescued["feature_weighted"], rel=1e-5)


class Changes:
    """How far each group of parameters has come from where it was, measured after every step."""

    def __init__(self, student: OSTrack, batch: Batch) -> None:
        self._student, self._batch = student, batch
        self._start = {name: value.detach().clone() for name, value in student.named_parameters()}
        self.rows: list[dict[str, float]] = []

    def measure(self) -> None:
        row: dict[str, float] = {}
        for name, value in self._student.named_parameters():
            change = (value.detach() - self._start[name]).abs().double().sum().item()
            row[group_of(name)] = row.get(group_of(name), 0.0) + change
        self.rows.append(row)

    def batches(self) -> Iterator[Batch]:
        """The same batch again and again; the next one is asked for when a step is done."""
        while True:
            yield self._batch
            self.measure()


@contextmanager
def training_teacher(teacher: OSTrack) -> Iterator[None]:
    """In the place of the engine's frozen(): the teacher's batch norms use the batch, as in the official code."""
    teacher.train()
    yield
    teacher.eval()


@pytest.mark.parametrize("mode", ["eval", pytest.param("train", marks=pytest.mark.slow)])
def test_four_steps_of_the_trainer(
    adapter: OSTrackAdapter, batch: Batch, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    *steps, after = FIGURES["four_steps"][mode]
    student = build(adapter, 4)
    monkeypatch.setattr("ctsdk.training.stepper.draw_mix", lambda *_, step, **__: mix_of(steps[step]["mask"]))
    if mode == "eval":
        monkeypatch.setattr(student, "train", lambda *_: student)
    else:
        monkeypatch.setattr("ctsdk.training.loop.frozen", training_teacher)
        # Before the first step, the student is compared with the teacher as every run has it: in eval mode.
        monkeypatch.setattr("ctsdk.training.loop.preflight_check", lambda *_: None)
    settings = ctsdk.TrainingConfig(steps=4, batch_size=2, rate_schedule="constant", device="cpu", precision="float32")
    config = ctsdk.CompressionConfig(stages=4, training=settings)
    plans, changes = plan_stages(trunk_depths(adapter), 4), Changes(student, batch)

    with in_train_mode(adapter.teacher), without_drop_path(student):
        trainer = Trainer(StepLosses(adapter, student, plans, config))
        rows = trainer.train(CallersBatches(changes.batches(), None, Ranks()), show_progress=False)
        changes.measure()
        with torch.no_grad():
            # The teacher's batch norms as the steps left them: in the train mode they have moved.
            adapter.teacher.eval()
            terms = step_losses(adapter, student.eval(), plans, mix_of(after["mask"]), batch, config)

    assert [row["loss"] for row in rows] == pytest.approx([step["total"] for step in steps], rel=1e-4)
    norms = [step["gradient_norm_before_clip"] for step in steps]
    assert [row["gradient_norm"] for row in rows] == pytest.approx(norms, rel=1e-3)
    for seen, step in zip(changes.rows, steps, strict=True):
        assert seen == pytest.approx(step["sum_abs_change_since_start"], rel=1e-3)
    last = {name: value.item() for name, value in terms.items()}
    assert last | {"total": sum(last.values())} == pytest.approx(after["terms"], rel=1e-3)
    assert sum(last.values()) == pytest.approx(after["total"], rel=1e-4)
