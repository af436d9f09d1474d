"""OSTrack weights in the layouts of the official code.

Three layouts exist; the network of this package uses the first for any depth:

- OSTrack: ``backbone.blocks.N``, ``box_head``.
- CompressTracker, test form: the blocks are called ``backbone.distill_blocks.N``.
- CompressTracker, training form: the test form, the teacher's blocks inside the mixed trunk as ``backbone.blocks.N``,
  and a whole second teacher as ``ori_backbone``, ``ori_box_head``.

Source: botaoye/OSTrack @ 33b5e12; LingyiHongfd/CompressTracker @ efd98ec, lib/models/compresstracker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ctsdk.family import count_blocks
from ctsdk_ostrack.variants import OSTrackConfig

__all__ = ["config_of", "from_official_layout", "to_official_layout"]

_BLOCKS, _STUDENT_BLOCKS, _TEACHER_COPY = "backbone.blocks.", "backbone.distill_blocks.", "ori_"
# The official OSTrack code builds as many blocks, whatever a file holds.
_OFFICIAL_DEPTH = 12


def from_official_layout(tensors: Mapping[str, Tensor], config: OSTrackConfig) -> dict[str, Tensor]:
    """Return the tensors under the keys of this package; of a training file, those of the student."""
    del config
    if not _is_of_student(tensors):
        return dict(tensors)
    # In both CompressTracker layouts a plain "blocks" belongs to the frozen teacher.
    student = {key: value for key, value in tensors.items() if not key.startswith((_TEACHER_COPY, _BLOCKS))}
    return {_rename(key, _STUDENT_BLOCKS, _BLOCKS): value for key, value in student.items()}


def to_official_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under official keys: of full depth as OSTrack, else as a CompressTracker in its test form."""
    if count_blocks(tensors, _BLOCKS) == _OFFICIAL_DEPTH:
        return dict(tensors)
    # CompressTracker makes its last norm before its blocks. Loading by name does not mind, comparing in order does.
    keys = sorted(tensors, key=lambda key: (not key.startswith("backbone."), key.startswith(_BLOCKS)))
    return {_rename(key, _BLOCKS, _STUDENT_BLOCKS): tensors[key] for key in keys}


def config_of(tensors: Mapping[str, Tensor], like: OSTrackConfig) -> OSTrackConfig:
    """Return the architecture of tensors in an official layout: `like` with their number of blocks.

    Only the full tracker eliminates candidates; students of the official code are plain, of any depth.

    Raises:
        CheckpointError: there are no blocks, or one is missing between others.
    """
    is_of_student = _is_of_student(tensors)
    expected = "'backbone.blocks.0' (OSTrack) or 'backbone.distill_blocks.0' (CompressTracker)"
    depth = count_blocks(tensors, _STUDENT_BLOCKS if is_of_student else _BLOCKS, expected)
    if depth == like.depth and not is_of_student:
        return like
    return replace(like, depth=depth, keep_ratios={})


def _is_of_student(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are in one of CompressTracker's layouts, which only its students have."""
    return any(key.startswith(_STUDENT_BLOCKS) for key in tensors)


def _rename(key: str, old: str, new: str) -> str:
    return new + key.removeprefix(old) if key.startswith(old) else key
