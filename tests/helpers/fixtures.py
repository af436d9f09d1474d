"""Tiny copies of public data sets on disk, and what reference loaders return for them.

Every image is of one grey that tells which frame it is: :func:`grey`. JPEG keeps it within 1.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctsdk.crops import import_cv2

_GOLDEN = Path(__file__).parents[1] / "golden" / "metrics_fixtures" / "fixtures.json"


@functools.cache
def _golden() -> dict[str, Any]:
    return json.loads(_GOLDEN.read_text(encoding="utf-8"))


def expected(key: str) -> Any:
    """What the reference loader named in `key` returns, such as ``OSTrack test LaSOT airplane-1``; a fresh copy."""
    return json.loads(json.dumps(_golden()["expected"][key]))


def grey(index: int) -> int:
    """The grey of frame `index` of a folder, counted from 0; the one image of COCO counts as frame 1."""
    return 37 * index % 256


def jpeg(level: int, width: int = 64, height: int = 48, channels: int = 3) -> bytes:
    """An image file of one grey."""
    pixels = np.full((height, width, channels), level, dtype=np.uint8)
    return import_cv2().imencode(".jpg", pixels)[1].tobytes()


def write_fixture(root: Path, dataset: str) -> Path:
    """Write ``got10k``, ``lasot``, ``trackingnet``, ``coco`` or ``vid`` below `root`; return its own folder."""
    golden = _golden()
    for path, text in golden["files"].items():
        if path.startswith(f"{dataset}/"):
            write(root / path, text.encode())
    for pattern, (first, num_images, width, height) in golden["images"].items():
        if pattern.startswith(f"{dataset}/"):
            for index in range(num_images):
                # Some pictures of COCO have one channel.
                level, channels = (grey(1), 1) if dataset == "coco" else (grey(index), 3)
                write(root / (pattern % (first + index)), jpeg(level, width, height, channels))
    if dataset == "trackingnet":
        for chunk in range(12):
            for kind in ("anno", "frames"):
                (root / dataset / f"TRAIN_{chunk}" / kind).mkdir(parents=True, exist_ok=True)
    return root / dataset


def write(path: Path, data: bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def pack_lmdb(folder: Path, target: Path, keep: Callable[[str], bool] = lambda path: True) -> Path:
    """Pack the files of `folder` whose relative path is kept into an LMDB with these paths as keys; return `target`."""
    import lmdb

    target.mkdir(parents=True)
    with lmdb.open(str(target), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            key = file.relative_to(folder).as_posix()
            if keep(key):
                transaction.put(key.encode(), file.read_bytes())
    return target


def level_of(frame: NDArray[np.uint8]) -> int:
    """The grey of a frame of one grey."""
    assert frame.ndim == 3
    assert frame.shape[2] == 3
    assert np.ptp(frame) <= 1
    return int(frame[0, 0, 0])
