from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ctsdk.config import SamplingRule
from ctsdk.data.samples.sampling import FrameSampling
from ctsdk.engine.batch import TrackerSpec
from ctsdk.errors import ConfigError
from tests.helpers.counted_videos import make_video

SPEC = TrackerSpec(template_size=32, search_size=64)

visibilities = st.lists(st.booleans(), min_size=20, max_size=80)
counts = st.integers(1, 3)
gaps = st.integers(1, 30)
seeds = st.integers(0, 1000)


@settings(deadline=None, derandomize=True)
@given(visibilities, counts, counts, gaps, seeds)
def test_causal_frames(visible: list[bool], num_templates: int, num_searches: int, gap: int, seed: int) -> None:
    sampling = FrameSampling(num_templates, num_searches, (gap,))

    frames = sampling.draw(make_video(visible), np.random.default_rng(seed))

    if frames is None:
        assert not sampling.accepts(make_video(visible))
        return
    first, *more = frames[:num_templates]
    searches = frames[num_templates:]
    assert len(searches) == num_searches
    assert all(visible[frame] for frame in frames)
    assert num_templates - 1 <= first < len(visible) - num_searches
    assert all(frame < first for frame in more)
    assert all(frame > first for frame in searches)
    # The reach grows only where it must: something usable within the first reach on both sides keeps it.
    distances = [*(first - frame for frame in more), *(frame - first + 1 for frame in searches)]
    grown = max(0, *(distance - gap for distance in distances))
    if grown:
        assert any(not _within(visible, base, gap, num_templates) for base in np.flatnonzero(visible))


def _within(visible: list[bool], base: int, gap: int, num_templates: int) -> bool:
    """Whether a first template has all that it needs in reach."""
    before, after = visible[max(0, base - gap) : base], visible[base + 1 : base + gap]
    return any(after) and (any(before) or num_templates == 1)


@settings(deadline=None, derandomize=True)
@given(
    visibilities,
    counts,
    counts,
    st.sampled_from(["trident", "trident_pro", "stark"]),
    st.lists(gaps, min_size=2, max_size=2),
    seeds,
)
def test_trident_frames(
    visible: list[bool], num_templates: int, num_searches: int, rule: SamplingRule, reach: list[int], seed: int
) -> None:
    reach = reach[: num_templates - 1]
    sampling = FrameSampling(num_templates, num_searches, tuple(reach), rule)
    video = make_video(visible)
    video.boxes_xywh_px[::3, 2] = 0.0
    usable = video.usable

    frames = sampling.draw(video, np.random.default_rng(seed))

    if frames is None:
        # Without further templates, one usable frame is enough.
        assert not usable.any() or num_templates > 1
        return
    first, *more = frames[:num_templates]
    search, *_ = searches = frames[num_templates:]
    assert len(searches) == num_searches
    assert usable[[first, *searches]].all()
    for frame, gap in zip(more, reach, strict=True):
        if first >= search:
            assert search <= frame < search + gap
        else:
            assert search - gap <= frame < search
        assert usable[frame] or rule != "trident"
        assert video.boxes_xywh_px[frame, 2] > 0 or rule == "trident_pro"


def test_each_rule_draws_the_further_templates_that_the_others_do_not() -> None:
    """Frames that are hidden, and hidden frames without a box."""
    video = make_video(number % 4 == 0 for number in range(60))
    video.boxes_xywh_px[1::4, 2] = 0.0

    kinds = {}
    for rule in ("trident", "stark", "trident_pro"):
        sampling = FrameSampling(2, 1, (20,), rule)
        drawn = [sampling.draw(video, np.random.default_rng(seed)) for seed in range(60)]
        kinds[rule] = {frames[1] % 4 for frames in drawn if frames}

    assert kinds == {"trident": {0}, "stark": {0, 2, 3}, "trident_pro": {0, 1, 2, 3}}


def test_trident_templates_lie_on_both_sides_of_the_search() -> None:
    sampling, video = FrameSampling(1, 1, (), "trident"), make_video([True] * 40)

    drawn = [sampling.draw(video, np.random.default_rng(seed)) for seed in range(60)]

    assert {frames[0] < frames[1] for frames in drawn if frames} == {False, True}


def test_the_reach_grows_until_something_is_usable() -> None:
    video = make_video([True] + [False] * 80 + [True])

    assert FrameSampling(1, 1, (5,)).draw(video, np.random.default_rng(0)) == [0, 81]


@pytest.mark.parametrize("rule", ["causal", "trident"])
def test_a_single_image_is_every_frame(rule: SamplingRule) -> None:
    sampling = FrameSampling.of(replace(SPEC, num_templates=2, num_searches=3), rule)

    assert sampling.draw(make_video([False]), np.random.default_rng(0)) == [0] * 5


@pytest.mark.parametrize("rule", ["causal", "trident", "trident_pro", "stark"])
def test_nothing_usable_is_no_frames(rule: SamplingRule) -> None:
    assert FrameSampling.of(SPEC, rule).draw(make_video([False] * 30), np.random.default_rng(0)) is None


@pytest.mark.parametrize(
    ("num_frames", "num_usable", "accepted"),
    [(20, 5, True), (20, 4, False), (19, 19, False), (300, 5, True), (300, 4, False), (1, 1, True), (1, 0, True)],
)
def test_which_videos_are_accepted(num_frames: int, num_usable: int, accepted: bool) -> None:
    video = make_video(number < num_usable for number in range(num_frames))

    assert FrameSampling.of(SPEC).accepts(video) is accepted


def test_more_crops_take_more_usable_frames() -> None:
    sampling = FrameSampling.of(replace(SPEC, num_templates=2, num_searches=3))

    assert [sampling.accepts(make_video(number < usable for number in range(30))) for usable in (10, 11)] == [
        False,
        True,
    ]
    assert "at least 20 frames, and in at least 11 of them" in sampling.needs


def test_frames_without_a_box_are_not_usable() -> None:
    video = make_video([True] * 20)
    video.boxes_xywh_px[:8] = np.nan
    video.boxes_xywh_px[8:16, 3] = 0.0

    assert not FrameSampling.of(SPEC).accepts(video)


def test_the_reach_is_that_of_the_spec_unless_another_is_given() -> None:
    spec = replace(SPEC, num_templates=3, max_gap=7)

    assert FrameSampling.of(spec).max_gaps == (7,)
    assert FrameSampling.of(spec, max_gap=9).max_gaps == (9,)
    assert FrameSampling.of(spec, "trident").max_gaps == (7, 7)
    assert FrameSampling.of(spec, "trident", (3, 4)).max_gaps == (3, 4)


@pytest.mark.parametrize(
    ("rule", "max_gap", "says"),
    [
        ("causal", (3, 4), r"max_gap is \[3, 4\] for 3 templates; 'causal' sampling takes 1"),
        ("trident", (3,), r"max_gap is \[3\] for 3 templates; 'trident' sampling takes 2"),
        ("trident", (3, 0), "below 1"),
    ],
)
def test_gaps_that_do_not_fit_are_refused(rule: SamplingRule, max_gap: tuple[int, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        FrameSampling.of(replace(SPEC, num_templates=3), rule, max_gap)
