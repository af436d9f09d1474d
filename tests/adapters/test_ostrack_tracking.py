"""OSTrack follows a target frame by frame as the official tracker does."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import golden_sequence
import pytest
import torch

from ctsdk.data.crops import crop_window

if TYPE_CHECKING:
    from ctsdk import Prediction
    from ctsdk_ostrack.adapter import OSTrackAdapter
    from ctsdk_ostrack.model import OSTrack

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


@pytest.mark.parametrize("run", ["plain", "steered"])
def test_session_follows_the_official_tracker(ostrack_ce: OSTrackAdapter, run: str) -> None:
    frames = RUNS[run]
    assert len(frames) == golden_sequence.NUM_FRAMES
    session = ostrack_ce.session(tracker_of(run, ostrack_ce.teacher))
    seen: list[Prediction] = []
    decode = session.decode
    session.decode = lambda prediction: (seen.append(prediction), decode(prediction))[1]  # type: ignore[method-assign]

    box = golden_sequence.FIRST_BOX_XYWH_PX
    assert list(crop_window(box, 2.0)) == frames[0]["crop"]
    session.start(golden_sequence.frame(0), box)
    for number, wanted in enumerate(frames[1:], start=1):
        assert list(crop_window(box, 4.0)) == wanted["crop"], number
        result = session.update(golden_sequence.frame(number))
        response = session.window * seen[-1].outputs["score_map"][0, 0]
        row, column = divmod(int(response.argmax()), 16)
        assert [column, row] == wanted["cell"], number
        assert result.score == pytest.approx(wanted["response"], abs=2e-5), number
        assert result.box_xywh_px == pytest.approx(wanted["box_xywh_px"], abs=0.02), number
        box = result.box_xywh_px
