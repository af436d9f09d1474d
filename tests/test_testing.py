"""The conformance kit finds each planted fault, alone, and says how to fix it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import ctsdk
from ctsdk.engine.stages import plan_stages
from ctsdk.engine.step import StepLosses
from ctsdk.testing import CheckResult, adapter_checks, check_adapter, parametrize_with_checks
from ctsdk.tracking import CropSession
from ctsdk.training.preflight import preflight_check
from tests.helpers.toy import ToyAdapter, ToyTracker, toy_adapter

pytest.importorskip("cv2")


@parametrize_with_checks([toy_adapter(), ctsdk.load_adapter("ostrack", variant="tiny", weights="random")])
def test_contract(adapter: ctsdk.TrackerAdapter, check: Callable[[ctsdk.TrackerAdapter], None]) -> None:
    check(adapter)


def test_a_teacher_with_one_block_passes() -> None:
    assert {result.status for result in check_adapter(toy_adapter(depth=1)) if result.message == ""} == {"passed"}


# -- the mutation table: for each promise, an adapter with that fault and no other -------------------------------------


def shifted(prediction: ctsdk.Prediction, by: float = 0.01) -> ctsdk.Prediction:
    return ctsdk.Prediction(prediction.boxes + by)


def own_blocks(tracker: nn.Module) -> list[nn.Module]:
    return list(tracker.layers)


class WrongSpec(ToyAdapter):
    spec = ctsdk.TrackerSpec(template_size=16, search_size=7)  # less than a patch


class InPixels(ToyAdapter):
    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        return ctsdk.Prediction(32 * super().predict(tracker, batch).boxes)


class NotAveraged(ToyAdapter):
    def task_loss(self, prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> dict[str, Tensor]:
        return {"l1": prediction.boxes.sum(dim=1)}


class Seeding(ToyAdapter):
    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        random.seed(0)
        return super().predict(tracker, batch)


class Remembering(ToyAdapter):
    """Knows one list object of the teacher, as a tracker with a second reference to its blocks does."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__(teacher)
        self.known = teacher.layers

    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        prediction = super().predict(tracker, batch)
        is_other = tracker is self.teacher and tracker.layers is not self.known
        return shifted(prediction) if is_other else prediction


class Counting(ToyAdapter):
    """Scales by a number of blocks that nobody sets again when a student runs with the teacher's blocks."""

    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        prediction = super().predict(tracker, batch)
        blocks, teachers = own_blocks(tracker), own_blocks(self.teacher)
        is_hollow = tracker is not self.teacher and all(any(b is t for t in teachers) for b in blocks)
        return shifted(prediction) if is_hollow else prediction


class Eliminating(ToyAdapter):
    """Gives the tokens of the student's own blocks without one of them."""

    def student_block(self, trunk: str, plan: ctsdk.StagePlan, stage: int) -> nn.Module:
        block = super().student_block(trunk, plan, stage)
        if plan.num_stages < plan.depth:
            block.register_forward_hook(lambda module, inputs, output: Marked(output))
        return block

    def stage_tokens(self, trunk: str, output: object, batch: ctsdk.Batch) -> tuple[Tensor, ...]:
        (tokens,) = super().stage_tokens(trunk, output, batch)
        return (tokens[:, 1:].as_subclass(torch.Tensor),) if isinstance(output, Marked) else (tokens,)


class Marked(torch.Tensor):
    """What a student's own block returned."""

    def __new__(cls, tokens: Tensor) -> Marked:
        return tokens.as_subclass(cls)


class Hooked(ToyAdapter):
    """Takes a fast path without hooks, which a shorter tracker computes otherwise."""

    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        prediction = super().predict(tracker, batch)
        blocks, depth = own_blocks(tracker), len(own_blocks(self.teacher))
        return shifted(prediction) if len(blocks) < depth and not blocks[0]._forward_hooks else prediction


class Incompatible(ToyAdapter):
    """Breaks where the teacher's second stage follows the student's first, and the third is the student's too."""

    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        prediction = super().predict(tracker, batch)
        teachers = own_blocks(self.teacher)
        flags = [not any(block is t for t in teachers) for block in own_blocks(tracker)]
        return ctsdk.Prediction(prediction.boxes * torch.nan) if flags == [True, False, False, True] else prediction


class Sharing(ToyAdapter):
    """Gives all student blocks one weight."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__(teacher)
        self.shared = torch.nn.Parameter(torch.zeros(16, 16))

    def student_block(self, trunk: str, plan: ctsdk.StagePlan, stage: int) -> nn.Module:
        block = super().student_block(trunk, plan, stage)
        if plan.num_stages < plan.depth:
            block.linear.weight = self.shared
        return block


class Halved(ToyAdapter):
    def student_block(self, trunk: str, plan: ctsdk.StagePlan, stage: int) -> nn.Module:
        block = super().student_block(trunk, plan, stage)
        with torch.no_grad():
            block.linear.weight *= 0.5
        return block


class CountingBatches(ToyAdapter):
    """Leaves the teacher's batch norm in training mode for a moment, as the official code does."""

    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        if tracker.training:
            self.teacher.head_norm.num_batches_tracked += 1
        return super().predict(tracker, batch)


