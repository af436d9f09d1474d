from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ctsdk
from ctsdk.training.states import States
from tests.helpers.toy import ToyAdapter, toy_adapter, toy_batches, toy_config


def train(adapter: ctsdk.TrackerAdapter | None = None, **changes: Any) -> ctsdk.CompressionResult:
    return ctsdk.compress(adapter or toy_adapter(), toy_config(**changes), batches=toy_batches())


def assert_close(one: nn.Module, other: nn.Module, tolerance: float = 0.0) -> None:
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=0, atol=tolerance, msg=name)


class CountingAdapter(ToyAdapter):
    """Counts how often the teacher predicts, and the losses."""

    num_teacher = num_task = num_guidance = 0

    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        self.num_teacher += tracker is self.teacher
        return super().predict(tracker, batch)

    def task_loss(self, prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> dict[str, Tensor]:
        self.num_task += 1
        return super().task_loss(prediction, batch)

    def guidance_loss(self, *args: Any) -> dict[str, Tensor]:
        self.num_guidance += 1
        return super().guidance_loss(*args)


@pytest.mark.parametrize(
    ("weights", "counts", "terms"),
    [
        # One pass of the teacher is the check before the first step.
        ({}, (13, 12, 12), {"task/l1", "guidance/giou", "guidance/l1", "imitation"}),
        ({"guidance": 0}, (13, 12, 0), {"task/l1", "imitation"}),
        ({"imitation": 0}, (13, 12, 12), {"task/l1", "guidance/giou", "guidance/l1"}),
        ({"guidance": 0, "imitation": 0}, (1, 12, 0), {"task/l1"}),
        ({"task": 0}, (13, 0, 12), {"guidance/giou", "guidance/l1", "imitation"}),
    ],
)
def test_what_has_no_weight_is_not_computed(
    weights: dict[str, float], counts: tuple[int, int, int], terms: set[str]
) -> None:
    adapter = CountingAdapter(toy_adapter().teacher)
    row = train(adapter, losses=weights).history[0]
    assert (adapter.num_teacher, adapter.num_task, adapter.num_guidance) == counts
    assert {name for name in row if name.startswith(("task/", "guidance/")) or name == "imitation"} == terms


def test_something_must_be_left_to_minimise() -> None:
    for changes in ({"preset": "naive"}, {"losses": {"guidance": 0, "imitation": 0}}):
        losses = {"task": 0} | changes.get("losses", {})
        with pytest.raises(ctsdk.ConfigError, match="nothing is left to minimise"):
            toy_config(**changes | {"losses": losses})


# torch looks at gradients of what it traces, and warns itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_blocks_are_compiled_once_and_not_for_every_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    adapter = toy_adapter()
    for layer in adapter.teacher.layers:
        layer.dropout.p = 0.0
    plain = train(copy.deepcopy(adapter))
    mixes = {row["student_stages"] for row in plain.history}
    torch._dynamo.reset()
    compiled = train(adapter, training={"compile_blocks": True})
    assert len(mixes) > 1
    # The student's block in train mode; the teacher's in eval mode, with a backward pass and without one.
    assert 1 <= len(graphs) <= 4
    assert_close(plain.student, compiled.student, 1e-6)
    for block in (*compiled.student.layers, *adapter.teacher.layers):
        assert "forward" not in vars(block)


def test_recomputed_blocks_do_the_same_with_less_to_remember() -> None:
    kept: dict[bool, int] = {}
    students = {}
    for is_recomputed in (False, True):
        sizes = []

        def note(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            students[is_recomputed] = train(training={"recompute_blocks": is_recomputed}).student
        kept[is_recomputed] = sum(sizes)
    # Dropout draws the same numbers again.
    assert_close(students[False], students[True])
    assert kept[True] < kept[False] / 2
    assert all("forward" not in vars(block) for block in students[True].layers)


def test_blocks_with_statistics_are_not_recomputed() -> None:
    adapter = toy_adapter()
    adapter.teacher.layers[0].norm = torch.nn.BatchNorm1d(20)
    with pytest.raises(ctsdk.ConfigError, match="its blocks hold batch norm"):
        train(adapter, training={"recompute_blocks": True})
    assert "forward" not in vars(adapter.teacher.layers[0])


def test_the_fused_optimiser_does_the_same() -> None:
    plain, fused = (train(training={"fused_optimizer": is_fused}).history for is_fused in (False, True))
    assert [row["loss"] for row in fused] == pytest.approx([row["loss"] for row in plain], rel=1e-5)


class LayoutAdapter(ToyAdapter):
    """Notes how the weight of the convolution lies in memory when a tracker predicts."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__(teacher)
        self.seen: set[tuple[bool, bool]] = set()

    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        is_last = tracker.embed.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr, operator]
        self.seen.add((tracker is self.teacher, is_last))
        return super().predict(tracker, batch)


@pytest.mark.parametrize("is_wanted", [True, False])
def test_convolutions_have_their_channels_last_while_they_train(is_wanted: bool, tmp_path: Path) -> None:
    adapter = LayoutAdapter(toy_adapter().teacher)
    config = toy_config(training={"channels_last": is_wanted, "save_every": 6})
    whole = ctsdk.compress(adapter, config, batches=toy_batches(), run_dir=tmp_path)
    assert adapter.seen == {(True, is_wanted), (False, is_wanted)}
    assert all(weight.is_contiguous() for weight in (adapter.teacher.embed.weight, whole.student.embed.weight))
    other = train(training={"channels_last": not is_wanted}).history
    assert [row["loss"] for row in whole.history] == pytest.approx([row["loss"] for row in other], rel=1e-5)

    States(tmp_path).paths()[-1].unlink()
    resumed = ctsdk.compress(adapter, config, batches=toy_batches(), run_dir=tmp_path, resume=True)
    assert_close(whole.student, resumed.student)


def test_float16_leaves_a_step_out_when_the_scale_is_too_large_and_goes_on_exactly(tmp_path: Path) -> None:
    settings = {"precision": "float16", "save_every": 6}
    config = toy_config(training=settings)
    whole = ctsdk.compress(toy_adapter(), config, batches=toy_batches(), run_dir=tmp_path)
    states = States(tmp_path)
    assert torch.load(states.paths()[0], weights_only=True)["scaler"]["scale"] > 1
    states.paths()[-1].unlink()
    resumed = ctsdk.compress(toy_adapter(), config, batches=toy_batches(), run_dir=tmp_path, resume=True)
    assert_close(whole.student, resumed.student)
    assert whole.history == resumed.history
    assert all(row["loss_scale"] >= 1 for row in whole.history)

    class LargeAdapter(ToyAdapter):
        """A gradient that only fits when the scale has been halved a few times."""

        def task_loss(self, prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> dict[str, Tensor]:
            return {name: 1e34 * value for name, value in super().task_loss(prediction, batch).items()}

    rows = train(LargeAdapter(toy_adapter().teacher), training={"precision": "float16"}).history
    left_out = [row["left_out"] for row in rows]
    assert left_out[0] == 1.0
    assert all("gradient_norm" in row for row in rows if not row["left_out"])
    assert rows[1]["loss_scale"] == rows[0]["loss_scale"] / 2
