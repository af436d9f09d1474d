"""Promises of one forward pass: the inputs of predict, its outputs, and no side effects."""

from __future__ import annotations

import os
import random
import sys
from typing import Any

import numpy as np
import torch

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.faults import boxes_fault, losses_fault
from ctsdk.engine.step import frozen
from ctsdk.testing.promise import promise, require, setting

__all__ = [
    "check_boxes_are_shares_of_the_crop",
    "check_cpu_suffices_and_no_global_state_changes",
    "check_losses_are_finite_scalars",
    "check_spec_is_what_predict_takes",
]


@promise()
def check_spec_is_what_predict_takes(adapter: TrackerAdapter) -> None:
    """The tracker takes crops of the sizes and counts that its spec declares, in batches of any size.

    Training data, sessions and ``example_batch`` are cut by ``spec``; where it is wrong, all of them are.
    """
    spec = adapter.spec
    for size in (1, 2):
        batch = adapter.example_batch(size)
        seen = tuple(batch.templates.shape), tuple(batch.searches.shape)
        expected = (
            (spec.num_templates, size, 3, spec.template_size, spec.template_size),
            (spec.num_searches, size, 3, spec.search_size, spec.search_size),
        )
        require(
            seen == expected,
            f"example_batch({size}) has templates and searches of shapes {seen}; by the spec they are {expected}.",
            "correct TrackerSpec, or the example_batch that overrides the default one.",
        )
        try:
            with frozen(adapter.teacher), torch.no_grad():
                adapter.predict(adapter.teacher, batch)
        except Exception as error:  # noqa: BLE001 - the promise is that nothing is raised
            require(
                False,
                f"predict() of the teacher on {size} samples of these sizes raised {type(error).__name__}: {error}.",
                "set template_size, search_size, num_templates and num_searches of the spec to what the tracker was "
                "built for, and check which crops of the batch predict() hands to it.",
            )


@promise(needs=(check_spec_is_what_predict_takes,))
def check_boxes_are_shares_of_the_crop(adapter: TrackerAdapter) -> None:
    """Predicted boxes are (B, 4), cxcywh, in shares of the search crop.

    A trained tracker gives numbers in [0, 1]. An untrained one may stray, so only what lies outside [-1, 2] is held to
    be of another unit.
    """
    for size in (1, 2):
        batch = adapter.example_batch(size)
        with frozen(adapter.teacher), torch.no_grad():
            fault = boxes_fault(adapter.predict(adapter.teacher, batch), size)
        require(
            not fault,
            fault,
            "return Prediction(boxes) with centre x, centre y, width and height, divided by the side of the search "
            "crop; ctsdk.boxes converts between formats.",
        )


@promise(needs=(check_spec_is_what_predict_takes,))
def check_losses_are_finite_scalars(adapter: TrackerAdapter) -> None:
    """The losses of the task and of guidance are finite scalars with names."""
    batch = adapter.example_batch(2)
    with frozen(adapter.teacher), torch.no_grad():
        prediction = adapter.predict(adapter.teacher, batch)
        groups = {
            "task_loss": adapter.task_loss(prediction, batch),
            "guidance_loss": adapter.guidance_loss(prediction, prediction, batch),
        }
    require(bool(groups["task_loss"]), "task_loss() gave no loss; expected at least one.", "return what is minimised.")
    for method, losses in groups.items():
        fault = losses_fault(method, losses)
        require(not fault, fault, "return a dict of names to scalars, each a mean over the batch, already weighted.")
        for name, loss in losses.items():
            require(
                bool(torch.isfinite(loss)),
                f"{method}() gave {name!r} = {loss.item()} on a batch of noise; expected a finite number.",
                "look for a division by an area, a count or a deviation that can be zero, and bound it from below.",
            )


@promise(needs=(check_boxes_are_shares_of_the_crop, check_losses_are_finite_scalars))
def check_cpu_suffices_and_no_global_state_changes(adapter: TrackerAdapter) -> None:
    """A prediction, its losses and a student work on the CPU and leave no trace in the process.

    Seeds, the default dtype, gradient mode, threads, backend flags, the environment and the import path are the
    caller's. A prediction in eval mode draws no random number either.
    """
    callers = _global_state()
    with torch.random.fork_rng(devices=[]):
        # A random state that no seed gives.
        for _ in range(2):
            torch.rand(1), np.random.random(), random.random()  # noqa: NPY002
        now = setting(adapter)
        before = _global_state()
        with frozen(adapter.teacher):
            for tracker in (adapter.teacher, now.student):
                prediction = adapter.predict(tracker, now.batch)
                adapter.task_loss(prediction, now.batch)
        after = _global_state()
    changed = [name for name, value in before.items() if after[name] != value]
    _restore(callers)
    require(
        prediction.boxes.device.type == "cpu",
        f"predict() of a tracker on the CPU gave boxes on {prediction.boxes.device}; expected the CPU.",
        "take the device of new tensors from those of the batch, never from what the machine has.",
    )
    require(
        not changed,
        f"after a prediction, {', '.join(changed)} of the process had changed; expected no change.",
        "take randomness from your own generator, give dtype and device to each new tensor, and set no global flags.",
    )


def _global_state() -> dict[str, Any]:
    return {
        "torch's random state": torch.get_rng_state().tolist(),
        "NumPy's random state": _numpy_state(),
        "Python's random state": random.getstate(),
        "the default dtype": torch.get_default_dtype(),
        "the default device": torch.get_default_device(),
        "gradient mode": torch.is_grad_enabled(),
        "the number of threads": torch.get_num_threads(),
        "the deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "cuDNN's benchmark flag": torch.backends.cudnn.benchmark,
        "the environment": dict(os.environ),
        "sys.path": list(sys.path),
    }


def _numpy_state() -> tuple[Any, ...]:
    """Return NumPy's global state, with the array in it as bytes: arrays cannot be compared as other values are."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global state is what is checked
    return name, np.asarray(keys).tobytes(), *rest


def _restore(state: dict[str, Any]) -> None:
    """Undo changes, so that the next checks start as the caller would."""
    random.setstate(state["Python's random state"])
    name, keys, *rest = state["NumPy's random state"]
    np.random.set_state((name, np.frombuffer(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_default_dtype(state["the default dtype"])
    torch.set_grad_enabled(state["gradient mode"])
    torch.backends.cudnn.benchmark = state["cuDNN's benchmark flag"]
    sys.path[:] = state["sys.path"]
