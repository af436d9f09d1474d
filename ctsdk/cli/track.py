"""The command ``track``: follow one target through a video."""

from __future__ import annotations

import collections
import itertools
import logging
import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

from cyclopts import Parameter
from cyclopts.validators import Number
from tqdm.auto import tqdm

from ctsdk.boxes import BoxPx
from ctsdk.cli.options import BoxOption, FileToWrite
from ctsdk.cli.trackers import NamedTracker, TrackerName, TrackerOptions, load_tracker
from ctsdk.crops import Pixels
from ctsdk.engine.session import TrackResult
from ctsdk.reporting import TRACKER_COLOURS
from ctsdk.storage.atomic import atomic_write
from ctsdk.tracking import track as track_target
from ctsdk.video import draw_box, draw_label, open_frames, write_video

__all__ = ["track"]

_logger = logging.getLogger(__name__)


def track(
    video: str,
    /,
    tracker: TrackerName = None,
    *,
    box: BoxOption,
    options: TrackerOptions | None = None,
    out: FileToWrite | None = None,
    drawn: Annotated[FileToWrite | None, Parameter(name="--video")] = None,
    max_frames: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
) -> None:
    """Follow one target through a video: a line `x,y,w,h` per frame, in pixels; the first is the given box.

    Args:
        video: a video file, a folder of images (ordered by the numbers in their names), or a camera, such as 0.
        tracker: the folder of a run, for its student; or an adapter, as `NAME` or `NAME/VARIANT`.
        box: the target in the first frame: left, top, width, height in pixels.
        options: variant, weights and device.
        out: file for the lines; without it they go to stdout.
        drawn: file for the video with the boxes drawn in, ending in `.mp4`.
        max_frames: stop after this many frames; a camera never ends.
    """
    frames = open_frames(video)
    named = load_tracker(tracker, options or TrackerOptions())
    total = min(frames.num_frames or max_frames or 0, max_frames or sys.maxsize) or None
    # A bar between the lines of a terminal would spoil both.
    is_quiet = True if out is None and sys.stdout.isatty() else None
    shown = tqdm(itertools.islice(frames, max_frames), total=total, unit="frame", disable=is_quiet)
    with _lines_to(out) as lines:
        followed = _follow(named, shown, box, lines)
        if drawn is None:
            collections.deque(followed, maxlen=0)
        else:
            write_video(drawn, itertools.starmap(_mark, followed), frames_per_second=frames.frames_per_second)
    for path in filter(None, (out, drawn)):
        _logger.info("wrote %s", path)


@contextmanager
def _lines_to(path: Path | None) -> Iterator[TextIO]:
    """Open a text file that is written whole or not at all; without a path, stdout."""
    if path is None:
        yield sys.stdout
        return
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file


def _follow(
    named: NamedTracker, frames: Iterable[Pixels], box: BoxPx, lines: TextIO
) -> Iterator[tuple[Pixels, TrackResult]]:
    """Yield each frame with its result, and write the box of the result as a line."""
    tracked, seen = itertools.tee(frames)
    for frame, result in zip(seen, track_target(named.adapter, named.tracker, tracked, box), strict=True):
        lines.write(",".join(f"{number:.3f}" for number in result.box_xywh_px) + "\n")
        yield frame, result


def _mark(frame: Pixels, result: TrackResult) -> Pixels:
    """Return the frame with the box and the confidence drawn in."""
    image = frame.copy()
    x, y, _, _ = result.box_xywh_px
    draw_box(image, result.box_xywh_px, TRACKER_COLOURS[0], thickness_px=max(2, round(max(image.shape) / 400)))
    if math.isfinite(result.confidence):
        scale = max(0.4, max(image.shape) / 1600)
        draw_label(image, f"{result.confidence:.2f}", (x, y), TRACKER_COLOURS[0], scale=scale)
    return image
