"""Options that several commands share, and how results are printed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Parameter
from cyclopts.validators import Path as PathRule

import ctsdk
from ctsdk.boxes import BoxPx
from ctsdk.device import pick_device
from ctsdk.errors import ConfigError
from ctsdk.own_modules import import_plugin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token
    from torch import nn

    from ctsdk.engine.adapter import TrackerAdapter

__all__ = [
    "AdapterOptions",
    "BoxOption",
    "FileToWrite",
    "FolderToWrite",
    "JsonFlag",
    "PluginOptions",
    "TrackerOptions",
    "print_json",
]

JsonFlag: TypeAlias = Annotated[bool, Parameter(name="--json")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PluginOptions:
    """What to import first.

    Attributes:
        plugin: a file or module whose `@ctsdk.register_adapter` offers an adapter; may be given many times.
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
class AdapterOptions(PluginOptions):
    """Which tracker to load.

    Attributes:
        plugin: a file or module whose `@ctsdk.register_adapter` offers an adapter; may be given many times.
        adapter: name of an installed adapter; `ctsdk adapters` lists them.
        variant: member of the tracker's family.
        weights: file of trained weights; leave it out where the variant ships its own; `random` for untrained ones.
    """

    adapter: str | None = None
    variant: str | None = None
    weights: str | None = None

    def given(self) -> dict[str, str]:
        """Return the options that were set."""
        return {name: value for name in ("adapter", "variant", "weights") if (value := getattr(self, name)) is not None}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrackerOptions(AdapterOptions):
    """Which tracker to run.

    Attributes:
        plugin: a file or module whose `@ctsdk.register_adapter` offers an adapter; may be given many times.
        adapter: name of an installed adapter; `ctsdk adapters` lists them.
        variant: member of the tracker's family.
        weights: file of trained weights; leave it out where the variant ships its own; `random` for untrained ones.
        result: folder that `ctsdk compress` wrote: its student, instead of an adapter's own tracker.
        device: `cpu`, `cuda`, `cuda:1`; `auto` is the accelerator if there is one.
    """

    result: Path | None = None
    device: str = "auto"

    def load(self) -> tuple[TrackerAdapter, nn.Module]:
        """Return the adapter and the tracker, on its device.

        Raises:
            CtsdkError: there is no such tracker, or its weights cannot be read.
        """
        device = pick_device(self.device)
        self.import_plugins()
        if self.result is None:
            if self.adapter is None:
                raise ConfigError("no tracker is named; give --adapter (`ctsdk adapters` lists them) or --result DIR.")
            adapter = ctsdk.load_adapter(self.adapter, variant=self.variant, weights=self.weights)
            return adapter, adapter.teacher.to(device)
        if self.given():
            raise ConfigError(
                f"--result {self.result} says which tracker it is; leave out --{' and --'.join(self.given())}."
            )
        result = ctsdk.load_result(self.result)
        # The student brings its own weights; of its teacher only the structure is needed.
        adapter = ctsdk.load_adapter(result.adapter_name, variant=result.variant, weights="random")
        return adapter, result.student.to(device)


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
