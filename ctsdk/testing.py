"""Promises that an adapter makes, as checks with known answers: no data, seconds on a CPU.

For an adapter of your own, the whole contract test is::

    @ctsdk.testing.parametrize_with_checks([MyAdapter(teacher=my_tracker)])
    def test_contract(adapter, check):
        check(adapter)

Each check is named as the promise it holds the adapter to. A failure says which rule is broken, what was seen, and how
to mend it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ctsdk.compression import compress
from ctsdk.config import CompressionConfig
from ctsdk.errors import AdapterContractError, CtsdkError
from ctsdk.plugins import load_adapter
from ctsdk.replacement import StageRecorder, all_student, all_teacher, mixed
from ctsdk.stages import plan_stages
from ctsdk.student import build_student, trunk_depths
from ctsdk.tracking import track
from ctsdk.training import frozen, step_losses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from ctsdk.adapter import Batch, TrackerAdapter
    from ctsdk.replacement import Mix
    from ctsdk.stages import StagePlan

__all__ = ["CheckResult", "adapter_checks", "check_adapter", "parametrize_with_checks"]

# Enough stages for every kind of neighbour, few enough for every mix to be run.
_MOST_STAGES = 3
_CONFIG = CompressionConfig.from_mapping({"training": {"steps": 2, "batch_size": 2, "device": "cpu"}})


@dataclass(frozen=True)
class CheckResult:
    """How one check ended.

    Attributes:
        name: of the check.
        status: ``failed as expected`` for a failure that the caller announced.
        message: why it failed.
    """

    name: str
    status: Literal["passed", "failed", "failed as expected"]
    message: str = ""


def check_adapter(
    adapter: TrackerAdapter | str,
    *,
    on_fail: Literal["raise", "collect"] = "raise",
    expected_failed: Mapping[str, str] | None = None,
) -> list[CheckResult]:
    """Hold an adapter to every promise.

    Args:
        adapter: the adapter, or the name of one that can be loaded without weights of the caller's.
        on_fail: raise at the first failure, or collect all.
        expected_failed: names of checks that will fail, with the reason.

    Raises:
        AdapterContractError: a check failed and `on_fail` is "raise", or one passed that was expected to fail.
    """
    adapter = load_adapter(adapter) if isinstance(adapter, str) else adapter
    expected, results = expected_failed or {}, []
    for check in adapter_checks():
        result = _run(check, adapter)
        if check.__name__ in expected:
            if result.status == "passed":
                raise AdapterContractError(
                    f"{check.__name__} passed but was expected to fail ({expected[check.__name__]}). "
                    "Remove it from expected_failed."
                )
            result = CheckResult(result.name, "failed as expected", result.message)
        if result.status == "failed" and on_fail == "raise":
            raise AdapterContractError(f"{result.name}: {result.message}")
        results.append(result)
    return results


def parametrize_with_checks(adapters: Sequence[TrackerAdapter]) -> Any:  # noqa: ANN401 - pytest is the caller's
    """Return a pytest mark that runs a test once per adapter and check, as arguments ``adapter`` and ``check``."""
    import pytest

    cases = list(itertools.product(adapters, adapter_checks()))
    ids = [f"{adapter.name}-{check.__name__}" for adapter, check in cases]
    return pytest.mark.parametrize(("adapter", "check"), cases, ids=ids)


def adapter_checks() -> list[Callable[[TrackerAdapter], None]]:
    """Return the checks, the most basic first."""
    return [
        check_losses_are_finite_scalars,
        check_swapping_own_blocks_changes_nothing,
        check_stage_tokens_have_one_shape,
        check_every_mix_runs,
        check_gradients_reach_only_replaced_stages,
        check_a_teacher_as_student_imitates_perfectly,
        check_teacher_is_untouched,
        check_same_seed_same_loss,
        check_student_reloads_from_its_state_dict,
        check_session_returns_boxes_inside_frame,
    ]


def check_losses_are_finite_scalars(adapter: TrackerAdapter) -> None:
    """Boxes are (B, 4); the task's and the guidance's losses are finite scalars."""
    batch = adapter.example_batch(2)
    with frozen(adapter.teacher), torch.no_grad():
        prediction = adapter.predict(adapter.teacher, batch)
        groups = {
            "task_loss": adapter.task_loss(prediction, batch),
            "guidance_loss": adapter.guidance_loss(prediction, prediction, batch),
        }
    shape = tuple(prediction.boxes.shape)
    _require(shape == (2, 4), f"predict() gave boxes of shape {shape} for 2 samples; expected (2, 4), cxcywh.")
    for method, losses in groups.items():
        for name, loss in losses.items():
            _require(
                loss.ndim == 0 and bool(torch.isfinite(loss)),
                f"{method}() gave {name!r} = {loss}; expected a finite scalar. Average it over the batch.",
            )


def check_swapping_own_blocks_changes_nothing(adapter: TrackerAdapter) -> None:
    """A student whose stages are all the teacher's predicts what the teacher predicts, bit for bit."""
    batch, plans, student = _setting(adapter)
    with frozen(adapter.teacher), torch.no_grad():
        expected = adapter.predict(adapter.teacher, batch).boxes
        with mixed(adapter, student, plans, all_teacher(plans)):
            seen = adapter.predict(student, batch).boxes
    _require(
        torch.equal(seen, expected),
        f"the teacher's own blocks, swapped into a copy, move the boxes by up to {(seen - expected).abs().max():.2e}; "
        "expected no change. Something outside the trunk depends on the blocks: mend it in Trunk(after_swap=...).",
    )


