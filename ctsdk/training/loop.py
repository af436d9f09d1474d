"""The training loop: step after step, watched, saved, and ended in order whatever happens.

:func:`ctsdk.engine.step.step_losses` is the method, :class:`ctsdk.training.stepper.Stepper` takes a step; this is the
loop that any training needs. What is random in step k depends on the seed and on k alone, so a resumed run equals one
that never stopped, and every process of a run draws the same mix.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from signal import Signals
from typing import Any, NoReturn

from tqdm.auto import tqdm

from ctsdk.data.samples.feed import explain_worker_deaths, next_step, refuse_larger_step
from ctsdk.device import pick_device
from ctsdk.engine.batch import Batch
from ctsdk.engine.step import StepLosses, frozen, own_randomness
from ctsdk.errors import ConfigError, TrainingError, TrainingInterruptedError
from ctsdk.fingerprint import fingerprint
from ctsdk.ranks import Ranks
from ctsdk.training.acceleration import channels_last, compile_blocks, recompute_blocks
from ctsdk.training.divergence import weights_not_finite
from ctsdk.training.interruption import Interruption
from ctsdk.training.metrics import MetricsLog, OnMetrics, Pace
from ctsdk.training.preflight import preflight_check
from ctsdk.training.samples import Samples
from ctsdk.training.states import States, adjustments
from ctsdk.training.stepper import NotFiniteError, Stepper
from ctsdk.training.validation import validate

__all__ = ["Trainer"]

_logger = logging.getLogger(__name__)

_NOT_FINITE_ADVICE = (
    "Check the batches for NaN, or resume with a lower training.learning_rate, a lower training.clip_norm or "
    "training.precision=float32. Without a saved state, start over with them."
)


@dataclass
class Trainer:
    """One training run.

    Attributes:
        losses: the losses of a step, with the student that is trained in place.
        states: where training states go; None to keep metrics in memory and no states.
        ranks: the processes that share each step. All draw the same mixes; the first one writes.
        on_metrics: called in the first process with each new row of the metrics.
        step: optimiser steps done.
        batches_read: batches read so far, by all processes together.
    """

    losses: StepLosses
    states: States | None = None
    ranks: Ranks = field(default_factory=Ranks)
    on_metrics: OnMetrics | None = None
    step: int = 0
    batches_read: int = 0

    def __post_init__(self) -> None:
        self._settings = self.losses.config.training
        self.device = pick_device(self._settings.device)
        self.losses.student.to(self.device)
        self._stepper = Stepper(self.losses, self.device, self.ranks)
        folder = self.states.run_dir if self.states else None
        self._metrics = MetricsLog(folder, self.on_metrics) if self.ranks.is_first else MetricsLog()
        self._interruption = Interruption()

    def train(
        self,
        samples: Samples,
        *,
        show_progress: bool | None = None,
        on_first_batch: Callable[[Batch], object] | None = None,
    ) -> list[dict[str, Any]]:
        """Run all steps that are left.

        If the run keeps states, SIGTERM and SIGINT end it after the step that it is in, with its state saved.

        Args:
            samples: this process's share of the batches.
            show_progress: a progress bar on stderr; None for one if stderr is a terminal.
            on_first_batch: called with this process's first batch, before its step.

        Returns:
            the rows of the metrics.

        Raises:
            AdapterContractError: the first batch shows that the adapter does not keep the contract.
            TrainingError: a loss or gradient is not finite, a state or the metrics cannot be written, or `on_metrics`
                raised. The student is as after the last good step, and if the run keeps states, its state is there.
            TrainingInterruptedError: a signal came.
            DataError: the batches cannot be read, or a data-loader worker ended.
        """
        adapter, student, settings = self.losses.adapter, self.losses.student, self._settings
        hide = True if not self.ranks.is_first else None if show_progress is None else not show_progress
        with ExitStack() as stack:
            stack.enter_context(frozen(adapter.teacher))
            if settings.channels_last:
                stack.enter_context(channels_last(adapter.teacher, student))
            if settings.compile_blocks:
                stack.enter_context(compile_blocks(adapter, student))
            if settings.recompute_blocks:
                stack.enter_context(recompute_blocks(adapter, student))
            stack.enter_context(own_randomness(self.device))
            if self.states is not None:
                stack.enter_context(self._interruption)
            stack.enter_context(explain_worker_deaths())
            bar = stack.enter_context(tqdm(total=settings.num_steps, initial=self.step, unit="step", disable=hide))
            stack.callback(self._metrics.close)
            self.ranks.from_first(lambda: self._metrics.open(self.step))
            self._run(samples, bar, on_first_batch)
        student.eval()
        return self._metrics.rows

    def load_state(self, path: Path) -> dict[str, tuple[object, object]]:
        """Continue from a state of the run. Only the first process reads it.

        Returns:
            by key, as (old, new), what the configuration changes of the run that saved the state.

        Raises:
            TrainingError: the state is of another configuration or teacher, or cannot be read.
        """
        states, config = self.states, self.losses.config
        assert states is not None
        state = self.ranks.from_first(lambda: states.read(path, config, self._teacher))
        self.step, self.batches_read = state["step"], state["batches_read"]
        self._stepper.load_state(state, self.step)
        changed = adjustments(state, config)
        for key, (old, new) in changed.items():
            if self.ranks.is_first:
                _logger.warning("resumed at step %d with %s=%s, which was %s before.", self.step, key, new, old)
        return changed

    @cached_property
    def _teacher(self) -> dict[str, str | None]:
        """What tells the teacher from others."""
        adapter = self.losses.adapter
        sha256 = fingerprint(adapter.teacher.state_dict())
        return {"adapter": adapter.name, "variant": adapter.variant, "sha256": sha256}

    def _run(self, samples: Samples, bar: tqdm[Any], on_first_batch: Callable[[Batch], object] | None) -> None:
        """Take step after step."""
        settings, first_step = self._settings, self.step
        batches = samples.open(self.step, self.batches_read)
        self._refuse_nothing_to_validate_on(samples.validation)
        pace, saved_at = Pace(settings.num_steps, self.device, self.ranks), time.monotonic()
        while self.step < settings.num_steps:
            parts = next_step(batches, settings.batch_size, self.ranks)
            if self.step == first_step:
                if on_first_batch is not None:
                    on_first_batch(parts[0])
                self._check_first(parts)
            row = self._take_step(parts)
            bar.n = self.step
            bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
            bar.update(0)
            if measured := pace.after(self.step, row["num_samples"]):
                self._metrics.add_pace(self.step, **measured)
            if settings.validate_every and self.step % settings.validate_every == 0:
                self._validate(samples.validation)
            signal, has_failed, is_to_save = self._agree(time.monotonic() - saved_at)
            if has_failed:
                self._end_with_caller()
            if signal:
                why = f"stopped by {Signals(signal).name} after {self.step} steps."
                self._end(why, "Resume from it.", partial(TrainingInterruptedError, signal=signal))
            if is_to_save and self.step < settings.num_steps:
                self._save()
                saved_at = time.monotonic()
        self._save()

    def _refuse_nothing_to_validate_on(self, validation: Sequence[Batch]) -> None:
        every = self._settings.validate_every
        if every and self.ranks.largest([len(validation)])[0] == 0:
            raise ConfigError(
                f"training.validate_every is {every}, and there is nothing to validate on. Pass validation= to "
                "compress(), name data.validation, or leave validate_every out."
            )

    def _check_first(self, parts: list[Batch]) -> None:
        """Check the batches of the first step after a start, and the adapter at the start of the run."""
        largest = self.ranks.largest([max(part.size for part in parts)])[0]
        refuse_larger_step(int(largest), self._settings.batch_size, self.ranks.num_ranks)
        if self.step == 0:
            preflight_check(self.losses, parts[0].to(self.device))

    def _take_step(self, parts: list[Batch]) -> dict[str, float]:
        """Take a step and return its metrics; end the run if they are not finite."""
        try:
            row = self._stepper.take(self.step, parts)
        except NotFiniteError as error:
            self._end(str(error), _NOT_FINITE_ADVICE)
        self.step += 1
        self.batches_read += len(parts) * self.ranks.num_ranks
        self._metrics.add(self.step - 1, **row)
        return row

    def _validate(self, batches: Sequence[Batch]) -> None:
        """Measure the student; end the run if its metrics are not finite."""
        metrics = validate(self.losses, batches, self.ranks)
        if not all(map(math.isfinite, metrics.values())):
            seen = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            self._end(f"after {self.step} steps, the validation is not finite ({seen}).", _NOT_FINITE_ADVICE)
        self._metrics.add(self.step, **metrics)

    def _agree(self, seconds: float) -> tuple[int, bool, bool]:
        """Return which signal came, whether `on_metrics` raised, and whether a state is due after so many seconds.

        Processes must agree: a signal or an error may reach one of them alone, and no two clocks are the same.
        """
        settings = self._settings
        by_step = settings.save_every is not None and self.step % settings.save_every == 0
        by_clock = settings.save_every_minutes is not None and seconds >= 60 * settings.save_every_minutes
        has_failed = self._metrics.error is not None
        seen = self.ranks.largest([self._interruption.signal, has_failed, by_step or by_clock])
        return int(seen[0]), bool(seen[1]), bool(seen[2])

    def _save(self) -> None:
        """Write a state, if the run keeps any; end the run if the student is not worth saving."""
        if bad := weights_not_finite(self.losses.student):
            self._end(f"after {self.step} steps, weights of the student are not finite: {bad}.", _NOT_FINITE_ADVICE)
        self._write_state()

    def _write_state(self) -> Path | None:
        states = self.states
        if states is None:
            return None
        self._metrics.sync()
        return self.ranks.from_first(lambda: states.write(self.step, self._state()))

    def _state(self) -> dict[str, Any]:
        """Return what :meth:`load_state` reads."""
        counts = {"step": self.step, "batches_read": self.batches_read}
        origin = {"config": self.losses.config.model_dump_json(), "teacher": self._teacher}
        return counts | self._stepper.state() | origin

    def _end_with_caller(self) -> NoReturn:
        """End the run because the caller's function raised; only the first process called it."""
        error = self._metrics.error
        raised = self.ranks.from_first(lambda: f"{type(error).__name__}: {error}")
        why = f"on_metrics raised {raised}. The run ended after {self.step} steps."
        self._end(why, "Fix the function; with a run_dir, the run can be resumed.", cause=error)

    def _end(
        self,
        why: str,
        advice: str,
        make_error: Callable[..., TrainingError] = TrainingError,
        cause: Exception | None = None,
    ) -> NoReturn:
        """End the run: keep its last good state, and raise an error that says why it ended and what to do."""
        if weights_not_finite(self.losses.student):
            self._metrics.sync()
            path = self.ranks.from_first(self.states.latest) if self.states else None
            kept = f"The last good state is kept in {path}." if path else "No state from before was saved."
        else:
            path = self._write_state()
            place = f"in {path}" if path else "in the error's attribute `student`"
            kept = f"The state after the last good step is kept {place}."
        raise make_error(f"{why} {kept} {advice}", student=self.losses.student, state_path=path) from cause
