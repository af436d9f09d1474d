"""Tracking videos once each, one after the other or in several processes at once.

A video is tracked by one process with one thread for arithmetic, so what comes out does not depend on how many
processes there are: sums are made in the same order everywhere.
"""

from __future__ import annotations

import importlib.util
import pickle
import signal
import tempfile
import time
import traceback
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ctsdk.crops import import_cv2
from ctsdk.errors import ConfigError, CtsdkError
from ctsdk.evaluation.results.predictions import TrackedVideo

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from multiprocessing.context import SpawnProcess

    from numpy.typing import NDArray
    from torch import nn

    from ctsdk.data.videos import Video
    from ctsdk.engine.adapter import TrackerAdapter

__all__ = ["TrackingJob", "track_video"]

# Frames that are read while the tracker works on an earlier one.
_NUM_AHEAD = 4
_SECONDS_BETWEEN_REPORTS = 0.5


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
            numbers: which videos, in the order in which they are begun.
            num_workers: processes that track side by side; 0 for this process alone.
            on_frames: called with the number of frames that were done since it was called last.

        Raises:
            CtsdkError: a frame or box cannot be used, the job cannot be sent to another process, or such a process
                ended. Sequences that were yielded are not concerned.
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
        waiting = list(reversed(numbers))
        with tempfile.TemporaryDirectory(prefix="ctsdk-") as folder:
            path = Path(folder) / "job.pt"
            self._save(path)
            workers: list[_Worker] = []
            try:
                workers += (_Worker(path) for _ in range(min(num_workers, len(numbers))))
                for worker in workers:
                    worker.begin(waiting.pop())
                busy = {worker.connection: worker for worker in workers}
                while busy:
                    for ready in wait(list(busy)):
                        assert isinstance(ready, Connection)
                        worker = busy[ready]
                        answer = worker.receive(self.videos)
                        if isinstance(answer, int):
                            on_frames(answer)
                            continue
                        yield worker.number, answer
                        if waiting:
                            worker.begin(waiting.pop())
                        else:
                            del busy[ready]
            finally:
                for worker in workers:
                    worker.end()

    def _save(self, path: Path) -> None:
        try:
            torch.save(self, path, pickle_protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # whatever a stranger's object raises when it is pickled
            raise ConfigError(
                f"the tracker, its adapter or the videos cannot be sent to worker processes: {error}. Use "
                "num_workers=0, or make whatever cannot be pickled, such as a nested function that reads frames, a "
                "class or function of a module."
            ) from error


def track_video(
    adapter: TrackerAdapter,
    tracker: nn.Module,
    video: Video,
    on_frames: Callable[[int], object] = lambda _: None,
) -> TrackedVideo:
    """Follow the target of a video from its first true box to the last frame.

    Args:
        adapter: the tracker's adapter.
        tracker: the teacher or a student.
        video: the video; of its boxes only the first is used.
        on_frames: called with 1 after each frame.

    Returns:
        the boxes, the first one given; the seconds of ``start`` and of each ``update``, reading frames not included;
        the tracker's scores, NaN where it has none.

    Raises:
        CtsdkError: a frame or the first box cannot be used; the message begins with the video's name.
    """
    x, y, w, h = video.boxes_xywh_px[0].tolist()
    boxes = np.full((len(video), 4), (x, y, w, h))
    seconds, scores = np.empty(len(video)), np.full(len(video), np.nan)
    with _named(video.name), _read_ahead(video) as frames:
        session = adapter.session(tracker)
        for index, frame in enumerate(frames):
            begin = time.perf_counter()
            if index == 0:
                session.start(frame, (x, y, w, h))
            else:
                result = session.update(frame)
                boxes[index], scores[index] = result.box_xywh_px, result.score
            seconds[index] = time.perf_counter() - begin
            on_frames(1)
    return TrackedVideo(video.name, boxes, seconds, scores)


@contextmanager
def _read_ahead(video: Video) -> Iterator[Iterator[NDArray[np.uint8]]]:
    """Give the frames of a video, of which a thread always reads the next few."""
    reading: deque[Future[NDArray[np.uint8]]] = deque()

    def frames() -> Iterator[NDArray[np.uint8]]:
        for index in range(len(video)):
            reading.append(reader.submit(video.frame, index))
            if len(reading) > _NUM_AHEAD:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()

    with ThreadPoolExecutor(1, thread_name_prefix="frames") as reader:
        try:
            yield frames()
        finally:
            reader.shutdown(cancel_futures=True)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say in every error which video it comes from."""
    try:
        yield
    except CtsdkError as error:
        error.args = (f"video {name!r}: {error}", *error.args[1:])
        raise
    except Exception as error:
        error.add_note(f"while tracking video {name!r}")
        raise


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Worker:
    """A process that tracks one video at a time, seen from the process that started it.

    Attributes:
        connection: to the process.
        number: of the video that it was given last.
    """

    def __init__(self, path: Path) -> None:
        # A process that is forked off would inherit torch's threads and CUDA in a state that neither can use.
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.number = -1
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, path), daemon=True)
        self.process.start()
        # Once the process ends, its end of the pipe is closed everywhere, and ours says so.
        theirs.close()

    def begin(self, number: int) -> None:
        """Let it track a video."""
        self.number = number
        # Whether it is still there, receive() finds out.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(number)

    def receive(self, videos: Sequence[Video]) -> int | TrackedVideo:
        """Return a number of frames that were done, or the whole video; raise what the process raised."""
        try:
            answer: Any = self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            self.process.join()
            raise CtsdkError(
                f"video {videos[self.number].name!r}: the worker process that tracked it ended with exit code "
                f"{self.process.exitcode}. What it wrote to stderr says more. If its memory ran out, use fewer "
                "num_workers. A script has to call this function under `if __name__ == '__main__':`, because every "
                "worker imports the script."
            ) from error
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, int | TrackedVideo)
        return answer

    def end(self) -> None:
        """Stop it, whatever it is doing."""
        self.process.terminate()
        self.process.join()
        self.process.close()
        self.connection.close()


def _serve(parent: Connection, path: Path) -> None:
    """Track the videos whose numbers come from `parent`, until it is gone."""
    # Ctrl-C reaches every process of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    if importlib.util.find_spec("cv2") is not None:
        import_cv2().setNumThreads(1)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        job = _load(path)
        while True:
            number = parent.recv()
            parent.send(job if isinstance(job, Exception) else _answer(job, number, _Reports(parent)))


def _load(path: Path) -> TrackingJob | Exception:
    try:
        # The parent has just written it, into a folder that is open to nobody else.
        job: TrackingJob = torch.load(path, weights_only=False)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return ConfigError(
            f"a worker process cannot rebuild the tracker, its adapter or the videos: {error!r}. Use num_workers=0, "
            "or define their classes in a module that can be imported."
        )
    return job


def _answer(job: TrackingJob, number: int, reports: _Reports) -> TrackedVideo | Exception:
    try:
        tracked = track_video(job.adapter, job.tracker, job.videos[number], reports)
        reports.flush()
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return _portable(error)
    return tracked


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent, with the place where it was raised if it is none of our own."""
    if not isinstance(error, CtsdkError):
        error.add_note(f"in a worker process:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - one that cannot be sent is told in words
        return RuntimeError("\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]))
    return error


class _Reports:
    """Tells the parent how many frames are done, but not so often that it costs time."""

    def __init__(self, parent: Connection) -> None:
        self.parent, self.num_frames, self.last = parent, 0, time.monotonic()

    def __call__(self, num_frames: int) -> None:
        self.num_frames += num_frames
        if time.monotonic() - self.last > _SECONDS_BETWEEN_REPORTS:
            self.flush()

    def flush(self) -> None:
        """Tell what was not told yet."""
        self.parent.send(self.num_frames)
        self.num_frames, self.last = 0, time.monotonic()
