from __future__ import annotations

import numpy as np
import pytest
from toy import toy_adapter

import ctsdk
from ctsdk.data.sequences import VideoSequence
from ctsdk.evaluation import score_sequence

TRUTH = np.array([[10.0, 10, 20, 20]] * 4)


def test_a_perfect_tracker_scores_twenty_of_twenty_one() -> None:
    score = score_sequence("s", TRUTH.copy(), TRUTH)
    assert score.auc == pytest.approx(20 / 21)
    assert score.precision[0] == 1.0
    assert score.normalised_precision[0] == 1.0


def test_thresholds_are_strict_for_overlap_and_not_for_distance() -> None:
    # 20 px to the right: no overlap, a centre distance of exactly 20 px, one target size.
    boxes = TRUTH + np.array([20, 0, 0, 0])
    score = score_sequence("s", boxes, TRUTH)
    assert score.success[0] == 0.25  # the first frame alone, which is given
    assert (score.precision[19], score.precision[20]) == (0.25, 1.0)
    # Half the area: an overlap of exactly 0.5 does not exceed 0.5.
    half = score_sequence("s", TRUTH * [1, 1, 1, 0.5], TRUTH)
    assert (half.success[9], half.success[10]) == (1.0, 0.25)


def test_absent_targets_miss_overlap_and_distance_but_pass_normalised() -> None:
    visible = np.array([True, True, False, False])
    score = score_sequence("s", TRUTH.copy(), TRUTH, visible)
    assert score.success[0] == 0.5
    assert score.precision[50] == 0.5
    assert score.normalised_precision[0] == 1.0


def test_empty_boxes_repeat_missing_ones_miss_surplus_ones_are_cut() -> None:
    empty = TRUTH.copy()
    empty[2] = 0
    assert score_sequence("s", empty, TRUTH).success[0] == 1.0
    assert score_sequence("s", TRUTH[:2].copy(), TRUTH).success[0] == 0.5
    assert len(score_sequence("s", np.concatenate([TRUTH, TRUTH]), TRUTH).boxes_xywh_px) == 4


@pytest.mark.parametrize("bad", [np.nan, -1.0])
def test_bad_boxes_are_refused_with_their_row(bad: float) -> None:
    boxes = TRUTH.copy()
    boxes[3, 2] = bad
    with pytest.raises(ctsdk.DataError, match="box 3 is"):
        score_sequence("s", boxes, TRUTH)
    with pytest.raises(ctsdk.DataError, match="expected \\(N, 4\\)"):
        score_sequence("s", boxes[:0], TRUTH)


def test_evaluate_tracks_and_averages_over_sequences() -> None:
    pytest.importorskip("cv2")
    frame = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    sequences = [
        VideoSequence(f"s{i}", np.array([[20.0, 20, 16, 16]] * 3), np.ones(3, bool), (80, 60), lambda _: frame)
        for i in range(2)
    ]
    adapter = toy_adapter()
    score = ctsdk.evaluate(adapter, adapter.teacher, sequences)
    assert score.auc == pytest.approx(np.mean([s.auc for s in score.sequences]))
    assert [len(s.boxes_xywh_px) for s in score.sequences] == [3, 3]
    with pytest.raises(ctsdk.DataError, match="no sequences"):
        ctsdk.evaluate(adapter, adapter.teacher, [])
