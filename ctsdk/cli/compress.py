"""The command ``compress``: train a student of a tracker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from torch import nn

import ctsdk
from ctsdk.cli.options import FolderToWrite, PluginOptions
from ctsdk.cli.trackers import split_name
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.errors import ConfigError
from ctsdk.profiling import measure_trackers
from ctsdk.ranks import is_first_rank
from ctsdk.reporting import comparison_table
from ctsdk.storage.atomic import atomic_write

__all__ = ["AdapterOptions", "compress"]

OFFICIAL_FILE = "student_official.pth.tar"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AdapterOptions(PluginOptions):
    """Which tracker to compress; each option replaces what the configuration file says.

    Attributes:
        plugin: a file or module to import first, whose `@ctsdk.register_adapter` adds an adapter; may be given many
            times.
        adapter: `NAME` or `NAME/VARIANT` of an installed adapter; `ctsdk adapters` lists them.
        variant: which member of the adapter's family.
        weights: file of trained weights; leave it out if the variant ships its own; `random` for untrained ones.
    """

    adapter: str | None = None
    variant: str | None = None
    weights: str | None = None

    def overrides(self) -> dict[str, object]:
        """Return what the options change in a configuration."""
        name, variant = (None, self.variant) if self.adapter is None else split_name(self.adapter, self.variant)
        values = {"adapter.name": name, "adapter.variant": variant, "adapter.weights": self.weights}
        return {key: value for key, value in values.items() if value is not None}


def compress(
    config: Path | None = None,
    *,
    out: FolderToWrite,
    options: AdapterOptions | None = None,
    data: Annotated[tuple[str, ...], Parameter(name="--data", metavar="SOURCE")] = (),
    overrides: Annotated[tuple[str, ...], Parameter(name="--set", metavar="KEY=VALUE")] = (),
    resume: bool = False,
) -> None:
    """Compress a tracker and write the student into a folder.

    The folder gets:

    - `student.safetensors` and `result.json`: the student, for other commands and `ctsdk.load_result`.
    - `student_official.pth.tar`: the student's weights, for the tracker's own code.
    - `metrics.jsonl`: the metrics of each step. `pace.jsonl`: how fast the steps were.
    - `run.json`: the configuration, versions and hardware of the run.
    - `states`: the last few training states, for `--resume`.

    Ctrl-C and SIGTERM end a run after its current step and save its state; the exit codes are then 130 and 143.

    Args:
        config: a YAML or TOML file; keys that it leaves out keep their defaults.
        out: folder for the student and the run.
        options: which tracker.
        data: a data set to train on, instead of those in the file: `NAME:PATH?option=value`, such as
            `got10k:/data/got10k?split=train`; may be given many times.
        overrides: a value that replaces the file's, such as `training.steps=500`; may be given many times.
        resume: continue from the latest training state in the folder.
    """
    options = options or AdapterOptions()
    options.import_plugins()
    changes: list[str | tuple[str, object]] = [*options.overrides().items()]
    if data:
        changes.append(("data.train", data))
    changes += overrides
    settings = (
        ctsdk.CompressionConfig.from_mapping({}, changes)
        if config is None
        else ctsdk.CompressionConfig.from_file(config, changes)
    )
    if settings.adapter is None:
        raise ConfigError("no tracker is named; give --adapter (`ctsdk adapters` lists them), or `adapter:` in a file.")
    adapter = ctsdk.load_adapter(settings.adapter.name, settings.adapter.variant, settings.adapter.weights)
    if adapter.variant is not None:
        # Some variants have several names; the one that the adapter itself uses is on record.
        named = settings.adapter.model_copy(update={"variant": adapter.variant})
        settings = settings.model_copy(update={"adapter": named})
    result = ctsdk.compress(adapter, settings, run_dir=out, resume=resume)
    if is_first_rank():
        result.save(out)
        _write_official(out / OFFICIAL_FILE, adapter, result.student)
        _report(result, out)


def _write_official(path: Path, adapter: TrackerAdapter, tracker: nn.Module) -> None:
    """Write the weights in the layout of the tracker's own code, whole or not at all."""
    import torch

    tensors = {name: tensor.detach().cpu() for name, tensor in adapter.to_official(tracker).items()}
    with atomic_write(path) as temporary:
        torch.save({"net": tensors}, temporary)


def _report(result: ctsdk.CompressionResult, out: Path) -> None:
    """Print what the teacher and the student cost, and where the student is."""
    adapter = result.adapter
    device = next(result.student.parameters()).device
    trackers = {"teacher": adapter.teacher.to(device), "student": result.student}
    console = Console(soft_wrap=True)
    console.print(comparison_table(measure_trackers(adapter, trackers), title=f"{adapter.name} on {device}"))
    console.print(f"The student is in {out}; the tracker's own code loads {out / OFFICIAL_FILE}.", markup=False)
