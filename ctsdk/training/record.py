"""``run.json``: what a run was made with, for whoever finds its folder later.

Each time that a run is started or resumed adds an entry, a start. No start changes the entry of another.
"""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import Batch
from ctsdk.errors import OutputError, TrainingError, TrainingInterruptedError
from ctsdk.fingerprint import fingerprint
from ctsdk.storage.atomic import write_json
from ctsdk.storage.bounded import MAX_DESCRIPTION_BYTES, read_bounded

__all__ = ["RECORD_FILE", "Start", "batch_fingerprint", "hardware", "versions"]

RECORD_FILE = "run.json"
_FORMAT = 2


class Start:
    """One start of a run in its record, as a context: begun, then finished, interrupted or failed, with when and why.

    It is written at the beginning. If the process is killed, its ``outcome`` stays null.

    Args:
        folder: of the run; None to write nothing.
        facts: what is known at the beginning, in types of JSON.

    Attributes:
        facts: the entry in the file; what is added later is written with the first batch, and at the end.

    Raises:
        OutputError: the file cannot be written.
        TrainingError: the file that is there is no record of a run.
    """

    def __init__(self, folder: Path | None, facts: dict[str, Any]) -> None:
        self._path = folder / RECORD_FILE if folder else None
        self._before = _read(self._path) if self._path and self._path.exists() else []
        self.facts: dict[str, Any] = {"begin": _now(), "end": None, "outcome": None, "error": None, **facts}

    def add_first_batch(self, batch: Batch) -> None:
        """Add the fingerprint of the first batch."""
        if self._path is not None:
            self.facts["first_batch_sha256"] = batch_fingerprint(batch)
            self._write()

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        is_interrupted = isinstance(error, TrainingInterruptedError | KeyboardInterrupt)
        outcome = "finished" if error is None else "interrupted" if is_interrupted else "failed"
        message = None if error is None else f"{type(error).__name__}: {error}"
        self.facts |= {"end": _now(), "outcome": outcome, "error": message}
        try:
            self._write()
        except OutputError as failure:
            if error is None:
                raise
            # What ended the run matters more; this is a note to it.
            error.add_note(str(failure))

    def _write(self) -> None:
        if self._path is not None:
            write_json(self._path, {"format": _FORMAT, "starts": [*self._before, self.facts]})


def versions(adapter: TrackerAdapter) -> dict[str, str | None]:
    """Return the versions of Python and of the packages that compute, by name.

    The adapter's is None if no package has it.
    """
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "ctsdk": metadata.version("ctsdk"),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    package = type(adapter).__module__.partition(".")[0]
    for entry in metadata.entry_points(group="ctsdk.adapters", name=adapter.name):
        if entry.dist is not None and entry.module.partition(".")[0] == package:
            return found | {entry.dist.name: entry.dist.version}
    return found if package == "ctsdk" else found | {package: None}


def hardware(device: torch.device) -> dict[str, str | int | None]:
    """Return the hardware of the run; None for what the system does not report."""
    has_memory = hasattr(os, "sysconf") and {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= os.sysconf_names.keys()
    return {
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if has_memory else None,
        "device": str(device),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
    }


def batch_fingerprint(batch: Batch) -> str:
    """Return the fingerprint of all tensors of a batch."""
    return fingerprint({name: value for name, value in vars(batch).items() if name != "extra"} | batch.extra)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        record = json.loads(read_bounded(path, MAX_DESCRIPTION_BYTES))
        if record["format"] != _FORMAT:
            raise ValueError(f"it has format {record['format']!r:.80}, and {_FORMAT} is expected")
        return list(record["starts"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise TrainingError(
            f"{path} is no record of a run of this ctsdk ({error}). Move it away; a run does not need it to continue."
        ) from error


def _cpu_name() -> str | None:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
