"""OSTrack for ctsdk: the official family, its CompressTracker students, and a tiny trained variant.

Kept light: the network is imported only when somebody asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ctsdk

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = (
    "tiny",
    "vitb_256_mae_32x4_ep300",
    "vitb_256_mae_ce_32x4_ep300",
    "vitb_256_mae_ce_32x4_got10k_ep100",
    "vitb_384_mae_32x4_ep300",
    "vitb_384_mae_ce_32x4_ep300",
    "vitb_384_mae_ce_32x4_got10k_ep100",
    *(f"compresstracker_vitb_256_{depth}" for depth in range(1, 12)),
)


@ctsdk.hookimpl
def ctsdk_adapter() -> ctsdk.AdapterPlugin:
    """Offer OSTrack to ctsdk."""
    return ctsdk.AdapterPlugin(
        load=_load,
        variants=_NAMES,
        requires=("cv2",),
        summary="One transformer over template and search tokens (ECCV 2022), and its CompressTracker students.",
    )


def _load(variant: str | None, weights: str | Path | None) -> ctsdk.TrackerAdapter:
    from ctsdk_ostrack.adapter import OSTrackAdapter

    return OSTrackAdapter.load(variant, weights)
