"""The contract between the engine and a tracker.

An adapter tells the engine three things: where the tracker keeps its blocks (:meth:`TrackerAdapter.trunks`), how it
turns a batch into boxes (:meth:`TrackerAdapter.predict`), and what it is trained on (:meth:`TrackerAdapter.task_loss`).
Everything else has a default.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctsdk.boxes import cxcywh_to_xyxy, generalized_iou
from ctsdk.errors import AdapterContractError, ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ctsdk.stages import StagePlan
    from ctsdk.trunk import Trunk

__all__ = ["Batch", "BoxPx", "Prediction", "TrackResult", "TrackerAdapter", "TrackerSpec", "TrackingSession"]

BoxPx: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True)
class TrackerSpec:
    """What a tracker sees: its crops, how many, and how they are normalised.

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
    """What a tracker says about a batch.

    Attributes:
        boxes: (B, 4), cxcywh, shares of the search crop.
        outputs: whatever else the adapter's losses need.
    """

    boxes: Tensor
    outputs: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackResult:
    """Where the target is in one frame.

    Attributes:
        box_xywh_px: (left, top, width, height) in pixels of the frame.
        score: the tracker's own confidence, higher is surer; NaN where it has none.
    """

    box_xywh_px: BoxPx
    score: float = float("nan")


class TrackingSession(Protocol):
    """One target followed through one video. Frames are (H, W, 3) uint8 RGB arrays."""

    def start(self, frame: NDArray[np.uint8], box_xywh_px: BoxPx) -> None:
        """Take the target from the first frame.

        Raises:
            DataError: the frame is not an RGB image, or the box is not a box inside it.
        """
        ...

    def update(self, frame: NDArray[np.uint8]) -> TrackResult:
        """Find the target in the next frame.

        Raises:
            DataError: the frame is not an RGB image, or the session has not been started.
        """
        ...


