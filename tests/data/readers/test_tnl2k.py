from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from ctsdk.crops import import_cv2
from ctsdk.data.readers.tnl2k import open_tnl2k
from ctsdk.errors import DataError
from tests.helpers.fixtures import grey, jpeg, level_of, write

# In the order of the text, which is the order that counts.
IMAGES = ["frame_1.png", "frame_10.png", "frame_11.PNG", "frame_2.png", "img000.jpg"]
ROWS = ["1,2,3,4", "0,0,0,0", "0,5,6,7", "-3,5,6,0", "9,9,9,9"]


def png(level: int) -> bytes:
    return import_cv2().imencode(".png", np.full((48, 64, 3), level, dtype=np.uint8))[1].tobytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("advSamp_bike", "Zebra_video_Q01_done"):
        for index, image in enumerate(IMAGES):
            encode = jpeg if image.endswith("jpg") else png
            write(tmp_path / name / "imgs" / image, encode(grey(index)))
        write(tmp_path / name / "groundtruth.txt", "".join(f"{row}\r\n" for row in ROWS).encode())
        write(tmp_path / name / "language.txt", b"  The Zebra on the LEFT\r\nanother line\r\n")
        write(tmp_path / name / "imgs/Thumbs.db", b"no image")
    write(tmp_path / "attributes.txt", b"a file beside the videos")
    (tmp_path / ".cache").mkdir()
    return tmp_path


def test_every_folder_is_a_video_with_its_frames_in_the_order_of_the_text(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(open_tnl2k(root)))
    assert (dataset.name, dataset.split) == ("tnl2k", "")
    assert dataset.names == ("Zebra_video_Q01_done", "advSamp_bike")
    for video in dataset:
        assert len(video) == 5
        assert [level_of(video.frame(index)) for index in range(5)] == pytest.approx(
            [grey(index) for index in range(5)], abs=1
        )
        assert video.boxes_xywh_px.tolist() == [[float(word) for word in row.split(",")] for row in ROWS]
        assert video.about == {"language": "the zebra on the left"}


def test_a_target_is_absent_where_its_row_is_all_zeros(root: Path) -> None:
    video = open_tnl2k(root)[0]
    assert video.visible.tolist() == [True, False, True, True, True]
    assert video.usable.tolist() == [True, False, True, False, True]


def test_one_image_more_than_rows_is_left_out_and_no_other_difference_passes(root: Path) -> None:
    truth = root / "advSamp_bike/groundtruth.txt"
    write(truth, "\n".join(ROWS[:4]).encode())
    video = open_tnl2k(root).find("advSamp_bike")
    assert (len(video), level_of(video.frame(3))) == (4, pytest.approx(grey(3), abs=1))
    for rows in (ROWS[:3], [*ROWS, "1,2,3,4"]):
        write(truth, "\n".join(rows).encode())
        with pytest.raises(DataError, match=rf"advSamp_bike/groundtruth\.txt has {len(rows)} rows for the 5 images of"):
            open_tnl2k(root).find("advSamp_bike")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3,4\nNaN,NaN,NaN,NaN\n", r"line 2: \[nan, .*expected four finite numbers"),
        ("1,2,3,4\n1;2;3;4\n", r"line 2: '1;2;3;4'; expected 4 numbers"),
        ("1,2,3,4\n1,2,3", r"line 2: '1,2,3'; expected 4 numbers"),
        ("", r"groundtruth\.txt is empty"),
    ],
)
def test_wrong_annotations_are_refused_with_their_place(root: Path, text: str, message: str) -> None:
    write(root / "advSamp_bike/groundtruth.txt", text.encode())
    with pytest.raises(DataError, match=message):
        open_tnl2k(root).find("advSamp_bike")


def test_missing_files_are_named(root: Path) -> None:
    write(root / "advSamp_bike/imgs/frame_2.png", b"")
    with pytest.raises(DataError, match=r"frame_2\.png \(0 bytes\) cannot be decoded"):
        open_tnl2k(root).find("advSamp_bike").frame(3)
    (root / "advSamp_bike/language.txt").unlink()
    with pytest.raises(DataError, match=r"advSamp_bike/language\.txt cannot be read"):
        open_tnl2k(root).find("advSamp_bike")
    (root / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty/groundtruth\.txt cannot be read"):
        open_tnl2k(root).find("empty")
    with pytest.raises(DataError, match="holds no folders; expected one for each video"):
        open_tnl2k(root / "empty")
