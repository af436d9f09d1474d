"""What a compression run is told: frozen, typed, every key checked.

A configuration is a Python object first. :meth:`CompressionConfig.from_file` reads one from YAML or TOML, and takes
overrides such as ``training.steps=500``.
"""

from __future__ import annotations

import re
import tomllib
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

import pydantic
import yaml
from pydantic import Field

from ctsdk.config_messages import explained
from ctsdk.errors import ConfigError
from ctsdk.storage.bounded import read_bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "AdapterConfig",
    "CompressionConfig",
    "DataConfig",
    "DataSource",
    "LossConfig",
    "ParameterGroup",
    "Preset",
    "ReplacementConfig",
    "TrainingConfig",
    "TrunkStages",
    "differences",
]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]

TrunkStages = int | tuple[int, ...]

Preset = Literal["naive", "distill", "replace", "full"]


# A hundred times what a configuration has; YAML is read at a second per megabyte or slower.
_MAX_BYTES: Final = 256 << 10

_is_validating: ContextVar[bool] = ContextVar("_is_validating", default=False)


class _Section(pydantic.BaseModel):
    """A part of a configuration: frozen, and no key is accepted that it does not know."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - whatever a configuration file may hold
        is_inner = _is_validating.get()
        token = _is_validating.set(True)
        try:
            super().__init__(**values)
        except pydantic.ValidationError as error:
            if is_inner:
                raise  # the outermost section knows the whole path of the key
            raise ConfigError(explained(type(self), error)) from error
        finally:
            _is_validating.reset(token)


class AdapterConfig(_Section):
    """Which tracker, for runs from the command line."""

    name: str = Field(description="Name of an installed adapter, such as `ostrack`.")
    variant: str | None = Field(
        None, description="Member of the tracker's family; None for an adapter that is one tracker."
    )
    weights: str | None = Field(
        None, description="File of trained weights; None where the variant ships its own; `random` for untrained ones."
    )


class ReplacementConfig(_Section):
    """How likely a stage is the student's, over the run."""

    schedule: Literal["progressive", "constant", "linear"] = Field(
        "progressive", description="`progressive` is the paper's; `linear` rises from `p` to 1 over the whole run."
    )
    p: Share = Field(0.5, description="Probability at the start; throughout, for `constant`.")
    warm_up: Share = Field(0.1, description="`progressive`: share of the run at `p`.")
    cool_down: Share = Field(0.1, description="`progressive`: share of the run at 1, at the end.")


class LossConfig(_Section):
    """Weights of the three parts of the loss."""

    task: NotNegative = Field(1.0, description="The tracker's own losses against the truth.")
    guidance: NotNegative = Field(1.0, description="The mix's prediction against the teacher's.")
    imitation: NotNegative = Field(0.2, description="The mix's stage outputs against the teacher's.")


class ParameterGroup(_Section):
    """Parameters with a learning rate of their own."""

    match: str = Field(description="A regular expression found in the parameter's name, such as `^box_head`.")
    rate_factor: NotNegative = Field(1.0, description="Times the learning rate; 0 freezes the parameters.")

    @pydantic.field_validator("match")
    @classmethod
    def _is_an_expression(cls, match: str) -> str:
        try:
            re.compile(match)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"no regular expression: {error}") from error
        return match


