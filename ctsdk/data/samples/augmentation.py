"""Augmentation of boxes, frames and crops in training, by the rules of the OSTrack family.

Source: botaoye/OSTrack @ 33b5e12, lib/train/data/processing.py, transforms.py and base_functions.py.
"""

from __future__ import annotations

import math

import numpy as np

from ctsdk.boxes import BoxPx
from ctsdk.config import DataConfig
from ctsdk.crops import Pixels, import_cv2

__all__ = ["augment_frame", "for_validation", "jitter"]


def for_validation(augmentation: DataConfig) -> DataConfig:
    """Return the part that validation keeps: what all crops of a sample share."""
    return augmentation.model_copy(update={"brightness": 0.0, "flip": 0.0})


def jitter(box_xywh_px: BoxPx, centre_jitter: float, scale_jitter: float, rng: np.random.Generator) -> BoxPx:
    """Return a randomly shifted and scaled box, to crop around.

    Args:
        box_xywh_px: where the target is.
        centre_jitter: width of the range of the shift, per axis, in units of sqrt(width * height) of the result. The
            shift is uniform, by at most half of it either way.
        scale_jitter: standard deviation of the log of width and height.
        rng: two normal and two uniform numbers are drawn.
    """
    x, y, width, height = box_xywh_px
    grow_x, grow_y = np.exp(scale_jitter * rng.standard_normal(2))
    shift_x, shift_y = rng.random(2) - 0.5
    new_width, new_height = width * float(grow_x), height * float(grow_y)
    reach = centre_jitter * math.sqrt(new_width * new_height)
    centre_x, centre_y = x + 0.5 * width + reach * float(shift_x), y + 0.5 * height + reach * float(shift_y)
    return centre_x - 0.5 * new_width, centre_y - 0.5 * new_height, new_width, new_height


def augment_frame(frame: Pixels, *, grey: bool, mirror: bool) -> Pixels:
    """Return a frame, (H, W, 3) uint8 RGB, in grey or mirrored, or both."""
    cv2 = import_cv2()
    if grey:
        frame = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.flip(frame, 1) if mirror else frame, dtype=np.uint8)
