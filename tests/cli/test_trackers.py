"""How commands name a tracker, and that none is built more often than it is needed."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import ctsdk
from ctsdk.cli import app, main
from ctsdk.cli.trackers import TrackerOptions, load_tracker, load_trackers, split_name
from ctsdk_ostrack.model import OSTrack

PLAN = ctsdk.StagePlan.divide(12, 4)
CPU = TrackerOptions(device="cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights that no variant ships."""
    adapter = ctsdk.load_adapter("ostrack", "tiny", "random")
    path = tmp_path_factory.mktemp("weights") / "teacher.pth.tar"
    torch.save({"net": adapter.to_official(adapter.teacher)}, path)
    return path


@pytest.fixture(scope="module")
def run(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a run from that file."""
    adapter = ctsdk.load_adapter("ostrack", "tiny", weights)
    named = {"name": "ostrack", "variant": "tiny", "weights": str(weights)}
    config = ctsdk.CompressionConfig.from_mapping({"adapter": named})
    plans = {"backbone": PLAN}
    student = ctsdk.build_student(adapter, plans)
    return ctsdk.CompressionResult(student, plans, config, adapter).save(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> collections.Counter[str]:
    """Count what is built: adapters and their teachers, and students."""
    counts: collections.Counter[str] = collections.Counter()

    def count(module: str, name: str, label: str) -> None:
        wrapped: Callable[..., object] = getattr(__import__(module, fromlist=[name]), name)

        def counted(*args: object, **options: object) -> object:
            counts[label] += 1
            return wrapped(*args, **options)

        monkeypatch.setattr(f"{module}.{name}", counted)

    count("ctsdk", "load_adapter", "adapters")
    count("ctsdk.result", "load_adapter", "adapters")
    count("ctsdk.result", "build_student", "students")
    init = OSTrack.__init__

    def counted_init(self: OSTrack, *args: object, **options: object) -> None:
        counts["networks"] += 1
        init(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(OSTrack, "__init__", counted_init)
    return counts


@pytest.mark.parametrize("name", [[], ["--tracker"], ["--adapter"], ["--result"]])
@pytest.mark.parametrize(
    "command", [["evaluate", "--data", "otb:x"], ["track", "video.mp4", "--box", "1,2,3,4"], ["profile"]]
)
def test_every_spelling_names_a_tracker(command: list[str], name: list[str]) -> None:
    words = [*command, *name, "runs/four", "--variant", "tiny", "--weights", "w.pth", "--device", "cpu"]
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    options = bound.arguments["options"]
    assert bound.arguments["tracker"] == "runs/four"
    assert (options.variant, options.weights, options.device) == ("tiny", "w.pth", "cpu")


@pytest.mark.parametrize(
    "words",
    [
        ["ostrack/tiny"],
        ["--adapter", "ostrack/tiny"],
        ["--adapter", "ostrack", "--variant", "tiny"],
        ["ostrack", "--variant", "tiny"],
    ],
)
def test_a_frame_folder_is_tracked_however_the_tracker_is_named(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own" / "cat").mkdir(parents=True)
    for number in range(2):
        cv2.imwrite(str(tmp_path / "own" / "cat" / f"{number}.png"), np.full((60, 80, 3), 128, np.uint8))
    monkeypatch.chdir(tmp_path)
    assert main(["track", "own/cat", "--box", "1,2,30,40", *words, "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith("1.000,2.000,30.000,40.000\n")


def test_a_student_is_built_once(run: Path, builds: collections.Counter[str]) -> None:
    named = load_tracker(str(run), CPU)
    assert named.label == "student"
    # The teacher is built for its structure, and the student from it.
    assert builds == {"adapters": 1, "students": 1, "networks": 1}


def test_against_the_teacher_one_teacher_and_one_student_are_built(
    run: Path, weights: Path, builds: collections.Counter[str]
) -> None:
    teacher, student = load_trackers(str(run), "teacher", CPU)
    assert builds == {"adapters": 1, "students": 1, "networks": 1}
    assert (teacher.label, student.label) == ("teacher", "student")
    assert teacher.adapter is student.adapter
    # The weights are those that the run names, not those that the variant ships.
    wanted = ctsdk.load_adapter("ostrack", "tiny", weights).teacher.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in teacher.tracker.state_dict().items())
    shipped = ctsdk.load_adapter("ostrack", "tiny").teacher.state_dict()
    assert not all(torch.equal(value, shipped[name]) for name, value in wanted.items())


def test_options_beside_a_run_are_those_of_the_other_tracker(run: Path, weights: Path) -> None:
    options = TrackerOptions(variant="tiny", weights=str(weights), device="cpu")
    for place, against in ((str(run), "ostrack"), ("ostrack", str(run))):
        labels = [named.label for named in load_trackers(place, against, options)]
        assert sorted(labels) == ["student", "tiny"]
    with pytest.raises(ctsdk.ConfigError, match="leave out --variant and --weights"):
        load_trackers(str(run), str(run), options)
    with pytest.raises(ctsdk.ConfigError, match="leave out --variant and --weights"):
        load_trackers(str(run), "teacher", options)
    assert [named.label for named in load_trackers(str(run), str(run), CPU)] == ["student, against", "student"]


def test_a_folder_with_a_run_goes_before_an_adapter_of_its_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ostrack" / "tiny").mkdir(parents=True)
    assert load_tracker("ostrack/tiny", CPU).label == "tiny"
    ctsdk.load_result(run).save("ostrack/tiny")
    assert load_tracker("ostrack/tiny", CPU).label == "student"


def test_a_name_may_hold_the_variant() -> None:
    assert split_name("ostrack", None) == ("ostrack", None)
    assert split_name("ostrack", "tiny") == ("ostrack", "tiny")
    assert split_name("ostrack/tiny", None) == ("ostrack", "tiny")
    with pytest.raises(ctsdk.ConfigError, match="'tiny' already; leave out --variant small"):
        split_name("ostrack/tiny", "small")


def test_compress_takes_the_variant_with_the_name(tmp_path: Path, refused: Callable[..., str]) -> None:
    words = ["compress", "--out", str(tmp_path / "run"), "--adapter"]
    assert "Did you mean 'tiny'?" in refused(*words, "ostrack/tinny")
    assert "leave out --variant small" in refused(*words, "ostrack/tiny", "--variant", "small")


def test_a_teacher_of_another_adapter_than_the_configuration_names_has_its_own_weights(
    run: Path, tmp_path: Path
) -> None:
    result = ctsdk.load_result(run)
    named = {"name": "seqtrack", "variant": "tiny", "weights": "nowhere.pth"}
    config = ctsdk.CompressionConfig.from_mapping({"adapter": named})
    ctsdk.CompressionResult(result.student, result.plans, config, result.adapter).save(tmp_path)
    assert load_trackers(str(tmp_path), "teacher", CPU)[0].adapter.name == "ostrack"
