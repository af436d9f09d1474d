from __future__ import annotations

import pytest
import torch

from ctsdk import AdapterContractError
from ctsdk.engine.imitation import imitation_by_stage


def test_each_tensor_of_a_stage_counts_the_same() -> None:
    zeros, teacher = torch.zeros(2, 3, 4), {"a": [(torch.zeros(2, 3, 4), torch.zeros(2, 9, 4))] * 2}
    # One small tensor is off by 1, the large one is right: a half, whatever their sizes. The other stage is right.
    mix = {"a": [(zeros + 1, torch.zeros(2, 9, 4)), (zeros, torch.zeros(2, 9, 4))]}
    errors = imitation_by_stage(mix, teacher)
    assert {stage: error.item() for stage, error in errors.items()} == {"a.0": 0.5, "a.1": 0.0}


def test_other_shapes_are_named() -> None:
    with pytest.raises(AdapterContractError, match=r"stage 0 of trunk 'a' gave tokens of shapes \[\(2, 3\)\]"):
        imitation_by_stage({"a": [(torch.zeros(2, 3),)]}, {"a": [(torch.zeros(2, 4),)]})
