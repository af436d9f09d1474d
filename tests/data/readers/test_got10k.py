"""GOT-10k from folders and LMDBs, against what OSTrack and the GOT-10k toolkit return."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ctsdk import ConfigError, DataError
from ctsdk.data.readers.got10k import open_got10k
from ctsdk.data.readers.tables import read_table
from tests.helpers.fixtures import expected, grey, jpeg, level_of, pack_lmdb, write, write_fixture

FIRST = "train/GOT-10k_Train_000001"
META = ("object_class", "motion_class", "major_class", "root_class", "motion_adverb")


@pytest.fixture(params=["folder", "lmdb"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = write_fixture(tmp_path, "got10k")
    return folder if request.param == "folder" else pack_lmdb(folder, tmp_path / "got10k_lmdb")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_fixture(tmp_path, "got10k")


def write_list(root: Path, num_videos: int) -> list[str]:
    names = [f"GOT-10k_Train_{number:06d}" for number in range(1, num_videos + 1)]
    write(root / "train" / "list.txt", "\n".join(names).encode())
    return names


def test_training_videos_are_those_of_the_family(root: Path) -> None:
    video = open_got10k(root, split="train")[0]
    reference = expected("OSTrack Got10k(train, seq_ids=[0,1])[0]")
    assert video.boxes_xywh_px.tolist() == reference["bbox"]
    assert video.usable.tolist() == [bool(flag) for flag in reference["visible"]]
    # A box at the border is as good as any, and one without an area can still be called visible.
    assert video.visible.tolist() == [bool(flag) or index == 9 for index, flag in enumerate(reference["visible"])]
    meta = {"object_class": reference["class_name"], **{name: reference["meta"][name] for name in META[1:]}}
    assert dict(video.about) == {**meta, "resolution": "64x48"}
    assert video.frame(0).shape == tuple(reference["frame_shape"])
    for index, level in zip((0, 5), reference["frame_grey"], strict=True):
        assert abs(level_of(video.frame(index)) - level) <= 1


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_videos_are_those_of_the_toolkit(root: Path, split: str) -> None:
    dataset, reference = open_got10k(root, split=split), expected(f"got10k toolkit GOT10k {split}")
    assert (dataset.name, dataset.split, dataset.protocol) == ("got10k", split, "got10k")
    assert list(dataset.names) == reference["names"]
    video = dataset[0]
    assert len(video) == reference["n_frames"]
    assert video.boxes_xywh_px.tolist() == reference["anno"]
    assert video.read_frame.paths[0] == reference["first"].removeprefix("got10k/")
    if reference["meta"] is not None:
        assert {name: labels.tolist() for name, labels in video.labels.items()} == {
            name: reference["meta"][name] for name in ("absence", "cover", "cut_by_image")
        }
        assert [video.about[name] for name in META] == [reference["meta"][name] for name in META]


@pytest.mark.parametrize("split", ["val", "test"])
def test_test_videos_are_those_of_the_family(root: Path, split: str) -> None:
    reference = expected(f"OSTrack test GOT-10k {split}")
    video = open_got10k(root, split=split).find(reference["name"])
    assert len(video) == reference["n_frames"]
    paths = [video.read_frame.paths[0], video.read_frame.paths[-1]]
    assert paths == [reference[end].removeprefix("got10k/") for end in ("first", "last")]
    assert video.boxes_xywh_px.tolist() == reference["ground_truth"]
    assert video.boxes_xywh_px[0].tolist() == reference["init_bbox"]
    assert video.has_truth is (split == "val")
    assert abs(level_of(video.frame(23)) - grey(23)) <= 1


def test_frames_may_change_their_size_half_way(folder: Path) -> None:
    write(folder / FIRST / "00000013.jpg", jpeg(0, 80, 60))
    video = open_got10k(folder, split="train")[0]
    assert video.size_px is None
    assert [video.frame_size_px(index) for index in (0, 12)] == [(64, 48), (80, 60)]


def test_a_data_set_travels_to_other_processes(root: Path) -> None:
    copy = pickle.loads(pickle.dumps(open_got10k(root, split="train")))
    assert abs(level_of(pickle.loads(pickle.dumps(copy[1])).frame(3)) - grey(3)) <= 1


def test_cuts_take_the_official_lines_in_their_order(tmp_path: Path) -> None:
    names = write_list(tmp_path, 9335)
    numbers_of = {name: number for number, name in enumerate(names)}
    lines = {
        split: [numbers_of[name] for name in open_got10k(tmp_path, split=split).names]
        for split in ("train", "train_full", "vottrain", "votval", "pytracking_train", "pytracking_val")
    }
    assert {split: len(numbers) for split, numbers in lines.items()} == {
        "train": 9335,
        "train_full": 9335,
        "vottrain": 7086,
        "votval": 1249,
        "pytracking_train": 7934,
        "pytracking_val": 1401,
    }
    assert lines["train"] == sorted(lines["train_full"])
    assert lines["train_full"] == lines["pytracking_train"] + lines["pytracking_val"]
    # The first lines of the official files.
    assert lines["train_full"][:5] == lines["pytracking_train"][:5] == [3784, 8998, 3906, 1631, 8277]
    assert lines["vottrain"][:5] == [3784, 8998, 1631, 8277, 8358]
    assert lines["pytracking_val"][:5] == [1349, 5651, 5878, 562, 2202]
    assert lines["votval"][:5] == [1349, 5878, 562, 2202, 8904]
    # The lists were meant to leave out videos by number, from 1, and left out lines, from 0.
    kept = {names[line] for line in lines["vottrain"] + lines["votval"]}
    forbidden = {f"GOT-10k_Train_{int(word):06d}" for row in read_table("got10k_not_vot.txt") for word in row.split()}
    assert (len(forbidden), len(forbidden & kept)) == (1000, 890)


def test_own_line_numbers_choose_videos_in_their_order(folder: Path, tmp_path: Path) -> None:
    lines = write(tmp_path / "my lines.txt", b"1\r\n0\r\n")
    dataset = open_got10k(folder, split="train", lines=str(lines))
    assert dataset.names == ("GOT-10k_Train_000002", "GOT-10k_Train_000001")
    assert str(dataset) == "got10k train_my lines"
    for text, message in (
        (b"0\n-1\n", r"my lines\.txt, line 2: '-1'; expected the number of a line"),
        (b"0\n\n1\n", r"line 2: ''"),
        (b"0\n0\n", "has 2 numbers, 1 of them different"),
        (b"", "has 0 numbers"),
        (b"0\n2\n", r"for .*my lines\.txt: the list has 2 lines, but line 2, counted from 0, is asked for"),
    ):
        lines.write_bytes(text)
        with pytest.raises(DataError, match=message):
            open_got10k(folder, split="train", lines=str(lines))
    with pytest.raises(ConfigError, match="does not go with the cut votval"):
        open_got10k(folder, split="votval", lines=str(lines))


def test_wrong_options_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="split is 'validation'; expected 'train' or 'val' or 'test' or 'train_full'"):
        open_got10k(folder, split="validation")
    with pytest.raises(ConfigError, match="present is 'yes'"):
        open_got10k(folder, present="yes")
    with pytest.raises(DataError, match=r"list\.txt for the split vottrain: the list has 2 lines, but line 9331"):
        open_got10k(folder, split="vottrain")


def test_the_list_may_end_in_a_newline_or_not(folder: Path) -> None:
    path, names = folder / "train" / "list.txt", ("GOT-10k_Train_000001", "GOT-10k_Train_000002")
    for text in ("{}\n{}", "{}\n{}\n", "\ufeff{}\r\n{}\r\n\r\n"):
        path.write_bytes(text.format(*names).encode())
        assert open_got10k(folder, split="train").names == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"list\.txt has 0 names"),
        (b"a\n\nb\n", r"list\.txt, line 2: ''"),
        (b"a\nb\na\n", r"has 3 names, 2 of them different"),
        (b"a\n../b\n", r"list\.txt, line 2: '\.\./b'"),
        (b"\xff\xfea\0", r"list\.txt is no UTF-8 text"),
    ],
)
def test_a_wrong_list_is_refused(folder: Path, text: bytes, message: str) -> None:
    write(folder / "train" / "list.txt", text)
    with pytest.raises(DataError, match=message):
        open_got10k(folder, split="train")


def test_the_folder_of_a_split_can_be_given_itself(folder: Path) -> None:
    assert open_got10k(folder / "train", split="train")[0].frame(0).shape == (48, 64, 3)
    with pytest.raises(DataError, match=r"holds a list\.txt itself, but is not called val"):
        open_got10k(folder / "train", split="val")
    with pytest.raises(DataError, match=r"val.list\.txt does not exist; expected the folder that holds train, val"):
        open_got10k(folder.parent, split="val")
    with pytest.raises(DataError, match="does not exist or is no folder"):
        open_got10k(folder / "nowhere", split="val")


def test_what_is_not_there_can_be_left_out(root: Path, folder: Path) -> None:
    write_list(folder, 9335)
    if root != folder:
        root = pack_lmdb(folder, folder.parent / "partial_lmdb")
    assert open_got10k(root, split="train", present="only").names == ("GOT-10k_Train_000001", "GOT-10k_Train_000002")
    # Lines 0 and 1 are in one cut each.
    kept = [open_got10k(root, split=split, present="only").names for split in ("pytracking_train", "train_full")]
    assert Counter(kept[1]) == Counter(("GOT-10k_Train_000001", "GOT-10k_Train_000002"))
    with pytest.raises(DataError, match=r"GOT-10k_Train_000003.groundtruth\.txt"):
        open_got10k(root, split="train")[2]


def test_nothing_present_is_an_error(folder: Path) -> None:
    shutil.rmtree(folder / "val" / "GOT-10k_Val_000001")
    with pytest.raises(DataError, match="holds none of the videos of the split val"):
        open_got10k(folder, split="val", present="only")


@pytest.mark.parametrize("file", ["groundtruth.txt", "absence.label", "cover.label"])
def test_a_file_that_counts_must_be_there(folder: Path, file: str) -> None:
    (folder / FIRST / file).unlink()
    with pytest.raises(DataError, match=rf"{FIRST}/{file} cannot be read: No such file"):
        open_got10k(folder, split="train")[0]


def test_a_file_that_only_describes_may_be_missing(folder: Path) -> None:
    (folder / FIRST / "meta_info.ini").unlink()
    (folder / FIRST / "cut_by_image.label").unlink()
    video = open_got10k(folder, split="train")[0]
    assert video.about == {}
    assert set(video.labels) == {"absence", "cover"}


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("groundtruth.txt", lambda text: text[:-20], r"groundtruth\.txt, line 24: .*expected 4 numbers"),
        ("groundtruth.txt", lambda text: "\n".join(text.split("\n")[:20]), r"absence\.label has 24 flags for 20 boxes"),
        (
            "groundtruth.txt",
            lambda text: text.replace("\n2.0000", "\nnan", 1),
            r"line 3: .*expected four finite numbers",
        ),
        ("groundtruth.txt", lambda text: text.replace("\n2.0000", "\ninf", 1), r"line 3: .*expected finite numbers"),
        ("groundtruth.txt", lambda text: text.replace(",", ";"), r"line 1: .*expected 4 numbers"),
        ("groundtruth.txt", lambda text: "", r"groundtruth\.txt is empty"),
        ("cover.label", lambda text: text.replace("7", "9", 1), r"cover\.label, line 2: '9'.*from 0 to 8"),
        ("absence.label", lambda text: text.replace("1", "2", 1), r"absence\.label, line 7: '2'.*from 0 to 1"),
        ("cover.label", lambda text: text[:-2], r"cover\.label has 23 flags for 24 boxes"),
        ("cut_by_image.label", lambda text: "", r"cut_by_image\.label has 0 flags for 24 boxes"),
        ("meta_info.ini", lambda text: text[:80], r"meta_info\.ini has \d lines; expected 11"),
        ("meta_info.ini", lambda text: text.replace("(64, 48)", "unknown"), r"the last like 'resolution"),
        ("meta_info.ini", lambda text: "", r"meta_info\.ini has 0 lines"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, file: str, change: Callable[[str], str], message: str) -> None:
    path = folder / FIRST / file
    path.write_bytes(change(path.read_text()).encode())
    with pytest.raises(DataError, match=message):
        open_got10k(folder, split="train")[0]


@pytest.mark.parametrize("file", ["groundtruth.txt", "cover.label", "absence.label", "meta_info.ini"])
def test_files_may_have_passed_through_other_systems(folder: Path, file: str) -> None:
    before = open_got10k(folder, split="train")[0]
    path = folder / FIRST / file
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    after = open_got10k(folder, split="train")[0]
    assert after.boxes_xywh_px.tolist() == before.boxes_xywh_px.tolist()
    assert after.visible.tolist() == before.visible.tolist()
    assert after.about == before.about


def test_empty_fields_of_the_description_are_left_out(folder: Path) -> None:
    path = folder / FIRST / "meta_info.ini"
    path.write_text(path.read_text().replace("slowly", "").replace("ctenophore", "sea walnut: a jelly"))
    about = open_got10k(folder, split="train")[0].about
    assert "motion_adverb" not in about
    assert about["object_class"] == "sea walnut: a jelly"


def test_missing_frames_are_named(folder: Path) -> None:
    (folder / FIRST / "00000024.jpg").unlink()
    with pytest.raises(DataError, match=r"00000024\.jpg is missing"):
        open_got10k(folder, split="train")[0]
    write(folder / FIRST / "00000024.jpg", b"")
    (folder / FIRST / "00000005.jpg").unlink()
    video = open_got10k(folder, split="train")[0]
    with pytest.raises(DataError, match=r"00000005\.jpg cannot be read"):
        video.frame(4)
    with pytest.raises(DataError, match=r"00000024\.jpg \(0 bytes\) cannot be decoded"):
        video.frame(23)
    test = folder / "test" / "GOT-10k_Test_000001"
    (test / "00000005.jpg").unlink()
    with pytest.raises(DataError, match=r"holds 23 \.jpg files, but not .*00000005\.jpg"):
        open_got10k(folder, split="test")[0]


def test_a_test_video_may_have_its_whole_truth_but_no_part_of_it(folder: Path) -> None:
    path = folder / "test" / "GOT-10k_Test_000001" / "groundtruth.txt"
    path.write_text("1,2,3,4\n" * 24)
    assert open_got10k(folder, split="test")[0].has_truth
    path.write_text("1,2,3,4\n" * 23)
    with pytest.raises(DataError, match="24 frames and 23 boxes"):
        open_got10k(folder, split="test")[0]


def test_a_video_may_have_one_frame(folder: Path) -> None:
    for file, text in (
        ("groundtruth.txt", "1,2,3,4"),
        ("absence.label", "0"),
        ("cover.label", "8\n"),
        ("cut_by_image.label", "0\n"),
    ):
        write(folder / FIRST / file, text.encode())
    video = open_got10k(folder, split="train")[0]
    assert len(video) == 1
    assert video.boxes_xywh_px.tolist() == [[1, 2, 3, 4]]
