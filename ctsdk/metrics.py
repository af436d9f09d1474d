"""Figures of a run, row by row: JSON lines always, TensorBoard if it is installed."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["METRICS_FILE", "MetricsLog"]

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Keeps the rows of a run in memory, and on disk if the run has a folder.

    Attributes:
        rows: every row so far; a row of a training step has the keys ``step`` and ``loss``.
    """

    def __init__(self, folder: Path | None, *, first_step: int = 0) -> None:
        self.rows: list[dict[str, Any]] = []
        self._file = None
        self._tensorboard: Any = None
        if folder is None:
            return
        path = folder / METRICS_FILE
        if first_step and path.exists():
            # A run that goes on from step k repeats what an interrupted one wrote after it.
            kept = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            self.rows = [row for row in kept if row["step"] < first_step or _is_between(row, first_step)]
        self._file = path.open("w", encoding="utf-8")
        for row in self.rows:
            self._write(row)
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step or None)

    def add(self, step: int, **values: float | str) -> None:
        """Add a row; numbers also go to TensorBoard under their names."""
        row: dict[str, Any] = {"step": step, **values}
        self.rows.append(row)
        self._write(row)
        if self._tensorboard is not None:
            for name, value in values.items():
                if not isinstance(value, str):
                    self._tensorboard.add_scalar(name, value, step)

    def _write(self, row: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


def _is_between(row: dict[str, Any], step: int) -> bool:
    """Whether a row was written after step `step` - 1 and before step `step` was taken, as validations are."""
    return bool(row["step"] == step and "loss" not in row)
