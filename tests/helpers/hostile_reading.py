"""Reads each file of a folder, in a process of its own, and tells as a JSON line what came of it.

The address space of this process ends where the promise of :func:`ctsdk.weights.read_tensors` ends.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from ctsdk.weights import read_tensors, write_safetensors
from tests.helpers import hostile

EVENTS: list[str] = []
_ACTS = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pickle.", "urllib.", "exec", "compile", "import")
_HARMLESS = ("os.listdir", "os.scandir")


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_ACTS) and event not in _HARMLESS:
        EVENTS.append(f"{event} {arguments!r:.100}")
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+"):
        EVENTS.append(f"open {arguments!r:.100}")


def memory(field: str) -> int:
    """Return a line of what Linux knows about this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def chain(error: BaseException | None) -> list[str]:
    return [] if error is None else [type(error).__name__, *chain(error.__cause__ or error.__context__)]


def told(path: Path, before: int) -> dict[str, Any]:
    """Read one file; tell how it ended, how long it computed and how much memory it took at most, beyond `before`."""
    faulthandler.dump_traceback_later(180, exit=True)
    if before:
        Path("/proc/self/clear_refs").write_text("5")
    start = time.process_time()
    EVENTS.clear()
    kinds: list[str] = []
    message = ""
    try:
        read_tensors(path)
    except BaseException as error:  # noqa: BLE001 - the test judges it
        kinds, message = chain(error), str(error)
    faulthandler.cancel_dump_traceback_later()
    seconds, events = time.process_time() - start, list(EVENTS)
    grown = memory("VmHWM") - before if before else 0
    acted = [*map(repr, hostile.MARKS), *events, *(["ran"] if Path("ran").exists() else [])]
    return {"kinds": kinds, "message": message, "seconds": seconds, "bytes": grown, "acted": acted}


def main(folder: Path, limit: int) -> None:
    warnings.simplefilter("error")
    names = sorted(path.name for path in folder.iterdir())
    # What is imported at the first reading is imported now.
    for suffix in (".safetensors", ".pth"):
        write_safetensors(good := folder / f"good{suffix}", {"a": hostile.torch.zeros(1)})
        read_tensors(good)
    hostile.zipped(hostile.weights())(good)
    read_tensors(good)
    before = 0
    if sys.platform == "linux":
        import resource

        before = memory("VmRSS")
        resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + limit, resource.RLIM_INFINITY))
    sys.addaudithook(watch)
    for name in names:
        sys.stdout.write(json.dumps({"name": name, **told(folder / name, before)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    main(Path.cwd(), int(sys.argv[2]))
