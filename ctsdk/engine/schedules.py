"""How likely each stage is the student's at a point of the run.

Source: Hong et al., General Compression Framework for Efficient Transformer Object Tracking (arXiv 2409.17564),
progressive replacement; LingyiHongfd/CompressTracker @ efd98ec, lib/train/actors/compresstracker.py, set_bernoulli.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ctsdk.errors import ConfigError

if TYPE_CHECKING:
    from ctsdk.config import ReplacementConfig

__all__ = [
    "ConstantSchedule",
    "LinearSchedule",
    "OfficialSchedule",
    "ProgressiveSchedule",
    "Schedule",
    "make_schedule",
]


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


@dataclass(frozen=True)
class OfficialSchedule:
    """What the official code does, epoch by epoch: the rise starts an epoch late and ends an epoch early."""

    num_epochs: int = 500

    def __post_init__(self) -> None:
        if self.num_epochs < 1:
            raise ConfigError(f"OfficialSchedule has num_epochs={self.num_epochs}; expected at least 1.")

    def probability(self, progress: float) -> float:
        """Return the probability of the epoch that `progress` falls in."""
        # A step that begins an epoch may come out a rounding below it.
        epochs_done = int(progress * self.num_epochs + 1e-9)
        return self.of_epoch(min(epochs_done, self.num_epochs - 1) + 1)

    def of_epoch(self, epoch: int) -> float:
        """Return the probability of an epoch, counted from 1."""
        warm_up = cool_down = self.num_epochs // 10
        if epoch - 1 >= self.num_epochs - cool_down:
            return 1.0
        if warm_up < epoch - 1:
            return 0.5 + 0.5 * (epoch - warm_up) / (self.num_epochs - warm_up - cool_down)
        return 0.5


def make_schedule(config: ReplacementConfig) -> Schedule:
    """Return the schedule that a configuration names."""
    match config.schedule:
        case "progressive":
            return ProgressiveSchedule(config.p, config.warm_up, config.cool_down)
        case "constant":
            return ConstantSchedule(config.p)
        case "linear":
            return LinearSchedule(config.p, 1.0)
        case "official":
            return OfficialSchedule(config.epochs)
