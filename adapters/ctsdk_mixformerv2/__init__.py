"""MixFormerV2 for ctsdk: the official family, students of any depth, and a tiny variant.

Kept light: the network is imported only when somebody asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ctsdk

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = (
    "tiny",
    "mixformer2_vit_online_288_depth8_score",
    "mixformer2_vit_online_224_depth4_mlp1_score",
    "mixformer2_vit_student_288_depth12",
    "mixformer2_vit_stu_student_288_depth8",
    "mixformer2_vit_online_224_depth8_score_to_mlp1",
    *(f"mixformer2_vit_online_288_depth{depth}_score" for depth in range(1, 13) if depth != 8),
    *(f"mixformer2_vit_online_224_depth{depth}_mlp1_score" for depth in range(1, 13) if depth != 4),
)


@ctsdk.hookimpl
def ctsdk_adapter() -> ctsdk.AdapterPlugin:
    """Offer MixFormerV2 to ctsdk."""
    return ctsdk.AdapterPlugin(
        load=_load,
        variants=_NAMES,
        requires=("cv2",),
        summary="Two templates, a search crop and four prediction tokens in one transformer (NeurIPS 2023).",
    )


def _load(variant: str | None, weights: str | Path | None) -> ctsdk.TrackerAdapter:
    from ctsdk_mixformerv2.adapter import MixFormerV2Adapter

    return MixFormerV2Adapter.load(variant, weights)
