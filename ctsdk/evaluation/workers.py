"""Tracking videos once each, one after the other or in several processes at once.

Each video is tracked by one process with one thread for arithmetic. So results do not depend on the number of
processes: sums are made in the same order everywhere.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pickle
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection, get_context
from pathlib import Path

import torch
from torch import nn

from ctsdk.crops import import_cv2
from ctsdk.data.videos import Video
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.errors import ConfigError, CtsdkError
from ctsdk.evaluation.one_video import track_video
from ctsdk.evaluation.results.predictions import TrackedVideo

__all__ = ["TrackingJob"]


@dataclass(frozen=True)
class TrackingJob:
    """A tracker, and the videos that it is to follow.

    Attributes:
        adapter: the tracker's adapter.
        tracker: the teacher or a student.
        videos: what to follow.
    """

    adapter: TrackerAdapter
    tracker: nn.Module
    videos: Sequence[Video]

    def run(
        self, numbers: Sequence[int], num_workers: int, on_frames: Callable[[int], object]
    ) -> Generator[tuple[int, TrackedVideo]]:
        """Track some of the videos; each is yielded as soon as it is done.

        Args:
            numbers: which videos, in the order in which they are started.
            num_workers: processes that track side by side; 0 for this process alone.
            on_frames: called with the number of frames that were tracked since the last call: after each frame in this
                process, after each video of other processes.

        Raises:
            CtsdkError: a frame or box cannot be used, the job cannot be sent to another process, or such a process
                ended. Videos that were yielded before are not affected.
        """
        if num_workers > 0 and numbers:
            yield from self._run_in_processes(numbers, num_workers, on_frames)
            return
        with _one_thread():
            for number in numbers:
                yield number, track_video(self.adapter, self.tracker, self.videos[number], on_frames)

    def _run_in_processes(
        self, numbers: Sequence[int], num_workers: int, on_frames: Callable[[int], object]
    ) -> Generator[tuple[int, TrackedVideo]]:
        # A forked process would inherit torch's threads and CUDA in a state that neither can use.
        context = get_context("spawn")
        num_workers = min(num_workers, len(numbers))
        reader, writer = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(num_workers, context, _start_worker, (reader,))
        # Closed from right to left: closing the writer ends the workers, and closing the pool waits for that.
        with tempfile.TemporaryDirectory(prefix="ctsdk-") as folder, reader, pool, writer:
            path = Path(folder) / "job.pt"
            self._save(path)
            waiting = iter(numbers)
            running: dict[Future[TrackedVideo], int] = {}
            try:
                while True:
                    # No more than can run, so that the error below names few videos.
                    for number in islice(waiting, num_workers - len(running)):
                        running[pool.submit(_track_in_worker, path, number)] = number
                    if not running:
                        return
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    # The successful ones first, so that the caller has them when an error is raised.
                    for future in sorted(done, key=lambda future: future.exception() is not None):
                        tracked = future.result()
                        on_frames(len(tracked))
                        yield running.pop(future), tracked
            except BrokenProcessPool as error:
                names = ", ".join(repr(self.videos[number].name) for number in running.values())
                raise CtsdkError(
                    f"a worker process ended while these videos were tracked: {names}. What it wrote to stderr says "
                    "more. If its memory ran out, use fewer num_workers. A script has to call this function under "
                    "`if __name__ == '__main__':`, because every worker imports the script."
                ) from error

    def _save(self, path: Path) -> None:
        try:
            torch.save(self, path, pickle_protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # a third-party object can raise anything when it is pickled
            raise ConfigError(
                f"the tracker, its adapter or the videos cannot be sent to worker processes: {error}. Use "
                "num_workers=0, or make whatever cannot be pickled, such as a nested function that reads frames, a "
                "class or function of a module."
            ) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _start_worker(parent: connection.Connection) -> None:
    """Prepare a worker process; it ends when the other end of `parent` is closed, or its process is gone."""
    # Ctrl-C reaches every process of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    if importlib.util.find_spec("cv2") is not None:
        import_cv2().setNumThreads(1)
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: connection.Connection) -> None:
    # Nothing is ever sent, so this waits until the other end is closed.
    connection.wait([parent])
    os._exit(1)


def _track_in_worker(path: Path, number: int) -> TrackedVideo:
    try:
        job = _load(path)
        return track_video(job.adapter, job.tracker, job.videos[number])
    except Exception as error:
        # The pool breaks on an error that cannot be pickled and read again.
        if not _is_portable(error):
            raise RuntimeError("".join(traceback.format_exception_only(error))) from error
        raise


@functools.cache
def _load(path: Path) -> TrackingJob:
    try:
        # The parent has just written it, into a folder that only this user can open.
        job: TrackingJob = torch.load(path, weights_only=False)
    except Exception as error:  # a third-party object can raise anything when it is read
        raise ConfigError(
            f"a worker process cannot rebuild the tracker, its adapter or the videos: {error!r}. Use num_workers=0, "
            "or define their classes in a module that can be imported."
        ) from error
    return job


def _is_portable(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - a third-party error can raise anything here
        return False
    return True
