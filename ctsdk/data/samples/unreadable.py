"""Unreadable files: log each once, stop the run above a threshold.

A data set of a million files has some that are damaged. A sample that meets one is drawn again. But a missing disk, or
a data set that was copied only in part, must not silently change the mixture of data sets.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ctsdk.errors import DataError

__all__ = ["UnreadableError", "UnreadableFiles", "reading"]

# Below this number, a share means nothing.
_MIN_ERRORS = 10
_NUM_SHOWN = 5

_logger = logging.getLogger(__name__)


class UnreadableError(DataError):
    """A frame or an annotation cannot be read."""


@contextmanager
def reading() -> Iterator[None]:
    """Turn a DataError raised inside into an UnreadableError.

    Raises:
        UnreadableError: something inside raised a DataError.
    """
    try:
        yield
    except DataError as error:
        raise UnreadableError(str(error)) from error


@dataclass
class UnreadableFiles:
    """The files that could not be read so far.

    Attributes:
        max_share: read errors per sample above which :meth:`add` raises, once there are ten of them; 0 to raise at the
            first.
        num_samples: samples made so far.
        num_errors: read errors so far.
        messages: their messages, each once, the first ones first.
    """

    max_share: float
    num_samples: int = 0
    num_errors: int = 0
    messages: dict[str, None] = field(default_factory=dict)

    def add(self, num_samples: int, messages: Sequence[str]) -> None:
        """Count samples and the read errors that occurred while they were made; log each new message as a warning.

        Raises:
            DataError: there are too many errors.
        """
        self.num_samples += num_samples
        self.num_errors += len(messages)
        for message in messages:
            if message not in self.messages:
                self.messages[message] = None
                _logger.warning("the sample is drawn again: %s", message)
        allowed = max(_MIN_ERRORS - 1, self.max_share * self.num_samples) if self.max_share else 0
        if self.num_errors > allowed:
            shown = "\n".join(f"- {message}" for message in list(self.messages)[:_NUM_SHOWN])
            raise DataError(
                f"{self.num_errors} times in {self.num_samples} samples something could not be read; expected at most "
                f"{self.max_share:g} a sample. Repair the data, or raise max_unreadable. {len(self.messages)} "
                f"different messages, the first of them:\n{shown}"
            )
