"""The commands that make a student: ``compress``, ``demo``."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

import ctsdk
from ctsdk.cli.options import AdapterOptions, FolderToWrite
from ctsdk.errors import ConfigError
from ctsdk.ranks import is_first_rank
from ctsdk.reporting import comparison_table, measure_trackers
from ctsdk.storage.atomic import atomic_write

if TYPE_CHECKING:
    from torch import nn

    from ctsdk.engine.adapter import TrackerAdapter

__all__ = ["compress", "demo"]

OFFICIAL_FILE = "student_official.pth.tar"


def compress(
    config: Path | None = None,
    *,
    out: FolderToWrite,
    options: AdapterOptions | None = None,
    data: Annotated[tuple[str, ...], Parameter(name="--data", metavar="SPEC")] = (),
    overrides: Annotated[tuple[str, ...], Parameter(name="--set", metavar="KEY=VALUE")] = (),
    resume: bool = False,
) -> None:
    """Compress a tracker and write the student into a folder.

    What is written: `student.safetensors` and `result.json`, which `--result` of other commands and
    `ctsdk.load_result` read; `student_official.pth.tar`, which the tracker's own code loads; `metrics.jsonl`, a row per
    step; `pace.jsonl`, how fast they were; `run.json`, what the run was made with; the last few training states in
    `states`, for `--resume`. Ctrl-C and SIGTERM end a run after its step, with its state saved; the exit codes are then
    130 and 143.

    Args:
        config: a YAML or TOML file; what it leaves out has its default.
        out: folder for the student and the run.
        options: which tracker, in place of what the file says.
        data: a data set to train on, `NAME:PATH?option=value`, such as `got10k:/data/got10k?split=train`, in place of
            what the file says; may be given many times.
        overrides: a value that goes before the file's, such as `training.steps=500`; may be given many times.
        resume: go on from the latest training state in the folder.
    """
    options = options or AdapterOptions()
    options.import_plugins()
    given = options.given()
    keys = {"adapter": "adapter.name", "variant": "adapter.variant", "weights": "adapter.weights"}
    # Values are read as YAML, of which JSON is a part: so a path stays a string, whatever it looks like.
    changes = [f"{keys[name]}={json.dumps(value, ensure_ascii=False)}" for name, value in given.items()]
    if data:
        changes.append(f"data.train={json.dumps(data, ensure_ascii=False)}")
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
    if not is_first_rank():
        return
    result.save(out)
    _write_official(out / OFFICIAL_FILE, adapter, result.student)
    device = next(result.student.parameters()).device
    adapter.teacher.to(device)
    trackers = {"teacher": adapter.teacher, "student": result.student}
    console = Console(soft_wrap=True)
    console.print(comparison_table(measure_trackers(adapter, trackers), title=f"{adapter.name} on {device}"))
    console.print(f"The student is in {out}; the tracker's own code loads {out / OFFICIAL_FILE}.", markup=False)


def demo(*, out: FolderToWrite, adapter: str = "ostrack", seed: int = 0) -> None:
    """Compress a tiny tracker that ships with ctsdk, compare it with its teacher, and draw both.

    Args:
        out: folder for the student, the table, the curves and the clip.
        adapter: which tracker: `ostrack`, `mixformerv2` or `seqtrack`.
        seed: seed of everything random.
    """
    from ctsdk.demo import run_demo

    run_demo(out, adapter=adapter, seed=seed)


def _write_official(path: Path, adapter: TrackerAdapter, tracker: nn.Module) -> None:
    """Write the tracker's weights as its own code wants them, whole or not at all."""
    import torch

    tensors = {name: tensor.detach().cpu() for name, tensor in adapter.to_official(tracker).items()}
    with atomic_write(path) as temporary:
        torch.save({"net": tensors}, temporary)
