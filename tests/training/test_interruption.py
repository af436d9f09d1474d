from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ctsdk
from ctsdk.cli import main
from ctsdk.training.interruption import Interruption
from ctsdk.training.states import States
from tests.helpers.toy import toy_adapter, toy_batches, toy_config


class Signalling(list[ctsdk.Batch]):
    """Batches; while the third is read, a signal comes."""

    number = signal.SIGTERM

    def __iter__(self) -> Iterator[ctsdk.Batch]:
        for index, batch in enumerate(super().__iter__()):
            if index == 2:
                os.kill(os.getpid(), self.number)
            yield batch


@pytest.fixture(autouse=True)
def ctrl_c_interrupts() -> Iterator[None]:
    """As in a terminal; what a shell starts in the background ignores Ctrl-C, and so would these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_its_step_and_nothing_is_lost(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    batches = Signalling(toy_batches())
    batches.number = number
    with pytest.raises(ctsdk.TrainingInterruptedError, match=f"{number.name} after 3 steps") as caught:
        ctsdk.compress(toy_adapter(), toy_config(), batches=batches, run_dir=tmp_path)
    assert caught.value.signal == number
    assert caught.value.state_path == States(tmp_path).latest()
    assert signal.getsignal(number) is before
    resumed = ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches(), run_dir=tmp_path, resume=True)
    whole = ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches())
    assert resumed.history == whole.history
    for name, value in whole.student.state_dict().items():
        assert torch.equal(resumed.student.state_dict()[name], value), name


def test_without_a_folder_ctrl_c_is_what_it_always_is() -> None:
    batches = Signalling(toy_batches())
    batches.number = signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        ctsdk.compress(toy_adapter(), toy_config(), batches=batches)


def test_the_second_signal_does_not_wait() -> None:
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def run() -> None:
        with Interruption():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_exit_codes_of_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, code: int
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise ctsdk.TrainingInterruptedError("stopped", signal=number, student=torch.nn.Identity())

    monkeypatch.setattr(ctsdk, "compress", stopped)
    words = ["--adapter", "ostrack", "--variant", "tiny", "--weights", "random", "--out", str(tmp_path / "run")]
    assert main(["compress", *words]) == code
    assert "error: stopped" in capsys.readouterr().err
