"""Following one target, frame by frame.

:class:`CropSession` is the procedure that the OSTrack family shares at test time: cut a square around the last box, run
the network, map the box back into the frame, keep it inside. A tracker that decodes its boxes in its own way overrides
:meth:`CropSession.decode`.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ctsdk.boxes import BoxPx
from ctsdk.crops import Pixels, box_in_crop, check_box_in_frame, check_frame, crop_square, normalise
from ctsdk.engine.batch import Batch, Prediction, TrackerSpec
from ctsdk.errors import DataError

__all__ = ["CropSession", "SessionAdapter", "TrackResult", "TrackingSession", "clip_box"]


@dataclass(frozen=True)
class TrackResult:
    """Where the target is in one frame.

    Attributes:
        box_xywh_px: (left, top, width, height) in pixels of the frame.
        confidence: how sure the tracker itself is, higher is surer; NaN where it does not say.
    """

    box_xywh_px: BoxPx
    confidence: float = float("nan")

    @property
    def score(self) -> float:
        """The confidence, by its former name."""
        warnings.warn("TrackResult.score is now TrackResult.confidence.", DeprecationWarning, stacklevel=2)
        return self.confidence


class TrackingSession(Protocol):
    """One target followed through one video. Frames are (H, W, 3) uint8 RGB arrays."""

    def start(self, frame: Pixels, box_xywh_px: BoxPx) -> None:
        """Take the target from the first frame.

        Raises:
            DataError: the frame is not an RGB image, or the box is not a box inside it.
        """
        ...

    def update(self, frame: Pixels) -> TrackResult:
        """Find the target in the next frame.

        Raises:
            DataError: the frame is not an RGB image, or the session has not been started.
        """
        ...


class SessionAdapter(Protocol):
    """The part of an adapter that a session uses."""

    spec: TrackerSpec

    def predict(self, tracker: nn.Module, batch: Batch) -> Prediction:
        """Run `tracker`'s own forward on `batch`."""
        ...


class CropSession:
    """Follows one target by a template from the first frame and a search crop around the last box.

    Attributes:
        search_factor: of the search crop; the spec's, unless a tracker is tested at another one than it is trained at.
        templates: (T, 1, 3, Hz, Wz), normalised; None before the start. A session may replace them.
        template_boxes: (T, 1, 4), where the target is in them, xywh in shares of the crop.

    Source: botaoye/OSTrack @ 33b5e12, lib/test/tracker/ostrack.py, lib/train/data/processing_utils.py.
    """

    def __init__(self, adapter: SessionAdapter, tracker: nn.Module) -> None:
        self.adapter = adapter
        self.tracker = tracker.eval()
        self.search_factor = adapter.spec.search_factor
        self.templates: Tensor | None = None
        self.template_boxes: Tensor | None = None
        self._box: BoxPx = (0.0, 0.0, 0.0, 0.0)

    def start(self, frame: Pixels, box_xywh_px: BoxPx) -> None:
        """Take the template around `box_xywh_px` from the first frame.

        Raises:
            DataError: the frame is not an RGB image, or the box is not a box inside it.
        """
        check_frame(frame)
        check_box_in_frame(box_xywh_px, frame)
        x, y, w, h = box_xywh_px
        self._box = (float(x), float(y), float(w), float(h))
        spec = self.adapter.spec
        label = box_in_crop(self._box, self._box, spec.template_factor, spec.template_size)
        templates = self.crop(frame, spec.template_factor, spec.template_size)[0]
        self.templates = templates.expand(spec.num_templates, -1, -1, -1, -1)
        self.template_boxes = torch.as_tensor(label, dtype=torch.float32, device=templates.device).expand(
            spec.num_templates, 1, 4
        )

    def update(self, frame: Pixels) -> TrackResult:
        """Find the target in the next frame.

        Raises:
            DataError: the frame is not an RGB image, the session has not been started, or the predicted box is not
                finite.
        """
        if self.templates is None or self.template_boxes is None:
            raise DataError("update() was called before start(); start the session with a frame and a box.")
        check_frame(frame)
        spec = self.adapter.spec
        searches, resize_factor = self.crop(frame, self.search_factor, spec.search_size)
        with torch.inference_mode():
            box, confidence = self.decode(self.look(searches))
        self._box = self._to_frame(box, resize_factor, frame)
        return TrackResult(self._box, confidence)

    def look(self, searches: Tensor) -> Prediction:
        """Return the prediction for a search crop, (1, 1, 3, H, W).

        The default runs the whole tracker; one that keeps something between frames overrides this.
        """
        assert self.templates is not None
        assert self.template_boxes is not None
        batch = Batch(self.templates, searches, self.template_boxes, searches.new_zeros(len(searches), 1, 4))
        return self.adapter.predict(self.tracker, batch)

    def decode(self, prediction: Prediction) -> tuple[Tensor, float]:
        """Return the box (4,), cxcywh in shares of the search crop, and a confidence.

        The default takes the predicted box as it is, with no confidence (NaN).
        """
        return prediction.boxes[0], float("nan")

    def crop(self, frame: Pixels, factor: float, size: int) -> tuple[Tensor, float]:
        """Return a normalised crop around the last box, (1, 1, 3, size, size), and its scale."""
        crop = crop_square(frame, self._box, factor, size)
        device = next(self.tracker.parameters()).device
        pixels = normalise(crop.pixels, self.adapter.spec.mean, self.adapter.spec.std)
        return pixels[None, None].to(device), crop.resize_factor

    def _to_frame(self, box_cxcywh: Tensor, resize_factor: float, frame: Pixels) -> BoxPx:
        """Map a box of the search crop to pixels of the frame."""
        size = self.adapter.spec.search_size
        box = (box_cxcywh * size / resize_factor).tolist()
        # Clipping would make a box in the corner of NaN, fit to be scored.
        if not all(map(math.isfinite, box)):
            raise DataError(
                f"the tracker predicted the box {box}; expected four finite numbers. Its weights, or numbers too large "
                "for its precision, are at fault: read the weights again, or run it in float32."
            )
        centre_x, centre_y, w, h = box
        # The official code forgets here that the crop's corner was rounded; so do we, to land on the same pixel.
        half_side = 0.5 * size / resize_factor
        left = self._box[0] + 0.5 * self._box[2] - half_side + centre_x - 0.5 * w
        top = self._box[1] + 0.5 * self._box[3] - half_side + centre_y - 0.5 * h
        return clip_box((left, top, w, h), width_px=frame.shape[1], height_px=frame.shape[0])


def clip_box(box_xywh_px: BoxPx, *, width_px: int, height_px: int, margin_px: float = 10.0) -> BoxPx:
    """Return the box moved and cut so that at least `margin_px` of it lies in the frame on each axis.

    Source: botaoye/OSTrack @ 33b5e12, lib/utils/box_ops.py, clip_box.
    """
    x, y, w, h = box_xywh_px
    left, right = min(max(0.0, x), width_px - margin_px), min(max(margin_px, x + w), float(width_px))
    top, bottom = min(max(0.0, y), height_px - margin_px), min(max(margin_px, y + h), float(height_px))
    return left, top, max(margin_px, right - left), max(margin_px, bottom - top)
