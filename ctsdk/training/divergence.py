"""Where NaN and infinity come from: searched after a step went wrong, so that good steps cost nothing more."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from ctsdk.engine.batch import Batch
from ctsdk.engine.mixes import Mix
from ctsdk.engine.step import StepLosses

__all__ = ["find_source", "gradients_not_finite", "weights_not_finite"]

_NUM_NAMED = 3


@torch.no_grad()
def find_source(losses: StepLosses, mix: Mix, batch: Batch) -> str:
    """Return in words where the first values that are not finite are: the batch, a weight, a stage, or after them.

    Runs the mix once more; the student's buffers move as in any forward pass.

    Args:
        losses: of the step, with the student as it was before.
        mix: of the step.
        batch: on which a loss or gradient was not finite.
    """
    adapter, student = losses.adapter, losses.student
    crops = {name: getattr(batch, name) for name in ("templates", "searches", "template_boxes", "search_boxes")}
    bad = _name_bad(crops | {f"extra[{name!r}]": value for name, value in batch.extra.items()})
    if bad:
        return f"the batch holds values that are not finite, in {bad}"
    for owner, tracker in (("student", student), ("teacher", adapter.teacher)):
        if bad := weights_not_finite(tracker):
            return f"weights of the {owner} are not finite: {bad}"
    with losses.mixed(mix) as recorder:
        adapter.predict(student, batch)
    for trunk, stages in recorder.tokens(batch).items():
        for stage, (tokens, is_student) in enumerate(zip(stages, mix[trunk], strict=True)):
            if not _are_finite(tokens):
                owner = "student" if is_student else "teacher"
                return f"the first tokens that are not finite leave stage {stage} of trunk {trunk!r}, the {owner}'s"
    return "batch, weights and the tokens of all stages are finite, so it arises after the trunk: in the head or a loss"


def weights_not_finite(tracker: nn.Module) -> str:
    """Return in words which parameters and buffers are not finite; empty if all are."""
    return _name_bad(dict(itertools.chain(tracker.named_parameters(), tracker.named_buffers())))


def gradients_not_finite(student: nn.Module) -> str:
    """Return in words which parameters have a gradient that is not finite."""
    gradients = {name: value.grad for name, value in student.named_parameters() if value.grad is not None}
    return f"gradients that are not finite: {_name_bad(gradients) or 'none alone, but all together'}"


def _name_bad(tensors: Mapping[str, Tensor]) -> str:
    bad = [name for name, value in tensors.items() if not _are_finite([value])]
    more = f" and {len(bad) - _NUM_NAMED} more" if len(bad) > _NUM_NAMED else ""
    return ", ".join(bad[:_NUM_NAMED]) + more


def _are_finite(tensors: Iterable[Tensor] | Iterator[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
