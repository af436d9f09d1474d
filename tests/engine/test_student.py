from __future__ import annotations

import pytest
import torch
from torch import nn

from ctsdk import AdapterContractError, StagePlan, build_student
from ctsdk.engine.student import trunk_depths
from tests.helpers.toy import toy_adapter


def test_student_is_the_same_class_with_copies_of_the_sources() -> None:
    adapter = toy_adapter()
    plan = StagePlan.divide(6, [1, 3, 2])
    student = build_student(adapter, {"layers": plan})
    assert type(student) is type(adapter.teacher)
    assert len(adapter.teacher.layers) == 6
    for block, source in zip(student.layers, plan.sources, strict=True):
        wanted = adapter.teacher.layers[source].state_dict()
        assert all(torch.equal(value, wanted[key]) for key, value in block.state_dict().items())
    shared = {id(p) for p in student.parameters()} & {id(p) for p in adapter.teacher.parameters()}
    assert not shared


def test_a_frozen_teacher_gives_a_trainable_student_and_stays_frozen() -> None:
    adapter = toy_adapter()
    adapter.teacher.requires_grad_(False)
    student = build_student(adapter, {"layers": StagePlan.divide(6, 2)})
    assert all(p.requires_grad for p in student.parameters())
    assert not any(p.requires_grad for p in adapter.teacher.parameters())


def test_random_blocks_are_seeded_and_leave_the_callers_randomness_alone() -> None:
    adapter, plans = toy_adapter(), {"layers": StagePlan.divide(6, 2, "random")}
    state = torch.get_rng_state()
    one, same, other = (build_student(adapter, plans, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    key = "layers.0.linear.weight"
    assert torch.equal(one[key], same[key])
    assert not torch.equal(one[key], other[key])
    assert not torch.equal(one[key], adapter.teacher.state_dict()["layers.2.linear.weight"])
    assert torch.equal(one["embed.weight"], adapter.teacher.embed.weight)


def test_a_parameter_that_nothing_resets_is_named() -> None:
    adapter = toy_adapter()
    adapter.teacher.layers[2].scale = nn.Parameter(torch.ones(1))
    with pytest.raises(AdapterContractError, match="holds scale"):
        build_student(adapter, {"layers": StagePlan.divide(6, 2, "random")})


def test_an_adapter_without_trunks_is_refused() -> None:
    adapter = toy_adapter()
    adapter.trunks = dict  # type: ignore[method-assign,assignment]
    with pytest.raises(AdapterContractError, match="names no trunk"):
        trunk_depths(adapter)
