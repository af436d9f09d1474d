"""The variants of SeqTrack: the architecture of each, what it sees, and how it tracks on which data set.

Source: microsoft/VideoX @ 1744b21, SeqTrack/experiments/seqtrack/*.yaml, SeqTrack/lib/config/seqtrack/config.py,
SeqTrack/lib/models/seqtrack/vit.py. ``tiny`` is ctsdk's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ctsdk import TrackerSpec
from ctsdk.family import CropGrid

__all__ = ["DEMO_WEIGHTS", "VARIANTS", "SeqTrackConfig", "Tracking", "Variant", "find_variant", "variant_name"]

DEMO_WEIGHTS: Mapping[str, Path] = {"tiny": Path(__file__).with_name("tiny.safetensors")}
"""The weights that ship with this package, by variant."""

# A member of the family with another number of encoder blocks or decoder layers, such as seqtrack_b256_encoder4.
_NAME = re.compile(r"(?P<family>.+?)(?:_encoder(?P<encoder>[1-9]\d*))?(?:_decoder(?P<decoder>[1-9]\d*))?")


@dataclass(frozen=True)
class SeqTrackConfig(CropGrid):
    """The architecture of one SeqTrack: its :class:`ctsdk.family.CropGrid`, and the network.

    Attributes:
        width: channels of a token in the encoder.
        depth: blocks of the encoder.
        num_heads: attention heads of the encoder.
        decoder_width: channels of a word in the decoder.
        decoder_depth: layers of the decoder.
        decoder_num_heads: attention heads of the decoder.
        decoder_hidden_width: hidden channels of the MLP in a decoder layer.
        dropout: probability in the decoder; the encoder has none.
        num_bins: words that are coordinates.
    """

    template_size: int = 256
    search_size: int = 256
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    decoder_width: int = 256
    decoder_depth: int = 2
    decoder_num_heads: int = 8
    decoder_hidden_width: int = 1024
    dropout: float = 0.1
    num_bins: int = 4000

    @property
    def end_word(self) -> int:
        """The word that ends a sequence; only training asks for it."""
        return self.num_bins

    @property
    def start_word(self) -> int:
        """The word that begins a sequence; never an answer."""
        return self.num_bins + 1

    @property
    def num_words(self) -> int:
        """Coordinates, END and START."""
        return self.num_bins + 2


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
    """One architecture, what it sees, and how it tracks.

    Attributes:
        config: the architecture.
        spec: its crops.
        tracking: its templates.
    """

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
"""The variants that can be asked for by name; :func:`find_variant` knows others of other depths."""


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