class Unseeded(ToyAdapter):
    draws = np.random.default_rng()

    def task_loss(self, prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> dict[str, Tensor]:
        return {"l1": super().task_loss(prediction, batch)["l1"] * float(self.draws.uniform(0.5, 1.5))}


class Drifting(ToyAdapter):
    """Keeps a running number outside its state dict."""

    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        prediction = super().predict(tracker, batch)
        if tracker.training:
            tracker.num_seen = getattr(tracker, "num_seen", 0) + 1
        return shifted(prediction, 0.001 * getattr(tracker, "num_seen", 0))


class Forgetful(ToyAdapter):
    """Loads official weights without strictness."""

    capabilities = frozenset({"session", "official"})

    def from_official(self, weights: Mapping[str, Tensor]) -> nn.Module:  # type: ignore[override]
        depth = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("layers."))
        tracker = ToyTracker(depth=depth)
        tracker.load_state_dict(weights, strict=False)
        return tracker


class Leaving(ToyAdapter):
    def session(self, tracker: nn.Module) -> ctsdk.TrackingSession:
        session = super().session(tracker)
        session.update = lambda frame: ctsdk.TrackResult((500.0, 0.0, 10.0, 10.0))  # type: ignore[method-assign]
        return session


class Entangled(ToyAdapter):
    """Keeps the last box on the adapter, where every session finds it."""

    last = 0.0

    def session(self, tracker: nn.Module) -> ctsdk.TrackingSession:
        adapter = self

        class Session(CropSession):
            def update(self, frame: NDArray[np.uint8]) -> ctsdk.TrackResult:
                x, y, w, h = super().update(frame).box_xywh_px
                adapter.last = 0.9 * adapter.last + 0.01
                return ctsdk.TrackResult((x, y, w, h * (1 - 0.1 * min(adapter.last, 1.0))))

        return Session(self, tracker)


class Dividing(ToyAdapter):
    """Divides by the contrast of the frame."""

    def session(self, tracker: nn.Module) -> ctsdk.TrackingSession:
        class Session(CropSession):
            def update(self, frame: NDArray[np.uint8]) -> ctsdk.TrackResult:
                if frame.std() == 0:
                    raise ZeroDivisionError("the frame has no contrast")
                return super().update(frame)

        return Session(self, tracker)


# The fault, the one check that fails, and words of the advice.
MUTATIONS = [
    (WrongSpec, "check_spec_is_what_predict_takes", "set template_size, search_size"),
    (InPixels, "check_boxes_are_shares_of_the_crop", "divided by the side of the search crop"),
    (NotAveraged, "check_losses_are_finite_scalars", "Average it over the batch"),
    (Seeding, "check_cpu_suffices_and_no_global_state_changes", "your own generator"),
    (Remembering, "check_swapping_own_blocks_changes_nothing", "read its block list anew in each forward"),
    (Counting, "check_all_teacher_mix_is_the_teacher", r"Trunk\(after_swap=...\)"),
    (Eliminating, "check_stage_tokens_have_one_shape", "override stage_tokens"),
    (Hooked, "check_all_student_mix_is_the_student", "hooks of its blocks"),
    (Incompatible, "check_every_mix_runs", "must take what a teacher block returns"),
    (Sharing, "check_gradients_reach_only_replaced_stages", "must not share parameters"),
    (Halved, "check_a_teacher_as_student_imitates_perfectly", "an unchanged copy in a plan of full depth"),
    (CountingBatches, "check_teacher_is_untouched", "never write to self.teacher"),
    (Unseeded, "check_same_seed_same_loss", "your own seeded generator"),
    (Drifting, "check_student_reloads_from_its_state_dict", "parameters and persistent buffers"),
    (Forgetful, "check_official_layout_round_trip", "load strictly"),
    (Leaving, "check_session_returns_boxes_inside_frame", "ctsdk.tracking.clip_box"),
    (Entangled, "check_session_is_deterministic", "keep what a session remembers in the session"),
    (Dividing, "check_session_survives_a_target_that_leaves", "start from that error"),
]


@pytest.mark.parametrize(("broken", "check", "advice"), MUTATIONS, ids=[row[1] for row in MUTATIONS])
def test_a_planted_fault_fails_its_check_alone(broken: type[ToyAdapter], check: str, advice: str) -> None:
    results = check_adapter(broken(toy_adapter().teacher), on_fail="collect")
    assert [result.name for result in results if result.status == "failed"] == [check]
    (message,) = [result.message for result in results if result.status == "failed"]
    (function,) = [function for function in adapter_checks() if function.__name__ == check]
    claim = (function.__doc__ or "").partition("\n")[0]
    assert message.startswith(f"{claim}\n  found:   ")
    assert message.endswith(f"\n  to read: python -m pydoc ctsdk.testing.{check}")
    with pytest.raises(ctsdk.AdapterContractError, match=advice):
        function(broken(toy_adapter().teacher))


def test_every_promise_has_a_planted_fault() -> None:
    assert sorted(row[1] for row in MUTATIONS) == sorted(check.__name__ for check in adapter_checks())


