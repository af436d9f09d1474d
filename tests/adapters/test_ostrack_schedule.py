"""The official schedule repeats the table of the official CompressTracker code, epoch by epoch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctsdk.config import ReplacementConfig
from ctsdk.engine.schedules import OfficialSchedule, make_schedule

TABLES: dict[int, list[float]] = {
    int(epochs): table
    for epochs, table in json.loads((Path(__file__).parents[1] / "golden" / "ostrack" / "schedule.json").read_text())[
        "tables"
    ].items()
}


@pytest.mark.parametrize("epochs", TABLES)
def test_every_epoch(epochs: int) -> None:
    schedule = OfficialSchedule(epochs)
    seen = [schedule.of_epoch(epoch) for epoch in range(1, epochs + 1)]
    assert len(seen) == len(TABLES[epochs])
    assert seen == pytest.approx(TABLES[epochs], rel=0, abs=1e-12)


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 234])
@pytest.mark.parametrize("epochs", TABLES)
def test_every_step_of_a_run_has_the_probability_of_its_epoch(epochs: int, steps_per_epoch: int) -> None:
    schedule = make_schedule(ReplacementConfig(schedule="official", epochs=epochs))
    total = epochs * steps_per_epoch
    for epoch, wanted in enumerate(TABLES[epochs]):
        first, last = epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch - 1
        assert schedule.probability(first / total) == pytest.approx(wanted, abs=1e-12), (epoch, first)
        assert schedule.probability(last / total) == pytest.approx(wanted, abs=1e-12), (epoch, last)


def test_the_end_of_the_run_belongs_to_the_last_epoch() -> None:
    assert OfficialSchedule(50).probability(1.0) == 1.0
