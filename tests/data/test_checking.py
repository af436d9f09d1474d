"""What a check of a data set finds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ctsdk.data.checking import DatasetReport, check_dataset
from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.files import Folder
from ctsdk.data.readers.frames import ImageFiles
from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError

SIZE_PX = (64, 48)
BOX = [10.0, 10.0, 20.0, 16.0]


def write_frames(folder: Path, num_frames: int, size_px: tuple[int, int] = SIZE_PX) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num_frames):
        cv2.imwrite(str(folder / f"{index:03d}.png"), np.full((size_px[1], size_px[0], 3), index, np.uint8))


def video(root: Path, name: str, boxes: list[list[float]], **changes: object) -> Video:
    paths = [f"{name}/{index:03d}.png" for index in range(len(boxes))]
    values = {
        "name": name,
        "boxes_xywh_px": np.array(boxes),
        "visible": np.ones(len(boxes), dtype=bool),
        "size_px": None,
        "read_frame": ImageFiles(Folder(root), paths),
        **changes,
    }
    return Video(**values)  # type: ignore[arg-type]


def dataset(*videos: Video | DataError) -> VideoDataset:
    def read(index: int) -> Video:
        found = videos[index]
        if isinstance(found, DataError):
            raise found
        return found

    return VideoDataset("made", "test", tuple(f"v{index}" for index in range(len(videos))), read)


def report_of(made: VideoDataset, **options: object) -> DatasetReport:
    *_, report = check_dataset(made, **options)  # type: ignore[arg-type]
    return report


def test_a_whole_data_set_is_sound_and_counted(tmp_path: Path) -> None:
    write_frames(tmp_path / "v0", 3)
    write_frames(tmp_path / "v1", 2)
    report = report_of(dataset(video(tmp_path, "v0", [BOX] * 3), video(tmp_path, "v1", [BOX] * 2)))
    assert report.is_sound
    assert not report.oddities
    assert (report.num_videos, report.num_readable) == (2, 2)
    assert (report.num_frames, report.num_frames_read) == (5, 5)


def test_every_missing_piece_is_a_fault_and_the_rest_is_still_read(tmp_path: Path) -> None:
    write_frames(tmp_path / "v1", 3)
    (tmp_path / "v1" / "001.png").unlink()
    (tmp_path / "v1" / "002.png").write_bytes(b"no image")
    report = report_of(dataset(DataError("truth.txt is missing."), video(tmp_path, "v1", [BOX] * 3)))
    assert not report.is_sound
    assert [fault.video for fault in report.faults] == ["v0", "v1", "v1"]
    assert "truth.txt is missing" in report.faults[0].message
    assert "001.png" in report.faults[1].message
    assert "002.png" in report.faults[2].message
    assert (report.num_readable, report.num_frames, report.num_frames_read) == (1, 3, 1)


@pytest.mark.parametrize(
    ("boxes", "visible", "what"),
    [
        ([BOX, [np.nan] * 4], [True, False], "boxes that are NaN"),
        ([BOX, [0, 0, 0, 0]], [True, False], "boxes without an area"),
        ([BOX, [5, 5, 0, 4]], [True, True], "visible targets without a box"),
        ([BOX, BOX], [True, False], "targets that cannot be seen"),
        ([BOX, [-1, 5, 9, 9]], [True, True], "boxes that begin left of or above the frame"),
        ([BOX, [50, 5, 30, 9]], [True, True], "boxes that end right of or below the frame"),
        ([[0, 0, 0, 0], BOX], [True, True], "videos whose first box cannot start a tracker"),
    ],
)
def test_odd_boxes_are_counted_with_their_place(
    tmp_path: Path, boxes: list[list[float]], visible: list[bool], what: str
) -> None:
    write_frames(tmp_path / "v0", 2)
    report = report_of(dataset(video(tmp_path, "v0", boxes, visible=np.array(visible))))
    assert report.is_sound
    assert report.oddities[what] == 1
    assert report.examples[what] == f"v0, frame {0 if 'first box' in what else 1}"


def test_frames_of_several_sizes_and_unused_images_are_odd(tmp_path: Path) -> None:
    write_frames(tmp_path / "v0", 3)
    write_frames(tmp_path / "v0", 1, (32, 24))
    report = report_of(dataset(video(tmp_path, "v0", [[2, 2, 8, 8]] * 2)))
    assert report.oddities == {"videos whose frames change their size": 1, "images that no video uses": 1}
    assert report.examples["images that no video uses"] == str(tmp_path / "v0" / "002.png")


def test_images_that_another_video_of_the_folder_uses_are_not_odd(tmp_path: Path) -> None:
    write_frames(tmp_path / "v0", 4)
    frames = ImageFiles(Folder(tmp_path), ["v0/002.png", "v0/003.png"])
    second = video(tmp_path, "v1", [BOX] * 2, read_frame=frames)
    assert not report_of(dataset(video(tmp_path, "v0", [BOX] * 2), second)).oddities


def test_fewer_frames_can_be_read(tmp_path: Path) -> None:
    made = dataset(video(tmp_path, "v0", [BOX] * 5))
    assert report_of(made, frames="none").is_sound
    assert len(report_of(made, frames="ends").faults) == 2
    assert len(report_of(made).faults) == 5


def test_test_sets_with_the_first_box_only_are_named(tmp_path: Path) -> None:
    report = report_of(dataset(video(tmp_path, "v0", [BOX], num_frames=7)), frames="none")
    assert report.num_frames == 7
    assert report.oddities["videos with the first box only"] == 1


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no videos"):
        report_of(dataset())
    with pytest.raises(ConfigError, match="num_threads=0"):
        report_of(dataset(video(tmp_path, "v0", [BOX])), num_threads=0)
