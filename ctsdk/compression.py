"""compress(): the whole method, in the order in which it happens."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ctsdk.config import CompressionConfig
from ctsdk.data.samples.feed import endless, held_out, not_iterable
from ctsdk.engine.stages import plan_stages
from ctsdk.engine.student import build_student, trunk_depths
from ctsdk.errors import ConfigError
from ctsdk.ranks import Ranks, open_ranks
from ctsdk.result import CompressionResult
from ctsdk.training.loop import Trainer
from ctsdk.training.record import Sitting, hardware, versions
from ctsdk.training.states import States

if TYPE_CHECKING:
    from ctsdk.engine.adapter import TrackerAdapter
    from ctsdk.engine.batch import Batch
    from ctsdk.training.metrics import OnMetrics

__all__ = ["compress"]

# What opens the training batches after so many, and the batches to validate on: the share of one process.
_Samples: TypeAlias = tuple[Callable[[int], Iterator["Batch"]], list["Batch"]]


def compress(  # noqa: PLR0913 - the one call that has all of it
    adapter: TrackerAdapter,
    config: CompressionConfig | None = None,
    *,
    batches: Iterable[Batch] | None = None,
    validation: Iterable[Batch] | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    show_progress: bool | None = None,
    on_metrics: OnMetrics | None = None,
) -> CompressionResult:
    """Compress the adapter's teacher.

    The teacher is not changed: neither a parameter nor a buffer of it, nor its mode.

    Under torchrun, every process must call this function; they share the samples of each step, and all return the
    student. The first one writes into `run_dir`.

    Args:
        adapter: the teacher and what the engine needs to know about it.
        config: what to do; None for the paper's defaults.
        batches: the caller's own samples: anything that can be iterated again and again. None for ``config.data``.
        validation: the caller's own validation batches. None for ``config.data`` if that gives the samples too.
        run_dir: folder for ``run.json``, ``metrics.jsonl``, ``pace.jsonl``, TensorBoard and the training states. None
            to keep nothing on disk.
        resume: go on from the latest training state in `run_dir`.
        show_progress: a progress bar; None for one if stderr is a terminal.
        on_metrics: called in the first process with each new row of the metrics: the step, and the figures by name. If
            it raises, the run ends after its step, with its state saved.

    Raises:
        ConfigError: the configuration does not fit the tracker, or `run_dir` holds a run that was not to be resumed.
        AdapterContractError: the adapter does not do what the contract asks.
        OutputError: a file of `run_dir` other than a state cannot be written.
        DataError: the samples cannot be read.
        TrainingError: a loss or gradient is not finite, a state cannot be read or written, ``run.json`` or
            ``metrics.jsonl`` is damaged, or `on_metrics` raised; the last good state is kept.
        TrainingInterruptedError: SIGTERM or SIGINT came, and the state was saved in `run_dir`.
    """
    config = config or CompressionConfig()
    with open_ranks() as ranks:
        states, latest = ranks.from_first(lambda: _prepare(run_dir, config, resume=resume))

        # 1. Divide: which teacher blocks each student block stands for.
        plans = plan_stages(trunk_depths(adapter), config.stages, config.initialisation)

        # 2. Build: a tracker of the same class with one block per stage.
        student = build_student(adapter, plans, seed=config.seed)

        # 3. Train: in each step some stages are the student's and the others the teacher's.
        trainer = Trainer(adapter, student, plans, config, states, ranks)
        if latest is not None:
            trainer.load_state(latest)
        samples = _own_samples(batches, validation, ranks) if batches is not None else _samples(trainer, validation)
        open_batches, to_validate_on = samples
        home = next(adapter.teacher.parameters()).device
        with _sitting(trainer, batches) as sitting:
            adapter.teacher.to(trainer.device)
            try:
                history = trainer.train(
                    lambda num_read: sitting.watch(open_batches(num_read)),
                    to_validate_on,
                    show_progress=show_progress,
                    on_metrics=on_metrics,
                )
            finally:
                adapter.teacher.to(home)
                student.eval()  # also where an error holds it
                sitting.facts["last_step"] = trainer.step

    # 4. Done: the student is an ordinary, shorter instance of the tracker.
    return CompressionResult(student, plans, config, adapter, history)


def _sitting(trainer: Trainer, batches: Iterable[Batch] | None) -> Sitting:
    """Return the record of this sitting; only the first process writes one."""
    config, states, ranks = trainer.config, trainer.states, trainer.ranks
    source = type(batches)
    facts = {
        "first_step": trainer.step,
        "command_line": list(sys.argv),
        "num_processes": ranks.num_ranks,
        "seed": config.seed,
        "adapter": {"name": trainer.adapter.name, "variant": trainer.adapter.variant},
        "data": "config.data" if batches is None else f"{source.__module__}.{source.__qualname__}",
        "versions": versions(trainer.adapter),
        "hardware": hardware(trainer.device),
        "config": config.to_mapping(),
    }
    return Sitting(states.run_dir if states and ranks.is_first else None, facts)


def _own_samples(batches: Iterable[Batch], validation: Iterable[Batch] | None, ranks: Ranks) -> _Samples:
    """Return this process's share of the caller's batches, and of those to validate on."""
    if not isinstance(batches, Iterable):
        raise not_iterable(batches, "batches")

    def open_batches(num_read: int) -> Iterator[Batch]:
        return endless(batches, num_read + ranks.rank, ranks.num_ranks)

    return open_batches, held_out(() if validation is None else validation, ranks)


def _samples(trainer: Trainer, validation: Iterable[Batch] | None) -> _Samples:
    """Return this process's share of the configuration's samples, and of those to validate on."""
    # The data layer needs an image library, which the engine does without when the caller brings the samples.
    from ctsdk.data.samples.sources import micro_batch_size, training_batches, validation_batches

    config, spec, ranks = trainer.config, trainer.adapter.spec, trainer.ranks
    size = micro_batch_size(config.training, ranks.num_ranks)

    def open_batches(_num_read: int) -> Iterator[Batch]:
        # Counted anew, because the size of a batch in memory may depend on the number of processes.
        start = trainer.step * math.ceil(config.training.batch_size / size)
        return training_batches(config, spec, start, ranks)

    if validation is not None:
        return open_batches, held_out(validation, ranks)
    return open_batches, validation_batches(config, spec, ranks)


def _prepare(
    run_dir: str | Path | None, config: CompressionConfig, *, resume: bool
) -> tuple[States | None, Path | None]:
    """Return the training states of the run, whose folder is made and free of another run, and which to go on from."""
    if run_dir is None:
        if resume or config.training.on_non_finite == "roll_back":
            wish = "resume" if resume else "training.on_non_finite=roll_back"
            raise ConfigError(f"{wish} needs run_dir, the folder that holds the training states.")
        return None, None
    folder = Path(run_dir)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"run_dir {folder} is a file; expected a folder, which may not exist yet.")
    states = States(folder, config.training.num_states)
    latest = states.latest()
    if resume and latest is None:
        raise ConfigError(f"{folder} holds no training state to resume from; start the run without resume.")
    if not resume and latest is not None:
        raise ConfigError(
            f"{folder} already holds a training state, {latest.name}. Go on from it with resume=True (--resume), or "
            "use another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"run_dir {folder} cannot be made: {error}. Use a folder that can be written to.") from error
    return states, latest