# -- running the checks ------------------------------------------------------------------------------------------------


class WrongTracker(ToyAdapter):
    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        return super().predict(self.teacher, batch)


def test_running_the_teacher_instead_of_the_argument_is_found() -> None:
    results = check_adapter(WrongTracker(toy_adapter().teacher), on_fail="collect")
    assert "check_stage_tokens_have_one_shape" in {r.name for r in results if r.status == "failed"}
    (function,) = [f for f in adapter_checks() if f.__name__ == "check_gradients_reach_only_replaced_stages"]
    with pytest.raises(ctsdk.AdapterContractError, match="gave no output during the forward pass"):
        function(WrongTracker(toy_adapter().teacher))


def test_what_builds_on_a_broken_promise_is_skipped_with_its_name() -> None:
    results = {r.name: r for r in check_adapter(WrongSpec(toy_adapter().teacher), on_fail="collect")}
    skipped = results["check_every_mix_runs"]
    assert (skipped.status, skipped.message) == (
        "skipped",
        "it builds on check_spec_is_what_predict_takes, which did not pass",
    )


def test_what_an_adapter_cannot_do_is_skipped_with_the_reason() -> None:
    class Still(ToyAdapter):
        capabilities = frozenset[str]()

    results = check_adapter(Still(toy_adapter().teacher))
    skipped = {result.name for result in results if result.status == "skipped"}
    assert skipped == {name.__name__ for name in adapter_checks() if "session" in name.__name__} | {
        "check_official_layout_round_trip"
    }
    assert {r.message for r in results if r.name.startswith("check_session")} == {
        "Still.capabilities does not name 'session'"
    }
    marks = {case.id: [mark.name for mark in case.marks] for case in parametrize_with_checks([Still(None)]).args[1]}
    assert marks["toy-check_session_is_deterministic"] == ["skip"]
    assert marks["toy-check_every_mix_runs"] == []


def test_failures_are_raised_or_collected_and_told_as_they_come() -> None:
    with pytest.raises(ctsdk.AdapterContractError, match=r"^check_losses_are_finite_scalars: The losses of the task"):
        check_adapter(NotAveraged(toy_adapter().teacher))
    told: list[CheckResult] = []
    results = check_adapter(NotAveraged(toy_adapter().teacher), on_fail="collect", callback=told.append)
    assert told == results
    assert len(results) == len(adapter_checks())


def test_expected_failures_are_strict() -> None:
    reason = {"check_session_returns_boxes_inside_frame": "it wanders"}
    results = {r.name: r for r in check_adapter(Leaving(toy_adapter().teacher), expected_failures=reason)}
    assert results["check_session_returns_boxes_inside_frame"].status == "failed as expected"
    with pytest.raises(ctsdk.AdapterContractError, match=r"it passed, but was expected to fail \(it wanders\)"):
        check_adapter(toy_adapter(), expected_failures=reason)
    with pytest.raises(ctsdk.AdapterContractError, match="expected_failures names check_nothing"):
        check_adapter(toy_adapter(), expected_failures={"check_nothing": "a slip"})


def test_pytest_cases_carry_expected_failures() -> None:
    reason = {"check_every_mix_runs": "known"}
    cases = parametrize_with_checks([toy_adapter()], expected_failures=reason).args[1]
    marks = {case.id: case.marks for case in cases}
    (xfail,) = marks["toy-check_every_mix_runs"]
    assert (xfail.name, xfail.kwargs) == ("xfail", {"reason": "known", "strict": True})


# -- the look before training ------------------------------------------------------------------------------------------


class Unnamed(ToyAdapter):
    """Gives its losses no names."""

    def task_loss(self, prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> Any:
        return [prediction.boxes.mean()]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (InPixels, "expected shares of the search crop"),
        (Counting, "with all the teacher's blocks in place the student's boxes are off by"),
        (Unnamed, r"task_loss\(\) gave \[.*expected a dict of losses by name"),
    ],
)
def test_a_run_checks_an_adapter_before_its_first_step(broken: type[ToyAdapter], message: str) -> None:
    adapter = broken(toy_adapter().teacher)
    config = ctsdk.CompressionConfig.from_mapping({"stages": 2, "training": {"steps": 1, "device": "cpu"}})
    with pytest.raises(ctsdk.AdapterContractError, match=message):
        ctsdk.compress(adapter, config, batches=[adapter.example_batch(2)])
    with pytest.raises(ctsdk.AdapterContractError, match=r"ctsdk\.testing\.check_adapter\(adapter\)"):
        ctsdk.compress(adapter, config, batches=[adapter.example_batch(2)])


def test_the_check_before_a_run_changes_nothing() -> None:
    adapter = toy_adapter()
    plans = plan_stages({"layers": 6}, 3)
    student = ctsdk.build_student(adapter, plans).train()
    adapter.teacher.eval()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    config = ctsdk.CompressionConfig(stages=3)
    preflight_check(StepLosses(adapter, student, plans, config), adapter.example_batch(2))
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())
    assert all(module.training for module in student.modules())
    assert all(parameter.grad is None for parameter in student.parameters())
