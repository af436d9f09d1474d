"""The processes that make batches: signals leave them alone, they are missed when they end, and end with the program.

Job schedulers and terminals signal every process of a run. Its main process saves the state then, and for that it needs
its workers alive, so they do not listen.
"""

from __future__ import annotations

import atexit
import signal
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ctsdk.crops import import_cv2
from ctsdk.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.utils.data import DataLoader

__all__ = ["from_workers", "start_worker", "worker_ended"]

T = TypeVar("T")

_running: weakref.WeakSet[Any] = weakref.WeakSet()


def from_workers(loader: DataLoader[T]) -> Iterator[T]:
    """Start the workers of a loader and yield what they send.

    What a worker meets itself must come as a value: an error here is of the connection.

    Args:
        loader: with at least one worker, and :func:`start_worker` to start them.

    Raises:
        DataError: a worker was killed while it handed something over, which torch does not explain.
    """
    with _own_child_signals():
        portions = iter(loader)
    # Registered after what multiprocessing does at exit, so it comes before: that would wait without end for processes
    # that do not listen, where the error that ended the program still holds on to the loader.
    atexit.unregister(_end_running)
    atexit.register(_end_running)
    _running.add(portions)
    return _handed_over(portions)


def start_worker(worker: int) -> None:
    """Prepare a process that makes samples."""
    del worker
    # The workers are the parallelism, and OpenCV's threads do not survive a fork.
    import_cv2().setNumThreads(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def worker_ended(why: str) -> DataError:
    """Return the error that says what to do when a worker ended before its time, and `why`, a sentence."""
    return DataError(
        f"a process that makes batches ended: {why} If the memory ran out, use fewer data.num_workers. Then go on "
        "from the last saved state with resume."
    )


def _handed_over(portions: Iterator[T]) -> Iterator[T]:
    try:
        yield from portions
    except (OSError, EOFError) as error:
        # EOFError has nothing to say.
        raise worker_ended(
            f"it was killed while it handed a batch over ({str(error) or type(error).__name__})."
        ) from error


def _end_running() -> None:
    for portions in list(_running):
        portions._shutdown_workers()  # torch has no public way that does not wait for the last reference


@contextmanager
def _own_child_signals() -> Iterator[None]:
    """Keep torch from raising an error wherever the program happens to be when a worker ends.

    In the middle of a backward pass that would end the whole process. A loader also looks after its workers whenever it
    waits for one.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)
