"""compress(): the whole method, in the order in which it happens."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ctsdk.config import CompressionConfig, DataConfig, differences
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import Batch
from ctsdk.engine.stages import plan_stages
from ctsdk.engine.step import StepLosses
from ctsdk.engine.student import build_student, trunk_depths
from ctsdk.errors import ConfigError
from ctsdk.ranks import open_ranks
from ctsdk.result import CompressionResult
from ctsdk.training.loop import Trainer
from ctsdk.training.metrics import OnMetrics
from ctsdk.training.record import Start, hardware, versions
from ctsdk.training.samples import choose_samples
from ctsdk.training.states import States

__all__ = ["compress"]

_logger = logging.getLogger(__name__)


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
        batches: the caller's samples: anything that can be iterated again and again. None for ``config.data``.
        validation: the caller's validation batches. None for ``config.data`` if that gives the samples too.
        run_dir: folder for ``run.json``, ``metrics.jsonl``, ``pace.jsonl``, TensorBoard and the training states. None
            to keep nothing on disk.
        resume: continue from the latest training state in `run_dir`. The configuration must be the one that the run
            began with, but for settings that change no result and for ``training.learning_rate``,
            ``training.clip_norm`` and ``training.precision``.
        show_progress: a progress bar; None for one if stderr is a terminal.
        on_metrics: called in the first process with each new row of the metrics: the step, and the values by name. If
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
        if ranks.is_first:
            _warn_of_unused(config, adapter, has_batches=batches is not None)

        # 1. Divide: which teacher blocks each student block stands for.
        plans = plan_stages(trunk_depths(adapter), config.stages, config.initialisation)

        # 2. Build: a tracker of the same class with one block per stage.
        student = build_student(adapter, plans, seed=config.seed)

        # 3. Train: in each step some stages are the student's and the others the teacher's.
        samples = choose_samples(batches, validation, config, adapter.spec, ranks)
        trainer = Trainer(StepLosses(adapter, student, plans, config), states, ranks, on_metrics)
        changed = trainer.load_state(latest) if latest is not None else {}
        facts = {"first_step": trainer.step, "changed": changed}
        facts |= _facts(adapter, config, samples.name, trainer.device, ranks.num_ranks)
        folder = states.run_dir if states and ranks.is_first else None
        with Start(folder, facts) as start, _moved(adapter.teacher, trainer.device):
            try:
                history = trainer.train(samples, show_progress=show_progress, on_first_batch=start.add_first_batch)
            finally:
                student.eval()  # also where an error holds it
                start.facts["last_step"] = trainer.step

    # 4. Done: the student is an ordinary, shorter instance of the tracker.
    return CompressionResult(student, plans, config, adapter, history)


def _warn_of_unused(config: CompressionConfig, adapter: TrackerAdapter, *, has_batches: bool) -> None:
    """Log which parts of the configuration this run does not use."""
    named = config.adapter
    is_other_variant = named and named.variant and adapter.variant and named.variant != adapter.variant
    if named is not None and (named.name != adapter.name or is_other_variant):
        _logger.warning(
            "config.adapter names %s, and the adapter that was passed is %s; config.adapter is not used.",
            _name_of(named.name, named.variant),
            _name_of(adapter.name, adapter.variant),
        )
    if has_batches:
        data, defaults = (section.model_dump(mode="json") for section in (config.data, DataConfig()))
        if changed := differences(defaults, data, "data."):
            _logger.warning("batches were passed, so %s of the configuration is not used.", ", ".join(changed))


def _name_of(name: str, variant: str | None) -> str:
    return f"{name} {variant}" if variant else name


@contextmanager
def _moved(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Move `module` to a device, and back to its own afterwards."""
    home = next(module.parameters()).device
    module.to(device)
    try:
        yield
    finally:
        module.to(home)


def _facts(
    adapter: TrackerAdapter, config: CompressionConfig, data: str, device: torch.device, num_processes: int
) -> dict[str, Any]:
    """Return what ``run.json`` says about a start."""
    return {
        "command_line": list(sys.argv),
        "num_processes": num_processes,
        "seed": config.seed,
        "adapter": {"name": adapter.name, "variant": adapter.variant},
        "data": data,
        "versions": versions(adapter),
        "hardware": hardware(device),
        "config": config.to_mapping(),
    }


def _prepare(
    run_dir: str | Path | None, config: CompressionConfig, *, resume: bool
) -> tuple[States | None, Path | None]:
    """Make the folder of the run; return its training states, and the one to resume from.

    Raises:
        ConfigError: the folder cannot be made, has no state to resume from, or has one that was not to be resumed.
    """
    if run_dir is None:
        if resume:
            raise ConfigError("resume needs run_dir, the folder that holds the training states.")
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
            f"{folder} already holds a training state, {latest.name}. Resume from it with resume=True (--resume), "
            "or use another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"run_dir {folder} cannot be made: {error}. Use a folder that can be written to.") from error
    return states, latest
