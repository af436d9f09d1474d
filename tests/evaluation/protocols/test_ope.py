"""One-pass evaluation by the rules of the OSTrack family, rule by rule and data set by data set."""

from __future__ import annotations

import numpy as np
import pytest

from ctsdk.errors import DataError
from ctsdk.evaluation.protocols.ope import OnePassProtocol
from tests.helpers.scored_videos import TRUTH, make_video, moved

NAN, INF = np.nan, np.inf
PUBLIC = ["got10k", "trackingnet", "tnl2k", "nfs", "otb", "vot", "coco", "vid"]


def ostrack(dataset_name: str = "otb", **options: bool) -> OnePassProtocol:
    return OnePassProtocol("ostrack", dataset_name, **options)


def test_a_perfect_tracker_scores_twenty_of_twenty_one() -> None:
    score = ostrack().score(make_video(), TRUTH)
    assert score.figures["AUC"] == pytest.approx(2000 / 21)
    assert score.figures["AO_valid_frames"] == 1
    assert score.curves["precision"][0] == 1
    assert score.curves["normalised_precision"][0] == 1


def test_thresholds_are_strict_for_overlap_and_not_for_distance() -> None:
    # 20 px to the right: no overlap, a centre distance of exactly 20 px, one target size.
    score = ostrack().score(make_video(), moved(TRUTH, 20, 0, 0, 0))
    assert score.curves["success"][0] == 0.25  # the first frame alone, which is given
    assert score.curves["precision"][[19, 20]].tolist() == [0.25, 1.0]
    # Half the area: an overlap of exactly 0.5 does not exceed 0.5.
    half = ostrack().score(make_video(), TRUTH * [1, 1, 1, 0.5])
    assert half.curves["success"][[9, 10]].tolist() == [1.0, 0.25]
    assert half.figures["OP50"] == 25


def test_the_first_box_is_given() -> None:
    boxes = TRUTH.copy()
    boxes[0] = [300, 200, 5, 5]
    assert ostrack().score(make_video(), boxes).figures["AUC"] == pytest.approx(2000 / 21)


def test_an_empty_box_becomes_the_raw_one_before_it() -> None:
    boxes = TRUTH.copy()
    boxes[2:] = 0
    assert ostrack().score(make_video(), boxes).curves["success"][0] == 1
    boxes[1] = [10, 10, 20, 0]  # no height is enough, and the first box as it was predicted comes in
    assert ostrack().score(make_video(), boxes).curves["success"][0] == 1
    boxes[0] = [300, 200, 5, 5]
    assert ostrack().score(make_video(), boxes).curves["success"][0] == 0.25


def test_surplus_boxes_are_cut_and_missing_ones_miss() -> None:
    assert ostrack().score(make_video(), np.concatenate([TRUTH, TRUTH + 500])).figures["P"] == 100
    short = ostrack().score(make_video(), TRUTH[:2])
    assert short.curves["success"][0] == 0.5
    # Missing boxes come too late to be filled: they are zero, with a centre close to the corner of the frame.
    assert ostrack().frame_errors(make_video(), TRUTH[:2]).distances_px[2] == pytest.approx(20 * np.sqrt(2))
    with pytest.raises(DataError, match=r"2 boxes for 4 frames.*refuses on LaSOT"):
        ostrack("lasot").score(make_video(), TRUTH[:2])
    with pytest.raises(DataError, match="box 4 is empty and beyond the last of 4 frames"):
        ostrack().score(make_video(), np.concatenate([TRUTH, TRUTH[:1] * 0]))


@pytest.mark.parametrize("bad", [NAN, -1.0])
def test_bad_boxes_are_refused_with_their_row(bad: float) -> None:
    boxes = TRUTH.copy()
    boxes[3, 2] = bad
    with pytest.raises(DataError, match=f"box 3 is \\[10.0, 10.0, {bad}, 20.0\\]"):
        ostrack().score(make_video(), boxes)


def test_nan_truth_is_for_uav123_only() -> None:
    truth = TRUTH.copy()
    truth[2] = NAN
    with pytest.raises(DataError, match=r"truth of frame 2 is .*but on UAV123"):
        ostrack().score(make_video(truth), TRUTH)
    errors = ostrack("uav123").frame_errors(make_video(truth), TRUTH)
    assert errors.valid.tolist() == [True, True, False, True]
    assert (errors.overlaps[2], errors.distances_px[2], errors.normalised_distances[2]) == (-1, -1, -1)
    # An empty box is repaired in other frames, not in this one: the box after it takes it over.
    boxes = TRUTH.copy()
    boxes[2:] = 0
    assert ostrack("uav123").frame_errors(make_video(truth), boxes).overlaps.tolist() == [1, 1, -1, 0]
    truth[2] = [NAN, 10, 20, 20]
    with pytest.raises(DataError, match="frame 2 have no overlap that is a number"):
        ostrack("uav123").score(make_video(truth), TRUTH)


