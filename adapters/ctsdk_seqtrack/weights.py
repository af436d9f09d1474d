"""SeqTrack weights in the layout of the official code.

There is one layout, and the network of this package uses its keys. But the official code always builds as many encoder
blocks as the ViT has, whatever a file holds. So a shorter encoder is written with blocks that change nothing put after
its own: their attention and their MLP end in zeros. Such blocks are taken out again where a file is read. Decoder
layers are as many as the official configuration says, so they need no such thing.

Source: microsoft/VideoX @ 1744b21, SeqTrack/lib/models/seqtrack.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ctsdk.family import block_number, count_blocks
from ctsdk_seqtrack.variants import SeqTrackConfig

__all__ = ["config_of", "from_official_layout", "to_official_layout"]

_BLOCKS, _LAYERS = "encoder.body.blocks.", "decoder.body.layers."
# The key that follows the blocks in a state dict.
_AFTER_BLOCKS = "encoder.body.norm.weight"
# The last parameters of a block's attention and MLP; where all are zero, the block changes nothing.
_ENDS = ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias")


def from_official_layout(tensors: Mapping[str, Tensor], config: SeqTrackConfig) -> dict[str, Tensor]:
    """Return the tensors under the keys of this package, without encoder blocks that change nothing."""
    del config
    numbers = _block_numbers(tensors)
    kept = [number for number in numbers if not _changes_nothing(tensors, number)]
    if kept == numbers or not kept:
        return dict(tensors)
    own = {}
    for key, value in tensors.items():
        number = block_number(key, _BLOCKS)
        if number is None:
            own[key] = value
        elif number in kept:
            own[_renumber(key, kept.index(number))] = value
    return own


def to_official_layout(tensors: Mapping[str, Tensor], *, depth: int) -> dict[str, Tensor]:
    """Return the tensors under official keys, with encoder blocks that change nothing after the last, up to `depth`."""
    own_depth = len(_block_numbers(tensors))
    official: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if key == _AFTER_BLOCKS:
            for number in range(own_depth, depth):
                official |= {
                    _renumber(name, number): torch.zeros_like(like)
                    for name, like in tensors.items()
                    if block_number(name, _BLOCKS) == 0
                }
        official[key] = value
    return official


def config_of(tensors: Mapping[str, Tensor], like: SeqTrackConfig) -> SeqTrackConfig:
    """Return the architecture of tensors in the official layout: `like` with their numbers of blocks and layers.

    Encoder blocks that change nothing do not count.

    Raises:
        CheckpointError: there are no encoder blocks or no decoder layers, or one is missing between others.
    """
    own = from_official_layout(tensors, like)
    return replace(like, depth=count_blocks(own, _BLOCKS), decoder_depth=count_blocks(own, _LAYERS))


def _changes_nothing(tensors: Mapping[str, Tensor], number: int) -> bool:
    ends = [tensors.get(f"{_BLOCKS}{number}.{name}") for name in _ENDS]
    return all(end is not None and not bool(end.any()) for end in ends)


def _block_numbers(tensors: Mapping[str, Tensor]) -> list[int]:
    return sorted({number for key in tensors if (number := block_number(key, _BLOCKS)) is not None})


def _renumber(key: str, number: int) -> str:
    return _BLOCKS + re.sub(r"^\d+", str(number), key.removeprefix(_BLOCKS))
