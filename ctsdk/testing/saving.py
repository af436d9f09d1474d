"""Promises of files: weights that were saved are read back exactly."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.step import frozen
from ctsdk.engine.student import build_student
from ctsdk.errors import CtsdkError
from ctsdk.testing.forward import check_boxes_are_shares_of_the_crop, check_losses_are_finite_scalars
from ctsdk.testing.learning import short_run
from ctsdk.testing.mixes import check_every_mix_runs
from ctsdk.testing.promise import differences, promise, require, setting

__all__ = ["check_official_layout_round_trip", "check_student_reloads_from_its_state_dict"]

_JUNK = "ctsdk_testing.no_such_key"


@promise(needs=(check_every_mix_runs,))
def check_student_reloads_from_its_state_dict(adapter: TrackerAdapter) -> None:
    """The state dict of a trained student, loaded into a new one, gives the same prediction."""
    result = short_run(adapter)
    other = build_student(adapter, result.plans).eval()
    other.load_state_dict(result.student.state_dict())
    batch = adapter.example_batch(2)
    with torch.no_grad():
        fault = differences(adapter.predict(other, batch), adapter.predict(result.student, batch))
    require(
        not fault,
        f"in a student loaded from the state dict of a trained one, {fault}; expected the same prediction.",
        "keep all that training changes in parameters and persistent buffers.",
    )


@promise(needs=(check_boxes_are_shares_of_the_crop, check_losses_are_finite_scalars), capability="official")
def check_official_layout_round_trip(adapter: TrackerAdapter) -> None:
    """Weights written in the official layout are read back exactly; a missing or unknown key is refused.

    Both for the teacher and for a student. For adapters whose ``capabilities`` name ``official``.
    """
    now = setting(adapter)
    with torch.no_grad():
        for parameter in now.student.parameters():
            parameter.add_(0.01)
    for what, tracker in (("teacher", adapter.teacher), ("student", now.student)):
        weights = adapter.to_official(tracker)
        with frozen(tracker), torch.no_grad():
            expected = adapter.predict(tracker, now.batch)
            seen = adapter.predict(adapter.from_official(weights).eval(), now.batch)
        fault = differences(seen, expected)
        require(
            not fault,
            f"in the {what} that from_official(to_official(...)) gives, {fault}; expected the same prediction.",
            "from_official must undo to_official for every depth, and load strictly.",
        )
        too_few = dict(list(weights.items())[1:])
        for fault, wrong in (("a missing", too_few), ("an unknown", {**weights, _JUNK: torch.zeros(1)})):
            require(
                _is_refused(adapter, wrong),
                f"from_official took weights of the {what} with {fault} key; expected a CheckpointError.",
                "load strictly: use every key, and ask for each that the tracker has (ctsdk.weights.check_same_keys).",
            )


def _is_refused(adapter: TrackerAdapter, weights: Mapping[str, Tensor]) -> bool:
    try:
        adapter.from_official(weights)
    except CtsdkError:
        return True
    return False
