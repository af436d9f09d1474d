"""The errors that ctsdk raises.

::

    CtsdkError
    ├── AdapterNotFoundError     no adapter of that name, or its dependency is missing
    ├── AdapterContractError     an adapter does not do what the contract asks
    ├── ConfigError              a value, key or combination in a configuration is wrong
    ├── CheckpointError          weights are unreadable, unsafe, or do not fit the tracker
    ├── OutputError              a file or folder cannot be written
    ├── DataError                an image, video, box or batch cannot be used
    ├── TrainingError            training cannot continue
    │   └── TrainingInterruptedError   a signal stopped it; its state is saved
    └── ExportMismatchError      an exported tracker disagrees with the tracker it came from

Each message says what was seen, what was expected and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from torch import nn

__all__ = [
    "AdapterContractError",
    "AdapterNotFoundError",
    "CheckpointError",
    "ConfigError",
    "CtsdkError",
    "DataError",
    "ExportMismatchError",
    "OutputError",
    "TrainingError",
    "TrainingInterruptedError",
    "did_you_mean",
]


class CtsdkError(Exception):
    """The root of every error that ctsdk raises on purpose."""


class AdapterNotFoundError(CtsdkError):
    """No adapter of that name can be loaded here."""


class AdapterContractError(CtsdkError):
    """An adapter does not do what the contract asks of it."""


class ConfigError(CtsdkError):
    """A configuration holds a wrong value, key or combination."""


class CheckpointError(CtsdkError):
    """Weights are unreadable, unsafe, or do not fit the tracker."""


class OutputError(CtsdkError):
    """A file or folder cannot be written."""


class DataError(CtsdkError):
    """An image, a video, a box or a batch cannot be used."""


class TrainingError(CtsdkError):
    """Training cannot continue.

    Attributes:
        student: the student as it stood after the last good step, if there was one.
        state_path: the file that holds the last good training state, if one was written.
    """

    def __init__(self, message: str, *, student: nn.Module | None = None, state_path: Path | None = None) -> None:
        super().__init__(message)
        self.student = student
        self.state_path = state_path


class TrainingInterruptedError(TrainingError):
    """A signal stopped training. It can be resumed from the saved state.

    Attributes:
        signal: its number, such as 15 for SIGTERM. The command line exits with 128 more, as shells do.
    """

    def __init__(self, message: str, *, signal: int, student: nn.Module, state_path: Path | None = None) -> None:
        super().__init__(message, student=student, state_path=state_path)
        self.signal = signal


class ExportMismatchError(CtsdkError):
    """An exported tracker disagrees with the tracker it came from."""


def did_you_mean(typed: str, names: Iterable[str]) -> str:
    """Return a question with the name that is closest to what was typed, and a blank; nothing where none is close."""
    close = difflib.get_close_matches(typed.lower(), sorted(names), n=1)
    return f"Did you mean {close[0]!r}? " if close else ""