# Shares of the last threshold over four frames: two seen, one unseen, one seen without an area.
@pytest.mark.parametrize(
    ("dataset_name", "overlap", "distance", "normalised"),
    [
        ("lasot", [1, 1, -1, -1], [0, 0, INF, INF], [0, 0, INF, -1]),
        ("lasot_ext", [1, 1, -1, -1], [0, 0, INF, INF], [0, 0, -1, -1]),
        ("uav123", [1, 1, 1, -1], [0, 0, 0, -1], [0, 0, 0, -1]),
        *((name, [1, 1, 1, -1], [0, 0, 0, INF], [0, 0, 0, -1]) for name in PUBLIC),
        ("mine", [1, 1, -1, -1], [0, 0, INF, INF], [0, 0, -1, -1]),
        ("synthetic", [1, 1, -1, -1], [0, 0, INF, INF], [0, 0, -1, -1]),
    ],
)
def test_absent_targets_by_data_set(
    dataset_name: str, overlap: list[float], distance: list[float], normalised: list[float]
) -> None:
    truth = TRUTH.copy()
    truth[3, 2:] = 0
    video = make_video(truth, visible=np.array([True, True, False, True]))
    errors = ostrack(dataset_name).frame_errors(video, TRUTH)
    assert errors.overlaps.tolist() == overlap
    assert errors.distances_px.tolist() == distance
    assert errors.normalised_distances.tolist() == normalised
    assert errors.valid.tolist() == [value >= 0 for value in overlap]
    score = ostrack(dataset_name).score(video, TRUTH)
    assert score.curves["success"][0] == np.mean(np.array(overlap) > 0)
    assert score.curves["precision"][0] == np.mean(np.array(distance) <= 0)
    assert score.figures["P_norm"] == 100 * np.mean(np.array(normalised) <= 0)


def test_only_pytracking_itself_wants_truth_off_the_border() -> None:
    truth = TRUTH * [0, 1, 1, 1]
    assert ostrack().score(make_video(truth), truth).figures["AUC"] == pytest.approx(2000 / 21)
    theirs = OnePassProtocol("pytracking", "otb").score(make_video(truth), truth)
    assert theirs.figures["AUC"] == 0
    assert np.isnan(theirs.figures["AO_valid_frames"])


def test_without_invalid_frames_only_the_denominator_changes() -> None:
    video = make_video(visible=np.array([True, True, True, False]))
    score = ostrack("mine", exclude_invalid_frames=True).score(video, TRUTH)
    assert score.figures["AUC"] == pytest.approx(2000 / 21)
    assert score.figures["P_norm"] == pytest.approx(400 / 3)
    with pytest.raises(DataError, match="'s' has no valid frame"):
        ostrack("mine", exclude_invalid_frames=True).score(make_video(visible=np.zeros(4, bool)), TRUTH)


def test_integer_boxes_are_cut_towards_zero() -> None:
    truth = TRUTH - [12, 0, 0, 0]
    boxes = moved(truth, 0.9, 0.9, 0.9, 0.9)  # left at -1.1, top at 10.9
    errors = ostrack(integer_boxes=True).frame_errors(make_video(truth), boxes)
    np.testing.assert_array_equal(errors.distances_px, [0, 1, 1, 1])
    # What is cut to nothing is an empty box, even if it was a wrong one before.
    thin = TRUTH.copy()
    thin[2, 2] = -0.5
    assert ostrack(integer_boxes=True).score(make_video(), thin).curves["success"][0] == 1
    # In a file, NaN is a large negative number.
    unknown = TRUTH.copy()
    unknown[1, 0] = NAN
    assert ostrack(integer_boxes=True).score(make_video(), unknown).curves["success"][0] == 0.75
    unknown[1, 2] = NAN
    with pytest.raises(DataError, match="box 1 is"):
        ostrack(integer_boxes=True).score(make_video(), unknown)


def test_long_and_short_videos_weigh_the_same() -> None:
    protocol = ostrack()
    scores = [protocol.score(make_video(name="a"), TRUTH)]
    scores.append(
        protocol.score(make_video(np.tile(TRUTH, (5, 1)), name="b"), np.tile(moved(TRUTH, 300, 0, 0, 0), (5, 1)))
    )
    figures, curves = protocol.summarise(scores)
    assert curves["success"][0] == pytest.approx((1 + 1 / 20) / 2)
    assert figures["AUC"] == pytest.approx(np.mean([score.figures["AUC"] for score in scores]))
    assert "AO_valid_frames" not in figures
