"""The members of the SeqTrack family that can be asked for by name, and how each tracks on which data set.

Source: microsoft/VideoX @ 1744b21, SeqTrack/experiments/seqtrack/*.yaml, SeqTrack/lib/config/seqtrack/config.py,
SeqTrack/lib/models/seqtrack/vit.py. ``tiny`` is this package's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ctsdk import TrackerSpec
from ctsdk_seqtrack.model import SeqTrackConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEMO_WEIGHTS", "VARIANTS", "Tracking", "Variant", "find_variant", "variant_name"]

# Weights that ship with this package, by variant.
DEMO_WEIGHTS: Mapping[str, str] = {"tiny": "tiny.safetensors"}

# A member of the family with another number of encoder blocks or decoder layers, such as seqtrack_b256_encoder4.
_NAME = re.compile(r"(?P<family>.+?)(?:_encoder(?P<encoder>[1-9]\d*))?(?:_decoder(?P<decoder>[1-9]\d*))?")


@dataclass(frozen=True)
class Tracking:
    """How a variant tracks, apart from its crops.

    Attributes:
        update_interval: frames between those that may give a new template.
        update_threshold: a frame gives one only if its score, ten times the sum of four probabilities, is above this.
        update_intervals: interval for a data set, by its name.
        update_thresholds: threshold for a data set, by its name.
    """

    update_interval: int = 9999
    update_threshold: float = 0.6
    update_intervals: Mapping[str, int] = field(default_factory=dict)
    update_thresholds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """One architecture, what it sees and how it tracks."""

    config: SeqTrackConfig
    spec: TrackerSpec
    tracking: Tracking = field(default_factory=Tracking)


def _tracking(vot_interval: int = 10, vot_threshold: float = 0.475) -> Tracking:
    return Tracking(
        update_intervals={"lasot": 450, "got10k": 1, "trackingnet": 25, "tnl2k": 25, "vot": vot_interval},
        update_thresholds={"vot": vot_threshold},
    )


def _variant(size: int, tracking: Tracking, *, is_large: bool = False) -> Variant:
    """Return a SeqTrack on ViT-B/16 or ViT-L/16 whose templates and search crop are of one size."""
    config = SeqTrackConfig(template_size=size, search_size=size)
    if is_large:
        config = replace(config, width=1024, depth=24, num_heads=16)
    spec = TrackerSpec(
        template_size=size,
        search_size=size,
        template_factor=4.0,
        search_factor=4.0,
        num_templates=2,
        search_centre_jitter=3.5,
        search_scale_jitter=0.5,
        max_gap=400,
    )
    return Variant(config, spec, tracking)


_TINY = Variant(
    SeqTrackConfig(
        template_size=48,
        search_size=96,
        patch_size=8,
        width=128,
        num_heads=4,
        decoder_width=96,
        decoder_num_heads=4,
        decoder_hidden_width=384,
        dropout=0.0,
        num_bins=400,
    ),
    TrackerSpec(template_size=48, search_size=96, num_templates=2, search_centre_jitter=2.0),
)

VARIANTS: Mapping[str, Variant] = {
    "tiny": _TINY,
    "seqtrack_b256": _variant(256, _tracking(1, 0.55)),
    "seqtrack_b256_got": _variant(256, _tracking()),
    "seqtrack_b384": _variant(384, _tracking(20, 0.45)),
    "seqtrack_b384_got": _variant(384, _tracking()),
    "seqtrack_l256": _variant(256, _tracking(), is_large=True),
    "seqtrack_l256_got": _variant(256, _tracking(), is_large=True),
    "seqtrack_l384": _variant(384, _tracking(), is_large=True),
    "seqtrack_l384_got": _variant(384, _tracking(), is_large=True),
}


def find_variant(name: str) -> tuple[str, Variant] | None:
    """Return the member of the family and the variant that a name stands for; None where it stands for none.

    ``seqtrack_b256_encoder4_decoder1`` is ``seqtrack_b256`` with four encoder blocks and one decoder layer; either part
    may be left out. An encoder has at most the blocks of its member.
    """
    match = _NAME.fullmatch(name)
    if match is None or match["family"] not in VARIANTS:
        return None
    member = VARIANTS[match["family"]]
    depth = int(match["encoder"] or member.config.depth)
    decoder_depth = int(match["decoder"] or member.config.decoder_depth)
    if depth > member.config.depth:
        return None
    config = replace(member.config, depth=depth, decoder_depth=decoder_depth)
    return match["family"], replace(member, config=config)


def variant_name(family: str, config: SeqTrackConfig) -> str:
    """Return the name of a member of the family with the depths of `config`."""
    full = VARIANTS[family].config
    encoder = "" if config.depth == full.depth else f"_encoder{config.depth}"
    decoder = "" if config.decoder_depth == full.decoder_depth else f"_decoder{config.decoder_depth}"
    return family + encoder + decoder
