"""The result of a compression: the student and where it came from, saved as safetensors and JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic
from torch import Tensor, nn

from ctsdk.config import CompressionConfig
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.stages import Initialisation, StagePlan
from ctsdk.engine.student import build_student, trunk_depths
from ctsdk.errors import CheckpointError, ConfigError
from ctsdk.plugins.adapters import load_adapter
from ctsdk.storage.atomic import write_json
from ctsdk.storage.bounded import MAX_DESCRIPTION_BYTES, read_bounded
from ctsdk.weights import check_same_keys, read_safetensors, write_safetensors

__all__ = ["CompressionResult", "holds_result", "load_result", "load_teacher"]

_FORMAT = 1
_WEIGHTS_FILE, _DESCRIPTION_FILE = "student.safetensors", "result.json"


@dataclass(frozen=True)
class CompressionResult:
    """A student and where it came from.

    Attributes:
        student: a tracker of the teacher's own class with ``len(trunk)`` blocks per trunk, in eval mode.
        plans: the stages of every trunk.
        config: the configuration of the run.
        adapter: runs the student. Only its name and variant are saved; in a loaded result its teacher has random
            weights, unless another adapter was given to :func:`load_result`.
        history: rows of the metrics, one per training step; empty for a loaded result.
    """

    student: nn.Module
    plans: Mapping[str, StagePlan]
    config: CompressionConfig
    adapter: TrackerAdapter = field(repr=False)
    history: list[dict[str, float]] = field(default_factory=list, repr=False)

    @property
    def adapter_name(self) -> str:
        """Name of the adapter."""
        return self.adapter.name

    @property
    def variant(self) -> str | None:
        """Member of the tracker's family, if the adapter has several."""
        return self.adapter.variant

    def save(self, folder: str | Path) -> Path:
        """Write ``student.safetensors`` and ``result.json`` into `folder`, each whole or not at all.

        Returns:
            the folder.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = folder / _WEIGHTS_FILE
        write_safetensors(weights, self.student.state_dict(), {"format": str(_FORMAT)})
        description = {
            "format": _FORMAT,
            "adapter": {"name": self.adapter.name, "variant": self.adapter.variant},
            "plans": {
                name: {"sizes": list(plan.sizes), "initialisation": plan.initialisation}
                for name, plan in self.plans.items()
            },
            "config": self.config.to_mapping(),
            "weights_sha256": _sha256(weights),
            "last_step": next((row for row in reversed(self.history) if "loss" in row), None),
        }
        # Last, because it names the weights it belongs to: a folder with a description is complete.
        write_json(folder / _DESCRIPTION_FILE, description)
        return folder


def load_result(folder: str | Path, adapter: TrackerAdapter | None = None) -> CompressionResult:
    """Read a result that :meth:`CompressionResult.save` wrote.

    Args:
        folder: where it was saved.
        adapter: the adapter whose teacher the student is a shorter copy of. None to load the named one with random
            weights: only its structure is used. :func:`load_teacher` gives the one with the teacher's own weights.

    Raises:
        CheckpointError: a file is missing, damaged, or does not fit the adapter.
        AdapterNotFoundError: the adapter is not installed here.
    """
    path = Path(folder) / _DESCRIPTION_FILE
    description = _read_description(path)
    tensors = _read_weights(path.with_name(_WEIGHTS_FILE), description)
    try:
        if adapter is None:
            adapter = load_adapter(description.adapter.name, description.adapter.variant, "random")
        # Before blocks are made, because a file can ask for any number of them.
        plans = _plans(description, trunk_depths(adapter))
    except ConfigError as error:
        raise CheckpointError(
            f"{path} does not fit: {error} Give the adapter and the variant it was made with."
        ) from error
    config = _config(description, path)
    student = build_student(adapter, plans)
    check_same_keys(tensors, student.state_dict(), str(path.with_name(_WEIGHTS_FILE)))
    student.load_state_dict(tensors)
    return CompressionResult(student.eval(), plans, config, adapter)


def load_teacher(folder: str | Path) -> TrackerAdapter:
    """Return the adapter of a saved result, with the weights of the teacher that was compressed.

    The run's configuration names these weights; where it names none, they are those that the variant ships.

    Args:
        folder: where the result was saved.

    Raises:
        CheckpointError: the description is missing or damaged, or the teacher's weights cannot be read.
        AdapterNotFoundError: the adapter is not installed here.
        ConfigError: the adapter has no such variant.
    """
    path = Path(folder) / _DESCRIPTION_FILE
    description = _read_description(path)
    named = _config(description, path).adapter
    # A configuration that was made for another adapter says nothing about this one's weights.
    weights = named.weights if named is not None and named.name == description.adapter.name else None
    return load_adapter(description.adapter.name, description.adapter.variant, weights)


def holds_result(folder: str | Path) -> bool:
    """Whether a folder holds the description of a saved result."""
    return (Path(folder) / _DESCRIPTION_FILE).is_file()


class _Plan(pydantic.BaseModel):
    sizes: tuple[int, ...]
    initialisation: Initialisation


class _Origin(pydantic.BaseModel):
    name: str
    variant: str | None


class _Description(pydantic.BaseModel):
    adapter: _Origin
    plans: dict[str, _Plan]
    config: dict[str, Any]
    weights_sha256: str


def _plans(description: _Description, depths: Mapping[str, int]) -> dict[str, StagePlan]:
    return {
        name: StagePlan.divide(depths.get(name, 0), plan.sizes, plan.initialisation, trunk=name)
        for name, plan in description.plans.items()
    }


def _config(description: _Description, path: Path) -> CompressionConfig:
    try:
        return CompressionConfig.from_mapping(description.config)
    except ConfigError as error:
        raise CheckpointError(
            f"{path} holds a configuration that this ctsdk does not take: {error} Use the ctsdk that wrote it."
        ) from error


def _read_weights(path: Path, description: _Description) -> dict[str, Tensor]:
    tensors, _ = read_safetensors(path)
    if _sha256(path) != description.weights_sha256:
        raise CheckpointError(
            f"{path} is not the file that {_DESCRIPTION_FILE} beside it describes. "
            "It was changed or replaced; save the result again."
        )
    return tensors


def _read_description(path: Path) -> _Description:
    try:
        description = json.loads(read_bounded(path, MAX_DESCRIPTION_BYTES).decode("utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path.parent} holds no readable {path.name} ({error.strerror}); "
            "expected a folder that CompressionResult.save wrote. Give the one that `ctsdk compress --out` named; a "
            "run that has not ended yet has no student in it."
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no valid JSON ({error}); save the result again.") from error
    if not isinstance(description, dict) or description.get("format") != _FORMAT:
        seen = description.get("format") if isinstance(description, dict) else type(description).__name__
        raise CheckpointError(
            f"{path} has format {seen!r:.80}; this ctsdk reads format {_FORMAT}. Use the ctsdk that wrote it."
        )
    try:
        return _Description.model_validate(description)
    except pydantic.ValidationError as error:
        [fault, *_] = error.errors()
        raise CheckpointError(
            f"{path} is damaged: {'.'.join(map(str, fault['loc']))}: {fault['msg']}. Save the result again."
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
