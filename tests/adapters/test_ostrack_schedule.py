"""How far the paper's schedule is from that of the official CompressTracker code.

Source of the tables: LingyiHongfd/CompressTracker @ efd98ec, lib/train/actors/compresstracker.py, set_bernoulli.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctsdk.config import ReplacementConfig
from ctsdk.engine.schedules import make_schedule

TABLES: dict[int, list[float]] = {
    int(epochs): table
    for epochs, table in json.loads((Path(__file__).parents[1] / "golden" / "ostrack" / "schedule.json").read_text())[
        "tables"
    ].items()
}


@pytest.mark.parametrize("num_epochs", TABLES)
def test_the_papers_schedule_is_within_two_epochs_of_the_official_one(num_epochs: int) -> None:
    schedule = make_schedule(ReplacementConfig())
    rise = 0.5 / (num_epochs - 2 * (num_epochs // 10))  # in an epoch
    for number, wanted in enumerate(TABLES[num_epochs]):
        assert schedule.probability(number / num_epochs) == pytest.approx(wanted, rel=0, abs=2 * rise), number
