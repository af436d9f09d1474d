"""LaSOT and LaSOT_ext from folders and LMDBs, against what OSTrack and the GOT-10k toolkit return."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ctsdk import ConfigError, DataError
from ctsdk.data.readers.lasot import open_lasot, open_lasot_ext
from tests.helpers.fixtures import expected, grey, level_of, pack_lmdb, write, write_fixture

TEST = "airplane/airplane-1"
ATTRIBUTES = {"IV", "POC", "DEF", "MB", "CM", "ROT", "BC", "VC", "SV", "FOC", "FM", "OV", "LR", "ARC"}


@pytest.fixture(params=["folder", "lmdb"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = write_fixture(tmp_path, "lasot")
    return folder if request.param == "folder" else pack_lmdb(folder, tmp_path / "lasot_lmdb")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_fixture(tmp_path, "lasot")


def test_training_videos_are_those_of_the_family(root: Path) -> None:
    reference = expected('OSTrack Lasot(split train)["airplane-10"]')
    dataset = open_lasot(root, split="train")
    # The first of the official list.
    assert dataset.names[0] == "airplane-10"
    video = dataset[0]
    assert video.boxes_xywh_px.tolist() == reference["bbox"]
    assert video.usable.tolist() == [bool(flag) for flag in reference["visible"]]
    assert video.about["object_class"] == reference["class_name"]
    # There is an image more than rows.
    assert len(video) == 24
    assert video.frame(0).shape == tuple(reference["frame_shape"])
    for index, level in zip((0, 5), reference["frame_grey"], strict=True):
        assert abs(level_of(video.frame(index)) - level) <= 1


def test_test_videos_are_those_of_the_family(root: Path) -> None:
    reference = expected("OSTrack test LaSOT airplane-1")
    dataset = open_lasot(root)
    video = dataset[0]
    assert (dataset.name, str(dataset), dataset.protocol) == ("lasot", "lasot test", "ostrack")
    assert video.name == reference["name"]
    assert len(video) == reference["n_frames"]
    paths = [video.read_frame.paths[0], video.read_frame.paths[-1]]
    assert paths == [reference[end].removeprefix("lasot/") for end in ("first", "last")]
    assert video.boxes_xywh_px.tolist() == reference["ground_truth"]
    assert video.visible.tolist() == [bool(flag) for flag in reference["target_visible"]]
    assert abs(level_of(video.frame(23)) - grey(23)) <= 1
    assert video.size_px is None


def test_descriptions_are_those_of_the_toolkits(root: Path) -> None:
    reference = expected("got10k toolkit LaSOT airplane-1")
    video = open_lasot(root).find("airplane-1")
    assert len(video) == reference["n_frames"]
    assert video.boxes_xywh_px.tolist() == reference["anno"]
    assert {name: labels.tolist() for name, labels in video.labels.items()} == {
        name: reference["meta"][name] for name in ("full_occlusion", "out_of_view")
    }
    assert video.about == {"object_class": "airplane", "language": reference["meta"]["nlp"]}
    # annos/att/airplane-1.txt of the LaSOT toolkit: 0,1,0,0,0,1,0,0,1,0,0,0,1,0
    assert video.attributes == ("POC", "ROT", "SV", "LR")


def test_the_official_lists_are_whole(root: Path) -> None:
    test, train, every = (open_lasot(root, split=split) for split in ("test", "train", "all"))
    assert (len(test), len(train), len(every)) == (280, 1120, 1400)
    assert set(test.names) | set(train.names) == set(every.names)
    assert every.names == tuple(sorted(every.names))
    assert Counter(name.rpartition("-")[0] for name in test.names) == dict.fromkeys(
        {name.rpartition("-")[0] for name in every.names}, 4
    )
    # The order of the LaSOT toolkit and of the family, which is not that of the alphabet.
    assert test.names[:4] == ("airplane-1", "airplane-9", "airplane-13", "airplane-15")
    assert test.names[-1] == "volleyball-19"
    assert "rubicCube-1" in every.names


def test_every_video_of_lasot_has_attributes(folder: Path) -> None:
    for number in (11, 12, 14):
        shutil.copytree(folder / "airplane/airplane-10", folder / f"airplane/airplane-{number}")
    dataset = open_lasot(folder, split="all", present="only")
    assert dataset.names == ("airplane-1", "airplane-10", "airplane-11", "airplane-12", "airplane-14")
    for video in dataset:
        assert video.attributes
        assert ATTRIBUTES.issuperset(video.attributes)
    assert dataset.find("airplane-11").attributes == ("CM", "SV", "ARC")


def test_a_missing_video_is_an_error_unless_only_what_is_there_is_asked_for(root: Path) -> None:
    with pytest.raises(DataError, match=r"airplane/airplane-9/groundtruth\.txt"):
        open_lasot(root)[1]
    assert open_lasot(root, present="only").names == ("airplane-1",)
    assert open_lasot(root, split="all", present="only").names == ("airplane-1", "airplane-10")


def test_other_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no class of lasot; expected folders such as 'airplane'"):
        open_lasot(tmp_path)
    with pytest.raises(DataError, match="holds no class of lasot_ext; expected folders such as 'atv'"):
        open_lasot_ext(folder)
    (tmp_path / "bare" / "airplane").mkdir(parents=True)
    with pytest.raises(DataError, match="holds none of the videos of lasot test"):
        open_lasot(tmp_path / "bare", present="only")
    with pytest.raises(ConfigError, match="split is 'val'; expected 'test' or 'train' or 'all'"):
        open_lasot(folder, split="val")
    with pytest.raises(ConfigError, match="present is 'maybe'"):
        open_lasot_ext(folder, present="maybe")


def test_a_level_around_the_classes_and_stray_files_do_no_harm(folder: Path) -> None:
    write(folder / "testing_set.txt", b"airplane-1\n")
    assert open_lasot(folder, present="only").names == ("airplane-1",)
    outer = folder.parent / "outer"
    outer.mkdir()
    folder.rename(outer / "LaSOTBenchmark")
    dataset = open_lasot(outer, present="only")
    assert dataset.names == ("airplane-1",)
    assert dataset[0].frame(0).shape == (48, 64, 3)


def test_a_data_set_travels_to_other_processes(root: Path) -> None:
    copy = pickle.loads(pickle.dumps(open_lasot(root)))
    assert abs(level_of(pickle.loads(pickle.dumps(copy[0])).frame(3)) - grey(3)) <= 1


def test_the_extension_has_its_own_name_and_list(folder: Path) -> None:
    target = folder.parent / "ext" / "atv" / "atv-1"
    shutil.copytree(folder / TEST, target)
    dataset = open_lasot_ext(folder.parent / "ext")
    assert (str(dataset), dataset.protocol, len(dataset)) == ("lasot_ext", "ostrack", 150)
    classes = Counter(name.rpartition("-")[0] for name in dataset.names)
    assert (len(classes), set(classes.values())) == (15, {10})
    # The family's order: some classes are sorted as text, some by number.
    assert dataset.names[:3] == ("atv-1", "atv-2", "atv-3")
    assert dataset.names[20:23] == ("cosplay-1", "cosplay-10", "cosplay-2")
    video = dataset[0]
    assert (video.name, video.attributes, video.about["object_class"]) == ("atv-1", (), "atv")
    assert open_lasot_ext(folder.parent / "ext", present="only").names == ("atv-1",)


@pytest.mark.parametrize("file", ["groundtruth.txt", "full_occlusion.txt", "out_of_view.txt"])
def test_a_file_that_counts_must_be_there(folder: Path, file: str) -> None:
    (folder / TEST / file).unlink()
    with pytest.raises(DataError, match=rf"{TEST}/{file} cannot be read: No such file"):
        open_lasot(folder)[0]


def test_the_description_may_be_missing(folder: Path) -> None:
    write(folder / TEST / "nlp.txt", b"\n")
    assert "language" not in open_lasot(folder)[0].about
    (folder / TEST / "nlp.txt").unlink()
    assert "language" not in open_lasot(folder)[0].about


def rows_left_out(text: str) -> str:
    rows = text.split("\n")
    return "\n".join(rows[:5] + rows[6:])


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("groundtruth.txt", lambda text: text[:-4], r"groundtruth\.txt, line 24: .*expected 4 numbers"),
        ("groundtruth.txt", rows_left_out, r"full_occlusion\.txt has 24 flags for 23 boxes"),
        ("groundtruth.txt", lambda text: text.replace("\n2,", "\nNaN,", 1), r"line 2: .*expected four finite numbers"),
        ("groundtruth.txt", lambda text: text.replace("\n2,", "\ninf,", 1), r"line 2: .*expected finite numbers"),
        ("groundtruth.txt", lambda text: text.replace(",", "|"), r"line 1: .*expected 4 numbers"),
        ("groundtruth.txt", lambda text: "", r"groundtruth\.txt is empty"),
        ("full_occlusion.txt", lambda text: text[:20], r"full_occlusion\.txt has 10 flags for 24 boxes"),
        ("full_occlusion.txt", lambda text: text.replace("1", "2", 1), r"full_occlusion\.txt, line 1, number 4: '2'"),
        ("out_of_view.txt", lambda text: "", r"out_of_view\.txt has 0 flags"),
        ("out_of_view.txt", lambda text: text.replace(",", ";"), r"out_of_view\.txt, line 1, number 1"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, file: str, change: Callable[[str], str], message: str) -> None:
    path = folder / TEST / file
    path.write_bytes(change(path.read_text()).encode())
    with pytest.raises(DataError, match=message):
        open_lasot(folder)[0]


@pytest.mark.parametrize("file", ["groundtruth.txt", "full_occlusion.txt", "nlp.txt"])
def test_files_may_have_passed_through_other_systems(folder: Path, file: str) -> None:
    before = open_lasot(folder)[0]
    path = folder / TEST / file
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    after = open_lasot(folder)[0]
    assert after.boxes_xywh_px.tolist() == before.boxes_xywh_px.tolist()
    assert after.visible.tolist() == before.visible.tolist()
    assert after.about == before.about


def test_missing_frames_are_named(folder: Path) -> None:
    (folder / TEST / "img" / "00000007.jpg").unlink()
    write(folder / TEST / "img" / "00000009.jpg", b"<html>")
    video = open_lasot(folder)[0]
    with pytest.raises(DataError, match=r"img/00000007\.jpg cannot be read"):
        video.frame(6)
    with pytest.raises(DataError, match=r"img/00000009\.jpg \(6 bytes\) cannot be decoded"):
        video.frame(8)
    shutil.rmtree(folder / TEST / "img")
    with pytest.raises(DataError, match=r"img/00000001\.jpg is missing"):
        open_lasot(folder)[0]
