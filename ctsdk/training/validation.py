"""How good the student is by itself, on batches that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ctsdk.boxes import cxcywh_to_xyxy, iou, xywh_to_xyxy
from ctsdk.engine.batch import Batch
from ctsdk.engine.step import StepLosses
from ctsdk.ranks import Ranks

__all__ = ["validate"]


@torch.no_grad()
def validate(losses: StepLosses, batches: Sequence[Batch], ranks: Ranks) -> dict[str, float]:
    """Return the student's mean task loss, ``validation/loss``, and of a tracker its mean overlap, ``/iou``.

    The student is in eval mode afterwards.

    Args:
        losses: with the student.
        batches: this process's share; the means are over those of all processes.
        ranks: the processes that share the batches.
    """
    adapter, student = losses.adapter, losses.student.eval()
    device = next(student.parameters()).device
    is_tracker = "session" in adapter.capabilities
    task_losses, overlaps = [], []
    for batch in (batch.to(device) for batch in batches):
        prediction = adapter.predict(student, batch)
        task_losses.append(sum(value.item() for value in adapter.task_loss(prediction, batch).values()))
        if is_tracker:
            truth, boxes = xywh_to_xyxy(batch.search_boxes[-1]), adapter.locate(student, batch).boxes
            overlaps.append(iou(cxcywh_to_xyxy(boxes), truth).mean().item())
    loss, overlap, num_batches = ranks.add_up([sum(task_losses), sum(overlaps), len(task_losses)])
    metrics = {"validation/loss": loss / num_batches}
    return metrics | {"validation/iou": overlap / num_batches} if is_tracker else metrics
