"""Promises of the list swap: blocks change places and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ctsdk.config import CompressionConfig
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.mixes import StageRecorder, all_student, all_teacher, mixed
from ctsdk.engine.step import frozen, step_losses
from ctsdk.testing.forward import (
    check_boxes_are_shares_of_the_crop,
    check_losses_are_finite_scalars,
    check_spec_is_what_predict_takes,
)
from ctsdk.testing.promise import differences, every_mix, promise, require, setting

__all__ = [
    "check_all_student_mix_is_the_student",
    "check_all_teacher_mix_is_the_teacher",
    "check_every_mix_runs",
    "check_gradients_reach_only_replaced_stages",
    "check_stage_tokens_have_one_shape",
    "check_swapping_own_blocks_changes_nothing",
]


@promise(needs=(check_spec_is_what_predict_takes,))
def check_swapping_own_blocks_changes_nothing(adapter: TrackerAdapter) -> None:
    """A tracker whose own blocks are put into its trunk again predicts what it did, bit for bit."""
    batch = adapter.example_batch(2)
    with frozen(adapter.teacher), torch.no_grad():
        expected = adapter.predict(adapter.teacher, batch)
        for name, trunk in adapter.trunks().items():
            with trunk.swapped(adapter.teacher, trunk.blocks(adapter.teacher)):
                seen = adapter.predict(adapter.teacher, batch)
            again = adapter.predict(adapter.teacher, batch)
            fault = differences(seen, expected, rounding=0.0) or differences(again, expected, rounding=0.0)
            require(
                not fault,
                f"with its own blocks put into trunk {name!r} again, {fault}; expected no change.",
                "let the tracker read its block list anew in each forward instead of keeping a second reference to "
                "it, and let Trunk(after_swap=...) set what it sets rather than add to it.",
            )


@promise(
    needs=(
        check_boxes_are_shares_of_the_crop,
        check_losses_are_finite_scalars,
        check_swapping_own_blocks_changes_nothing,
    )
)
def check_all_teacher_mix_is_the_teacher(adapter: TrackerAdapter) -> None:
    """A student that runs with all the teacher's blocks predicts what the teacher predicts."""
    now = setting(adapter)
    with frozen(adapter.teacher), torch.no_grad():
        expected = adapter.predict(adapter.teacher, now.batch)
        with mixed(adapter, now.student, now.plans, all_teacher(now.plans)):
            fault = differences(adapter.predict(now.student, now.batch), expected)
    require(
        not fault,
        f"with all the teacher's blocks in the student, {fault}; expected what the teacher predicts.",
        "something outside the trunk depends on the blocks, such as a field that counts them: set it in "
        "Trunk(after_swap=...).",
    )


@promise(needs=(check_all_teacher_mix_is_the_teacher,))
def check_stage_tokens_have_one_shape(adapter: TrackerAdapter) -> None:
    """Whichever side computes a stage, its tokens have the shape that they have in the teacher."""
    now = setting(adapter)
    with frozen(adapter.teacher), torch.no_grad():
        with StageRecorder.of_teacher(adapter, now.plans) as recorder:
            adapter.predict(adapter.teacher, now.batch)
        expected = _shapes(recorder.tokens(now.batch))
        for mix in every_mix(now.plans):
            with mixed(adapter, now.student, now.plans, mix) as recorder:
                adapter.predict(now.student, now.batch)
            seen = _shapes(recorder.tokens(now.batch))
            require(
                seen == expected,
                f"in mix {mix} the stages give tokens of shapes {seen}, in the teacher {expected}.",
                "override stage_tokens to pick the same tokens everywhere, and to put eliminated ones back in place.",
            )


@promise(needs=(check_all_teacher_mix_is_the_teacher,))
def check_all_student_mix_is_the_student(adapter: TrackerAdapter) -> None:
    """The mix of student stages alone, which the end of a run trains, is the student that the run returns."""
    now = setting(adapter)
    with frozen(adapter.teacher), torch.no_grad():
        with mixed(adapter, now.student, now.plans, all_student(now.plans)):
            seen = adapter.predict(now.student, now.batch)
        fault = differences(seen, adapter.predict(now.student, now.batch), rounding=0.0)
    require(
        not fault,
        f"the student by itself and as a mix of its own stages disagree: {fault}; expected the same.",
        "predict() must not depend on which list object the trunk is, or on hooks of its blocks.",
    )


@promise(needs=(check_stage_tokens_have_one_shape,))
def check_every_mix_runs(adapter: TrackerAdapter) -> None:
    """Every mix of student and teacher stages gives finite losses."""
    now = setting(adapter)
    with frozen(adapter.teacher), torch.no_grad():
        for mix in every_mix(now.plans):
            terms = step_losses(adapter, now.student, now.plans, mix, now.batch, CompressionConfig())
            for name, loss in terms.items():
                require(
                    bool(torch.isfinite(loss)),
                    f"in mix {mix} the loss {name} is {loss.item()}; expected a number.",
                    "a student block must take what a teacher block returns, and the other way round: start it from "
                    "one (student_block), and keep widths and conventions.",
                )


@promise(needs=(check_every_mix_runs,))
def check_gradients_reach_only_replaced_stages(adapter: TrackerAdapter) -> None:
    """A step changes exactly the student's blocks that took part in it, and never the teacher's."""
    now = setting(adapter)
    with frozen(adapter.teacher):
        for mix in every_mix(now.plans):
            now.student.zero_grad(set_to_none=True)
            terms = step_losses(adapter, now.student, now.plans, mix, now.batch, CompressionConfig())
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            for name, trunk in adapter.trunks().items():
                seen = tuple(_has_gradient(block) for block in trunk.blocks(now.student))
                require(
                    seen == mix[name],
                    f"in mix {mix} gradients reach the blocks {seen} of trunk {name!r}; expected those that are the "
                    "student's.",
                    "the trunk may hold blocks that predict() does not run, or runs without gradient; blocks must not "
                    "share parameters.",
                )
            require(
                not _has_gradient(adapter.teacher),
                f"in mix {mix} gradients reach the teacher; expected none.",
                "predict() must run the tracker that it is given, never self.teacher.",
            )


def _has_gradient(module: nn.Module) -> bool:
    return any(parameter.grad is not None for parameter in module.parameters())


def _shapes(tokens: Mapping[str, Sequence[tuple[Tensor, ...]]]) -> dict[str, list[list[tuple[int, ...]]]]:
    return {trunk: [[tuple(t.shape) for t in stage] for stage in stages] for trunk, stages in tokens.items()}
