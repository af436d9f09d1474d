"""All promises in the order in which they build on one another, and how an adapter is held to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from ctsdk.errors import AdapterContractError
from ctsdk.plugins.adapters import load_adapter
from ctsdk.testing.following import (
    check_session_is_deterministic,
    check_session_returns_boxes_inside_frame,
    check_session_survives_a_target_that_leaves,
)
from ctsdk.testing.forward import (
    check_boxes_are_shares_of_the_crop,
    check_cpu_suffices_and_no_global_state_changes,
    check_losses_are_finite_scalars,
    check_spec_is_what_predict_takes,
)
from ctsdk.testing.learning import (
    check_a_teacher_as_student_imitates_perfectly,
    check_same_seed_same_loss,
    check_teacher_is_untouched,
)
from ctsdk.testing.mixes import (
    check_all_student_mix_is_the_student,
    check_all_teacher_mix_is_the_teacher,
    check_every_mix_runs,
    check_gradients_reach_only_replaced_stages,
    check_stage_tokens_have_one_shape,
    check_swapping_own_blocks_changes_nothing,
)
from ctsdk.testing.saving import check_official_layout_round_trip, check_student_reloads_from_its_state_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from ctsdk.engine.adapter import TrackerAdapter

    Check: TypeAlias = Callable[[TrackerAdapter], None]

__all__ = ["CheckResult", "adapter_checks", "check_adapter", "parametrize_with_checks"]


@dataclass(frozen=True)
class _Promise:
    """A check, and when it can be judged.

    Attributes:
        check: the check.
        needs: checks without which its outcome would say nothing.
        capability: what an adapter must be able to do for it to apply; None for all adapters.
    """

    check: Check
    needs: tuple[Check, ...] = ()
    capability: str | None = None

    @property
    def name(self) -> str:
        """The name of the check."""
        return self.check.__name__

    def skip_reason(self, adapter: TrackerAdapter) -> str:
        """Return why the check does not apply to an adapter; empty where it does."""
        if self.capability is None or self.capability in adapter.capabilities:
            return ""
        return f"{type(adapter).__name__}.capabilities does not name {self.capability!r}"


_FORWARD: Final = (
    check_spec_is_what_predict_takes,
    check_boxes_are_shares_of_the_crop,
    check_losses_are_finite_scalars,
)
_SWAPPED: Final = (
    *_FORWARD,
    check_swapping_own_blocks_changes_nothing,
    check_all_teacher_mix_is_the_teacher,
    check_stage_tokens_have_one_shape,
)
_TRAINED: Final = (*_SWAPPED, check_every_mix_runs)

_PROMISES: Final = (
    _Promise(check_spec_is_what_predict_takes),
    _Promise(check_boxes_are_shares_of_the_crop, needs=_FORWARD[:1]),
    _Promise(check_losses_are_finite_scalars, needs=_FORWARD[:1]),
    _Promise(check_cpu_suffices_and_no_global_state_changes, needs=_FORWARD),
    _Promise(check_swapping_own_blocks_changes_nothing, needs=_FORWARD[:1]),
    _Promise(check_all_teacher_mix_is_the_teacher, needs=_SWAPPED[:4]),
    _Promise(check_stage_tokens_have_one_shape, needs=_SWAPPED[:5]),
    _Promise(check_all_student_mix_is_the_student, needs=_SWAPPED[:5]),
    _Promise(check_every_mix_runs, needs=_SWAPPED),
    _Promise(check_gradients_reach_only_replaced_stages, needs=_TRAINED),
    _Promise(check_a_teacher_as_student_imitates_perfectly, needs=_SWAPPED),
    _Promise(check_teacher_is_untouched, needs=_TRAINED),
    _Promise(check_same_seed_same_loss, needs=_TRAINED),
    _Promise(check_student_reloads_from_its_state_dict, needs=_TRAINED),
    _Promise(check_official_layout_round_trip, needs=_FORWARD, capability="official"),
    _Promise(check_session_returns_boxes_inside_frame, needs=_FORWARD, capability="session"),
    _Promise(check_session_is_deterministic, needs=(check_session_returns_boxes_inside_frame,), capability="session"),
    _Promise(
        check_session_survives_a_target_that_leaves,
        needs=(check_session_returns_boxes_inside_frame,),
        capability="session",
    ),
)


@dataclass(frozen=True)
class CheckResult:
    """How one check ended.

    Attributes:
        name: of the check.
        status: "passed"; "failed"; "failed as expected" where the caller announced it; "skipped" where it does not
            apply to the adapter, or a check that it builds on did not pass.
        message: why it did not pass.
    """

    name: str
    status: Literal["passed", "failed", "failed as expected", "skipped"]
    message: str = ""


def check_adapter(
    adapter: TrackerAdapter | str,
    *,
    on_fail: Literal["raise", "collect"] = "raise",
    expected_failures: Mapping[str, str] | None = None,
    callback: Callable[[CheckResult], None] | None = None,
) -> list[CheckResult]:
    """Hold an adapter to every promise.

    A check is skipped where the adapter's ``capabilities`` do not name what it is about, and where a promise that it
    builds on is broken, so that one mistake is reported once.

    Args:
        adapter: the adapter, or the name of one that can be loaded without weights of the caller's.
        on_fail: raise at the first failure, or collect all.
        expected_failures: names of checks that will fail, with the reason.
        callback: called with each result as soon as it is there.

    Raises:
        AdapterContractError: a check failed and `on_fail` is "raise"; or `expected_failures` names no check.
    """
    adapter = load_adapter(adapter) if isinstance(adapter, str) else adapter
    expected, results = _known(expected_failures), list[CheckResult]()
    for promise in _PROMISES:
        result = _judge(promise, adapter, {r.name for r in results if r.status != "passed"}, expected)
        results.append(result)
        if callback is not None:
            callback(result)
        if result.status == "failed" and on_fail == "raise":
            raise AdapterContractError(f"{result.name}: {result.message}")
    return results


def parametrize_with_checks(
    adapters: Sequence[TrackerAdapter], *, expected_failures: Mapping[str, str] | None = None
) -> Any:  # noqa: ANN401 - pytest is the caller's
    """Return a pytest mark that runs a test once per adapter and check, as arguments ``adapter`` and ``check``.

    Each case has an id of its own, such as ``mine-check_every_mix_runs``. Checks that do not apply to an adapter are
    skipped with the reason. Here every check runs by itself, also where one that it builds on fails.

    Args:
        adapters: bound to trackers, which may be untrained.
        expected_failures: names of checks that will fail, with the reason; such a case fails if it passes.

    Raises:
        AdapterContractError: `expected_failures` names no check.
    """
    import pytest

    expected, cases = _known(expected_failures), []
    for adapter in adapters:
        for promise in _PROMISES:
            reason = promise.skip_reason(adapter)
            marks = [pytest.mark.skip(reason=reason)] if reason else []
            if promise.name in expected:
                marks.append(pytest.mark.xfail(reason=expected[promise.name], strict=True))
            cases.append(pytest.param(adapter, promise.check, marks=marks, id=f"{adapter.name}-{promise.name}"))
    return pytest.mark.parametrize(("adapter", "check"), cases)


def adapter_checks() -> list[Check]:
    """Return the checks, the most basic first."""
    return [promise.check for promise in _PROMISES]


def _judge(promise: _Promise, adapter: TrackerAdapter, unjudged: set[str], expected: Mapping[str, str]) -> CheckResult:
    name = promise.name
    reason = promise.skip_reason(adapter)
    if reason:
        return CheckResult(name, "skipped", reason)
    missing = [check.__name__ for check in promise.needs if check.__name__ in unjudged]
    if missing:
        return CheckResult(name, "skipped", f"it builds on {missing[0]}, which was not kept")
    try:
        promise.check(adapter)
    except AdapterContractError as error:
        return CheckResult(name, "failed as expected" if name in expected else "failed", str(error))
    if name in expected:
        message = f"it passed, but was expected to fail ({expected[name]}). Remove it from expected_failures."
        return CheckResult(name, "failed", message)
    return CheckResult(name, "passed")


def _known(expected_failures: Mapping[str, str] | None) -> Mapping[str, str]:
    names = {promise.name for promise in _PROMISES}
    unknown = sorted(set(expected_failures or ()) - names)
    if unknown:
        raise AdapterContractError(
            f"expected_failures names {', '.join(unknown)}; expected names of checks: {', '.join(sorted(names))}."
        )
    return expected_failures or {}
