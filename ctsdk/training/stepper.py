"""One optimiser step of replacement training: the gradients of a mix, over all parts of a batch and all processes.

:func:`ctsdk.engine.step.step_losses` is the method; this makes a step of it that leaves no trace when it goes wrong.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ctsdk.engine.mixes import Mix, draw_mix
from ctsdk.engine.schedules import make_schedule
from ctsdk.engine.step import StepLosses, seed_step
from ctsdk.errors import ConfigError
from ctsdk.training.acceleration import autocast, make_scaler
from ctsdk.training.distribution import averaging_gradients, batch_norm_over_ranks
from ctsdk.training.divergence import find_source, gradients_not_finite
from ctsdk.training.optimisation import make_optimizer, rate_factor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ctsdk.config import CompressionConfig
    from ctsdk.engine.adapter import TrackerAdapter
    from ctsdk.engine.batch import Batch
    from ctsdk.engine.stages import StagePlan
    from ctsdk.ranks import Ranks

__all__ = ["NotFiniteError", "Stepper"]


class NotFiniteError(Exception):
    """A loss or gradient of a step is not finite; the student is as it was before the step."""


@dataclass
class Stepper:
    """What takes the steps of a run, and remembers between them what the optimiser does.

    Attributes:
        adapter: the teacher, its forward and its losses.
        student: trained in place; on `device`.
        plans: the stages of every trunk.
        config: everything else.
        device: on which the steps are taken.
        ranks: the processes that share each step.
        stage_runs: by trunk, by stage: in how many steps so far the stage was the student's.
    """

    adapter: TrackerAdapter
    student: nn.Module
    plans: Mapping[str, StagePlan]
    config: CompressionConfig
    device: torch.device
    ranks: Ranks
    stage_runs: dict[str, list[int]] = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.schedule = make_schedule(self.config.replacement)
        self.stage_runs = {trunk: [0] * plan.num_stages for trunk, plan in self.plans.items()}
        self.optimizer = make_optimizer(self.student, self.config.training, self.device)
        self.scaler = make_scaler(self.config.training.precision, self.device)
        if self.config.is_replacing and self.schedule.probability(0.0) < 1:
            _check_groups(self.student, self._blocks())

    @cached_property
    def _losses(self) -> nn.Module:
        """What gives the losses; made for the first step, because it takes parameters as they then lie in memory."""
        return averaging_gradients(StepLosses(self.adapter, self.student, self.plans, self.config), self.ranks)

    def state(self) -> dict[str, Any]:
        """Return what the next step depends on, for :meth:`load_state`."""
        return {
            "stage_runs": self.stage_runs,
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from where another one was."""
        self.stage_runs = state["stage_runs"]
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler = make_scaler(self.config.training.precision, self.device)
        self.scaler.load_state_dict(state["scaler"])

    def take(self, step: int, parts: list[Batch], rate_scale: float = 1.0) -> dict[str, float]:
        """Do one optimiser step on the parts of a batch, and return its figures.

        Args:
            step: which one, from 0; with the seed it says what is random in it.
            parts: this process's share of the batch.
            rate_scale: times the learning rate.

        Raises:
            NotFiniteError: a loss or gradient is not finite. The student is as before the step.
            ConfigError: no loss depends on what is to be trained.
        """
        settings = self.config.training
        progress = step / settings.num_steps
        p = self.schedule.probability(progress) if self.config.is_replacing else 1.0
        mix = draw_mix(self.plans, p, seed=self.config.seed, step=step)
        rate = settings.learning_rate * rate_factor(settings, step) * rate_scale
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]

        self.student.train()
        # A forward pass already moves the statistics of batch norm; a bad one must not leave its mark.
        buffers = {name: buffer.clone() for name, buffer in self.student.named_buffers()}
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
        figures = {"probability": p, "student_stages": num_student, "learning_rate": rate, "num_samples": size}
        figures |= self._scaled(dict(zip(norms, [norm, *values], strict=True)))
        self.scaler.update()
        return {"loss": sum(totals.values()), **totals, **figures, **by_stage, **self._counted(mix)}

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
        trunks = self.adapter.trunks().items()
        return {f"{name}.{i}": block for name, trunk in trunks for i, block in enumerate(trunk.blocks(self.student))}

    def _counted(self, mix: Mix) -> dict[str, float]:
        """Count the stages that are the student's, and return how often each one was so far."""
        for trunk, flags in mix.items():
            self.stage_runs[trunk] = [runs + flag for runs, flag in zip(self.stage_runs[trunk], flags, strict=True)]
        return {
            f"stage_runs/{trunk}.{i}": runs for trunk, all_ in self.stage_runs.items() for i, runs in enumerate(all_)
        }

    def _scaled(self, norms: Mapping[str, float]) -> dict[str, float]:
        """Return the norms, and in float16 the scale of the loss, and whether the step was left out."""
        if not self.scaler.is_enabled():
            return dict(norms)
        is_finite = math.isfinite(norms["gradient_norm"])
        scale = {"loss_scale": self.scaler.get_scale(), "left_out": float(not is_finite)}
        return {**norms, **scale} if is_finite else scale

    def _is_overflow(self) -> bool:
        """Whether the scale of the loss may be what made a gradient infinite; then the step is left out."""
        return self.scaler.is_enabled() and self.scaler.get_scale() > 1.0

    def _backward(self, step: int, mix: Mix, parts: list[Batch]) -> tuple[dict[str, float], dict[str, float], float]:
        """Add up the gradients of the parts of a batch, over all processes.

        Returns:
            the terms of the loss, the imitation of each stage, and how many samples they are of.
        """
        seed_step(self.config.seed, step, self.ranks.rank)
        num_ranks, rows = self.ranks.num_ranks, []
        size = self.ranks.add_up([sum(part.size for part in parts)])[0]
        for part in parts:
            with self._alone(is_last=part is parts[-1]), batch_norm_over_ranks(self.student, self.ranks):
                with autocast(self.config.training.precision, self.device):
                    terms, by_stage = self._losses(mix, part.to(self.device))
                values = torch.stack([term.float() for term in terms.values()])
                if not values.requires_grad:
                    raise ConfigError(
                        f"step {step}: none of the losses ({', '.join(terms)}) depends on what training.groups leaves "
                        "trainable. Freeze less, or give weight to other losses."
                    )
                # Gradients are averaged over the processes, so each one's are as many times too small.
                self.scaler.scale(values.sum() * (part.size * num_ranks / size)).backward()  # type: ignore[no-untyped-call]
            rows.append(torch.stack([*values.detach(), *(value.float() for value in by_stage.values())]))
        names = [*terms, *(f"stage_imitation/{stage}" for stage in by_stage)]
        totals = [0.0] * len(names)
        # What every part gave is read at once, because reading waits for the device.
        for part, row in zip(parts, torch.stack(rows).tolist(), strict=True):
            totals = [total + value * part.size / size for total, value in zip(totals, row, strict=True)]
        figures = dict(zip(names, self.ranks.add_up(totals), strict=True))
        return {name: figures.pop(name) for name in terms}, figures, float(size)

    def _alone(self, *, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """Keep the processes from exchanging gradients before the last part of a step."""
        if isinstance(self._losses, DistributedDataParallel) and not is_last:
            return self._losses.no_sync()
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
        """Make the student as it was before the step, and say what was seen and where it comes from."""
        _restore(self.student, buffers)
        source = self._source(step, mix, parts, totals)
        _restore(self.student, buffers)
        self.optimizer.zero_grad(set_to_none=True)
        seen = ", ".join(f"{name} {figure:.4g}" for name, figure in {**totals, "gradient norm": norm}.items())
        return f"step {step}: a loss or gradient is not finite ({seen}): {source}."

    def _source(self, step: int, mix: Mix, parts: list[Batch], totals: Mapping[str, float]) -> str:
        """Say where the values of this step that are not finite come from."""
        if all(map(math.isfinite, totals.values())):
            return gradients_not_finite(self.student)
        seed_step(self.config.seed, step, self.ranks.rank)
        sources = []
        for part in parts:
            with autocast(self.config.training.precision, self.device):
                sources.append(find_source(self.adapter, self.student, self.plans, mix, part.to(self.device)))
        # A part without fault says that all is finite, and another one knows better.
        return max(
            (source for part in self.ranks.gather(sources) for source in part),
            key=lambda source: not source.startswith("batch, weights"),
        )


def _check_groups(student: nn.Module, blocks: Mapping[str, nn.Module]) -> None:
    """Refuse to freeze so much that a mix has nothing to train.

    Args:
        student: its parameters that are to stay are frozen.
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


def _restore(module: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    for name, buffer in module.named_buffers():
        buffer.copy_(buffers[name])
