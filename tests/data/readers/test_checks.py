from __future__ import annotations

from pathlib import Path

import pytest

from ctsdk.data.readers.checks import are_present, check_option, check_row_count, read_finite_boxes
from ctsdk.data.readers.files import Folder
from ctsdk.data.readers.frames import NumberedPaths, list_images, open_frames
from ctsdk.errors import ConfigError, DataError
from tests.helpers.fixtures import grey, jpeg, level_of, write


def test_an_unknown_value_of_an_option_is_refused_with_those_that_are_known() -> None:
    check_option("uav123", "split", "UAV20L", ("UAV123", "UAV20L"))
    with pytest.raises(ConfigError, match=r"data set uav123: split is 'test'; expected 'UAV123' or 'UAV20L'"):
        check_option("uav123", "split", "test", ("UAV123", "UAV20L"))


def test_videos_without_a_folder_are_left_out_only_if_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a" / "one").mkdir(parents=True)
    folders = ["a/one", "a/two", "b/one"]
    assert are_present("mine", Folder(tmp_path), folders, "all") == [True, True, True]
    assert are_present("mine", Folder(tmp_path), folders, "only") == [True, False, False]
    with pytest.raises(DataError, match=r"holds no video of mine; expected folders such as 'c/one'"):
        are_present("mine", Folder(tmp_path), ["c/one"], "only")
    with pytest.raises(ConfigError, match=r"present is ''; expected 'all' or 'only'"):
        are_present("mine", Folder(tmp_path), folders, "")


def test_nan_is_refused_where_a_data_set_never_writes_it(tmp_path: Path) -> None:
    write(tmp_path / "truth.txt", b"1,2,3,4\n1,2,nan,4\n")
    with pytest.raises(DataError, match=r"truth\.txt, line 2: \[1\.0, 2\.0, nan, 4\.0\]; expected four finite numbers"):
        read_finite_boxes(Folder(tmp_path), "truth.txt")
    write(tmp_path / "truth.txt", b"1,2,3,4\n")
    assert read_finite_boxes(Folder(tmp_path), "truth.txt").tolist() == [[1, 2, 3, 4]]


def test_rows_and_frames_are_counted(tmp_path: Path) -> None:
    frames = NumberedPaths("img", 3, 4, 2)
    check_row_count(Folder(tmp_path), "truth.txt", 4, frames)
    message = r"truth\.txt has 5 rows; expected 4, one for each frame from img/03\.jpg to img/06\.jpg"
    with pytest.raises(DataError, match=message):
        check_row_count(Folder(tmp_path), "truth.txt", 5, frames)


def test_images_are_listed_without_what_lies_beside_them(tmp_path: Path) -> None:
    for name in ("10.png", "2.JPG", "._2.JPG", "Thumbs.db", "png"):
        write(tmp_path / "imgs" / name, b"")
    assert list_images(Folder(tmp_path), "imgs") == ["imgs/10.png", "imgs/2.JPG"]
    write(tmp_path / "empty/readme.txt", b"")
    with pytest.raises(DataError, match=r"empty holds no images; expected the frames of a video"):
        list_images(Folder(tmp_path), "empty")


@pytest.mark.parametrize("missing", [1, 3])
def test_the_ends_of_a_video_are_looked_for_at_once(tmp_path: Path, missing: int) -> None:
    frames = NumberedPaths("img", 1, 3, 4)
    for number in (1, 3):
        write(tmp_path / f"img/{number:04d}.jpg", jpeg(grey(number)))
    assert level_of(open_frames(Folder(tmp_path), frames)(2)) == pytest.approx(grey(3), abs=1)
    (tmp_path / f"img/{missing:04d}.jpg").unlink()
    with pytest.raises(DataError, match=rf"frame .*img/000{missing}\.jpg is missing; expected 3 frames from img/0001"):
        open_frames(Folder(tmp_path), frames)
