"""OSTrack for ctsdk: the official family, its CompressTracker students, and a tiny trained variant.

Listing the adapters imports this module, so it imports the variants' names, and the network only in `load`.
"""

from __future__ import annotations

from pathlib import Path

import ctsdk
from ctsdk_ostrack.variants import VARIANTS


@ctsdk.hookimpl
def ctsdk_adapter() -> ctsdk.AdapterPlugin:
    """Offer OSTrack to ctsdk."""
    return ctsdk.AdapterPlugin(
        load=_load,
        variants=tuple(VARIANTS),
        requires=("cv2", "timm"),
        summary="One transformer over template and search tokens (ECCV 2022), and its CompressTracker students.",
    )


def _load(variant: str | None, weights: str | Path | None) -> ctsdk.TrackerAdapter:
    from ctsdk_ostrack.adapter import OSTrackAdapter

    return OSTrackAdapter.load(variant, weights)
