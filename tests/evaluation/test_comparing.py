"""Two trackers side by side: intervals that behave as intervals must, and nothing compared that cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.comparing import compare
from ctsdk.evaluation.protocols.ope import OnePassProtocol
from ctsdk.evaluation.scores import Evaluation
from tests.helpers.evaluations import OSTRACK, evaluation, pooled_evaluation


def named(shares: np.ndarray) -> dict[str, float]:
    return {f"s{number}": float(share) for number, share in enumerate(shares)}


def made(num_videos: int, difference: float, seed: int = 0) -> tuple[Evaluation, Evaluation]:
    """Two trackers that find the same videos hard; the second is `difference` better, more or less."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(0.2, 0.8, num_videos)
    second = np.clip(first + difference + 0.05 * rng.standard_normal(num_videos), 0, 1)
    return evaluation(named(first)), evaluation(named(second))


def test_the_difference_is_that_of_the_figures() -> None:
    first, second = made(40, 0.05)
    comparison = compare(first, second)
    assert (comparison.figure, comparison.protocol, comparison.dataset) == ("AUC", "ostrack", "made")
    assert (comparison.first, comparison.second) == (first.figures["AUC"], second.figures["AUC"])
    assert comparison.difference == comparison.second - comparison.first
    assert comparison.low < comparison.difference < comparison.high
    assert comparison.is_clear
    assert str(comparison).startswith("AUC (ostrack) 52.2 and 58.71: difference +6.51, 95% interval +")
    assert "40 videos" in str(comparison)


def test_a_tracker_does_not_differ_from_itself() -> None:
    first, _ = made(20, 0.0)
    comparison = compare(first, first)
    assert (comparison.difference, comparison.low, comparison.high) == (0.0, 0.0, 0.0)
    assert not comparison.is_clear


def test_turned_round_it_is_the_negative() -> None:
    first, second = made(30, 0.02)
    there, back = compare(first, second), compare(second, first)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_the_seed_decides_the_draws() -> None:
    first, second = made(30, 0.02)
    assert compare(first, second, seed=3) == compare(first, second, seed=3)
    assert compare(first, second, seed=3) != compare(first, second, seed=4)


def test_the_order_of_the_videos_changes_nothing_but_rounding() -> None:
    first, second = made(30, 0.02)
    turned = replace(second, videos=second.videos[::-1])
    there, back = compare(first, second), compare(first, turned)
    assert (there.low, there.high) == pytest.approx((back.low, back.high), abs=1e-12)


def test_it_is_what_drawing_one_by_one_gives() -> None:
    lengths = [10, 400, 35, 80, 150, 20]
    first = pooled_evaluation([0.2, 0.9, 0.4, 0.6, 0.7, 0.1], lengths)
    second = pooled_evaluation([0.3, 0.8, 0.5, 0.6, 0.9, 0.4], lengths)
    comparison = compare(first, second, num_resamples=20_000)

    rng = np.random.default_rng(99)
    ones, others = (np.array([score.figures["AO"] for score in each.videos]) for each in (first, second))
    frames = np.array(lengths)
    drawn = []
    for _ in range(20_000):
        picks = rng.integers(0, len(frames), len(frames))
        drawn.append(((others[picks] - ones[picks]) * frames[picks]).sum() / frames[picks].sum())
    assert comparison.difference == pytest.approx(np.average(others - ones, weights=frames))
    assert (comparison.low, comparison.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.006)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        comparison = compare(*made(60, 0.03, seed), num_resamples=400)
        covered += comparison.low <= 3.0 <= comparison.high
    # 95 % of 200, three standard deviations of luck, and a bootstrap is a little too sure of itself.
    assert 178 <= covered <= 199


def test_pairing_makes_it_narrower_than_either_tracker_alone() -> None:
    first, second = made(60, 0.03)
    comparison = compare(first, second)
    alone = np.std([score.figures["AUC"] for score in first.videos]) / np.sqrt(60)
    assert comparison.high - comparison.low < 2 * 1.96 * alone / 3


def test_videos_without_frames_that_count_are_not_drawn() -> None:
    first, second = (pooled_evaluation([share, share, float("nan")], [4, 6, 0]) for share in (0.25, 0.5))
    comparison = compare(first, second)
    assert (comparison.low, comparison.high) == pytest.approx((0.25, 0.25))
    assert comparison.num_videos == 2


def test_runs_of_a_video_are_averaged() -> None:
    first, second = made(8, 0.1)
    twice = Evaluation(first.protocol, first.dataset_name, (*first.videos, *first.videos))
    assert compare(twice, second) == compare(first, second)


def test_another_figure_can_be_chosen() -> None:
    first, second = made(8, 0.1)
    assert compare(first, second, figure="P_norm").figure == "P_norm"
    with pytest.raises(ConfigError, match=r"no metric 'AO'; it has AUC, OP50"):
        compare(first, second, figure="AO")


def test_what_is_no_mean_is_refused() -> None:
    first = pooled_evaluation([0.5, 0.25], [4, 6])
    with pytest.raises(ConfigError, match="speed_fps by protocol 'got10k' is no mean"):
        compare(first, first, figure="speed_fps")
    broken = pooled_evaluation([0.5, float("nan")], [4, 6])
    with pytest.raises(ConfigError, match="AO by protocol 'got10k' is no mean"):
        compare(broken, broken)


def test_unequal_evaluations_are_refused() -> None:
    first = evaluation({"a": 0.5, "b": 0.6})
    other_rules = OnePassProtocol("ostrack", "made", integer_boxes=True)
    with pytest.raises(ConfigError, match=r"the protocol of 'second' is 'ostrack \(integer boxes\)'"):
        compare(first, replace(first, protocol=other_rules))
    with pytest.raises(ConfigError, match="the data set of 'second' is 'lasot test' and that of 'first' 'made'"):
        compare(first, Evaluation(OSTRACK, "lasot test", first.videos))
    with pytest.raises(ConfigError, match="different videos: 2 are in one only, such as 'b'"):
        compare(first, evaluation({"a": 0.5, "c": 0.6}))


def test_one_video_shows_nothing() -> None:
    one = evaluation({"a": 0.5})
    with pytest.raises(DataError, match="1 video with frames that count is too few to draw from; expected at least 2"):
        compare(one, one)
    with pytest.raises(ConfigError, match="num_resamples is 0"):
        compare(one, one, num_resamples=0)
