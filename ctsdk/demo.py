"""The main job end to end on data made by code."""

from __future__ import annotations

from ctsdk.data.sequences import VideoSequence
from ctsdk.data.synthetic import HELD_OUT_PHOTOGRAPHS, SyntheticConfig, load_photographs, synthetic_sequences

HELD_OUT_SEED = 2


def held_out_sequences(num_sequences: int = 12) -> list[VideoSequence]:
    """Return the sequences to measure on: photographs and seeds that no training saw."""
    photographs = load_photographs()
    images = [photographs[name] for name in HELD_OUT_PHOTOGRAPHS]
    return synthetic_sequences(num_sequences, HELD_OUT_SEED, images, SyntheticConfig())
