"""Faults planted in a run of the command: it ends with a code and a message, and can be resumed."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ctsdk
from ctsdk.cli import main
from ctsdk.training import loop as training
from ctsdk.training.states import States
from ctsdk.training.stepper import Stepper
from ctsdk_ostrack.adapter import OSTrackAdapter

STEP = 3  # in which the fault is


@pytest.fixture(scope="module")
def words(photographs: Path) -> list[str]:
    values = [
        *("training.steps=5", "training.batch_size=2", "training.save_every=2", "training.device=cpu"),
        *("data.num_videos=4", f"data.photographs={photographs}"),
    ]
    tracker = ["--adapter", "ostrack", "--variant", "tiny", "--weights", "random"]
    return ["compress", *tracker, *(word for value in values for word in ("--set", value))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> dict[str, Tensor]:
    """The student of the run without a fault."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*words, "--out", str(folder)]) == 0
    return ctsdk.load_result(folder).student.state_dict()


def before_step(patch: pytest.MonkeyPatch, act: Callable[[Stepper], None], number: int = STEP) -> None:
    take = Stepper.take

    def act_and_take(self: Stepper, step: int, *args: Any) -> dict[str, float]:
        if step == number:
            act(self)
        return take(self, step, *args)

    patch.setattr(Stepper, "take", act_and_take)


def nan_in_the_data(patch: pytest.MonkeyPatch) -> None:
    next_step, calls = training.next_step, iter(range(100))

    def spoilt(*args: Any) -> list[ctsdk.Batch]:
        parts = next_step(*args)
        return [replace(parts[0], searches=parts[0].searches / 0.0)] if next(calls) == STEP else parts

    patch.setattr(training, "next_step", spoilt)


def nan_in_a_weight(patch: pytest.MonkeyPatch) -> None:
    before_step(
        patch, lambda stepper: stepper.losses.student.get_parameter("backbone.norm.bias").data.fill_(float("nan"))
    )


def nan_in_a_loss(patch: pytest.MonkeyPatch) -> None:
    is_due: list[bool] = []
    before_step(patch, lambda _: is_due.append(True))
    task_loss = OSTrackAdapter.task_loss

    def spoilt(self: OSTrackAdapter, *args: Any) -> dict[str, Tensor]:
        losses = task_loss(self, *args)
        return {**losses, "l1": losses["l1"] * float("nan")} if is_due else losses

    patch.setattr(OSTrackAdapter, "task_loss", spoilt)


def a_quota_in_the_middle_of_a_save(patch: pytest.MonkeyPatch) -> None:
    # The system itself refuses to write on in a file of a megabyte; a state has several.
    before_step(patch, lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY)))


def a_killed_worker(patch: pytest.MonkeyPatch) -> None:
    def kill(_: Stepper) -> None:
        for worker in multiprocessing.active_children():
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)

    before_step(patch, kill, 1)  # while more steps are left than a worker has batches ready for


@pytest.fixture
def no_quota() -> Iterator[None]:
    """Whatever a test sets, no quota afterwards."""
    yield
    lift_the_quota()


def lift_the_quota() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.usefixtures("no_quota")
@pytest.mark.parametrize(
    ("plant", "says", "last"),
    [
        (nan_in_the_data, f"step {STEP}: .*the batch holds values that are not finite, in searches", 3),
        (nan_in_a_weight, f"step {STEP}: .*weights of the student are not finite: backbone.norm.bias", 2),
        (nan_in_a_loss, f"step {STEP}: .*it arises after the trunk: in the head or a loss", 3),
        (a_quota_in_the_middle_of_a_save, "step 4: the training state was not saved: .*File too large", 2),
    ],
)
def test_the_command_ends_in_order_and_can_be_resumed(
    words: list[str],
    whole: dict[str, Tensor],
    refused: Callable[..., str],
    tmp_path: Path,
    plant: Callable[[pytest.MonkeyPatch], None],
    says: str,
    last: int,
) -> None:
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        said = refused(*words, "--out", str(folder))
    lift_the_quota()
    assert re.search(says, said)
    assert str(folder / "states" / f"step-{last:08d}.pt") in said
    check_what_is_left(words, folder, whole)


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning", "ignore:.*use of fork:DeprecationWarning")
def test_the_command_ends_when_a_worker_is_killed(
    words: list[str], whole: dict[str, Tensor], refused: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        a_killed_worker(patch)
        settings = ("--set", "data.num_workers=1", "--set", "training.save_every=1")
        said = refused(*words, "--out", str(folder), *settings)
    assert re.search("a process that makes batches ended: .*(exited unexpectedly|killed while)", said)
    check_what_is_left(words, folder, whole)


def check_what_is_left(words: list[str], folder: Path, whole: dict[str, Tensor]) -> None:
    """The last state is sound, and without the fault a run that is resumed from it ends like one that never had it."""
    latest = States(folder).latest()
    assert latest is not None
    state = torch.load(latest, weights_only=True)
    assert all(value.isfinite().all() for value in state["student"].values())
    assert not (folder / "result.json").exists()
    assert main([*words, "--out", str(folder), "--resume"]) == 0
    student = ctsdk.load_result(folder).student.state_dict()
    assert all(torch.equal(value, student[name]) for name, value in whole.items())
