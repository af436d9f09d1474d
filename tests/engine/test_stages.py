from __future__ import annotations

import pytest

from ctsdk import ConfigError, StagePlan
from ctsdk.engine.stages import plan_stages


@pytest.mark.parametrize("depth", [1, 2, 7, 12, 24])
def test_every_number_of_stages_covers_every_block_once_and_evenly(depth: int) -> None:
    for num_stages in range(1, depth + 1):
        plan = StagePlan.divide(depth, num_stages)
        covered = [block for stage in range(plan.num_stages) for block in plan.blocks(stage)]
        assert covered == list(range(depth))
        assert plan.num_stages == num_stages
        assert max(plan.sizes) - min(plan.sizes) <= 1


@pytest.mark.parametrize(
    ("num_stages", "sources"), [(2, (5, 11)), (3, (3, 7, 11)), (4, (2, 5, 8, 11)), (6, (1, 3, 5, 7, 9, 11))]
)
def test_students_start_from_the_official_blocks(num_stages: int, sources: tuple[int, ...]) -> None:
    assert StagePlan.divide(12, num_stages).sources == sources


def test_other_initialisations() -> None:
    assert StagePlan.divide(12, 4, "first").sources == (0, 1, 2, 3)
    assert StagePlan.divide(12, 4, "even").sources == (0, 4, 7, 11)
    assert StagePlan.divide(12, 1, "even").sources == (11,)


def test_explicit_sizes() -> None:
    plan = StagePlan.divide(12, [2, 2, 6, 2])
    assert plan.sources == (1, 3, 9, 11)
    assert plan.blocks(2) == range(4, 10)


@pytest.mark.parametrize("stages", [0, 13, -1])
def test_an_impossible_number_is_refused(stages: int) -> None:
    with pytest.raises(ConfigError, match=f"has 12 blocks, cannot give {stages} stages"):
        StagePlan.divide(12, stages)


@pytest.mark.parametrize("sizes", [[2, 2, 6], [12, 0], [1] * 13, []])
def test_sizes_that_do_not_add_up_are_refused_with_an_example(sizes: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"add up to its 12 blocks, such as \["):
        StagePlan.divide(12, sizes)


def test_trunks_can_differ_and_those_left_out_stay() -> None:
    plans = plan_stages({"encoder": 12, "decoder": 2}, {"encoder": [6, 6]})
    assert plans["encoder"].sizes == (6, 6)
    assert plans["decoder"].sizes == (1, 1)
    with pytest.raises(ConfigError, match="neck"):
        plan_stages({"encoder": 12}, {"neck": 2})


def test_one_number_that_does_not_fit_every_trunk_is_refused_with_a_mapping() -> None:
    with pytest.raises(ConfigError, match=r"trunk 'decoder' has 2 blocks.*stages=\{encoder: 4, decoder: 1\}"):
        plan_stages({"encoder": 12, "decoder": 2}, 4)
