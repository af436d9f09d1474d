"""What is common to all protocols: sets of videos, repetitions, attributes, and boxes that cannot be scored."""

from __future__ import annotations

import numpy as np
import pytest

from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.protocols.ope import OnePassProtocol
from ctsdk.evaluation.protocols.trackingnet import TrackingNetProtocol
from ctsdk.evaluation.scores import Evaluation, VideoScore, boxes_to_score, stack_curves
from tests.helpers.scored_videos import TRUTH, make_video


def score(name: str, success: float, *attributes: str) -> VideoScore:
    curves = {
        "success": np.full(21, success),
        "precision": np.full(51, success / 2),
        "normalised_precision": np.full(51, success / 4),
    }
    return VideoScore(name, {}, curves, attributes)


def test_an_evaluation_gives_figures_and_shares() -> None:
    protocol = OnePassProtocol("ostrack", "otb")
    evaluation = Evaluation(protocol, "otb", (score("a", 0.2), score("b", 0.6)))
    assert evaluation.figures == pytest.approx({"AUC": 40, "OP50": 40, "OP75": 40, "P": 20, "P_norm": 10})
    assert evaluation.headline == evaluation.figures["AUC"]
    seen = (evaluation.auc, evaluation.precision, evaluation.normalised_precision)
    assert seen == pytest.approx((0.4, 0.2, 0.1))
    np.testing.assert_allclose(evaluation.success, np.full(21, 0.4))
    assert str(evaluation) == "otb by ostrack: AUC 40.00, OP50 40.00, OP75 40.00, P 20.00, P_norm 10.00"


def test_figures_say_which_options_they_depend_on() -> None:
    protocol = OnePassProtocol("ostrack", "otb", exclude_invalid_frames=True, integer_boxes=True)
    assert (protocol.name, protocol.label) == ("ostrack", "ostrack (valid frames only, integer boxes)")
    assert "otb by ostrack (valid frames only" in str(Evaluation(protocol, "otb", (score("a", 0.2),)))


def test_a_protocol_without_a_figure_says_which_it_has() -> None:
    protocol = TrackingNetProtocol()
    evaluation = Evaluation(protocol, "trackingnet", (protocol.score(make_video(), TRUTH),))
    assert evaluation.headline == 100
    with pytest.raises(ConfigError, match="'trackingnet' has no metric 'AUC'; it has coverage, success"):
        _ = evaluation.auc


def test_attributes_have_the_figures_of_their_videos() -> None:
    scores = (score("a", 0.2, "OV", "SV"), score("b", 0.6, "SV"), score("c", 1.0))
    figures = Evaluation(OnePassProtocol("ostrack", "lasot"), "lasot", scores).by_attribute()
    assert {name: of["AUC"] for name, of in figures.items()} == pytest.approx({"OV": 20, "SV": 40})
    assert Evaluation(OnePassProtocol("ostrack", "lasot"), "lasot", scores[2:]).by_attribute() == {}


def test_runs_of_a_video_are_averaged_first() -> None:
    scores = (score("a", 0.0), score("b", 1.0), score("a", 0.5), score("a", 1.0))
    assert stack_curves(scores)["success"][:, 0].tolist() == [0.5, 1.0]
    assert Evaluation(OnePassProtocol("ostrack", "otb"), "otb", scores).auc == pytest.approx(0.75)


def test_no_videos_no_figures() -> None:
    with pytest.raises(DataError, match="'otb' has no videos"):
        Evaluation(OnePassProtocol("ostrack", "otb"), "otb", ())


def test_boxes_are_copied_before_they_are_scored() -> None:
    rows = TRUTH.tolist()
    copy = boxes_to_score(make_video(), rows)
    copy[0] = 0
    assert copy.dtype == np.float64
    assert rows[0] == [10, 10, 20, 20]


def test_a_score_takes_over_what_the_video_says() -> None:
    video = make_video(name="dog-1", attributes=("OV",))
    of = VideoScore.of(video, TRUTH[:2], None, {"AUC": 1.0}, {}, 3)
    assert (of.name, of.attributes, of.figures, of.weight) == ("dog-1", ("OV",), {"AUC": 1.0}, 3)
    assert of.boxes_xywh_px.shape == (2, 4)
    assert of.seconds.shape == (0,)
