from __future__ import annotations

import itertools

import pytest
import torch

from ctsdk import AdapterContractError, StagePlan, build_student
from ctsdk.config import ReplacementConfig
from ctsdk.engine.mixes import StageRecorder, all_student, all_teacher, draw_mix, mixed
from ctsdk.engine.schedules import ConstantSchedule, LinearSchedule, ProgressiveSchedule, make_schedule
from ctsdk.engine.step import step_losses
from tests.helpers.toy import toy_adapter, toy_batches, toy_config

PLANS = {"layers": StagePlan.divide(6, 3)}


def test_progressive_schedule_is_the_papers() -> None:
    schedule = make_schedule(ReplacementConfig())
    assert [schedule.probability(t) for t in (0.0, 0.0999, 0.1, 0.5, 0.9, 1.0)] == [0.5, 0.5, 0.5, 0.75, 1.0, 1.0]
    assert ProgressiveSchedule(0.2, 0.0, 0.0).probability(0.5) == pytest.approx(0.6)
    # Over a run, the default lets a stage be the student's in three steps of four.
    assert sum(schedule.probability(i / 1000) for i in range(1000)) / 1000 == pytest.approx(0.75, abs=1e-3)


def test_other_schedules() -> None:
    assert ConstantSchedule(0.3).probability(0.9) == 0.3
    assert LinearSchedule(0.4, 0.8).probability(0.5) == pytest.approx(0.6)


def test_draws_depend_on_seed_and_step_alone_and_never_lack_a_student() -> None:
    draws = [draw_mix(PLANS, 0.5, seed=3, step=step)["layers"] for step in range(4000)]
    assert draws == [draw_mix(PLANS, 0.5, seed=3, step=step)["layers"] for step in range(4000)]
    assert draws != [draw_mix(PLANS, 0.5, seed=4, step=step)["layers"] for step in range(4000)]
    assert all(any(flags) for flags in draws)
    # P(student) = p + (1 - p)^n / n: the rescued all-teacher draw adds a little.
    for stage in range(3):
        share = sum(flags[stage] for flags in draws) / len(draws)
        assert share == pytest.approx(0.5 + 0.125 / 3, abs=0.03)


def test_extreme_probabilities() -> None:
    assert all(draw_mix(PLANS, 1.0, seed=0, step=step) == all_student(PLANS) for step in range(50))
    lonely = [draw_mix(PLANS, 0.0, seed=0, step=step)["layers"] for step in range(300)]
    assert all(sum(flags) == 1 for flags in lonely)
    assert len(set(lonely)) == 3


def test_all_teacher_mix_is_the_teacher_bit_for_bit() -> None:
    adapter, batch = toy_adapter(), toy_batches(1)[0]
    student = build_student(adapter, PLANS).eval()
    adapter.teacher.eval()
    expected = adapter.predict(adapter.teacher, batch).boxes
    with mixed(adapter, student, PLANS, all_teacher(PLANS)):
        assert torch.equal(adapter.predict(student, batch).boxes, expected)
    assert len(student.layers) == 3


def test_a_teacher_as_student_has_no_imitation_and_no_guidance_and_no_gradient_from_them() -> None:
    adapter, batch = toy_adapter(), toy_batches(1)[0]
    plans = {"layers": StagePlan.divide(6, 6)}
    student = build_student(adapter, plans).eval()
    adapter.teacher.eval()
    terms = step_losses(adapter, student, plans, all_student(plans), batch, toy_config(stages=6))
    distilled = [terms["guidance/giou"], terms["guidance/l1"], terms["imitation"]]
    assert [term.item() for term in distilled] == [0.0, 0.0, 0.0]
    torch.stack(distilled).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in student.parameters())


@pytest.mark.parametrize("flags", list(itertools.product([True, False], repeat=3)))
def test_gradients_reach_exactly_the_students_own_parts(flags: tuple[bool, ...]) -> None:
    adapter, batch = toy_adapter(), toy_batches(1)[0]
    student = build_student(adapter, PLANS).eval()
    adapter.teacher.eval().requires_grad_(False)
    terms = step_losses(adapter, student, PLANS, {"layers": flags}, batch, toy_config())
    torch.stack(list(terms.values())).sum().backward()
    reached = [any(p.grad is not None for p in block.parameters()) for block in student.layers]
    assert reached == list(flags)
    assert student.embed.weight.grad is not None
    assert student.head.weight.grad is not None
    assert all(p.grad is None for p in adapter.teacher.parameters())


def test_teachers_blocks_keep_their_mode_inside_a_mix() -> None:
    adapter = toy_adapter()
    student = build_student(adapter, PLANS).train()
    adapter.teacher.eval()
    with mixed(adapter, student, PLANS, {"layers": (True, False, True)}):
        assert [block.training for block in student.layers] == [True, False, False, True]


def test_a_block_that_never_runs_is_named() -> None:
    adapter, batch = toy_adapter(), toy_batches(1)[0]
    recorder = StageRecorder.of_teacher(adapter, PLANS)
    with recorder, torch.no_grad():
        adapter.teacher.layers[0](torch.randn(1, 4, 16))
    with pytest.raises(AdapterContractError, match="stage 0 of trunk 'layers' gave no output"):
        recorder.tokens(batch)
    assert not adapter.teacher.layers[1]._forward_hooks


def test_a_block_that_runs_twice_is_compared_twice() -> None:
    adapter, batch = toy_adapter(), toy_batches(1)[0]
    with StageRecorder.of_teacher(adapter, PLANS) as recorder, torch.no_grad():
        adapter.predict(adapter.teacher, batch)
        adapter.predict(adapter.teacher, batch)
    assert [len(stage) for stage in recorder.tokens(batch)["layers"]] == [2, 2, 2]
