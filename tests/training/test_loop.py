from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import ctsdk
from ctsdk.data.samples.feed import endless
from ctsdk.device import pick_device
from ctsdk.engine.mixes import draw_mix
from ctsdk.engine.step import frozen
from ctsdk.training.metrics import METRICS_FILE, PACE_FILE
from ctsdk.training.states import States
from tests.helpers.toy import ToyAdapter, toy_adapter, toy_batches, toy_config


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


@pytest.mark.parametrize("preset", ["naive", "distill", "replace", "full"])
def test_teacher_is_untouched_and_every_part_of_the_student_moves(preset: str) -> None:
    adapter = toy_adapter()
    adapter.teacher.train()
    adapter.teacher.layers[0].linear.weight.requires_grad_(False)
    before = state_of(adapter.teacher)
    start = state_of(ctsdk.build_student(adapter, {"layers": ctsdk.StagePlan.divide(6, 3)}))
    result = ctsdk.compress(adapter, toy_config(preset=preset), batches=toy_batches())
    assert_same(state_of(adapter.teacher), before)
    assert adapter.teacher.training
    assert adapter.teacher.layers[1].linear.weight.requires_grad
    assert not adapter.teacher.layers[0].linear.weight.requires_grad
    after = state_of(result.student)
    for part in ("embed", "layers.0", "layers.1", "layers.2", "head_norm", "head"):
        assert any(not torch.equal(after[key], start[key]) for key in after if key.startswith(part)), part
    assert not result.student.training


def test_presets_differ_in_what_they_are_for() -> None:
    rows = {
        preset: ctsdk.compress(toy_adapter(), toy_config(preset=preset), batches=toy_batches()).history
        for preset in ("naive", "distill", "replace", "full")
    }
    has_imitation = {preset: "imitation" in steps[0] for preset, steps in rows.items()}
    replaces = {preset: any(row["student_stages"] < 3 for row in steps) for preset, steps in rows.items()}
    assert has_imitation == {"naive": False, "distill": True, "replace": False, "full": True}
    assert replaces == {"naive": False, "distill": False, "replace": True, "full": True}


def test_same_seed_same_bytes_and_the_callers_randomness_is_left_alone(tmp_path: Path) -> None:
    for run in ("a", "b"):
        torch.manual_seed(len(run))
        before = torch.get_rng_state()
        ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches()).save(tmp_path / run)
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(1)
    for name in ("student.safetensors", "result.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = ctsdk.compress(toy_adapter(), toy_config(seed=1), batches=toy_batches()).student
    saved = ctsdk.load_result(tmp_path / "a", toy_adapter()).student
    assert not torch.equal(other.head.weight, saved.head.weight)


class InterruptedRunError(Exception):
    pass


def interrupted(batches: list[ctsdk.Batch], after: int) -> Iterator[ctsdk.Batch]:
    for _ in range(after // len(batches)):
        yield from batches
    yield from batches[: after % len(batches)]
    raise InterruptedRunError


def test_a_resumed_run_ends_like_one_that_never_stopped(tmp_path: Path) -> None:
    config = toy_config(training={"save_every": 5, "validate_every": 5})
    run = {"batches": toy_batches(), "validation": toy_batches(1, seed=9)}
    whole = ctsdk.compress(toy_adapter(), config, **run, run_dir=tmp_path / "whole")
    with pytest.raises(InterruptedRunError):
        ctsdk.compress(
            toy_adapter(), config, **run | {"batches": interrupted(toy_batches(), 7)}, run_dir=tmp_path / "parts"
        )
    resumed = ctsdk.compress(toy_adapter(), config, **run, run_dir=tmp_path / "parts", resume=True)
    assert_same(state_of(resumed.student), state_of(whole.student))
    assert resumed.history == whole.history
    rows = [json.loads(line) for line in (tmp_path / "parts" / METRICS_FILE).read_text().splitlines()]
    assert rows == whole.history
    assert [row["step"] for row in rows] == [*range(5), 5, *range(5, 10), 10, *range(10, 12)]


def test_a_run_is_not_resumed_unasked_nor_with_another_configuration(tmp_path: Path) -> None:
    ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches(), run_dir=tmp_path)
    with pytest.raises(ctsdk.ConfigError, match="resume=True"):
        ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches(), run_dir=tmp_path)
    with pytest.raises(ctsdk.TrainingError, match="another configuration"):
        ctsdk.compress(toy_adapter(), toy_config(seed=1), batches=toy_batches(), run_dir=tmp_path, resume=True)
    with pytest.raises(ctsdk.ConfigError, match="holds no training state"):
        ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches(), run_dir=tmp_path / "new", resume=True)
    (latest,) = States(tmp_path).paths()
    latest.write_bytes(b"junk")
    with pytest.raises(ctsdk.TrainingError, match="cannot read the training state"):
        ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches(), run_dir=tmp_path, resume=True)


