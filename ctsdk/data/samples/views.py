"""The crops of one sample: first which ones to cut, then their pixels and boxes.

Source: botaoye/OSTrack @ 33b5e12, lib/train/data/processing.py and transforms.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ctsdk.boxes import BoxPx
from ctsdk.config import DataConfig
from ctsdk.crops import Pixels, box_in_crop, crop_square, crop_window, import_cv2, padding_mask
from ctsdk.data.samples.augmentation import jitter
from ctsdk.data.samples.unreadable import reading
from ctsdk.data.videos import Video
from ctsdk.engine.batch import TrackerSpec

__all__ = ["Cut", "Frames", "View", "draw_views", "stack_crops"]

_PATCH_SIZE = 16


class Frames:
    """The frames of one video, each read at first use and kept while a sample is made."""

    def __init__(self, video: Video) -> None:
        self.video = video
        self._read: dict[int, Pixels] = {}

    def pixels(self, number: int) -> Pixels:
        """Return frame `number`, (H, W, 3) uint8 RGB.

        Raises:
            UnreadableError: it cannot be read.
        """
        if number not in self._read:
            with reading():
                self._read[number] = self.video.frame(number)
        return self._read[number]

    def size_px(self, number: int) -> tuple[int, int]:
        """Return (width, height) of frame `number`; the frame is read only if the video does not know its size.

        Raises:
            UnreadableError: it cannot be read.
        """
        if self.video.size_px is not None:
            return self.video.size_px
        height, width = self.pixels(number).shape[:2]
        return width, height


@dataclass(frozen=True)
class Cut:
    """One crop before normalisation.

    Attributes:
        pixels: (size, size, 3) uint8 RGB.
        brightness: factor that the pixels are still to be multiplied by.
        box_xywh: the target, in shares of the crop.
    """

    pixels: Pixels
    brightness: float
    box_xywh: BoxPx


@dataclass(frozen=True)
class View:
    """One crop to cut.

    Attributes:
        frame: number of the frame.
        box_xywh_px: the target in the frame, mirrored if the frame is.
        around_xywh_px: the jittered box to crop around.
        factor: side of the square in units of sqrt(width * height) of that box.
        size: side of the crop, px.
    """

    frame: int
    box_xywh_px: BoxPx
    around_xywh_px: BoxPx
    factor: float
    size: int

    def shows_something(self, frame_size_px: tuple[int, int]) -> bool:
        """Whether at least one patch of 16 x 16 pixels has no padding in its first pixel."""
        left, top, side = crop_window(self.around_xywh_px, self.factor)
        num_patches = max(1, self.size // _PATCH_SIZE)
        firsts = np.arange(num_patches) * self.size // num_patches
        return not padding_mask(left, top, side, frame_size_px, self.size)[np.ix_(firsts, firsts)].all()

    def cut(self, frame: Pixels, augmentation: DataConfig, rng: np.random.Generator) -> Cut:
        """Cut the crop out of its frame, with its own random brightness and flip."""
        pixels = crop_square(frame, self.around_xywh_px, self.factor, self.size).pixels
        x, y, width, height = box_in_crop(self.box_xywh_px, self.around_xywh_px, self.factor, self.size)
        # box_in_crop already shifts the box by half a pixel.
        shift = (0.5 - augmentation.label_shift_px) / self.size
        x, y = x + shift, y + shift
        brightness = 1.0 + augmentation.brightness * rng.uniform(-1.0, 1.0)
        if rng.random() < augmentation.flip:
            # In shares of the crop the mirror is x' = 1 - x, unlike the mirror of the frame.
            pixels, x = import_cv2().flip(pixels, 1), 1.0 - x - width
        return Cut(pixels, brightness, (x, y, width, height))


def draw_views(
    frames: Frames, numbers: Sequence[int], spec: TrackerSpec, mirror_shift_px: float | None, rng: np.random.Generator
) -> list[View] | None:
    """Return the crops to cut, or None if one of them cannot be used: it has no box, or shows padding only.

    Args:
        frames: of the video.
        numbers: one frame per crop, templates first.
        spec: factors, sizes and jitter.
        mirror_shift_px: offset of the boxes to the left in mirrored frames; None if the frames are not mirrored.
        rng: draws the jitter.

    Raises:
        UnreadableError: the size of a frame is unknown, and the frame cannot be read.
    """
    template = spec.template_factor, spec.template_size, spec.template_centre_jitter, spec.template_scale_jitter
    search = spec.search_factor, spec.search_size, spec.search_centre_jitter, spec.search_scale_jitter
    kinds = [template] * spec.num_templates + [search] * spec.num_searches
    views = []
    for number, (factor, size, centre_jitter, scale_jitter) in zip(numbers, kinds, strict=True):
        x, y, width, height = (float(value) for value in frames.video.boxes_xywh_px[number])
        if not math.isfinite(x + y + width + height) or min(width, height) <= 0:
            return None
        frame_size_px = frames.size_px(number)
        if mirror_shift_px is not None:
            x = frame_size_px[0] - mirror_shift_px - x - width
        box = x, y, width, height
        view = View(number, box, jitter(box, centre_jitter, scale_jitter, rng), factor, size)
        if not view.shows_something(frame_size_px):
            return None
        views.append(view)
    return views


def stack_crops(rows: Sequence[Sequence[Cut]], spec: TrackerSpec) -> torch.Tensor:
    """Return (N, B, 3, H, W) float32 from B rows of N crops, with their brightness applied, normalised."""
    size = rows[0][0].pixels.shape[0]
    crops = torch.empty(len(rows[0]), len(rows), 3, size, size)
    mean, std = torch.tensor(spec.mean).view(3, 1, 1), torch.tensor(spec.std).view(3, 1, 1)
    for row, number in itertools.product(range(len(rows)), range(len(rows[0]))):
        cut, crop = rows[row][number], crops[number, row]
        crop.copy_(torch.from_numpy(cut.pixels).permute(2, 0, 1))
        # Divide where nothing changes, so that a crop without augmentation equals that of tracking, bit for bit.
        crop.div_(255.0) if cut.brightness == 1.0 else crop.mul_(cut.brightness / 255.0).clamp_(max=1.0)
        crop.sub_(mean).div_(std)
    return crops
