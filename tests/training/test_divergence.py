"""NaN planted in data, in a weight, in a block, in a loss: the run says where, and keeps what was good."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ctsdk
from ctsdk.training.record import RECORD_FILE
from ctsdk.training.states import States
from ctsdk.training.stepper import Stepper
from tests.helpers.toy import ToyAdapter, toy_adapter, toy_batches, toy_config

NAN = float("nan")


def stopped(adapter: ctsdk.TrackerAdapter, run_dir: Path, batches: list[ctsdk.Batch] | None = None) -> str:
    """Run until it stops; return its message. The state of the last good step must be there and whole."""
    with pytest.raises(ctsdk.TrainingError, match="is not finite") as caught:
        ctsdk.compress(adapter, toy_config(), batches=batches or toy_batches(), run_dir=run_dir)
    path = States(run_dir).latest()
    assert path is not None
    assert caught.value.state_path == path
    saved = torch.load(path, weights_only=True)
    assert f"step {saved['step']}: " in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["templates", "searches", "search_boxes"])
def test_in_the_data(tmp_path: Path, name: str) -> None:
    batches = toy_batches()
    bad = getattr(batches[2], name).clone()
    bad.view(-1)[5] = NAN
    batches[2] = replace(batches[2], **{name: bad})
    said = stopped(toy_adapter(), tmp_path, batches)
    assert "step 2: " in said
    assert f"the batch holds values that are not finite, in {name}" in said
    saved = torch.load(States(tmp_path).paths()[-1], weights_only=True)
    assert all(value.isfinite().all() for value in saved["student"].values())


def test_in_a_weight(tmp_path: Path) -> None:
    adapter = toy_adapter()
    adapter.teacher.layers[2].linear.bias.data[2] = NAN
    assert "weights of the teacher are not finite: layers.2.linear.bias" in stopped(adapter, tmp_path)


def test_in_a_weight_of_the_student(tmp_path: Path) -> None:
    adapter = toy_adapter()
    adapter.teacher.layers[3].linear.bias.data[2] = NAN
    # Stage 1 is blocks 2 and 3, and its student block starts from the last of them.
    says = "weights of the student are not finite: layers.1.linear.bias.* No state from before was saved."
    with pytest.raises(ctsdk.TrainingError, match=says) as caught:
        ctsdk.compress(adapter, toy_config(), batches=toy_batches(), run_dir=tmp_path)
    assert caught.value.state_path is None
    assert States(tmp_path).latest() is None


def test_a_student_that_is_not_finite_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Stepper.take

    def take_and_spoil(self: Stepper, step: int, *args: Any) -> dict[str, float]:
        row = take(self, step, *args)
        if step == 5:
            self.losses.student.layers[0].linear.bias.data[2] = NAN
        return row

    monkeypatch.setattr(Stepper, "take", take_and_spoil)
    says = "after 6 steps, weights of the student are not finite: layers.0.linear.bias.* The last good state is kept in"
    with pytest.raises(ctsdk.TrainingError, match=says) as caught:
        ctsdk.compress(toy_adapter(), toy_config(training={"save_every": 2}), batches=toy_batches(), run_dir=tmp_path)
    assert caught.value.state_path == States(tmp_path).latest() == tmp_path / "states" / "step-00000004.pt"


class OverflowAdapter(ToyAdapter):
    """Its weights are finite, but from the fourth step on the last block of a mix makes infinity of its tokens."""

    calls = 0

    def predict(self, tracker: torch.nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        self.calls += tracker is not self.teacher
        if tracker is self.teacher or self.calls < 4:
            return super().predict(tracker, batch)
        hook = tracker.layers[-1].norm.register_forward_hook(lambda *args: args[-1] / 0.0)
        try:
            return super().predict(tracker, batch)
        finally:
            hook.remove()


def test_in_a_stage(tmp_path: Path) -> None:
    said = stopped(OverflowAdapter(toy_adapter().teacher), tmp_path)
    assert "the first tokens that are not finite leave stage 2 of trunk 'layers', the " in said


class LossAdapter(ToyAdapter):
    """A loss, or its gradient, is not finite in some calls."""

    bad_calls: tuple[int, ...] = (4, 5)
    kind = "loss"
    calls = 0

    def task_loss(self, prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> dict[str, Tensor]:
        self.calls += 1
        losses = super().task_loss(prediction, batch)
        if self.calls in self.bad_calls:
            # The root of zero is zero, and its slope is infinite.
            extra = losses["l1"] * NAN if self.kind == "loss" else (losses["l1"] * 0.0).sqrt()
            losses["extra"] = extra
        return losses


def test_in_a_loss(tmp_path: Path) -> None:
    said = stopped(LossAdapter(toy_adapter().teacher), tmp_path)
    assert "task/extra nan" in said
    assert "it arises after the trunk: in the head or a loss" in said


def test_in_a_gradient(tmp_path: Path) -> None:
    adapter = LossAdapter(toy_adapter().teacher)
    adapter.kind = "gradient"
    said = stopped(adapter, tmp_path)
    assert "gradients that are not finite: embed.weight" in said
    assert "gradient norm nan" in said


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [("learning_rate", 1e-3, 2.5e-4), ("clip_norm", 0.1, 0.01), ("precision", "auto", "bfloat16")],
)
def test_a_broken_run_is_resumed_with_another_setting_and_that_is_on_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str, old: object, new: object
) -> None:
    said = stopped(LossAdapter(toy_adapter().teacher), tmp_path)
    assert "resume with a lower training.learning_rate" in said

    run = {"batches": toy_batches(), "run_dir": tmp_path, "resume": True}
    adapter, config = toy_adapter(), toy_config(training={key: new, "rate_schedule": "drop"})
    with caplog.at_level(logging.WARNING, "ctsdk.training.loop"):
        result = ctsdk.compress(adapter, config, **run)
    assert f"resumed at step 3 with training.{key}={new}, which was {old} before." in caplog.messages
    assert [row["step"] for row in result.history] == list(range(12))
    first, second = json.loads((tmp_path / RECORD_FILE).read_text())["starts"]
    assert (first["changed"], second["changed"]) == ({}, {f"training.{key}": [old, new]})

    # The new setting acts from the resumed step on, and not before.
    plain = ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches()).history
    assert result.history[:3] == plain[:3]
    assert all(row != other for row, other in zip(result.history[4:], plain[4:], strict=True))
    # From then on, the new setting is the run's own.
    caplog.clear()
    ctsdk.compress(adapter, config, **run)
    assert not caplog.messages


@pytest.mark.parametrize(("before", "after"), [("float32", "float16"), ("float16", "float32")])
def test_a_run_is_resumed_with_and_without_a_scale_of_the_loss(tmp_path: Path, before: str, after: str) -> None:
    adapter = LossAdapter(toy_adapter().teacher)
    with pytest.raises(ctsdk.TrainingError, match="is not finite"):
        ctsdk.compress(adapter, toy_config(training={"precision": before}), batches=toy_batches(), run_dir=tmp_path)
    config = toy_config(training={"precision": after})
    result = ctsdk.compress(toy_adapter(), config, batches=toy_batches(), run_dir=tmp_path, resume=True)
    assert ["loss_scale" in row for row in result.history] == [before == "float16"] * 3 + [after == "float16"] * 9


def test_a_bad_step_leaves_the_student_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = LossAdapter(toy_adapter().teacher)
    kept = {}
    take = Stepper.take

    def keep(self: Stepper, *args: Any) -> dict[str, float]:
        kept.clear()
        kept.update({name: value.clone() for name, value in self.losses.student.state_dict().items()})
        return take(self, *args)

    monkeypatch.setattr(Stepper, "take", keep)
    with pytest.raises(ctsdk.TrainingError) as caught:
        ctsdk.compress(adapter, toy_config(), batches=toy_batches())
    assert caught.value.student is not None
    for name, value in caught.value.student.state_dict().items():
        assert torch.equal(value, kept[name]), name
