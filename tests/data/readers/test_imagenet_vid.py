"""ImageNet-VID: what the official loaders give, their cache and ours, and files that are wrong."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.imagenet_vid import open_imagenet_vid
from ctsdk.errors import ConfigError, DataError, OutputError
from tests.helpers.fixtures import expected, grey, jpeg, level_of, pack_lmdb, write, write_fixture

SET = "ILSVRC2015_VID_train_0000"
VIDEO = "ILSVRC2015_train_00001000"
ANNOTATIONS = f"Annotations/VID/train/{SET}/{VIDEO}"
NAMES = (f"{VIDEO}-0", f"{VIDEO}-1")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_fixture(tmp_path, "vid")


def official_cache() -> list[dict[str, Any]]:
    """What the official loader writes for the fixture."""
    return [
        {
            "set_id": 0,
            "vid_id": 1000,
            "class_name": track["meta"]["object_class"],
            "start_frame": track["start_frame"],
            "anno": [[int(x) for x in box] for box in track["bbox"]],
            "target_visible": [bool(flag) for flag in track["visible"]],
            "image_size": [64, 48],
        }
        for track in expected("OSTrack ImagenetVID()")
    ]


def assert_as_ostrack(dataset: VideoDataset) -> None:
    assert (str(dataset), dataset.names) == ("vid train", NAMES)
    for video, name, official in zip(dataset, NAMES, expected("OSTrack ImagenetVID()"), strict=True):
        assert video.name == name
        np.testing.assert_array_equal(video.boxes_xywh_px, official["bbox"])
        assert video.visible.tolist() == video.usable.tolist() == official["visible"]
        assert video.about == {"object_class": official["meta"]["object_class"]}
        levels = [level_of(video.frame(index)) for index in range(len(video))]
        wanted = [grey(official["start_frame"] + index) for index in range(len(video))]
        np.testing.assert_allclose(levels, wanted, atol=1)
        assert (wanted[0], wanted[5]) == tuple(official["frame_grey"])


def xml(*objects: tuple[str, int], size: str = "<size><width>64</width><height>48</height></size>") -> bytes:
    """An annotation of objects, each with its track and left side; a box is 20 x 10 px."""
    items = "".join(
        f"<object><trackid>{track}</trackid><name>n1</name><bndbox><xmax>{left + 20}</xmax><xmin>{left}</xmin>"
        "<ymax>15</ymax><ymin>5</ymin></bndbox><occluded>0</occluded><generated>0</generated></object>"
        for track, left in objects
    )
    return f"<annotation>{size}{items}</annotation>".encode()


def write_video(root: Path, folder: str, *frames: bytes) -> None:
    for number, frame in enumerate(frames):
        write(root / "Annotations/VID" / folder / f"{number:06d}.xml", frame)
        write(root / "Data/VID" / folder / f"{number:06d}.JPEG", jpeg(grey(number)))


# -- what the official loaders give -----------------------------------------------------------------------------------


def test_tracks_end_at_the_first_gap_by_the_rule_of_ostrack(root: Path) -> None:
    assert_as_ostrack(open_imagenet_vid(root))
    assert not (root / "cache.json").exists()


def test_gaps_are_skipped_by_the_rule_of_got10k(root: Path) -> None:
    dataset, official = open_imagenet_vid(root, rule="got10k"), expected("got10k toolkit ImageNetVID")
    assert dataset.names == tuple(official)
    for name, track in official.items():
        video = dataset.find(name)
        assert len(video) == track["n_frames"]
        np.testing.assert_array_equal(video.boxes_xywh_px, track["anno"])
        assert abs(level_of(video.frame(0)) - grey(int(track["first"].partition(".")[0]))) <= 1
    # Track 0 is absent in frames 12 and 13, and occluded in frame 2.
    gapped = dataset[0]
    assert [level_of(gapped.frame(index)) for index in (11, 12)] == pytest.approx([grey(11), grey(14)], abs=1)
    assert np.flatnonzero(~gapped.visible).tolist() == [2]


def test_an_lmdb_is_read_with_annotations_or_with_the_official_cache(root: Path, tmp_path: Path) -> None:
    assert_as_ostrack(open_imagenet_vid(pack_lmdb(root, tmp_path / "whole")))
    write(root / "cache.json", json.dumps(official_cache()).encode())
    packed = pack_lmdb(root, tmp_path / "vid_lmdb", lambda path: path.startswith(("cache.json", "Data/")))
    assert_as_ostrack(open_imagenet_vid(packed))
    with pytest.raises(DataError, match=r"Annotations/VID/train' in .*vid_lmdb"):
        open_imagenet_vid(packed, rule="got10k")


def test_a_data_set_goes_to_other_processes(root: Path) -> None:
    assert_as_ostrack(pickle.loads(pickle.dumps(open_imagenet_vid(root))))


def test_the_official_cache_is_read_instead_of_the_annotations(root: Path) -> None:
    shutil.rmtree(root / "Annotations")
    write(root / "cache.json", json.dumps(official_cache()).encode())
    assert_as_ostrack(open_imagenet_vid(root))
    # It says nothing of the other rule.
    with pytest.raises(DataError, match=r"Annotations/VID/train cannot be listed"):
        open_imagenet_vid(root, rule="got10k")


def test_nothing_is_written_to_the_root(root: Path) -> None:
    places = [root, *root.rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    before = {place: place.stat().st_mtime_ns for place in places}
    try:
        assert_as_ostrack(open_imagenet_vid(root))
        assert {place: place.stat().st_mtime_ns for place in [root, *root.rglob("*")]} == before
    finally:
        for place in before:
            place.chmod(0o755)


# -- rules ------------------------------------------------------------------------------------------------------------


def test_videos_come_in_the_order_of_their_names_and_tracks_in_that_of_their_beginnings(tmp_path: Path) -> None:
    train = "train/ILSVRC2015_VID_train_000"
    write_video(tmp_path, f"{train}1/ILSVRC2015_train_00000001", xml(("0", 1)), xml(("0", 2)))
    write_video(tmp_path, f"{train}0/ILSVRC2015_train_00000003", xml(), xml(("10", 3), ("2", 4)), xml(("2", 4)))
    write_video(tmp_path, f"{train}0/ILSVRC2015_train_00000002", xml(("5", 6), ("5", 7)), xml(("5", 8)))
    write(tmp_path / "Annotations/VID/train/notes.txt", b"ignored")
    write(tmp_path / f"Annotations/VID/{train}1/.DS_Store", b"ignored")
    write(tmp_path / f"Annotations/VID/{train}1/ILSVRC2015_train_00000001/._000000.xml", b"ignored")

    dataset = open_imagenet_vid(tmp_path)
    assert [(video.name[-10:], video.boxes_xywh_px[:, 0].tolist()) for video in dataset] == [
        ("00000002-0", [6, 8]),  # an object that is there twice counts once
        ("00000003-0", [3]),
        ("00000003-1", [4, 4]),
        ("00000001-0", [1, 2]),
    ]
    toolkit = open_imagenet_vid(tmp_path, rule="got10k")
    assert [(video.name[-10:], video.boxes_xywh_px[:, 0].tolist()) for video in toolkit] == [
        ("00000002.5", [6, 7, 8]),
        ("00000003.2", [4, 4]),  # track 10 has one frame only
        ("00000001.0", [1, 2]),
    ]


def test_tracks_that_begin_with_the_whole_picture_are_left_out(root: Path) -> None:
    whole = "<size><width>20</width><height>10</height></size>"
    write_video(root, f"train/{SET}/ILSVRC2015_train_00000002", xml(("0", 0), size=whole), xml(("0", 0)))
    assert open_imagenet_vid(root).names == NAMES
    assert len(open_imagenet_vid(root, rule="got10k")) == 3
    cache = official_cache()
    cache[0].update(image_size=[25, 20])
    write(root / "cache.json", json.dumps(cache).encode())
    assert open_imagenet_vid(root).names == NAMES[1:]


def test_the_validation_split_has_no_sets(tmp_path: Path) -> None:
    write_video(tmp_path, "val/ILSVRC2015_val_00000000", xml(("0", 1)), xml(("0", 2)))
    dataset = open_imagenet_vid(tmp_path, split="val")
    assert (str(dataset), dataset.names) == ("vid val", ("ILSVRC2015_val_00000000-0",))
    assert level_of(dataset[0].frame(1)) == pytest.approx(grey(1), abs=1)
    assert open_imagenet_vid(tmp_path, split="val", rule="got10k").names == ("ILSVRC2015_val_00000000.0",)


# -- our cache --------------------------------------------------------------------------------------------------------


def test_the_cache_is_written_once_and_then_read(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "made" / "tracks.json"
    assert_as_ostrack(open_imagenet_vid(root, cache=str(cache)))
    assert list(cache.parent.iterdir()) == [cache]
    shutil.rmtree(root / "Annotations")
    assert_as_ostrack(open_imagenet_vid(root, cache=str(cache)))


def test_the_cache_keeps_tracks_with_gaps(root: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "tracks.json")
    first = open_imagenet_vid(root, rule="got10k", cache=cache)
    again = open_imagenet_vid(root, rule="got10k", cache=cache)
    assert again.names == first.names
    for video, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(video.boxes_xywh_px, other.boxes_xywh_px)
        np.testing.assert_array_equal(video.visible, other.visible)
        np.testing.assert_array_equal(video.frame(len(video) - 1), other.frame(len(video) - 1))


def test_a_cache_of_something_else_is_refused(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "tracks.json"
    open_imagenet_vid(root, cache=str(cache))
    with pytest.raises(DataError, match=r"tracks\.json says that it is .*'rule': 'ostrack'.*expected .*'got10k'"):
        open_imagenet_vid(root, rule="got10k", cache=str(cache))
    with pytest.raises(DataError, match=r"expected .*'split': 'val'"):
        open_imagenet_vid(root, split="val", cache=str(cache))
    cache.write_text("[]")
    with pytest.raises(DataError, match=r"says that it is .*None.*delete the file"):
        open_imagenet_vid(root, cache=str(cache))
    cache.write_text('{"content": ')
    with pytest.raises(DataError, match=r"tracks\.json is no JSON"):
        open_imagenet_vid(root, cache=str(cache))


def test_a_cache_that_cannot_be_written_is_an_error(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write .*tracks\.json"):
        open_imagenet_vid(root, cache=str(tmp_path / "file" / "tracks.json"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner").mkdir()
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        open_imagenet_vid(root, cache=str(tmp_path / "folder"))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("anno", [[1, 2, 3]]),
        ("anno", [[1, 2, 3, 4.5]] * 12),
        ("anno", [[1, 2, 3, "4"]] * 12),
        ("anno", [[1, 2, 3, 10**15]] * 12),
        ("anno", [[1, 2, 3, float("nan")]] * 12),
        ("anno", []),
        ("anno", None),
        ("target_visible", [True]),
        ("target_visible", [[True]] * 12),
        ("image_size", [64]),
        ("start_frame", "0"),
        ("set_id", None),
    ],
)
def test_a_wrong_entry_of_the_official_cache_is_named(root: Path, key: str, value: object) -> None:
    cache = official_cache()
    cache[0][key] = value
    write(root / "cache.json", json.dumps(cache).encode())
    with pytest.raises(DataError, match=r"cache\.json, track 0: cannot be used"):
        open_imagenet_vid(root)
    del cache[0][key]
    write(root / "cache.json", json.dumps(cache).encode())
    with pytest.raises(DataError, match=rf"cache\.json, track 0: cannot be used .*{key}"):
        open_imagenet_vid(root)


@pytest.mark.parametrize("content", [b"{}", b"[5]", b'["track"]', b"[[1]]"])
def test_an_official_cache_of_something_else_is_refused(root: Path, content: bytes) -> None:
    write(root / "cache.json", content)
    with pytest.raises(DataError, match=r"cache\.json"):
        open_imagenet_vid(root)


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<xmin>7</xmin>", "<xmin>nan</xmin>", "<xmin>nan</xmin>; expected a whole number"),
        ("<xmin>7</xmin>", "<xmin>7.5</xmin>", "<xmin>7.5</xmin>"),
        ("<xmin>7</xmin>", "<xmin/>", "<xmin></xmin>"),
        ("<xmin>7</xmin>", "<xmin>99999999999999999999</xmin>", "<xmin>999"),
        ("<xmin>7</xmin>", "", "an element <bndbox> without <xmin>"),
        ("<trackid>0</trackid>", "", "an element <object> without <trackid>"),
        ("<occluded>1</occluded>", "", "an element <object> without <occluded>"),
        ("<name>n02084071</name>", "", "an element <object> without <name>"),
        ("</annotation>", "", "is no XML: no element found"),
        ("<annotation>", "<!DOCTYPE annotation [<!ENTITY a 'b'>]><annotation>", "declares a document type"),
    ],
)
@pytest.mark.parametrize("rule", ["ostrack", "got10k"])
def test_a_wrong_annotation_is_named(root: Path, rule: str, old: str, new: str, message: str) -> None:
    path = root / ANNOTATIONS / "000002.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=rf"000002\.xml.*{message}"):
        open_imagenet_vid(root, rule=rule)


def test_an_annotation_without_the_size_is_named(root: Path) -> None:
    write(root / ANNOTATIONS / "000000.xml", xml(("0", 1), size=""))
    with pytest.raises(DataError, match=r"000000\.xml has an element <annotation> without <size>"):
        open_imagenet_vid(root)


def test_missing_files_are_named(root: Path) -> None:
    (root / "Data/VID/train" / SET / VIDEO / "000003.JPEG").unlink()
    with pytest.raises(DataError, match=r"000003\.JPEG cannot be read"):
        open_imagenet_vid(root)[0].frame(3)
    (root / "Data/VID/train" / SET / VIDEO / "000000.JPEG").unlink()
    with pytest.raises(DataError, match=r"000000\.JPEG is missing"):
        open_imagenet_vid(root)[0]
    (root / ANNOTATIONS / "000002.xml").unlink()
    with pytest.raises(DataError, match=r"000002\.xml is missing: 000003\.xml comes in its place"):
        open_imagenet_vid(root)
    shutil.rmtree(root / ANNOTATIONS)
    with pytest.raises(DataError, match="holds no track of ImageNet-VID's split 'train'"):
        open_imagenet_vid(root)
    (root / ANNOTATIONS).mkdir()
    with pytest.raises(DataError, match=rf"{VIDEO} holds no \.xml file"):
        open_imagenet_vid(root)
    with pytest.raises(DataError, match=r"Annotations/VID/val cannot be listed"):
        open_imagenet_vid(root, split="val")


def test_wrong_options_are_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="split is 'test'; expected 'train' or 'val'"):
        open_imagenet_vid(root, split="test")
    with pytest.raises(ConfigError, match="rule is 'vot'; expected 'ostrack' or 'got10k'"):
        open_imagenet_vid(root, rule="vot")
