"""Imitation: how far the stages of a mix are from the teacher's. Guidance by predictions is part of the adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from ctsdk.errors import AdapterContractError

__all__ = ["StageTokens", "imitation_by_stage"]

# By trunk, by stage: the tensors that the adapter's stage_tokens picked.
StageTokens: TypeAlias = Mapping[str, Sequence[tuple[Tensor, ...]]]


def imitation_by_stage(mix: StageTokens, teacher: StageTokens) -> dict[str, Tensor]:
    """Return how far each stage of a mix is from the teacher's, unweighted scalars by trunk and stage, ``backbone.0``.

    The mean squared error of each tensor of a stage, averaged over the tensors. Stages that the teacher's blocks
    computed count too. The imitation loss is the mean over all stages of all trunks.

    Args:
        mix: by trunk, by stage: the tokens after the stage.
        teacher: the same of the clean teacher.

    Raises:
        AdapterContractError: the two do not have the same shapes.

    Source: arXiv 2409.17564, stage-wise feature mimicking; LingyiHongfd/CompressTracker @ efd98ec,
    lib/train/actors/compresstracker.py.
    """
    errors = {}
    for trunk, stages in mix.items():
        for stage, (seen, wanted) in enumerate(zip(stages, teacher[trunk], strict=True)):
            shapes, expected = [tuple(t.shape) for t in seen], [tuple(t.shape) for t in wanted]
            if shapes != expected:
                raise AdapterContractError(
                    f"stage {stage} of trunk {trunk!r} gave tokens of shapes {shapes}, the teacher {expected}; "
                    "imitation needs the same shapes. Override stage_tokens to put eliminated tokens back in place."
                )
            pairs = zip(seen, wanted, strict=True)
            errors[f"{trunk}.{stage}"] = torch.stack([F.mse_loss(token, target) for token, target in pairs]).mean()
    return errors
