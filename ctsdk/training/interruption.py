"""Signals that stop a run: remembered, so that it can finish its step and save its state."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

__all__ = ["Interruption"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Remembers SIGTERM and SIGINT (Ctrl-C) while its context is open; a second signal acts as usual.

    Only the main thread gets signals. In another one, nothing is remembered.

    Attributes:
        signal: the number of the signal that came; 0 if none did.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # None is a handler of a library in C, which Python cannot set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if self.signal:
            self.__exit__()
            signal.raise_signal(number)
        self.signal = number
