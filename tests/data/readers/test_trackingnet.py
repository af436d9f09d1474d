"""TrackingNet from folders and LMDBs, against what OSTrack and the GOT-10k toolkit return."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ctsdk import ConfigError, DataError
from ctsdk.data.readers.trackingnet import open_trackingnet
from tests.helpers.fixtures import expected, grey, jpeg, level_of, pack_lmdb, write, write_fixture

ID = "-3TIfnTSM6c_2"
TEST_ID = "zeCTm0BHmrE_0"


def add_video(folder: Path, chunk: str, name: str, num_frames: int = 2) -> None:
    write(folder / chunk / "anno" / f"{name}.txt", b"1,2,3,4\n" * num_frames)
    for index in range(num_frames):
        write(folder / chunk / "frames" / name / f"{index}.jpg", jpeg(grey(index)))


def pack(folder: Path, target: Path) -> Path:
    """Pack each chunk by itself, with the list beside them in an order of no meaning."""
    rows = []
    for chunk in sorted(folder.iterdir(), reverse=True):
        pack_lmdb(chunk, target / f"{chunk.name}_lmdb")
        if chunk.name != "TEST":
            rows += [[int(chunk.name.removeprefix("TRAIN_")), path.stem] for path in (chunk / "anno").iterdir()]
    write(target / "seq_list.json", json.dumps(rows).encode())
    return target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_fixture(tmp_path, "trackingnet")


@pytest.fixture(params=["folder", "lmdb"])
def root(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Path:
    """All twelve chunks with a video each; the ids of the others sort before the one that has 24 frames."""
    for chunk in range(1, 12):
        add_video(folder, f"TRAIN_{chunk}", f"-{chunk:010d}_0")
    return folder if request.param == "folder" else pack(folder, tmp_path / "trackingnet_lmdb")


def test_training_videos_are_those_of_the_family(root: Path) -> None:
    reference = expected("OSTrack TrackingNet()[0]")
    video = open_trackingnet(root, split="train")[0]
    # The family keeps them in single precision.
    assert np.array_equal(video.boxes_xywh_px.astype(np.float32), np.array(reference["bbox"], dtype=np.float32))
    assert video.usable.tolist() == [bool(flag) for flag in reference["visible"]]
    assert video.about == {"object_class": reference["class_name"]}
    assert video.frame(0).shape == tuple(reference["frame_shape"])
    for index, level in zip((0, 5), reference["frame_grey"], strict=True):
        assert abs(level_of(video.frame(index)) - level) <= 1


def test_training_videos_are_those_of_the_toolkit(folder: Path) -> None:
    reference = expected("got10k toolkit TrackingNet train")
    # Chunks may be empty.
    dataset = open_trackingnet(folder, split="train")
    assert list(dataset.names) == reference["names"] == [ID]
    video = dataset[0]
    assert len(video) == reference["n_frames"]
    assert video.boxes_xywh_px.tolist() == reference["anno"]
    assert video.boxes_xywh_px.min() < 0
    paths = [video.read_frame.paths[0], video.read_frame.paths[-1]]
    assert paths == [f"TRAIN_0/frames/{ID}/{reference[end]}" for end in ("first", "last")]


def test_test_videos_are_those_of_the_references(root: Path) -> None:
    toolkit, family = expected("got10k toolkit TrackingNet test"), expected("OSTrack test TrackingNet")
    dataset = open_trackingnet(root)
    assert str(dataset) == "trackingnet test"
    assert list(dataset.names) == toolkit["names"] == [family["name"]]
    video = dataset[0]
    assert len(video) == toolkit["n_frames"] == family["n_frames"]
    assert video.boxes_xywh_px.tolist() == toolkit["anno"] == family["ground_truth"]
    assert not video.has_truth
    # More than ten frames, whose names sort otherwise as text.
    assert family["last"].endswith(video.read_frame.paths[-1])
    assert [abs(level_of(video.frame(index)) - grey(index)) <= 1 for index in range(24)] == [True] * 24


def test_videos_come_in_the_order_of_chunks_and_names(root: Path) -> None:
    dataset = open_trackingnet(root, split="train")
    assert dataset.names == (ID, *(f"-{chunk:010d}_0" for chunk in range(1, 12)))
    assert abs(level_of(dataset[-1].frame(1)) - grey(1)) <= 1
    assert open_trackingnet(root, split="train", chunks="11, 0,2").names == (ID, "-0000000002_0", "-0000000011_0")


def test_names_are_sorted_within_a_chunk(folder: Path) -> None:
    for name in ("zz_0", "A_10", "A_1", "_a_0", "0_0"):
        add_video(folder, "TRAIN_0", name)
    for other in ("._zz_0.txt", "notes.md"):
        write(folder / "TRAIN_0" / "anno" / other, b"")
    assert open_trackingnet(folder, split="train", chunks="0").names == (ID, "0_0", "A_1", "A_10", "_a_0", "zz_0")


@pytest.mark.parametrize("chunks", ["", "12", "0,0", "-1", "0;1", "01", "0,"])
def test_wrong_chunks_are_refused(folder: Path, chunks: str) -> None:
    with pytest.raises(ConfigError, match="expected 'all', or numbers from 0 to 11"):
        open_trackingnet(folder, split="train", chunks=chunks)


def test_other_wrong_options_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"chunks='0' goes with split=train only"):
        open_trackingnet(folder, chunks="0")
    with pytest.raises(ConfigError, match="split is 'val'"):
        open_trackingnet(folder, split="val")
    with pytest.raises(ConfigError, match="present is ''"):
        open_trackingnet(folder, present="")


def test_all_chunks_are_expected_unless_chosen(root: Path) -> None:
    shutil.rmtree(next(path for path in root.iterdir() if path.name.startswith("TRAIN_7")))
    with pytest.raises(DataError, match=r"TRAIN_7/anno does not exist; .*chunks=0,1,2, or present=only"):
        open_trackingnet(root, split="train")
    assert len(open_trackingnet(root, split="train", present="only")) == 11
    assert open_trackingnet(root, split="train", chunks="0,7", present="only").names == (ID,)
    shutil.rmtree(next(path for path in root.iterdir() if path.name.startswith("TEST")))
    with pytest.raises(DataError, match=r"TEST/anno does not exist; .*Check the path\.$"):
        open_trackingnet(root)


def test_videos_without_frames_can_be_left_out(folder: Path) -> None:
    write(folder / "TRAIN_0" / "anno" / "x_0.txt", b"1,2,3,4\n" * 3)
    assert open_trackingnet(folder, split="train", present="only").names == (ID,)
    with pytest.raises(DataError, match=r"TRAIN_0/frames/x_0/0\.jpg is missing"):
        open_trackingnet(folder, split="train").find("x_0")


def test_a_folder_without_videos_or_with_some_twice_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="holds 0 videos of the split train"):
        open_trackingnet(folder, split="train", chunks="3")
    add_video(folder, "TRAIN_5", ID)
    with pytest.raises(DataError, match=rf"more than once \['{ID}'\]"):
        open_trackingnet(folder, split="train")


def test_a_video_that_no_table_knows_has_no_class(folder: Path) -> None:
    add_video(folder, "TRAIN_0", "nobody_0")
    assert open_trackingnet(folder, split="train").find("nobody_0").about == {}


def test_a_data_set_travels_to_other_processes(root: Path) -> None:
    copy = pickle.loads(pickle.dumps(open_trackingnet(root, split="train")))
    assert abs(level_of(pickle.loads(pickle.dumps(copy[0])).frame(3)) - grey(3)) <= 1


def test_the_list_beside_the_lmdbs_says_what_is_used(folder: Path, tmp_path: Path) -> None:
    add_video(folder, "TRAIN_0", "unlisted_0")
    root = pack(folder, tmp_path / "packed")
    (root / "seq_list.json").write_text(json.dumps([[0, ID]]))
    assert open_trackingnet(root, split="train", chunks="0").names == (ID,)
    (root / "seq_list.json").unlink()
    assert open_trackingnet(root, split="train", chunks="0").names == (ID, "unlisted_0")
    for text in ("", "{}x", "[[0]]", "[1, 2]", '[["zero", "id"]]', '[[0.9, "id"]]', '["0a"]'):
        (root / "seq_list.json").write_text(text)
        with pytest.raises(DataError, match=r"seq_list\.json is not as expected, a JSON list of \[chunk, id\]"):
            open_trackingnet(root, split="train", chunks="0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-10], r"line 24: .*expected 4 numbers"),
        (lambda text: text.replace("-1.00", "NaN", 1), r"line 3: .*expected four finite numbers"),
        (lambda text: text.replace("-1.00", "inf", 1), r"line 3: .*expected finite numbers"),
        (lambda text: text.replace(",", ":"), r"line 1: .*expected 4 numbers"),
        (lambda text: "", "is empty"),
        (lambda text: text + " 1.00,2.00,3.00,4.00\r\n", r"frames/.*/24\.jpg is missing"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, change: Callable[[str], str], message: str) -> None:
    path = folder / "TRAIN_0" / "anno" / f"{ID}.txt"
    path.write_bytes(change(path.read_bytes().decode()).encode())
    with pytest.raises(DataError, match=message):
        open_trackingnet(folder, split="train")[0]


def test_rows_may_be_fewer_than_images(folder: Path) -> None:
    path = folder / "TRAIN_0" / "anno" / f"{ID}.txt"
    path.write_bytes(b"\r\n".join(path.read_bytes().split(b"\r\n")[:20]))
    assert len(open_trackingnet(folder, split="train")[0]) == 20


def test_a_missing_annotation_leaves_the_video_out_and_a_vanished_one_is_named(folder: Path) -> None:
    dataset = open_trackingnet(folder, split="train")
    (folder / "TRAIN_0" / "anno" / f"{ID}.txt").unlink()
    with pytest.raises(DataError, match=rf"TRAIN_0/anno/{ID}\.txt cannot be read"):
        dataset[0]


def test_missing_frames_are_named(folder: Path) -> None:
    (folder / "TEST" / "frames" / TEST_ID / "7.jpg").unlink()
    with pytest.raises(DataError, match=rf"{TEST_ID} holds 23 \.jpg files, but not .*/7\.jpg"):
        open_trackingnet(folder)[0]
    (folder / "TRAIN_0" / "frames" / ID / "7.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"7\.jpg \(8 bytes\) cannot be decoded"):
        open_trackingnet(folder, split="train")[0].frame(7)


def test_other_line_ends_and_a_mark_change_nothing(folder: Path) -> None:
    before = open_trackingnet(folder, split="train")[0].boxes_xywh_px
    path = folder / "TRAIN_0" / "anno" / f"{ID}.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n", b"\n").rstrip())
    assert open_trackingnet(folder, split="train")[0].boxes_xywh_px.tolist() == before.tolist()
