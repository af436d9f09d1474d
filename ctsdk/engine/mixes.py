"""Replacement: which stages are the student's in a step, and a tracker that runs them so.

:func:`draw_mix` decides for one step, and :func:`mixed` makes the student run so for that step. How likely a
stage is the student's is in :mod:`ctsdk.engine.schedules`. Losses and optimisers come later.

Source: Hong et al., General Compression Framework for Efficient Transformer Object Tracking (arXiv 2409.17564),
replacement training; LingyiHongfd/CompressTracker @ efd98ec, lib/train/actors/compresstracker.py, set_bernoulli.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

import numpy as np
from torch import Tensor, nn

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import Batch
from ctsdk.engine.stages import StagePlan
from ctsdk.errors import AdapterContractError

__all__ = ["Mix", "StageRecorder", "all_student", "all_teacher", "draw_mix", "mixed"]

# By trunk, by stage: True where the student's block runs, False where the teacher's do.
Mix: TypeAlias = Mapping[str, tuple[bool, ...]]


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
