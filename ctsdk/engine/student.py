"""Build a student: a copy of the teacher with one block per stage."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack

import torch
from torch import nn

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.stages import StagePlan
from ctsdk.errors import AdapterContractError

__all__ = ["build_student", "trunk_depths"]


def trunk_depths(adapter: TrackerAdapter) -> dict[str, int]:
    """Return the number of blocks of the teacher by trunk.

    Raises:
        AdapterContractError: the adapter names no trunk, or one that cannot be found.
    """
    trunks = adapter.trunks()
    if not trunks:
        raise AdapterContractError(
            f"adapter {adapter.name!r} names no trunk; expected at least one, "
            'such as {"backbone": Trunk("backbone.blocks")}.'
        )
    return {name: len(trunk.blocks(adapter.teacher)) for name, trunk in trunks.items()}


def build_student(adapter: TrackerAdapter, plans: Mapping[str, StagePlan], *, seed: int = 0) -> nn.Module:
    """Return a student: the teacher's own class, everything copied but the trunks, one block per stage in each.

    The teacher is as it was afterwards, and its blocks are never copied as a whole.

    Args:
        adapter: the teacher and where its blocks are.
        plans: the stages of every trunk.
        seed: for ``initialisation="random"``.

    Raises:
        AdapterContractError: a block cannot be initialised at random.
    """
    trunks, blocks = adapter.trunks(), {}
    for name, plan in plans.items():
        blocks[name] = [adapter.student_block(name, plan, stage) for stage in range(plan.num_stages)]
        if plan.initialisation == "random":
            for stage, block in enumerate(blocks[name]):
                _reset(block, seed=seed + stage, trunk=name)

    with ExitStack() as stack:
        for name in plans:
            stack.enter_context(trunks[name].swapped(adapter.teacher, blocks[name]))
        student = copy.deepcopy(adapter.teacher)
    # A teacher is often loaded frozen; a student is there to be trained.
    for parameter in student.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return student


def _reset(block: nn.Module, *, seed: int, trunk: str) -> None:
    """Draw the block's parameters anew, by each layer's own rule; the caller's random state stays as it was."""
    reset: set[int] = set()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in block.modules():
            reset_parameters = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset_parameters):
                reset_parameters()
                reset |= {id(parameter) for parameter in module.parameters()}
    left = [name for name, parameter in block.named_parameters() if id(parameter) not in reset]
    if left:
        raise AdapterContractError(
            f"a block of trunk {trunk!r} holds {', '.join(left[:5])}, which no reset_parameters() draws anew. "
            'Use another initialisation than "random", or give the block a reset_parameters method.'
        )
