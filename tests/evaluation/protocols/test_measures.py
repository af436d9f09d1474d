"""Overlaps and distances against cases worked out by hand, and what must hold for any boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from ctsdk.evaluation.protocols.measures import (
    ONE_PASS_THRESHOLDS,
    centre_distances_px,
    normalised_centre_distances,
    one_pass_curves,
    one_pass_figures,
    overlaps,
    overlaps_of_pixels,
    repeat_previous,
    shares_above,
    shares_from,
    shares_within,
)
from tests.helpers.scored_videos import box_pairs, boxes, moved, steady

NAN = np.nan
BOX = np.array([[10.0, 20.0, 40.0, 30.0]])


@pytest.mark.parametrize("measure", [overlaps, overlaps_of_pixels])
@pytest.mark.parametrize(
    ("box", "overlap"),
    [
        ([10, 20, 40, 30], 1.0),
        ([10, 20, 20, 30], 0.5),
        ([30, 20, 40, 30], 1 / 3),
        ([30, 35, 40, 30], 300 / 2100),
        ([50, 20, 40, 30], 0.0),  # they only touch
        ([200, 20, 40, 30], 0.0),
        ([12, 22, 0, 0], 0.0),
        ([10, 20, NAN, 30], NAN),
    ],
)
def test_overlaps_of_known_boxes(measure: type[np.ufunc], box: list[float], overlap: float) -> None:
    assert measure(np.array([box], dtype=float), BOX)[0] == pytest.approx(overlap, nan_ok=True)


def test_what_empty_and_unknown_boxes_overlap_is_for_the_caller_to_choose() -> None:
    empty = np.array([[10.0, 20.0, 0.0, 0.0]])
    assert np.isnan(overlaps(empty, empty)[0])
    assert overlaps(empty, empty, eps_px2=1e-16)[0] == 0
    # The left edge is unknown, so only the truth bounds the box there.
    unknown = np.array([[NAN, 20.0, 40.0, 30.0]])
    assert np.isnan(overlaps(unknown, BOX)[0])
    assert overlaps_of_pixels(unknown, BOX)[0] == 1


def test_distances_of_known_boxes() -> None:
    away = moved(BOX, 3.0, 4.0, 0.0, 0.0)
    assert centre_distances_px(away, BOX)[0] == 5
    assert normalised_centre_distances(away, BOX)[0] == pytest.approx(np.hypot(3 / 40, 4 / 30))
    # Growth to the right and down moves the centre by half of it.
    assert centre_distances_px(moved(BOX, 0.0, 0.0, 6.0, 8.0), BOX)[0] == 5
    flat = BOX * [1.0, 1.0, 1.0, 0.0]
    assert not np.isfinite(normalised_centre_distances(BOX, flat)[0])
    assert normalised_centre_distances(BOX, flat, eps_px=1e-16)[0] > 1e16


def test_a_lost_box_is_the_last_one_that_is_not() -> None:
    rows = np.arange(5.0)[:, None] * np.ones(4)
    lost = np.array([True, False, True, True, False])
    assert repeat_previous(rows, lost)[:, 0].tolist() == [0, 1, 1, 1, 4]
    assert repeat_previous(rows, np.ones(5, bool))[:, 0].tolist() == [0] * 5


def test_shares_are_strict_or_not_and_never_of_nan() -> None:
    values, thresholds = np.array([0.25, 0.5, NAN, np.inf]), np.array([0.25, 0.5])
    assert shares_above(values, thresholds, 4).tolist() == [0.5, 0.25]
    assert shares_from(values, thresholds, 4).tolist() == [0.75, 0.5]
    assert shares_within(values, thresholds, 4).tolist() == [0.25, 0.5]
    assert shares_within(values, thresholds, 2).tolist() == [0.5, 1.0]


def test_thresholds_are_those_of_the_tools_to_the_last_bit() -> None:
    assert ONE_PASS_THRESHOLDS["success"][[0, 3, 20]].tolist() == [0.0, 3 * 0.05, 1.0]
    assert ONE_PASS_THRESHOLDS["success"][3] > 0.15
    assert ONE_PASS_THRESHOLDS["precision"].tolist() == list(range(51))
    assert ONE_PASS_THRESHOLDS["normalised_precision"][[20, 29, 50]].tolist() == [0.2, 0.29, 0.5]


def test_figures_are_points_and_areas_of_the_curves() -> None:
    curves = one_pass_curves(np.array([1.0, 0.5, -1.0]), np.array([20.0, 20.5, np.inf]), np.array([0.2, 0.21, -1]), 4)
    figures = one_pass_figures(curves)
    # 20 thresholds are below 1, 10 below 0.5, and one frame of the four has gone.
    assert figures["AUC"] == pytest.approx(100 * (20 + 10) / 21 / 4)
    assert figures["P"] == 25
    assert figures["P_norm"] == 50


# -- any boxes --------------------------------------------------------------------------------------------------------


@steady
@given(box_pairs())
def test_overlaps_are_shares_and_symmetric(pair: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = pair
    for measure in (overlaps, overlaps_of_pixels):
        seen = measure(first, second)
        assert ((seen >= 0) & (seen <= 1)).all()
        np.testing.assert_array_equal(seen, measure(second, first))
        np.testing.assert_array_equal(measure(first, first), 1.0)
    np.testing.assert_allclose(overlaps(first, second), overlaps_of_pixels(first, second), atol=1e-12)


@steady
@given(box_pairs(), st.integers(-500, 500), st.integers(-500, 500))
def test_measures_do_not_depend_on_the_place(pair: tuple[np.ndarray, np.ndarray], x_px: int, y_px: int) -> None:
    first, second = pair
    offset = np.array([x_px, y_px, 0.0, 0.0])
    np.testing.assert_array_equal(overlaps(first + offset, second + offset), overlaps(first, second))
    np.testing.assert_array_equal(
        centre_distances_px(first + offset, second + offset), centre_distances_px(first, second)
    )
    np.testing.assert_allclose(
        normalised_centre_distances(first + offset, second + offset),
        normalised_centre_distances(first, second),
        atol=1e-9,
    )


@steady
@given(boxes(3), st.floats(0.1, 20))
def test_overlaps_and_normalised_distances_do_not_depend_on_the_scale(rows: np.ndarray, factor: float) -> None:
    first, second = rows[:-1], rows[1:]
    np.testing.assert_allclose(overlaps(factor * first, factor * second), overlaps(first, second), atol=1e-9)
    # Counted from the middle of the first pixel, a scaled centre is off, but both by the same.
    np.testing.assert_allclose(
        normalised_centre_distances(factor * first, factor * second),
        normalised_centre_distances(first, second),
        atol=1e-9,
    )


@steady
@given(st.lists(st.floats(-1, 1), min_size=1), st.lists(st.floats(0, 60), min_size=1))
def test_curves_go_one_way(overlap: list[float], distances: list[float]) -> None:
    curves = one_pass_curves(np.array(overlap), np.array(distances), np.array(distances) / 60, 100)
    assert (np.diff(curves["success"]) <= 0).all()
    assert (np.diff(curves["precision"]) >= 0).all()
    assert (np.diff(curves["normalised_precision"]) >= 0).all()
