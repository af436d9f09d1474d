"""The contract between the engine and a tracker.

An adapter tells the engine three things: where the tracker keeps its blocks (:meth:`TrackerAdapter.trunks`), how it
turns a batch into boxes (:meth:`TrackerAdapter.predict`), and what it is trained on (:meth:`TrackerAdapter.task_loss`).
Everything else has a default.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctsdk.boxes import cxcywh_to_xyxy, generalized_iou
from ctsdk.engine.batch import Batch, Prediction, TrackerSpec
from ctsdk.engine.session import CropSession, TrackingSession
from ctsdk.engine.stages import StagePlan
from ctsdk.engine.trunk import Trunk
from ctsdk.errors import AdapterContractError

__all__ = ["TrackerAdapter"]


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

    @classmethod
    def load(cls, variant: str | None, weights: str | Path | None) -> TrackerAdapter:
        """Return the adapter, bound to its trained tracker. An adapter that is to be found by name overrides this.

        Args:
            variant: a member of the tracker's family; what None means is the adapter's choice.
            weights: the file of the tracker's weights; None where the variant ships its own; the word "random" for a
                teacher with random weights.

        Raises:
            AdapterContractError: the adapter does not say how to load its tracker.
        """
        raise AdapterContractError(
            f"adapter {cls.name!r} cannot be loaded by name (asked for variant {variant!r}, weights {weights!r:.200}). "
            f"Give {cls.__name__} a classmethod load(cls, variant, weights), or bind a tracker: "
            f"{cls.__name__}(teacher=...)."
        )

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
        """Return what `tracker` predicts for `batch` when it tracks: from the crops, without the true boxes.

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
        return {"giou": 2.0 * (1.0 - generalized_iou(boxes, targets)).mean(), "l1": 5.0 * F.l1_loss(boxes, targets)}

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