class TrainingConfig(_Section):
    """The optimisation. The defaults are the paper's; `steps` is what you change first."""

    steps: Count | None = Field(None, description="Optimiser steps; leave it out to count in epochs.")
    epochs: Count | None = Field(None, description="Epochs of `samples_per_epoch` samples each, instead of steps.")
    samples_per_epoch: Count = Field(60_000, description="Samples per epoch.")
    batch_size: Count = Field(128, description="Samples per optimiser step.")
    micro_batch_size: Count | None = Field(
        None,
        description="Samples in memory at once, for the built-in data; gradients add up to `batch_size`. None for all. "
        "With batches of your own, theirs is the size, and they add up in the same way.",
    )
    learning_rate: Positive = Field(4e-5, description="Peak learning rate of AdamW.")
    weight_decay: NotNegative = Field(1e-4, description="Weight decay of AdamW.")
    groups: tuple[ParameterGroup, ...] = Field(
        (), description="Learning rates by parameter name; the first match counts."
    )
    rate_schedule: Literal["drop", "cosine", "constant"] = Field(
        "drop", description="`drop` divides the rate by ten once; `cosine` lets it fall to a hundredth."
    )
    drop_at: Share = Field(0.8, description="`drop`: share of the run before the drop.")
    warm_up_steps: Annotated[int, Field(ge=0)] = Field(0, description="Steps in which the rate rises from zero.")
    clip_norm: Positive | None = Field(0.1, description="Largest norm of all gradients together; None for no limit.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="`auto` is bfloat16 autocast on GPUs that have it and float32 elsewhere (on most CPUs bfloat16 is "
        "slower). `float16` scales the loss.",
    )
    compile_blocks: bool = Field(
        False,
        description="Compile each block on its own with `torch.compile`; needs a C++ compiler, or Triton on GPUs.",
    )
    recompute_blocks: bool = Field(
        False,
        description="Keep only the inputs of blocks, and compute the rest again on the way back (activation "
        "checkpointing): less memory, more time.",
    )
    channels_last: bool = Field(True, description="Lay out the weights of convolutions with their channels innermost.")
    fused_optimizer: bool | None = Field(
        None,
        description="AdamW as one kernel; None for yes on CPUs and CUDA GPUs. It rounds otherwise than the plain one.",
    )
    device: str = Field("auto", description="`auto` is the accelerator if there is one; or `cpu`, `cuda`, `cuda:1`.")
    validate_every: Count | None = Field(None, description="Steps between validations of the student; None for never.")
    validation_batches: Count = Field(8, description="Batches per validation.")
    save_every: Count | None = Field(
        1000, description="Steps between training states on disk; None for none by the number of steps."
    )
    save_every_minutes: Positive | None = Field(
        15.0, description="Minutes between training states on disk; None for none by the clock."
    )
    num_states: Count = Field(3, description="Training states that are kept; the oldest go.")

    @pydantic.model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError(f"got steps={self.steps} and epochs={self.epochs}; give one of them")
        if self.warm_up_steps >= self.num_steps:
            raise ValueError(f"warm_up_steps={self.warm_up_steps}, and the run has {self.num_steps} steps; give less")
        return self

    @pydantic.model_validator(mode="after")
    def _equal_parts(self) -> Self:
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size={self.batch_size} is no multiple of micro_batch_size={self.micro_batch_size}; the parts "
                "of a step are equal, so change one of them"
            )
        return self

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run; the paper's 500 epochs if neither steps nor epochs are given."""
        if self.steps is not None:
            return self.steps
        return max(1, (self.epochs or 500) * self.samples_per_epoch // self.batch_size)


class DataSource(_Section):
    """A data set; its text alone is short for one without a ratio."""

    spec: str = Field(description="Format, place and options, such as `lasot:/data/lasot?split=train`.")
    ratio: Positive | None = Field(
        None,
        description="Its share of the samples, in proportion to the others' ratios; None for all of them to go by "
        "their numbers of videos.",
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if not isinstance(value, str | dict | DataSource):
            raise ValueError("expected a text, such as lasot:/data/lasot?split=train, or a section of spec and ratio")
        return {"spec": value} if isinstance(value, str) else value


class DataConfig(_Section):
    """Where training samples come from, if the caller brings none, and how they are drawn and varied."""

    train: tuple[DataSource, ...] = Field(
        (),
        description="Data sets to draw samples from, each a text such as `lasot:/data/lasot?split=train`, or a section "
        "of `spec` and `ratio`; none for the synthetic videos of `source`.",
    )
    validation: tuple[DataSource, ...] = Field(
        (), description="The same to validate on; none for synthetic videos, if the run trains on such."
    )
    source: Literal["synthetic"] = Field(
        "synthetic", description="`synthetic`: cut-outs of photographs moving over other photographs, made by code."
    )
    photographs: Path | None = Field(
        None, description="Folder of photographs; None for those that scikit-image ships (extra `demo`)."
    )
    num_videos: Count = Field(2_000, description="Synthetic videos to draw samples from.")
    seed: Annotated[int, Field(ge=0)] = Field(1, description="Seed of the synthetic videos.")
    sampling: Literal["causal", "trident", "trident_pro", "stark"] = Field(
        "causal",
        description="Which frames make up a sample. `causal`: searches follow the template. `trident`: template and "
        "search anywhere, further templates close to the search; with `trident_pro` in any frame, with `stark` in any "
        "that has a box.",
    )
    max_gap: int | tuple[int, ...] | None = Field(
        None,
        description="How far apart the frames of a sample are at most; except for `causal`, also one number for each "
        "further template. None for what the tracker was trained with.",
    )
    greyscale: Share = Field(0.05, description="Probability that the crops of a sample lose their colour.")
    joint_flip: Share = Field(0.5, description="Probability that the crops of a sample are mirrored together.")
    brightness: Share = Field(0.2, description="Each crop is multiplied by a factor in 1 +- this.")
    flip: Share = Field(0.5, description="Probability that a crop is mirrored apart from the others of its sample.")
    mirror_shift_px: Share = Field(
        1.0,
        description="How far the box lies too far left in frames mirrored together; 1 as in the official code, 0 for "
        "exact boxes.",
    )
    label_shift_px: Share = Field(
        0.5,
        description="How far the box lies too far left and too high in a crop, in pixels of it; 0.5 as all released "
        "trackers were trained, 0 for exact boxes.",
    )
    max_unreadable: Share = Field(
        0.001,
        description="Unreadable frames and annotations per sample above which the run ends, once there are ten; 0 to "
        "end it at the first. Below, the sample is drawn again.",
    )
    num_workers: Annotated[int, Field(ge=0)] = Field(0, description="Processes that make samples; 0 for this one.")
    pin_memory: bool = Field(
        True, description="Put batches where a CUDA GPU can fetch them while it computes; without one, no effect."
    )

    @pydantic.model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        synthetic = [name for name in ("photographs", "num_videos", "seed") if getattr(self, name) != defaults[name]]
        if self.train and synthetic:
            raise ValueError(f"{', '.join(synthetic)} is for synthetic videos, but train is given; leave one out")
        for name in ("train", "validation"):
            if len({source.ratio is None for source in getattr(self, name)}) > 1:
                raise ValueError(f"some data sets of {name} have a ratio and some have none; give all of them one")
        gaps = self.max_gap if isinstance(self.max_gap, tuple) else () if self.max_gap is None else (self.max_gap,)
        if any(gap < 1 for gap in gaps):
            raise ValueError(f"max_gap is {self.max_gap}; expected positive numbers of frames")
        return self


class CompressionConfig(_Section):
    """A whole run. ``CompressionConfig(stages=4)`` is the paper's CompressTracker-4."""

    adapter: AdapterConfig | None = Field(None, description="The tracker; only for runs from the command line.")
    stages: TrunkStages | dict[str, TrunkStages] = Field(
        4, description="How many stages, or the teacher blocks of each, for all trunks or by trunk."
    )
    initialisation: Literal["last", "first", "even", "random"] = Field(
        "last", description="Which teacher block a student block starts from."
    )
    preset: Preset = Field(
        "full",
        description="`naive`: the task's losses on the student alone; `distill`: with guidance and imitation; "
        "`replace`: with replacement; `full`: all of it.",
    )
    replacement: ReplacementConfig = Field(default_factory=ReplacementConfig)
    losses: LossConfig = Field(default_factory=LossConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Seed of everything random in the run.")

    @pydantic.model_validator(mode="after")
    def _something_to_minimise(self) -> Self:
        if self.losses.task == 0 and not self.is_guiding and not self.is_imitating:
            raise ValueError(f"nothing is left to minimise with preset {self.preset!r} and losses={self.losses!r}")
        return self

    @property
    def is_replacing(self) -> bool:
        """Whether stages of the teacher take part in training steps."""
        return self.preset in ("replace", "full")

    @property
    def is_distilling(self) -> bool:
        """Whether the clean teacher guides and is imitated."""
        return self.preset in ("distill", "full")

    @property
    def is_guiding(self) -> bool:
        """Whether predictions are compared with the clean teacher's."""
        return self.is_distilling and self.losses.guidance > 0

    @property
    def is_imitating(self) -> bool:
        """Whether stage tokens are compared with the clean teacher's."""
        return self.is_distilling and self.losses.imitation > 0

    @classmethod
    def from_file(cls, path: str | Path, overrides: Iterable[str] = ()) -> CompressionConfig:
        """Read a configuration.

        Args:
            path: a ``.yaml``, ``.yml`` or ``.toml`` file.
            overrides: such as ``training.steps=500``; the values are read as YAML.

        Raises:
            ConfigError: the file cannot be read, or a key or value is wrong.
        """
        return cls.from_mapping(_read(Path(path)), overrides)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], overrides: Iterable[str] = ()) -> CompressionConfig:
        """Make a configuration from nested mappings, changed by overrides as in :meth:`from_file`."""
        changed = _copied(values)
        for override in overrides:
            _override(changed, override)
        return cls(**changed)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values that :meth:`from_mapping` takes, fit for JSON."""
        return self.model_dump(mode="json")


class _YamlLoader(yaml.SafeLoader):
    """Reads YAML without aliases: a few lines of them can stand for more values than fit into memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="found an alias (*); expected the value itself", problem_mark=mark)
        return super().compose_node(parent, index)


