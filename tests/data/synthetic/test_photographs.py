from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ctsdk.data.synthetic.photographs import (
    HELD_OUT_PHOTOGRAPHS,
    TRAINING_PHOTOGRAPHS,
    load_photographs,
    procedural_textures,
)
from ctsdk.errors import ConfigError, DataError


def test_textures_are_seeded_colourful_and_different() -> None:
    first, again = procedural_textures(3, 4, (120, 80)), procedural_textures(3, 2, (120, 80))

    assert [texture.shape for texture in first] == [(80, 120, 3)] * 4
    for texture, other in zip(first, again, strict=False):
        np.testing.assert_array_equal(texture, other)
    assert all(texture.std() > 20 for texture in first)
    assert not any(np.array_equal(first[0], texture) for texture in first[1:])
    with pytest.raises(ConfigError, match="seed -1"):
        procedural_textures(-1)


def test_split_names_bundled_photographs_once() -> None:
    pytest.importorskip("skimage")
    photographs = load_photographs()

    assert set(TRAINING_PHOTOGRAPHS).isdisjoint(HELD_OUT_PHOTOGRAPHS)
    assert set(photographs) == {*TRAINING_PHOTOGRAPHS, *HELD_OUT_PHOTOGRAPHS}
    for name, image in photographs.items():
        assert image.dtype == np.uint8, name
        assert image.shape[2] == 3, name
        assert max(image.shape[:2]) <= 720, name
    # The suit of the astronaut is orange: red before blue.
    assert photographs["astronaut"][..., 0].mean() > photographs["astronaut"][..., 2].mean() + 10


def test_folder_of_images_is_read_in_the_order_of_the_names(tmp_path: Path) -> None:
    red = np.zeros((20, 30, 3), dtype=np.uint8)
    red[..., 2] = 200
    (tmp_path / "notes.txt").write_text("no image")
    for name in ("b.png", "a.PNG", "ä c.png"):
        (tmp_path / name).write_bytes(cv2.imencode(".png", red)[1].tobytes())
    (tmp_path / "big.png").write_bytes(cv2.imencode(".png", np.zeros((100, 1440, 3), dtype=np.uint8))[1].tobytes())

    images = load_photographs(tmp_path)

    assert list(images) == ["a", "b", "big", "ä c"]
    assert images["b"][0, 0].tolist() == [200, 0, 0]
    assert images["big"].shape == (50, 720, 3)


def test_folders_without_usable_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        load_photographs(tmp_path / "absent")
    with pytest.raises(DataError, match="holds no image"):
        load_photographs(tmp_path)
    for content in (b"no image at all", b""):
        (tmp_path / "broken.png").write_bytes(content)
        with pytest.raises(DataError, match=r"broken\.png \(\d+ bytes\) cannot be decoded as an image"):
            load_photographs(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"several images named \['broken'\]"):
        load_photographs(tmp_path)


def test_photographs_that_scikit_image_lacks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage")
    monkeypatch.setattr("ctsdk.data.synthetic.photographs.HELD_OUT_PHOTOGRAPHS", ("chelsea", "unicorn"))

    with pytest.raises(DataError, match=r"lacks the photographs \['unicorn'\]"):
        load_photographs()


def test_missing_scikit_image_is_a_data_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)

    with pytest.raises(DataError, match=r"pip install 'ctsdk\[demo\]'"):
        load_photographs()
