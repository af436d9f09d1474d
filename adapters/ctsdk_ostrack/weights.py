"""OSTrack weights in the layouts of the official code.

Three layouts exist; the tracker of this package uses the first for any depth:

- OSTrack: ``backbone.blocks.N``, ``box_head``.
- CompressTracker, test form: the blocks are called ``backbone.distill_blocks.N``.
- CompressTracker, training form: the test form, the teacher's blocks inside the mixed trunk as ``backbone.blocks.N``,
  and a whole second teacher as ``ori_backbone``, ``ori_box_head``.

Source: botaoye/OSTrack @ 33b5e12; LingyiHongfd/CompressTracker @ efd98ec, lib/models/compresstracker.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ctsdk import CheckpointError
from ctsdk.weights import without_parallel_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["count_blocks", "from_official_layout", "is_of_student", "to_official_layout"]

_OWN, _STUDENT, _TEACHER_COPY = "backbone.blocks.", "backbone.distill_blocks.", "ori_"


def from_official_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under this package's keys; of a training checkpoint, the student."""
    tensors = without_parallel_prefix(tensors)
    if not is_of_student(tensors):
        return tensors
    # In both CompressTracker layouts a plain "blocks" belongs to the frozen teacher.
    own = {k: v for k, v in tensors.items() if not k.startswith((_TEACHER_COPY, _OWN))}
    return {_renamed(key, _STUDENT, _OWN): value for key, value in own.items()}


def is_of_student(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are in one of CompressTracker's layouts, which only its students have."""
    return any(key.startswith(_STUDENT) for key in without_parallel_prefix(tensors))


def to_official_layout(tensors: Mapping[str, Tensor], *, is_student: bool) -> dict[str, Tensor]:
    """Return the tensors under the keys of OSTrack, or for a student under those of CompressTracker's test form."""
    if not is_student:
        return dict(tensors)
    # CompressTracker makes its last norm before its blocks. Loading by name does not mind, comparing in order does.
    keys = sorted(tensors, key=lambda key: (not key.startswith("backbone."), key.startswith(_OWN)))
    return {_renamed(key, _OWN, _STUDENT): tensors[key] for key in keys}


def count_blocks(tensors: Mapping[str, Tensor]) -> int:
    """Return how many trunk blocks the tensors (under this package's keys) describe.

    Raises:
        CheckpointError: there are none, or an index is missing between them.
    """
    found = {int(m[1]) for key in tensors if (m := re.match(re.escape(_OWN) + r"(\d+)\.", key))}
    if not found or found != set(range(len(found))):
        raise CheckpointError(
            f"found trunk blocks {sorted(found)}; expected 'backbone.blocks.0' (OSTrack) or "
            "'backbone.distill_blocks.0' (CompressTracker) and on without a gap. Is this the file of another tracker?"
        )
    return len(found)


def _renamed(key: str, old: str, new: str) -> str:
    return new + key.removeprefix(old) if key.startswith(old) else key
