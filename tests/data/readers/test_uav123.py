from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.uav123 import _read_videos, open_uav123
from ctsdk.errors import ConfigError, DataError
from tests.helpers.fixtures import grey, jpeg, level_of, write

# bird1_1 is frames 1 to 253 of the folder bird1, bird1_2 is frames 775 to 1477, and UAV20L has 1 to 2437.
NUM_ROWS = {"UAV123/bird1_1": 253, "UAV123/bird1_2": 703, "UAV20L/bird1": 2437}
FRAMES = (1, 2, 253, 775, 776, 1477, 2437)


def rows_of(num_rows: int) -> list[str]:
    return [f"{10 + row},{20 + row},30,40" for row in range(num_rows)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in FRAMES:
        write(tmp_path / f"data_seq/UAV123/bird1/{number:06d}.jpg", jpeg(grey(number)))
    for annotation, num_rows in NUM_ROWS.items():
        rows = rows_of(num_rows)
        rows[5] = "NaN,NaN,NaN,NaN"
        write(tmp_path / f"anno/{annotation}.txt", "\n".join(rows).encode())
    return tmp_path


def reopened(dataset: VideoDataset) -> VideoDataset:
    """The data set as a worker process gets it."""
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.names == dataset.names
    return copy


def test_the_table_has_every_video_and_frame() -> None:
    short, long = _read_videos("UAV123"), _read_videos("UAV20L")
    assert (len(short), len(long)) == (123, 20)
    assert len({video.truth for video in short}) == 123
    assert len({video.folder for video in short}) == 91
    assert sum(len(video.frames) for video in short) == 112_578
    assert sum(len(video.frames) for video in long) == 58_670
    assert sum(video.frames.first > 1 for video in short) == 32
    assert {video.folder for video in long} <= {video.folder for video in short}
    ends = {video.name: (video.frames[0], video.frames[-1].rpartition("/")[2]) for video in short}
    assert ends["uav_bird1_2"] == ("data_seq/UAV123/bird1/000775.jpg", "001477.jpg")
    assert ends["uav_car1_2"] == ("data_seq/UAV123/car1/000751.jpg", "001627.jpg")
    assert ends["uav_car6_5"] == ("data_seq/UAV123/car6/003925.jpg", "004861.jpg")
    assert ends["uav_uav1_3"] == ("data_seq/UAV123/uav1/002473.jpg", "003469.jpg")
    assert sum("SV" in video.attributes for video in short) == 109
    attributes = {video.name: video.attributes for video in short}
    assert (attributes["uav_person14_2"], attributes["uav_building4"]) == (("BC", "CM"), ())


def test_videos_carry_the_names_of_result_files_and_share_their_folder(root: Path) -> None:
    dataset = reopened(open_uav123(root))
    assert (dataset.name, dataset.split, len(dataset)) == ("uav123", "UAV123", 123)
    assert dataset.names[:3] == ("uav_bike1", "uav_bike2", "uav_bike3")
    first, second = dataset.find("uav_bird1_1"), dataset.find("uav_bird1_2")
    assert (first.name, len(first), len(second)) == ("uav_bird1_1", 253, 703)
    assert first.about == {"object_class": "bird"}
    assert "FM" in first.attributes
    shown = {(video.name, index): level_of(video.frame(index)) for video in (first, second) for index in (0, 1)}
    expected = {
        ("uav_bird1_1", 0): grey(1),
        ("uav_bird1_1", 1): grey(2),
        ("uav_bird1_2", 0): grey(775),
        ("uav_bird1_2", 1): grey(776),
    }
    assert shown == pytest.approx(expected, abs=1)
    assert level_of(second.frame(702)) == pytest.approx(grey(1477), abs=1)


def test_absent_targets_have_nan_boxes_and_cannot_be_seen(root: Path) -> None:
    video = open_uav123(root).find("uav_bird1_2")
    assert video.boxes_xywh_px[0].tolist() == [10, 20, 30, 40]
    assert video.boxes_xywh_px[-1].tolist() == [712, 722, 30, 40]
    assert np.flatnonzero(~video.visible).tolist() == [5]
    assert np.isnan(video.boxes_xywh_px[5]).all()
    assert np.isfinite(np.delete(video.boxes_xywh_px, 5, axis=0)).all()


def test_uav20l_is_a_split_whose_videos_are_called_as_their_annotations(root: Path) -> None:
    dataset = reopened(open_uav123(root, split="UAV20L"))
    assert (dataset.name, dataset.split, dataset.names[:3]) == ("uav123", "UAV20L", ("bike1", "bird1", "car1"))
    video = dataset.find("bird1")
    assert (len(video), video.attributes, video.about) == (2437, (), {})
    assert level_of(video.frame(2436)) == pytest.approx(grey(2437), abs=1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            rows_of(702),
            r"bird1_2\.txt has 702 rows; expected 703, one for each frame from .*000775\.jpg to .*001477\.jpg",
        ),
        (rows_of(704), r"bird1_2\.txt has 704 rows; expected 703"),
        (
            [*rows_of(702), "1,NaN,3,4"],
            r"bird1_2\.txt, line 703: \[1\.0, nan, 3\.0, 4\.0\]; expected .* four times NaN",
        ),
        ([*rows_of(702), "1;2;3;4"], r"bird1_2\.txt, line 703: '1;2;3;4'; expected 4 numbers"),
        ([*rows_of(702), "1,2,3"], r"bird1_2\.txt, line 703: '1,2,3'; expected 4 numbers"),
        ([], r"bird1_2\.txt is empty"),
    ],
)
def test_wrong_annotations_are_refused_with_their_place(root: Path, rows: list[str], message: str) -> None:
    write(root / "anno/UAV123/bird1_2.txt", "\n".join(rows).encode())
    with pytest.raises(DataError, match=message):
        open_uav123(root).find("uav_bird1_2")


def test_missing_files_are_named(root: Path) -> None:
    dataset = open_uav123(root)
    with pytest.raises(DataError, match=r"anno/UAV123/bike1\.txt cannot be read"):
        dataset[0]
    with pytest.raises(DataError, match=r"bird1/000003\.jpg cannot be read"):
        dataset.find("uav_bird1_1").frame(2)
    (root / "data_seq/UAV123/bird1/000253.jpg").unlink()
    with pytest.raises(DataError, match=r"frame .*bird1/000253\.jpg is missing; expected 253 frames"):
        dataset.find("uav_bird1_1")


def test_what_is_not_there_can_be_left_out(root: Path) -> None:
    dataset = reopened(open_uav123(root, present="only"))
    assert dataset.names == ("uav_bird1_1", "uav_bird1_2", "uav_bird1_3")
    assert (dataset[1].name, len(dataset[1])) == ("uav_bird1_2", 703)
    (root / "data_seq").rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"holds no video of uav123; expected folders such as 'data_seq/UAV123/bike1'"):
        open_uav123(root, present="only")


def test_wrong_folders_and_splits_are_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"split is 'uav20l'; expected 'UAV123' or 'UAV20L'"):
        open_uav123(root, split="uav20l")
    with pytest.raises(DataError, match=r"anno/UAV123 does not exist; expected the folder that holds"):
        open_uav123(root / "anno")
    with pytest.raises(DataError, match="does not exist or is no folder"):
        open_uav123(root / "nowhere")
