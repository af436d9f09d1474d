"""Tracking videos in other processes: equal results, how errors come back, and that no process stays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, CtsdkError
from ctsdk.evaluation.results.predictions import TrackedVideo
from ctsdk.evaluation.workers import TrackingJob
from tests.helpers.evaluations import Frames, make_video, make_videos
from tests.helpers.toy import ToyAdapter, toy_adapter

ADAPTER = toy_adapter()


def run(made: list[Video], num_workers: int) -> dict[int, TrackedVideo]:
    job, frames = TrackingJob(ADAPTER, ADAPTER.teacher, made), []
    done = dict(job.run(range(len(made)), num_workers, frames.append))
    assert sum(frames) == sum(map(len, made))
    return done


def test_another_process_gives_what_this_one_gives() -> None:
    here, there = run(make_videos(), 0), run(make_videos(), 1)
    assert list(here) == list(there) == [0, 1, 2, 3]
    for number, tracked in here.items():
        assert (tracked.boxes_xywh_px == there[number].boxes_xywh_px).all()
        assert there[number].name == tracked.name
        assert len(there[number].seconds) == len(tracked)


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("value", ValueError, "^no value"),
        ("odd", RuntimeError, r"^tests\.helpers\.evaluations\.OddError: bothhalves\nwhile tracking video 'bad'\n"),
        ("exit", CtsdkError, r"^a worker process ended while these videos were tracked: 'bad'\. .*fewer num_workers"),
    ],
)
def test_errors_of_a_worker_come_back(fault: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        run([make_video("good"), make_video("bad", broken=3, fault=fault)], 1)
    if fault == "value":
        assert caught.value.__notes__ == ["while tracking video 'bad'"]
        assert "in _break" in str(caught.value.__cause__)


def test_workers_end_with_whoever_uses_them() -> None:
    job = TrackingJob(ADAPTER, ADAPTER.teacher, make_videos())
    results = job.run(range(4), 1, lambda _: None)
    next(results)
    results.close()
    assert multiprocessing.active_children() == []


SCRIPT = """
import os, sys, time
from dataclasses import dataclass, replace
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.helpers.evaluations import Frames, make_video
from tests.helpers.toy import toy_adapter
from ctsdk.evaluation.running import evaluate

@dataclass
class Slow:
    folder: str
    def __call__(self, index):
        Path(self.folder, str(os.getpid())).touch()
        time.sleep(0.5)
        return Frames()(index)

def main():
    adapter = toy_adapter()
    videos = [replace(make_video(name, 600), read_frame=Slow(sys.argv[2])) for name in "ab"]
    evaluate(adapter, adapter.teacher, videos, num_workers=2)

GUARD
    main()
"""


def start_script(folder: Path, guard: str) -> subprocess.Popen[str]:
    for name in ("workers", "tmp"):
        (folder / name).mkdir()
    (folder / "script.py").write_text(SCRIPT.replace("GUARD", guard), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "script.py", str(Path(__file__).parents[2]), "workers"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp")},
        start_new_session=True,
    )


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def has_ended(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    # A process whose parent is gone waits for whoever takes the place of the parent.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system does not list its processes as files")
@pytest.mark.parametrize("reason", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_when_the_program_does(tmp_path: Path, reason: signal.Signals) -> None:
    parent = start_script(tmp_path, 'if __name__ == "__main__":')
    wait_until(lambda: len(list((tmp_path / "workers").iterdir())) == 2)
    # Ctrl-C in a terminal reaches all processes, a kill only the one.
    if reason is signal.SIGINT:
        os.killpg(parent.pid, reason)
    else:
        parent.kill()
    stderr = parent.communicate(timeout=30)[1]
    wait_until(lambda: all(has_ended(path.name) for path in (tmp_path / "workers").iterdir()))
    if reason is signal.SIGINT:
        assert stderr.rstrip().endswith("KeyboardInterrupt")
        assert stderr.count("Traceback") == 1
        assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_a_script_without_a_guard_gets_a_hint(tmp_path: Path) -> None:
    stderr = start_script(tmp_path, "if True:").communicate(timeout=60)[1]
    assert "A script has to call this function under `if __name__ == '__main__':`" in stderr
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_cannot_be_sent_is_refused_before_anything_starts() -> None:
    made = replace(make_video("a"), read_frame=lambda index: Frames()(index))
    with pytest.raises(ConfigError, match=r"cannot be sent to worker processes: .*num_workers=0"):
        run([made], 2)


def test_a_class_that_workers_cannot_import_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = type("Hidden", (ToyAdapter,), {"__module__": "__main__", "__qualname__": "Hidden"})
    monkeypatch.setattr(sys.modules["__main__"], "Hidden", hidden, raising=False)
    job = TrackingJob(hidden(ADAPTER.teacher), ADAPTER.teacher, make_videos())
    with pytest.raises(ConfigError, match=r"a worker process cannot rebuild .*Hidden.*num_workers=0"):
        dict(job.run([0], 1, lambda _: None))
