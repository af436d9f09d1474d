"""The training loop: one mix a step, three losses, AdamW.

:func:`step_losses` is the method; the rest is what any training needs. What is random in step k depends on the
seed and on k alone, so a resumed run goes on as if it had never stopped, and every process of a run
draws the same mix.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ctsdk.boxes import cxcywh_to_xyxy, iou, xywh_to_xyxy
from ctsdk.contract import look_before_training
from ctsdk.data.feed import gather
from ctsdk.errors import AdapterContractError, ConfigError, TrainingError
from ctsdk.losses import imitation_loss
from ctsdk.metrics import MetricsLog
from ctsdk.replacement import Mix, StageRecorder, draw_mix, make_schedule, mixed
from ctsdk.weights import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ctsdk.adapter import Batch, TrackerAdapter
    from ctsdk.config import CompressionConfig, TrainingConfig
    from ctsdk.stages import StagePlan

__all__ = ["EARLIER_STATE_FILE", "STATE_FILE", "Trainer", "frozen", "pick_device", "step_losses"]

STATE_FILE, EARLIER_STATE_FILE = "state.pt", "state-earlier.pt"
# Steps after which the duration of the whole run is estimated; the first one is slower and does not count.
_ESTIMATE_AT = 20

_logger = logging.getLogger(__name__)


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
        scalars by name: ``task/<name>``, ``guidance/<name>``, ``imitation``.

    Raises:
        AdapterContractError: a loss is no scalar, or the stages of mix and teacher cannot be compared.

    Source: arXiv 2409.17564: L = track + 1.0 prediction + 0.2 feature.
    """
    with mixed(adapter, student, plans, mix) as recorder:
        prediction = adapter.predict(student, batch)
    weights = config.losses
    terms = {f"task/{name}": weights.task * loss for name, loss in adapter.task_loss(prediction, batch).items()}
    if config.is_distilling:
        with torch.no_grad(), StageRecorder.of_teacher(adapter, plans) as teacher_recorder:
            target = adapter.predict(adapter.teacher, batch)
        guidance = adapter.guidance_loss(prediction, target, batch)
        terms |= {f"guidance/{name}": weights.guidance * loss for name, loss in guidance.items()}
        imitation = imitation_loss(recorder.tokens(batch), teacher_recorder.tokens(batch))
        terms["imitation"] = weights.imitation * imitation
    for name, term in terms.items():
        if term.ndim != 0:
            raise AdapterContractError(
                f"the loss {name} of adapter {adapter.name!r} has shape {tuple(term.shape)}; expected a scalar. "
                "Average it over the batch."
            )
    return terms


@contextmanager
def frozen(teacher: nn.Module) -> Iterator[None]:
    """Keep every module of `teacher` in eval mode and its parameters without gradient; all as before afterwards."""
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


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is the accelerator if there is one, else the CPU.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        if not torch.accelerator.is_available():
            return torch.device("cpu")
        return torch.accelerator.current_accelerator() or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used here: {error}. Use 'auto' or 'cpu'.") from error
    return device


