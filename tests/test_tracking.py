from __future__ import annotations

import numpy as np
import pytest
import torch

import ctsdk
from ctsdk.tracking import CropSession, clip_box, track
from tests.helpers.toy import ToyAdapter, toy_adapter

pytest.importorskip("cv2")
FRAME = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)


class Still(ToyAdapter):
    """Says that the target is where it was and as large as it was."""

    def predict(self, tracker: torch.nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        return ctsdk.Prediction(torch.tensor([[0.5, 0.5, 0.25, 0.25]]).expand(batch.size, 4))


def test_a_centred_prediction_leaves_the_box_where_it_is() -> None:
    box = (20.0, 20.0, 16.0, 16.0)
    for result in track(Still(toy_adapter().teacher), toy_adapter().teacher, [FRAME] * 4, box):
        assert result.box_xywh_px == pytest.approx(box, abs=1e-4)


def test_boxes_stay_ten_pixels_inside() -> None:
    assert clip_box((-100, -100, 5, 5), width_px=80, height_px=60) == (0.0, 0.0, 10.0, 10.0)
    assert clip_box((75, 55, 50, 50), width_px=80, height_px=60) == (70.0, 50.0, 10.0, 10.0)
    assert clip_box((10, 10, 20, 20), width_px=80, height_px=60) == (10, 10, 20, 20)


@pytest.mark.parametrize("box", [(90.0, 10.0, 5.0, 5.0), (10.0, 10.0, 0.0, 5.0), (float("nan"), 0.0, 5.0, 5.0)])
def test_a_box_outside_the_frame_is_refused(box: tuple[float, float, float, float]) -> None:
    adapter = toy_adapter()
    with pytest.raises(ctsdk.DataError, match="box"):
        adapter.session(adapter.teacher).start(FRAME, box)


def test_a_confidence_can_still_be_read_by_its_former_name() -> None:
    with pytest.warns(DeprecationWarning, match=r"TrackResult\.score is now TrackResult\.confidence"):
        assert ctsdk.TrackResult((1.0, 2.0, 3.0, 4.0), 0.5).score == 0.5


def test_a_box_that_is_not_finite_is_refused() -> None:
    class Lost(Still):
        def predict(self, tracker: torch.nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
            return ctsdk.Prediction(super().predict(tracker, batch).boxes * torch.nan)

    with pytest.raises(ctsdk.DataError, match=r"box \[nan, nan, nan, nan\]; expected four finite numbers"):
        list(track(Lost(toy_adapter().teacher), toy_adapter().teacher, [FRAME] * 2, (20.0, 20.0, 16.0, 16.0)))


def test_misuse_is_refused() -> None:
    adapter = toy_adapter()
    session = adapter.session(adapter.teacher)
    assert isinstance(session, CropSession)
    with pytest.raises(ctsdk.DataError, match="before start"):
        session.update(FRAME)
    with pytest.raises(ctsdk.DataError, match="frame"):
        session.start(FRAME[..., 0], (20.0, 20.0, 16.0, 16.0))  # type: ignore[arg-type]


def test_as_many_templates_as_the_spec_asks_for() -> None:
    seen = []

    class Two(Still):
        spec = ctsdk.TrackerSpec(template_size=16, search_size=32, num_templates=2)

        def predict(self, tracker: torch.nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
            seen.append(tuple(batch.templates.shape))
            return super().predict(tracker, batch)

    adapter = Two(toy_adapter().teacher)
    list(track(adapter, adapter.teacher, [FRAME] * 2, (20.0, 20.0, 16.0, 16.0)))
    assert seen == [(2, 1, 3, 16, 16)]
