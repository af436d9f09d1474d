"""SeqTrack weights in the layout of the official code.

There is one layout, and the tracker of this package uses its keys. But the official code always builds as many encoder
blocks as the ViT has, whatever a file holds. So a shorter encoder is written with blocks that change nothing put after
its own: their attention and their MLP end in zeros. Such blocks are taken out again where a file is read. Decoder
layers are as many as the official configuration says, so they need no such thing.

Source: microsoft/VideoX @ 1744b21, SeqTrack/lib/models/seqtrack.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ctsdk import CheckpointError
from ctsdk.weights import without_parallel_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ctsdk_seqtrack.model import SeqTrackConfig

__all__ = ["config_of", "from_official_layout", "to_official_layout"]

_BLOCKS, _LAYERS = "encoder.body.blocks.", "decoder.body.layers."
# What follows the blocks in a state dict.
_AFTER_BLOCKS = "encoder.body.norm.weight"
# What a block adds to its tokens ends in these.
_ENDS = ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias")


def from_official_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without wrapper and without encoder blocks that change nothing."""
    tensors = without_parallel_prefix(tensors)
    numbers = sorted(_numbers(tensors, _BLOCKS))
    kept = [number for number in numbers if not _changes_nothing(tensors, number)]
    if kept == numbers or not kept:
        return tensors
    own = {}
    for key, value in tensors.items():
        number = _number(key, _BLOCKS)
        if number is None:
            own[key] = value
        elif number in kept:
            own[_renumbered(key, kept.index(number))] = value
    return own


def to_official_layout(tensors: Mapping[str, Tensor], *, depth: int) -> dict[str, Tensor]:
    """Return the tensors with encoder blocks that change nothing after the last one, up to `depth`."""
    own_depth = len(_numbers(tensors, _BLOCKS))
    official: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if key == _AFTER_BLOCKS:
            for number in range(own_depth, depth):
                official |= {
                    _renumbered(name, number): torch.zeros_like(like)
                    for name, like in tensors.items()
                    if _number(name, _BLOCKS) == 0
                }
        official[key] = value
    return official


def config_of(tensors: Mapping[str, Tensor], like: SeqTrackConfig) -> SeqTrackConfig:
    """Return the architecture that the tensors are of: `like` with their numbers of blocks and layers.

    Raises:
        CheckpointError: there are no encoder blocks or no decoder layers, or one is missing between others.
    """
    depths = []
    for prefix in (_BLOCKS, _LAYERS):
        found = _numbers(tensors, prefix)
        if not found or found != set(range(len(found))):
            raise CheckpointError(
                f"found {sorted(found)} under {prefix!r}; expected 0 and on without a gap. "
                "Is this the file of another tracker?"
            )
        depths.append(len(found))
    return replace(like, depth=depths[0], decoder_depth=depths[1])


def _changes_nothing(tensors: Mapping[str, Tensor], number: int) -> bool:
    ends = [tensors.get(f"{_BLOCKS}{number}.{name}") for name in _ENDS]
    return all(end is not None and not bool(end.any()) for end in ends)


def _numbers(tensors: Mapping[str, Tensor], prefix: str) -> set[int]:
    return {number for key in tensors if (number := _number(key, prefix)) is not None}


def _number(key: str, prefix: str) -> int | None:
    match = re.match(re.escape(prefix) + r"(\d+)\.", key)
    return None if match is None else int(match[1])


def _renumbered(key: str, number: int) -> str:
    return _BLOCKS + re.sub(r"^\d+", str(number), key.removeprefix(_BLOCKS))
