from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from ctsdk.data.readers.nfs import _read_videos, open_nfs
from ctsdk.errors import DataError
from tests.helpers.fixtures import grey, jpeg, level_of, write

NUM_FRAMES = 22  # of car_jumping


def packed(root: Path, num_rows: int = NUM_FRAMES, separator: str = "\t") -> Path:
    """Write car_jumping in the layout of pytracking."""
    rows = [separator.join(map(str, (10.5 + row, 20, 30, 40))) for row in range(num_rows)]
    write(root / "anno/nfs_car_jumping.txt", "\n".join(rows).encode())
    for number in range(1, NUM_FRAMES + 1):
        write(root / f"sequences/car_jumping/{number:05d}.jpg", jpeg(grey(number)))
    return root


def official(root: Path, num_rows: int = NUM_FRAMES, num_images: int = NUM_FRAMES) -> Path:
    """Write car_jumping in the official layout."""
    rows = [
        f'0 {10 + row} 20 {40 + row} 60 {row} {int(row == 8)} {int(row == 16)} 1 "toy car"' for row in range(num_rows)
    ]
    write(root / "car_jumping/30/car_jumping.txt", ("\n".join(rows) + "\n").encode())
    for number in range(1, num_images + 1):
        write(root / f"car_jumping/30/car_jumping/{number:05d}.jpg", jpeg(grey(number)))
    return root


def test_the_table_has_every_video_and_frame() -> None:
    videos = {video.name: video for video in _read_videos()}
    assert len(videos) == 100
    assert sum(video.num_frames for video in videos.values()) == 47_953
    assert (videos["Gymnastics"].num_frames, videos["zebra_fish"].num_frames) == (368, 671)
    assert videos["Skydiving"].attributes == ("OCC",)
    assert videos["Skydiving"].object_class == "person"


def test_the_layout_of_pytracking_is_read_as_it_is(tmp_path: Path) -> None:
    dataset = pickle.loads(pickle.dumps(open_nfs(packed(tmp_path))))
    assert (dataset.name, dataset.split, dataset.names[:2]) == ("nfs", "", ("nfs_Gymnastics", "nfs_MachLoop_jet"))
    video = dataset.find("nfs_car_jumping")
    assert (video.name, len(video), video.attributes) == ("nfs_car_jumping", NUM_FRAMES, ())
    assert video.about == {"object_class": "car"}
    assert video.boxes_xywh_px[[0, 21]].tolist() == [[10.5, 20, 30, 40], [31.5, 20, 30, 40]]
    assert video.visible.all()
    assert level_of(video.frame(21)) == pytest.approx(grey(22), abs=1)


def test_the_official_layout_has_corners_and_flags(tmp_path: Path) -> None:
    dataset = pickle.loads(pickle.dumps(open_nfs(official(tmp_path))))
    assert len(dataset) == 100
    video = dataset.find("nfs_car_jumping")
    assert len(video) == NUM_FRAMES
    assert video.boxes_xywh_px[[0, 21]].tolist() == [[10, 20, 30, 40], [31, 20, 30, 40]]
    assert video.labels["lost"].nonzero()[0].tolist() == [8]
    assert video.labels["occluded"].nonzero()[0].tolist() == [16]
    assert video.labels["generated"].all()
    assert video.visible.all()
    assert level_of(video.frame(1)) == pytest.approx(grey(2), abs=1)


@pytest.mark.parametrize("num_rows", [169, 175, 176, 183, 184])
def test_every_eighth_row_is_taken_where_rows_stand_for_240_frames_a_second(tmp_path: Path, num_rows: int) -> None:
    video = open_nfs(official(tmp_path, num_rows)).find("nfs_car_jumping")
    assert len(video) == NUM_FRAMES
    assert video.boxes_xywh_px[:, 0].tolist() == [10 + 8 * row for row in range(NUM_FRAMES)]
    assert video.labels["lost"].nonzero()[0].tolist() == [1]


@pytest.mark.parametrize(("num_rows", "num_images"), [(21, 22), (22, 21), (168, 22), (176, 21)])
def test_one_row_or_image_more_is_left_out(tmp_path: Path, num_rows: int, num_images: int) -> None:
    video = open_nfs(official(tmp_path, num_rows, num_images)).find("nfs_car_jumping")
    assert len(video) == 21
    assert len(video.labels["lost"]) == 21
    assert level_of(video.frame(20)) == pytest.approx(grey(21), abs=1)


