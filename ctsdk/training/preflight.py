"""A check of the adapter on the first batch of a run, before hours are spent: two forward passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ctsdk.engine.faults import THOROUGH_CHECK, boxes_fault
from ctsdk.engine.mixes import all_teacher, mixed
from ctsdk.errors import AdapterContractError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from ctsdk.engine.adapter import TrackerAdapter
    from ctsdk.engine.batch import Batch
    from ctsdk.engine.stages import StagePlan

__all__ = ["look_before_training"]

# How far boxes may be apart on an accelerator and on the CPU: copies of the same numbers lie elsewhere in memory, and
# there a kernel may add them up in another order.
_ROUNDING = (1e-2, 1e-4)


def look_before_training(
    adapter: TrackerAdapter, student: nn.Module, plans: Mapping[str, StagePlan], batch: Batch
) -> None:
    """Look at what a mistaken adapter most often gets wrong, on the first batch of a run.

    Nothing of the student or the teacher changes, and no random number is drawn. The teacher is in eval mode.

    Args:
        adapter: the adapter.
        student: the student of `plans`, not trained yet: outside its trunks it is still the teacher.
        plans: the stages of every trunk.
        batch: on the device of both.

    Raises:
        AdapterContractError: boxes have another form than the contract asks for, or the teacher's blocks inside the
            student do not make the teacher.
    """
    modes = [(module, module.training) for module in student.modules()]
    student.eval()
    try:
        with torch.no_grad():
            expected = adapter.predict(adapter.teacher, batch)
            fault = boxes_fault(expected, batch.size)
            if not fault:
                with mixed(adapter, student, plans, all_teacher(plans)):
                    seen = adapter.predict(student, batch)
                fault = _mix_fault(seen.boxes, expected.boxes)
    finally:
        for module, training in modes:
            module.training = training
    if fault:
        raise AdapterContractError(f"adapter {adapter.name!r}: {fault} {THOROUGH_CHECK}")


def _mix_fault(seen: Tensor, expected: Tensor) -> str:
    """Return what is wrong with the boxes of the mix of teacher blocks alone; empty where nothing is."""
    # In the middle of the batch, because a box that is picked among many may be another one after rounding; a mistake
    # moves them all.
    off = (seen.float() - expected.float()).abs().amax(dim=1).nanmedian()
    if not off > _ROUNDING[seen.device.type == "cpu"]:
        return ""
    return (
        f"with all the teacher's blocks in place the student's boxes are off by {off:.2e}; expected the teacher's own. "
        "Something outside the trunk depends on the blocks: mend it in Trunk(after_swap=...)."
    )
