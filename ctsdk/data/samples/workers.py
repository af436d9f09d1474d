"""Data-loader workers ignore signals; a dead worker is reported; workers stop at exit.

Job schedulers and terminals signal every process of a run. Its main process then finishes its step and saves the state,
for which it needs its workers alive.
"""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from torch.utils.data import DataLoader

from ctsdk.crops import import_cv2
from ctsdk.errors import DataError

__all__ = ["from_workers", "start_worker", "worker_context", "worker_ended"]

T = TypeVar("T")

_running: weakref.WeakSet[Any] = weakref.WeakSet()


def from_workers(loader: DataLoader[T]) -> Iterator[T]:
    """Start the workers of a loader and yield what they send.

    An error inside a worker must be sent as a value: an error here is one of the connection.

    Args:
        loader: with at least one worker, and :func:`start_worker` to start them.

    Raises:
        DataError: a worker was killed while it sent something, which torch does not explain.
    """
    with _keep_child_signal_handler():
        portions = iter(loader)
    # Registered last, so it runs before the exit handler of multiprocessing: that one would wait without end for
    # workers that ignore signals, if the error that ended the program still holds on to the loader.
    atexit.unregister(_end_running)
    atexit.register(_end_running)
    _running.add(portions)
    return _explain_broken_connections(portions)


class _Flag:
    """An event without a lock.

    A worker that is killed while it reads multiprocessing's own event leaves it locked, and the loader waits for ever.
    """

    def __init__(self) -> None:
        self._value = multiprocessing.RawValue("b", 0)

    def is_set(self) -> bool:
        """Whether it was set."""
        return bool(self._value.value)

    def set(self) -> None:
        """Set it."""
        self._value.value = 1


def worker_context() -> BaseContext:
    """Return this platform's way to start processes, with events that a killed worker cannot lock."""
    usual = type(multiprocessing.get_context())
    context: BaseContext = type("Context", (usual,), {"Event": lambda _: _Flag()})()
    return context


def start_worker(worker: int) -> None:
    """Prepare a data-loader worker."""
    del worker
    # The workers are the parallelism, and OpenCV's threads do not survive a fork.
    import_cv2().setNumThreads(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def worker_ended(why: str) -> DataError:
    """Return the error for a worker that ended too early; `why` is a sentence."""
    return DataError(
        f"a process that makes batches ended: {why} If the memory ran out, use fewer data.num_workers. Then resume "
        "from the last saved state."
    )


def _explain_broken_connections(portions: Iterator[T]) -> Iterator[T]:
    try:
        yield from portions
    except (OSError, EOFError) as error:
        # EOFError has no text.
        raise worker_ended(
            f"it was killed while it handed a batch over ({str(error) or type(error).__name__})."
        ) from error


def _end_running() -> None:
    for portions in list(_running):
        portions._shutdown_workers()  # torch's public way waits for the last reference


@contextmanager
def _keep_child_signal_handler() -> Iterator[None]:
    """Keep torch from raising an error wherever the program happens to be when a worker ends.

    In the middle of a backward pass that would end the whole process. A loader also checks its workers while it
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
