"""A check of the adapter on the first batch of a run, before hours are spent: two forward passes."""

from __future__ import annotations

import torch
from torch import Tensor

from ctsdk.engine.batch import Batch
from ctsdk.engine.faults import THOROUGH_CHECK, boxes_fault
from ctsdk.engine.mixes import all_teacher
from ctsdk.engine.step import StepLosses
from ctsdk.errors import AdapterContractError

__all__ = ["preflight_check"]

# How far boxes may be apart on an accelerator and on the CPU: kernels may add up copies of the same numbers in another
# order, because they lie elsewhere in memory.
_ROUNDING = (1e-2, 1e-4)


def preflight_check(losses: StepLosses, batch: Batch) -> None:
    """Check the most frequent mistakes of adapters on the first batch of a run.

    Nothing of the student or the teacher changes, and no random number is drawn. The teacher is in eval mode.

    Args:
        losses: with a student that is not trained yet: outside its trunks it is still the teacher.
        batch: on the device of student and teacher.

    Raises:
        AdapterContractError: boxes have another form than the contract asks for, or the teacher's blocks inside the
            student do not make the teacher.
    """
    adapter, student = losses.adapter, losses.student
    modes = [(module, module.training) for module in student.modules()]
    student.eval()
    try:
        with torch.no_grad():
            expected = adapter.predict(adapter.teacher, batch)
            fault = boxes_fault(expected, batch.size)
            if not fault:
                with losses.mixed(all_teacher(losses.plans)):
                    seen = adapter.predict(student, batch)
                fault = _mix_fault(seen.boxes, expected.boxes)
    finally:
        for module, training in modes:
            module.training = training
    if fault:
        raise AdapterContractError(f"adapter {adapter.name!r}: {fault} {THOROUGH_CHECK}")


def _mix_fault(seen: Tensor, expected: Tensor) -> str:
    """Return what is wrong with the boxes of the all-teacher mix; empty if nothing is."""
    # The median over the batch, because rounding may change which of many boxes is picked; a mistake moves them all.
    off = (seen.float() - expected.float()).abs().amax(dim=1).nanmedian()
    if not off > _ROUNDING[seen.device.type == "cpu"]:
        return ""
    return (
        f"with all the teacher's blocks in place the student's boxes are off by {off:.2e}; expected the teacher's own. "
        "Something outside the trunk depends on the blocks: fix it in Trunk(after_swap=...)."
    )
