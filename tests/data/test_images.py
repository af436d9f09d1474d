from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ctsdk import DataError
from ctsdk.crops import import_cv2
from ctsdk.data.images import read_image


def test_colours_come_as_rgb_and_grey_as_three_channels_from_any_path(tmp_path: Path) -> None:
    cv2 = import_cv2()
    bgr = np.zeros((4, 6, 3), dtype=np.uint8)
    bgr[..., 0] = 200  # blue, as OpenCV orders it
    for name, pixels in (("blü.png", bgr), ("grey.png", np.full((4, 6), 90, dtype=np.uint8))):
        (tmp_path / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    assert read_image(tmp_path / "blü.png")[0, 0].tolist() == [0, 0, 200]
    assert read_image(tmp_path / "grey.png")[0, 0].tolist() == [90, 90, 90]


def test_missing_and_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"empty\.png \(0 bytes\) cannot be decoded"):
        read_image(tmp_path / "empty.png")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_image(tmp_path / "none.png")
