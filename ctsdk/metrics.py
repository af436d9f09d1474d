"""Figures of a run, row by row: JSON lines always, TensorBoard if it is installed."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
from typing import TYPE_CHECKING, Any, Self

from ctsdk.errors import TrainingError
from ctsdk.weights import atomic_write

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

__all__ = ["METRICS_FILE", "MetricsLog"]

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Keeps the rows of a run in memory, and on disk if the run has a folder.

    Args:
        folder: of the run; None for memory alone.
        first_step: the step that a run goes on from. Rows of steps that it repeats are dropped from the file.

    Attributes:
        rows: every row so far; a row of a training step has the keys ``step`` and ``loss``.

    Raises:
        CheckpointError: the file cannot be written.
    """

    def __init__(self, folder: Path | None, *, first_step: int = 0) -> None:
        self.rows: list[dict[str, Any]] = []
        self._path = folder / METRICS_FILE if folder else None
        self._file: FileIO | None = None
        self._tensorboard: Any = None
        if self._path is not None and first_step and self._path.exists():
            self.rows = _whole_rows(self._path.read_text(encoding="utf-8"))
        self.rewind(first_step)

    def rewind(self, step: int) -> None:
        """Forget the rows of `step` and of later steps, because they are to come again."""
        self.rows = [row for row in self.rows if row["step"] < step or _is_between(row, step)]
        if self._path is None:
            return
        self.close()
        # Whole or not at all: a run that is killed here keeps the rows it had.
        with atomic_write(self._path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        # Without a buffer, nothing is left over that would fail once more when the file is closed.
        self._file = self._path.open("ab", buffering=0)
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(self._path.with_name("tensorboard")), purge_step=step or None)

    def add(self, step: int, **values: float | str) -> None:
        """Add a row; numbers also go to TensorBoard under their names.

        Raises:
            TrainingError: the row cannot be written, as when the disk is full.
        """
        row: dict[str, Any] = {"step": step, **values}
        self.rows.append(row)
        if self._file is not None:
            line = json.dumps(row).encode() + b"\n"
            try:
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                raise TrainingError(
                    f"step {step}: cannot write {self._path}: {error}. Make room, and go on from the last saved state "
                    "with resume."
                ) from error
        if self._tensorboard is not None:
            for name, value in values.items():
                if not isinstance(value, str):
                    self._tensorboard.add_scalar(name, value, step)

    def sync(self) -> None:
        """Have the rows on the disk itself, so that no state there is ahead of them."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the files."""
        if self._file is not None:
            self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _whole_rows(text: str) -> list[dict[str, Any]]:
    """Return the rows of a file; a last line that has no end was cut off with the process that wrote it."""
    *lines, _ = text.split("\n")
    return [json.loads(line) for line in lines]


def _is_between(row: dict[str, Any], step: int) -> bool:
    """Whether a row was written after step `step` - 1 and before step `step` was taken, as validations are."""
    return bool(row["step"] == step and "loss" not in row)
