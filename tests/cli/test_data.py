"""The commands about data sets: train on one, check it, evaluate and score on it, pack for its server."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ctsdk.cli import main
from ctsdk.data.formats import open_dataset
from ctsdk.evaluation.results.packing import check_pack
from ctsdk.evaluation.results.predictions import PredictionFolder
from ctsdk.evaluation.scoring import score_results
from tests.helpers.fixtures import write_fixture

TINY = ["--adapter", "ostrack", "--variant", "tiny", "--weights", "random"]
SHORT = [
    word
    for value in ("training.steps=2", "training.batch_size=2", "training.device=cpu", "replacement.p=0.5")
    for word in ("--set", value)
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for name in ("got10k", "lasot", "trackingnet"):
        write_fixture(root, name)
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A student that was trained on two data sets, in the layouts of GOT-10k and LaSOT."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    specs = [f"got10k:{data}/got10k?split=train", f"lasot:{data}/lasot?split=train&present=only"]
    words = [word for spec in specs for word in ("--data", spec)]
    assert main(["compress", *TINY, *words, *SHORT, "--out", str(folder)]) == 0
    return folder


def test_a_student_is_trained_from_specs(run: Path) -> None:
    config = json.loads((run / "result.json").read_text())["config"]
    assert [source["source"].partition(":")[0] for source in config["data"]["train"]] == ["got10k", "lasot"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len([row for row in rows if "loss" in row]) == 2


def test_evaluate_says_how_well_a_student_and_its_teacher_track(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = f"lasot:{data}/lasot?present=only"
    words = ["evaluate", str(run), "--data", spec, "--against", "teacher", "--out", str(tmp_path), "--plots"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "teacher" in out
    assert "student" in out
    assert "AUC (ostrack)" in out
    folder = tmp_path / "lasot_test"
    assert (folder / "success.png").exists()
    assert (folder / "success.svg").exists()
    assert (folder / "videos.csv").read_text().startswith("video,frames,teacher: AUC (ostrack)")
    assert (folder / "attributes.csv").exists()
    figures = {name: json.loads((folder / name / "scores.json").read_text()) for name in ("teacher", "student")}
    assert figures["student"]["protocol"] == "ostrack"
    assert list(figures["student"]["videos"]) == ["airplane-1"]
    # What is finished is not tracked again, and the figures stay.
    assert main(words) == 0
    again = json.loads((folder / "student" / "scores.json").read_text())
    assert again == figures["student"]
    capsys.readouterr()
    boxes = [str(folder / name / "predictions") for name in ("student", "teacher")]
    assert main(["score", boxes[0], "--against", boxes[1], "--data", spec]) == 0
    heading = capsys.readouterr().out.splitlines()[2].split()
    assert heading == ["teacher", "student"]


def test_score_gives_the_figures_of_evaluate(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = f"got10k:{data}/got10k?split=val"
    assert main(["evaluate", str(run), "--data", spec, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    folder = tmp_path / "got10k_val"
    figures = json.loads((folder / "scores.json").read_text())["figures"]
    tables = tmp_path / "tables"
    assert main(["score", str(folder / "predictions"), "--data", spec, "--out", str(tables)]) == 0
    assert f"{figures['AO']:.3f}" in capsys.readouterr().out
    assert (tables / "videos.csv").read_text().splitlines()[1].startswith("GOT-10k_Val_000001,24,")
    assert not (tables / "attributes.csv").exists()
    assert score_results(folder / "predictions", open_dataset(spec)).figures == pytest.approx(figures)


@pytest.mark.parametrize("server", ["got10k", "trackingnet"])
def test_test_sets_are_tracked_and_packed_but_never_scored(
    run: Path, data: Path, tmp_path: Path, server: str, refused: Callable[..., str]
) -> None:
    spec = f"{server}:{data}/{server}?split=test"
    assert main(["evaluate", str(run), "--data", spec, "--out", str(tmp_path)]) == 0
    folder = tmp_path / f"{server}_test"
    assert not (folder / "scores.json").exists()
    archive = tmp_path / f"{server}.zip"
    assert main(["pack", str(folder / "predictions"), "--data", spec, "--out", str(archive)]) == 0
    dataset = open_dataset(spec)
    [(name, [packed])] = check_pack(server, dataset, archive).items()  # type: ignore[arg-type]
    kept = PredictionFolder(folder / "predictions").read(name)
    np.testing.assert_allclose(packed.boxes_xywh_px, kept.boxes_xywh_px, rtol=0, atol=5e-4)
    with zipfile.ZipFile(archive) as opened:
        entries = opened.namelist()
    wanted = (
        [f"{name}/", f"{name}/{name}_001.txt", f"{name}/{name}_time.txt"] if server == "got10k" else [f"{name}.txt"]
    )
    assert entries == wanted
    assert "not public" in refused("score", str(folder / "predictions"), "--data", spec)


def test_what_cannot_be_packed_is_refused(run: Path, data: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    out = ["--out", str(tmp_path / "x.zip")]
    assert "no server" in refused("pack", str(run), "--data", f"lasot:{data}/lasot?present=only", *out)
    assert not (tmp_path / "x.zip").exists()


def test_a_test_set_needs_a_folder(
    run: Path, data: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tracked(*_: object) -> None:
        raise AssertionError("tracked before all data sets were looked at")

    monkeypatch.setattr("ctsdk.cli.evaluate._evaluate_all", tracked)
    specs = f"lasot:{data}/lasot?present=only", f"got10k:{data}/got10k?split=test"
    assert "give --out DIR" in refused("evaluate", str(run), *(word for spec in specs for word in ("--data", spec)))


def test_check_reports_what_a_data_set_holds(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = f"got10k:{data}/got10k?split=train"
    assert main(["data", "check", spec]) == 0
    out = capsys.readouterr().out
    assert "2 videos named, 2 readable; 48 frames, 48 decoded" in out
    assert "boxes without an area" in out
    assert main(["data", "check", spec, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["is_sound"]
    assert report["oddities"]["boxes without an area"] == 2


def test_check_names_what_is_missing_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_fixture(tmp_path, "got10k")
    (root / "train" / "GOT-10k_Train_000002" / "cover.label").unlink()
    (root / "train" / "GOT-10k_Train_000001" / "00000004.jpg").write_bytes(b"")
    assert main(["data", "check", f"got10k:{root}?split=train"]) == 1
    captured = capsys.readouterr()
    assert "cover.label" in captured.out
    assert "00000004.jpg" in captured.out
    assert "2 faults in 2 of 2 videos" in captured.err


def test_formats_lists_every_built_in_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "formats", "--json"]) == 0
    found = {info["name"]: info["status"] for info in json.loads(capsys.readouterr().out)}
    assert {
        "got10k",
        "lasot",
        "lasot_ext",
        "trackingnet",
        "coco",
        "vid",
        "tnl2k",
        "uav123",
        "nfs",
        "otb",
        "vot",
    } <= set(found)
    assert set(found.values()) == {"available"}


def test_wrong_specs_are_explained(run: Path, data: Path, refused: Callable[..., str]) -> None:
    assert "Did you mean 'lasot'" in refused("data", "check", f"lasott:{data}")
    assert "present" in refused("data", "check", f"lasot:{data}/lasot?presnt=only")
    assert "--plots needs --out" in refused("evaluate", str(run), "--data", f"lasot:{data}/lasot", "--plots")
    assert "no folder" in refused("evaluate", "ostrack", "--data", f"lasot:{data}/lasot", "--against", "teacher")
