"""What can be seen of a broken contract in passing: faults of predictions and losses, and a look before a run begins.

The thorough checks are in :mod:`ctsdk.testing`. These here cost two forward passes, so every run makes them once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ctsdk.errors import AdapterContractError
from ctsdk.replacement import all_teacher, mixed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctsdk.adapter import Batch, Prediction, TrackerAdapter
    from ctsdk.stages import StagePlan

__all__ = ["boxes_fault", "look_before_training", "losses_fault", "named_losses"]

# Shares of a crop of an untrained tracker may stray a little; pixels and logits stray far.
_BOX_RANGE = (-1.0, 2.0)
# How far boxes may be apart on an accelerator and on the CPU: copies of the same numbers lie elsewhere in memory, and
# there a kernel may add them up in another order.
_ROUNDING = (1e-2, 1e-4)
_FURTHER = (
    "`ctsdk check`, or ctsdk.testing.check_adapter(adapter), looks at all promises of an adapter and says how to mend "
    "each."
)


def boxes_fault(prediction: Prediction, num_samples: int) -> str:
    """Return what is wrong with the boxes of a prediction, one sentence; empty where nothing is."""
    boxes: object = prediction.boxes
    if not isinstance(boxes, Tensor):
        return f"predict() gave boxes of type {type(boxes).__name__}; expected a tensor."
    if tuple(boxes.shape) != (num_samples, 4):
        return (
            f"predict() gave boxes of shape {tuple(boxes.shape)} for {num_samples} samples; expected "
            f"{(num_samples, 4)}, cxcywh."
        )
    if not boxes.is_floating_point():
        return f"predict() gave boxes of dtype {boxes.dtype}; expected floating point, in shares of the search crop."
    low, high = boxes.min().item(), boxes.max().item()
    # NaN is inside by this comparison: a broken sample is no broken contract.
    if low < _BOX_RANGE[0] or high > _BOX_RANGE[1]:
        return f"predict() gave box values from {low:.4g} to {high:.4g}; expected shares of the search crop, in [0, 1]."
    return ""


def losses_fault(method: str, losses: object) -> str:
    """Return what is wrong with what a loss method gave, one sentence; empty where nothing is."""
    if not isinstance(losses, dict):
        return f"{method}() gave {losses!r:.80}; expected a dict of losses by name."
    for name, loss in losses.items():
        if not isinstance(name, str):
            return f"{method}() gave a loss named {name!r}; expected a string."
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            seen = f"of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"of type {type(loss).__name__}"
            return f"{method}() gave {name!r} {seen}; expected a scalar tensor. Average it over the batch."
    return ""


def named_losses(method: str, losses: dict[str, Tensor], adapter: TrackerAdapter) -> dict[str, Tensor]:
    """Return the losses that a method of an adapter gave.

    Raises:
        AdapterContractError: they are no scalars with names.
    """
    fault = losses_fault(method, losses)
    if fault:
        raise AdapterContractError(f"adapter {adapter.name!r}: {fault} {_FURTHER}")
    return losses


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
        raise AdapterContractError(f"adapter {adapter.name!r}: {fault} {_FURTHER}")


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
