"""The commands that run a tracker: ``track``, ``profile``."""

from __future__ import annotations

import collections
import itertools
import logging
import math
import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, TextIO

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from tqdm.auto import tqdm

from ctsdk.cli.options import BoxOption, FileToWrite, JsonFlag, TrackerOptions, print_json
from ctsdk.profiling import measure_trackers
from ctsdk.reporting import TRACKER_COLOURS, comparison_table
from ctsdk.storage.atomic import atomic_write
from ctsdk.tracking import track as track_target
from ctsdk.video import draw_box, draw_label, open_frames, write_video

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from ctsdk.boxes import BoxPx
    from ctsdk.engine.adapter import TrackerAdapter
    from ctsdk.engine.session import TrackResult

__all__ = ["profile", "track"]

_logger = logging.getLogger(__name__)


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


def profile(*, options: TrackerOptions | None = None, as_json: JsonFlag = False) -> None:
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
        print_json({"adapter": adapter.name, "variant": adapter.variant, "device": device, **measured})
    else:
        Console().print(comparison_table(figures, title=f"{adapter.name} on {device}"))


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
    """Return the frame with the box and the confidence drawn in."""
    image = frame.copy()
    x, y, _, _ = result.box_xywh_px
    draw_box(image, result.box_xywh_px, TRACKER_COLOURS[0], thickness_px=max(2, round(max(image.shape) / 400)))
    if math.isfinite(result.confidence):
        draw_label(
            image, f"{result.confidence:.2f}", (x, y), TRACKER_COLOURS[0], scale=max(0.4, max(image.shape) / 1600)
        )
    return image
