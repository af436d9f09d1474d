"""One optimiser step of replacement training: the gradients of a mix, over all parts of a batch and all processes.

:func:`ctsdk.engine.step.step_losses` is the method; this makes an optimiser step of it. A step that goes wrong leaves
the student as it was.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ctsdk.engine.batch import Batch
from ctsdk.engine.mixes import Mix, draw_mix
from ctsdk.engine.schedules import make_schedule
from ctsdk.engine.step import StepLosses, seed_step
from ctsdk.errors import ConfigError
from ctsdk.ranks import Ranks
from ctsdk.training.acceleration import autocast, make_scaler
from ctsdk.training.distribution import average_gradients, batch_norm_over_ranks
from ctsdk.training.divergence import find_source, gradients_not_finite
from ctsdk.training.optimisation import check_groups, make_optimizer, rate_factor

__all__ = ["NotFiniteError", "Stepper"]


class NotFiniteError(Exception):
    """A loss or gradient of a step is not finite; the student is as it was before the step."""


@dataclass
class Stepper:
    """Takes the optimiser steps of a run.

    Attributes:
        losses: the losses of a step, with the student that is trained in place.
        device: where the student is.
        ranks: the processes that share each step.
        stage_runs: by trunk and stage, ``backbone.0``: in how many steps so far the stage was the student's.
    """

    losses: StepLosses
    device: torch.device
    ranks: Ranks
    stage_runs: dict[str, int] = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        config, student = self.losses.config, self.losses.student
        self.schedule = make_schedule(config.replacement)
        self.stage_runs = dict.fromkeys(self._blocks(), 0)
        self.optimizer = make_optimizer(student, config.training, self.device)
        self.scaler = make_scaler(config.training.precision, self.device)
        if config.is_replacing and self.schedule.probability(0.0) < 1:
            check_groups(student, self._blocks())

    @cached_property
    def _averaged_losses(self) -> nn.Module:
        """The loss module, wrapped lazily: DDP records the parameters' memory layout when it wraps them."""
        return average_gradients(self.losses, self.ranks)

    def state(self) -> dict[str, Any]:
        """Return what the next step depends on, for :meth:`load_state`."""
        return {
            "student": self.losses.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any], step: int) -> None:
        """Continue at `step` from the :meth:`state` of another run."""
        self.losses.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        # Empty where the run that saved it had no scale; then the scale starts anew.
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        # Not saved, because draws are a function of seed and step.
        self.stage_runs = dict.fromkeys(self.stage_runs, 0)
        for done in range(step):
            self._count(self._draw(done)[1])

    def take(self, step: int, parts: list[Batch]) -> dict[str, float]:
        """Do one optimiser step on the parts of a batch, and return its metrics.

        Args:
            step: which one, from 0; its random numbers depend on it and on the seed.
            parts: this process's share of the batch.

        Raises:
            NotFiniteError: a loss or gradient is not finite. The student is as before the step.
            ConfigError: no loss depends on what is to be trained.
        """
        settings, student = self.losses.config.training, self.losses.student
        p, mix = self._draw(step)
        rate = settings.learning_rate * rate_factor(settings, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]

        student.train()
        # A forward pass already moves the statistics of batch norm; those of a bad step are put back.
        buffers = {name: buffer.clone() for name, buffer in student.named_buffers()}
        # A student block that no mix used keeps no gradient at all, so AdamW leaves it alone in this step.
        self.optimizer.zero_grad(set_to_none=True)
        totals, by_stage, size = self._backward(step, mix, parts)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.scaler.unscale_(self.optimizer)
        norms = self._gradient_norms(parameters)
        norm, *values = torch.stack(list(norms.values())).tolist()
        are_finite = all(map(math.isfinite, totals.values())) and (math.isfinite(norm) or self._is_overflow())
        if not are_finite:
            raise NotFiniteError(self._undo(step, mix, parts, buffers, totals, norm))
        nn.utils.clip_grads_with_norm_(parameters, settings.clip_norm or math.inf, norms["gradient_norm"])
        self.scaler.step(self.optimizer)
        num_student = sum(sum(flags) for flags in mix.values())
        metrics = {"probability": p, "student_stages": num_student, "learning_rate": rate, "num_samples": size}
        metrics |= self._norm_metrics(dict(zip(norms, [norm, *values], strict=True)))
        self.scaler.update()
        self._count(mix)
        stage_runs = {f"stage_runs/{stage}": runs for stage, runs in self.stage_runs.items()}
        return {"loss": sum(totals.values()), **totals, **metrics, **by_stage, **stage_runs}

    def _draw(self, step: int) -> tuple[float, Mix]:
        """Return how likely each stage is the student's in a step, and the mix that is drawn."""
        config = self.losses.config
        p = self.schedule.probability(step / config.training.num_steps) if config.is_replacing else 1.0
        return p, draw_mix(self.losses.plans, p, seed=config.seed, step=step)

    def _count(self, mix: Mix) -> None:
        """Count the stages that are the student's."""
        for trunk, flags in mix.items():
            for stage, is_student in enumerate(flags):
                self.stage_runs[f"{trunk}.{stage}"] += is_student

    def _gradient_norms(self, parameters: list[nn.Parameter]) -> dict[str, Tensor]:
        """Return the norm of the whole gradient, and of that of each student block that has one, as scalars."""

        def norm_of(some: Iterable[nn.Parameter]) -> Tensor | None:
            gradients = [parameter.grad for parameter in some if parameter.grad is not None]
            return nn.utils.get_total_norm(gradients) if gradients else None

        norms = {"gradient_norm": norm_of(parameters)}
        for name, block in self._blocks().items():
            norms[f"stage_gradient_norm/{name}"] = norm_of(block.parameters())
        return {name: norm for name, norm in norms.items() if norm is not None}

    def _blocks(self) -> dict[str, nn.Module]:
        """Return the student's blocks, by trunk and stage."""
        trunks, student = self.losses.adapter.trunks().items(), self.losses.student
        return {f"{name}.{i}": block for name, trunk in trunks for i, block in enumerate(trunk.blocks(student))}

    def _norm_metrics(self, norms: Mapping[str, float]) -> dict[str, float]:
        """Return the norms, and in float16 the scale of the loss and whether the step was left out."""
        if not self.scaler.is_enabled():
            return dict(norms)
        is_finite = math.isfinite(norms["gradient_norm"])
        scale = {"loss_scale": self.scaler.get_scale(), "left_out": float(not is_finite)}
        return {**norms, **scale} if is_finite else scale

    def _is_overflow(self) -> bool:
        """Whether a gradient may be infinite because of the scale of the loss; then the step is left out."""
        return self.scaler.is_enabled() and self.scaler.get_scale() > 1.0

    def _backward(self, step: int, mix: Mix, parts: list[Batch]) -> tuple[dict[str, float], dict[str, float], float]:
        """Add up the gradients of the parts of a batch, over all processes.

        Returns:
            the terms of the loss, the imitation of each stage, and how many samples they are of.
        """
        seed_step(self.losses.config.seed, step, self.ranks.rank)
        num_ranks, rows = self.ranks.num_ranks, []
        size = self.ranks.add_up([sum(part.size for part in parts)])[0]
        # For the steps alone: the search for a NaN ends in some ranks before others, which would wait for them here.
        with batch_norm_over_ranks(self.losses.student, self.ranks):
            for part in parts:
                with self._sync_after_last(is_last=part is parts[-1]):
                    with self._autocast():
                        terms, by_stage = self._averaged_losses(mix, part.to(self.device))
                    values = torch.stack([term.float() for term in terms.values()])
                    if not values.requires_grad:
                        raise ConfigError(
                            f"step {step}: none of the losses ({', '.join(terms)}) depends on what training.groups "
                            "leaves trainable. Freeze less, or give weight to other losses."
                        )
                    # DDP averages over ranks; times num_ranks gives the sum.
                    scale = part.size * num_ranks / size
                    self.scaler.scale(values.sum() * scale).backward()  # type: ignore[no-untyped-call]
                rows.append(torch.stack([*values.detach(), *(value.float() for value in by_stage.values())]))
        names = [*terms, *(f"stage_imitation/{stage}" for stage in by_stage)]
        totals = [0.0] * len(names)
        # The values of all parts are read at once, because reading waits for the device.
        for part, row in zip(parts, torch.stack(rows).tolist(), strict=True):
            totals = [total + value * part.size / size for total, value in zip(totals, row, strict=True)]
        means = dict(zip(names, self.ranks.add_up(totals), strict=True))
        return {name: means.pop(name) for name in terms}, means, float(size)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return autocast(self.losses.config.training.precision, self.device)

    def _sync_after_last(self, *, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """Keep the processes from exchanging gradients before the last part of a step."""
        if isinstance(self._averaged_losses, DistributedDataParallel) and not is_last:
            return self._averaged_losses.no_sync()
        return contextlib.nullcontext()

    def _undo(
        self,
        step: int,
        mix: Mix,
        parts: list[Batch],
        buffers: Mapping[str, Tensor],
        totals: Mapping[str, float],
        norm: float,
    ) -> str:
        """Make the student as it was before the step, and return what was seen and where it comes from."""
        _restore(self.losses.student, buffers)
        source = self._find_source(step, mix, parts, totals)
        # Finding the source ran the mix once more.
        _restore(self.losses.student, buffers)
        self.optimizer.zero_grad(set_to_none=True)
        seen = ", ".join(f"{name} {value:.4g}" for name, value in {**totals, "gradient norm": norm}.items())
        return f"step {step}: a loss or gradient is not finite ({seen}): {source}."

    def _find_source(self, step: int, mix: Mix, parts: list[Batch], totals: Mapping[str, float]) -> str:
        """Return in words where the values of this step that are not finite come from."""
        if all(map(math.isfinite, totals.values())):
            return gradients_not_finite(self.losses.student)
        seed_step(self.losses.config.seed, step, self.ranks.rank)
        sources = []
        for part in parts:
            with self._autocast():
                sources.append(find_source(self.losses, mix, part.to(self.device)))
        # Prefer a rank that found a fault.
        return max(
            (source for part in self.ranks.gather(sources) for source in part),
            key=lambda source: not source.startswith("batch, weights"),
        )


def _restore(module: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    for name, buffer in module.named_buffers():
        buffer.copy_(buffers[name])
