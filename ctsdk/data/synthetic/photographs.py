"""Images to make videos from: photographs of scikit-image or of a folder, and textures drawn by code."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from ctsdk.crops import Pixels, import_cv2
from ctsdk.data.images import IMAGE_SUFFIXES, read_image
from ctsdk.errors import ConfigError, DataError

__all__ = ["HELD_OUT_PHOTOGRAPHS", "TRAINING_PHOTOGRAPHS", "load_photographs", "procedural_textures"]

TRAINING_PHOTOGRAPHS: tuple[str, ...] = (
    "astronaut",
    "brick",
    "camera",
    "grass",
    "gravel",
    "hubble_deep_field",
    "ihc",
    "logo",
    "moon",
    "page",
    "retina",
    "rocket",
    "text",
)
"""Photographs of scikit-image for training."""

HELD_OUT_PHOTOGRAPHS: tuple[str, ...] = ("chelsea", "coffee", "coins", "motorcycle_left")
"""Photographs of scikit-image for evaluation; none shows the same thing as a training photograph."""

_LONGEST_SIDE_PX = 720


def load_photographs(folder: Path | None = None) -> dict[str, Pixels]:
    """Read photographs, each shrunk to 720 px at most.

    Args:
        folder: where to read every image from; None for the photographs inside the installed scikit-image, those of
            :data:`TRAINING_PHOTOGRAPHS` and :data:`HELD_OUT_PHOTOGRAPHS`. Nothing is downloaded.

    Returns:
        (H, W, 3) uint8 RGB by file name without its ending, in the order of the names.

    Raises:
        DataError: the folder holds no image, an image cannot be read, or scikit-image is not installed.
    """
    files = _bundled_files() if folder is None else _image_files(Path(folder))
    names = [path.stem for path in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{folder} holds several images named {twice} but for the ending; rename all but one.")
    return {path.stem: _read_shrunk(path) for path in files}


def procedural_textures(seed: int, count: int = 8, size: tuple[int, int] = (480, 360)) -> list[Pixels]:
    """Return coloured textures: noise of several scales under blobs, stripes or checks.

    Args:
        seed: of all randomness.
        count: how many.
        size: (width, height), px.

    Returns:
        (height, width, 3) uint8 arrays.

    Raises:
        ConfigError: the seed is negative.
    """
    if seed < 0:
        raise ConfigError(f"textures were asked for with seed {seed}; expected 0 or a positive number.")
    return [_texture(np.random.default_rng([seed, number]), size) for number in range(count)]


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; give a folder of images, or leave it out for those of scikit-image."
        )
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataError(f"{folder} holds no image; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}.")
    return files


def _bundled_files() -> list[Path]:
    try:
        import skimage
    except ImportError as error:
        raise DataError(
            f"the default photographs are those inside scikit-image, which does not import here ({error}). "
            "Install it: pip install 'ctsdk[demo]', or give a folder of your own images."
        ) from error
    folder = Path(skimage.__file__).parent / "data"
    wanted = {*TRAINING_PHOTOGRAPHS, *HELD_OUT_PHOTOGRAPHS}
    files = [path for path in _image_files(folder) if path.stem in wanted]
    missing = sorted(wanted.difference(path.stem for path in files))
    if missing:
        raise DataError(
            f"scikit-image at {folder} lacks the photographs {missing}; "
            "expected them in the wheel. Give a folder of your own images."
        )
    return files


def _read_shrunk(path: Path) -> Pixels:
    pixels = read_image(path)
    shrink = _LONGEST_SIDE_PX / max(pixels.shape[:2])
    if shrink >= 1.0:
        return pixels
    cv2 = import_cv2()
    return np.asarray(cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> Pixels:
    cv2 = import_cv2()
    width, height = size
    canvas = np.zeros((height, width, 3), dtype=np.float32)
    for cells, strength in zip((3, 8, 24, 80), rng.uniform(0.4, 1.0, 4), strict=True):
        coarse = rng.uniform(-1.0, 1.0, (cells, max(2, cells * width // height), 3)).astype(np.float32)
        canvas += np.float32(strength) * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image = cv2.convertScaleAbs(128.0 + 70.0 * canvas / canvas.std())
    painted = image.copy()
    _paint(painted, rng)
    return np.asarray(cv2.addWeighted(painted, 0.5, image, 0.5, 0.0), dtype=np.uint8)


def _paint(image: Pixels, rng: np.random.Generator) -> None:
    """Paint blobs, stripes or checks on an image, in place."""
    cv2 = import_cv2()
    height, width = image.shape[:2]
    kind, period = int(rng.integers(3)), int(rng.integers(14, 40))
    palette = rng.integers(0, 256, (4, 3)).tolist()
    if kind == 0:
        for _ in range(40):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            axes = (int(rng.integers(5, 40)), int(rng.integers(5, 40)))
            cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, palette[rng.integers(4)], -1)
    elif kind == 1:
        slope = int(rng.integers(-height, height))
        for number, start in enumerate(range(-height, width + height, period)):
            cv2.line(image, (start, 0), (start + slope, height), palette[number % 4], period // 3)
    else:
        for row, column in itertools.product(range(0, height, period), range(0, width, period)):
            if (row // period + column // period) % 2:
                cv2.rectangle(image, (column, row), (column + period - 1, row + period - 1), palette[row % 4], -1)
