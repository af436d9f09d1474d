from __future__ import annotations

import pytest
from torch import nn

from ctsdk import AdapterContractError, Trunk


class Owner(nn.Module):
    def __init__(self, blocks: object) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.inner.blocks = blocks  # type: ignore[assignment]


def linears(count: int) -> list[nn.Module]:
    return [nn.Linear(2, 2) for _ in range(count)]


@pytest.mark.parametrize("kind", [nn.ModuleList, lambda blocks: nn.Sequential(*blocks), list, tuple])
def test_swapped_blocks_run_inside_and_own_list_is_back_outside(kind: object) -> None:
    own, other = linears(4), linears(2)
    tracker, trunk = Owner(kind(own)), Trunk("inner.blocks")  # type: ignore[operator]
    container = tracker.inner.blocks
    with trunk.swapped(tracker, other):
        assert trunk.blocks(tracker) == other
        assert type(tracker.inner.blocks) is type(container)
    assert tracker.inner.blocks is container
    assert trunk.blocks(tracker) == own


def test_own_list_is_back_after_an_error_and_after_swap_saw_both_changes() -> None:
    seen: list[int] = []
    trunk = Trunk("inner.blocks", after_swap=lambda tracker: seen.append(len(tracker.inner.blocks)))
    tracker = Owner(nn.ModuleList(linears(4)))
    with pytest.raises(RuntimeError, match="boom"), trunk.swapped(tracker, linears(2)):
        raise RuntimeError("boom")
    assert len(tracker.inner.blocks) == 4
    assert seen == [2, 4]


def test_own_list_is_back_after_an_error_of_after_swap() -> None:
    def mend(tracker: nn.Module) -> None:
        if len(tracker.inner.blocks) == 2:  # type: ignore[union-attr, arg-type]
            raise RuntimeError("two blocks are too few")

    trunk, tracker = Trunk("inner.blocks", after_swap=mend), Owner(nn.ModuleList(linears(4)))
    with pytest.raises(RuntimeError, match="too few"), trunk.swapped(tracker, linears(2)):
        pass
    assert len(tracker.inner.blocks) == 4


def test_a_range_keeps_the_blocks_around_it() -> None:
    own, other = linears(6), linears(1)
    tracker, trunk = Owner(nn.ModuleList(own)), Trunk("inner.blocks", start=1, stop=-2)
    assert trunk.blocks(tracker) == own[1:4]
    trunk.assign(tracker, other)
    assert list(tracker.inner.blocks) == [own[0], *other, *own[4:]]
    assert trunk.blocks(tracker) == other


def test_a_stop_that_would_point_elsewhere_is_refused_with_the_right_one() -> None:
    tracker = Owner(nn.ModuleList(linears(6)))
    with pytest.raises(AdapterContractError, match="stop=-2"):
        Trunk("inner.blocks", stop=4).assign(tracker, linears(1))


@pytest.mark.parametrize(
    ("path", "message"),
    [("inner.layers", "has no 'layers'"), ("outer.blocks", "has no 'outer'"), ("inner", "leads to a Module")],
)
def test_a_wrong_path_says_what_is_there(path: str, message: str) -> None:
    with pytest.raises(AdapterContractError, match=message):
        Trunk(path).blocks(Owner(nn.ModuleList(linears(2))))


def test_a_list_of_something_else_is_no_trunk() -> None:
    with pytest.raises(AdapterContractError, match="not all nn"):
        Trunk("inner.blocks").blocks(Owner([1, 2]))
