"""Options that several commands share, and JSON output."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter, Token
from cyclopts.validators import Path as PathRule

from ctsdk.boxes import BoxPx
from ctsdk.data.datasets import VideoDataset
from ctsdk.evaluation.protocols.names import ProtocolName, make_protocol
from ctsdk.evaluation.scores import EvaluationProtocol
from ctsdk.own_modules import import_plugin

__all__ = ["BoxOption", "FileToWrite", "FolderToWrite", "JsonFlag", "PluginOptions", "ProtocolOptions", "print_json"]

JsonFlag: TypeAlias = Annotated[bool, Parameter(name="--json")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PluginOptions:
    """What to import first.

    Attributes:
        plugin: a file or module to import first, whose `@ctsdk.register_adapter` adds an adapter; may be given many
            times.
    """

    plugin: Annotated[tuple[str, ...], Parameter(metavar="MODULE")] = ()

    def import_plugins(self) -> None:
        """Import the modules.

        Raises:
            CtsdkError: one cannot be imported, or registers nothing.
        """
        for place in self.plugin:
            import_plugin(place)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """How to score.

    Attributes:
        protocol: whose scoring rules to use; by default the usual ones of the data set.
        integer_boxes: cut boxes to whole pixels first, as in official result files of the OSTrack family.
        exclude_invalid_frames: count only frames with a visible target.
    """

    protocol: ProtocolName | None = None
    integer_boxes: bool = False
    exclude_invalid_frames: bool = False

    def protocol_for(self, dataset: VideoDataset) -> EvaluationProtocol:
        """Return the protocol for a data set."""
        return make_protocol(
            self.protocol or dataset.protocol,
            dataset.name,
            exclude_invalid_frames=self.exclude_invalid_frames,
            integer_boxes=self.integer_boxes,
        )


def _read_box(_: object, tokens: Sequence[Token]) -> BoxPx:
    text = tokens[0].value
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no box; expected left,top,width,height in pixels, such as 150,60,48.5,40"
        ) from error
    return x, y, width, height


BoxOption: TypeAlias = Annotated[
    BoxPx, Parameter(converter=_read_box, n_tokens=1, metavar="X,Y,W,H", allow_leading_hyphen=True)
]
FolderToWrite: TypeAlias = Annotated[Path, Parameter(validator=PathRule(file_okay=False))]
FileToWrite: TypeAlias = Annotated[Path, Parameter(validator=PathRule(dir_okay=False))]


def print_json(data: object) -> None:
    """Print data as JSON on stdout."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
