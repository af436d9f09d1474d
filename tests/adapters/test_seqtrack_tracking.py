"""SeqTrack follows a target frame by frame, and takes new templates, as the official tracker does."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ctsdk import DataError, Prediction, TrackResult
from ctsdk.boxes import BoxPx
from ctsdk.crops import crop_square
from ctsdk_seqtrack.adapter import SeqTrackAdapter, SeqTrackSession
from ctsdk_seqtrack.variants import VARIANTS, Tracking
from tests.golden.seqtrack import sequence
from tests.golden.seqtrack.networks import FOLDER, adjusted_b256, b256

TRACKING: dict[str, Any] = json.loads((FOLDER / "tracking.json").read_text())
FIRST_BOX_XYWH_PX: BoxPx = tuple(TRACKING["first_box_xywh_px"])
OWN_NAMES = {"lasot_extension_subset": "lasot_ext", "got10k_test": "got10k"}
FRAMES = tuple(range(1, sequence.NUM_FRAMES))
# A frame depends on earlier ones by the last box and the templates alone, so frames can be left out.
FEW_FRAMES = {"adjusted_no_update": (1, 11), "adjusted_update": (6, 7, 9, 10), "plain": (5, 11)}


def tiny(**settings: Any) -> SeqTrackAdapter:
    adapter = SeqTrackAdapter.load("tiny", "random")
    for name, value in settings.items():
        setattr(adapter, name, value)
    return adapter


class WatchedSession(SeqTrackSession):
    """Keeps the words of the last frame, and lets a run go on from the middle."""

    def look(self, searches: Tensor) -> Prediction:
        self.seen = super().look(searches)
        return self.seen

    def put(self, number: int, box_xywh_px: BoxPx) -> None:
        """Go on from the box of frame `number`."""
        self._num_updates, self._box = number, box_xywh_px


# -- recorded runs -----------------------------------------------------------------------------------------------------


def follow(run: dict[str, Any], frames: Iterable[int]) -> None:
    adapter = b256() if run["name"] == "plain" else adjusted_b256()
    adapter = adapter.for_dataset(OWN_NAMES.get(run["dataset"], run["dataset"]))
    if run["name"] == "adjusted_update":
        adapter.tracking = Tracking(run["update_interval"], run["update_threshold"])
    assert adapter.tracking.update_interval == run["update_interval"]
    assert adapter.tracking.update_threshold == run["update_threshold"]
    assert type(adapter.session(adapter.teacher)) is SeqTrackSession
    session = WatchedSession(adapter, adapter.teacher)
    session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
    for number in frames:
        wanted, before = run["frames"][number - 1], session.templates
        if number > 1:
            session.put(number - 1, run["frames"][number - 2]["box_xywh_px"])
        result = session.update(sequence.frame(number))
        assert session.seen.outputs["words"].tolist() == [wanted["words"]], number
        assert session.seen.outputs["confidences"][0].tolist() == pytest.approx(wanted["confidences"], abs=2e-6)
        assert result.box_xywh_px == pytest.approx(wanted["box_xywh_px"], abs=1e-6), number
        assert result.confidence == pytest.approx(wanted["score"], abs=1e-5), number
        assert (session.templates is not before) == wanted["is_update"], number


@pytest.mark.parametrize("run", TRACKING["runs"], ids=lambda run: run["name"])
def test_session_follows_the_official_tracker(run: dict[str, Any]) -> None:
    few = FEW_FRAMES[run["name"]]
    assert {frame for frame in FRAMES if run["frames"][frame - 1]["is_update"]} <= set(few)
    follow(run, few)


@pytest.mark.slow
@pytest.mark.parametrize("run", TRACKING["runs"], ids=lambda run: run["name"])
def test_session_follows_the_official_tracker_all_along(run: dict[str, Any]) -> None:
    follow(run, FRAMES)


def test_frames_are_those_of_the_recorded_runs() -> None:
    seen = [zlib.crc32(sequence.frame(number).tobytes()) for number in range(sequence.NUM_FRAMES)]
    assert seen == TRACKING["frame_crc32"]


@pytest.mark.parametrize("run", TRACKING["runs"], ids=lambda run: run["name"])
def test_crops(run: dict[str, Any]) -> None:
    crops = [(0, FIRST_BOX_XYWH_PX, run["template"])]
    for number, frame in enumerate(run["frames"], start=1):
        last_box = run["frames"][number - 2]["box_xywh_px"] if number > 1 else FIRST_BOX_XYWH_PX
        crops.append((number, last_box, frame["crop"]))
        # A new template is cut around the new box.
        crops += [(number, frame["box_xywh_px"], frame["template"])] if frame["template"] else []
    for number, box, wanted in crops:
        crop = crop_square(sequence.frame(number), box, 4.0, 256)
        assert [crop.left, crop.top, crop.side, zlib.crc32(crop.pixels.tobytes())] == wanted


# -- templates ---------------------------------------------------------------------------------------------------------


class SureSession(SeqTrackSession):
    """Is as sure of each frame as it is told.

    Attributes:
        scores: of the frames to come.
    """

    scores: list[float]

    def decode(self, prediction: Prediction) -> tuple[Tensor, float]:
        return super().decode(prediction)[0], self.scores.pop(0)


def test_templates_are_the_first_and_the_newest() -> None:
    adapter = tiny(tracking=Tracking(update_interval=2, update_threshold=0.5))
    session = SureSession(adapter, adapter.teacher)
    session.scores = [0.9, 0.5, 0.9, 0.6, 0.9, 0.7]
    session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
    first = session.templates
    assert first is not None
    assert torch.equal(first[0], first[1])
    newest = [first[1]]
    for number in range(1, 7):
        session.update(sequence.frame(number))
        assert session.templates is not None
        assert len(session.templates) == 2
        assert torch.equal(session.templates[0], first[0])
        if not torch.equal(session.templates[1], newest[-1]):
            newest.append(session.templates[1])
            # It is time in frames 2, 4 and 6; the threshold itself is not enough.
            assert number in (4, 6)
            wanted = session.crop(sequence.frame(number), 2.0, 48)[0][0]
            assert torch.equal(session.templates[1], wanted)
    assert len(newest) == 3


def test_more_templates_are_kept_in_the_order_of_time() -> None:
    adapter = tiny(tracking=Tracking(update_interval=1, update_threshold=0.5))
    adapter.spec = replace(adapter.spec, num_templates=3)
    session = SureSession(adapter, adapter.teacher)
    session.scores = [0.9] * 3
    session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
    history = []
    for number in range(4):
        if number:
            session.update(sequence.frame(number))
        assert session.templates is not None
        history.append(list(session.templates))
    for before, after in itertools.pairwise(history):
        assert torch.equal(after[0], before[0])
        assert torch.equal(after[1], before[2])
        assert not torch.equal(after[2], before[2])


def test_a_single_template_stays() -> None:
    adapter = tiny(tracking=Tracking(update_interval=1, update_threshold=0.0))
    adapter.spec = replace(adapter.spec, num_templates=1)
    session = adapter.session(adapter.teacher)
    session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
    before = session.templates
    session.update(sequence.frame(1))
    assert session.templates is before


# -- sessions ----------------------------------------------------------------------------------------------------------


class Wrapped(nn.Module):
    """A tracker of another class, which keeps nothing between frames and words."""

    def __init__(self, tracker: nn.Module) -> None:
        super().__init__()
        self.tracker = tracker

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.tracker(*inputs)
        return logits


def test_what_is_kept_between_frames_and_words_changes_nothing() -> None:
    # It is sure of each frame, so that its templates change and must be embedded anew.
    adapter = tiny(tracking=Tracking(update_interval=3, update_threshold=0.0))
    with torch.no_grad():
        # Positions and crop are loud, so that words differ.
        adapter.teacher.decoder.embedding.position_embeddings.weight.mul_(30.0)
        for layer in adapter.teacher.decoder.body.layers:
            layer.multihead_attn.in_proj_weight.mul_(10.0)
            layer.multihead_attn.out_proj.weight.mul_(10.0)
    sessions = [WatchedSession(adapter, tracker) for tracker in (adapter.teacher, Wrapped(adapter.teacher))]
    for session in sessions:
        session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
    first, words = sessions[0].templates, set[int]()
    assert first is not None
    for number in range(1, 8):
        one, other = (session.update(sequence.frame(number)) for session in sessions)
        words |= set(sessions[0].seen.outputs["words"].flatten().tolist())
        assert torch.equal(sessions[0].seen.outputs["words"], sessions[1].seen.outputs["words"])
        assert one.confidence == pytest.approx(other.confidence, rel=1e-4)
        assert one.box_xywh_px == other.box_xywh_px
    assert len(words) > 2
    for session in sessions:
        assert session.templates is not None
        assert not torch.equal(session.templates[1], first[1])


def test_a_session_starts_anew() -> None:
    adapter = tiny(tracking=Tracking(update_interval=2, update_threshold=0.0))
    session = adapter.session(adapter.teacher)

    def results() -> list[TrackResult]:
        session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
        return [session.update(sequence.frame(number)) for number in range(1, 6)]

    assert results() == results()


def test_a_session_runs_a_student() -> None:
    adapter = tiny()
    student = adapter.from_official(adapter.to_official(adapter.teacher))
    student.encoder.body.blocks = student.encoder.body.blocks[8:]
    student.decoder.body.layers = student.decoder.body.layers[1:]
    session = adapter.session(student)
    session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
    assert np.isfinite(session.update(sequence.frame(1)).box_xywh_px).all()


def test_wrong_use_is_explained() -> None:
    adapter = tiny()
    session = adapter.session(adapter.teacher)
    with pytest.raises(DataError, match="before start"):
        session.update(sequence.frame(1))
    with pytest.raises(DataError, match="no area inside the frame"):
        session.start(sequence.frame(0), (400.0, 84.0, 44.0, 56.0))
    session.start(sequence.frame(0), FIRST_BOX_XYWH_PX)
    with pytest.raises(DataError, match="RGB"):
        session.update(sequence.frame(1)[..., 0])
    with torch.no_grad():
        adapter.teacher.bottleneck.bias.fill_(torch.nan)
    with pytest.raises(DataError, match="expected four finite numbers"):
        session.update(sequence.frame(1))


# -- data sets ---------------------------------------------------------------------------------------------------------

NAMES = ("lasot", "got10k", "trackingnet", "tnl2k", "lasot_ext", "otb", "nfs", "uav123", "vot", "my-own")


@pytest.mark.parametrize("variant", VARIANTS)
def test_data_sets(variant: str) -> None:
    with torch.device("meta"):
        adapter = SeqTrackAdapter.load(variant, "random")
    tuned = [adapter.for_dataset(name) for name in NAMES]
    vot = {"seqtrack_b256": (1, 0.55), "seqtrack_b384": (20, 0.45)}.get(variant, (10, 0.475))
    intervals = (450, 1, 25, 25, 9999, 9999, 9999, 9999, vot[0], 9999)
    thresholds = (*(0.6,) * 8, vot[1], 0.6)
    if variant == "tiny":
        intervals, thresholds = (9999,) * 10, (0.6,) * 10
    assert tuple(each.tracking.update_interval for each in tuned) == intervals
    assert tuple(each.tracking.update_threshold for each in tuned) == thresholds
    assert all(each.teacher is adapter.teacher and each.spec == adapter.spec for each in tuned)
    # The adapter itself is left as it was.
    assert adapter.tracking == VARIANTS[variant].tracking
