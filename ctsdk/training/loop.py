"""The training loop: step after step, watched, saved, and ended in order whatever happens.

:func:`ctsdk.engine.step.step_losses` is the method, :class:`ctsdk.training.stepper.Stepper` takes a step; this is what
any training needs. What is random in step k depends on the seed and on k alone, so a resumed run equals one that never
stopped, and every process of a run draws the same mix.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from functools import cached_property
from signal import Signals
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from tqdm.auto import tqdm

from ctsdk.boxes import cxcywh_to_xyxy, iou, xywh_to_xyxy
from ctsdk.data.samples.feed import explained_worker_deaths, gather, refuse_larger_step
from ctsdk.device import pick_device
from ctsdk.engine.step import frozen, own_randomness
from ctsdk.errors import ConfigError, TrainingError, TrainingInterruptedError
from ctsdk.fingerprint import fingerprint
from ctsdk.ranks import Ranks
from ctsdk.training.acceleration import channels_last, compiled_blocks, recomputed_blocks
from ctsdk.training.divergence import weights_not_finite
from ctsdk.training.interruption import Interruption
from ctsdk.training.metrics import MetricsLog, Pace
from ctsdk.training.preflight import look_before_training
from ctsdk.training.stepper import NotFiniteError, Stepper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import nn

    from ctsdk.config import CompressionConfig
    from ctsdk.engine.adapter import TrackerAdapter
    from ctsdk.engine.batch import Batch
    from ctsdk.engine.stages import StagePlan
    from ctsdk.training.metrics import OnMetrics
    from ctsdk.training.states import States

__all__ = ["Trainer"]

_logger = logging.getLogger(__name__)


@dataclass
class Trainer:
    """One training run.

    Attributes:
        adapter: the teacher, its forward and its losses.
        student: trained in place.
        plans: the stages of every trunk.
        config: everything else.
        states: where training states go; None to keep metrics in memory and no states.
        ranks: the processes that share each step. All draw the same mixes; the first one writes.
        step: optimiser steps done.
        batches_read: batches consumed so far, by all processes together.
        rate_scale: times the learning rate; below 1 after a roll-back.
        num_roll_backs: how often the run went back.
        stepper: takes the steps.
    """

    adapter: TrackerAdapter
    student: nn.Module
    plans: Mapping[str, StagePlan]
    config: CompressionConfig
    states: States | None = None
    ranks: Ranks = field(default_factory=Ranks)
    step: int = 0
    batches_read: int = 0
    rate_scale: float = 1.0
    num_roll_backs: int = 0
    stepper: Stepper = field(init=False)

    def __post_init__(self) -> None:
        self.device = pick_device(self.config.training.device)
        self.student.to(self.device)
        self.stepper = Stepper(self.adapter, self.student, self.plans, self.config, self.device, self.ranks)

    def train(
        self,
        open_batches: Callable[[int], Iterator[Batch]],
        validation: list[Batch] | None = None,
        *,
        show_progress: bool | None = None,
        on_metrics: OnMetrics | None = None,
    ) -> list[dict[str, Any]]:
        """Run all steps that are left.

        If the run keeps states, SIGTERM and SIGINT end it after the step that it is in, with its state saved.

        Args:
            open_batches: given a number of batches, returns an endless iterator over this process's share of those
                that come after so many.
            validation: this process's share of the batches on which the student is measured every ``validate_every``
                steps.
            show_progress: a progress bar on stderr; None for one if stderr is a terminal.
            on_metrics: called in the first process with each new row.

        Returns:
            the rows of the metrics.

        Raises:
            AdapterContractError: the first batch shows that the adapter does not keep the contract.
            TrainingError: a loss or gradient is not finite, a state or the metrics cannot be written, or `on_metrics`
                raised. The student is as after the last good step, and if the run keeps states, its state is there.
            TrainingInterruptedError: a signal came.
            DataError: the batches cannot be read, or a process that makes them ended.
        """
        settings = self.config.training
        hide = True if not self.ranks.is_first else None if show_progress is None else not show_progress
        bar = tqdm(total=settings.num_steps, initial=self.step, unit="step", disable=hide)
        with (
            frozen(self.adapter.teacher),
            channels_last(self.adapter.teacher, self.student, is_wanted=settings.channels_last),
            compiled_blocks(self.adapter, self.student, is_wanted=settings.compile_blocks),
            recomputed_blocks(self.adapter, self.student, is_wanted=settings.recompute_blocks),
            own_randomness(self.device),
            Interruption(is_wanted=self.states is not None) as interruption,
            explained_worker_deaths(),
            bar,
            self._open_metrics(on_metrics) as metrics,
        ):
            self._run(open_batches, validation or [], interruption, bar, metrics)
        self.student.eval()
        return metrics.rows

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> dict[str, float]:
        """Return the student's mean task loss, ``validation/loss``, and of a tracker its mean overlap, ``/iou``.

        Args:
            batches: this process's share; the means are over those of all processes.
        """
        is_tracker = "session" in self.adapter.capabilities
        self.student.eval()
        losses, overlaps = [], []
        for batch in (batch.to(self.device) for batch in batches):
            prediction = self.adapter.predict(self.student, batch)
            losses.append(sum(value.item() for value in self.adapter.task_loss(prediction, batch).values()))
            if is_tracker:
                truth, boxes = xywh_to_xyxy(batch.search_boxes[-1]), self.adapter.locate(self.student, batch).boxes
                overlaps.append(iou(cxcywh_to_xyxy(boxes), truth).mean().item())
        loss, overlap, num_batches = self.ranks.add_up([sum(losses), sum(overlaps), len(losses)])
        figures = {"validation/loss": loss / num_batches}
        return figures | {"validation/iou": overlap / num_batches} if is_tracker else figures

    def save_state(self) -> Path:
        """Write the training state, so that :meth:`load_state` goes on from here.

        Raises:
            ConfigError: the run keeps no states.
            TrainingError: the state cannot be written.
        """
        states = self.states
        if states is None:
            raise ConfigError("this run has no folder to save its state in; pass run_dir to compress().")
        return self.ranks.from_first(lambda: states.write(self.step, self._state()))

    @cached_property
    def _teacher(self) -> dict[str, str | None]:
        """What tells the teacher from others."""
        sha256 = fingerprint(self.adapter.teacher.state_dict())
        return {"adapter": self.adapter.name, "variant": self.adapter.variant, "sha256": sha256}

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "batches_read": self.batches_read,
            "rate_scale": self.rate_scale,
            "num_roll_backs": self.num_roll_backs,
            **self.stepper.state(),
            "config": self.config.model_dump_json(),
            "teacher": self._teacher,
        }

    def load_state(self, path: Path) -> None:
        """Go on from a state that :meth:`save_state` wrote. Only the first process reads it.

        Raises:
            ConfigError: the run keeps no states.
            TrainingError: the state is of another configuration or teacher, or cannot be read.
        """
        states = self.states
        if states is None:
            raise ConfigError("this run has no folder to read a state from; pass run_dir to compress().")
        state = self.ranks.from_first(lambda: states.read(path, self.config, self._teacher))
        self.stepper.load_state(state)
        for name in ("step", "batches_read", "rate_scale", "num_roll_backs"):
            setattr(self, name, state[name])

    def _open_metrics(self, on_metrics: OnMetrics | None) -> MetricsLog:
        """Open the files of the figures in the first process; what it raises ends all of them."""
        logs, folder = [MetricsLog(None)], self.states.run_dir if self.states else None
        self.ranks.from_first(lambda: logs.append(MetricsLog(folder, first_step=self.step, on_metrics=on_metrics)))
        return logs[-1]

    def _run(
        self,
        open_batches: Callable[[int], Iterator[Batch]],
        validation: list[Batch],
        interruption: Interruption,
        bar: tqdm[Any],
        metrics: MetricsLog,
    ) -> None:
        """Take step after step."""
        settings = self.config.training
        batches, first_step = open_batches(self.batches_read), self.step
        pace, saved_at = Pace(settings.num_steps, self.device, self.ranks), time.monotonic()
        if settings.validate_every and self.ranks.largest([len(validation)])[0] == 0:
            raise ConfigError(
                f"training.validate_every is {settings.validate_every}, and there is nothing to validate on. Pass "
                "validation= to compress(), name data.validation, or leave validate_every out."
            )
        while self.step < settings.num_steps:
            parts = self._gather(batches, is_first=self.step == first_step)
            try:
                row = self.stepper.take(self.step, parts, self.rate_scale)
            except NotFiniteError as error:
                self._roll_back(str(error), metrics)
                batches = open_batches(self.batches_read)
                continue
            self.step += 1
            self.batches_read += len(parts) * self.ranks.num_ranks
            metrics.add(self.step - 1, **row)
            bar.n = self.step
            bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
            bar.update(0)
            if measured := pace.after(self.step, row["num_samples"]):
                metrics.add_pace(self.step, **measured)
            if settings.validate_every and self.step % settings.validate_every == 0:
                metrics.add(self.step, **self._validated(validation, metrics))
            is_to_save = self._is_to_save(interruption, metrics, time.monotonic() - saved_at)
            if is_to_save and self.step < settings.num_steps:
                self._save(metrics)
                saved_at = time.monotonic()
        self._save(metrics)

    def _gather(self, batches: Iterator[Batch], *, is_first: bool) -> list[Batch]:
        """Return this process's parts of a step; with the first ones mistaken batches and a mistaken adapter show."""
        batch_size = self.config.training.batch_size
        parts = gather(batches, batch_size, self.ranks)
        if is_first:
            largest = self.ranks.largest([max(part.size for part in parts)])[0]
            refuse_larger_step(int(largest), batch_size, self.ranks.num_ranks)
        if self.step == 0:
            look_before_training(self.adapter, self.student, self.plans, parts[0].to(self.device))
        return parts

    def _validated(self, batches: list[Batch], metrics: MetricsLog) -> dict[str, float]:
        """Measure the student; end the run if what comes out is not finite."""
        figures = self.validate(batches)
        if not all(map(math.isfinite, figures.values())):
            seen = ", ".join(f"{name} {figure:.4g}" for name, figure in figures.items())
            self._give_up(f"after {self.step} steps, the validation is not finite ({seen}).", metrics)
        return figures

    def _is_to_save(self, interruption: Interruption, metrics: MetricsLog, seconds: float) -> bool:
        """Say whether a state is due, `seconds` after the last one; end the run if it is to end here.

        Processes must agree: a signal or an error may reach one of them alone, and no two clocks are the same.
        """
        settings = self.config.training
        by_step = settings.save_every is not None and self.step % settings.save_every == 0
        is_time = by_step or (settings.save_every_minutes is not None and seconds >= 60 * settings.save_every_minutes)
        signal, has_failed, is_time_for_any = self.ranks.largest(
            [interruption.signal, metrics.error is not None, is_time]
        )
        if has_failed:
            self._end_with_caller(metrics)
        if signal:
            self._stop(int(signal), metrics)
        return bool(is_time_for_any)

    def _save(self, metrics: MetricsLog) -> Path | None:
        """Write a state, if the run keeps any, but none to which nobody would want to go back."""
        if bad := weights_not_finite(self.student):
            self._give_up(f"after {self.step} steps, weights of the student are not finite: {bad}.", metrics)
        if self.states is None:
            return None
        metrics.sync()
        return self.save_state()

    def _stop(self, signal: int, metrics: MetricsLog) -> None:
        """End the run because a signal came."""
        path = self._save(metrics)
        raise TrainingInterruptedError(
            f"stopped by {Signals(signal).name} after {self.step} steps; the state is saved in {path}. Go on from it "
            "with resume.",
            signal=signal,
            student=self.student,
            state_path=path,
        )

    def _end_with_caller(self, metrics: MetricsLog) -> None:
        """End the run because the caller's function raised."""
        path = self._save(metrics)
        error = metrics.error
        # Only the first process has called it.
        said = self.ranks.from_first(lambda: f"{type(error).__name__}: {error}")
        raise TrainingError(
            f"on_metrics raised {said}. The run ended after {self.step} steps; its state is kept {self._kept(path)}. "
            "Mend the function; with a run_dir, resume goes on from there.",
            student=self.student,
            state_path=path,
        ) from error

    def _roll_back(self, seen: str, metrics: MetricsLog) -> None:
        """Go back to the last saved state with a smaller rate, or end the run if that was not asked for."""
        settings, broken = self.config.training, self.step
        path = self.ranks.from_first(self.states.latest) if self.states else None
        if settings.on_non_finite == "stop":
            self._give_up(seen, metrics)
        if path is None:
            self._give_up(f"{seen} No state was saved yet to which the run could go back.", metrics)
        if self.num_roll_backs == settings.max_roll_backs:
            self._give_up(f"{seen} The run went back {self.num_roll_backs} times (training.max_roll_backs).", metrics)
        scale, number = self.rate_scale * settings.roll_back_factor, self.num_roll_backs + 1
        self.load_state(path)
        self.rate_scale, self.num_roll_backs = scale, number
        metrics.rewind(self.step)
        figures: dict[str, float | str] = {"roll_back/from_step": broken, "roll_back/rate_scale": scale}
        metrics.add(self.step, **figures, **{"roll_back/why": seen})
        # So that a run that is interrupted now goes on with the smaller rate, too.
        self._save(metrics)
        if self.ranks.is_first:
            _logger.warning(
                "%s Going back to step %d with %g times the learning rate (roll-back %d of at most %d).",
                *(seen, self.step, scale, number, settings.max_roll_backs),
            )

    def _give_up(self, seen: str, metrics: MetricsLog) -> NoReturn:
        """End the run because its figures are no longer finite."""
        if not weights_not_finite(self.student):
            path = self._save(metrics)
            kept = f"The state after the last good step is kept {self._kept(path)}."
        else:
            metrics.sync()
            path = self.ranks.from_first(self.states.latest) if self.states else None
            kept = f"The last good state is kept in {path}." if path else "No state from before was saved."
        more = ", or training.on_non_finite=roll_back" if self.config.training.on_non_finite == "stop" else ""
        raise TrainingError(
            f"{seen} {kept} Check the batches for NaN, or begin anew with a lower training.learning_rate, "
            f"training.precision=float32{more}.",
            student=self.student,
            state_path=path,
        )

    @staticmethod
    def _kept(path: Path | None) -> str:
        return f"in {path}" if path else "in the error's attribute `student`"
