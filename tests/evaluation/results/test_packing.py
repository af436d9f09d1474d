from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.got10k import open_got10k
from ctsdk.data.readers.trackingnet import open_trackingnet
from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.results.formats import write_results
from ctsdk.evaluation.results.packing import Server, check_pack, pack
from ctsdk.evaluation.results.predictions import PredictionFolder, TrackedVideo
from tests.helpers.fixtures import write_fixture

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "formats.json").read_text())
BOXES = np.array(GOLDEN["boxes"])
SECONDS = np.array(GOLDEN["times"])
GOT, TRACKINGNET = "GOT-10k_Test_000001", "zeCTm0BHmrE_0"


def no_frame(index: int) -> NDArray[np.uint8]:
    raise AssertionError("no frame is needed to pack")


def split_of(name: str, *names: str, split: str = "test") -> VideoDataset:
    """Videos of four frames of which the first box is known."""

    def read(index: int) -> Video:
        return Video(names[index], BOXES[:1], np.ones(1, dtype=np.bool_), None, no_frame, num_frames=4)

    return VideoDataset(name, split, names, read)


def entries(path: Path) -> dict[str, str]:
    """What formats.json says of an archive."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        return {name: "<directory entry>" if name.endswith("/") else archive.read(name).decode() for name in names}


def golden(writer: str, archive: str) -> dict[str, str]:
    (found,) = (trees for name, trees in GOLDEN["writers"].items() if name.startswith(writer))
    return found[archive]


def keep(folder: Path, *names: str, boxes: NDArray[np.float64] = BOXES, seconds: NDArray[np.float64] = SECONDS) -> Path:
    """A folder of results as ctsdk keeps them."""
    for name in names:
        PredictionFolder(folder).write(TrackedVideo(name, boxes, seconds))
    return folder


def test_got10k_archive_is_that_of_the_family(tmp_path: Path) -> None:
    dataset = split_of("got10k", GOT)
    write_results("ostrack", tmp_path, dataset, "ostrack/cfg", [TrackedVideo(GOT, BOXES, SECONDS)])

    path = pack("got10k", dataset, tmp_path / "ostrack", tmp_path / "out" / "submit.zip", numbers="ostrack")

    assert path == tmp_path / "out" / "submit.zip"
    assert entries(path) == golden("OSTrack transform_got10k.py", "ostrack/cfg/got10k_submit.zip")


def test_trackingnet_archive_is_that_of_the_family(tmp_path: Path) -> None:
    dataset = split_of("trackingnet", TRACKINGNET)
    write_results("ostrack", tmp_path, dataset, "ostrack/cfg", [TrackedVideo(TRACKINGNET, BOXES, SECONDS)])

    path = pack("trackingnet", dataset, tmp_path / "ostrack", tmp_path / "submit.zip", numbers="ostrack")

    assert entries(path) == golden("OSTrack transform_trackingnet.py", "ostrack/cfg/trackingnet_submit.zip")


def test_got10k_archive_of_two_repetitions_is_that_of_the_toolkit(tmp_path: Path) -> None:
    dataset, tracked = split_of("got10k", GOT), TrackedVideo(GOT, BOXES, SECONDS)
    for repetition in (1, 2):
        write_results("got10k", tmp_path, dataset, "MyTracker", [tracked], repetition=repetition)

    path = pack("got10k", dataset, tmp_path / "GOT-10k" / "MyTracker", tmp_path / "MyTracker.zip")

    assert entries(path) == golden("got10k toolkit ExperimentGOT10k", "GOT-10k/MyTracker.zip")


@pytest.mark.parametrize(("server", "name"), [("got10k", GOT), ("trackingnet", TRACKINGNET)])
def test_results_of_ctsdk_give_the_same_archives_as_those_of_other_tools(
    server: Server, name: str, tmp_path: Path
) -> None:
    results, dataset = keep(tmp_path / "results", name), split_of(server, name)
    before = {path: path.read_bytes() for path in results.iterdir()}

    whole = pack(server, dataset, results, tmp_path / "whole.zip", numbers="ostrack")
    fine = pack(server, dataset, results, tmp_path / "fine.zip")

    assert {path: path.read_bytes() for path in results.iterdir()} == before
    assert "10,-3,40,20\n" in "".join(entries(whole).values())
    assert "10.700,-3.600,40.260,20.990\n" in "".join(entries(fine).values())


@pytest.mark.parametrize("server", ["got10k", "trackingnet"])
@pytest.mark.parametrize(("numbers", "error"), [("ostrack", 1.0), ("got10k", 0.0005000001)])
def test_archive_reads_again_as_what_was_tracked(server: Server, numbers: Any, error: float, tmp_path: Path) -> None:
    dataset = split_of(server, "-b_1", "a_0")
    results = keep(tmp_path / "results", "a_0", "-b_1")

    repetitions = check_pack(server, dataset, pack(server, dataset, results, tmp_path / "t.zip", numbers=numbers))

    assert sorted(repetitions) == ["-b_1", "a_0"]
    for (tracked,) in repetitions.values():
        assert np.abs(tracked.boxes_xywh_px - BOXES).max() < error
        assert len(tracked.seconds) == (4 if server == "got10k" else 0)


def test_same_results_make_the_same_bytes(tmp_path: Path) -> None:
    one = pack("got10k", split_of("got10k", "a", "b"), keep(tmp_path / "1", "a", "b"), tmp_path / "1.zip")
    two = pack("got10k", split_of("got10k", "b", "a"), keep(tmp_path / "2", "b", "a"), tmp_path / "2.zip")

    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert archive.namelist() == ["a/", "a/a_001.txt", "a/a_time.txt", "b/", "b/b_001.txt", "b/b_time.txt"]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_an_archive_of_results_can_be_packed(tmp_path: Path) -> None:
    dataset = split_of("got10k", "a")
    one = pack("got10k", dataset, keep(tmp_path / "results", "a"), tmp_path / "1.zip")

    assert pack("got10k", dataset, one, tmp_path / "2.zip").read_bytes() == one.read_bytes()


def test_everything_that_is_wrong_is_listed_and_nothing_is_written(tmp_path: Path) -> None:
    results = keep(tmp_path / "results", "good", "other")
    keep(results, "short", boxes=BOXES[:3], seconds=SECONDS[:3])
    keep(results, "moved", boxes=BOXES + np.array([1.0, 0.0, 0.0, 0.0]))
    keep(results, "untimed", seconds=np.empty(0))
    (results / "lost.txt").write_text("10,20,30,40\n" * 3 + "NaN,NaN,NaN,NaN\n")
    dataset = split_of("got10k", "good", "gone", "short", "moved", "untimed", "lost")
    (tmp_path / "t.zip").write_text("as before")

    with pytest.raises(DataError) as raised:
        pack("got10k", dataset, results, tmp_path / "t.zip")

    assert str(raised.value) == (
        f"{results} cannot go to the got10k server; expected whole results of all 6 videos of got10k test.\n"
        "  gone: no results\n"
        f"  {results}/short.txt: 3 boxes for 4 frames\n"
        f"  {results}/moved.txt: the first box is [11.0, 20.0, 30.0, 40.0], the given one [10.0, 20.0, 30.0, 40.0]\n"
        f"  {results}/untimed.txt: no times of this repetition beside it, which the server asks for: a column for "
        "each\n"
        f"  {results}/lost.txt: video 'lost': box 3 is [nan, nan, nan, nan]; expected finite numbers and sizes of "
        "at least 0. Write a lost target as its last box.\n"
        "Track these videos again."
    )
    assert (tmp_path / "t.zip").read_text() == "as before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "t.zip"]


def test_long_lists_of_faults_are_cut(tmp_path: Path) -> None:
    dataset = split_of("trackingnet", "a_0", *(f"b_{number}" for number in range(12)))
    with pytest.raises(DataError, match=r"b_9: no results\n  and 2 more\n"):
        pack("trackingnet", dataset, keep(tmp_path / "results", "a_0"), tmp_path / "t.zip")


def test_results_in_two_places_are_refused(tmp_path: Path) -> None:
    keep(tmp_path / "results" / "x", "a_0")
    keep(tmp_path / "results" / "y", "a_0")
    with pytest.raises(DataError, match="several places"):
        pack("trackingnet", split_of("trackingnet", "a_0"), tmp_path / "results", tmp_path / "t.zip")


def test_repetitions_have_to_be_as_many_as_the_server_takes(tmp_path: Path) -> None:
    got10k = split_of("got10k", "a", "b")
    for repetition, names in ((1, "ab"), (2, "a")):
        videos = [TrackedVideo(name, BOXES, SECONDS) for name in names]
        write_results("got10k", tmp_path / "results", got10k, "t", videos, repetition=repetition)

    with pytest.raises(DataError, match="some videos have 1 repetitions and some 2"):
        pack("got10k", got10k, tmp_path / "results", tmp_path / "t.zip")
    trees = tmp_path / "results" / "GOT-10k" / "t"
    with pytest.raises(DataError, match="a: 2 repetitions, where the server takes one"):
        pack("trackingnet", split_of("trackingnet", "a", "b"), trees, tmp_path / "t.zip")


def test_part_of_a_test_set_is_packed_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"v_{number}" for number in range(511)]
    for name in names:
        (tmp_path / f"{name}.txt").write_text("10 20 30 40\n" * 4)
    with caplog.at_level(logging.WARNING):
        part = pack("trackingnet", split_of("trackingnet", "v_0"), tmp_path, tmp_path / "part.zip")
        assert "trackingnet test has 1 videos here, and 511 at the server" in caplog.text
        caplog.clear()
        pack("trackingnet", split_of("trackingnet", *names), tmp_path, tmp_path / "all.zip")
    assert caplog.text == ""
    assert list(entries(part)) == ["v_0.txt"]


@pytest.mark.parametrize(
    ("server", "open_dataset", "num_entries"), [("got10k", open_got10k, 3), ("trackingnet", open_trackingnet, 1)]
)
def test_names_and_lengths_come_from_the_data_set_on_disk(
    server: Server, open_dataset: Callable[[Path], VideoDataset], num_entries: int, tmp_path: Path
) -> None:
    dataset = open_dataset(write_fixture(tmp_path, server))
    boxes = np.repeat(dataset[0].boxes_xywh_px[:1], len(dataset[0]), axis=0)
    keep(tmp_path / "results", *dataset.names, boxes=boxes, seconds=np.ones(len(boxes)))

    path = pack(server, dataset, tmp_path / "results", tmp_path / "t.zip")

    assert len(boxes) == 24
    assert len(entries(path)) == num_entries
    assert list(check_pack(server, dataset, path)) == list(dataset.names)


@pytest.mark.parametrize(("name", "split"), [("got10k", "val"), ("lasot", "test"), ("trackingnet", "test")])
def test_data_set_of_another_server_or_split_is_refused(name: str, split: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"the data set is {name} {split}; the server expects got10k test"):
        pack("got10k", split_of(name, "a", split=split), keep(tmp_path / "results", "a"), tmp_path / "t.zip")


def test_unknown_servers_and_numbers_are_refused(tmp_path: Path) -> None:
    server: Any = "lasot"
    with pytest.raises(ConfigError, match="no server 'lasot'; expected one of got10k, trackingnet"):
        pack(server, split_of("lasot", "a"), tmp_path, tmp_path / "t.zip")
    numbers: Any = "%d"
    with pytest.raises(ConfigError, match="numbers is '%d'; expected one of got10k, ostrack"):
        pack("got10k", split_of("got10k", "a"), tmp_path, tmp_path / "t.zip", numbers=numbers)


def make_zip(path: Path, **texts: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return path


def test_archives_of_others_are_checked_too(tmp_path: Path) -> None:
    row, times = "10,20,30,40\n" * 4, "0.1\n" * 4
    dataset = split_of("got10k", "a")

    around = make_zip(tmp_path / "around.zip", **{"Mine/a/a_001.txt": row, "Mine/a/a_time.txt": times})
    assert list(check_pack("got10k", dataset, around)) == ["a"]

    tabs = make_zip(tmp_path / "tabs.zip", **{"a/a_001.txt": row.replace(",", "\t"), "a/a_time.txt": times})
    with pytest.raises(DataError, match=r"'a/a_001\.txt' in .*tabs\.zip has more than numbers and commas"):
        check_pack("got10k", dataset, tabs)

    flat = make_zip(tmp_path / "flat.zip", **{"a.txt": row, "a_time.txt": times})
    with pytest.raises(DataError, match=r"2 files have no place in an archive for got10k, such as 'a\.txt' in"):
        check_pack("got10k", dataset, flat)
    with pytest.raises(DataError, match=r"1 files have no place in an archive for trackingnet, such as 'a_time\.txt'"):
        check_pack("trackingnet", split_of("trackingnet", "a"), flat)

    apart = {
        f"{place}{name}/{name}_{end}.txt": text
        for place, name in (("", "a"), ("Mine/", "b"))
        for end, text in (("001", row), ("time", times))
    }
    with pytest.raises(DataError, match=r"has videos in no folder and in Mine/; expected one folder around all"):
        check_pack("got10k", split_of("got10k", "a", "b"), make_zip(tmp_path / "apart.zip", **apart))
    second = make_zip(tmp_path / "second.zip", **{"a/a_002.txt": row, "a/a_time.txt": times})
    with pytest.raises(DataError, match=r"'a' in .* has the repetitions \[2\]; expected them to be counted from 1"):
        check_pack("got10k", dataset, second)

    half = make_zip(tmp_path / "half.zip", **{"a/a_001.txt": row, "a/a_time.txt": times})
    with pytest.raises(DataError, match="b: no results"):
        check_pack("got10k", split_of("got10k", "a", "b"), half)
    with pytest.raises(DataError, match=r"nowhere\.zip does not exist"):
        check_pack("got10k", dataset, tmp_path / "nowhere.zip")
