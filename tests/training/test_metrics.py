from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

import ctsdk
from ctsdk.training.metrics import METRICS_FILE, MetricsLog


@contextmanager
def opened(folder: Path, first_step: int = 0) -> Iterator[MetricsLog]:
    log = MetricsLog(folder)
    log.open(first_step)
    yield log
    log.close()


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]


def test_a_line_that_was_cut_off_is_dropped_and_steps_to_come_again_too(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        for step in range(4):
            log.add(step, loss=1.0)
        log.add(2, **{"validation/iou": 0.5})
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"step": 4, "lo')
    with opened(tmp_path, 2) as log:
        assert [row["step"] for row in log.rows] == [0, 1, 2]
        log.add(2, loss=3.0)
        assert lines(tmp_path) == log.rows
    assert [row.get("loss") for row in lines(tmp_path)] == [1.0, 1.0, None, 3.0]


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"loss": 1}', b"\xff", b"[" * 100_000])
def test_a_damaged_line_is_an_error(tmp_path: Path, line: bytes) -> None:
    with opened(tmp_path) as log:
        log.add(0, loss=1.0)
    rows = (tmp_path / METRICS_FILE).read_bytes()
    (tmp_path / METRICS_FILE).write_bytes(rows + line + b"\n" + rows)
    with pytest.raises(ctsdk.TrainingError, match=f"{METRICS_FILE} is damaged: line 2 is "):
        MetricsLog(tmp_path).open(2)
    assert (tmp_path / METRICS_FILE).read_bytes() == rows + line + b"\n" + rows


def test_tensorboard_forgets_the_steps_that_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.summary.writer import event_file_writer

    # TensorBoard reads files by name, in which the second comes first: a resumed run is never in the same second.
    seconds = itertools.count(1_700_000_000.0)
    monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda: next(seconds)))
    with opened(tmp_path) as log:
        for step in range(4):
            log.add(step, loss=1.0)
        log.add(2, **{"validation/iou": 0.5})
    with opened(tmp_path, 2) as log:
        log.add(2, loss=3.0)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(0, 1.0), (1, 1.0), (2, 3.0)]
    assert [(event.step, event.value) for event in events.Scalars("validation/iou")] == [(2, 0.5)]


def test_a_disk_that_is_full_is_an_error(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.add(0, loss=1.0)
        assert log._steps._file is not None
        log._steps._file.close()
        log._steps._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115, PTH123 - takes no byte
        with pytest.raises(ctsdk.TrainingError, match=r"step 1: cannot write .*No space left"):
            log.add(1, loss=1.0)
    assert lines(tmp_path) == [{"step": 0, "loss": 1.0}]
