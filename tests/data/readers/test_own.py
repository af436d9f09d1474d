"""Folders and video files of one's own: order, boxes, and what is missing or left over."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from ctsdk.data.readers.own import open_own
from ctsdk.data.videos import Video
from ctsdk.errors import DataError
from ctsdk.video import open_frames, write_video
from tests.helpers.fixtures import grey, jpeg, pack_lmdb, write

BOXES = b"1,2,30,20\n1.5,2,30,20\n2,2,30,20\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two videos of three frames: a folder of images, and a video file."""
    for index in range(3):
        write(tmp_path / "data" / "cat" / f"{index + 1}.jpg", jpeg(grey(index)))
    write(tmp_path / "data" / "cat.txt", BOXES)
    write_video(tmp_path / "data" / "Dog.mp4", [np.full((48, 64, 3), grey(index), np.uint8) for index in range(3)])
    write(tmp_path / "data" / "Dog.txt", BOXES)
    return tmp_path / "data"


def levels(video: Video) -> list[int]:
    # The mean, because a video codec keeps no grey exactly.
    return [round(video.frame(index).mean()) for index in range(len(video))]


def test_folders_and_files_are_videos_in_the_order_of_their_names(root: Path) -> None:
    dataset = open_own(root)
    assert (str(dataset), dataset.names) == ("own", ("Dog", "cat"))
    for video, tolerance in zip(dataset, (3, 1), strict=True):
        assert video.boxes_xywh_px.tolist() == [[1, 2, 30, 20], [1.5, 2, 30, 20], [2, 2, 30, 20]]
        assert video.usable.tolist() == [True] * 3
        assert video.has_truth
        assert levels(video) == pytest.approx([grey(index) for index in range(3)], abs=tolerance)
        assert video.frame_size_px(2) == (64, 48)


def test_frames_are_those_of_the_track_command(root: Path) -> None:
    for name in ("10.png", "09.JPG", "a2.webp", "A1.bmp", "._9.jpg", "readme.md"):
        suffix = ".png" if name == "readme.md" else f".{name.rpartition('.')[2].lower()}"
        write(root / "cat" / name, cv2.imencode(suffix, np.full((48, 64, 3), len(name), np.uint8))[1].tobytes())
    write(root / "cat.txt", b"1,2,3,4")
    dataset = open_own(root)
    for name, source in (("cat", root / "cat"), ("Dog", root / "Dog.mp4")):
        video, frames = dataset.find(name), list(open_frames(source))
        assert len(video) == len(frames)
        for index, frame in enumerate(frames):
            np.testing.assert_array_equal(video.frame(index), frame)
    assert len(dataset.find("cat")) == 7


def test_boxes_may_lie_in_the_folder(root: Path) -> None:
    (root / "cat.txt").rename(root / "cat" / "groundtruth.txt")
    assert len(open_own(root).find("cat")) == 3
    write(root / "cat.txt", BOXES)
    with pytest.raises(
        DataError, match=r"cat has two files of boxes; expected .*cat\.txt or .*groundtruth\.txt.*Delete"
    ):
        open_own(root)


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3,4\n5,6,7,8\n9,10,11,12",
        "1\t2\t3\t4\r\n5\t6\t7\t8\r\n9\t10\t11\t12\r\n",
        "1 2  3 4\n5, 6, 7 , 8\n9 10 11 12\n\n",
    ],
)
def test_numbers_are_separated_by_commas_tabs_or_blanks(root: Path, text: str) -> None:
    write(root / "cat.txt", text.encode())
    assert open_own(root).find("cat").boxes_xywh_px.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


def test_a_target_may_be_absent(root: Path) -> None:
    write(root / "cat.txt", b"nan,nan,nan,nan\n0,0,0,0\n-3,2,5,5\n")
    video = open_own(root).find("cat")
    assert video.visible.tolist() == video.usable.tolist() == [False, False, True]
    assert video.boxes_xywh_px.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [-3, 2, 5, 5]]


def test_one_box_is_for_the_first_frame(root: Path) -> None:
    for name in ("cat", "Dog"):
        write(root / f"{name}.txt", b"1,2,30,20\n")
        video = open_own(root).find(name)
        assert (len(video), video.has_truth, len(video.boxes_xywh_px)) == (3, False, 1)


