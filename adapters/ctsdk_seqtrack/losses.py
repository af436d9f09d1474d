"""The losses of SeqTrack: cross entropy of the words of the true box, one after the other.

Source: microsoft/VideoX @ 1744b21, SeqTrack/lib/train/actors/seqtrack.py, SeqTrack/lib/train/train_script.py.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ctsdk_seqtrack.model import NUM_COORDINATES

__all__ = ["cross_entropy", "words_divergence", "words_of_boxes"]

# Weight of a word that is no coordinate.
_LITTLE = 0.01


def words_of_boxes(boxes_xywh: Tensor, num_bins: int) -> Tensor:
    """Return the words of boxes, (B, 4) int64: centre x, centre y, width, height.

    The part outside the crop is cut off first. In float32 and in this order, because otherwise values on the border of
    two bins fall into the other one.

    Args:
        boxes_xywh: (B, 4); 0 is the centre of the crop's first pixel, 1 that of its last.
        num_bins: words that are coordinates.
    """
    x, y, width, height = boxes_xywh.float().unbind(dim=-1)
    left, top, right, bottom = (value.clamp(0.0, 1.0) for value in (x, y, x + width, y + height))
    box = torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], dim=-1)
    # Truncated, not rounded; so the last bin is for exactly 1.
    return (box * (num_bins - 1)).long()


def cross_entropy(logits: Tensor, words: Tensor) -> Tensor:
    """Return the cross entropy of the words, a scalar: a mean in which words that are no coordinates count little.

    Args:
        logits: (B, L, V); the last two words are no coordinates.
        words: (B, L) int64.
    """
    weights = logits.new_ones(logits.shape[-1])
    weights[-2:] = _LITTLE
    return F.cross_entropy(logits.flatten(0, 1), words.flatten(), weight=weights)


def words_divergence(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the divergence of a student's words from its teacher's, a scalar, on the scale of the cross entropy.

    Mean over the samples; the word after the four coordinates counts as little as there.

    Args:
        logits: (B, 5, V).
        teacher_logits: (B, 5, V), given the same words before.
    """
    student, teacher = logits.log_softmax(dim=-1), teacher_logits.log_softmax(dim=-1)
    divergences = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=-1)  # (B, 5)
    weights = divergences.new_ones(NUM_COORDINATES + 1)
    weights[-1] = _LITTLE
    return (divergences * weights).sum(dim=1).mean() / weights.sum()
