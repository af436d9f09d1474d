"""A protocol by its name."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from ctsdk.errors import ConfigError, did_you_mean
from ctsdk.evaluation.protocols.got10k import Got10kOnePassProtocol, Got10kProtocol
from ctsdk.evaluation.protocols.lasot_toolkit import LasotToolkitProtocol
from ctsdk.evaluation.protocols.ope import OnePassProtocol
from ctsdk.evaluation.protocols.pysot import PysotProtocol
from ctsdk.evaluation.protocols.trackingnet import TrackingNetProtocol
from ctsdk.evaluation.scores import EvaluationProtocol

__all__ = ["PROTOCOLS", "ProtocolName", "make_protocol"]

ProtocolName: TypeAlias = Literal["ostrack", "pytracking", "got10k", "trackingnet", "lasot", "pysot"]

PROTOCOLS: Final = get_args(ProtocolName)
"""The names that :func:`make_protocol` takes."""


def make_protocol(
    name: str, dataset_name: str, *, exclude_invalid_frames: bool = False, integer_boxes: bool = False
) -> EvaluationProtocol:
    """Return the rules of a public tool for a data set.

    Args:
        name: one of :data:`PROTOCOLS`.
        dataset_name: in lower case, such as ``lasot``; several tools have special rules for some data sets.
        exclude_invalid_frames: take shares of valid frames only; for ``ostrack`` and ``pytracking``.
        integer_boxes: cut coordinates towards zero first, as official result files have them; for the same two.

    Raises:
        ConfigError: there is no such protocol, or it has no such option.
    """
    if name in ("ostrack", "pytracking"):
        return OnePassProtocol(
            name, dataset_name, exclude_invalid_frames=exclude_invalid_frames, integer_boxes=integer_boxes
        )
    if name not in PROTOCOLS:
        raise ConfigError(
            f"there is no protocol {name!r}. {did_you_mean(name, PROTOCOLS)}Known protocols: {', '.join(PROTOCOLS)}."
        )
    options = {"exclude_invalid_frames": exclude_invalid_frames, "integer_boxes": integer_boxes}
    for option, on in options.items():
        if on:
            raise ConfigError(
                f"the protocol {name!r} has no option {option}; only 'ostrack' and 'pytracking' have it. Leave it out."
            )
    if name == "got10k":
        return Got10kProtocol() if dataset_name == "got10k" else Got10kOnePassProtocol(dataset_name)
    if name == "pysot":
        return PysotProtocol(dataset_name)
    return TrackingNetProtocol() if name == "trackingnet" else LasotToolkitProtocol()
