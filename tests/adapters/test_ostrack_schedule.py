"""The schedule of the official CompressTracker code, epoch by epoch, and how far the paper's is from it."""

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


def official_probability(epoch: int, num_epochs: int) -> float:
    """Return what the official code has in an epoch, from 1: the rise starts an epoch late and ends an epoch early.

    Source: LingyiHongfd/CompressTracker @ efd98ec, lib/train/actors/compresstracker.py, set_bernoulli.
    """
    warm_up = cool_down = num_epochs // 10
    if epoch - 1 >= num_epochs - cool_down:
        return 1.0
    if warm_up < epoch - 1:
        return 0.5 + 0.5 * (epoch - warm_up) / (num_epochs - warm_up - cool_down)
    return 0.5


@pytest.mark.parametrize("num_epochs", TABLES)
def test_every_epoch_of_the_official_code(num_epochs: int) -> None:
    seen = [official_probability(epoch, num_epochs) for epoch in range(1, num_epochs + 1)]
    assert seen == pytest.approx(TABLES[num_epochs], rel=0, abs=1e-12)


@pytest.mark.parametrize("num_epochs", TABLES)
def test_the_papers_schedule_is_within_two_epochs_of_the_official_one(num_epochs: int) -> None:
    schedule = make_schedule(ReplacementConfig())
    rise = 0.5 / (num_epochs - 2 * (num_epochs // 10))  # in an epoch
    for number, wanted in enumerate(TABLES[num_epochs]):
        assert schedule.probability(number / num_epochs) == pytest.approx(wanted, rel=0, abs=2 * rise), number
