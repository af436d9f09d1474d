"""SeqTrack for ctsdk: the official family, students of any depth, and a tiny variant.

Kept light: the network is imported only when somebody asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ctsdk

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = (
    "tiny",
    "seqtrack_b256",
    "seqtrack_b256_got",
    "seqtrack_b384",
    "seqtrack_b384_got",
    "seqtrack_l256",
    "seqtrack_l256_got",
    "seqtrack_l384",
    "seqtrack_l384_got",
)


@ctsdk.hookimpl
def ctsdk_adapter() -> ctsdk.AdapterPlugin:
    """Offer SeqTrack to ctsdk."""
    return ctsdk.AdapterPlugin(
        load=_load,
        variants=_NAMES,
        requires=("cv2",),
        summary="A transformer encoder, and a decoder that writes the box as four words (CVPR 2023).",
    )


def _load(variant: str | None, weights: str | Path | None) -> ctsdk.TrackerAdapter:
    from ctsdk_seqtrack.adapter import SeqTrackAdapter

    return SeqTrackAdapter.load(variant, weights)
