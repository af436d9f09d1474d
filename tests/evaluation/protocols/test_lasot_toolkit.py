"""The rules of LaSOT's own toolkit."""

from __future__ import annotations

import numpy as np
import pytest

from ctsdk.errors import DataError
from ctsdk.evaluation.protocols.lasot_toolkit import LasotToolkitProtocol
from tests.helpers.scored_videos import TRUTH, make_video, moved

NAN = np.nan


def figures(video: object = None, boxes: np.ndarray = TRUTH) -> list[float]:
    score = LasotToolkitProtocol().score(video or make_video(), boxes)  # type: ignore[arg-type]
    return [score.figures[name] for name in ("AUC", "P", "P_norm")]


def test_a_perfect_tracker_scores_twenty_of_twenty_one() -> None:
    assert figures() == pytest.approx([2000 / 21, 100, 100])


def test_unseen_frames_miss_everything() -> None:
    video = make_video(visible=np.array([False, True, True, False]))
    assert figures(video) == pytest.approx([1000 / 21, 50, 50])


def test_invalid_truth_misses_overlap_and_hits_the_rest() -> None:
    truth = TRUTH.copy()
    truth[2, 0] = 0
    truth[3] = NAN
    assert figures(make_video(truth), moved(TRUTH, 200, 0, 0, 0)) == pytest.approx([500 / 21, 75, 75])


def test_broken_boxes_are_repaired() -> None:
    boxes = TRUTH.copy()
    boxes[1] = NAN
    boxes[2, 3] = -2
    boxes[3, 0] = NAN
    assert figures(boxes=boxes) == pytest.approx([2000 / 21, 100, 100])
    boxes[0] = [300, 200, 5, 5]  # what the repair starts from is the predicted box
    assert figures(boxes=boxes) == pytest.approx([500 / 21, 25, 25])
    # Where the truth is not known nothing is repaired, and what follows takes it over.
    truth = TRUTH.copy()
    truth[2] = NAN
    boxes = TRUTH.copy()
    boxes[2] = [300, 200, 5, NAN]
    boxes[3] = 0
    assert figures(make_video(truth), boxes) == pytest.approx([1000 / 21, 75, 75])


def test_surplus_boxes_are_cut_and_too_few_refused() -> None:
    assert figures(boxes=np.tile(TRUTH, (2, 1))) == pytest.approx([2000 / 21, 100, 100])
    with pytest.raises(DataError, match="3 boxes for 4 frames; LaSOT's toolkit"):
        figures(boxes=TRUTH[:3])


def test_the_mean_leaves_out_videos_whose_curve_is_zero() -> None:
    protocol = LasotToolkitProtocol()
    # The only visible frame has truth at the border: no overlap counts, every distance does.
    truth = TRUTH * [0, 1, 1, 1]
    at_border = protocol.score(make_video(truth, name="border", visible=np.array([True, False, False, False])), truth)
    assert (at_border.figures["AUC"], at_border.figures["P"]) == (0, 25)
    mean, _ = protocol.summarise([at_border, protocol.score(make_video(), TRUTH)])
    assert mean == pytest.approx({"AUC": 2000 / 21, "P": 62.5, "P_norm": 62.5})
    assert np.isnan(protocol.summarise([at_border])[0]["AUC"])
