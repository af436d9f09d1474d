"""Training states on disk: each written whole or not at all, the last few kept, read without running code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ctsdk.config import CompressionConfig, differences
from ctsdk.errors import OutputError, TrainingError
from ctsdk.storage.atomic import atomic_write

__all__ = ["STATES_FOLDER", "States", "adjustments"]

STATES_FOLDER = "states"

_NAME = re.compile(r"step-(\d+)\.pt")
_KEYS = frozenset({"step", "batches_read", "student", "optimizer", "scaler", "config", "teacher"})
# What a resume may change, because it changes no result.
_FREE = frozenset(
    {
        "training.recompute_blocks",
        "training.save_every",
        "training.save_every_minutes",
        "training.num_states",
        "data.num_workers",
        "data.pin_memory",
    }
)
# What a resume may change although it changes the result, so that a run whose losses are not finite can be saved.
_ADJUSTABLE = frozenset({"training.learning_rate", "training.clip_norm", "training.precision"})


@dataclass(frozen=True)
class States:
    """The states in the folder of a run, one file for each step that was saved.

    Attributes:
        run_dir: the folder of the run; the states lie in ``states`` below it.
        num_kept: how many are kept; the oldest go.
    """

    run_dir: Path
    num_kept: int = 3

    def paths(self) -> list[Path]:
        """Return the files of all states, the latest last."""
        found = [(match, path) for path in self._folder.glob("*.pt") if (match := _NAME.fullmatch(path.name))]
        return [path for match, path in sorted(found, key=lambda pair: int(pair[0][1]))]

    def latest(self) -> Path | None:
        """Return the file of the latest state; None if there is none."""
        return next(reversed(self.paths()), None)

    def write(self, step: int, state: dict[str, Any]) -> Path:
        """Write a state, then remove those that are too many.

        Raises:
            TrainingError: it cannot be written. The states that were there are as they were.
        """
        path = self._folder / f"step-{step:08d}.pt"
        try:
            with atomic_write(path) as temporary:
                _save(state, temporary)
        except OutputError as error:
            latest = self.latest()
            kept = f"The last good state is {latest}; make room and resume from it." if latest else "There is none."
            raise TrainingError(
                f"step {step}: the training state was not saved: {error} {kept}", state_path=latest
            ) from error
        self._tidy()
        return path

    def read(self, path: Path, config: CompressionConfig, teacher: Mapping[str, str | None]) -> dict[str, Any]:
        """Return a state of a run with this configuration and teacher, its tensors on the CPU.

        Args:
            path: one of :meth:`paths`.
            config: of the run that is to be resumed.
            teacher: what tells its teacher from others.

        Raises:
            TrainingError: the state cannot be read, or is of another configuration or teacher: every key that may not
                differ and does is named.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can raise anything
            raise TrainingError(f"cannot read the training state {path}: {error}. {self._without(path)}") from error
        if not isinstance(state, dict) or not state.keys() >= _KEYS:
            raise TrainingError(f"{path} holds no training state of this version of ctsdk. {self._without(path)}")
        was, now = json.loads(state["config"]), config.to_mapping()
        changed = differences({**was, "teacher": state["teacher"]}, {**now, "teacher": dict(teacher)})
        may_differ = _FREE | _ADJUSTABLE
        lines = [f"  {key}: was {was!r}, is {now!r}" for key, (was, now) in changed.items() if key not in may_differ]
        if lines:
            raise TrainingError(
                f"the training state {path} belongs to another configuration or teacher; a run can only be resumed "
                "with those it began with. Give back the old values, or use another run_dir. What differs:\n"
                + "\n".join(lines)
            )
        return state

    def remove_all(self) -> None:
        """Remove every state."""
        for path in self.paths():
            path.unlink()

    @property
    def _folder(self) -> Path:
        return self.run_dir / STATES_FOLDER

    def _tidy(self) -> None:
        """Remove the oldest states, and unfinished files of processes that were killed."""
        for path in [*self.paths()[: -self.num_kept], *self._folder.glob(".step-*.tmp")]:
            path.unlink(missing_ok=True)

    def _without(self, path: Path) -> str:
        others = [other for other in self.paths() if other != path]
        if not others:
            return "Use another run_dir."
        return f"Remove it to resume from {others[-1].name}, the latest of the others."


def adjustments(state: Mapping[str, Any], config: CompressionConfig) -> dict[str, tuple[object, object]]:
    """Return by key, as (old, new), what changes the result if a run is resumed from `state` with `config`."""
    changed = differences(json.loads(state["config"]), config.to_mapping())
    return {key: values for key, values in changed.items() if key in _ADJUSTABLE}


def _save(state: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                # torch's own message counts bytes; the error beneath it says that the disk is full.
                raise error.__context__ from None
            raise