def check_stage_tokens_have_one_shape(adapter: TrackerAdapter) -> None:
    """Whichever side computes a stage, its tokens have the shape that they have in the teacher."""
    batch, plans, student = _setting(adapter)
    with frozen(adapter.teacher), torch.no_grad():
        with StageRecorder.of_teacher(adapter, plans) as recorder:
            adapter.predict(adapter.teacher, batch)
        expected = _shapes(recorder.tokens(batch))
        for mix in _mixes(plans):
            with mixed(adapter, student, plans, mix) as recorder:
                adapter.predict(student, batch)
            seen = _shapes(recorder.tokens(batch))
            _require(
                seen == expected,
                f"in mix {mix} the stages give tokens of shapes {seen}, in the teacher {expected}. "
                "Override stage_tokens to put eliminated tokens back in place.",
            )


def check_every_mix_runs(adapter: TrackerAdapter) -> None:
    """Every mix gives finite losses."""
    batch, plans, student = _setting(adapter)
    with frozen(adapter.teacher), torch.no_grad():
        for mix in _mixes(plans):
            for name, loss in step_losses(adapter, student, plans, mix, batch, _CONFIG).items():
                _require(
                    bool(torch.isfinite(loss)), f"in mix {mix} the loss {name} is {loss.item()}; expected a number."
                )


def check_gradients_reach_only_replaced_stages(adapter: TrackerAdapter) -> None:
    """A step changes exactly the student's blocks that took part in it, and never the teacher's."""
    batch, plans, student = _setting(adapter)
    with frozen(adapter.teacher):
        for mix in _mixes(plans):
            student.zero_grad(set_to_none=True)
            terms = step_losses(adapter, student, plans, mix, batch, _CONFIG)
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            for name, trunk in adapter.trunks().items():
                seen = tuple(_has_gradient(block) for block in trunk.blocks(student))
                _require(
                    seen == mix[name],
                    f"in mix {mix} gradients reach the blocks {seen} of trunk {name!r}; expected those that are the "
                    "student's. The trunk may hold blocks that predict() does not run, or share parameters.",
                )
            _require(
                not _has_gradient(adapter.teacher),
                f"in mix {mix} gradients reach the teacher. predict() must run the tracker that it is given.",
            )


def check_a_teacher_as_student_imitates_perfectly(adapter: TrackerAdapter) -> None:
    """A student with all the teacher's blocks has no imitation and no guidance loss."""
    batch = adapter.example_batch(2)
    plans = plan_stages(trunk_depths(adapter), trunk_depths(adapter))
    student = build_student(adapter, plans).eval()
    with frozen(adapter.teacher), torch.no_grad():
        terms = step_losses(adapter, student, plans, all_student(plans), batch, _CONFIG)
    for name, loss in terms.items():
        if not name.startswith("task/"):
            _require(
                abs(loss.item()) < 1e-6,
                f"a copy of the teacher has the loss {name} = {loss.item():.2e}; expected 0. A loss of guidance must "
                "vanish where both predictions agree; student_block must return a copy in a plan of full depth.",
            )


