"""Protocols by name, and every figure, curve and per-frame value that the public tools gave for recorded boxes.

Each file in ``golden/metrics`` holds videos, two trackers' boxes, and what the tools said about them.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.protocols.measures import overlaps
from ctsdk.evaluation.protocols.names import PROTOCOLS, make_protocol
from ctsdk.evaluation.protocols.ope import OnePassProtocol
from ctsdk.evaluation.protocols.trackingnet import TrackingNetProtocol
from ctsdk.evaluation.scores import Evaluation, EvaluationProtocol, VideoScore
from tests.helpers.scored_videos import TRUTH, box_pairs, boxes, make_video, moved, no_frame, steady

GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "metrics").glob("*.json"))

# By the name under which the tool was asked.
DATASETS = {
    "lasot": "lasot",
    "lasot_extension_subset": "lasot_ext",
    "otb": "otb",
    "generic": "otb",
    "uav": "uav123",
    "uav123": "uav123",
    "got10k_val": "got10k",
}
OPTIONS: dict[str, dict[str, bool]] = {
    "": {},
    "int_saved": {"integer_boxes": True},
    "exclude_invalid_frames": {"exclude_invalid_frames": True},
}
CURVES = {
    "success": "success",
    "precision": "precision",
    "norm_precision": "normalised_precision",
    "normalized_precision": "normalised_precision",
}
# The family averages in float32 and prints percent.
TOLERANCES = {"ostrack": 2e-4, "pytracking": 2e-4, "got10k_toolkit": 1e-8}


@dataclass(frozen=True)
class Recording:
    """One golden file."""

    videos: dict[str, Video]
    boxes: dict[str, dict[str, NDArray[np.float64]]]
    expected: dict[str, Any]


@cache
def recording(path: Path) -> Recording:
    content = json.loads(path.read_text(encoding="utf-8"))
    return Recording(
        {video["name"]: as_video(video) for video in content["sequences"]},
        {s["name"]: {t: numbers(boxes) for t, boxes in s["predictions"].items()} for s in content["sequences"]},
        content["expected"],
    )


def as_video(video: Mapping[str, Any]) -> Video:
    hidden = np.array(video["full_occlusion"]) | np.array(video["out_of_view"])
    return Video(
        video["name"],
        numbers(video["gt"]),
        hidden == 0,
        tuple(video["image_size"]),
        no_frame,
        labels={name: np.array(video[name]) for name in ("absence", "cover")},
        attributes=tuple(video["attributes"]),
    )


def numbers(values: Any) -> NDArray[np.float64]:
    """None becomes NaN, and "inf" infinity."""
    return np.array(values, dtype=object).astype(np.float64)


def cases(*tools: str) -> list[Any]:
    """One for each file, tool, data set or option, and tracker."""
    return [
        pytest.param(path, tool, variant, tracker, id=f"{path.stem}-{tool}-{variant}-{tracker}")
        for path in GOLDEN
        for tool in tools
        for variant, trackers in variants(recording(path).expected[tool]).items()
        for tracker in trackers
    ]


def variants(expected: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    if "per_sequence" in next(iter(expected.values())):
        return {"": expected}
    return {variant: trackers.get("trackers", trackers) for variant, trackers in expected.items()}


def seconds(num_frames: int) -> NDArray[np.float64]:
    return np.where(np.arange(num_frames) % 2, 0.02, 0.04)


def score_of(protocol: EvaluationProtocol, path: Path, name: str, tracker: str) -> VideoScore:
    video, boxes = recording(path).videos[name], recording(path).boxes[name][tracker]
    return protocol.score(video, boxes, seconds(len(boxes)))


def scores_of(protocol: EvaluationProtocol, path: Path, names: list[str], tracker: str) -> tuple[VideoScore, ...]:
    """Each letter of `tracker` is a repetition."""
    return tuple(score_of(protocol, path, name, repetition) for name in names for repetition in tracker)


def check(
    expected: Mapping[str, Any],
    figures: Mapping[str, float],
    curves: Mapping[str, NDArray[np.float64]],
    tolerance: float,
    curve_scale: float = 1.0,
) -> None:
    """Compare all that is expected; a figure that nothing here knows is an error."""
    for name, value in expected.items():
        if name == "curves":
            for curve, values in value.items():
                seen = curve_scale * curves[CURVES[curve]]
                np.testing.assert_allclose(seen, numbers(values), rtol=0, atol=tolerance, err_msg=curve)
        elif name == "succ_curve_mean":
            assert curves["success"].mean() == pytest.approx(value, abs=tolerance, rel=0)
        elif name not in ("per_frame", "sequences", "length", "missing"):
            wanted = math.nan if value is None else value
            assert figures[name] == pytest.approx(wanted, abs=tolerance, rel=0, nan_ok=True), name


def check_tracker(
    protocol: EvaluationProtocol, path: Path, tool: str, expected: Mapping[str, Any], tracker: str
) -> None:
    """Compare video by video, then the data set, its subsets and its attributes."""
    tolerance = TOLERANCES.get(tool, 1e-6)
    curve_scale = 100.0 if tool in ("ostrack", "pytracking") else 1.0
    for name, wanted in expected["per_sequence"].items():
        if "raises" in wanted:
            with pytest.raises(DataError):
                scores_of(protocol, path, [name], tracker)
            continue
        of_video = Evaluation(protocol, "one", scores_of(protocol, path, [name], tracker))
        assert set(of_video.figures) <= set(of_video.videos[0].figures)
        figures = {**of_video.videos[0].figures, **of_video.figures}
        check(wanted, figures, of_video.curves, tolerance, curve_scale)
        if "per_frame" in wanted:
            check_frames(protocol, path, name, tracker, wanted["per_frame"])
        after_the_first = len(recording(path).videos[name]) - 1
        assert wanted.get("length", after_the_first) == after_the_first
    for key in ("dataset", "overall", "overall_of_finite_sequences"):
        if key in expected:
            together = Evaluation(protocol, "all", scores_of(protocol, path, expected[key]["sequences"], tracker))
            check(expected[key], together.figures, together.curves, tolerance, curve_scale)
    unknown = set(expected) - {"per_sequence", "per_attribute", "dataset", "overall"}
    assert unknown <= {"overall_of_finite_sequences", "overall_with_missing_file"}


def check_frames(
    protocol: EvaluationProtocol, path: Path, name: str, tracker: str, expected: Mapping[str, Any]
) -> None:
    assert isinstance(protocol, OnePassProtocol)
    errors = protocol.frame_errors(recording(path).videos[name], recording(path).boxes[name][tracker])
    seen = {
        "overlap": errors.overlaps,
        "center_error": errors.distances_px,
        "norm_center_error": errors.normalised_distances,
        "valid": errors.valid.astype(float),
    }
    for measure, values in expected.items():
        np.testing.assert_allclose(seen[measure], numbers(values), rtol=0, atol=1e-7, err_msg=f"{name} {measure}")


# -- what the public tools say ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "tool", "variant", "tracker"), cases("ostrack", "pytracking"))
def test_one_pass_figures_are_those_of_the_family(path: Path, tool: str, variant: str, tracker: str) -> None:
    tag, _, option = variant.partition("/")
    protocol = make_protocol(tool, DATASETS[tag], **OPTIONS[option])
    expected = variants(recording(path).expected[tool])[variant][tracker]
    check_tracker(protocol, path, tool, expected, tracker)
    kept = [name for name, wanted in expected["per_sequence"].items() if "raises" not in wanted]
    assert kept == expected["dataset"]["sequences"]
    by_attribute = Evaluation(protocol, "all", scores_of(protocol, path, kept, tracker)).by_attribute()
    for attribute, wanted in expected.get("per_attribute", {}).items():
        assert by_attribute[attribute]["AUC"] == pytest.approx(wanted["AUC"], abs=2e-4)
        having = [name for name in kept if attribute in recording(path).videos[name].attributes]
        assert having == wanted["sequences"]
    assert list(by_attribute) == sorted(by_attribute)


@pytest.mark.parametrize(("path", "tool", "variant", "tracker"), cases("got10k_toolkit"))
def test_figures_are_those_of_the_got10k_toolkit(path: Path, tool: str, variant: str, tracker: str) -> None:
    protocol = make_protocol("got10k", DATASETS[variant])
    check_tracker(protocol, path, tool, recording(path).expected[tool][variant][tracker], tracker)


@pytest.mark.parametrize(("path", "tool", "variant", "tracker"), cases("lasot_toolkit"))
def test_figures_are_those_of_the_lasot_toolkit(path: Path, tool: str, variant: str, tracker: str) -> None:
    check_tracker(make_protocol("lasot", "lasot"), path, tool, recording(path).expected[tool][tracker], tracker)


@pytest.mark.parametrize(("path", "tool", "variant", "tracker"), cases("pysot_toolkit"))
def test_figures_are_those_of_the_pysot_toolkit(path: Path, tool: str, variant: str, tracker: str) -> None:
    protocol = make_protocol("pysot", DATASETS[variant])
    check_tracker(protocol, path, tool, recording(path).expected[tool][variant][tracker], tracker)


@pytest.mark.parametrize(("path", "tool", "variant", "tracker"), cases("trackingnet_devkit"))
def test_figures_are_those_of_the_trackingnet_devkit(path: Path, tool: str, variant: str, tracker: str) -> None:
    protocol = make_protocol("trackingnet", "trackingnet")
    assert isinstance(protocol, TrackingNetProtocol)
    expected = recording(path).expected[tool][tracker]
    check_tracker(protocol, path, tool, expected, tracker)
    incomplete = expected["overall_with_missing_file"]
    scores = [
        protocol.missing(recording(path).videos[name])
        if name in incomplete["missing"]
        else score_of(protocol, path, name, tracker)
        for name in incomplete["sequences"]
    ]
    check(incomplete, Evaluation(protocol, "all", tuple(scores)).figures, {}, 1e-6)


def test_every_tool_is_compared() -> None:
    assert GOLDEN
    tools = {"ostrack", "pytracking", "got10k_toolkit", "lasot_toolkit", "trackingnet_devkit", "pysot_toolkit"}
    for path in GOLDEN:
        assert set(recording(path).expected) == tools


# -- by name ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("dataset_name", ["lasot", "lasot_ext", "uav123", "got10k", "trackingnet", "otb", "mine"])
def test_a_protocol_says_who_it_is_and_survives_pickling(name: str, dataset_name: str) -> None:
    protocol = make_protocol(name, dataset_name)
    assert protocol.name == protocol.label == name
    video = make_video()
    boxes = moved(video.boxes_xywh_px, 1.0, 2.0, 3.0, 0.0)
    score = protocol.score(video, boxes)
    again, copy = pickle.loads(pickle.dumps((protocol, score)))
    assert (again.label, again.scale, again.headline) == (name, protocol.scale, protocol.headline)
    evaluation, second = Evaluation(protocol, dataset_name, (score,)), Evaluation(again, dataset_name, (copy,))
    assert second.figures == pytest.approx(evaluation.figures, nan_ok=True)
    assert evaluation.headline == evaluation.figures[protocol.headline]
    assert set(score.curves) == set(protocol.thresholds) == set(evaluation.curves)
    for curve, thresholds in protocol.thresholds.items():
        assert score.curves[curve].shape == evaluation.curves[curve].shape == thresholds.shape
    assert f"{dataset_name} by {name}: " in str(evaluation)


def test_wrong_names_and_options_are_explained() -> None:
    with pytest.raises(ConfigError, match=r"no protocol 'ostrak'. Did you mean 'ostrack'"):
        make_protocol("ostrak", "lasot")
    with pytest.raises(ConfigError, match="Known protocols: ostrack, pytracking"):
        make_protocol("", "lasot")
    for name in set(PROTOCOLS) - {"ostrack", "pytracking"}:
        with pytest.raises(ConfigError, match=f"'{name}' has no option integer_boxes"):
            make_protocol(name, "lasot", integer_boxes=True)
        with pytest.raises(ConfigError, match=f"'{name}' has no option exclude_invalid_frames"):
            make_protocol(name, "lasot", exclude_invalid_frames=True)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("dataset_name", ["lasot", "got10k", "trackingnet"])
def test_truth_behind_a_server_is_not_scored(name: str, dataset_name: str) -> None:
    video = make_video(TRUTH[:1], num_frames=4)
    with pytest.raises(DataError, match=r"its truth is not public.*pack the results for its server"):
        make_protocol(name, dataset_name).score(video, np.ones((4, 4)))


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("shape", [(0, 4), (4, 5), (4,)])
def test_boxes_of_another_shape_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"have shape .*expected \(N, 4\)"):
        make_protocol(name, "lasot").score(make_video(), np.ones(shape))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_boxes_of_the_caller_stay_as_they_are(name: str) -> None:
    video = make_video()
    boxes = video.boxes_xywh_px + 0.5
    boxes[2] = 0
    before = boxes.copy()
    score = make_protocol(name, "otb").score(video, boxes, seconds(4))
    np.testing.assert_array_equal(boxes, before)
    np.testing.assert_array_equal(score.boxes_xywh_px, before)
    np.testing.assert_array_equal(score.seconds, seconds(4))
    assert (video.boxes_xywh_px == [10, 10, 20, 20]).all()


# -- any boxes --------------------------------------------------------------------------------------------------------

# Every set of rules there is, by protocol and data set.
RULES = [
    ("ostrack", "lasot"),
    ("ostrack", "otb"),
    ("pytracking", "uav123"),
    ("got10k", "got10k"),
    ("got10k", "otb"),
    ("got10k", "lasot"),
    ("trackingnet", "trackingnet"),
    ("lasot", "lasot"),
    ("pysot", "otb"),
]
PERFECT = {
    "AUC": 2000 / 21,
    "success_score": 20 / 21,
    "AO": 1,
    "SR50": 1,
    "SR75": 1,
    "success_rate": 1,
    "precision_score": 1,
    "normalized_precision_score": 1,
    "AO_valid_frames": 1,
}


@pytest.mark.parametrize(("name", "dataset_name"), RULES)
@steady
@given(truth=boxes(5))
def test_a_perfect_tracker_has_the_highest_figures(name: str, dataset_name: str, truth: NDArray[np.float64]) -> None:
    figures = dict(make_protocol(name, dataset_name).score(make_video(truth), truth).figures)
    figures.pop("speed_fps", None)
    assert figures == pytest.approx({figure: PERFECT.get(figure, 100) for figure in figures})


@pytest.mark.parametrize(("name", "dataset_name"), RULES)
@steady
@given(pair=box_pairs())
def test_curves_are_shares_and_go_one_way(
    name: str, dataset_name: str, pair: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> None:
    predicted, truth = pair
    protocol = make_protocol(name, dataset_name)
    score = protocol.score(make_video(truth), predicted)
    for curve, values in score.curves.items():
        assert ((values >= 0) & (values <= 1)).all()
        steps = np.diff(values)
        assert (steps <= 0).all() if curve == "success" else (steps >= 0).all()


@pytest.mark.parametrize(("name", "dataset_name"), RULES)
@steady
@given(pair=box_pairs(), other=boxes(1), data=st.data())
def test_a_better_box_never_lowers_the_headline(
    name: str,
    dataset_name: str,
    pair: tuple[NDArray[np.float64], NDArray[np.float64]],
    other: NDArray[np.float64],
    data: st.DataObject,
) -> None:
    predicted, truth = pair
    frame = data.draw(st.integers(1, len(truth) - 1))
    changed = predicted.copy()
    changed[frame] = other
    before, after = (overlaps(boxes[frame : frame + 1], truth[frame : frame + 1]) for boxes in (predicted, changed))
    worse, better = (predicted, changed) if before <= after else (changed, predicted)
    protocol = make_protocol(name, dataset_name)
    low, high = (protocol.score(make_video(truth), boxes).figures[protocol.headline] for boxes in (worse, better))
    assert low <= high + 1e-9


@pytest.mark.parametrize(("name", "dataset_name"), RULES)
@steady
@given(pairs=st.lists(box_pairs(), min_size=1, max_size=4), x_px=st.integers(0, 50), y_px=st.integers(0, 50))
def test_neither_the_order_of_videos_nor_the_place_of_the_target_matters(
    name: str, dataset_name: str, pairs: list[tuple[NDArray[np.float64], NDArray[np.float64]]], x_px: int, y_px: int
) -> None:
    protocol = make_protocol(name, dataset_name)

    def figures(offset: NDArray[np.float64], step: int) -> dict[str, float]:
        scores = [
            protocol.score(make_video(truth + offset, name=str(number)), predicted + offset, seconds(len(truth)))
            for number, (predicted, truth) in enumerate(pairs)
        ]
        return Evaluation(protocol, dataset_name, tuple(scores[::step])).figures

    as_given, elsewhere = figures(np.zeros(4), 1), figures(np.array([x_px, y_px, 0, 0]), 1)
    assert figures(np.zeros(4), -1) == pytest.approx(as_given)
    # The tools divide centres by sizes before they subtract: with whole numbers, a distance of exactly 0.2 may come out
    # above or below it, as the place decides.
    as_given.pop("P_norm", None)
    elsewhere.pop("P_norm", None)
    assert elsewhere == pytest.approx(as_given)
