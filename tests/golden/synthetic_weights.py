"""Weights and images that every machine can make for itself, so that golden numbers need no checkpoint beside them.

A tensor depends on its name alone: the CRC-32 of the name seeds NumPy's default generator. Whoever knows the names and
shapes of a network has the whole network, bit for bit; the golden outputs in this folder were recorded with these.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def draw(name: str, shape: Sequence[int], kind: str) -> Tensor:
    """The weight called `name`: float32, or int64 zeros for a "counter"."""
    if kind == "counter":
        return torch.zeros(tuple(shape), dtype=torch.int64)
    normal = _normal(name, shape)
    match kind:
        case "weight":  # variance 1 / fan-in; a vector counts as one row
            values = normal / np.sqrt(max(math.prod(shape[1:]) if len(shape) > 1 else shape[0], 1))
        case "norm_weight":
            values = 1.0 + 0.02 * normal
        case "bias" | "embedding":
            values = 0.02 * normal
        case "running_mean":
            values = 0.1 * normal
        case "running_var":
            values = 0.5 + np.abs(normal)
        case _:
            raise ValueError(f"{name!r} is of kind {kind!r}, for which there is no rule")
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def draw_all(layout: Iterable[tuple[str, Sequence[int], str]]) -> dict[str, Tensor]:
    """A whole state dict, from the name, shape and kind of each tensor."""
    return {name: draw(name, shape, kind) for name, shape, kind in layout}


def image(name: str, shape: Sequence[int]) -> Tensor:
    """A float32 input called `name`, with the mean and variance of normalised images."""
    return torch.from_numpy(np.asarray(_normal(name, shape), dtype=np.float32))


def _normal(name: str, shape: Sequence[int]) -> NDArray[np.float64]:
    return np.asarray(np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(shape)))
