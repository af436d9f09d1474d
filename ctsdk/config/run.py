"""A compression run: :class:`CompressionConfig` and its sections, but for ``data``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import pydantic
from pydantic import Field

from ctsdk.config.data import DataConfig
from ctsdk.config.section import Count, NotNegative, Positive, Section, Share
from ctsdk.config.values import Overrides, copy_values, override, read_values

__all__ = [
    "AdapterConfig",
    "CompressionConfig",
    "Initialisation",
    "LossConfig",
    "ParameterGroup",
    "Preset",
    "ReplacementConfig",
    "TrainingConfig",
    "TrunkStages",
]

Initialisation: TypeAlias = Literal["last", "first", "even", "random"]
Preset: TypeAlias = Literal["naive", "distill", "replace", "full"]
TrunkStages: TypeAlias = int | tuple[int, ...]


class AdapterConfig(Section):
    """The tracker to compress. Only the command line needs it: in Python you pass the adapter."""

    name: str = Field(description="Name of an installed adapter, such as `ostrack`.")
    variant: str | None = Field(
        None, description="Which member of the tracker's family. None: the adapter has only one."
    )
    weights: str | None = Field(
        None, description="File of trained weights. None: the variant ships its own. `random`: untrained weights."
    )


class ReplacementConfig(Section):
    """The probability that a stage runs the student's block, over the run."""

    schedule: Literal["progressive", "constant", "linear"] = Field(
        "progressive", description="`progressive` is the paper's; `linear` rises from `p` to 1 over the whole run."
    )
    p: Share = Field(0.5, description="Probability at the start of the run; for `constant`, throughout.")
    warm_up: Share = Field(0.1, description="`progressive`: share of the run, at its start, with probability `p`.")
    cool_down: Share = Field(0.1, description="`progressive`: share of the run, at its end, with probability 1.")

    @pydantic.model_validator(mode="after")
    def _fits_into_the_run(self) -> Self:
        if self.schedule == "progressive" and self.warm_up + self.cool_down > 1:
            raise ValueError(
                f"warm_up={self.warm_up} and cool_down={self.cool_down} are more than the whole run; expected shares "
                "that add up to at most 1"
            )
        return self


class LossConfig(Section):
    """Weights of the three parts of the loss."""

    task: NotNegative = Field(1.0, description="The tracker's own losses against the true boxes.")
    guidance: NotNegative = Field(1.0, description="The prediction of the mix against that of the teacher.")
    imitation: NotNegative = Field(0.2, description="The stage outputs of the mix against those of the teacher.")


class ParameterGroup(Section):
    """Parameters that share a learning rate."""

    match: str = Field(description="A regular expression, searched for in the parameter's name, such as `^box_head`.")
    rate_factor: NotNegative = Field(1.0, description="Factor of the learning rate; 0 freezes the parameters.")

    @pydantic.field_validator("match")
    @classmethod
    def _is_an_expression(cls, match: str) -> str:
        try:
            re.compile(match)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"no regular expression: {error}") from error
        return match


