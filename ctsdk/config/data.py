"""The section ``data``: where training samples come from, and how they are drawn and augmented."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

import pydantic
from pydantic import Field

from ctsdk.config.section import Count, Positive, Section, Share

__all__ = ["DataConfig", "DataSource", "SamplingRule"]

SamplingRule: TypeAlias = Literal["causal", "trident", "trident_pro", "stark"]
"""The rules by which :class:`~ctsdk.data.samples.sampling.FrameSampling` picks the frames of a sample."""

_SYNTHETIC_ONLY = ("photographs", "num_videos", "seed")


class DataSource(Section):
    """A data set. Where it has no ratio, its source alone may be given instead of the section."""

    old_names: ClassVar = {"spec": "source"}

    source: str = Field(description="Format, path and options, such as `lasot:/data/lasot?split=train`.")
    ratio: Positive | None = Field(
        None,
        description="Its share of the samples, relative to the ratios of the others. If no data set has a ratio, each "
        "counts by its number of videos.",
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if not isinstance(value, str | dict | DataSource):
            raise ValueError("expected a text, such as lasot:/data/lasot?split=train, or a section of source and ratio")
        return {"source": value} if isinstance(value, str) else value


class DataConfig(Section):
    """Where training samples come from, and how they are drawn and augmented. Not used if you pass `batches`."""

    old_names: ClassVar = {"num_sequences": "num_videos"}

    train: tuple[DataSource, ...] = Field(
        (),
        description="Data sets to train on, each a text such as `lasot:/data/lasot?split=train`, or a section of "
        "`source` and `ratio`. Empty: train on synthetic videos, cut-outs of photographs that move over other "
        "photographs.",
    )
    validation: tuple[DataSource, ...] = Field(
        (), description="Data sets to validate on, written the same way. Empty: synthetic videos, if `train` is empty."
    )
    photographs: Path | None = Field(
        None,
        description="Folder of photographs for synthetic videos. None: those that scikit-image ships (extra `demo`).",
    )
    num_videos: Count = Field(2_000, description="Number of synthetic videos.")
    seed: Annotated[int, Field(ge=0)] = Field(1, description="Seed of the synthetic videos.")
    sampling: SamplingRule = Field(
        "causal",
        description="Which frames make up a sample. `causal`: the searches follow the template. `trident`: template "
        "and search anywhere in the video, further templates close to the search. `trident_pro`: as `trident`, but "
        "further templates may be any frames. `stark`: as `trident`, but further templates may be any frames with a "
        "box.",
    )
    max_gap: int | tuple[int, ...] | None = Field(
        None,
        description="Largest distance between the frames of a sample, in frames. Except for `causal`, a list gives one "
        "number for each further template. None: as the tracker was trained.",
    )
    greyscale: Share = Field(0.05, description="Probability that all crops of a sample are turned to grey.")
    joint_flip: Share = Field(0.5, description="Probability that all crops of a sample are mirrored together.")
    brightness: Share = Field(0.2, description="Each crop is multiplied by a random factor in 1 ± this.")
    flip: Share = Field(0.5, description="Probability that a crop is mirrored independently of the others.")
    mirror_shift_px: Share = Field(
        1.0,
        description="Offset of the box to the left, in pixels of the frame, in jointly mirrored frames. 1 reproduces "
        "an off-by-one of the official code; 0 gives exact boxes.",
    )
    label_shift_px: Share = Field(
        0.5,
        description="Offset of the box to the left and upwards, in pixels of the crop. All released trackers were "
        "trained with 0.5; 0 gives exact boxes.",
    )
    max_unreadable: Share = Field(
        0.001,
        description="Largest number of unreadable frames and annotations per sample. Above it the run stops, but not "
        "before the tenth; with 0, at the first. Below it, the sample is drawn again.",
    )
    num_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="Processes that load samples. 0: load them in the training process."
    )
    pin_memory: bool = Field(
        True, description="Put batches into pinned memory, from which a CUDA GPU copies faster. No effect without one."
    )

    @pydantic.model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        synthetic = [name for name in _SYNTHETIC_ONLY if getattr(self, name) != defaults[name]]
        if self.train and synthetic:
            raise ValueError(f"{', '.join(synthetic)} is for synthetic videos, but train is given; leave one out")
        for name in ("train", "validation"):
            if len({source.ratio is None for source in getattr(self, name)}) > 1:
                raise ValueError(f"some data sets of {name} have a ratio and some have none; give all of them one")
        gaps = self.max_gap if isinstance(self.max_gap, tuple) else () if self.max_gap is None else (self.max_gap,)
        if any(gap < 1 for gap in gaps):
            raise ValueError(f"max_gap is {self.max_gap}; expected positive numbers of frames")
        return self
