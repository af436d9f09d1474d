from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.results.formats import NUMBERS, write_results
from ctsdk.evaluation.results.predictions import TrackedVideo
from ctsdk.evaluation.results.reading import find_results
from ctsdk.evaluation.results.spellings import ResultFormat

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "formats.json").read_text())
BOXES = np.array(GOLDEN["boxes"])
SECONDS = np.array(GOLDEN["times"])


def unread(index: int) -> Video:
    raise AssertionError("no annotation is needed to write or to find results")


def named(name: str, *names: str, split: str = "test") -> VideoDataset:
    return VideoDataset(name, split, names, unread)


def tracked(name: str) -> TrackedVideo:
    return TrackedVideo(name, BOXES, SECONDS, np.array(GOLDEN["scores"]))


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode() for path in folder.rglob("*") if path.is_file()
    }


def golden_tree(writer: str) -> dict[str, str]:
    return {path: text for path, text in GOLDEN["writers"][writer].items() if isinstance(text, str)}


@pytest.mark.parametrize(
    ("dataset", "video"), [("lasot", "airplane-1"), ("got10k", "GOT-10k_Test_000001"), ("trackingnet", "zeCTm0BHmrE_0")]
)
def test_ostrack_files_are_those_of_the_family(dataset: str, video: str, tmp_path: Path) -> None:
    paths = write_results("ostrack", tmp_path, named(dataset, video), "ostrack/cfg", [tracked(video)])

    assert tree(tmp_path) == golden_tree(f"OSTrack running.py, dataset {dataset}")
    assert [path.stem for path in paths] == [video]


def test_got10k_files_are_those_of_the_toolkit_repetition_by_repetition(tmp_path: Path) -> None:
    dataset, video = named("got10k", "GOT-10k_Test_000001"), tracked("GOT-10k_Test_000001")
    for repetition in (1, 2):
        write_results("got10k", tmp_path, dataset, "MyTracker", [video], repetition=repetition)

    golden = golden_tree("got10k toolkit ExperimentGOT10k (two repetitions) and report() of subset test")
    assert tree(tmp_path) == golden


def test_got10k_files_of_other_sets_are_those_of_the_toolkit(tmp_path: Path) -> None:
    write_results("got10k", tmp_path, named("otb", "Basketball", split=""), "MyTracker", [tracked("Basketball")])

    assert tree(tmp_path) == golden_tree("got10k toolkit ExperimentOTB / LaSOT / UAV123")


@pytest.mark.parametrize(
    ("tool", "dataset", "video", "path"),
    [
        ("ostrack", "uav123", "uav_bike1", "a/b/uav_bike1.txt"),
        ("ostrack", "uav123", "bike1", "a/b/uav_bike1.txt"),
        ("ostrack", "otb", "Jogging.1", "a/b/Jogging_1.txt"),
        ("ostrack", "otb", "Human4", "a/b/Human4_2.txt"),
        ("got10k", "uav123", "uav_bike1", "UAV123/t/bike1.txt"),
        ("got10k", "nfs", "nfs_Gymnastics", "NfS/30/t/Gymnastics.txt"),
        ("got10k", "otb", "Jogging_2", "OTB2015/t/Jogging.2.txt"),
        ("got10k", "otb", "Human4_2", "OTB2015/t/Human4.txt"),
        ("got10k", "OTB100", "Basketball", "OTB2015/t/Basketball.txt"),
        ("got10k", "lasot", "airplane-1", "t/airplane-1.txt"),
        ("got10k", "trackingnet", "zeCTm0BHmrE_0", "t/zeCTm0BHmrE_0.txt"),
        ("lasot", "lasot", "airplane-1", "t_tracking_result/airplane-1.txt"),
        ("lasot", "tnl2k", "Assian_video_Z03_done", "t_tracking_result/Assian_video_Z03_done.txt"),
        ("pysot", "otb", "Skating2_1", "t/Skating2-1.txt"),
        ("pysot", "uav123", "uav_bike1", "t/bike1.txt"),
    ],
)
def test_each_tool_has_its_folders_and_its_names(
    tool: ResultFormat, dataset: str, video: str, path: str, tmp_path: Path
) -> None:
    tracker = "a/b" if tool == "ostrack" else "t"
    written = write_results(tool, tmp_path, named(dataset, video), tracker, [tracked(video)])

    assert [file.relative_to(tmp_path).as_posix() for file in written] == [path]
    assert find_results(tmp_path, named(dataset, video)).missing == ()


def test_uav20l_is_a_set_of_its_own(tmp_path: Path) -> None:
    dataset = named("uav123", "bike1", split="UAV20L")
    written = write_results("got10k", tmp_path, dataset, "t", [tracked("bike1")])

    assert written == [tmp_path / "UAV20L" / "t" / "bike1.txt"]
    with pytest.raises(DataError, match="results of no video"):
        find_results(tmp_path, named("uav123", "uav_bike1", split="UAV123"))


def test_ostrack_runs_have_folders_of_their_own(tmp_path: Path) -> None:
    for repetition in (1, 2):
        write_results("ostrack", tmp_path, named("lasot", "a-1"), "t/p", [tracked("a-1")], repetition=repetition)

    assert {path.name for path in (tmp_path / "t").iterdir()} == {"p_000", "p_001"}


