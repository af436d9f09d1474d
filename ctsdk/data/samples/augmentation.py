"""How boxes, frames and crops are varied in training, by the rules of the OSTrack family.

Source: botaoye/OSTrack @ 33b5e12, lib/train/data/processing.py, transforms.py and base_functions.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from ctsdk.crops import import_cv2
from ctsdk.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ctsdk.boxes import BoxPx

__all__ = ["Augmentation", "changed", "jittered"]


@dataclass(frozen=True)
class Augmentation:
    """How crops are varied. The first two are drawn once per sample, the next two once per crop.

    The last two are no variation: they say by how much boxes are off, as they are in all released trackers. For exact
    boxes set both to 0.

    Attributes:
        greyscale: probability that all crops lose their colour.
        joint_flip: probability that all crops are mirrored.
        brightness: a crop is multiplied by a factor in 1 +- this.
        flip: probability that a crop is mirrored on its own, so that template and search may differ.
        mirror_shift_px: how far a box in a frame that is mirrored with the others lies too far left, px of the frame.
        label_shift_px: how far a box in a crop lies too far left and too high, px of the crop.

    Raises:
        ConfigError: a value is outside [0, 1].
    """

    greyscale: float = 0.05
    joint_flip: float = 0.5
    brightness: float = 0.2
    flip: float = 0.5
    mirror_shift_px: float = 1.0
    label_shift_px: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"Augmentation.{field.name} is {value}; expected a number from 0 to 1.")

    @classmethod
    def none(cls) -> Augmentation:
        """Return the augmentation that changes nothing; boxes are off as in all released trackers."""
        return cls(greyscale=0.0, joint_flip=0.0, brightness=0.0, flip=0.0)

    def for_validation(self) -> Augmentation:
        """Return what is left of it for validation: what crops have in common."""
        return replace(self, brightness=0.0, flip=0.0)


def jittered(box_xywh_px: BoxPx, centre_jitter: float, scale_jitter: float, rng: np.random.Generator) -> BoxPx:
    """Return the box to crop around.

    Args:
        box_xywh_px: where the target is.
        centre_jitter: how far the result strays from it, in units of sqrt(width * height) of the result: uniform in +-
            half of it per axis.
        scale_jitter: standard deviation of the log of width and height.
        rng: gives two normal and two uniform numbers.
    """
    x, y, width, height = box_xywh_px
    grow_x, grow_y = np.exp(scale_jitter * rng.standard_normal(2))
    shift_x, shift_y = rng.random(2) - 0.5
    new_width, new_height = width * float(grow_x), height * float(grow_y)
    reach = centre_jitter * math.sqrt(new_width * new_height)
    centre_x, centre_y = x + 0.5 * width + reach * float(shift_x), y + 0.5 * height + reach * float(shift_y)
    return centre_x - 0.5 * new_width, centre_y - 0.5 * new_height, new_width, new_height


def changed(frame: NDArray[np.uint8], *, grey: bool, mirrored: bool) -> NDArray[np.uint8]:
    """Return a frame, (H, W, 3) uint8 RGB, without its colour or mirrored, or both."""
    cv2 = import_cv2()
    if grey:
        frame = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.flip(frame, 1) if mirrored else frame, dtype=np.uint8)
