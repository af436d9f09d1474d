"""Running a data set: every video once, by any number of processes, also after interruptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import ctsdk
from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.files import Folder
from ctsdk.data.readers.frames import ImageFiles
from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.protocols.names import make_protocol
from ctsdk.evaluation.results.predictions import TrackedVideo
from ctsdk.evaluation.running import evaluate, score_tracked, track_dataset
from ctsdk.tracking import track
from tests.helpers.evaluations import make_video, make_videos
from tests.helpers.toy import ToyAdapter, toy_adapter

ADAPTER = toy_adapter()
TRACKER = ADAPTER.teacher


def as_dataset(made: Sequence[Video], protocol: str = "ostrack", name: str = "lasot") -> VideoDataset:
    return VideoDataset(name, "test", tuple(each.name for each in made), made.__getitem__, protocol)


def unreadable(made: Sequence[Video]) -> list[Video]:
    """The same videos, whose frames are gone: whoever tracks them again is found out."""
    return [replace(each, read_frame=make_video("x", broken=0).read_frame) for each in made]


def same(one: Sequence[TrackedVideo], other: Sequence[TrackedVideo]) -> bool:
    return [each.name for each in one] == [each.name for each in other] and all(
        (a.boxes_xywh_px == b.boxes_xywh_px).all() for a, b in zip(one, other, strict=True)
    )


# -- one process ------------------------------------------------------------------------------------------------------


def test_boxes_are_those_of_a_session_and_only_the_tracker_is_timed() -> None:
    made = make_videos()
    tracked = track_dataset(ADAPTER, TRACKER, made)
    assert [each.name for each in tracked] == ["a", "b", "c", "d"]
    for video, each in zip(made, tracked, strict=True):
        frames = [video.frame(index) for index in range(len(video))]
        expected = [result.box_xywh_px for result in track(ADAPTER, TRACKER, frames, tuple(video.boxes_xywh_px[0]))]
        assert each.boxes_xywh_px.tolist() == [list(box) for box in expected]
        assert len(each.seconds) == len(video)
        assert (each.seconds > 0).all()
        assert np.isnan(each.confidences).all()


def test_evaluate_tracks_and_scores() -> None:
    made = make_videos()
    score = ctsdk.evaluate(ADAPTER, TRACKER, made)
    assert (score.protocol.label, score.dataset_name) == ("ostrack", "videos")
    assert score.figures["AUC"] == pytest.approx(np.mean([each.figures["AUC"] for each in score.videos]))
    assert [len(each.boxes_xywh_px) for each in score.videos] == [5, 9, 7, 3]
    assert [len(each.seconds) for each in score.videos] == [5, 9, 7, 3]
    assert list(score.by_attribute()) == ["FM", "OV"]


def test_a_generator_is_read_once() -> None:
    assert len(evaluate(ADAPTER, TRACKER, iter(make_videos())).videos) == 4


def test_a_data_set_says_its_protocol_and_an_argument_overrules_it() -> None:
    made = [replace(each, labels={"cover": np.full(len(each), 8)}) for each in make_videos()]
    dataset = as_dataset(made, "got10k", "got10k")
    score = evaluate(ADAPTER, TRACKER, dataset)
    assert (score.protocol.name, score.dataset_name) == ("got10k", "got10k test")
    assert "AO" in score.figures
    assert evaluate(ADAPTER, TRACKER, dataset, protocol="pysot").protocol.name == "pysot"
    own = make_protocol("ostrack", "got10k", integer_boxes=True)
    assert evaluate(ADAPTER, TRACKER, dataset, protocol=own).protocol is own
    with pytest.raises(ConfigError, match="no protocol 'ostrak'"):
        evaluate(ADAPTER, TRACKER, dataset, protocol="ostrak")


def test_the_callers_threads_are_as_they_were() -> None:
    before = torch.get_num_threads()
    seen = []

    class Watching(ToyAdapter):
        def predict(self, tracker: torch.nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
            seen.append(torch.get_num_threads())
            return super().predict(tracker, batch)

    torch.set_num_threads(2)
    try:
        evaluate(Watching(TRACKER), TRACKER, [make_video("a")])
        assert torch.get_num_threads() == 2
        with pytest.raises(DataError):
            evaluate(Watching(TRACKER), TRACKER, [make_video("a", broken=2)])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(ADAPTER, TRACKER, make_videos())
    assert capsys.readouterr().err == ""
    evaluate(ADAPTER, TRACKER, as_dataset(make_videos()), show_progress=True)
    err = capsys.readouterr().err
    assert "tracking lasot test: 100%" in err
    assert "24/24" in err
    assert "frame/s" in err
    assert "4 of 4 videos" in err


# -- what cannot be evaluated -----------------------------------------------------------------------------------------


def test_nothing_to_evaluate_is_refused() -> None:
    with pytest.raises(DataError, match="videos has no videos; expected at least one"):
        evaluate(ADAPTER, TRACKER, [])
    with pytest.raises(DataError, match="lasot test has no videos"):
        track_dataset(ADAPTER, TRACKER, as_dataset([]))


@pytest.mark.parametrize("protocol", ["ostrack", "pytracking"])
def test_truth_that_cannot_be_scored_is_found_before_anything_is_tracked(protocol: str) -> None:
    made = unreadable(make_videos())
    made[2].boxes_xywh_px[4] = np.nan
    with pytest.raises(DataError, match="'c': the truth of frame 4 is"):
        evaluate(ADAPTER, TRACKER, made, protocol=protocol)
    with pytest.raises(DataError, match="'a' has no labels 'cover'"):
        evaluate(ADAPTER, TRACKER, as_dataset(make_videos(), "got10k", "got10k"))


def test_hidden_truth_is_refused_before_tracking_but_can_be_tracked(tmp_path: Path) -> None:
    made = make_videos()
    hidden = [
        replace(each, boxes_xywh_px=each.boxes_xywh_px[:1], visible=each.visible[:1], num_frames=len(each))
        for each in made
    ]
    with pytest.raises(DataError, match=r"truth of 4 of 4 videos of lasot test is not public.*'a'.*track_dataset"):
        evaluate(ADAPTER, TRACKER, as_dataset(unreadable(hidden)))
    tracked = track_dataset(ADAPTER, TRACKER, as_dataset(hidden), out=tmp_path)
    assert same(tracked, track_dataset(ADAPTER, TRACKER, made))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.json", "predictions"]


def test_videos_must_have_different_names_and_a_first_box() -> None:
    with pytest.raises(DataError, match="two videos called 'a'"):
        evaluate(ADAPTER, TRACKER, [make_video("a"), make_video("a")])
    for bad in (np.nan, 0.0):
        broken = make_video("a")
        broken.boxes_xywh_px[0, 2] = bad
        with pytest.raises(DataError, match="'a': the first true box is"):
            evaluate(ADAPTER, TRACKER, [broken])
    with pytest.raises(ConfigError, match="num_workers is -1"):
        evaluate(ADAPTER, TRACKER, make_videos(), num_workers=-1)


# -- a folder ---------------------------------------------------------------------------------------------------------


def test_a_folder_keeps_boxes_and_figures(tmp_path: Path) -> None:
    score = evaluate(ADAPTER, TRACKER, as_dataset(make_videos()), out=tmp_path / "new")
    out = tmp_path / "new"
    assert sorted(path.name for path in out.iterdir()) == [
        "attributes.csv",
        "evaluation.json",
        "predictions",
        "scores.json",
        "videos.csv",
    ]
    content = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    assert (content["protocol"], content["dataset"], content["headline"]) == ("ostrack", "lasot test", "AUC")
    assert content["figures"] == score.figures
    assert content["attributes"] == score.by_attribute()
    assert content["frames_per_second"] > 0
    assert list(content["videos"]) == ["a", "b", "c", "d"]
    assert content["videos"]["b"]["num_frames"] == 9
    assert content["videos"]["b"]["attributes"] == ["OV", "FM"]
    assert content["videos"]["b"]["figures"] == score.videos[1].figures
    lines = (out / "videos.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("video,frames,AUC (ostrack),OP50 (ostrack)")
    assert [line.split(",")[0] for line in lines[1:]] == ["a", "b", "c", "d"]
    assert (out / "attributes.csv").read_text(encoding="utf-8").startswith("attribute,videos,AUC (ostrack)")


def test_figures_that_are_no_numbers_are_null(tmp_path: Path) -> None:
    made = [replace(make_video("a"), labels={"cover": np.zeros(6, dtype=np.int64)})]
    evaluate(ADAPTER, TRACKER, as_dataset(made, "got10k", "got10k"), out=tmp_path)
    text = (tmp_path / "scores.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert json.loads(text)["figures"]["AO"] is None
    assert not (tmp_path / "attributes.csv").exists()


def test_finished_videos_are_not_tracked_again(tmp_path: Path) -> None:
    made = make_videos()
    first = evaluate(ADAPTER, TRACKER, made[:3], out=tmp_path)
    again = evaluate(ADAPTER, TRACKER, unreadable(made[:3]), out=tmp_path)
    assert again.figures == first.figures
    for one, other in zip(first.videos, again.videos, strict=True):
        assert (one.boxes_xywh_px == other.boxes_xywh_px).all()
        assert (one.seconds == other.seconds).all()
    more = evaluate(ADAPTER, TRACKER, [made[3], *unreadable(made[:3])], out=tmp_path)
    assert [each.name for each in more.videos] == ["d", "a", "b", "c"]
    assert more.figures == pytest.approx(evaluate(ADAPTER, TRACKER, made).figures)


def test_a_broken_frame_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    made = []
    for number, plain in enumerate(make_videos()):
        folder = tmp_path / "frames" / plain.name
        folder.mkdir(parents=True)
        for index in range(len(plain)):
            cv2.imwrite(str(folder / f"{index}.png"), plain.frame(index))
        paths = [f"{index}.png" for index in range(len(plain))]
        made.append(replace(plain, read_frame=ImageFiles(Folder(folder), paths), name=f"video {number}"))
    broken = tmp_path / "frames" / "c" / "3.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:40])
    out = tmp_path / "out"
    with pytest.raises(DataError, match=rf"video 'video 2': {broken} \(40 bytes\) cannot be decoded"):
        evaluate(ADAPTER, TRACKER, made, out=out)
    # The longest is the first, and done.
    assert sorted(path.name for path in (out / "predictions").glob("*[0-9].txt")) == ["video 1.txt"]
    assert not (out / "scores.json").exists()

    broken.write_bytes(whole)
    (tmp_path / "frames" / "b" / "5.png").unlink()
    tracked = track_dataset(ADAPTER, TRACKER, made, out=out)
    (tmp_path / "frames" / "b" / "5.png").write_bytes(whole)
    assert [each.name for each in tracked] == [f"video {number}" for number in range(4)]


def test_results_of_another_tracker_or_data_set_are_not_mixed_in(tmp_path: Path) -> None:
    evaluate(ADAPTER, TRACKER, as_dataset(make_videos()), out=tmp_path)
    other = toy_adapter(seed=1)
    with pytest.raises(ConfigError, match=r"another evaluation.*: weights is '[0-9a-f]{64}' there and .*Use another"):
        evaluate(other, other.teacher, as_dataset(make_videos()), out=tmp_path)
    with pytest.raises(ConfigError, match=r"dataset is 'lasot' there and 'uav123' here\. Use another"):
        evaluate(ADAPTER, TRACKER, as_dataset(make_videos(), name="uav123"), out=tmp_path)
    with pytest.raises(ConfigError, match="dataset is 'lasot' there and '' here; split is 'test' there and '' here"):
        track_dataset(ADAPTER, TRACKER, make_videos(), out=tmp_path)
    changed = make_videos()
    changed[1] = make_video("b", 8)
    with pytest.raises(ConfigError, match=r"holds 9 boxes of a video 'b', which begin .* has 8 frames"):
        evaluate(ADAPTER, TRACKER, as_dataset(changed), out=tmp_path)
    moved = make_videos()
    moved[1].boxes_xywh_px[0, 0] += 1
    with pytest.raises(ConfigError, match=r"begin with \[20\.0, 20\.25, 16\.0, 16\.0\]; .* begins with \[21\.0, "):
        evaluate(ADAPTER, TRACKER, as_dataset(moved), out=tmp_path)


def test_results_of_another_version_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate(ADAPTER, TRACKER, make_videos(), out=tmp_path)
    monkeypatch.setattr(metadata, "version", lambda _: "99.0")
    with pytest.raises(ConfigError, match=r"ctsdk is '.*' there and '99\.0' here"):
        evaluate(ADAPTER, TRACKER, make_videos(), out=tmp_path)


# -- scoring alone ----------------------------------------------------------------------------------------------------


def test_what_was_tracked_can_be_scored_later_by_other_rules() -> None:
    made = make_videos()
    tracked = track_dataset(ADAPTER, TRACKER, made)
    assert score_tracked(made, reversed(tracked)).figures == evaluate(ADAPTER, TRACKER, made).figures
    other = score_tracked(as_dataset(made), tracked, protocol="trackingnet")
    assert other.figures == evaluate(ADAPTER, TRACKER, as_dataset(made), protocol="trackingnet").figures
    assert len(score_tracked(made[:2], tracked).videos) == 2
    with pytest.raises(DataError, match="no boxes of 2 videos, the first of them 'c'"):
        score_tracked(made, tracked[:2])


# -- several processes ------------------------------------------------------------------------------------------------


def test_workers_change_nothing_but_the_time(tmp_path: Path) -> None:
    made = as_dataset(make_videos())
    alone = evaluate(ADAPTER, TRACKER, made, out=tmp_path / "alone")
    side_by_side = evaluate(ADAPTER, TRACKER, made, out=tmp_path / "workers", num_workers=2)
    assert [each.name for each in side_by_side.videos] == [each.name for each in alone.videos]
    assert side_by_side.figures == alone.figures
    for name in "abcd":
        one, other = (tmp_path / folder / "predictions" / f"{name}.txt" for folder in ("alone", "workers"))
        assert one.read_bytes() == other.read_bytes()


def test_an_evaluation_that_broke_in_a_worker_is_resumed(tmp_path: Path) -> None:
    made = make_videos()
    # By length: b is done when c breaks.
    broken = [made[0], made[1], make_video("c", 7, broken=3), made[3]]
    with pytest.raises(DataError, match="video 'c': the frame is gone"):
        evaluate(ADAPTER, TRACKER, broken, out=tmp_path, num_workers=1)
    assert [path.name for path in (tmp_path / "predictions").glob("?.txt")] == ["b.txt"]
    whole = evaluate(ADAPTER, TRACKER, [made[0], *unreadable(made[1:2]), *made[2:]], out=tmp_path)
    assert whole.figures == evaluate(ADAPTER, TRACKER, made).figures


RANKS = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import torch.distributed as dist
from tests.helpers.evaluations import make_videos
from tests.helpers.toy import toy_adapter
from ctsdk.evaluation.running import evaluate, track_dataset
if __name__ == "__main__":
    out, rank, adapter = sys.argv[2], os.environ["RANK"], toy_adapter()
    score = evaluate(adapter, adapter.teacher, make_videos()[:3], out=f"{out}/shared")
    # Some is finished, and the ranks write to disks of their own.
    again = evaluate(adapter, adapter.teacher, make_videos(), out=f"{out}/shared")
    apart = track_dataset(adapter, adapter.teacher, make_videos(), out=f"{out}/apart-{rank}")
    boxes = [each.boxes_xywh_px.tolist() for each in apart]
    with open(f"{out}/rank-{rank}.json", "w") as file:
        json.dump([score.figures, again.figures, boxes], file)
    if sys.argv[3] == "clash":
        other = toy_adapter(seed=1)
        evaluate(other, other.teacher, make_videos(), out=f"{out}/shared")
    dist.destroy_process_group()
"""