class TrainingConfig(Section):
    """The optimisation. The defaults are those of the paper; change `steps` first."""

    steps: Count | None = Field(None, description="Length of the run in optimiser steps. None: `epochs` decides.")
    epochs: Count | None = Field(
        None, description="Length of the run in epochs, instead of steps. None for both: the 500 epochs of the paper."
    )
    samples_per_epoch: Count = Field(60_000, description="Samples in an epoch.")
    batch_size: Count = Field(128, description="Samples per optimiser step.")
    micro_batch_size: Count | None = Field(
        None,
        description="Samples in memory at once; gradients accumulate up to `batch_size`. None: the whole batch. If you "
        "pass `batches`, their own size counts instead.",
    )
    learning_rate: Positive = Field(4e-5, description="Peak learning rate of AdamW.")
    weight_decay: NotNegative = Field(1e-4, description="Weight decay of AdamW.")
    groups: tuple[ParameterGroup, ...] = Field(
        (), description="Learning rates by parameter name. The first group that matches a parameter applies."
    )
    rate_schedule: Literal["drop", "cosine", "constant"] = Field(
        "drop", description="`drop` divides the learning rate by 10 once; `cosine` lowers it to 1/100 over the run."
    )
    drop_at: Share = Field(0.8, description="`drop`: share of the run before the drop.")
    warm_up_steps: Annotated[int, Field(ge=0)] = Field(
        0, description="Steps over which the learning rate rises from 0."
    )
    clip_norm: Positive | None = Field(
        0.1, description="Clip the norm of all gradients together to this. None: no clipping."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="`auto`: bfloat16 autocast on GPUs that support it, float32 elsewhere (bfloat16 is slower on most "
        "CPUs). `float16` uses loss scaling.",
    )
    compile_blocks: bool = Field(
        False, description="Compile each block with `torch.compile`. Needs a C++ compiler; on GPUs, Triton."
    )
    recompute_blocks: bool = Field(
        False,
        description="Activation checkpointing: keep only the inputs of blocks, and recompute the rest in the backward "
        "pass. Takes less memory and more time.",
    )
    channels_last: bool = Field(
        True, description="Store the weights of convolutions in the channels-last memory format."
    )
    fused_optimizer: bool | None = Field(
        None,
        description="AdamW as one fused kernel, which differs from the unfused one by rounding. None: on CPUs and CUDA "
        "GPUs.",
    )
    device: str = Field(
        "auto", description="`auto` (the accelerator, if there is one), `cpu`, `cuda`, `cuda:1` and so on."
    )
    validate_every: Count | None = Field(
        None, description="Steps between validations of the student. None: no validation."
    )
    validation_batches: Count = Field(8, description="Batches per validation.")
    save_every: Count | None = Field(
        1000, description="Steps after which the training state is saved. None: not by steps."
    )
    save_every_minutes: Positive | None = Field(
        15.0, description="Minutes after which the training state is saved. None: not by time."
    )
    num_states: Count = Field(3, description="How many training states to keep; older ones are deleted.")

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


class CompressionConfig(Section):
    """A compression run. ``CompressionConfig(stages=4)`` is CompressTracker-4 of the paper."""

    adapter: AdapterConfig | None = Field(None, description="The tracker to compress, for runs from the command line.")
    stages: TrunkStages | dict[str, TrunkStages] = Field(
        4, description="Number of stages, or the number of teacher blocks in each; for all trunks, or by trunk."
    )
    initialisation: Initialisation = Field(
        "last",
        description="What student blocks start from. `last`: a copy of the last teacher block of their stage. `first`: "
        "copies of the first blocks of the trunk. `even`: copies of evenly spaced blocks. `random`: random weights.",
    )
    preset: Preset = Field(
        "full",
        description="`naive`: train the student alone on the task losses. `distill`: add guidance and imitation. "
        "`replace`: add replacement. `full`: add all of them.",
    )
    replacement: ReplacementConfig = Field(default_factory=ReplacementConfig)
    losses: LossConfig = Field(default_factory=LossConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Seed of all randomness in the run.")

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
    def from_file(cls, path: str | Path, overrides: Overrides = ()) -> CompressionConfig:
        """Read a configuration.

        Args:
            path: a ``.yaml``, ``.yml`` or ``.toml`` file.
            overrides: values that replace the file's; see :meth:`from_mapping`.

        Raises:
            ConfigError: the file cannot be read, or a key or value is wrong.
        """
        return cls.from_mapping(read_values(Path(path)), overrides)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], overrides: Overrides = ()) -> CompressionConfig:
        """Make a configuration from nested mappings.

        Args:
            values: sections and keys, as a file has them.
            overrides: values that replace those, in this order: texts such as ``training.steps=500``, whose
                value is read as YAML, or pairs such as ``("training.steps", 500)``. A mapping of such pairs will do.

        Raises:
            ConfigError: a key or value is wrong.
        """
        changed = copy_values(values)
        override(changed, overrides)
        return cls(**changed)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values that :meth:`from_mapping` takes, fit for JSON."""
        return self.model_dump(mode="json")
