"""How fast a run goes, how much memory it takes, and how long it will take: figures of the clock and the machine."""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ctsdk.ranks import Ranks

__all__ = ["Pace", "peak_memory_mib"]

# Steps between two rows. Of a sitting's first one nothing is told: it is slower than those to come.
_NUM_STEPS = 20

_logger = logging.getLogger(__name__)


class Pace:
    """Measures the steps of a run, and says once how long it will take.

    Args:
        num_steps: of the whole run.
        device: that trains.
        ranks: the processes that share each step; all must call :meth:`after` for each step.
    """

    def __init__(self, num_steps: int, device: torch.device, ranks: Ranks) -> None:
        self._num_steps, self._device, self._ranks = num_steps, device, ranks
        self._begin: float | None = None
        self._num_done, self._num_samples, self._is_told = 0, 0.0, False

    def after(self, step: int, num_samples: float) -> dict[str, float]:
        """Take note that a step is done, and return the figures of the last few steps if it is time for them.

        Saving and validation in between count. Figures: ``pace/samples_per_second`` of all processes together,
        ``pace/seconds_per_step``, ``pace/seconds_left``, and ``pace/peak_memory_mib`` of the process that has most.

        Args:
            step: steps that the run has done.
            num_samples: samples of this step, in all processes.
        """
        if self._begin is None:
            self._begin = time.monotonic()
            return {}
        self._num_done, self._num_samples = self._num_done + 1, self._num_samples + num_samples
        if self._num_done < _NUM_STEPS:
            return {}
        now = time.monotonic()
        seconds = now - self._begin
        left = seconds / self._num_done * (self._num_steps - step)
        figures = {
            "pace/samples_per_second": self._num_samples / seconds,
            "pace/seconds_per_step": seconds / self._num_done,
            "pace/seconds_left": left,
        }
        if peak := self._ranks.largest([peak_memory_mib(self._device)])[0]:
            figures["pace/peak_memory_mib"] = peak
        if not self._is_told:
            seconds_per_step = figures["pace/seconds_per_step"]
            _logger.info("%.2f s a step on %s: about %s left", seconds_per_step, self._device, _duration(left))
        self._begin, self._num_done, self._num_samples, self._is_told = now, 0, 0.0, True
        return figures


def peak_memory_mib(device: torch.device) -> float:
    """Return the most memory that this process has held so far, in MiB: of tensors on a GPU, of everything on a CPU.

    0 where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if importlib.util.find_spec("resource") is None:
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In KiB, but on macOS in bytes.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"
