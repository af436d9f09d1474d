"""Cheap checks of an adapter's boxes and losses. The thorough checks are in :mod:`ctsdk.testing`."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import Prediction
from ctsdk.errors import AdapterContractError

__all__ = ["THOROUGH_CHECK", "boxes_fault", "losses_fault", "named_losses"]

# An untrained tracker's boxes may leave the crop a little; pixels and logits lie far outside.
_BOX_RANGE = (-1.0, 2.0)
THOROUGH_CHECK: Final = (
    "`ctsdk check`, or ctsdk.testing.check_adapter(adapter), checks all promises of an adapter and says how to fix "
    "each."
)


def boxes_fault(prediction: Prediction, num_samples: int) -> str:
    """Return what is wrong with the boxes of a prediction, in one sentence; empty if nothing is."""
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
    """Return what is wrong with the losses that a method returned, in one sentence; empty if nothing is."""
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
    """Return the losses that a method of an adapter returned, once they are checked.

    Raises:
        AdapterContractError: they are no scalars with names.
    """
    fault = losses_fault(method, losses)
    if fault:
        raise AdapterContractError(f"adapter {adapter.name!r}: {fault} {THOROUGH_CHECK}")
    return losses
