from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.videos import Video
from ctsdk.errors import DataError
from ctsdk.evaluation.results.predictions import PredictionFolder, TrackedVideo
from ctsdk.evaluation.results.reading import find_results


def unread(index: int) -> Video:
    raise AssertionError("no annotation is needed to find results")


def named(name: str, *names: str, split: str = "test") -> VideoDataset:
    return VideoDataset(name, split, names, unread)


def write(root: Path, *paths: str, text: str = "1,2,3,4\n") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def make_zip(path: Path, **texts: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    "line",
    ["1,2,3,4", "1\t2\t3\t4", "1 2 3 4", " 1.000, 2.000,\t3.000 , 4.000 ", "1e0\t2.0E+00\t3\t4.", "   1   2   3   4"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_numbers_are_read_however_they_are_separated(line: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "dog.txt").write_bytes((line + end + "5,6,7,8").encode())

    (found,) = find_results(tmp_path, named("lasot", "dog")).read("dog")

    assert found.boxes_xywh_px.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found.place == str(tmp_path / "dog.txt")


def test_values_are_not_judged(tmp_path: Path) -> None:
    write(tmp_path, "dog.txt", text="NaN,nan,NAN,NaN\n-9223372036854775808\t0\t-1\tinf\n")

    (found,) = find_results(tmp_path, named("lasot", "dog")).read("dog")

    assert np.isnan(found.boxes_xywh_px[0]).all()
    assert found.boxes_xywh_px[1].tolist() == [-(2.0**63), 0, -1, np.inf]
    with pytest.raises(DataError, match=r"dog\.txt: video 'dog': box 0 is \[nan"):
        found.check()


@pytest.mark.parametrize("text", ["", "1,2,3\n", "1,2,3,4,5\n", "1,2,3,x\n", "1,,3,4\n", "x1,y1,w,h\n1,2,3,4\n"])
def test_what_is_no_box_is_refused(text: str, tmp_path: Path) -> None:
    write(tmp_path, "dog.txt", text=text)
    with pytest.raises(DataError, match=r"dog\.txt"):
        find_results(tmp_path, named("lasot", "dog")).read("dog")


@pytest.mark.parametrize(
    ("dataset", "name", "path"),
    [
        ("lasot", "airplane-1", "airplane-1.txt"),
        ("lasot", "airplane-1", "lasot/airplane-1.txt"),
        ("lasot", "airplane-1", "tracking_results/SiamX_tracking_result/airplane-1.txt"),
        ("lasot_ext", "atv-1", "lasot_extension_subset/atv-1.txt"),
        ("got10k", "GOT-10k_Val_000001", "got10k/GOT-10k_Val_000001.txt"),
        ("got10k", "GOT-10k_Val_000001", "GOT-10k/t/GOT-10k_Val_000001/GOT-10k_Val_000001_001.txt"),
        ("trackingnet", "-3TIfnTSM6c_2", "ostrack/cfg/trackingnet/-3TIfnTSM6c_2.txt"),
        ("uav123", "uav_bike1", "UAV123/t/bike1.txt"),
        ("uav123", "bike1", "uav_bike1.txt"),
        ("nfs", "nfs_Gymnastics", "NfS/30/t/Gymnastics.txt"),
        ("otb", "Jogging_1", "OTB100/t/Jogging-1.txt"),
        ("otb", "Human4_2", "Human4.txt"),
        ("own", "a dog.1", "a dog.1.txt"),
        ("own", "clip", "otb/clip.txt"),
    ],
)
def test_boxes_are_found_wherever_a_tool_puts_them(dataset: str, name: str, path: str, tmp_path: Path) -> None:
    write(tmp_path, path)
    results = find_results(tmp_path, named(dataset, name))

    assert results.missing == ()
    assert results.paths == {name: (path,)}


def test_missing_videos_are_named_in_order(tmp_path: Path) -> None:
    write(tmp_path, "b.txt")
    results = find_results(tmp_path, named("lasot", "c", "b", "a"))

    assert results.missing == ("c", "a")
    with pytest.raises(DataError, match="no results of video 'c', only of b"):
        results.read("c")


def test_nothing_found_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="results of no video, no text files at all; expected files such as"):
        find_results(tmp_path, named("lasot", "a"))
    write(tmp_path, "b.txt", "c.md")
    with pytest.raises(DataError, match=r"results of no video, only b\.txt; expected"):
        find_results(tmp_path, named("lasot", "a"))


def test_video_in_two_places_is_refused_with_both(tmp_path: Path) -> None:
    write(tmp_path, "x/a.txt", "y/a.txt", "x/b.txt")
    with pytest.raises(DataError, match=r"1 videos .* 'a' in .*x/a\.txt, .*y/a\.txt\. Give the folder of one"):
        find_results(tmp_path, named("lasot", "a", "b"))
    write(tmp_path / "z", "bike1.txt", "uav_bike1.txt")
    with pytest.raises(DataError, match="several places"):
        find_results(tmp_path / "z", named("uav123", "uav_bike1"))


def test_folders_of_other_data_sets_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "UAV123/t/bike1.txt", "UAV20L/t/bike1.txt", "otb/bike1.txt")

    assert find_results(tmp_path, named("uav123", "uav_bike1")).paths["uav_bike1"] == ("UAV123/t/bike1.txt",)
    assert find_results(tmp_path, named("uav123", "bike1", split="UAV20L")).paths["bike1"] == ("UAV20L/t/bike1.txt",)


