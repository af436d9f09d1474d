"""The variants of MixFormerV2: the architecture of each, what it sees, and how it tracks on which data set.

Source: MCG-NJU/MixFormerV2 @ 1041438, experiments/mixformer2_vit*/*.yaml, and the search factors that its test script
tracking/test_mixformer.sh passes, with which the published results were made. ``tiny`` is ctsdk's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ctsdk import TrackerSpec
from ctsdk.family import CropGrid

__all__ = ["DEMO_WEIGHTS", "VARIANTS", "MixFormerV2Config", "Tracking", "Variant"]

DEMO_WEIGHTS: Mapping[str, Path] = {"tiny": Path(__file__).with_name("tiny.safetensors")}
"""The weights that ship with this package, by variant."""


@dataclass(frozen=True)
class MixFormerV2Config(CropGrid):
    """The architecture of one MixFormerV2: its :class:`ctsdk.family.CropGrid`, and the network.

    Attributes:
        width: channels of a token.
        depth: number of blocks.
        num_heads: attention heads.
        mlp_ratio: hidden channels of a block's MLP in units of `width`; rounded to whole channels.
        num_bins: places along the crop where a side may be.
        has_score: whether there is a head for the confidence.
        drop_path: probability that the last block is skipped in training; earlier ones linearly less.
        resizes_tables: whether weights of another input size may be loaded: positions are a formula, not learned.
    """

    template_size: int = 128
    search_size: int = 288
    width: int = 768
    depth: int = 8
    num_heads: int = 12
    mlp_ratio: float = 4.0
    num_bins: int = 96
    has_score: bool = True
    drop_path: float = 0.1
    resizes_tables: bool = False


@dataclass(frozen=True)
class Tracking:
    """How a variant tracks, apart from its crops.

    Attributes:
        update_interval: frames between updates of the online template.
        search_factor: of the search crop; None for that of the spec, which is the one of training.
        update_intervals: interval for a data set, by its name.
        search_factors: search factor for a data set, by its name.
    """

    update_interval: int = 200
    search_factor: float | None = None
    update_intervals: Mapping[str, int] = field(default_factory=dict)
    search_factors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """One architecture, what it sees, and how it tracks.

    Attributes:
        config: the architecture.
        spec: its crops.
        tracking: its online template.
        student_mlp_ratio: hidden channels of a student's MLPs in units of the width; None for the teacher's.
    """

    config: MixFormerV2Config
    spec: TrackerSpec
    tracking: Tracking = field(default_factory=Tracking)
    student_mlp_ratio: float | None = None


_BASE_TRACKING = Tracking(update_intervals={"got10k": 10, "lasot": 200, "trackingnet": 25, "vot": 10})
# The intermediate models are tested by their configuration files alone; the script passes no factor for them.
_INTERMEDIATE_TRACKING = Tracking(
    search_factor=4.5, update_intervals={"got10k": 200, "lasot": 200, "trackingnet": 25, "vot": 10}
)
_SMALL_TRACKING = Tracking(
    update_intervals={"got10k": 15, "lasot": 200, "trackingnet": 25, "vot": 10},
    search_factors={"got10k": 4.55, "lasot": 4.4, "trackingnet": 4.55},
)


def _spec(search_size: int, template_size: int, search_factor: float) -> TrackerSpec:
    return TrackerSpec(
        template_size=template_size,
        search_size=search_size,
        search_factor=search_factor,
        num_templates=2,
        search_centre_jitter=4.5,
        search_scale_jitter=0.5,
    )


def _base(depth: int, *, is_intermediate: bool = False) -> Variant:
    """Return a ViT-B/16 MixFormerV2 at 288 px; an intermediate model has no score head and 72 bins."""
    config, tracking = MixFormerV2Config(depth=depth), _BASE_TRACKING
    if is_intermediate:
        config, tracking = replace(config, num_bins=72, has_score=False), _INTERMEDIATE_TRACKING
    return Variant(config, _spec(288, 128, 5.0), tracking)


def _small(depth: int, *, mlp_ratio: float = 1.0, student_mlp_ratio: float | None = None) -> Variant:
    """Return a ViT-B/16 MixFormerV2 at 224 px; where its students have other MLPs, it reads files of 288 px."""
    config = MixFormerV2Config(
        template_size=112,
        search_size=224,
        depth=depth,
        mlp_ratio=mlp_ratio,
        resizes_tables=student_mlp_ratio is not None,
    )
    return Variant(config, _spec(224, 112, 4.5), _SMALL_TRACKING, student_mlp_ratio)


_TINY = Variant(
    MixFormerV2Config(
        template_size=48, search_size=96, patch_size=8, width=128, num_heads=4, depth=12, num_bins=48, drop_path=0.0
    ),
    TrackerSpec(template_size=48, search_size=96, num_templates=2, search_centre_jitter=2.0),
    Tracking(update_interval=10),
)

VARIANTS: Mapping[str, Variant] = {
    "tiny": _TINY,
    "mixformer2_vit_online_288_depth8_score": _base(8),
    "mixformer2_vit_online_224_depth4_mlp1_score": _small(4),
    "mixformer2_vit_student_288_depth12": _base(12, is_intermediate=True),
    "mixformer2_vit_stu_student_288_depth8": _base(8, is_intermediate=True),
    # The 8-block model at the input size of the small one, for students with its narrow MLPs: CompressTracker-M-S.
    "mixformer2_vit_online_224_depth8_score_to_mlp1": _small(8, mlp_ratio=4.0, student_mlp_ratio=1.0),
    **{f"mixformer2_vit_online_288_depth{depth}_score": _base(depth) for depth in range(1, 13)},
    **{f"mixformer2_vit_online_224_depth{depth}_mlp1_score": _small(depth) for depth in range(1, 13)},
}
"""The variants that can be asked for by name."""
