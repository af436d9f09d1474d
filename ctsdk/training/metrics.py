"""Metrics of a run, row by row: JSON lines always, TensorBoard if it is installed, and the caller's function.

Two files, because equal runs differ in one of them: ``metrics.jsonl`` follows from data, seed and configuration,
``pace.jsonl`` from the clock and the machine.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, TypeAlias

import torch

from ctsdk.errors import TrainingError
from ctsdk.ranks import Ranks
from ctsdk.storage.atomic import atomic_write

__all__ = ["METRICS_FILE", "PACE_FILE", "MetricsLog", "OnMetrics", "Pace", "peak_memory_mib"]

_logger = logging.getLogger(__name__)

METRICS_FILE, PACE_FILE = "metrics.jsonl", "pace.jsonl"

# Steps between two rows of the pace. The first step after a start is not counted: it includes warm-up.
_NUM_STEPS = 20

# Called with the step and the metrics of each new row.
OnMetrics: TypeAlias = Callable[[int, dict[str, float]], object]


class MetricsLog:
    """Keeps the rows of a run in memory; while it is open, also on disk if the run has a folder.

    Args:
        folder: of the run; None for memory alone.
        on_metrics: called with each new row, once it is in its file. When it raises, the error is kept, and it is not
            called again.

    Attributes:
        error: what `on_metrics` raised.
    """

    def __init__(self, folder: Path | None = None, on_metrics: OnMetrics | None = None) -> None:
        self.error: Exception | None = None
        self._on_metrics = on_metrics
        self._folder = folder
        self._tensorboard: Any = None
        self._steps = _Lines(folder / METRICS_FILE if folder else None)
        self._pace = _Lines(folder / PACE_FILE if folder else None)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every row so far but those of the pace; a row of a training step has the keys ``step`` and ``loss``."""
        return self._steps.rows

    def open(self, first_step: int = 0) -> None:
        """Open the files, and keep of what they hold the rows before `first_step`; the others will be added again.

        Raises:
            OutputError: a file cannot be written.
            TrainingError: a file holds a line that is no row.
        """
        self._steps.open(first_step)
        self._pace.open(first_step)
        if self._folder is not None and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(self._folder / "tensorboard"), purge_step=first_step or None)
            # purge_step also drops this step's validation rows; write them again.
            for row in [*self._steps.rows, *self._pace.rows]:
                if row["step"] == first_step:
                    self._to_tensorboard(first_step, {name: value for name, value in row.items() if name != "step"})

    def add(self, step: int, **values: float) -> None:
        """Add a row; its values also go to TensorBoard and to the caller's function, under their names.

        Raises:
            TrainingError: the row cannot be written, as when the disk is full.
        """
        self._steps.add(step, values)
        self._pass_on(step, values)

    def add_pace(self, step: int, **values: float) -> None:
        """Add a row of the pace, which has its own file.

        Raises:
            TrainingError: the row cannot be written, as when the disk is full.
        """
        self._pace.add(step, values)
        self._pass_on(step, values)

    def sync(self) -> None:
        """Make sure that the rows are on the disk, so that no state there is ahead of them."""
        self._steps.sync()

    def close(self) -> None:
        """Close the files."""
        self._steps.close()
        self._pace.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def _pass_on(self, step: int, values: dict[str, float]) -> None:
        self._to_tensorboard(step, values)
        if self._on_metrics is not None and self.error is None:
            try:
                self._on_metrics(step, dict(values))
            except Exception as error:  # noqa: BLE001 - ends the run where its state can be saved in all processes
                self.error = error

    def _to_tensorboard(self, step: int, values: Mapping[str, float]) -> None:
        if self._tensorboard is not None:
            for name, value in values.items():
                self._tensorboard.add_scalar(name, value, step)


class Pace:
    """Measures how fast the steps of a run are, and logs once how long it will take.

    Args:
        num_steps: of the whole run.
        device: that trains.
        ranks: the processes that share each step; all must call :meth:`after` for each step.
    """

    def __init__(self, num_steps: int, device: torch.device, ranks: Ranks) -> None:
        self._num_steps, self._device, self._ranks = num_steps, device, ranks
        self._begin: float | None = None
        self._num_done, self._num_samples, self._is_logged = 0, 0.0, False

    def after(self, step: int, num_samples: float) -> dict[str, float]:
        """Count a step that is done, and return the pace of the last few steps if it is time for a row; else nothing.

        Saving and validation in between count. Metrics: ``pace/samples_per_second`` of all processes together,
        ``pace/seconds_per_step``, ``pace/seconds_left``, and ``pace/peak_memory_mib`` of the process that has most.

        Args:
            step: steps that the run has done.
            num_samples: samples of this step, in all processes.
        """
        if self._begin is None:
            self._begin = time.monotonic()
            return {}
        self._num_done, self._num_samples = self._num_done + 1, self._num_samples + num_samples
        if self._num_done < _NUM_STEPS:
            return {}
        now = time.monotonic()
        seconds = now - self._begin
        left = seconds / self._num_done * (self._num_steps - step)
        metrics = {
            "pace/samples_per_second": self._num_samples / seconds,
            "pace/seconds_per_step": seconds / self._num_done,
            "pace/seconds_left": left,
        }
        if peak := self._ranks.largest([peak_memory_mib(self._device)])[0]:
            metrics["pace/peak_memory_mib"] = peak
        if not self._is_logged:
            seconds_per_step = metrics["pace/seconds_per_step"]
            _logger.info("%.2f s a step on %s: about %s left", seconds_per_step, self._device, _duration(left))
        self._begin, self._num_done, self._num_samples, self._is_logged = now, 0, 0.0, True
        return metrics


def peak_memory_mib(device: torch.device) -> float:
    """Return the most memory that this process has held so far, in MiB: of tensors on a GPU, of everything on a CPU.

    0 where the system does not report it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if importlib.util.find_spec("resource") is None:
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In KiB, but on macOS in bytes.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"


class _Lines:
    """A file of rows, each a line of JSON, and the same in memory; without a path, in memory alone."""

    def __init__(self, path: Path | None) -> None:
        self.rows: list[dict[str, Any]] = []
        self._path = path
        self._file: FileIO | None = None

    def open(self, first_step: int) -> None:
        if self._path is None:
            return
        if first_step > 0 and self._path.exists():
            rows = _whole_rows(self._path)
            self.rows = [row for row in rows if row["step"] < first_step or _is_between(row, first_step)]
        # Whole or not at all: a run that is killed here keeps the rows it had.
        with atomic_write(self._path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        # Unbuffered: what failed to be written must not fail once more when the file is closed.
        self._file = self._path.open("ab", buffering=0)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        row: dict[str, Any] = {"step": step, **values}
        self.rows.append(row)
        if self._file is None:
            return
        line = json.dumps(row).encode() + b"\n"
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise TrainingError(
                f"step {step}: cannot write {self._path}: {error}. Make room, and resume from the last saved state."
            ) from error

    def sync(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file; a last line without an end was cut off when its process was killed."""
    *lines, _ = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise TrainingError(
                f"{path} is damaged: line {number} is {line[:80]!r}; expected a row of JSON with its step. Delete the "
                "line, or move the file away: the run needs none of its rows to continue."
            )
        rows.append(row)
    return rows


def _is_between(row: dict[str, Any], step: int) -> bool:
    """Whether a row was written after step `step` - 1 and before step `step` was taken, as validations are."""
    return bool(row["step"] == step and "loss" not in row)
