"""The rules of the pysot toolkit."""

from __future__ import annotations

import numpy as np
import pytest

from ctsdk.errors import DataError
from ctsdk.evaluation.protocols.pysot import PysotProtocol
from tests.helpers.scored_videos import TRUTH, make_video, moved

NAN = np.nan


def figures(dataset_name: str, video: object = None, boxes: np.ndarray = TRUTH) -> list[float]:
    score = PysotProtocol(dataset_name).score(video or make_video(), boxes)  # type: ignore[arg-type]
    return [score.figures[name] for name in ("AUC", "P", "P_norm")]


def test_a_perfect_tracker_scores_twenty_of_twenty_one() -> None:
    assert figures("otb") == pytest.approx([2000 / 21, 100, 100])


def test_no_box_is_replaced() -> None:
    boxes = TRUTH.copy()
    boxes[0] += 200
    boxes[2] = 0
    boxes[3] = NAN
    assert figures("otb", boxes=boxes) == pytest.approx([500 / 21, 25, 25])


def test_flags_count_on_lasot_only() -> None:
    video = make_video(visible=np.array([True, True, False, False]))
    assert figures("lasot", video) == pytest.approx([1000 / 21, 50, 50])
    assert figures("otb", video) == pytest.approx([2000 / 21, 100, 100])


def test_truth_at_the_border_misses_overlap_and_a_centre_outside_hits_the_rest() -> None:
    truth = TRUTH.copy()
    truth[1, 0] = 0
    truth[2, 0] = -50
    truth[3] = NAN
    assert figures("uav123", make_video(truth), truth) == pytest.approx([500 / 21, 100, 100])
    # The centre of frame 1 is inside: there the distance does count.
    assert figures("uav123", make_video(truth), moved(truth, 200, 0, 0, 0)) == pytest.approx([0, 50, 50])


def test_a_box_is_expected_for_every_frame() -> None:
    for boxes in (TRUTH[:3], np.tile(TRUTH, (2, 1))):
        with pytest.raises(DataError, match=f"has {len(boxes)} boxes for 4 frames; pysot"):
            figures("otb", boxes=boxes)
