"""The members of the OSTrack family that can be asked for by name.

Source: botaoye/OSTrack @ 33b5e12, experiments/ostrack/*.yaml; LingyiHongfd/CompressTracker @ efd98ec,
experiments/compresstracker/*.yaml. ``tiny`` is this package's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctsdk import TrackerSpec
from ctsdk_ostrack.model import OSTrackConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEMO_WEIGHTS", "VARIANTS", "Variant"]

# Blocks in which the released "ce" models drop candidates, and the share of search tokens that leaves each.
_ELIMINATION = {3: 0.7, 6: 0.7, 9: 0.7}

# Weights that ship with this package, by variant.
DEMO_WEIGHTS = {"tiny": "tiny.safetensors"}


@dataclass(frozen=True)
class Variant:
    """One architecture and what it sees."""

    config: OSTrackConfig
    spec: TrackerSpec


def _vit_b(search_size: int, *, depth: int = 12, is_eliminating: bool = False) -> Variant:
    """Return a ViT-B/16 OSTrack; the 384 px models see more context and are trained with wider jitter."""
    is_large = search_size == 384
    keep_ratios: Mapping[int, float] = _ELIMINATION if is_eliminating else {}
    spec = TrackerSpec(
        template_size=search_size // 2,
        search_size=search_size,
        search_factor=5.0 if is_large else 4.0,
        search_centre_jitter=4.5 if is_large else 3.0,
        search_scale_jitter=0.5 if is_large else 0.25,
    )
    config = OSTrackConfig(
        template_size=search_size // 2, search_size=search_size, depth=depth, keep_ratios=keep_ratios
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