class TrackerAdapter(ABC):
    """Everything the engine needs to know about one tracker.

    Write a subclass with three methods and bind your trained tracker::

        class MyAdapter(ctsdk.TrackerAdapter):
            name = "mine"
            spec = ctsdk.TrackerSpec(template_size=128, search_size=256)

            def trunks(self): ...
            def predict(self, tracker, batch): ...
            def task_loss(self, prediction, batch): ...

        ctsdk.compress(MyAdapter(teacher=my_tracker), cfg)

    Attributes:
        name: what users type.
        api_version: the version of this contract that the adapter was written for.
        spec: what the tracker sees.
        teacher: the trained tracker.
        variant: which member of a family the teacher is; None for an adapter of one tracker.
        capabilities: what the adapter can do beyond predicting and losses. "session": it follows a target through a
            video. "official": :meth:`to_official` and :meth:`from_official` give back what they were given. Checks and
            instruments ask here, never for the name of an adapter, and leave out what does not apply.
    """

    name: ClassVar[str]
    api_version: ClassVar[int] = 1
    capabilities: frozenset[str] = frozenset({"session"})
    spec: TrackerSpec
    teacher: nn.Module
    variant: str | None = None

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher = teacher

    @abstractmethod
    def trunks(self) -> Mapping[str, Trunk]:
        """Return the block lists to compress, such as ``{"encoder": Trunk("backbone.blocks")}``."""

    @abstractmethod
    def predict(self, tracker: nn.Module, batch: Batch) -> Prediction:
        """Run `tracker`'s own forward on `batch`. `tracker` is the teacher, a student or a mix."""

    @abstractmethod
    def task_loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Return the tracker's own losses against the truth: scalars, already weighted; their sum is minimised."""

    def locate(self, tracker: nn.Module, batch: Batch) -> Prediction:
        """Return what `tracker` says of `batch` when it tracks: it may look at the crops, and not at the true boxes.

        The default is :meth:`predict`. A tracker whose prediction in training is given part of the truth overrides it.
        """
        return self.predict(tracker, batch)

    def guidance_loss(self, student: Prediction, teacher: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Return the losses that pull the prediction of `student` to that of `teacher`: scalars, already weighted.

        The default compares the boxes: 2 GIoU + 5 L1.

        Source: LingyiHongfd/CompressTracker @ efd98ec, lib/train/actors/compresstracker.py.
        """
        del batch
        boxes, targets = cxcywh_to_xyxy(student.boxes), cxcywh_to_xyxy(teacher.boxes)
        return {
            "giou": 2.0 * (1.0 - generalized_iou(boxes, targets)).mean(),
            "l1": 5.0 * F.l1_loss(boxes, targets),
        }

    def stage_tokens(self, trunk: str, output: object, batch: Batch) -> tuple[Tensor, ...]:
        """Return what imitation compares, from what the last block of a stage of `trunk` returned.

        Each tensor of the tuple counts the same, however large it is. The default takes a block that returns a tensor,
        or a tuple that starts with one.

        Raises:
            AdapterContractError: the output is neither.
        """
        del batch
        first = output[0] if isinstance(output, tuple | list) and output else output
        if not isinstance(first, Tensor):
            raise AdapterContractError(
                f"a block of trunk {trunk!r} returned a {type(output).__name__}; stage_tokens expects a tensor or a "
                f"tuple that starts with one. Override stage_tokens in {type(self).__name__} to pick the tokens."
            )
        return (first,)

    def student_block(self, trunk: str, plan: StagePlan, stage: int) -> nn.Module:
        """Return the block that student stage `stage` starts from: a copy of teacher block ``plan.sources[stage]``."""
        return copy.deepcopy(self.trunks()[trunk].blocks(self.teacher)[plan.sources[stage]])

    def session(self, tracker: nn.Module) -> TrackingSession:
        """Return a session that follows one target with `tracker`, by the crops of :attr:`spec`.

        Raises:
            AdapterContractError: "session" is not among the :attr:`capabilities`.
        """
        if "session" not in self.capabilities:
            raise AdapterContractError(
                f"adapter {self.name!r} follows no target: its capabilities are {sorted(self.capabilities)}. "
                'Add "session" to them if its network is a tracker.'
            )
        # Imported here because the instruments stand above the contract; a session is the one default that needs them.
        from ctsdk.tracking import CropSession

        return CropSession(self, tracker)

    def for_dataset(self, name: str) -> TrackerAdapter:
        """Return the adapter whose sessions track as officially tested on a data set; by default there is one way.

        Args:
            name: of the data set, such as ``lasot``; any name is taken.
        """
        del name
        return self

    def to_official(self, tracker: nn.Module) -> dict[str, Tensor]:
        """Return the weights of `tracker` in the layout that the tracker's own code loads."""
        return dict(tracker.state_dict())

    def from_official(self, weights: str | Path | Mapping[str, Tensor]) -> nn.Module:
        """Return a tracker with the weights of an official file or state dict, every key used.

        Raises:
            AdapterContractError: the adapter does not read files.
        """
        raise AdapterContractError(
            f"adapter {self.name!r} reads no official files (asked for {weights!r:.200}). "
            f"Override from_official in {type(self).__name__}, or bind a tracker that is already built."
        )

    def example_batch(self, batch_size: int = 1) -> Batch:
        """Return a batch of seeded noise in the shapes of :attr:`spec`, with a centred target, on the CPU."""
        spec, generator = self.spec, torch.Generator().manual_seed(0)
        box = torch.tensor([0.375, 0.375, 0.25, 0.25])

        def crops(count: int, size: int) -> Tensor:
            return torch.randn(count, batch_size, 3, size, size, generator=generator)

        return Batch(
            templates=crops(spec.num_templates, spec.template_size),
            searches=crops(spec.num_searches, spec.search_size),
            template_boxes=box.expand(spec.num_templates, batch_size, 4).clone(),
            search_boxes=box.expand(spec.num_searches, batch_size, 4).clone(),
        )
