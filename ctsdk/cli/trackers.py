"""How commands name a tracker: the folder of a run, or an adapter.

Examples::

    runs/four     the student that `ctsdk compress --out runs/four` wrote
    ostrack/tiny  the teacher of an adapter and a variant
    ostrack       the same, with `--variant`; or of an adapter without variants

A folder that holds a run goes before an adapter of the same name. ``--weights`` belongs to adapters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter
from torch import nn

import ctsdk
from ctsdk.cli.options import PluginOptions
from ctsdk.device import pick_device
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.errors import AdapterNotFoundError, ConfigError
from ctsdk.result import holds_result, load_teacher

__all__ = ["NamedTracker", "TrackerName", "TrackerOptions", "load_tracker", "load_trackers", "split_name"]

# What reports call the trackers of a run. --against takes the first word, too.
_TEACHER, _STUDENT = "teacher", "student"

TrackerName: TypeAlias = Annotated[str | None, Parameter(name=("--tracker", "--adapter", "--result"))]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrackerOptions(PluginOptions):
    """What an adapter's name leaves open, and where the tracker runs.

    Attributes:
        plugin: a file or module to import first, whose `@ctsdk.register_adapter` adds an adapter; may be given many
            times.
        variant: which member of the adapter's family; `NAME/VARIANT` says the same.
        weights: file of trained weights; leave it out if the variant ships its own; `random` for untrained ones.
        device: `cpu`, `cuda`, `cuda:1`; `auto` is the accelerator if there is one.
    """

    variant: str | None = None
    weights: str | None = None
    device: str = "auto"


@dataclass(frozen=True)
class NamedTracker:
    """A tracker, and what reports call it."""

    label: str
    adapter: TrackerAdapter
    tracker: nn.Module


def load_tracker(place: str | None, options: TrackerOptions) -> NamedTracker:
    """Load the student of a run's folder, or the teacher of an adapter.

    Raises:
        CtsdkError: there is no such tracker, or its weights cannot be read.
    """
    return load_trackers(place, None, options)[0]


def load_trackers(place: str | None, against: str | None, options: TrackerOptions) -> list[NamedTracker]:
    """Load a tracker, and before it the one to compare it with, if there is one.

    Args:
        place: as for :func:`load_tracker`.
        against: the same, or "teacher" for that of the student in `place`; None to compare with nothing.
        options: as for :func:`load_tracker`; beside a run, the variant and the weights are those of the other tracker.

    Raises:
        CtsdkError: there is no such tracker, or its weights cannot be read.
    """
    if place is None:
        raise ConfigError(
            "no tracker is named; give the folder of a run, or an adapter such as ostrack/tiny (`ctsdk adapters` lists "
            "them)."
        )
    options.import_plugins()
    device = pick_device(options.device)  # before weights are read, which may take long
    if against is None:
        trackers = [_load(place, options)]
    elif against == _TEACHER:
        trackers = _load_teacher_and_student(place, options)
    else:
        trackers = _load_two(against, place, options)
    for named in trackers:
        named.tracker.to(device)
    return trackers


def split_name(text: str, variant: str | None) -> tuple[str, str | None]:
    """Return the adapter's name and the variant of ``NAME`` or ``NAME/VARIANT``.

    Args:
        text: what was typed.
        variant: what was given as ``--variant``.

    Raises:
        ConfigError: the variant is given twice.
    """
    name, _, own = text.partition("/")
    if own and variant is not None:
        raise ConfigError(f"{text} names the variant {own!r} already; leave out --variant {variant}.")
    return name, own or variant


def _load(place: str, options: TrackerOptions) -> NamedTracker:
    if _is_run(place):
        _check_unset(place, options)
        result = ctsdk.load_result(place)
        return NamedTracker(_STUDENT, result.adapter, result.student)
    name, variant = split_name(place, options.variant)
    try:
        adapter = ctsdk.load_adapter(name, variant, options.weights)
    except AdapterNotFoundError as error:
        raise AdapterNotFoundError(f"there is no folder {place!r}, and {error}") from error
    return NamedTracker(adapter.variant or adapter.name, adapter, adapter.teacher)


def _load_two(first: str, second: str, options: TrackerOptions) -> list[NamedTracker]:
    are_runs = [_is_run(first), _is_run(second)]
    for_runs = options if all(are_runs) else replace(options, variant=None, weights=None)
    one, other = (
        _load(place, for_runs if is_run else options) for place, is_run in zip((first, second), are_runs, strict=True)
    )
    return [replace(one, label=f"{one.label}, against") if one.label == other.label else one, other]


def _load_teacher_and_student(place: str, options: TrackerOptions) -> list[NamedTracker]:
    """Load both with one adapter, which has the teacher's weights."""
    if not _is_run(place):
        raise ConfigError(f"--against teacher goes with a student, and {place!r} is no folder of one.")
    _check_unset(place, options)
    adapter = load_teacher(place)
    result = ctsdk.load_result(place, adapter)
    return [NamedTracker(_TEACHER, adapter, adapter.teacher), NamedTracker(_STUDENT, adapter, result.student)]


def _check_unset(place: str, options: TrackerOptions) -> None:
    """Refuse options of an adapter beside a run."""
    given = [f"--{name}" for name in ("variant", "weights") if getattr(options, name) is not None]
    if given:
        raise ConfigError(f"{place} says which tracker it is; leave out {' and '.join(given)}.")


def _is_run(place: str) -> bool:
    """Whether a place is the folder of a run; one without a result may still be the name of an adapter."""
    if not Path(place).is_dir():
        return False
    return holds_result(place) or split_name(place, None)[0] not in {info.name for info in ctsdk.list_adapters()}