@dataclass
class Trainer:
    """One training run.

    Attributes:
        adapter: the teacher, its forward and its losses.
        student: trained in place.
        plans: the stages of every trunk.
        config: everything else.
        folder: where metrics and training states go; None to keep metrics in memory and no states.
        step: optimiser steps done.
        batches_read: batches consumed so far.
    """

    adapter: TrackerAdapter
    student: nn.Module
    plans: Mapping[str, StagePlan]
    config: CompressionConfig
    folder: Path | None = None
    step: int = 0
    batches_read: int = 0
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.device = pick_device(self.config.training.device)
        self.schedule = make_schedule(self.config.replacement)
        self.student.to(self.device)
        self.optimizer = _make_optimizer(self.student, self.config.training)

    def train(
        self,
        open_batches: Callable[[int], Iterator[Batch]],
        validation: list[Batch] | None = None,
        *,
        show_progress: bool | None = None,
    ) -> list[dict[str, Any]]:
        """Run all steps that are left.

        Args:
            open_batches: given a number of batches, returns an endless iterator that begins after so many.
            validation: batches on which the student is measured every ``validate_every`` steps.
            show_progress: a progress bar on stderr; None for one if stderr is a terminal.

        Returns:
            the rows of the metrics.

        Raises:
            AdapterContractError: the first batch shows that the adapter does not keep the contract.
            TrainingError: a loss or gradient is not finite. The student is as after the last good step, and if the run
                has a folder, its state is there.
        """
        settings, total = self.config.training, self.config.training.num_steps
        batches = open_batches(self.batches_read)
        bar = tqdm(
            total=total, initial=self.step, unit="step", disable=None if show_progress is None else not show_progress
        )
        with frozen(self.adapter.teacher), _own_randomness(self.device), bar, self._metrics() as metrics:
            begin, first = time.monotonic(), self.step
            while self.step < total:
                parts = gather(batches, settings.batch_size)
                if self.step == first:
                    look_before_training(self.adapter, self.student, self.plans, parts[0].to(self.device))
                row = self._train_step(parts)
                metrics.add(self.step, **row)
                self.step += 1
                bar.update()
                bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
                if self.step == first + 1:
                    begin = time.monotonic()
                if self.step == first + _ESTIMATE_AT:
                    self._estimate(metrics, (time.monotonic() - begin) / (_ESTIMATE_AT - 1))
                if validation and settings.validate_every and self.step % settings.validate_every == 0:
                    metrics.add(self.step, **self.validate(validation))
                if self.folder and settings.save_every and self.step % settings.save_every == 0:
                    self.save_state()
            if self.folder:
                self.save_state()
        self.student.eval()
        return metrics.rows

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> dict[str, float]:
        """Return the student's mean task loss, ``validation/loss``, and of a tracker its mean overlap, ``/iou``."""
        self.student.eval()
        losses, overlaps = [], []
        for batch in (batch.to(self.device) for batch in batches):
            prediction = self.adapter.predict(self.student, batch)
            losses.append(sum(value.item() for value in self.adapter.task_loss(prediction, batch).values()))
            if "session" in self.adapter.capabilities:
                truth, boxes = xywh_to_xyxy(batch.search_boxes[-1]), self.adapter.locate(self.student, batch).boxes
                overlaps.append(iou(cxcywh_to_xyxy(boxes), truth).mean().item())
        overlap = {"validation/iou": float(np.mean(overlaps))} if overlaps else {}
        return {"validation/loss": float(np.mean(losses)), **overlap}

    def save_state(self) -> Path:
        """Write the training state, so that :meth:`load_state` goes on from here."""
        if self.folder is None:
            raise ConfigError("this run has no folder to save its state in; pass run_dir to compress().")
        state = {
            "step": self.step,
            "batches_read": self.batches_read,
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "config": self.config.model_dump_json(),
        }
        path = self.folder / STATE_FILE
        with atomic_write(path) as temporary:
            torch.save(state, temporary)
        return path

    def load_state(self, path: Path) -> None:
        """Go on from a state that :meth:`save_state` wrote.

        Raises:
            TrainingError: the state is of another configuration, or cannot be read.
        """
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:
            raise TrainingError(f"cannot read the training state {path}: {error}") from error
        if state["config"] != self.config.model_dump_json():
            raise TrainingError(
                f"the training state {path} belongs to another configuration; a run can only go on as it began. "
                f"Use the configuration it was started with, or another run_dir. It was: {state['config']}"
            )
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.batches_read = state["step"], state["batches_read"]

    def _train_step(self, parts: list[Batch]) -> dict[str, float]:
        """Do one optimiser step on parts of one batch and return its figures."""
        settings = self.config.training
        progress = self.step / settings.num_steps
        p = self.schedule.probability(progress) if self.config.is_replacing else 1.0
        mix = draw_mix(self.plans, p, seed=self.config.seed, step=self.step)
        _seed_step(self.config.seed, self.step)
        rate = settings.learning_rate * _rate_factor(settings, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]

        self.student.train()
        # A forward pass already moves the statistics of batch norm; a bad one must not leave its mark.
        buffers = {name: buffer.clone() for name, buffer in self.student.named_buffers()}
        # A student block that no mix used keeps no gradient at all, so AdamW leaves it alone in this step.
        self.optimizer.zero_grad(set_to_none=True)
        size = sum(part.size for part in parts)
        totals: dict[str, float] = {}
        for part in parts:
            with self._autocast():
                terms = step_losses(self.adapter, self.student, self.plans, mix, part.to(self.device), self.config)
            loss = torch.stack([term.float() for term in terms.values()]).sum() * (part.size / size)
            self._require_finite(loss, {name: term.item() for name, term in terms.items()}, buffers)
            loss.backward()  # type: ignore[no-untyped-call]
            for name, term in terms.items():
                totals[name] = totals.get(name, 0.0) + term.item() * part.size / size
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, settings.clip_norm or math.inf)
        self._require_finite(norm, {"gradient norm": norm.item()}, buffers)
        self.optimizer.step()
        self.batches_read += len(parts)
        num_student = sum(sum(flags) for flags in mix.values())
        figures = {"probability": p, "student_stages": num_student, "learning_rate": rate, "gradient_norm": norm.item()}
        return {"loss": sum(totals.values()), **totals, **figures}

    def _require_finite(self, value: Tensor, figures: Mapping[str, float], buffers: Mapping[str, Tensor]) -> None:
        if bool(torch.isfinite(value)):
            return
        self.optimizer.zero_grad(set_to_none=True)
        for name, buffer in self.student.named_buffers():
            buffer.copy_(buffers[name])
        state_path = self._save_beside_earlier() if self.folder else None
        kept = f"in {state_path}" if state_path else "in the error's attribute `student`"
        seen = ", ".join(f"{name} {figure:.4g}" for name, figure in figures.items())
        raise TrainingError(
            f"step {self.step}: a loss or gradient is not finite ({seen}). The state after the last good step is kept "
            f"{kept}. Check the batches for NaN, or begin anew with a lower training.learning_rate or "
            "training.precision=float32.",
            student=self.student,
            state_path=state_path,
        )

    def _save_beside_earlier(self) -> Path:
        """Save the state, and keep the one of the last regular save: a run may diverge long before it breaks."""
        assert self.folder is not None
        earlier = self.folder / STATE_FILE
        if earlier.exists():
            earlier.replace(self.folder / EARLIER_STATE_FILE)
        return self.save_state()

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        precision = self.config.training.precision
        if precision == "bfloat16" or (precision == "auto" and self.device.type == "cuda"):
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def _metrics(self) -> MetricsLog:
        return MetricsLog(self.folder, first_step=self.step)

    def _estimate(self, metrics: MetricsLog, seconds_per_step: float) -> None:
        left = seconds_per_step * (self.config.training.num_steps - self.step)
        _logger.info("%.2f s a step on %s: about %s left", seconds_per_step, self.device, _duration(left))
        metrics.add(self.step, **{"estimate/seconds_per_step": seconds_per_step, "estimate/seconds_left": left})


def _make_optimizer(student: nn.Module, settings: TrainingConfig) -> torch.optim.Optimizer:
    """Return AdamW over the student's parameters, grouped by the factor of their learning rate."""
    by_factor: dict[float, list[nn.Parameter]] = {}
    for name, parameter in student.named_parameters():
        matches = (group.rate_factor for group in settings.groups if re.search(group.match, name))
        factor = next(matches, 1.0)
        parameter.requires_grad_(parameter.requires_grad and factor > 0)
        if parameter.requires_grad:
            by_factor.setdefault(factor, []).append(parameter)
    if not by_factor:
        raise ConfigError("training.groups freezes every parameter of the student; expected some with rate_factor > 0.")
    groups = [{"params": parameters, "rate_factor": factor} for factor, parameters in by_factor.items()]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _rate_factor(settings: TrainingConfig, step: int) -> float:
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


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Give the caller's random state back afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def _seed_step(seed: int, step: int) -> None:
    """Make whatever the tracker draws in this step (drop path, dropout) a function of the seed and the step."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"
