"""MixFormerV2 weights in the layout of the official code.

There is one layout, and the tracker of this package uses its keys: ``backbone.blocks.N``, ``box_head``, and
``score_head`` where there is one. Depth, width of the MLPs and number of bins can be read from the shapes. The position
tables are stored although they are constants, and fit one input size only.

Source: MCG-NJU/MixFormerV2 @ 1041438, lib/models/mixformer2_vit, lib/models/mixformer2_vit/convert_ckpt.py.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ctsdk import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ctsdk_mixformerv2.model import MixFormerV2Config

__all__ = ["TABLES", "config_of"]

TABLES = ("backbone.pos_embed_s", "backbone.pos_embed_t")
"""Keys of the fixed positions of search and template cells."""

_BLOCKS = "backbone.blocks."


def config_of(tensors: Mapping[str, Tensor], like: MixFormerV2Config) -> MixFormerV2Config:
    """Return the architecture that the tensors are of: `like` with their depth, MLPs, bins and score head.

    Raises:
        CheckpointError: there are no blocks or no head, or a block is missing between others.
    """
    found = {int(match[1]) for key in tensors if (match := re.match(re.escape(_BLOCKS) + r"(\d+)\.", key))}
    if not found or found != set(range(len(found))):
        raise CheckpointError(
            f"found trunk blocks {sorted(found)}; expected 'backbone.blocks.0' and on without a gap. "
            "Is this the file of another tracker?"
        )
    hidden, bins = tensors.get(f"{_BLOCKS}0.mlp.fc1.weight"), tensors.get("box_head.layers.1.0.weight")
    if hidden is None or bins is None:
        raise CheckpointError(
            f"found {len(tensors)} tensors, but no '{_BLOCKS}0.mlp.fc1.weight' or no 'box_head.layers.1.0.weight'; "
            "expected a whole MixFormerV2. Is this the file of another tracker?"
        )
    return replace(
        like,
        depth=len(found),
        mlp_ratio=hidden.shape[0] / hidden.shape[-1],
        num_bins=bins.shape[0],
        has_score=any(key.startswith("score_head.") for key in tensors),
    )
