"""MixFormerV2 for ctsdk: where its blocks are, how it predicts, what it is trained on, how it tracks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ctsdk import (
    AdapterContractError,
    Batch,
    CheckpointError,
    Prediction,
    StagePlan,
    TrackerAdapter,
    TrackerSpec,
    TrackResult,
    Trunk,
)
from ctsdk.boxes import BoxPx, cxcywh_to_xyxy
from ctsdk.family import Family, detached_tensors, unknown_variant
from ctsdk.tracking import CropSession
from ctsdk_mixformerv2.losses import box_losses, complete_iou_loss, distribution_loss, score_divergence
from ctsdk_mixformerv2.model import SIDES, Block, Memory, MixFormerV2
from ctsdk_mixformerv2.variants import DEMO_WEIGHTS, VARIANTS, MixFormerV2Config, Tracking
from ctsdk_mixformerv2.weights import config_of, from_official_layout, to_official_layout

__all__ = ["MixFormerV2Adapter", "MixFormerV2Session"]

# Only a frame with a higher confidence may become the online template.
_LEAST_SCORE = 0.5


class MixFormerV2Adapter(TrackerAdapter):
    """A :class:`MixFormerV2` teacher of any size and depth.

    Attributes:
        variant: the name in :data:`VARIANTS`, or None for a custom architecture.
        tracking: when sessions update the online template.
        student_mlp_ratio: hidden channels of a student's MLPs in units of the width; None for the teacher's.
    """

    name: ClassVar[str] = "mixformerv2"
    capabilities = frozenset({"session", "official"})
    teacher: MixFormerV2

    def __init__(
        self,
        teacher: MixFormerV2,
        *,
        spec: TrackerSpec | None = None,
        variant: str | None = None,
        tracking: Tracking | None = None,
        student_mlp_ratio: float | None = None,
    ) -> None:
        super().__init__(teacher)
        config = teacher.config
        self.spec = spec or TrackerSpec(
            template_size=config.template_size, search_size=config.search_size, num_templates=2
        )
        self.variant = variant
        self.tracking = tracking or Tracking()
        self.student_mlp_ratio = student_mlp_ratio

    @classmethod
    def load(cls, variant: str | None, weights: str | Path | None) -> MixFormerV2Adapter:
        """Return a variant with the weights of a file, with those it ships (None), or untrained (the word "random").

        Raises:
            ConfigError: there is no such variant.
            CheckpointError: the weights cannot be read, do not fit, or the variant ships none.
        """
        if variant is None or variant not in VARIANTS:
            raise unknown_variant(cls.name, variant, VARIANTS)
        member = VARIANTS[variant]
        teacher = _FAMILY.load(variant, weights, member.config, _check_architecture)
        return cls(
            teacher,
            spec=member.spec,
            variant=variant,
            tracking=member.tracking,
            student_mlp_ratio=member.student_mlp_ratio,
        )

    def for_dataset(self, name: str) -> MixFormerV2Adapter:
        """Return the adapter with the search factor and the update interval of a data set, as officially tested."""
        tuned, tracking = copy.copy(self), self.tracking
        factor = tracking.search_factors.get(name, tracking.search_factor or self.spec.search_factor)
        tuned.spec = replace(self.spec, search_factor=factor)
        tuned.tracking = replace(
            tracking,
            update_interval=tracking.update_intervals.get(name, tracking.update_interval),
            search_factor=factor,
        )
        return tuned

    def trunks(self) -> dict[str, Trunk]:
        """Return the one list of blocks."""
        return {"backbone": Trunk("backbone.blocks")}

    def predict(self, tracker: nn.Module, batch: Batch) -> Prediction:
        """Run the tracker on two templates and the first search crop."""
        outputs: dict[str, Tensor] = tracker(batch.templates[0], batch.templates[1], batch.searches[0])
        return Prediction(outputs["boxes"], outputs)

    def task_loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Return 2 CIoU + 5 L1 against the true boxes; the score head is not trained by it."""
        boxes = box_losses(prediction.boxes, batch.search_boxes[0])
        return {"ciou": 2.0 * boxes["ciou"], "l1": 5.0 * boxes["l1"]}

    def guidance_loss(self, student: Prediction, teacher: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Return 2 CIoU + 5 L1 against the teacher's boxes, 5 times the divergence from its distributions, its score.

        The term for the score is ctsdk's own: it trains the score head together with the shorter trunk. The official
        code trains that head again in a separate phase.

        Source: MCG-NJU/MixFormerV2 @ 1041438, lib/train/actors/mixformer_distill_st2.py.
        """
        del batch
        # A side may cross the opposite one; overlap with such a box means nothing.
        are_boxes = (teacher.boxes[:, 2:] > 0).all(dim=1)
        boxes, targets = cxcywh_to_xyxy(student.boxes), cxcywh_to_xyxy(teacher.boxes)
        terms = {
            "ciou": 2.0 * complete_iou_loss(boxes[are_boxes], targets[are_boxes]).sum() / len(boxes),
            "l1": 5.0 * F.l1_loss(boxes, targets),
            "distribution": 5.0 * distribution_loss(student.outputs["logits"], teacher.outputs["logits"]),
        }
        if "score" in student.outputs:
            terms["score"] = score_divergence(student.outputs["score"], teacher.outputs["score"])
        return terms

    def stage_tokens(self, trunk: str, output: object, batch: Batch) -> tuple[Tensor, ...]:
        """Return the tokens of both templates (B, 2 Nz, C), of the search crop (B, Nx, C), and for the prediction.

        The prediction tokens (B, 4, C) are all that the heads see, so they count as much as each crop.
        """
        del trunk, batch
        if not isinstance(output, Tensor):
            raise AdapterContractError(
                f"a block of MixFormerV2 returned {type(output).__name__}; expected a tensor of tokens. "
                "A block put into the trunk must take tokens and the number of template tokens, and return tokens."
            )
        num_template, num_prediction = 2 * self.teacher.config.template_cells**2, len(SIDES)
        return output[:, :num_template], output[:, num_template:-num_prediction], output[:, -num_prediction:]

    def student_block(self, trunk: str, plan: StagePlan, stage: int) -> nn.Module:
        """Return a copy of the stage's source block with the drop rate of its place in the student.

        Where students have narrower MLPs, the hidden channels that matter most are kept: those whose weights are
        largest, in and out together. A student of full depth is the teacher itself.
        """
        block = super().student_block(trunk, plan, stage)
        if isinstance(block, Block):
            share = stage / max(plan.num_stages - 1, 1)
            block.drop_path.drop_prob = share * self.teacher.config.drop_path
            if self.student_mlp_ratio is not None and plan.num_stages < plan.depth:
                _narrow(block, round(self.teacher.config.width * self.student_mlp_ratio))
        return block

    def session(self, tracker: nn.Module) -> MixFormerV2Session:
        """Return a session that remembers its templates and renews one of them."""
        return MixFormerV2Session(self, tracker)

    def to_official(self, tracker: nn.Module) -> dict[str, Tensor]:
        """Return the weights under MixFormerV2's keys; its loader is strict and reads an entry ``"net"``."""
        return to_official_layout(detached_tensors(tracker))

    def from_official(self, weights: str | Path | Mapping[str, Tensor]) -> MixFormerV2:
        """Return a tracker with the depth, the MLPs and the bins that the weights have."""
        return _FAMILY.read(weights, self.teacher.config)


class MixFormerV2Session(CropSession):
    """Tracks with two templates: one of the first frame, and an online one from frames of high confidence.

    The keys and values of the templates in each block are computed once and kept until a template changes.

    Source: MCG-NJU/MixFormerV2 @ 1041438, lib/test/tracker/mixformer2_vit_online.py.
    """

    def __init__(self, adapter: MixFormerV2Adapter, tracker: nn.Module, *, score_decay: float = 1.0) -> None:
        super().__init__(adapter, tracker)
        self.search_factor = adapter.tracking.search_factor or adapter.spec.search_factor
        self.update_interval = adapter.tracking.update_interval
        self.score_decay = score_decay
        self._num_updates = 0
        # The frame of the highest confidence since the last update of the online template, and a template crop of it.
        self._best_score = -1.0
        self._best: Tensor | None = None
        self._memories: list[Memory] = []

    def start(self, frame: NDArray[np.uint8], box_xywh_px: BoxPx) -> None:
        """Take both templates from the first frame."""
        super().start(frame, box_xywh_px)
        self._num_updates = 0
        self._best_score, self._best = -1.0, None
        self._remember(None)

    def update(self, frame: NDArray[np.uint8]) -> TrackResult:
        """Find the target in the next frame, and renew the online template if it is time."""
        result = super().update(frame)
        self._num_updates += 1
        self._best_score *= self.score_decay
        if result.confidence > _LEAST_SCORE and result.confidence > self._best_score:
            spec = self.adapter.spec
            self._best_score = result.confidence
            self._best = self.crop(frame, spec.template_factor, spec.template_size)[0][0]
        if self._num_updates % self.update_interval == 0:
            self._remember(self._best)
            self._best_score, self._best = -1.0, None
        return result

    def look(self, searches: Tensor) -> Prediction:
        """Return the prediction for a search crop (1, 1, 3, H, W), from remembered templates."""
        tracker = self.tracker
        if not isinstance(tracker, MixFormerV2):
            return super().look(searches)
        outputs = tracker.read(tracker.backbone.recall(searches[0], self._memories))
        return Prediction(outputs["boxes"], outputs)

    def decode(self, prediction: Prediction) -> tuple[Tensor, float]:
        """Return the box (4,), cxcywh, and the confidence; NaN without a score head."""
        score = prediction.outputs.get("score")
        return prediction.boxes[0], float("nan") if score is None else float(score[0].sigmoid())

    def _remember(self, online_template: Tensor | None) -> None:
        """Put the online template (1, 3, H, W) beside the first one; without a confident frame, the first one again."""
        assert self.templates is not None
        first = self.templates[0]
        self.templates = torch.stack([first, first if online_template is None else online_template])
        if isinstance(self.tracker, MixFormerV2):
            with torch.inference_mode():
                self._memories = self.tracker.backbone.remember(self.templates[0], self.templates[1])


def _narrow(block: Block, hidden_width: int) -> None:
    """Keep the hidden channels of a block's MLP with the largest weights, in their order."""
    fc1, fc2 = block.mlp.fc1, block.mlp.fc2
    assert isinstance(fc1, nn.Linear)
    assert isinstance(fc2, nn.Linear)
    with torch.no_grad():
        strength = fc1.weight.norm(dim=1) * fc2.weight.norm(dim=0)
        kept = strength.topk(min(hidden_width, len(strength))).indices.sort().values
        for parameter, values in (
            (fc1.weight, fc1.weight[kept]),
            (fc1.bias, fc1.bias[kept]),
            (fc2.weight, fc2.weight[:, kept]),
        ):
            parameter.data = values.clone()
    fc1.out_features = fc2.in_features = len(kept)


def _check_architecture(tensors: Mapping[str, Tensor], config: MixFormerV2Config, source: str, variant: str) -> None:
    """Refuse weights of another depth or with other MLPs than those of the variant that was asked for."""
    seen = config_of(tensors, config)
    if (seen.depth, seen.mlp_ratio, seen.has_score) != (config.depth, config.mlp_ratio, config.has_score):
        raise CheckpointError(
            f"{source} holds {_describe(seen)}; variant {variant!r} has {_describe(config)}. Name the variant of "
            "the weights, or read them with from_official() of a loaded adapter."
        )


def _describe(config: MixFormerV2Config) -> str:
    head = "a score head" if config.has_score else "no score head"
    return f"{config.depth} blocks of MLP ratio {config.mlp_ratio:g} and {head}"


_FAMILY: Family[MixFormerV2Config, MixFormerV2] = Family(
    adapter=MixFormerV2Adapter.name,
    network=MixFormerV2,
    config_of=config_of,
    from_official_layout=from_official_layout,
    demo_weights=DEMO_WEIGHTS,
    official_file="mixformerv2_base.pth.tar",
)
