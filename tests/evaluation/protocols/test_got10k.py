"""The rules of the GOT-10k toolkit: pooled frames on GOT-10k, one-pass evaluation elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from ctsdk.errors import DataError
from ctsdk.evaluation.protocols.got10k import Got10kOnePassProtocol, Got10kProtocol
from tests.helpers.scored_videos import TRUTH, make_video, moved

NAN = np.nan


def test_the_first_frame_does_not_count() -> None:
    boxes = TRUTH.copy()
    boxes[0] = 0
    figures = Got10kProtocol().score(make_video(), boxes).figures
    assert (figures["AO"], figures["SR50"], figures["SR75"]) == (1, 1, 1)
    boxes = TRUTH + 500
    boxes[0] = TRUTH[0]
    assert Got10kProtocol().score(make_video(), boxes).figures["AO"] == 0


def test_only_covered_frames_count() -> None:
    boxes = TRUTH.copy()
    boxes[3] += 500
    video = make_video(labels={"cover": np.array([0, 1, 8, 0])}, visible=np.zeros(4, bool))
    score = Got10kProtocol().score(video, boxes)
    assert (score.figures["AO"], score.weight) == (1, 2)
    hidden = Got10kProtocol().score(make_video(labels={"cover": np.array([8, 0, 0, 0])}, name="hidden"), TRUTH)
    assert hidden.weight == 0
    assert np.isnan(hidden.figures["AO"])
    figures, curves = Got10kProtocol().summarise([score, hidden])
    assert figures["AO"] == 1
    assert curves["success"][0] == 1
    assert np.isnan(Got10kProtocol().summarise([hidden])[0]["AO"])


@pytest.mark.parametrize("labels", [{}, {"cover": np.full(3, 8)}])
def test_labels_are_needed(labels: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataError, match=r"labels 'cover' for 4 frames.*cover.label"):
        Got10kProtocol().score(make_video(labels=labels), TRUTH)


def test_boxes_are_clipped_to_the_frame_without_keeping_their_far_edge() -> None:
    truth = np.array([[0.0, 0.0, 20.0, 20.0]] * 2)
    size_px = (100, 80)
    # A box that sticks out to the left is moved in, its width stays: the two are the same.
    assert Got10kProtocol().score(make_video(truth, size_px=size_px), truth - [15, 0, 0, 0]).figures["AO"] == 1
    truth = np.array([[90.0, 0.0, 10.0, 20.0]] * 2)
    assert Got10kProtocol().score(make_video(truth, size_px=size_px), moved(truth, 0, 0, 50, 0)).figures["AO"] == 1


def test_the_size_comes_from_a_frame_where_the_video_does_not_tell() -> None:
    asked = []

    def read(index: int) -> np.ndarray:
        asked.append(index)
        return np.zeros((30, 20, 3), np.uint8)

    boxes = moved(TRUTH, 0, 0, 10, 0)  # the surplus is outside of a frame 20 px wide
    score = Got10kProtocol().score(make_video(size_px=None, read_frame=read), boxes)
    assert (score.figures["AO"], asked) == (1, [0])


def test_the_resolution_goes_before_the_size_of_a_frame() -> None:
    boxes = moved(TRUTH, 0, 0, 10, 0)
    video = make_video(size_px=(20, 30), about={"resolution": "400x300"})
    assert Got10kProtocol().score(video, boxes).figures["AO"] == pytest.approx(2 / 3)
    assert Got10kProtocol().score(make_video(size_px=(20, 30)), boxes).figures["AO"] == 1


def test_a_box_is_expected_for_every_frame() -> None:
    for boxes in (TRUTH[:3], np.concatenate([TRUTH, TRUTH])):
        with pytest.raises(DataError, match=f"has {len(boxes)} boxes for 4 frames"):
            Got10kProtocol().score(make_video(), boxes)


def test_nan_makes_the_average_nan_and_is_a_miss_otherwise() -> None:
    boxes = TRUTH.copy()
    boxes[1, 0] = NAN
    protocol = Got10kProtocol()
    scores = [protocol.score(make_video(), boxes), protocol.score(make_video(name="t"), TRUTH)]
    figures, _ = protocol.summarise(scores)
    assert np.isnan([scores[0].figures["AO"], figures["AO"]]).all()
    assert (scores[0].figures["SR50"], figures["SR50"]) == pytest.approx((2 / 3, 5 / 6))


def test_frames_of_all_videos_and_runs_are_pooled() -> None:
    protocol = Got10kProtocol()
    far, long = moved(TRUTH, 200, 0, 0, 0), np.tile(TRUTH, (5, 1))
    scores = [protocol.score(make_video(), far), protocol.score(make_video(long, name="long"), long)]
    figures, curves = protocol.summarise(scores)
    assert figures["AO"] == pytest.approx(19 / 22)
    assert curves["success"].shape == (101,)
    pooled = protocol.summarise([protocol.score(make_video(), TRUTH), protocol.score(make_video(), far)])[0]
    assert (pooled["AO"], pooled["SR75"]) == (0.5, 0.5)


def test_speed_is_the_mean_of_inverse_seconds_of_all_frames() -> None:
    protocol = Got10kProtocol()
    first = protocol.score(make_video(), TRUTH, np.array([0.5, 0.1, 0.0, NAN]))
    second = protocol.score(make_video(name="t"), TRUTH, np.full(4, 0.25))
    assert first.figures["speed_fps"] == pytest.approx(6)
    assert protocol.summarise([first, second])[0]["speed_fps"] == pytest.approx((2 + 10 + 4 * 4) / 6)
    assert np.isnan(protocol.score(make_video(), TRUTH).figures["speed_fps"])


# -- other data sets --------------------------------------------------------------------------------------------------


def test_one_pass_figures_are_shares() -> None:
    figures = Got10kOnePassProtocol("otb").score(make_video(), TRUTH).figures
    assert figures["success_score"] == pytest.approx(20 / 21)
    assert (figures["success_rate"], figures["precision_score"]) == (1, 1)
    assert "normalized_precision_score" not in figures
    assert Got10kOnePassProtocol("lasot").score(make_video(), TRUTH).figures["normalized_precision_score"] == 1


def test_empty_boxes_and_flags_are_left_as_they_are() -> None:
    boxes = TRUTH.copy()
    boxes[2] = 0
    boxes[0] = 0  # the first one is given
    video = make_video(visible=np.array([True, False, True, True]))
    assert Got10kOnePassProtocol("lasot").score(video, boxes).figures["success_rate"] == 0.75


def test_boxes_and_truth_are_cut_to_the_shorter() -> None:
    boxes = TRUTH[:2].copy()
    assert Got10kOnePassProtocol("nfs").score(make_video(), boxes).figures["success_rate"] == 1
    assert Got10kOnePassProtocol("nfs").score(make_video(), np.tile(TRUTH, (3, 1))).figures["success_rate"] == 1


def test_nan_truth_is_left_out_or_missed() -> None:
    truth = TRUTH.copy()
    truth[1] = NAN
    for name, share in {"otb": 0.75, "uav123": 1, "lasot": 1, "trackingnet": 0.75}.items():
        assert Got10kOnePassProtocol(name).score(make_video(truth), TRUTH).figures["precision_score"] == share
    with pytest.raises(DataError, match="holds NaN in every frame"):
        Got10kOnePassProtocol("uav123").score(make_video(TRUTH * NAN), TRUTH)


def test_normalised_distances_are_divided_by_a_pixel_at_least() -> None:
    truth = TRUTH * [1, 1, 0, 0]
    score = Got10kOnePassProtocol("lasot").score(make_video(truth), moved(truth, 0.25, 0, 0, 0))
    assert score.curves["normalised_precision"][[24, 25]].tolist() == [0.25, 1]


def test_speed_is_a_mean_over_videos() -> None:
    protocol = Got10kOnePassProtocol("otb")
    scores = [
        protocol.score(make_video(), TRUTH, np.full(4, 0.5)),
        protocol.score(make_video(np.tile(TRUTH, (5, 1)), name="long"), TRUTH, np.full(20, 0.25)),
        protocol.score(make_video(name="untimed"), TRUTH),
    ]
    assert protocol.summarise(scores)[0]["speed_fps"] == 3
    assert np.isnan(protocol.summarise(scores[2:])[0]["speed_fps"])
