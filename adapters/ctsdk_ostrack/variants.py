"""The variants of OSTrack: the architecture of each, and what it sees.

Source: botaoye/OSTrack @ 33b5e12, experiments/ostrack/*.yaml; LingyiHongfd/CompressTracker @ efd98ec,
experiments/compresstracker/*.yaml. ``tiny`` is ctsdk's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ctsdk import TrackerSpec
from ctsdk.family import CropGrid

__all__ = ["DEMO_WEIGHTS", "VARIANTS", "OSTrackConfig", "Variant"]

DEMO_WEIGHTS: Mapping[str, Path] = {"tiny": Path(__file__).with_name("tiny.safetensors")}
"""The weights that ship with this package, by variant."""

# Blocks in which the released "ce" models drop candidates, and the share of search tokens that leaves each.
_ELIMINATION = {3: 0.7, 6: 0.7, 9: 0.7}


@dataclass(frozen=True)
class OSTrackConfig(CropGrid):
    """The architecture of one OSTrack: its :class:`ctsdk.family.CropGrid`, and the network.

    Attributes:
        width: channels of a token.
        depth: number of blocks.
        num_heads: attention heads.
        head_width: channels of the first layer of the centre head; each further layer has half of them.
        drop_path: probability that the last block is skipped in training; earlier ones linearly less.
        keep_ratios: candidate elimination: block index to the share of search tokens that leave that block.
    """

    template_size: int = 128
    search_size: int = 256
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    head_width: int = 256
    drop_path: float = 0.1
    keep_ratios: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """One architecture, and what it sees.

    Attributes:
        config: the architecture.
        spec: its crops.
    """

    config: OSTrackConfig
    spec: TrackerSpec


def _vit_b(search_size: int, *, depth: int = 12, is_eliminating: bool = False) -> Variant:
    """Return a ViT-B/16 OSTrack; the 384 px models see more context and are trained with wider jitter."""
    is_large = search_size == 384
    keep_ratios: Mapping[int, float] = _ELIMINATION if is_eliminating else {}
    config = OSTrackConfig(
        template_size=search_size // 2, search_size=search_size, depth=depth, keep_ratios=keep_ratios
    )
    spec = TrackerSpec(
        template_size=search_size // 2,
        search_size=search_size,
        search_factor=5.0 if is_large else 4.0,
        search_centre_jitter=4.5 if is_large else 3.0,
        search_scale_jitter=0.5 if is_large else 0.25,
    )
    return Variant(config, spec)


_TINY = Variant(
    OSTrackConfig(template_size=48, search_size=96, patch_size=8, width=128, num_heads=4, head_width=32, drop_path=0.0),
    TrackerSpec(template_size=48, search_size=96, search_centre_jitter=2.0),
)

VARIANTS: Mapping[str, Variant] = {
    "tiny": _TINY,
    "vitb_256_mae_32x4_ep300": _vit_b(256),
    "vitb_256_mae_ce_32x4_ep300": _vit_b(256, is_eliminating=True),
    "vitb_256_mae_ce_32x4_got10k_ep100": _vit_b(256, is_eliminating=True),
    "vitb_384_mae_32x4_ep300": _vit_b(384),
    "vitb_384_mae_ce_32x4_ep300": _vit_b(384, is_eliminating=True),
    "vitb_384_mae_ce_32x4_got10k_ep100": _vit_b(384, is_eliminating=True),
    **{f"compresstracker_vitb_256_{depth}": _vit_b(256, depth=depth) for depth in range(1, 12)},
}
"""The variants that can be asked for by name."""