def test_lasot_and_pysot_files_have_commas_and_no_times(tmp_path: Path) -> None:
    write_results("lasot", tmp_path, named("lasot", "a-1"), "x", [tracked("a-1")])
    write_results("pysot", tmp_path, named("lasot", "a-1"), "y", [tracked("a-1")])

    assert tree(tmp_path) == {
        "x_tracking_result/a-1.txt": "10.000,20.000,30.000,40.000\n10.700,-3.600,40.260,20.990\n"
        "-0.400,-0.600,1000.000,2.500\n123.457,79.000,0.490,0.510\n",
        "y/a-1.txt": "10.0,20.0,30.0,40.0\n10.7,-3.6,40.26,20.99\n-0.4,-0.6,1000.0,2.5\n123.4567,78.9999,0.49,0.51\n",
    }


def test_repetition_written_again_replaces_its_own_times_and_drops_later_ones(tmp_path: Path) -> None:
    dataset = named("got10k", "s")
    for repetition, second in ((1, 1.0), (2, 2.0), (3, 3.0), (2, 4.0)):
        one = TrackedVideo("s", BOXES[:1], np.array([second]))
        write_results("got10k", tmp_path, dataset, "t", [one], repetition=repetition)

    assert (tmp_path / "GOT-10k" / "t" / "s" / "s_time.txt").read_text() == "1.00000000,4.00000000\n"


def test_repetition_without_those_before_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0 repetitions of 0 frames; expected at least 1 of 4.*in their order"):
        write_results("got10k", tmp_path, named("got10k", "s"), "t", [tracked("s")], repetition=2)


@pytest.mark.parametrize(
    ("tool", "tracker", "repetition", "message"),
    [
        ("otb", "t", None, "no result format 'otb'; expected one of ostrack, got10k, lasot, pysot"),
        ("ostrack", "t", None, "called 't'; ostrack expects the tracker and its parameters"),
        ("got10k", "t/p", None, "called 't/p'; got10k expects a name without slashes"),
        ("ostrack", "t/p", 0, "repetition 0 was asked for; ostrack numbers them from 1"),
        ("lasot", "t", 2, "repetition 2 was asked for; .* keeps one only"),
        ("got10k", "t", 2, "keeps one only of this data set"),
    ],
)
def test_what_a_format_does_not_have_is_refused(
    tool: Any, tracker: str, repetition: int | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        write_results(tool, tmp_path, named("lasot", "s"), tracker, [tracked("s")], repetition=repetition)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tracker", ["../t", "..", "a\\b"])
def test_trackers_cannot_leave_the_folder(tracker: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataError)):
        write_results("pysot", tmp_path / "in", named("lasot", "s"), tracker, [tracked("s")])
    with pytest.raises(DataError, match="cannot be part of a file's name"):
        write_results("pysot", tmp_path / "in", named("lasot", "../s"), "t", [tracked("../s")])
    assert list(tmp_path.iterdir()) == []


def test_video_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'Human4' and 'Human4_2' both belong into .*Human4\.txt"):
        write_results("got10k", tmp_path, named("otb"), "t", [tracked("Human4"), tracked("Human4_2")])


few = settings(max_examples=50, deadline=None, derandomize=True)
coordinates = st.floats(-1e5, 1e5)
sizes = st.floats(0, 1e5)
rows = st.lists(st.tuples(coordinates, coordinates, sizes, sizes), min_size=1, max_size=4)


@few
@given(rows=rows)
def test_whole_pixels_are_cut_toward_zero(rows: list[tuple[float, ...]]) -> None:
    text = NUMBERS["ostrack"].boxes(np.array(rows))

    assert text == "".join("\t".join(f"{int(value)}" for value in row) + "\n" for row in rows)
    back = np.array([line.split("\t") for line in text.splitlines()], dtype=float)
    np.testing.assert_array_equal(back, np.trunc(rows))


@pytest.mark.parametrize(
    ("tool", "error"), [("ostrack", 1.0), ("got10k", 0.0005000001), ("lasot", 0.0005000001), ("pysot", 0.0)]
)
@few
@given(rows=rows, data=st.data())
def test_written_results_are_found_and_read_up_to_their_digits(
    tool: ResultFormat,
    error: float,
    rows: list[tuple[float, ...]],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder, boxes = tmp_path_factory.mktemp("results"), np.array(rows)
    seconds = np.array(data.draw(st.lists(st.floats(0, 1e3), min_size=len(rows), max_size=len(rows))))
    dataset = named(data.draw(st.sampled_from(["got10k", "lasot", "trackingnet"])), "dog")
    tracker = "t/p" if tool == "ostrack" else "t"
    write_results(tool, folder, dataset, tracker, [TrackedVideo("dog", boxes, seconds)])

    (back,) = find_results(folder, dataset).read("dog")

    assert back.boxes_xywh_px.shape == boxes.shape
    assert np.abs(back.boxes_xywh_px - boxes).max() <= error
    if tool in ("ostrack", "got10k"):
        assert np.abs(back.seconds - seconds).max() <= 0.51 * 10.0 ** -NUMBERS[tool].second_decimals
    else:
        assert back.seconds.shape == (0,)
    assert back.check().name == "dog"