@pytest.mark.parametrize("num_rows", [NUM_FRAMES - 1, NUM_FRAMES + 1])
def test_one_row_more_or_less_is_left_out_of_the_other_layout_too(tmp_path: Path, num_rows: int) -> None:
    video = open_nfs(packed(tmp_path, num_rows)).find("nfs_car_jumping")
    assert len(video) == min(num_rows, NUM_FRAMES)


def test_other_numbers_of_rows_are_refused(tmp_path: Path) -> None:
    message = r"nfs_car_jumping\.txt has 20 rows for 22 frames; expected one a frame, or one more or less"
    with pytest.raises(DataError, match=message):
        open_nfs(packed(tmp_path / "a", num_rows=20)).find("nfs_car_jumping")
    with pytest.raises(DataError, match=r"car_jumping\.txt has 100 rows for the 22 images of .*as many or 8 times"):
        open_nfs(official(tmp_path / "b", num_rows=100)).find("nfs_car_jumping")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1;2;3;4", r"nfs_car_jumping\.txt, line 2: '1;2;3;4'; expected 4 numbers"),
        ("1\t2\t3", r"nfs_car_jumping\.txt, line 2: .* expected 4 numbers"),
        ("NaN\tNaN\tNaN\tNaN", r"nfs_car_jumping\.txt, line 2: .* expected four finite numbers"),
    ],
)
def test_wrong_rows_of_pytracking_are_refused_with_their_place(tmp_path: Path, line: str, message: str) -> None:
    write(packed(tmp_path) / "anno/nfs_car_jumping.txt", f"1\t2\t3\t4\n{line}\n".encode())
    with pytest.raises(DataError, match=message):
        open_nfs(tmp_path).find("nfs_car_jumping")


@pytest.mark.parametrize(
    "line",
    [
        "0 1 2 3 4 5 0 0 7 x",
        "0 -1e308 2 1e308 4 5 0 0 1 x",
        "0 1_0 2 3 4 5 0 0 1 x",
        "1\t2\t3\t4",
        '0 1 2 3 4 5 0 0 "car"',
        '0,1,2,3,4,5,0,0,1,"car"',
        '0 nan 2 3 4 5 0 0 1 "car"',
        "",
    ],
)
def test_wrong_official_rows_are_refused_with_their_place(tmp_path: Path, line: str) -> None:
    truth = official(tmp_path) / "car_jumping/30/car_jumping.txt"
    write(truth, f'0 1 2 3 4 5 0 0 1 "car"\n{line}\n0 1 2 3 4 5 0 0 1 "car"\n'.encode())
    with pytest.raises(DataError, match=r"car_jumping\.txt, line 2: .* expected id x1 y1 x2 y2 frame lost"):
        open_nfs(tmp_path).find("nfs_car_jumping")
    write(truth, b"\n")
    with pytest.raises(DataError, match=r"car_jumping\.txt is empty"):
        open_nfs(tmp_path).find("nfs_car_jumping")


def test_what_is_not_there_can_be_left_out(tmp_path: Path) -> None:
    for root in (packed(tmp_path / "a"), official(tmp_path / "b")):
        dataset = pickle.loads(pickle.dumps(open_nfs(root, present="only")))
        assert dataset.names == ("nfs_car_jumping",)
        assert len(dataset[0]) == NUM_FRAMES


def test_missing_files_and_other_layouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has neither layout of NFS; expected anno/ and sequences/, or"):
        open_nfs(tmp_path)
    first, second = packed(tmp_path / "a"), official(tmp_path / "b")
    for root in (first, second):
        with pytest.raises(DataError, match=r"Gymnastics.* cannot be (read|listed)"):
            open_nfs(root)[0]
    (first / "sequences/car_jumping/00022.jpg").unlink()
    with pytest.raises(DataError, match=r"frame .*car_jumping/00022\.jpg is missing"):
        open_nfs(first).find("nfs_car_jumping")
    (first / "anno/nfs_car_jumping.txt").unlink()
    with pytest.raises(DataError, match=r"nfs_car_jumping\.txt cannot be read"):
        open_nfs(first).find("nfs_car_jumping")
    for image in (second / "car_jumping/30/car_jumping").iterdir():
        image.unlink()
    with pytest.raises(DataError, match=r"car_jumping holds no images"):
        open_nfs(second).find("nfs_car_jumping")
