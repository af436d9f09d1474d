"""The command line: each command calls functions of the package and prints what they return.

Results go to stdout; progress, logs and errors to stderr. The exit code is 0 when all went well, 1 for an error that
ctsdk explains, 2 for wrong usage, 130 after Ctrl-C.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeAlias

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Path as PathRule
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

import ctsdk
from ctsdk.adapter import BoxPx
from ctsdk.errors import ConfigError, CtsdkError
from ctsdk.reporting import TRACKER_COLOURS, comparison_table, measure_trackers
from ctsdk.tracking import track as track_target
from ctsdk.training import pick_device
from ctsdk.video import draw_box, draw_label, open_frames, write_video
from ctsdk.weights import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from cyclopts import Token
    from numpy.typing import NDArray
    from torch import nn

    from ctsdk.adapter import TrackerAdapter, TrackResult

__all__ = ["app", "main"]

OFFICIAL_FILE = "student_official.pth.tar"

app = App(
    name="ctsdk",
    help="Compress transformer object trackers: a student of the same class with a fraction of the blocks.",
    help_epilogue="The guides in docs/how-to show whole runs.",
    version=lambda: metadata.version("ctsdk"),
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=(), show_default=lambda value: value not in (None, (), False)),
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """Which tracker to load.

    Attributes:
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


@app.command
def adapters(*, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """List the adapters of this installation, usable or not.

    Args:
        as_json: print JSON instead of a table.
    """
    found = ctsdk.list_adapters()
    if as_json:
        _write_json([asdict(info) for info in found])
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "status", "from", "variants, or what to do"):
        table.add_column(heading, overflow="fold")
    for info in found:
        origin = "this process" if info.distribution is None else f"{info.distribution} {info.version}"
        # Text, not markup: the words are a stranger's, and may hold brackets.
        cells = (info.name, info.status, origin, info.detail or ", ".join(info.variants) or info.summary)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


@app.command
def compress(
    config: Path | None = None,
    /,
    *,
    out: FolderToWrite,
    options: AdapterOptions | None = None,
    overrides: Annotated[tuple[str, ...], Parameter(name="--set", metavar="KEY=VALUE")] = (),
    resume: bool = False,
) -> None:
    """Compress a tracker and write the student into a folder.

    What is written: `student.safetensors` and `result.json`, which `--result` of other commands and
    `ctsdk.load_result` read; `student_official.pth.tar`, which the tracker's own code loads; `metrics.jsonl`, a row per
    step; `state.pt`, for `--resume`.

    Args:
        config: a YAML or TOML file; what it leaves out has its default.
        out: folder for the student and the run.
        overrides: a value that goes before the file's, such as `training.steps=500`; may be given many times.
        resume: go on from the training state in the folder.
    """
    given = (options or AdapterOptions()).given()
    keys = {"adapter": "adapter.name", "variant": "adapter.variant", "weights": "adapter.weights"}
    # Values are read as YAML, of which JSON is a part: so a path stays a string, whatever it looks like.
    changes = [f"{keys[name]}={json.dumps(value, ensure_ascii=False)}" for name, value in given.items()]
    changes += overrides
    settings = (
        ctsdk.CompressionConfig.from_mapping({}, changes)
        if config is None
        else ctsdk.CompressionConfig.from_file(config, changes)
    )
    if settings.adapter is None:
        raise ConfigError("no tracker is named; give --adapter (`ctsdk adapters` lists them), or `adapter:` in a file.")
    adapter = ctsdk.load_adapter(settings.adapter.name, settings.adapter.variant, settings.adapter.weights)
    result = ctsdk.compress(adapter, settings, run_dir=out, resume=resume)
    result.save(out)
    _write_official(out / OFFICIAL_FILE, adapter, result.student)
    device = next(result.student.parameters()).device
    adapter.teacher.to(device)
    trackers = {"teacher": adapter.teacher, "student": result.student}
    console = Console(soft_wrap=True)
    console.print(comparison_table(measure_trackers(adapter, trackers), title=f"{adapter.name} on {device}"))
    console.print(f"The student is in {out}; the tracker's own code loads {out / OFFICIAL_FILE}.", markup=False)


@app.command
def track(
    source: str,
    /,
    *,
    box: BoxOption,
    options: TrackerOptions | None = None,
    out: FileToWrite | None = None,
    video: FileToWrite | None = None,
    max_frames: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
) -> None:
    """Follow one target through a video: one line `x,y,w,h` per frame, in pixels, the first is the given box.

    Args:
        source: a video file, a folder of images (ordered by the numbers in their names), or a camera, such as 0.
        box: the target in the first frame: left, top, width, height in pixels.
        out: file for the lines; without it they go to stdout.
        video: file for a video with the boxes drawn in, ending in `.mp4`.
        max_frames: stop after so many frames; a camera gives them without end.
    """
    frames = open_frames(source)
    adapter, tracker = (options or TrackerOptions()).load()
    total = min(frames.num_frames or max_frames or 0, max_frames or sys.maxsize) or None
    shown = tqdm(itertools.islice(frames, max_frames), total=total, unit="frame", disable=None)
    with _lines_to(out) as lines:
        marked = _marked(adapter, tracker, shown, box, lines)
        if video is None:
            for _ in marked:
                pass
        else:
            write_video(video, marked, frames_per_second=frames.frames_per_second)
    for path in filter(None, (out, video)):
        _logger.info("wrote %s", path)


@app.command
def profile(
    *, options: TrackerOptions | None = None, as_json: Annotated[bool, Parameter(name="--json")] = False
) -> None:
    """Measure parameters, multiply-adds and latency of a tracker, batch 1.

    Args:
        as_json: print JSON instead of a table.
    """
    adapter, tracker = (options or TrackerOptions()).load()
    figures = ctsdk.profile(adapter, tracker)
    if as_json:
        _write_json({"adapter": adapter.name, "variant": adapter.variant, **asdict(figures)})
        return
    label = " ".join(filter(None, (adapter.name, adapter.variant)))
    (measured,) = measure_trackers(adapter, {label: tracker}).values()
    Console().print(comparison_table({label: measured}))


@app.command
def demo(*, out: FolderToWrite, seed: int = 0) -> None:
    """Compress the tiny tracker that ships with ctsdk, compare it with its teacher, and draw both.

    Args:
        out: folder for the student, the table, the curves and the clip.
        seed: seed of everything random.
    """
    from ctsdk.demo import run_demo

    run_demo(out, seed=seed)
