"""The inputs and outputs of a tracker: crops by its spec, in batches, and a prediction for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ctsdk.errors import ConfigError, DataError

__all__ = ["Batch", "Prediction", "TrackerSpec"]


@dataclass(frozen=True)
class TrackerSpec:
    """The inputs of a tracker: its crops, how many, and how they are normalised.

    Attributes:
        template_size: side of the square template crop, px.
        search_size: side of the square search crop, px.
        template_factor: side of the template crop in the image, in units of sqrt(width * height) of the target.
        search_factor: the same for the search crop.
        num_templates: templates per sample (T of :class:`Batch`).
        num_searches: searches per sample (S of :class:`Batch`).
        mean: per RGB channel, of pixels in [0, 1].
        std: per RGB channel, of pixels in [0, 1].
        search_centre_jitter: training only: how far the crop strays from the target, in units of
            sqrt(width * height) of the target (uniform in +- half of it per axis).
        search_scale_jitter: training only: standard deviation of the log of the crop's width and height.
        template_centre_jitter: as for the search crop.
        template_scale_jitter: as for the search crop.
        max_gap: training only: the search frame follows the template by less than this many frames.

    Raises:
        ConfigError: a size, factor, count or deviation is not positive.
    """

    template_size: int
    search_size: int
    template_factor: float = 2.0
    search_factor: float = 4.0
    num_templates: int = 1
    num_searches: int = 1
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    search_centre_jitter: float = 3.0
    search_scale_jitter: float = 0.25
    template_centre_jitter: float = 0.0
    template_scale_jitter: float = 0.0
    max_gap: int = 200

    def __post_init__(self) -> None:
        positive = ("template_size", "search_size", "template_factor", "search_factor", "num_templates", "num_searches")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(f"TrackerSpec.{name} is {getattr(self, name)}; expected a positive number.")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigError(
                f"TrackerSpec has mean={self.mean}, std={self.std}; expected three values each, std above 0."
            )


@dataclass(frozen=True)
class Batch:
    """B training samples.

    Attributes:
        templates: (T, B, 3, Hz, Wz), normalised as the tracker's spec says.
        searches: (S, B, 3, Hx, Wx), normalised.
        template_boxes: (T, B, 4), xywh, shares of the template crop.
        search_boxes: (S, B, 4), xywh, shares of the search crop; may leave [0, 1] where the target leaves the crop.
        extra: more tensors that an adapter needs, each with B on the axis that its adapter says.

    Raises:
        DataError: the shapes do not fit together.
    """

    templates: Tensor
    searches: Tensor
    template_boxes: Tensor
    search_boxes: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for crops, boxes in (("templates", "template_boxes"), ("searches", "search_boxes")):
            seen, seen_boxes = tuple(getattr(self, crops).shape), tuple(getattr(self, boxes).shape)
            if len(seen) != 5 or seen[2] != 3 or seen_boxes != (*seen[:2], 4):
                raise DataError(
                    f"Batch.{crops} has shape {seen} and Batch.{boxes} {seen_boxes}; expected (N, B, 3, H, W) and "
                    "(N, B, 4) with the same N and B. A single crop needs a leading axis of 1: crops[None]."
                )
        if self.templates.shape[1] != self.searches.shape[1]:
            raise DataError(
                f"Batch has {self.templates.shape[1]} samples of templates and {self.searches.shape[1]} of searches; "
                "expected the same number."
            )

    @classmethod
    def of_images(cls, images: Tensor, **extra: Tensor) -> Batch:
        """Return a batch for a network that is no tracker.

        Args:
            images: (B, 3, H, W), normalised; they become the one search. The template is one empty pixel, and the
                boxes are the whole crop.
            **extra: what else the adapter needs, such as ``labels=labels``.
        """
        empty = images.new_zeros(1, len(images), 3, 1, 1)
        whole = images.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(1, len(images), 4)
        return cls(empty, images[None], whole, whole, extra)

    @property
    def size(self) -> int:
        """The number of samples, B."""
        return self.searches.shape[1]

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with every tensor on `device`."""
        return replace(
            self,
            templates=self.templates.to(device, non_blocking=True),
            searches=self.searches.to(device, non_blocking=True),
            template_boxes=self.template_boxes.to(device, non_blocking=True),
            search_boxes=self.search_boxes.to(device, non_blocking=True),
            extra={key: value.to(device, non_blocking=True) for key, value in self.extra.items()},
        )


@dataclass(frozen=True)
class Prediction:
    """The answer of a tracker to a batch.

    Attributes:
        boxes: (B, 4), cxcywh, shares of the search crop.
        outputs: whatever else the adapter's losses need.
    """

    boxes: Tensor
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
