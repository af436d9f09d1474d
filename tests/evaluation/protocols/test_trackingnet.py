"""The rules of the TrackingNet server."""

from __future__ import annotations

import numpy as np
import pytest

from ctsdk.evaluation.protocols.trackingnet import TrackingNetProtocol
from tests.helpers.scored_videos import TRUTH, make_video, moved

NAN = np.nan


def test_a_perfect_tracker_has_a_hundred() -> None:
    figures = TrackingNetProtocol().score(make_video(), TRUTH).figures
    assert figures == pytest.approx({"coverage": 100, "success": 100, "precision": 100, "normalized_precision": 100})


def test_boxes_and_truth_are_rounded_halves_to_even() -> None:
    truth = moved(TRUTH, 0.5, 1.5, 0.4, 0.6)  # 10, 12, 20, 21
    boxes = np.array([[10.0, 12.0, 20.0, 21.0]] * 4)
    assert TrackingNetProtocol().score(make_video(truth), boxes).figures["precision"] == 100
    assert TrackingNetProtocol().score(make_video(boxes), truth).figures["success"] == 100


def test_thresholds_may_be_equalled() -> None:
    half = TrackingNetProtocol().score(make_video(), TRUTH * [1, 1, 1, 0.5])
    assert half.curves["success"][[10, 11]].tolist() == [1, 0.25]
    # Boxes that do not meet still reach an overlap of 0.
    assert TrackingNetProtocol().score(make_video(), TRUTH + 100).curves["success"][0] == 1
    near = TrackingNetProtocol().score(make_video(), moved(TRUTH, 5, 0, 0, 0))
    assert near.curves["precision"][[1, 2]].tolist() == [0.25, 1]
    assert near.curves["normalised_precision"][[9, 10]].tolist() == [0.25, 1]


def test_figures_are_areas_by_the_trapezium_rule() -> None:
    figures = TrackingNetProtocol().score(make_video(), moved(TRUTH, 5, 0, 0, 0)).figures
    # A quarter up to 5 px, all from there on, and a slope over the step before it.
    assert figures["precision"] == pytest.approx(100 * (0.25 * 1 + 0.625 * 1 + 18) / 20)


def test_missing_boxes_miss_and_surplus_ones_are_cut() -> None:
    short = TrackingNetProtocol().score(make_video(), TRUTH[:3])
    assert short.figures["coverage"] == 75
    assert short.curves["success"][0] == 0.75
    assert short.figures["precision"] == 75
    assert TrackingNetProtocol().score(make_video(), np.tile(TRUTH, (2, 1))).figures["success"] == 100


def test_nan_is_a_miss_and_covers_nothing() -> None:
    boxes = TRUTH.copy()
    boxes[1] = NAN
    boxes[2, 2] = NAN
    score = TrackingNetProtocol().score(make_video(), boxes)
    assert (score.figures["coverage"], score.curves["success"][0], score.figures["precision"]) == (50, 0.5, 50)
    # Only the truth bounds a box whose left is unknown.
    boxes = TRUTH.copy()
    boxes[1, 0] = NAN
    assert TrackingNetProtocol().score(make_video(), boxes).curves["success"].tolist() == [1] * 21


def test_a_video_without_a_file_counts_as_zero_boxes() -> None:
    protocol = TrackingNetProtocol()
    missing = protocol.missing(make_video(name="gone"))
    assert missing.figures["coverage"] == 25  # the first box is given
    assert missing.curves["success"][[0, 1, 20]].tolist() == [1, 0.25, 0.25]
    long = np.tile(TRUTH, (3, 1))
    figures, _ = protocol.summarise([missing, protocol.score(make_video(long, name="long"), long)])
    assert figures["coverage"] == pytest.approx(100 * 13 / 16)  # of all frames
    assert figures["success"] == pytest.approx((missing.figures["success"] + 100) / 2)  # of both videos
