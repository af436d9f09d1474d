from __future__ import annotations

import pytest
import torch
from toy import ToyAdapter, toy_adapter

import ctsdk
from ctsdk.testing import adapter_checks, check_adapter, parametrize_with_checks

pytest.importorskip("cv2")


@parametrize_with_checks([toy_adapter(), ctsdk.load_adapter("ostrack", variant="tiny", weights="random")])
def test_contract(adapter: ctsdk.TrackerAdapter, check: object) -> None:
    check(adapter)  # type: ignore[operator]


def test_a_teacher_with_one_block_passes() -> None:
    assert {result.status for result in check_adapter(toy_adapter(depth=1))} == {"passed"}


class Unscaled(ToyAdapter):
    def task_loss(self, prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> dict[str, torch.Tensor]:
        return {"l1": prediction.boxes.sum(dim=1)}


class WrongTracker(ToyAdapter):
    def predict(self, tracker: torch.nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        return super().predict(self.teacher, batch)


class Leaving(ToyAdapter):
    def session(self, tracker: torch.nn.Module) -> ctsdk.TrackingSession:
        session = super().session(tracker)
        session.update = lambda frame: ctsdk.TrackResult((500.0, 0.0, 10.0, 10.0))  # type: ignore[method-assign]
        return session


class Drifting(ToyAdapter):
    def predict(self, tracker: torch.nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        with torch.no_grad():
            self.teacher.head.bias += 1e-3
        return super().predict(tracker, batch)


class Halved(ToyAdapter):
    def student_block(self, trunk: str, plan: ctsdk.StagePlan, stage: int) -> torch.nn.Module:
        block = super().student_block(trunk, plan, stage)
        with torch.no_grad():
            block.linear.weight *= 0.5
        return block


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Unscaled, "check_losses_are_finite_scalars"),
        (WrongTracker, "check_stage_tokens_have_one_shape"),
        (WrongTracker, "check_gradients_reach_only_replaced_stages"),
        (Leaving, "check_session_returns_boxes_inside_frame"),
        (Drifting, "check_teacher_is_untouched"),
        (Drifting, "check_swapping_own_blocks_changes_nothing"),
        (Drifting, "check_same_seed_same_loss"),
        (Halved, "check_a_teacher_as_student_imitates_perfectly"),
    ],
)
def test_each_broken_promise_is_found(broken: type[ToyAdapter], check: str) -> None:
    adapter = broken(toy_adapter().teacher)
    (found,) = [function for function in adapter_checks() if function.__name__ == check]
    with pytest.raises(ctsdk.AdapterContractError):
        found(adapter)
    failed = {r.name for r in check_adapter(broken(toy_adapter().teacher), on_fail="collect") if r.status == "failed"}
    assert check in failed


def test_expected_failures_are_strict() -> None:
    reason = {"check_session_returns_boxes_inside_frame": "it wanders"}
    results = check_adapter(Leaving(toy_adapter().teacher), expected_failed=reason)
    assert results[-1].status == "failed as expected"
    with pytest.raises(ctsdk.AdapterContractError, match="passed but was expected to fail"):
        check_adapter(toy_adapter(), expected_failed=reason)
    with pytest.raises(ctsdk.AdapterContractError, match=r"check_losses_are_finite_scalars: task_loss\(\) gave 'l1'"):
        check_adapter(Unscaled(toy_adapter().teacher))
