"""MixFormerV2 for ctsdk: the official family, students of any depth, and a tiny variant.

Listing the adapters imports this module, so it imports the variants' names, and the network only in `load`.
"""

from __future__ import annotations

from pathlib import Path

import ctsdk
from ctsdk_mixformerv2.variants import VARIANTS


@ctsdk.hookimpl
def ctsdk_adapter() -> ctsdk.AdapterPlugin:
    """Offer MixFormerV2 to ctsdk."""
    return ctsdk.AdapterPlugin(
        load=_load,
        variants=tuple(VARIANTS),
        requires=("cv2", "timm"),
        summary="Two templates, a search crop and four prediction tokens in one transformer (NeurIPS 2023).",
    )


def _load(variant: str | None, weights: str | Path | None) -> ctsdk.TrackerAdapter:
    from ctsdk_mixformerv2.adapter import MixFormerV2Adapter

    return MixFormerV2Adapter.load(variant, weights)
