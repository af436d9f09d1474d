"""compress(): the whole method, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ctsdk.checkpoints import States
from ctsdk.config import CompressionConfig
from ctsdk.data.feed import endless
from ctsdk.errors import ConfigError, DataError
from ctsdk.result import CompressionResult
from ctsdk.stages import plan_stages
from ctsdk.student import build_student, trunk_depths
from ctsdk.training import Trainer

if TYPE_CHECKING:
    from ctsdk.adapter import Batch, TrackerAdapter

__all__ = ["compress"]


def compress(
    adapter: TrackerAdapter,
    config: CompressionConfig | None = None,
    *,
    batches: Iterable[Batch] | None = None,
    validation: Iterable[Batch] | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    show_progress: bool | None = None,
) -> CompressionResult:
    """Compress the adapter's teacher.

    The teacher is not changed: neither a parameter nor a buffer of it, nor its mode.

    Args:
        adapter: the teacher and what the engine needs to know about it.
        config: what to do; None for the paper's defaults.
        batches: the caller's own samples: anything that can be iterated again and again. None for ``config.data``.
        validation: the caller's own validation batches. None for ``config.data`` if that gives the samples too.
        run_dir: folder for ``metrics.jsonl``, TensorBoard and the training states. None to keep nothing on disk.
        resume: go on from the latest training state in `run_dir`.
        show_progress: a progress bar; None for one if stderr is a terminal.

    Raises:
        ConfigError: the configuration does not fit the tracker, or `run_dir` holds a run that was not to be resumed.
        AdapterContractError: the adapter does not do what the contract asks.
        DataError: the samples cannot be read.
        TrainingError: a loss or gradient is not finite, or a state cannot be read or written; the last good one is
            kept.
        TrainingInterruptedError: SIGTERM or SIGINT came, and the state was saved in `run_dir`.
    """
    config = config or CompressionConfig()
    states = _prepare(run_dir, config, resume=resume)

    # 1. Divide: which teacher blocks each student block stands for.
    plans = plan_stages(trunk_depths(adapter), config.stages, config.initialisation)

    # 2. Build: a tracker of the same class with one block per stage.
    student = build_student(adapter, plans, seed=config.seed)

    # 3. Train: in each step some stages are the student's and the others the teacher's.
    trainer = Trainer(adapter, student, plans, config, states)
    if resume and states is not None and (latest := states.latest()):
        trainer.load_state(latest)
    if batches is None:
        # The data layer needs an image library, which the engine does without when the caller brings the samples.
        from ctsdk.data.sources import training_batches, validation_batches

        open_batches = partial(training_batches, config, adapter.spec)
        validation = validation or validation_batches(config, adapter.spec)
    else:
        if not isinstance(batches, Iterable):
            raise DataError(
                f"batches is a {type(batches).__name__}; expected something to iterate, giving ctsdk.Batch."
            )
        open_batches = partial(endless, batches)
    home = next(adapter.teacher.parameters()).device
    adapter.teacher.to(trainer.device)
    try:
        history = trainer.train(open_batches, list(validation or ()), show_progress=show_progress)
    finally:
        adapter.teacher.to(home)

    # 4. Done: the student is an ordinary, shorter instance of the tracker.
    return CompressionResult(student.eval(), plans, config, adapter.name, adapter.variant, history)


def _prepare(run_dir: str | Path | None, config: CompressionConfig, *, resume: bool) -> States | None:
    """Return the training states of the run, whose folder is made and free of another run."""
    if run_dir is None:
        if resume or config.training.on_non_finite == "roll_back":
            wish = "resume" if resume else "training.on_non_finite=roll_back"
            raise ConfigError(f"{wish} needs run_dir, the folder that holds the training states.")
        return None
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
    return states
