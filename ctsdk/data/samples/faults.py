"""What cannot be read: counted, said once, and an end to the run where it is more than a few files.

A data set of a million files has some that are damaged. A sample that meets one is drawn again; but a disk that is
gone, or a data set that was copied by half, must not quietly turn one mixture into another.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ctsdk.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["FaultLog", "UnreadableError", "reading"]

# Below this number, a share says nothing.
_LEAST_FAULTS = 10
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
class FaultLog:
    """Counts what could not be read, and logs a warning for each file once.

    Attributes:
        max_share: faults per sample above which :meth:`add` raises, once there are ten of them; 0 to raise at the
            first.
        num_samples: samples made so far.
        num_faults: how often something could not be read.
        reasons: what was said, each message once, the first ones first.
    """

    max_share: float
    num_samples: int = 0
    num_faults: int = 0
    reasons: dict[str, None] = field(default_factory=dict)

    def add(self, num_samples: int, reasons: Sequence[str]) -> None:
        """Count samples, and the faults that were met on the way to them.

        Raises:
            DataError: there are too many faults.
        """
        self.num_samples += num_samples
        self.num_faults += len(reasons)
        for reason in reasons:
            if reason not in self.reasons:
                self.reasons[reason] = None
                _logger.warning("the sample is drawn again: %s", reason)
        allowed = max(_LEAST_FAULTS - 1, self.max_share * self.num_samples) if self.max_share else 0
        if self.num_faults > allowed:
            shown = "\n".join(f"- {reason}" for reason in list(self.reasons)[:_NUM_SHOWN])
            raise DataError(
                f"{self.num_faults} times in {self.num_samples} samples something could not be read; expected at most "
                f"{self.max_share:g} a sample. Repair the data, or raise max_unreadable. {len(self.reasons)} different "
                f"messages, the first of them:\n{shown}"
            )
