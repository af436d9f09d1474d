"""The command line: each command calls functions of the package and prints what they return.

Results go to stdout; progress, logs and errors to stderr. The exit code is 0 when all went well, 1 for an error that
ctsdk explains, 2 for wrong usage, 130 after Ctrl-C.
"""

from __future__ import annotations

import collections
import itertools
import json
import logging
import math
import os
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO, TypeAlias

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from cyclopts.validators import Path as PathRule
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
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

_logger = logging.getLogger(__name__)


def _shown_default(value: object) -> str | None:
    """Return what help says about a default; "None", "()" and "False" would tell nobody anything."""
    return str(value) if value not in (None, ()) and not isinstance(value, bool) else None


app = App(
    name="ctsdk",
    help="Compress transformer object trackers: a student of the same class with a fraction of the blocks.",
    help_epilogue="The guides in docs/how-to show whole runs.",
    version=lambda: metadata.version("ctsdk"),
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=(), show_default=_shown_default),
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
        options: which tracker, in place of what the file says.
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
        options: which tracker.
        out: file for the lines; without it they go to stdout.
        video: file for a video with the boxes drawn in, ending in `.mp4`.
        max_frames: stop after so many frames; a camera gives them without end.
    """
    frames = open_frames(source)
    adapter, tracker = (options or TrackerOptions()).load()
    total = min(frames.num_frames or max_frames or 0, max_frames or sys.maxsize) or None
    # A bar between the lines of a terminal would spoil both.
    is_quiet = True if out is None and sys.stdout.isatty() else None
    shown = tqdm(itertools.islice(frames, max_frames), total=total, unit="frame", disable=is_quiet)
    with _lines_to(out) as lines:
        followed = _follow(adapter, tracker, shown, box, lines)
        if video is None:
            collections.deque(followed, maxlen=0)
        else:
            write_video(video, itertools.starmap(_marked, followed), frames_per_second=frames.frames_per_second)
    for path in filter(None, (out, video)):
        _logger.info("wrote %s", path)


@app.command
def profile(
    *, options: TrackerOptions | None = None, as_json: Annotated[bool, Parameter(name="--json")] = False
) -> None:
    """Measure the parameters, multiply-adds and latency of a tracker, batch 1.

    Args:
        options: which tracker.
        as_json: print JSON instead of a table.
    """
    chosen = options or TrackerOptions()
    adapter, tracker = chosen.load()
    device = str(next(tracker.parameters()).device)
    name = "student" if chosen.result else adapter.variant or adapter.name
    figures = measure_trackers(adapter, {name: tracker})
    if as_json:
        measured = {key: value for key, value in asdict(figures[name]).items() if value is not None}
        _write_json({"adapter": adapter.name, "variant": adapter.variant, "device": device, **measured})
    else:
        Console().print(comparison_table(figures, title=f"{adapter.name} on {device}"))


@app.command
def demo(*, out: FolderToWrite, seed: int = 0) -> None:
    """Compress the tiny tracker that ships with ctsdk, compare it with its teacher, and draw both.

    Args:
        out: folder for the student, the table, the curves and the clip.
        seed: seed of everything random.
    """
    from ctsdk.demo import run_demo

    run_demo(out, seed=seed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: what would be typed after ``ctsdk``; None for what was.

    Returns:
        the exit code.
    """
    with _logging_to_stderr():
        try:
            app(arguments, exit_on_error=False, result_action="return_value")
        except CycloptsError:
            return 2  # the message is on stderr already
        except CtsdkError as error:
            _complain(str(error))
            return 1
        except KeyboardInterrupt:
            _complain("interrupted")
            return 130
        except BrokenPipeError:
            # Whoever read our output has gone, as `head` does. Without this, Python complains again when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
    return 0


def _complain(message: str) -> None:
    # Never wrapped or marked up: messages hold paths to copy, and brackets.
    text = Text.assemble(("error: ", "bold red"), (message, "red"))
    Console(stderr=True, soft_wrap=True, highlight=False).print(text)


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    """Show what the package logs, without harm to a progress bar; leave logging as it was found."""
    logger = logging.getLogger("ctsdk")
    handler, level = logging.StreamHandler(), logger.level
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with logging_redirect_tqdm([logger]):
            yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def _write_json(data: object) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def _write_official(path: Path, adapter: TrackerAdapter, tracker: nn.Module) -> None:
    """Write the tracker's weights as its own code wants them, whole or not at all."""
    import torch

    tensors = {name: tensor.detach().cpu() for name, tensor in adapter.to_official(tracker).items()}
    with atomic_write(path) as temporary:
        torch.save({"net": tensors}, temporary)


@contextmanager
def _lines_to(path: Path | None) -> Iterator[TextIO]:
    """Give a text file that is written whole or not at all; without a path, stdout."""
    if path is None:
        yield sys.stdout
        return
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file


def _follow(
    adapter: TrackerAdapter, tracker: nn.Module, frames: Iterable[NDArray[np.uint8]], box: BoxPx, lines: TextIO
) -> Iterator[tuple[NDArray[np.uint8], TrackResult]]:
    """Yield each frame with its result, whose box is written as a line."""
    tracked, seen = itertools.tee(frames)
    for frame, result in zip(seen, track_target(adapter, tracker, tracked, box), strict=True):
        lines.write(",".join(f"{number:.3f}" for number in result.box_xywh_px) + "\n")
        yield frame, result


def _marked(frame: NDArray[np.uint8], result: TrackResult) -> NDArray[np.uint8]:
    """Return the frame with the box and the score drawn in."""
    image = frame.copy()
    x, y, _, _ = result.box_xywh_px
    draw_box(image, result.box_xywh_px, TRACKER_COLOURS[0], thickness_px=max(2, round(max(image.shape) / 400)))
    if math.isfinite(result.score):
        draw_label(image, f"{result.score:.2f}", (x, y), TRACKER_COLOURS[0], scale=max(0.4, max(image.shape) / 1600))
    return image
