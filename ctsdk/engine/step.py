"""What a training step is: the losses of one mix on one batch, with the teacher frozen and its own random numbers.

:func:`step_losses` is the method. What a run does with it, step after step, is in :mod:`ctsdk.training.loop`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from ctsdk.config import CompressionConfig
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import Batch
from ctsdk.engine.faults import named_losses
from ctsdk.engine.imitation import imitation_by_stage
from ctsdk.engine.mixes import Mix, StageRecorder, mixed
from ctsdk.engine.stages import StagePlan

__all__ = ["StepLosses", "frozen", "own_randomness", "seed_step", "step_losses"]


def step_losses(
    adapter: TrackerAdapter,
    student: nn.Module,
    plans: Mapping[str, StagePlan],
    mix: Mix,
    batch: Batch,
    config: CompressionConfig,
) -> dict[str, Tensor]:
    """Return the weighted terms of the loss of one mix on one batch; their sum is minimised.

    Neither the mode of the student nor that of the teacher is changed here.

    Args:
        adapter: the teacher, its forward and its losses.
        student: the student; runs as the mix.
        plans: the stages of every trunk.
        mix: which stages are the student's.
        batch: on the device of the student.
        config: the weights, and whether the teacher guides and is imitated.

    Returns:
        scalars by name: ``task/<name>``, ``guidance/<name>``, ``imitation``. What has the weight 0 is neither
        computed nor there.

    Raises:
        AdapterContractError: a loss is no named scalar, or the stages of mix and teacher cannot be compared.

    Source: arXiv 2409.17564: L = track + 1.0 prediction + 0.2 feature.
    """
    return StepLosses(adapter, student, plans, config).forward(mix, batch)[0]


class StepLosses(nn.Module):
    """The losses of a step, and what they are computed with: adapter, student, stages and configuration.

    A module, because torch averages the gradients of modules.

    Args:
        adapter: the teacher, its forward and its losses.
        student: runs as the mix.
        plans: the stages of every trunk.
        config: the weights, and whether the teacher guides and is imitated.
    """

    def __init__(
        self, adapter: TrackerAdapter, student: nn.Module, plans: Mapping[str, StagePlan], config: CompressionConfig
    ) -> None:
        super().__init__()
        self.adapter, self.student, self.plans, self.config = adapter, student, plans, config

    def mixed(self, mix: Mix) -> AbstractContextManager[StageRecorder]:
        """Let the student run as `mix` inside the context; see :func:`ctsdk.engine.mixes.mixed`."""
        return mixed(self.adapter, self.student, self.plans, mix)

    def forward(self, mix: Mix, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the terms of the loss, and what each stage adds to `imitation`, without gradient.

        The latter, by trunk and stage such as ``backbone.0``, are weighted; their mean is the term.
        """
        weights, terms, by_stage = self.config.losses, dict[str, Tensor](), dict[str, Tensor]()
        adapter = self.adapter
        with self.mixed(mix) as recorder:
            prediction = adapter.predict(self.student, batch)
        if weights.task:
            task = named_losses("task_loss", adapter.task_loss(prediction, batch), adapter)
            terms |= {f"task/{name}": weights.task * loss for name, loss in task.items()}
        if self.config.is_guiding or self.config.is_imitating:
            # Not inference mode: autograd may not keep its tensors, and the losses need them in the backward pass.
            with torch.no_grad(), StageRecorder.of_teacher(adapter, self.plans) as teacher_recorder:
                target = adapter.predict(adapter.teacher, batch)
        if self.config.is_guiding:
            guidance = named_losses("guidance_loss", adapter.guidance_loss(prediction, target, batch), adapter)
            terms |= {f"guidance/{name}": weights.guidance * loss for name, loss in guidance.items()}
        if self.config.is_imitating:
            errors = imitation_by_stage(recorder.tokens(batch), teacher_recorder.tokens(batch))
            terms["imitation"] = weights.imitation * torch.stack(list(errors.values())).mean()
            by_stage = {stage: weights.imitation * error.detach() for stage, error in errors.items()}
        return terms, by_stage


@contextmanager
def frozen(teacher: nn.Module) -> Iterator[None]:
    """Keep every module of `teacher` in eval mode and its parameters without gradient; restore both afterwards."""
    modes = [(module, module.training) for module in teacher.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in teacher.parameters()]
    teacher.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in flags:
            parameter.requires_grad_(requires_grad)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Restore the caller's random state afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch, so that what the tracker draws (drop path, dropout) depends on seed, step and process alone."""
    parts = [seed, step, rank] if rank else [seed, step]
    torch.manual_seed(int(np.random.SeedSequence(parts).generate_state(1)[0]))