def test_a_name_of_many_digits_is_no_repetition(tmp_path: Path) -> None:
    write(tmp_path, "s/s_001.txt", f"s/s_{'9' * 200}.txt")

    assert find_results(tmp_path, named("got10k", "s")).paths["s"] == ("s/s_001.txt",)


def test_repetitions_come_in_their_order_each_with_its_times(tmp_path: Path) -> None:
    for number in (1000, 200, 1):
        write(tmp_path, f"s/s_{number:03d}.txt", text=f"{number},2,3,4\n")
    write(tmp_path, "s/s_time.txt", text="0.1,0.2,0.3\n")

    found = find_results(tmp_path, named("got10k", "s")).read("s")

    assert [one.boxes_xywh_px[0, 0] for one in found] == [1, 200, 1000]
    assert [one.seconds.tolist() for one in found] == [[0.1], [0.2], [0.3]]


@pytest.mark.parametrize("times", ["0.1\n", "0.1,0.2,0.3\n"])
def test_other_columns_of_times_than_repetitions_belong_to_none(times: str, tmp_path: Path) -> None:
    write(tmp_path, "s/s_001.txt", "s/s_002.txt")
    write(tmp_path, "s/s_time.txt", text=times)

    assert [len(one.seconds) for one in find_results(tmp_path, named("got10k", "s")).read("s")] == [0, 0]


@pytest.mark.parametrize("times", ["0.1\n0.1,0.2\n", "0.1\nx\n"])
def test_damaged_times_are_refused(times: str, tmp_path: Path) -> None:
    write(tmp_path, "s/s_001.txt", "s/s_002.txt")
    write(tmp_path, "s/s_time.txt", text=times)

    with pytest.raises(DataError, match="line 2"):
        find_results(tmp_path, named("got10k", "s")).read("s")


@pytest.mark.parametrize("path", ["s_time.txt", "times/s_time.txt"])
def test_times_are_found_beside_the_boxes_or_below(path: str, tmp_path: Path) -> None:
    write(tmp_path, "s.txt")
    write(tmp_path, path, text="0.25\n")

    (found,) = find_results(tmp_path, named("otb", "s")).read("s")

    assert found.seconds.tolist() == [0.25]


def test_own_folder_is_read_like_any_other(tmp_path: Path) -> None:
    boxes = np.array([[0.1, -2.5, 3.0, 4.0]])
    PredictionFolder(tmp_path).write(TrackedVideo("s", boxes, np.array([0.1]), np.array([0.9])))

    (found,) = find_results(tmp_path, named("lasot", "s")).read("s")

    assert found.check().boxes_xywh_px.tolist() == boxes.tolist()
    assert found.seconds.tolist() == [0.1]


def test_archive_is_read_where_it_is(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "t.zip",
        **{"./t/s/s_001.txt": "1,2,3,4\n", "t/s/s_time.txt": "0.5\n", "__MACOSX/t/s.txt": "?", "t/plot.png": "?"},
    )
    before = sorted(tmp_path.rglob("*"))

    (found,) = find_results(archive, named("got10k", "s")).read("s")

    assert found.boxes_xywh_px.tolist() == [[1, 2, 3, 4]]
    assert found.seconds.tolist() == [0.5]
    assert found.place == f"'t/s/s_001.txt' in {archive}"
    assert sorted(tmp_path.rglob("*")) == before