def torchrun(tmp_path: Path, mode: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    return subprocess.run(
        [*command, str(Path(__file__).parents[2]), str(tmp_path), mode],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.mark.slow
def test_ranks_share_the_work_and_all_have_the_whole(tmp_path: Path) -> None:
    done = torchrun(tmp_path, "plain")
    assert done.returncode == 0, done.stderr
    made = make_videos()
    expected = [
        evaluate(ADAPTER, TRACKER, made[:3]).figures,
        evaluate(ADAPTER, TRACKER, made).figures,
        [each.boxes_xywh_px.tolist() for each in track_dataset(ADAPTER, TRACKER, made)],
    ]
    for rank in range(2):
        assert json.loads((tmp_path / f"rank-{rank}.json").read_text(encoding="utf-8")) == expected
    names = [f"{name}.txt" for name in "abcd"]
    assert sorted(path.name for path in (tmp_path / "shared" / "predictions").glob("?.txt")) == names
    # By length: b and a are the first rank's, c and d the second's; the first has all in the end.
    assert sorted(path.name for path in (tmp_path / "apart-0" / "predictions").glob("?.txt")) == names
    assert sorted(path.name for path in (tmp_path / "apart-1" / "predictions").glob("?.txt")) == ["c.txt", "d.txt"]


@pytest.mark.slow
def test_what_the_first_rank_finds_wrong_stops_all(tmp_path: Path) -> None:
    done = torchrun(tmp_path, "clash")
    assert done.returncode != 0
    assert done.stderr.count("ConfigError: ") >= 2
    assert "another evaluation" in done.stderr


def test_an_adapter_gets_the_data_set_that_it_tracks_on() -> None:
    names: list[str] = []

    class Tuned(ToyAdapter):
        def for_dataset(self, name: str) -> Tuned:
            names.append(name)
            return self

    evaluate(Tuned(TRACKER), TRACKER, as_dataset(make_videos()[:1]))
    assert names == ["lasot"]