def check_teacher_is_untouched(adapter: TrackerAdapter) -> None:
    """Training changes no parameter, no buffer and no mode of the teacher."""
    before = {key: value.clone() for key, value in adapter.teacher.state_dict().items()}
    modes = [module.training for module in adapter.teacher.modules()]
    _train(adapter)
    after = adapter.teacher.state_dict()
    changed = [key for key, value in before.items() if not torch.equal(value, after[key])]
    _require(not changed, f"training changed {', '.join(changed[:5])} of the teacher; expected no change.")
    _require(modes == [m.training for m in adapter.teacher.modules()], "training changed a mode of the teacher.")


def check_same_seed_same_loss(adapter: TrackerAdapter) -> None:
    """Two runs with one seed are the same."""
    one, other = _train(adapter), _train(adapter)
    _require(
        one == other,
        f"two runs with one seed gave losses {one} and {other}; expected the same. Take randomness from torch's global "
        "generator, which is seeded for each step, or from a seeded generator of your own.",
    )


def check_student_reloads_from_its_state_dict(adapter: TrackerAdapter) -> None:
    """A student's state dict, loaded into another one, gives the same boxes."""
    batch, plans, student = _setting(adapter)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.01)
        other = build_student(adapter, plans).eval()
        other.load_state_dict(student.state_dict())
        seen, expected = adapter.predict(other, batch).boxes, adapter.predict(student, batch).boxes
    _require(
        torch.equal(seen, expected),
        "a student loaded from the state dict of another gives other boxes; expected the same. "
        "Keep what it learns in parameters and buffers.",
    )


def check_session_returns_boxes_inside_frame(adapter: TrackerAdapter) -> None:
    """A session follows a box through frames and never leaves them."""
    _, _, student = _setting(adapter)
    frames = np.random.default_rng(0).integers(0, 256, (3, 120, 160, 3), dtype=np.uint8)
    for tracker in (adapter.teacher, student):
        for result in track(adapter, tracker, list(frames), (60.0, 40.0, 30.0, 24.0)):
            x, y, w, h = result.box_xywh_px
            _require(
                # A box clipped to the border may pass it by the rounding of left + width; NaN passes no comparison.
                w > 0 and h > 0 and 0 <= x <= 160 - w + 1e-6 and 0 <= y <= 120 - h + 1e-6,
                f"session.update() gave {result.box_xywh_px} in a frame of 160 x 120 px; expected a box inside it. "
                "Clip it, as ctsdk.tracking.clip_box does.",
            )


def _run(check: Callable[[TrackerAdapter], None], adapter: TrackerAdapter) -> CheckResult:
    try:
        check(adapter)
    except CtsdkError as error:
        return CheckResult(check.__name__, "failed", str(error))
    except Exception as error:  # noqa: BLE001 - whatever an adapter raises is a promise broken, and is reported
        return CheckResult(check.__name__, "failed", f"{type(error).__name__}: {error}")
    return CheckResult(check.__name__, "passed")


def _setting(adapter: TrackerAdapter) -> tuple[Batch, dict[str, StagePlan], nn.Module]:
    """Return a batch, plans of a few stages, and a student in eval mode."""
    depths = trunk_depths(adapter)
    plans = plan_stages(depths, {name: min(depth, _MOST_STAGES) for name, depth in depths.items()})
    return adapter.example_batch(2), plans, build_student(adapter, plans).eval()


def _mixes(plans: Mapping[str, StagePlan]) -> Iterator[Mix]:
    """Yield every mix with at least one student stage."""
    choices = [itertools.product([False, True], repeat=plan.num_stages) for plan in plans.values()]
    for flags in itertools.product(*choices):
        if any(itertools.chain.from_iterable(flags)):
            yield dict(zip(plans, flags, strict=True))


def _shapes(tokens: Mapping[str, Sequence[tuple[Tensor, ...]]]) -> dict[str, list[list[tuple[int, ...]]]]:
    return {trunk: [[tuple(t.shape) for t in stage] for stage in stages] for trunk, stages in tokens.items()}


def _has_gradient(module: nn.Module) -> bool:
    return any(parameter.grad is not None for parameter in module.parameters())


def _train(adapter: TrackerAdapter) -> list[float]:
    depths = trunk_depths(adapter)
    stages = {name: min(depth, _MOST_STAGES) for name, depth in depths.items()}
    config = CompressionConfig.from_mapping({**_CONFIG.to_mapping(), "stages": stages})
    history = compress(adapter, config, batches=[adapter.example_batch(2)], show_progress=False).history
    return [row["loss"] for row in history]


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AdapterContractError(message)
