from __future__ import annotations

import pytest
import torch

from ctsdk import AdapterContractError
from ctsdk.engine.imitation import imitation_loss


def test_each_tensor_of_a_stage_and_each_stage_count_the_same() -> None:
    zeros, teacher = torch.zeros(2, 3, 4), {"a": [(torch.zeros(2, 3, 4), torch.zeros(2, 9, 4))] * 2}
    # One small tensor is off by 1, the large one is right: a half, whatever their sizes. One stage of two: a quarter.
    mix = {"a": [(zeros + 1, torch.zeros(2, 9, 4)), (zeros, torch.zeros(2, 9, 4))]}
    assert imitation_loss(mix, teacher).item() == pytest.approx(0.25)


def test_other_shapes_are_named() -> None:
    with pytest.raises(AdapterContractError, match=r"stage 0 of trunk 'a' gave tokens of shapes \[\(2, 3\)\]"):
        imitation_loss({"a": [(torch.zeros(2, 3),)]}, {"a": [(torch.zeros(2, 4),)]})
