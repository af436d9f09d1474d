"""How another code base uses ctsdk under a strict type checker: no expression here may contain Any.

mypy reads this file with ``disallow_any_expr``; test_typed.py runs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, assert_type

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import ctsdk
from ctsdk.boxes import xywh_to_cxcywh
from ctsdk.evaluation.scores import Evaluation
from ctsdk.plugins import PluginInfo
from ctsdk.profiling import Profile
from ctsdk.testing import CheckResult, check_adapter
from tests.typed.network import PixelTracker, all_visible, boxes_of_a_video, split, target_box


class PixelAdapter(ctsdk.TrackerAdapter):
    """An adapter as a user writes it, with every type."""

    name: ClassVar[str] = "pixel"
    spec = ctsdk.TrackerSpec(template_size=16, search_size=32)
    capabilities = frozenset({"session"})

    @classmethod
    def load(cls, variant: str | None, weights: str | Path | None) -> PixelAdapter:
        return cls(PixelTracker(depth=4 if variant is None else int(variant)).eval())

    def trunks(self) -> Mapping[str, ctsdk.Trunk]:
        return {"blocks": ctsdk.Trunk("blocks")}

    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        assert isinstance(tracker, PixelTracker)
        return ctsdk.Prediction(tracker.boxes(batch.templates[0], batch.searches[0]))

    def task_loss(self, prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> dict[str, Tensor]:
        return {"l1": distance(prediction, batch)}


def distance(prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> Tensor:
    return (prediction.boxes - xywh_to_cxcywh(batch.search_boxes[0])).abs().mean()


def look(tracker: PixelTracker, batch: ctsdk.Batch) -> Tensor:
    return tracker.boxes(batch.templates[0], batch.searches[0])


class Loader:
    """Batches of the caller's own."""

    def __iter__(self) -> Iterator[ctsdk.Batch]:
        box = target_box()
        yield ctsdk.Batch(
            torch.zeros(1, 2, 3, 16, 16), torch.zeros(1, 2, 3, 32, 32), box, box, {"weight": torch.ones(2)}
        )


def read_frame(index: int) -> NDArray[np.uint8]:
    return np.full((40, 60, 3), index, dtype=np.uint8)


def video() -> ctsdk.Video:
    return ctsdk.Video("grey", boxes_of_a_video(), all_visible(), (60, 40), read_frame)


def use_a_named_adapter() -> None:
    adapter = ctsdk.load_adapter("ostrack", variant="tiny", weights="random")
    assert_type(adapter, ctsdk.TrackerAdapter)
    assert_type(adapter.teacher, nn.Module)
    assert_type(adapter.capabilities, frozenset[str])
    assert_type(ctsdk.list_adapters()[0], PluginInfo)
    assert_type(ctsdk.list_adapters()[0].api_version, int | None)
    assert_type(ctsdk.StagePlan.divide(12, 4).num_stages, int)
    assert_type(ctsdk.build_student(adapter, {"backbone": ctsdk.StagePlan.divide(12, 4)}), nn.Module)


def compress(folder: Path) -> ctsdk.CompressionResult:
    config = ctsdk.CompressionConfig(stages=2, training=ctsdk.TrainingConfig(steps=2, batch_size=2, device="cpu"))
    assert_type(config.training, ctsdk.TrainingConfig)
    assert_type(config.training.learning_rate, float)
    adapter = PixelAdapter.load(None, "random")
    result = ctsdk.compress(adapter, config, batches=Loader(), show_progress=False)
    assert_type(result.student, nn.Module)
    assert_type(result.history[-1]["loss"], float)
    assert_type(result.plans["blocks"].sizes, tuple[int, ...])
    assert_type(result.save(folder), Path)
    assert_type(ctsdk.load_result(folder, adapter), ctsdk.CompressionResult)
    return result


def measure(student: nn.Module) -> None:
    adapter = PixelAdapter.load(None, "random")
    evaluation = ctsdk.evaluate(adapter, student, [video()], show_progress=False)
    assert_type(evaluation, Evaluation)
    assert_type(evaluation.auc, float)
    profile = ctsdk.profile(adapter, student, num_rounds=1)
    assert_type(profile, Profile)
    session = adapter.session(student)
    assert_type(session, ctsdk.TrackingSession)
    session.start(read_frame(0), (20.0, 10.0, 12.0, 12.0))
    assert_type(session.update(read_frame(1)).box_xywh_px, tuple[float, float, float, float])


def use_a_module() -> list[CheckResult]:
    adapter = ctsdk.ModuleAdapter(
        PixelTracker().eval(),
        trunks={"blocks": "blocks"},
        predict=look,
        task_loss=distance,
        spec=PixelAdapter.spec,
        name="pixels",
        stage_tokens=first_tokens,
    )
    assert_type(adapter.trunks(), dict[str, ctsdk.Trunk])
    assert_type(adapter.predict(adapter.teacher, adapter.example_batch(2)).boxes, Tensor)
    return check_adapter(adapter, on_fail="collect")


def first_tokens(trunk: str, output: object, batch: ctsdk.Batch) -> tuple[Tensor, ...]:
    return split(output)


def handle() -> str:
    try:
        ctsdk.load_adapter("no-such-adapter")
    except ctsdk.AdapterNotFoundError as error:
        return str(error)
    return ""
