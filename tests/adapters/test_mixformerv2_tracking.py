"""MixFormerV2 follows a target frame by frame, and renews its online template, as the official tracker does."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import ctsdk
from ctsdk import DataError, Prediction, TrackResult
from ctsdk.boxes import BoxPx
from ctsdk.crops import box_in_crop, crop_square
from ctsdk.tracking import CropSession
from ctsdk_mixformerv2.adapter import MixFormerV2Adapter, MixFormerV2Session
from ctsdk_mixformerv2.variants import VARIANTS, Tracking
from tests.golden.mixformerv2 import sequence

TRACKING: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "mixformerv2" / "tracking.json").read_text()
)
FIRST_BOX_XYWH_PX: BoxPx = (96.0, 84.0, 44.0, 56.0)


def tiny(**settings: Any) -> MixFormerV2Adapter:
    adapter = ctsdk.load_adapter("mixformerv2", variant="tiny", weights="random")
    assert isinstance(adapter, MixFormerV2Adapter)
    for name, value in settings.items():
        setattr(adapter, name, value)
    return adapter


# -- recorded runs -----------------------------------------------------------------------------------------------------


class WatchedSession(MixFormerV2Session):
    """Keeps in which frames a candidate was found, and in which the online template was set, and whether to the first.

    Attributes:
        number: of the frame, the first is 0.
    """

    number = 0

    def start(self, frame: NDArray[np.uint8], box_xywh_px: BoxPx) -> None:
        self.candidates: list[int] = []
        self.updates: list[list[Any]] = []
        super().start(frame, box_xywh_px)

    def update(self, frame: NDArray[np.uint8]) -> TrackResult:
        self.number += 1
        before = self.templates
        result = super().update(frame)
        if self.templates is not before:
            assert self.templates is not None
            self.updates.append([self.number, torch.equal(self.templates[1], self.templates[0])])
        return result

    def crop(self, frame: NDArray[np.uint8], factor: float, size: int) -> tuple[Tensor, float]:
        if self.number and size == self.adapter.spec.template_size:
            self.candidates.append(self.number)
        return super().crop(frame, factor, size)

    def put(self, box_xywh_px: BoxPx) -> None:
        """Go on from a box that somebody else gives."""
        self._box = box_xywh_px


# Two runs go on to frame 19. By frame 14 they have found candidates, and renewed and reset the template.
@pytest.mark.parametrize("last", [14, pytest.param(19, marks=pytest.mark.slow)])
@pytest.mark.parametrize("run", TRACKING["runs"], ids=lambda run: run["name"])
def test_session_follows_the_official_tracker(
    run: dict[str, Any], last: int, mixformerv2_base: MixFormerV2Adapter, mixformerv2_shaped: MixFormerV2Adapter
) -> None:
    adapter = mixformerv2_base if run["weights"] == "plain" else mixformerv2_shaped
    adapter = adapter.for_dataset(run["dataset"].removesuffix("_test"))
    assert adapter.spec.search_factor == run["search_factor"]
    assert type(adapter.session(adapter.teacher)) is MixFormerV2Session
    session = WatchedSession(adapter, adapter.teacher, score_decay=run["score_decay"])
    if run["name"].startswith("official"):
        assert session.update_interval == run["update_interval"]
    session.update_interval = run["update_interval"]
    session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
    figures = list(zip(run["boxes_xywh_px"], run["scores"], strict=True))
    for number, (box, score) in enumerate(figures[:last], start=1):
        if run["is_forced"]:
            session.put(sequence.true_box_xywh_px(number - 1))
        result = session.update(sequence.frame(number))
        assert result.box_xywh_px == pytest.approx(box, abs=5e-3), number
        assert result.confidence == pytest.approx(score, abs=2e-5), number
    assert session.candidates == [frame for frame in run["candidates"] if frame <= last]
    assert session.updates == [[frame, is_first] for frame, is_first in run["updates"] if frame <= last]


def test_frames_are_those_of_the_recorded_runs() -> None:
    assert len(TRACKING["frame_crc32"]) == sequence.NUM_FRAMES
    seen = [format(zlib.crc32(sequence.frame(number).tobytes()), "08x") for number in range(sequence.NUM_FRAMES)]
    assert seen == TRACKING["frame_crc32"]


@pytest.mark.parametrize("golden", TRACKING["crops"], ids=lambda golden: f"side{golden['side']}x{golden['factor']:g}")
def test_crops(golden: dict[str, Any]) -> None:
    frame = sequence.frame(golden["frame"])
    crop = crop_square(frame, golden["around_xywh_px"], golden["factor"], golden["size"])
    assert (crop.side, crop.left, crop.top) == (golden["side"], golden["left"], golden["top"])
    assert crop.resize_factor == golden["resize_factor"]
    assert crop.padding.mean() == golden["padded_share"]
    whole = crop_square(frame, golden["around_xywh_px"], golden["factor"], golden["side"])
    assert format(zlib.crc32(whole.pixels.tobytes()), "08x") == golden["crc32_before_resize"]
    assert crop.pixels.mean(axis=(0, 1)) == pytest.approx(golden["mean_per_channel"], abs=1e-4)
    middle = golden["size"] // 2
    assert [crop.pixels[16, 40].tolist(), crop.pixels[middle, middle].tolist()] == golden["pixels_at_16_40_and_centre"]


@pytest.mark.parametrize("golden", TRACKING["labels"])
def test_training_labels(golden: dict[str, Any]) -> None:
    label = box_in_crop(golden["box_xywh_px"], golden["around_xywh_px"], golden["factor"], golden["size"])
    assert label == pytest.approx(golden["label_xywh"], abs=1e-7)


# -- sessions ----------------------------------------------------------------------------------------------------------


class ForgetfulSession(MixFormerV2Session):
    """Runs the whole tracker in each frame, templates and all."""

    def look(self, searches: Tensor) -> Prediction:
        return CropSession.look(self, searches)


def test_remembered_templates_lead_to_the_same_boxes() -> None:
    # A tracker that is sure of each frame, so that its templates change and must be remembered anew.
    adapter = tiny(tracking=Tracking(update_interval=3))
    score_head = adapter.teacher.score_head
    assert score_head is not None
    with torch.no_grad():
        score_head.get_parameter("layers.1.bias").fill_(2.0)
    sessions = [kind(adapter, adapter.teacher) for kind in (MixFormerV2Session, ForgetfulSession)]
    for session in sessions:
        session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
    first = sessions[0].templates
    assert first is not None
    for number in range(1, 8):
        frame = sequence.frame(number)
        one, other = (session.update(frame) for session in sessions)
        assert one.confidence > 0.5
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
        # Shares of a crop of some hundred pixels, within 1e-5.
        assert one.box_xywh_px == pytest.approx(other.box_xywh_px, abs=3e-3)
    for session in sessions:
        assert session.templates is not None
        assert not torch.equal(session.templates[1], first[1])


def test_a_session_starts_anew() -> None:
    adapter = tiny(tracking=Tracking(update_interval=2))
    session = adapter.session(adapter.teacher)

    def results() -> list[TrackResult]:
        session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
        return [session.update(sequence.frame(number)) for number in range(1, 6)]

    assert results() == results()


def test_a_tracker_without_a_score_keeps_its_first_template() -> None:
    adapter = tiny(tracking=Tracking(update_interval=1))
    adapter.teacher.score_head = None
    session = adapter.session(adapter.teacher)
    session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
    for number in range(1, 4):
        assert math.isnan(session.update(sequence.frame(number)).confidence)
        assert session.templates is not None
        assert torch.equal(session.templates[0], session.templates[1])


def test_a_tracker_of_another_class_is_run_as_a_whole() -> None:
    class Wrapped(torch.nn.Module):
        def __init__(self, tracker: torch.nn.Module) -> None:
            super().__init__()
            self.tracker = tracker

        def forward(self, *crops: Tensor) -> dict[str, Tensor]:
            outputs: dict[str, Tensor] = self.tracker(*crops)
            return outputs

    adapter = tiny()
    boxes = []
    for tracker in (adapter.teacher, Wrapped(adapter.teacher)):
        session = adapter.session(tracker)
        session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
        boxes.append(session.update(sequence.frame(1)).box_xywh_px)
    assert boxes[0] == pytest.approx(boxes[1], abs=3e-3)


def test_wrong_use_is_explained() -> None:
    adapter = tiny()
    session = adapter.session(adapter.teacher)
    with pytest.raises(DataError, match="before start"):
        session.update(sequence.frame(1))
    with pytest.raises(DataError, match="no area inside the frame"):
        session.start(sequence.frame(0), (400.0, 84.0, 44.0, 56.0))
    with pytest.raises(DataError, match="RGB"):
        session.start(sequence.frame(0)[..., 0], FIRST_BOX_XYWH_PX)
    session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
    with pytest.raises(DataError, match="RGB"):
        session.update(sequence.frame(1).astype(np.float32))  # type: ignore[arg-type]


# -- data sets ---------------------------------------------------------------------------------------------------------


def adapter_of(variant: str) -> MixFormerV2Adapter:
    """The variant without memory for its weights."""
    with torch.device("meta"):
        return MixFormerV2Adapter.load(variant, "random")


@pytest.mark.parametrize(
    ("variant", "factors", "intervals"),
    [
        ("mixformer2_vit_online_288_depth8_score", (5.0, 5.0, 5.0, 5.0, 5.0), (10, 200, 25, 10, 200)),
        ("mixformer2_vit_online_224_depth4_mlp1_score", (4.55, 4.4, 4.55, 4.5, 4.5), (15, 200, 25, 10, 200)),
        ("mixformer2_vit_online_224_depth8_score_to_mlp1", (4.55, 4.4, 4.55, 4.5, 4.5), (15, 200, 25, 10, 200)),
        ("mixformer2_vit_student_288_depth12", (4.5, 4.5, 4.5, 4.5, 4.5), (200, 200, 25, 10, 200)),
        ("mixformer2_vit_stu_student_288_depth8", (4.5, 4.5, 4.5, 4.5, 4.5), (200, 200, 25, 10, 200)),
        ("tiny", (4.0, 4.0, 4.0, 4.0, 4.0), (10, 10, 10, 10, 10)),
    ],
)
def test_data_sets(variant: str, factors: tuple[float, ...], intervals: tuple[int, ...]) -> None:
    adapter = adapter_of(variant)
    tuned = [adapter.for_dataset(name) for name in ("got10k", "lasot", "trackingnet", "vot", "uav123")]
    assert tuple(each.spec.search_factor for each in tuned) == factors
    assert tuple(each.tracking.update_interval for each in tuned) == intervals
    assert all(each.teacher is adapter.teacher for each in tuned)
    # The adapter itself is left as it was.
    assert adapter.spec == VARIANTS[variant].spec
    assert adapter.tracking == VARIANTS[variant].tracking


def test_the_intermediate_models_train_at_another_search_factor_than_they_track() -> None:
    adapter = adapter_of("mixformer2_vit_student_288_depth12")
    assert adapter.spec.search_factor == 5.0
    factors = [
        session.search_factor
        for each in (adapter, adapter.for_dataset("lasot"))
        if isinstance(session := each.session(adapter.teacher), MixFormerV2Session)
    ]
    assert factors == [4.5, 4.5]
    # As for every variant, what a data set asks for is what its sessions do.
    small = adapter_of("mixformer2_vit_online_224_depth4_mlp1_score").for_dataset("lasot")
    session = small.session(small.teacher)
    assert isinstance(session, MixFormerV2Session)
    assert (session.search_factor, session.update_interval) == (4.4, 200)
