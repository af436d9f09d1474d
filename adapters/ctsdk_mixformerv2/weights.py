"""MixFormerV2 weights in the layout of the official code.

There is one layout, and the network of this package uses its keys: ``backbone.blocks.N``, ``box_head``, and
``score_head`` where there is one. Depth, width of the MLPs and number of bins can be read from the shapes. The position
tables are stored although they are constants, and fit one input size only.

Source: MCG-NJU/MixFormerV2 @ 1041438, lib/models/mixformer2_vit, lib/models/mixformer2_vit/convert_ckpt.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ctsdk import CheckpointError
from ctsdk.family import count_blocks
from ctsdk_mixformerv2.model import position_table
from ctsdk_mixformerv2.variants import MixFormerV2Config

__all__ = ["config_of", "from_official_layout", "to_official_layout"]

_BLOCKS = "backbone.blocks."
_SEARCH_TABLE, _TEMPLATE_TABLE = "backbone.pos_embed_s", "backbone.pos_embed_t"


def from_official_layout(tensors: Mapping[str, Tensor], config: MixFormerV2Config) -> dict[str, Tensor]:
    """Return the tensors under the keys of this package, with position tables of the input size if it may differ."""
    own = dict(tensors)
    if config.resizes_tables:
        for key, num_cells in ((_SEARCH_TABLE, config.search_cells), (_TEMPLATE_TABLE, config.template_cells)):
            if key in own:
                own[key] = position_table(num_cells, config.width)
    return own


def to_official_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under official keys, which are those of this package."""
    return dict(tensors)


def config_of(tensors: Mapping[str, Tensor], like: MixFormerV2Config) -> MixFormerV2Config:
    """Return the architecture of tensors in the official layout: `like` with their depth, MLPs, bins and score head.

    Raises:
        CheckpointError: there are no blocks or no head, or a block is missing between others.
    """
    depth = count_blocks(tensors, _BLOCKS)
    hidden, bins = tensors.get(f"{_BLOCKS}0.mlp.fc1.weight"), tensors.get("box_head.layers.1.0.weight")
    if hidden is None or bins is None:
        raise CheckpointError(
            f"found {len(tensors)} tensors, but no '{_BLOCKS}0.mlp.fc1.weight' or no 'box_head.layers.1.0.weight'; "
            "expected a whole MixFormerV2. Is this the file of another tracker?"
        )
    return replace(
        like,
        depth=depth,
        mlp_ratio=hidden.shape[0] / hidden.shape[-1],
        num_bins=bins.shape[0],
        has_score=any(key.startswith("score_head.") for key in tensors),
    )
