"""What the test modules of one adapter share: golden weights, made once per session."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import Tensor

from ctsdk_mixformerv2.adapter import MixFormerV2Adapter
from tests.golden.synthetic_weights import draw
from tests.helpers.official_files import official_file

MIXFORMERV2_LAYOUT = Path(__file__).parents[1] / "golden" / "mixformerv2" / "layout.json"


@pytest.fixture(scope="session")
def mixformerv2_weights() -> dict[str, Tensor]:
    """The official MixFormerV2-B state dict with synthetic values; not to be changed."""
    from ctsdk_mixformerv2.model import position_table

    layout = json.loads(MIXFORMERV2_LAYOUT.read_text())["tensors"]
    return {
        # The positions are no weights: the official code computes them.
        name: position_table(round(shape[1] ** 0.5), shape[2]) if kind == "buffer" else draw(name, shape, kind)
        for name, shape, kind in layout
    }


@pytest.fixture(scope="session")
def mixformerv2_file(
    mixformerv2_weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A checkpoint as the official trainer writes it: the weights beside objects of classes that are not here."""
    path = tmp_path_factory.mktemp("mixformerv2") / "mixformerv2_base.pth.tar"
    yield from official_file(path, "MixFormer", mixformerv2_weights)


@pytest.fixture(scope="session")
def mixformerv2_base(mixformerv2_file: Path) -> MixFormerV2Adapter:
    """MixFormerV2-B. Leave its weights as they are."""
    from ctsdk_mixformerv2.adapter import MixFormerV2Adapter

    return MixFormerV2Adapter.load("mixformer2_vit_online_288_depth8_score", mixformerv2_file)


@pytest.fixture(scope="session")
def mixformerv2_shaped(
    mixformerv2_base: MixFormerV2Adapter, mixformerv2_weights: dict[str, Tensor]
) -> MixFormerV2Adapter:
    """MixFormerV2-B with prediction tokens that are apart, so that its boxes have an extent. Leave its weights."""
    factors = json.loads(MIXFORMERV2_LAYOUT.read_text())["shaped"]
    shaped = {name: value * factors[name] if name in factors else value for name, value in mixformerv2_weights.items()}
    adapter = copy.copy(mixformerv2_base)
    adapter.teacher = mixformerv2_base.from_official(shaped)
    return adapter


@pytest.fixture(scope="session")
def mixformerv2_at_224(mixformerv2_file: Path) -> MixFormerV2Adapter:
    """MixFormerV2-B at the input size of the small one. Leave its weights as they are."""
    from ctsdk_mixformerv2.adapter import MixFormerV2Adapter

    return MixFormerV2Adapter.load("mixformer2_vit_online_224_depth8_score_to_mlp1", mixformerv2_file)
