"""SeqTrack for ctsdk: the official family, students of any depth, and a tiny variant.

Listing the adapters imports this module, so it imports the variants' names, and the network only in `load`.
"""

from __future__ import annotations

from pathlib import Path

import ctsdk
from ctsdk_seqtrack.variants import VARIANTS


@ctsdk.hookimpl
def ctsdk_adapter() -> ctsdk.AdapterPlugin:
    """Offer SeqTrack to ctsdk."""
    return ctsdk.AdapterPlugin(
        load=_load,
        variants=tuple(VARIANTS),
        requires=("cv2", "timm"),
        summary="A transformer encoder, and a decoder that writes the box as four words (CVPR 2023).",
    )


def _load(variant: str | None, weights: str | Path | None) -> ctsdk.TrackerAdapter:
    from ctsdk_seqtrack.adapter import SeqTrackAdapter

    return SeqTrackAdapter.load(variant, weights)
