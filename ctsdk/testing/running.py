"""Hold an adapter to all promises, in the order in which they build on one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.errors import AdapterContractError
from ctsdk.plugins.adapters import load_adapter
from ctsdk.testing import following, forward, learning, mixes, saving
from ctsdk.testing.promise import PROMISES, Check, Promise

__all__ = ["CheckResult", "adapter_checks", "check_adapter", "parametrize_with_checks"]


# The most basic first; inside a module, in the order in which they are written.
_PROMISES: Final = [
    promise
    for module in (forward, mixes, learning, saving, following)
    for promise in PROMISES.values()
    if promise.check.__module__ == module.__name__
]


@dataclass(frozen=True)
class CheckResult:
    """How one check ended.

    Attributes:
        name: of the check.
        status: "passed"; "failed"; "failed as expected" where `expected_failures` names it; "skipped" where it does not
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
        adapter: the adapter, or the name of one that needs no weights file.
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
) -> Any:  # noqa: ANN401 - pytest is no dependency
    """Return a pytest mark that runs a test once per adapter and check, as arguments ``adapter`` and ``check``.

    Each case has its own id, such as ``mine-check_every_mix_runs``. Checks that do not apply to an adapter are
    skipped with the reason. Here every check runs, also where one that it builds on fails.

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


def _judge(promise: Promise, adapter: TrackerAdapter, unjudged: set[str], expected: Mapping[str, str]) -> CheckResult:
    name = promise.name
    reason = promise.skip_reason(adapter)
    if reason:
        return CheckResult(name, "skipped", reason)
    missing = [check.__name__ for check in promise.needs if check.__name__ in unjudged]
    if missing:
        return CheckResult(name, "skipped", f"it builds on {missing[0]}, which did not pass")
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