def test_small_batches_add_up_to_one_step() -> None:
    # Without dropout and batch norm, gradients of parts add up to the gradient of the whole.
    def run(batch_size: int) -> nn.Module:
        adapter = toy_adapter()
        for layer in adapter.teacher.layers:
            layer.dropout.p = 0.0
        adapter.teacher.head_norm = torch.nn.Identity()
        batches = toy_batches(2, 4)
        if batch_size == 2:
            batches = [
                ctsdk.Batch(
                    *(getattr(b, name)[:, rows] for name in ("templates", "searches", "template_boxes", "search_boxes"))
                )
                for b in batches
                for rows in (slice(0, 2), slice(2, 4))
            ]
        return ctsdk.compress(adapter, toy_config(training={"steps": 4}), batches=batches).student

    whole, parts = run(4), run(2)
    for key, value in whole.state_dict().items():
        assert torch.allclose(value, parts.state_dict()[key], atol=2e-5), key


class NanAdapter(ToyAdapter):
    """Its loss is not a number from the fourth step on."""

    calls = 0

    def task_loss(self, prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> dict[str, Tensor]:
        self.calls += 1
        losses = super().task_loss(prediction, batch)
        return losses if self.calls < 4 else {"l1": losses["l1"] * float("nan")}


def test_a_nan_loss_stops_the_run_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    good = toy_config(training={"steps": 3, "rate_schedule": "constant"}, replacement={"schedule": "constant"})
    long = toy_config(training={"steps": 9, "rate_schedule": "constant"}, replacement={"schedule": "constant"})
    expected = ctsdk.compress(toy_adapter(), good, batches=toy_batches())
    with pytest.raises(ctsdk.TrainingError, match=r"step 3: a loss or gradient is not finite \(task/l1 nan") as caught:
        ctsdk.compress(NanAdapter(toy_adapter().teacher), long, batches=toy_batches(), run_dir=tmp_path)
    assert caught.value.state_path == States(tmp_path).latest()
    saved = torch.load(caught.value.state_path, weights_only=True)
    assert saved["step"] == 3
    assert_same(saved["student"], state_of(expected.student))
    assert_same(state_of(caught.value.student), state_of(expected.student))


def test_a_broken_run_keeps_the_state_of_its_last_regular_save(tmp_path: Path) -> None:
    config = toy_config(training={"save_every": 2})
    with pytest.raises(ctsdk.TrainingError, match="step 3"):
        ctsdk.compress(NanAdapter(toy_adapter().teacher), config, batches=toy_batches(), run_dir=tmp_path)
    assert [torch.load(path, weights_only=True)["step"] for path in States(tmp_path).paths()] == [2, 3]


def test_batches_that_cannot_be_read_again_and_batches_of_something_else() -> None:
    with pytest.raises(ctsdk.DataError, match="ended after 4 batches"):
        ctsdk.compress(toy_adapter(), toy_config(), batches=(batch for batch in toy_batches()))
    with pytest.raises(ctsdk.DataError, match="gave a tuple"):
        ctsdk.compress(toy_adapter(), toy_config(), batches=[(1, 2)])  # type: ignore[list-item]
    with pytest.raises(ctsdk.DataError, match="expected something to iterate"):
        ctsdk.compress(toy_adapter(), toy_config(), batches=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("validation", [3, toy_batches()[0], {"videos": toy_batches()}])
def test_something_else_to_validate_on(validation: object) -> None:
    with pytest.raises(ctsdk.DataError, match=r"validation .* expected (something to iterate|ctsdk\.Batch)"):
        ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches(), validation=validation)  # type: ignore[arg-type]


def test_nothing_to_validate_on() -> None:
    config = toy_config(training={"validate_every": 2})
    with pytest.raises(ctsdk.ConfigError, match="validate_every is 2, and there is nothing to validate on"):
        ctsdk.compress(toy_adapter(), config, batches=toy_batches())


def test_a_validation_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    config = toy_config(training={"validate_every": 2})
    good, bad = toy_batches(2)
    bad.searches.fill_(float("nan"))
    with pytest.raises(
        ctsdk.TrainingError, match=r"after 2 steps, the validation is not finite \(.*/loss nan"
    ) as caught:
        ctsdk.compress(toy_adapter(), config, batches=toy_batches(), validation=[good, bad], run_dir=tmp_path)
    assert caught.value.state_path == tmp_path / "states" / "step-00000002.pt"
    assert not caught.value.student.training
    assert "NaN" not in (tmp_path / METRICS_FILE).read_text()


def test_endless_begins_where_it_is_told() -> None:
    batches = endless([1, 2, 3], 4)  # type: ignore[list-item]
    assert [next(batches) for _ in range(4)] == [2, 3, 1, 2]


def test_parameter_groups_scale_and_freeze() -> None:
    groups = [{"match": "^embed", "rate_factor": 0}, {"match": "^head", "rate_factor": 0.0}]
    adapter = toy_adapter()
    student = ctsdk.compress(adapter, toy_config(training={"groups": groups}), batches=toy_batches()).student
    assert torch.equal(student.embed.weight, adapter.teacher.embed.weight)
    assert torch.equal(student.head.weight, adapter.teacher.head.weight)
    assert not torch.equal(student.layers[0].linear.weight, adapter.teacher.layers[1].linear.weight)
    with pytest.raises(ctsdk.ConfigError, match="freezes every parameter"):
        ctsdk.compress(
            adapter, toy_config(training={"groups": [{"match": "", "rate_factor": 0}]}), batches=toy_batches()
        )
    with pytest.raises(ctsdk.ConfigError, match=r"'\^blocks' is found in no name .* called embed.weight, embed.bias, "):
        ctsdk.compress(adapter, toy_config(training={"groups": [{"match": "^blocks"}]}), batches=toy_batches())


def test_a_mix_of_frozen_parameters_is_refused() -> None:
    groups = [{"match": r"^layers\.0"}, {"match": "", "rate_factor": 0}]
    with pytest.raises(ctsdk.ConfigError, match=r"freezes stages \(layers\.1, layers\.2\) and all outside"):
        ctsdk.compress(toy_adapter(), toy_config(training={"groups": groups}), batches=toy_batches())
    config = toy_config(preset="distill", training={"groups": groups})
    assert len(ctsdk.compress(toy_adapter(), config, batches=toy_batches()).history) == 12


def test_one_stage_may_be_trained_where_all_are_the_students() -> None:
    groups = [{"match": r"^layers\.0"}, {"match": "", "rate_factor": 0}]
    config = toy_config(training={"groups": groups}, replacement={"schedule": "constant", "p": 1.0})
    assert len(ctsdk.compress(toy_adapter(), config, batches=toy_batches()).history) == 12


def test_losses_of_frozen_parameters_alone_are_refused() -> None:
    groups = [{"match": "^head", "rate_factor": 1}, {"match": "", "rate_factor": 0}]
    config = toy_config(preset="distill", training={"groups": groups}, losses={"task": 0, "guidance": 0})
    with pytest.raises(ctsdk.ConfigError, match=r"step 0: none of the losses \(imitation\) depends on"):
        ctsdk.compress(toy_adapter(), config, batches=toy_batches())


def test_learning_rates_and_the_pace_are_on_record(tmp_path: Path) -> None:
    config = toy_config(training={"steps": 30, "warm_up_steps": 2, "validate_every": 15})
    result = ctsdk.compress(
        toy_adapter(), config, batches=toy_batches(), validation=toy_batches(1, seed=9), run_dir=tmp_path
    )
    steps = [row for row in result.history if "loss" in row]
    assert [steps[i]["learning_rate"] for i in (0, 1, 23, 24)] == pytest.approx([5e-4, 1e-3, 1e-3, 1e-4])
    (pace,) = [json.loads(line) for line in (tmp_path / PACE_FILE).read_text().splitlines()]
    assert pace["step"] == 21
    assert pace["pace/seconds_left"] == pytest.approx(9 * pace["pace/seconds_per_step"])
    assert pace["pace/samples_per_second"] == pytest.approx(4 / pace["pace/seconds_per_step"])
    assert 10 < pace["pace/peak_memory_mib"] < 2**20
    assert [row["step"] for row in result.history if "validation/iou" in row] == [15, 30]


def test_frozen_gives_everything_back_after_an_error() -> None:
    teacher = toy_adapter().teacher.train()
    seen = []

    def fail() -> None:
        seen.append((teacher.layers[0].training, teacher.embed.weight.requires_grad))
        raise RuntimeError

    with pytest.raises(RuntimeError), frozen(teacher):
        fail()
    assert seen == [(False, False)]
    assert teacher.layers[0].training
    assert teacher.embed.weight.requires_grad


def test_a_device_that_is_not_here_is_refused() -> None:
    assert pick_device("cpu").type == "cpu"
    for name in ("no-such-device", "meta"):
        with pytest.raises(ctsdk.ConfigError, match="cannot be used here"):
            pick_device(name)


def test_two_trunks_are_compressed_together() -> None:
    class Split(torch.nn.Module):
        def __init__(self, teacher: nn.Module) -> None:
            super().__init__()
            self.inner = teacher
            self.encoder, self.decoder = teacher.layers[:4], teacher.layers[4:]
            del teacher.layers

        def forward(self, template: Tensor, search: Tensor) -> Tensor:
            self.inner.layers = [*self.encoder, *self.decoder]
            return self.inner(template, search)

    class SplitAdapter(ToyAdapter):
        def trunks(self) -> dict[str, ctsdk.Trunk]:
            return {"encoder": ctsdk.Trunk("encoder"), "decoder": ctsdk.Trunk("decoder")}

    adapter = SplitAdapter(Split(toy_adapter().teacher))
    config = toy_config(stages={"encoder": [1, 3], "decoder": 1})
    result = ctsdk.compress(adapter, config, batches=toy_batches())
    assert (len(result.student.encoder), len(result.student.decoder)) == (2, 1)
    assert {row["student_stages"] for row in result.history} > {3}


def test_each_stage_tells_how_it_fares() -> None:
    rows = ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches()).history
    plans = {"layers": ctsdk.StagePlan.divide(6, 3)}
    runs = [0, 0, 0]
    for row in rows:
        (flags,) = draw_mix(plans, row["probability"], seed=0, step=row["step"]).values()
        runs = [count + flag for count, flag in zip(runs, flags, strict=True)]
        assert [row[f"stage_runs/layers.{stage}"] for stage in range(3)] == runs
        # A stage that the teacher's blocks computed has no gradient in this step.
        assert [f"stage_gradient_norm/layers.{stage}" in row for stage in range(3)] == list(flags)
        stages = [row[f"stage_imitation/layers.{stage}"] for stage in range(3)]
        assert sum(stages) / 3 == pytest.approx(row["imitation"], rel=1e-5)
        norms = [value for name, value in row.items() if name.startswith("stage_gradient_norm")]
        assert 0 < sum(norm**2 for norm in norms) < row["gradient_norm"] ** 2
    assert any(0 < row["student_stages"] < 3 for row in rows)


