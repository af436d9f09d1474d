"""The optimiser of a run: its groups of parameters, and the learning rate of each step."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import nn

from ctsdk.config import TrainingConfig
from ctsdk.errors import ConfigError

__all__ = ["check_groups", "make_optimizer", "rate_factor"]


def make_optimizer(student: nn.Module, settings: TrainingConfig, device: torch.device) -> torch.optim.Optimizer:
    """Return AdamW over the student's parameters, grouped by the factor of their learning rate.

    Parameters with the factor 0 are frozen.

    Raises:
        ConfigError: every parameter is frozen, or a group matches none.
    """
    parameters = dict(student.named_parameters())
    for group in settings.groups:
        if not any(re.search(group.match, name) for name in parameters):
            raise ConfigError(
                f"training.groups: {group.match!r} is found in no name of a parameter of the student; they are called "
                f"{', '.join(list(parameters)[:3])} and so on."
            )
    by_factor: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        matches = (group.rate_factor for group in settings.groups if re.search(group.match, name))
        factor = next(matches, 1.0)
        parameter.requires_grad_(parameter.requires_grad and factor > 0)
        if parameter.requires_grad:
            by_factor.setdefault(factor, []).append(parameter)
    if not by_factor:
        raise ConfigError("training.groups freezes every parameter of the student; expected some with rate_factor > 0.")
    groups = [{"params": parameters, "rate_factor": factor} for factor, parameters in by_factor.items()]
    is_fused = device.type in ("cpu", "cuda") if settings.fused_optimizer is None else settings.fused_optimizer
    return torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        # Not False, which would also turn off torch's own default.
        fused=True if is_fused else None,
    )


def check_groups(student: nn.Module, blocks: Mapping[str, nn.Module]) -> None:
    """Refuse to freeze so much that a step has nothing to train.

    Args:
        student: after :func:`make_optimizer`, which freezes parameters.
        blocks: its stages, by name; a mix has at least one of them.

    Raises:
        ConfigError: some stage is frozen, and so is all that is in every mix.
    """
    idle = [name for name, block in blocks.items() if not any(part.requires_grad for part in block.parameters())]
    replaced = {id(parameter) for block in blocks.values() for parameter in block.parameters()}
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    if idle and all(id(parameter) in replaced for parameter in trained):
        raise ConfigError(
            f"training.groups freezes stages ({', '.join(idle)}) and all outside of the stages, so a step in which the "
            "others are the teacher's would train nothing. Leave something trainable outside, such as a head, or use "
            "preset=distill, which replaces nothing."
        )


def rate_factor(settings: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step as a share of the peak."""
    if step < settings.warm_up_steps:
        return (step + 1) / settings.warm_up_steps
    progress = (step - settings.warm_up_steps) / max(1, settings.num_steps - settings.warm_up_steps)
    match settings.rate_schedule:
        case "drop":
            return 1.0 if step < settings.drop_at * settings.num_steps else 0.1
        case "cosine":
            return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        case "constant":
            return 1.0
