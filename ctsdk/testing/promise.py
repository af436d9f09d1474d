"""How a promise is written: a function of an adapter that reports what it found and how to fix it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import Batch, Prediction
from ctsdk.engine.mixes import Mix
from ctsdk.engine.stages import StagePlan, plan_stages
from ctsdk.engine.student import build_student, trunk_depths
from ctsdk.errors import AdapterContractError

Check: TypeAlias = Callable[[TrackerAdapter], None]


__all__ = [
    "PROMISES",
    "ROUNDING",
    "Promise",
    "Setting",
    "differences",
    "every_mix",
    "few_stages",
    "promise",
    "require",
    "setting",
]

# Enough stages for every kind of neighbour, few enough for every mix to be run.
_MOST_STAGES = 3
# As a share of the largest value. Copies of the same numbers lie elsewhere in memory, and there a kernel may add them
# up in another order; a broken promise moves the result much further.
ROUNDING = 1e-5
_START_FROM_ERROR = "start from that error; it is the cause of this one, with its own traceback."


class _BrokenError(Exception):
    """A promise does not hold: what was found, and how to fix it."""

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(found)
        self.fix = fix


def require(holds: bool, found: str, fix: str) -> None:
    """Break the promise unless it holds.

    Args:
        holds: whether it does.
        found: what was seen and what was expected.
        fix: what the adapter's author does about it.
    """
    if not holds:
        raise _BrokenError(found, fix)


@dataclass(frozen=True)
class Promise:
    """A check, and when it can be judged.

    Attributes:
        check: the check.
        needs: checks without which its outcome would say nothing, the most basic first.
        capability: what an adapter must be able to do for it to apply; None for all adapters.
    """

    check: Check
    needs: tuple[Check, ...]
    capability: str | None

    @property
    def name(self) -> str:
        """The name of the check."""
        return self.check.__name__

    def skip_reason(self, adapter: TrackerAdapter) -> str:
        """Return why the check does not apply to an adapter; empty where it does."""
        if self.capability is None or self.capability in adapter.capabilities:
            return ""
        return f"{type(adapter).__name__}.capabilities does not name {self.capability!r}"


# All promises that were written, by their checks.
PROMISES: dict[Check, Promise] = {}


def promise(*, needs: tuple[Check, ...] = (), capability: str | None = None) -> Callable[[Check], Check]:
    """Make a function a promise, whose failure reports the claim, what was found, how to fix it and where to read on.

    Args:
        needs: promises that it builds on; what these need is added.
        capability: what an adapter must be able to do for it to apply; None for all adapters.
    """

    def decorate(check: Check) -> Check:
        @functools.wraps(check)
        def checked(adapter: TrackerAdapter) -> None:
            try:
                check(adapter)
            except _BrokenError as broken:
                raise _failure(check, str(broken), broken.fix) from None
            except Exception as error:
                # Whatever an adapter raises breaks the promise; the error stays attached, with its own traceback.
                raise _failure(check, f"{type(error).__name__}: {error}", _START_FROM_ERROR) from error

        all_needs = dict.fromkeys(basic for need in needs for basic in (*PROMISES[need].needs, need))
        PROMISES[checked] = Promise(checked, tuple(all_needs), capability)
        return checked

    return decorate


def _failure(check: Callable[[TrackerAdapter], None], found: str, fix: str) -> AdapterContractError:
    claim = (check.__doc__ or "").strip().partition("\n")[0]
    return AdapterContractError(
        f"{claim}\n  found:   {found}\n  to fix:  {fix}\n  to read: python -m pydoc ctsdk.testing.{check.__name__}"
    )


@dataclass(frozen=True)
class Setting:
    """What most checks need.

    Attributes:
        batch: two samples of noise.
        plans: a few stages for each trunk.
        student: a student of these stages, in eval mode.
    """

    batch: Batch
    plans: dict[str, StagePlan]
    student: nn.Module


def setting(adapter: TrackerAdapter) -> Setting:
    """Return a batch, plans, and a student of them."""
    plans = plan_stages(trunk_depths(adapter), few_stages(adapter))
    return Setting(adapter.example_batch(2), plans, build_student(adapter, plans).eval())


def few_stages(adapter: TrackerAdapter) -> dict[str, int]:
    """Return a small number of stages for each trunk."""
    return {name: min(depth, _MOST_STAGES) for name, depth in trunk_depths(adapter).items()}


def every_mix(plans: Mapping[str, StagePlan]) -> Iterator[Mix]:
    """Yield every mix with at least one student stage."""
    choices = [itertools.product([False, True], repeat=plan.num_stages) for plan in plans.values()]
    for flags in itertools.product(*choices):
        if any(itertools.chain.from_iterable(flags)):
            yield dict(zip(plans, flags, strict=True))


def differences(seen: Prediction, expected: Prediction, rounding: float = ROUNDING) -> str:
    """Return which outputs of two predictions differ, and by how much; empty where none does.

    Args:
        seen: of one tracker.
        expected: of the other.
        rounding: how far values may be apart, as a share of the largest; 0 where both use the very same weights.
    """
    pairs = {"boxes": (seen.boxes, expected.boxes)}
    pairs |= {name: (seen.outputs[name], value) for name, value in expected.outputs.items() if name in seen.outputs}
    found = []
    for name, (one, other) in pairs.items():
        if one.shape != other.shape:
            found.append(f"{name} has shape {tuple(one.shape)} instead of {tuple(other.shape)}")
        elif not torch.equal(one, other):
            apart, largest = (one.double() - other.double()).abs().max(), other.double().abs().max()
            if not apart <= rounding * largest.clamp_min(1.0):  # NaN is no agreement
                found.append(f"{name} differs by up to {apart:.2e}")
    return ", ".join(found)
