"""OSTrack for ctsdk: where its blocks are, how it predicts, what it is trained on, how it tracks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ctsdk import (
    AdapterContractError,
    Batch,
    CheckpointError,
    Prediction,
    StagePlan,
    TrackerAdapter,
    TrackerSpec,
    Trunk,
)
from ctsdk.family import Family, detached_tensors, unknown_variant
from ctsdk.tracking import CropSession
from ctsdk_ostrack.losses import box_losses, centre_heat_map, focal_loss
from ctsdk_ostrack.model import Block, OSTrack, TrunkState, decode_boxes
from ctsdk_ostrack.variants import DEMO_WEIGHTS, VARIANTS, OSTrackConfig
from ctsdk_ostrack.weights import config_of, from_official_layout, to_official_layout

__all__ = ["OSTrackAdapter", "OSTrackSession"]


class OSTrackAdapter(TrackerAdapter):
    """An :class:`OSTrack` teacher of any size and depth.

    Attributes:
        variant: the name in :data:`VARIANTS`, or None for a custom architecture.
    """

    name: ClassVar[str] = "ostrack"
    capabilities = frozenset({"session", "official"})
    teacher: OSTrack

    def __init__(self, teacher: OSTrack, *, spec: TrackerSpec | None = None, variant: str | None = None) -> None:
        super().__init__(teacher)
        config = teacher.config
        self.spec = spec or TrackerSpec(template_size=config.template_size, search_size=config.search_size)
        self.variant = variant

    @classmethod
    def load(cls, variant: str | None, weights: str | Path | None) -> OSTrackAdapter:
        """Return a variant with the weights of a file, with those it ships (None), or untrained (the word "random").

        Raises:
            ConfigError: there is no such variant.
            CheckpointError: the weights cannot be read, do not fit, or the variant ships none.
        """
        if variant is None or variant not in VARIANTS:
            raise unknown_variant(cls.name, variant, VARIANTS)
        member = VARIANTS[variant]
        teacher = _FAMILY.load(variant, weights, member.config, _check_architecture)
        return cls(teacher, spec=member.spec, variant=variant)

    def trunks(self) -> dict[str, Trunk]:
        """Return the one list of blocks."""
        return {"backbone": Trunk("backbone.blocks")}

    def predict(self, tracker: nn.Module, batch: Batch) -> Prediction:
        """Run the tracker on the first template and the first search crop."""
        rows = tracker.centre_row if isinstance(tracker, OSTrack) else None
        outputs: dict[str, Tensor] = tracker(batch.templates[0], batch.searches[0], rows)
        return Prediction(outputs["boxes"], outputs)

    def task_loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Return 2 GIoU + 5 L1 + focal loss against the true boxes."""
        truth_xywh = batch.search_boxes[0]
        score_map = prediction.outputs["score_map"]
        boxes = box_losses(prediction.boxes, truth_xywh)
        return {
            "giou": 2.0 * boxes["giou"],
            "l1": 5.0 * boxes["l1"],
            "focal": focal_loss(score_map, centre_heat_map(truth_xywh, score_map.shape[-1])),
        }

    def stage_tokens(self, trunk: str, output: object, batch: Batch) -> tuple[Tensor, ...]:
        """Return template tokens (B, Nz, C) and search tokens (B, G * G, C), each on its cell.

        A candidate that was eliminated counts as it was when it left, so that both sides always have the same shape.
        """
        del trunk, batch
        if not isinstance(output, TrunkState):
            raise AdapterContractError(
                f"a block of OSTrack returned {type(output).__name__}; expected a TrunkState. "
                "A block put into the trunk must take and return TrunkState."
            )
        template, search = output.tokens[:, : output.num_template], output.tokens[:, output.num_template :]
        if output.kept is not None and output.left is not None:
            search = output.left.scatter(1, output.kept[..., None].expand_as(search), search)
        return template, search

    def student_block(self, trunk: str, plan: StagePlan, stage: int) -> nn.Module:
        """Return a copy of the stage's source block; in a shorter student without elimination.

        Its drop path rate is then that of the first block of its stage.

        The official students eliminate no candidates. A student of full depth is the teacher itself.

        Source: LingyiHongfd/CompressTracker @ efd98ec, lib/models/compresstracker/vit_compress.py.
        """
        block = super().student_block(trunk, plan, stage)
        if plan.num_stages < plan.depth and isinstance(block, Block):
            block.keep_ratio = None
            first = self.teacher.backbone.blocks[plan.blocks(stage).start]
            block.drop_path = copy.deepcopy(first.drop_path)  # type: ignore[assignment]
        return block

    def session(self, tracker: nn.Module) -> OSTrackSession:
        """Return a session that weighs the score map with a Hann window."""
        return OSTrackSession(self, tracker)

    def to_official(self, tracker: nn.Module) -> dict[str, Tensor]:
        """Return the weights under OSTrack's keys, or for a shorter tracker under those of CompressTracker's test form.

        Both official loaders are strict and read the tensors from an entry ``"net"``.
        """
        return to_official_layout(detached_tensors(tracker))

    def from_official(self, weights: str | Path | Mapping[str, Tensor]) -> OSTrack:
        """Return a tracker of the depth that the weights have: teacher, student, or the student in a training file."""
        return _FAMILY.read(weights, self.teacher.config)


class OSTrackSession(CropSession):
    """Weighs the score map with a Hann window, as the official tracker does."""

    def __init__(self, adapter: OSTrackAdapter, tracker: nn.Module) -> None:
        super().__init__(adapter, tracker)
        num_cells = adapter.teacher.config.search_cells
        steps = torch.arange(1, num_cells + 1, dtype=torch.float32)
        hann = 0.5 * (1 - torch.cos(2 * torch.pi * steps / (num_cells + 1)))
        self.window = torch.outer(hann, hann)  # (G, G)

    def decode(self, prediction: Prediction) -> tuple[Tensor, float]:
        """Return the box (4,), cxcywh, at the peak of the windowed score map, and that peak."""
        maps = prediction.outputs
        response = self.window.to(maps["score_map"].device) * maps["score_map"]
        boxes = decode_boxes(response, maps["size_map"], maps["offset_map"])
        return boxes[0], float(response.max())


def _check_architecture(tensors: Mapping[str, Tensor], config: OSTrackConfig, source: str, variant: str) -> None:
    """Refuse weights of another depth than that of the variant that was asked for."""
    depth = config_of(tensors, config).depth
    # A file in CompressTracker's layout is known by it as a student of the full tracker.
    is_of_student = from_official_layout(tensors, config).keys() != tensors.keys()
    if depth != config.depth and not (is_of_student and config.depth == OSTrackConfig().depth):
        raise CheckpointError(
            f"{source} holds {depth} blocks; variant {variant!r} has {config.depth}. Name the variant of the weights, "
            "such as 'compresstracker_vitb_256_4' for four blocks, or read them with from_official() of a loaded "
            "adapter."
        )


_FAMILY: Family[OSTrackConfig, OSTrack] = Family(
    adapter=OSTrackAdapter.name,
    network=OSTrack,
    config_of=config_of,
    from_official_layout=from_official_layout,
    demo_weights=DEMO_WEIGHTS,
    official_file="OSTrack_ep0300.pth.tar",
)
