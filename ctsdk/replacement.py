"""Replacement training: for each step, which stages are the student's, and a tracker that runs them so.

A *schedule* says how likely each stage is the student's at a point of the run, a *draw* decides it for one step, and
:func:`mixed` makes the student run so for that step. Nothing here knows a loss or an optimiser.

Source: Hong et al., General Compression Framework for Efficient Transformer Object Tracking (arXiv 2409.17564),
replacement training and progressive replacement; LingyiHongfd/CompressTracker @ efd98ec,
lib/train/actors/compresstracker.py, set_bernoulli.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from ctsdk.errors import AdapterContractError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

    from ctsdk.adapter import Batch, TrackerAdapter
    from ctsdk.config import ReplacementConfig
    from ctsdk.stages import StagePlan

__all__ = [
    "ConstantSchedule",
    "LinearSchedule",
    "Mix",
    "OfficialSchedule",
    "ProgressiveSchedule",
    "Schedule",
    "StageRecorder",
    "all_student",
    "all_teacher",
    "draw_mix",
    "make_schedule",
    "mixed",
]

# By trunk, by stage: True where the student's block runs, False where the teacher's do.
Mix: TypeAlias = Mapping[str, tuple[bool, ...]]


class Schedule(Protocol):
    """How likely a stage is the student's."""

    def probability(self, progress: float) -> float:
        """Return the probability, in [0, 1], when the share `progress` in [0, 1] of the run is done."""
        ...


@dataclass(frozen=True)
class ConstantSchedule:
    """The same probability throughout; 1 trains the student alone."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_share(p=self.p)

    def probability(self, progress: float) -> float:
        """Return `p`."""
        del progress
        return self.p


@dataclass(frozen=True)
class LinearSchedule:
    """A straight line from `start` to `end` over the whole run."""

    start: float = 0.5
    end: float = 1.0

    def __post_init__(self) -> None:
        _check_share(start=self.start, end=self.end)

    def probability(self, progress: float) -> float:
        """Return the value of the line at `progress`."""
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class ProgressiveSchedule:
    """The paper's: `p_init` for the share `warm_up` of the run, a straight rise, 1 for the share `cool_down`.

    The paper's Eq. 1 prints p_init as the slope of the rise where (1 - p_init) is meant; both agree at 0.5.
    """

    p_init: float = 0.5
    warm_up: float = 0.1
    cool_down: float = 0.1

    def __post_init__(self) -> None:
        _check_share(p_init=self.p_init, warm_up=self.warm_up, cool_down=self.cool_down)
        if self.warm_up + self.cool_down > 1:
            raise ConfigError(
                f"ProgressiveSchedule has warm_up={self.warm_up} and cool_down={self.cool_down}; "
                "expected shares of the run that add up to at most 1."
            )

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


def all_student(plans: Mapping[str, StagePlan]) -> dict[str, tuple[bool, ...]]:
    """Return the mix in which every stage is the student's."""
    return {trunk: (True,) * plan.num_stages for trunk, plan in plans.items()}


def all_teacher(plans: Mapping[str, StagePlan]) -> dict[str, tuple[bool, ...]]:
    """Return the mix in which every stage is the teacher's; training never draws it."""
    return {trunk: (False,) * plan.num_stages for trunk, plan in plans.items()}


def draw_mix(
    plans: Mapping[str, StagePlan], probability: float, *, seed: int, step: int
) -> dict[str, tuple[bool, ...]]:
    """Draw which stages are the student's in a step.

    Each stage is the student's with the given probability, independently. If none is, one stage is chosen uniformly.
    The draw is a pure function of its arguments, so that every process of a run draws the same.

    Args:
        plans: the stages of every trunk.
        probability: in [0, 1].
        seed: of the run, at least 0.
        step: of the run, at least 0.
    """
    rng = np.random.default_rng([seed, step])
    counts = [plan.num_stages for plan in plans.values()]
    is_student = rng.random(sum(counts)) < probability
    if not is_student.any():
        is_student[rng.integers(len(is_student))] = True
    flags = iter(is_student.tolist())
    return {trunk: tuple(itertools.islice(flags, count)) for trunk, count in zip(plans, counts, strict=True)}