@pytest.mark.parametrize("name", ["cat", "Dog"])
@pytest.mark.parametrize("num_boxes", [2, 4])
def test_boxes_and_frames_must_agree(root: Path, name: str, num_boxes: int) -> None:
    write(root / f"{name}.txt", b"1,2,3,4\n" * num_boxes)
    with pytest.raises(DataError, match=rf"{name}\.txt has {num_boxes} lines for the 3 frames of .*{name}"):
        open_own(root).find(name)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", r"line 2: ''; expected 4 numbers"),
        ("1,2,3", "line 2: '1,2,3'; expected 4 numbers"),
        ("1,2,3,4,5", "line 2: '1,2,3,4,5'; expected 4 numbers"),
        ("x,y,w,h", "line 2: 'x,y,w,h'; expected 4 numbers"),
        ("1,2,inf,4", "line 2: .*finite numbers"),
        ("1,2,3,nan", r"line 2: \[1.0, 2.0, 3.0, nan\]; expected left, top, width and height"),
        ("1,2,-3,4", r"line 2: \[1.0, 2.0, -3.0, 4.0\]; expected left, top, width and height"),
    ],
)
def test_a_wrong_line_is_named(root: Path, line: str, message: str) -> None:
    write(root / "cat.txt", f"1,2,3,4\n{line}\n1,2,3,4\n".encode())
    with pytest.raises(DataError, match=rf"cat\.txt, {message}"):
        open_own(root).find("cat")


def test_other_files_are_left_alone(root: Path) -> None:
    for name in (".hidden/1.jpg", ".DS_Store", "notes.txt", "readme.md", "cat.json", "picture.png"):
        write(root / name, b"something")
    assert open_own(root).names == ("Dog", "cat")


def test_a_video_without_boxes_is_named(root: Path) -> None:
    (root / "Dog.txt").rename(root / "dog boxes.txt")
    with pytest.raises(DataError, match=r"Dog\.mp4 has no file of boxes; expected .*Dog\.txt, with a line left,top"):
        open_own(root)
    (root / "dog boxes.txt").rename(root / "Dog.txt")
    (root / "results").mkdir()
    with pytest.raises(DataError, match=r"results has no file of boxes; expected .*results\.txt or .*groundtruth"):
        open_own(root)
    write(root / "results.txt", BOXES)
    with pytest.raises(DataError, match=r"results holds no images \(\.bmp, .*move the folder away"):
        open_own(root).find("results")


def test_two_videos_of_one_name_are_refused(root: Path) -> None:
    (root / "Dog").mkdir()
    with pytest.raises(DataError, match=r"Dog\.mp4 and .*Dog would both be the video 'Dog'. Rename one"):
        open_own(root)


def test_a_folder_without_videos_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"cat holds neither a sub-folder nor a video file .*the folder above"):
        open_own(root / "cat")
    with pytest.raises(DataError, match="does not exist"):
        open_own(root / "nowhere")


def test_frames_that_cannot_be_read_are_named(root: Path) -> None:
    dataset = open_own(root)
    write(root / "cat" / "2.jpg", b"damaged")
    with pytest.raises(DataError, match=r"2\.jpg \(7 bytes\) cannot be decoded"):
        dataset.find("cat").frame(1)
    write(root / "Dog.mp4", b"damaged")
    with pytest.raises(DataError, match=r"Dog\.mp4 cannot be decoded as a video"):
        dataset.find("Dog")
    (root / "Dog.mp4").unlink()
    with pytest.raises(DataError, match=r"Dog\.mp4 cannot be read"):
        dataset.find("Dog")


def test_a_data_set_goes_to_other_processes(root: Path) -> None:
    dataset = open_own(root)
    dataset[0].frame(1)
    again = pickle.loads(pickle.dumps(dataset))
    for video, other in zip(dataset, again, strict=True):
        assert levels(pickle.loads(pickle.dumps(video))) == levels(other) == levels(video)


def test_an_lmdb_holds_images_only(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'Dog\.mp4' in .* is a video file; an LMDB may hold images only"):
        open_own(pack_lmdb(root, tmp_path / "all"))
    packed = open_own(pack_lmdb(root, tmp_path / "images", lambda path: "Dog" not in path))
    assert packed.names == ("cat",)
    assert levels(packed[0]) == levels(open_own(root).find("cat"))
    with pytest.raises(DataError, match=r"'cat' in .* has no file of boxes"):
        open_own(pack_lmdb(root, tmp_path / "bare", lambda path: path.startswith("cat/")))
