from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest

from ctsdk.data.readers.otb import _read_targets, open_otb
from ctsdk.errors import ConfigError, DataError
from tests.helpers.fixtures import grey, jpeg, level_of, write


def write_target(
    root: Path, truth: str, num_rows: int, frames: Sequence[int], *, separator: str = ",", num_digits: int = 4
) -> None:
    """Write an annotation whose row tells its number, and some of the frames."""
    rows = [separator.join(map(str, (10 + row, 20 + row, 30, 40))) for row in range(num_rows)]
    path = write(root / truth, ("\n".join(rows) + "\n").encode())
    for number in frames:
        write(path.parent / "img" / f"{number:0{num_digits}d}.jpg", jpeg(grey(number)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_target(tmp_path, "Deer/groundtruth_rect.txt", 71, (1, 2, 71))
    write_target(tmp_path, "David/groundtruth_rect.txt", 471, (1, 300, 301, 770), separator="\t")
    write_target(tmp_path, "Board/groundtruth_rect.txt", 698, (1, 698), separator="  ", num_digits=5)
    write_target(tmp_path, "BlurCar1/groundtruth_rect.txt", 742, (247, 988))
    write_target(tmp_path, "Tiger1/groundtruth_rect.txt", 354, (1, 6, 354))
    write_target(tmp_path, "Human4/groundtruth_rect.2.txt", 667, (1, 667))
    write(tmp_path / "Human4/groundtruth_rect.1.txt", b"")
    for target, separator in ((1, ","), (2, "\t")):
        write_target(tmp_path, f"Jogging/groundtruth_rect.{target}.txt", 307, (1, 307), separator=separator)
    return tmp_path


def test_the_table_has_every_target_and_frame() -> None:
    targets = {target.name: target for target in _read_targets("ostrack")}
    assert len(targets) == 100
    assert list(targets) == sorted(targets)
    assert len({target.folder for target in targets.values()}) == 98
    assert sum(len(target.frames) for target in targets.values()) == 59_040
    assert {name for name, target in targets.items() if target.num_left_out} == {"Tiger1"}
    assert {name for name, target in targets.items() if target.frames.digits != 4} == {"Board"}
    first_frames = {name: target.frames.first for name, target in targets.items() if target.frames.first != 1}
    assert first_frames == {"BlurCar1": 247, "BlurCar3": 3, "BlurCar4": 18, "David": 300}
    cut = ("Football1", "Freeman3", "Freeman4", "Diving")
    assert [len(targets[name].frames) for name in cut] == [74, 460, 283, 215]
    assert sorted(
        target.truth for target in targets.values() if not target.truth.endswith("/groundtruth_rect.txt")
    ) == [
        "Human4/groundtruth_rect.2.txt",
        "Jogging/groundtruth_rect.1.txt",
        "Jogging/groundtruth_rect.2.txt",
        "Skating2/groundtruth_rect.1.txt",
        "Skating2/groundtruth_rect.2.txt",
    ]
    assert sum("OV" in target.attributes for target in targets.values()) == 14
    assert targets["Walking"].attributes == ("SV", "OCC", "DEF")


@pytest.mark.parametrize(
    ("name", "num_frames", "first", "last"),
    [
        ("Deer", 71, 1, 71),
        ("David", 471, 300, 770),
        ("Board", 698, 1, 698),
        ("BlurCar1", 742, 247, 988),
        ("Human4_2", 667, 1, 667),
        ("Jogging_1", 307, 1, 307),
        ("Jogging_2", 307, 1, 307),
    ],
)
def test_each_target_has_its_frames_whatever_separates_its_numbers(
    root: Path, name: str, num_frames: int, first: int, last: int
) -> None:
    dataset = pickle.loads(pickle.dumps(open_otb(root)))
    assert (dataset.name, dataset.split) == ("otb", "")
    video = dataset.find(name)
    assert (video.name, len(video)) == (name, num_frames)
    assert video.boxes_xywh_px[[0, -1]].tolist() == [[10, 20, 30, 40], [9 + num_frames, 19 + num_frames, 30, 40]]
    assert video.visible.all()
    assert level_of(video.frame(0)) == pytest.approx(grey(first), abs=1)
    assert level_of(video.frame(num_frames - 1)) == pytest.approx(grey(last), abs=1)


def test_tiger1_begins_with_its_sixth_frame_and_its_sixth_row(root: Path) -> None:
    video = open_otb(root).find("Tiger1")
    assert (len(video), video.boxes_xywh_px[0].tolist()) == (349, [15, 25, 30, 40])
    assert level_of(video.frame(0)) == pytest.approx(grey(6), abs=1)
    assert video.about == {"object_class": "other"}


def test_the_rules_of_the_got10k_toolkit_change_names_and_tiger1(root: Path) -> None:
    ours, theirs = open_otb(root), pickle.loads(pickle.dumps(open_otb(root, rules="got10k")))
    changed = {a: b for a, b in zip(ours.names, theirs.names, strict=True) if a != b}
    assert changed == {
        "Human4_2": "Human4",
        "Jogging_1": "Jogging.1",
        "Jogging_2": "Jogging.2",
        "Skating2_1": "Skating2.1",
        "Skating2_2": "Skating2.2",
    }
    video = theirs.find("Tiger1")
    assert (len(video), video.boxes_xywh_px[0].tolist()) == (354, [10, 20, 30, 40])
    assert len(theirs.find("Human4")) == 667
    with pytest.raises(ConfigError, match=r"rules is 'pysot'; expected 'ostrack' or 'got10k'"):
        open_otb(root, rules="pysot")


def test_what_is_not_there_can_be_left_out(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(open_otb(root, present="only")))
    expected = ("BlurCar1", "Board", "David", "Deer", "Human4_2", "Jogging_1", "Jogging_2", "Tiger1")
    assert dataset.names == expected
    assert [video.name for video in dataset] == list(expected)
    with pytest.raises(ConfigError, match=r"present is 'some'; expected 'all' or 'only'"):
        open_otb(root, present="some")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1,2,3,4"] * 70, r"Deer/groundtruth_rect\.txt has 70 rows; expected 71, .*0001\.jpg to .*0071\.jpg"),
        (["1,2,3,4"] * 72, r"has 72 rows; expected 71"),
        (["1,2,3,4", "1|2|3|4"], r"groundtruth_rect\.txt, line 2: '1\|2\|3\|4'; expected 4 numbers"),
        (["1,2,3,4", "", "1,2,3,4"], r"groundtruth_rect\.txt, line 2: ''; expected 4 numbers"),
        (["1,2,3,4", "NaN,NaN,NaN,NaN"], r"groundtruth_rect\.txt, line 2: \[nan, .*expected four finite numbers"),
    ],
)
def test_wrong_annotations_are_refused_with_their_place(root: Path, rows: list[str], message: str) -> None:
    write(root / "Deer/groundtruth_rect.txt", "\n".join(rows).encode())
    with pytest.raises(DataError, match=message):
        open_otb(root).find("Deer")


def test_missing_files_and_folders_are_named(root: Path) -> None:
    dataset = open_otb(root)
    with pytest.raises(DataError, match=r"Basketball/groundtruth_rect\.txt cannot be read"):
        dataset[0]
    with pytest.raises(DataError, match=r"Deer/img/0003\.jpg cannot be read"):
        dataset.find("Deer").frame(2)
    (root / "Deer/img/0001.jpg").unlink()
    with pytest.raises(DataError, match=r"frame .*Deer/img/0001\.jpg is missing"):
        dataset.find("Deer")
    with pytest.raises(DataError, match="holds none of the folders of OTB100"):
        open_otb(root / "Deer")