def test_the_callers_function_gets_every_row(tmp_path: Path) -> None:
    seen = []
    result = ctsdk.compress(
        toy_adapter(),
        toy_config(training={"steps": 22, "validate_every": 11}),
        batches=toy_batches(),
        validation=toy_batches(1, seed=9),
        on_metrics=lambda step, figures: seen.append({"step": step, **figures}),
    )
    assert [row for row in seen if "pace/seconds_left" not in row] == result.history
    assert [row["step"] for row in seen if "pace/seconds_left" in row] == [21]


def test_an_error_of_the_callers_function_ends_the_run_and_nothing_is_lost(tmp_path: Path) -> None:
    def fail(step: int, figures: dict[str, float]) -> None:
        if step == 5:
            raise ValueError("no connection")

    run = {"batches": toy_batches(), "run_dir": tmp_path}
    with pytest.raises(ctsdk.TrainingError, match=r"on_metrics raised ValueError: no connection.* 6 steps") as caught:
        ctsdk.compress(toy_adapter(), toy_config(), **run, on_metrics=fail)
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.state_path == States(tmp_path).latest()
    resumed = ctsdk.compress(toy_adapter(), toy_config(), **run, resume=True)
    whole = ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches())
    assert resumed.history == whole.history
    assert_same(state_of(resumed.student), state_of(whole.student))
