"""NaN planted in data, in a weight, in a block, in a loss: the run says where, and keeps what was good."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

import ctsdk
from ctsdk.training.states import States
from ctsdk.training.stepper import Stepper
from tests.helpers.toy import ToyAdapter, toy_adapter, toy_batches, toy_config

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

NAN = float("nan")


def stopped(adapter: ctsdk.TrackerAdapter, run_dir: Path, batches: list[ctsdk.Batch] | None = None) -> str:
    """Run until it stops; return what it says. The state of the last good step must be there and whole."""
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
            self.student.layers[0].linear.bias.data[2] = NAN
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


def test_going_back_takes_a_smaller_rate_and_is_on_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapter = LossAdapter(toy_adapter().teacher)
    adapter.bad_calls = (6,)
    settings = {"on_non_finite": "roll_back", "save_every": 2, "roll_back_factor": 0.25, "rate_schedule": "constant"}
    with caplog.at_level(logging.WARNING, "ctsdk.training.loop"):
        result = ctsdk.compress(adapter, toy_config(training=settings), batches=toy_batches(), run_dir=tmp_path)
    (message,) = [record.getMessage() for record in caplog.records if record.name == "ctsdk.training.loop"]
    assert "step 5: a loss or gradient is not finite" in message
    assert "Going back to step 4 with 0.25 times the learning rate (roll-back 1 of at most 3)" in message
    (event,) = [row for row in result.history if "roll_back/from_step" in row]
    assert (event["step"], event["roll_back/from_step"], event["roll_back/rate_scale"]) == (4, 5, 0.25)
    rows = [row for row in result.history if "loss" in row]
    assert [row["step"] for row in rows] == list(range(12))
    assert [row["learning_rate"] for row in rows] == [1e-3] * 4 + [2.5e-4] * 8
    assert torch.load(States(tmp_path).paths()[-1], weights_only=True)["num_roll_backs"] == 1


def test_going_back_has_an_end(tmp_path: Path) -> None:
    adapter = LossAdapter(toy_adapter().teacher)
    adapter.bad_calls = tuple(range(6, 100))
    config = toy_config(training={"on_non_finite": "roll_back", "save_every": 2, "max_roll_backs": 2})
    with pytest.raises(ctsdk.TrainingError, match="step 4: a loss or gradient is not finite") as caught:
        ctsdk.compress(adapter, config, batches=toy_batches(), run_dir=tmp_path)
    assert "The run went back 2 times (training.max_roll_backs)." in str(caught.value)
    assert "or training.on_non_finite=roll_back" not in str(caught.value)
    assert torch.load(States(tmp_path).paths()[-1], weights_only=True)["num_roll_backs"] == 2
    with pytest.raises(ctsdk.ConfigError, match="roll_back needs run_dir"):
        ctsdk.compress(adapter, config, batches=toy_batches())


def test_going_back_needs_a_state(tmp_path: Path) -> None:
    config = toy_config(training={"on_non_finite": "roll_back"})
    with pytest.raises(ctsdk.TrainingError, match="No state was saved yet to which the run could go back"):
        ctsdk.compress(LossAdapter(toy_adapter().teacher), config, batches=toy_batches(), run_dir=tmp_path)


def test_a_bad_step_leaves_the_student_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = LossAdapter(toy_adapter().teacher)
    kept = {}
    take = Stepper.take

    def keep(self: Stepper, *args: Any) -> dict[str, float]:
        kept.clear()
        kept.update({name: value.clone() for name, value in self.student.state_dict().items()})
        return take(self, *args)

    monkeypatch.setattr(Stepper, "take", keep)
    with pytest.raises(ctsdk.TrainingError) as caught:
        ctsdk.compress(adapter, toy_config(), batches=toy_batches())
    assert caught.value.student is not None
    for name, value in caught.value.student.state_dict().items():
        assert torch.equal(value, kept[name]), name
