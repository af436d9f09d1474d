"""OSTrack follows a target frame by frame as the official tracker does."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ctsdk import Prediction
from ctsdk.crops import crop_window
from ctsdk_ostrack.adapter import OSTrackAdapter, OSTrackSession
from ctsdk_ostrack.model import OSTrack
from tests.helpers import golden_sequence

RUNS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "ostrack" / "tracking.json").read_text())


def tracker_of(run: str, tracker: OSTrack) -> OSTrack:
    """The tracker as it is, whose box soon fills the frame, or with a head that keeps it small and moves its peak."""
    if run == "plain":
        return tracker
    steered = copy.deepcopy(tracker)
    with torch.no_grad():
        steered.get_parameter("box_head.conv5_size.bias").sub_(0.9)
        steered.get_parameter("box_head.conv5_ctr.weight").mul_(10.0)
    return steered


class WatchedSession(OSTrackSession):
    """Keeps the cell, [column, row], in which the last target was found."""

    cell: list[int] | None = None

    def decode(self, prediction: Prediction) -> tuple[Tensor, float]:
        row, column = divmod(int((self.window * prediction.outputs["score_map"][0, 0]).argmax()), 16)
        self.cell = [column, row]
        return super().decode(prediction)


@pytest.mark.parametrize("run", ["plain", "steered"])
def test_session_follows_the_official_tracker(ostrack_ce: OSTrackAdapter, run: str) -> None:
    frames = RUNS[run]
    assert len(frames) == golden_sequence.NUM_FRAMES
    assert type(ostrack_ce.session(ostrack_ce.teacher)) is OSTrackSession
    session = WatchedSession(ostrack_ce, tracker_of(run, ostrack_ce.teacher))
    box = golden_sequence.FIRST_BOX_XYWH_PX
    assert list(crop_window(box, 2.0)) == frames[0]["crop"]
    session.start(golden_sequence.frame(0), box)
    for number, wanted in enumerate(frames[1:], start=1):
        assert list(crop_window(box, 4.0)) == wanted["crop"], number
        result = session.update(golden_sequence.frame(number))
        assert session.cell == wanted["cell"], number
        assert result.confidence == pytest.approx(wanted["response"], abs=2e-5), number
        assert result.box_xywh_px == pytest.approx(wanted["box_xywh_px"], abs=0.02), number
        box = result.box_xywh_px