@contextmanager
def mixed(
    adapter: TrackerAdapter, student: nn.Module, plans: Mapping[str, StagePlan], mix: Mix
) -> Iterator[StageRecorder]:
    """Let `student` run with the teacher's blocks in the stages that `mix` gives to the teacher.

    Inside the context ``student`` is the mix. Everything outside the trunks (embeddings, norms, heads) is the student's
    own. The teacher's blocks keep their mode and their parameters.

    Yields:
        a recorder that holds the tokens after each stage once the mix has run.
    """
    stages: dict[str, list[list[nn.Module]]] = {}
    for name, trunk in adapter.trunks().items():
        own, frozen = trunk.blocks(student), trunk.blocks(adapter.teacher)
        stages[name] = [
            [own[stage]] if is_student else [frozen[i] for i in plans[name].blocks(stage)]
            for stage, is_student in enumerate(mix[name])
        ]
    with ExitStack() as stack:
        for name, trunk in adapter.trunks().items():
            stack.enter_context(trunk.swapped(student, list(itertools.chain.from_iterable(stages[name]))))
        ends = {name: [blocks[-1] for blocks in trunk_stages] for name, trunk_stages in stages.items()}
        yield stack.enter_context(StageRecorder(adapter, ends))


class StageRecorder:
    """Records what the last block of each stage returns while the context is open.

    Args:
        adapter: picks the tokens.
        ends: by trunk, by stage: the last block.
    """

    def __init__(self, adapter: TrackerAdapter, ends: Mapping[str, Sequence[nn.Module]]) -> None:
        self._adapter = adapter
        self._ends = ends
        self._outputs: dict[tuple[str, int], list[object]] = {}

    @classmethod
    def of_teacher(cls, adapter: TrackerAdapter, plans: Mapping[str, StagePlan]) -> StageRecorder:
        """Return a recorder for the clean teacher."""
        blocks = {name: trunk.blocks(adapter.teacher) for name, trunk in adapter.trunks().items()}
        return cls(
            adapter,
            {name: [blocks[name][plan.blocks(i)[-1]] for i in range(plan.num_stages)] for name, plan in plans.items()},
        )

    def __enter__(self) -> StageRecorder:
        self._outputs.clear()
        self._handles = [
            block.register_forward_hook(self._record(trunk, stage))
            for trunk, blocks in self._ends.items()
            for stage, block in enumerate(blocks)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def tokens(self, batch: Batch) -> dict[str, list[tuple[Tensor, ...]]]:
        """Return the tokens after each stage, by trunk.

        A block that ran several times gives the tokens of every run, one after the other.

        Raises:
            AdapterContractError: the last block of a stage did not run, or not through ``__call__``.
        """
        return {
            trunk: [self._stage_tokens(trunk, stage, batch) for stage in range(len(blocks))]
            for trunk, blocks in self._ends.items()
        }

    def _stage_tokens(self, trunk: str, stage: int, batch: Batch) -> tuple[Tensor, ...]:
        outputs = self._outputs.get((trunk, stage))
        if not outputs:
            raise AdapterContractError(
                f"the last block of stage {stage} of trunk {trunk!r} gave no output during the forward pass; expected "
                "the tracker to call it as block(...). Check that predict() runs the whole trunk, and that the tracker "
                "reads its block list anew in each forward."
            )
        runs = (self._adapter.stage_tokens(trunk, output, batch) for output in outputs)
        return tuple(itertools.chain.from_iterable(runs))

    def _record(self, trunk: str, stage: int) -> Callable[[nn.Module, object, object], None]:
        return lambda _module, _inputs, output: self._outputs.setdefault((trunk, stage), []).append(output)


def _check_share(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{name} is {value}; expected a number from 0 to 1.")
