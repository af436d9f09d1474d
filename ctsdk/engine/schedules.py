"""How likely each stage is the student's at a point of the run.

Source: Hong et al., General Compression Framework for Efficient Transformer Object Tracking (arXiv 2409.17564),
progressive replacement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ctsdk.config import ReplacementConfig

__all__ = ["ConstantSchedule", "LinearSchedule", "ProgressiveSchedule", "Schedule", "make_schedule"]


class Schedule(Protocol):
    """How likely a stage is the student's."""

    def probability(self, progress: float) -> float:
        """Return the probability, in [0, 1], when the share `progress` in [0, 1] of the run is done."""
        ...


@dataclass(frozen=True)
class ConstantSchedule:
    """The same probability throughout; 1 trains the student alone."""

    p: float

    def probability(self, progress: float) -> float:
        """Return `p`."""
        del progress
        return self.p


@dataclass(frozen=True)
class LinearSchedule:
    """A straight line from `start` to `end` over the whole run."""

    start: float
    end: float

    def probability(self, progress: float) -> float:
        """Return the value of the line at `progress`."""
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class ProgressiveSchedule:
    """The paper's: `p_init` for the share `warm_up` of the run, a straight rise, 1 for the share `cool_down`.

    The paper's Eq. 1 prints p_init as the slope of the rise where (1 - p_init) is meant; both agree at 0.5.
    """

    p_init: float
    warm_up: float
    cool_down: float

    def probability(self, progress: float) -> float:
        """Return the probability at `progress`."""
        if progress < self.warm_up:
            return self.p_init
        if progress >= 1 - self.cool_down:
            return 1.0
        rise = (progress - self.warm_up) / (1 - self.warm_up - self.cool_down)
        return self.p_init + (1 - self.p_init) * rise


def make_schedule(config: ReplacementConfig) -> Schedule:
    """Return the schedule that a configuration names."""
    match config.schedule:
        case "progressive":
            return ProgressiveSchedule(config.p, config.warm_up, config.cool_down)
        case "constant":
            return ConstantSchedule(config.p)
        case "linear":
            return LinearSchedule(config.p, 1.0)
