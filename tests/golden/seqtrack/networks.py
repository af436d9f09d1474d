"""SeqTrack-B256 with synthetic weights, made once for all test modules. Leave weights and networks as they are."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctsdk_seqtrack.adapter import SeqTrackAdapter
from ctsdk_seqtrack.model import SeqTrack
from tests.golden.synthetic_weights import draw_all

FOLDER = Path(__file__).parent
# In the adjusted network, what queries and keys of the decoder's attentions are multiplied by.
_SHARPER = {"self_attn": 4.0, "multihead_attn": 6.0}


@functools.cache
def layout() -> dict[str, Any]:
    """Names, shapes and kinds of all tensors, in the order of the official state dict."""
    content: dict[str, Any] = json.loads((FOLDER / "layout.json").read_text())
    return content


@functools.cache
def official_weights() -> dict[str, Tensor]:
    """The official state dict."""
    return draw_all(layout()["tensors"])


@functools.cache
def b256() -> SeqTrackAdapter:
    """The plain network, on the official weights themselves."""
    return _bound(official_weights())


@functools.cache
def adjusted_b256() -> SeqTrackAdapter:
    """A network that looks more closely and has an opinion on where targets are, so that it can follow one."""
    return _bound({name: _adjusted(name, value) for name, value in official_weights().items()})


def _bound(weights: Mapping[str, Tensor]) -> SeqTrackAdapter:
    # Without memory of its own, because a third of a gigabyte is there already.
    with torch.device("meta"):
        adapter = copy.copy(SeqTrackAdapter.load("seqtrack_b256", "random"))
    assert isinstance(adapter.teacher, SeqTrack)
    adapter.teacher.load_state_dict(weights, assign=True)
    return adapter


def _adjusted(name: str, value: Tensor) -> Tensor:
    """In double precision, and rounded once."""
    precise = value.double()
    layer = name.split(".")[4] if name.startswith("decoder.body.layers.") else ""
    if name == "decoder.embedding.position_embeddings.weight":
        precise *= 50.0
    elif layer in _SHARPER and name.endswith(".in_proj_weight"):
        precise[: 2 * value.shape[1]] *= _SHARPER[layer]
    elif name.endswith("multihead_attn.out_proj.weight"):
        precise *= 4.0
    elif name == "vocab_embed.layers.2.weight":
        precise *= 1.5
    elif name == "vocab_embed.layers.2.bias":
        words = torch.arange(len(value), dtype=torch.float64)
        for place, height in ((1000.0, 5.35), (2000.0, 5.0)):
            precise += height * torch.exp(-(((words - place) / 500.0) ** 2))
    else:
        return value
    return precise.float()