def _read_yaml(text: str) -> Any:  # noqa: ANN401 - whatever a configuration file may hold
    return yaml.load(text, _YamlLoader)


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[object, object]]:
    """Return by dotted key what differs between two configurations in plain values, as (before, after)."""
    changed: dict[str, tuple[object, object]] = {}
    for key in dict.fromkeys([*before, *after]):
        one, other = before.get(key), after.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            changed |= differences(one, other, f"{prefix}{key}.")
        elif one != other:
            changed[f"{prefix}{key}"] = (one, other)
    return changed


def _read(path: Path) -> dict[str, Any]:
    readers: dict[str, Callable[[str], Any]] = {".yaml": _read_yaml, ".yml": _read_yaml, ".toml": tomllib.loads}
    if path.suffix not in readers:
        raise ConfigError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(readers)}.")
    try:
        values = readers[path.suffix](read_bounded(path, _MAX_BYTES).decode("utf-8"))
        values = _copied(values) if isinstance(values, dict) else values
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}. Check the path.") from error
    except Exception as error:  # the readers of both formats raise all kinds of errors for what they do not expect
        raise ConfigError(f"{path} is no valid {path.suffix[1:].upper()}: {error!s:.500}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; expected keys and values at the top level.")
    return values


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    odd = next((key for key in values if not isinstance(key, str)), None)
    if odd is not None:
        raise ConfigError(f"the configuration key {odd!r:.80} is a {type(odd).__name__}; expected text. Quote it.")
    return {key: _copied_value(value) for key, value in values.items()}


def _copied_value(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_copied_value(item) for item in value]
    return _copied(value) if isinstance(value, dict) else value


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key or not text.strip():
        raise ConfigError(
            f"override {override!r} has no value; expected key=value, such as training.steps=500. For none, write null."
        )
    *sections, last = key.split(".")
    place = values
    for section in sections:
        inner = place.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"override {override!r}: {section!r} is a value ({inner!r}), not a section with keys.")
        place = inner
    try:
        value = _read_yaml(text)
    except Exception as error:  # as in a file
        raise ConfigError(f"override {override!r}: {text!r} is no valid value: {error}") from error
    place[last] = _copied_value(value)
