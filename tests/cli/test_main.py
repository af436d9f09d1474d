"""The command line: exit codes, what goes to which stream, what lies where afterwards."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import ctsdk
from ctsdk.cli import main
from ctsdk.plugins import PluginInfo
from ctsdk.training.stepper import Stepper
from ctsdk.video import open_frames, write_video
from tests.helpers.golden_sequence import FIRST_BOX_XYWH_PX, NUM_FRAMES, SIZE_PX, frame

TINY = ["--adapter", "ostrack", "--variant", "tiny", "--weights", "random"]
BOX = ",".join(map(str, FIRST_BOX_XYWH_PX))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "video.mp4", map(frame, range(NUM_FRAMES)))


@pytest.fixture(scope="module")
def settings(photographs: Path) -> list[str]:
    values = ["training.steps=2", "training.batch_size=2", "data.num_videos=4", f"data.photographs={photographs}"]
    return [word for value in (*values, "training.device=cpu") for word in ("--set", value)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, settings: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["compress", *TINY, "--out", str(folder), *settings]) == 0
    return folder


# -- usage ------------------------------------------------------------------------------------------------------------


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == metadata.version("ctsdk")
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(
        command in out
        for command in (
            "adapters",
            "new-adapter",
            "compress",
            "data",
            "track",
            "evaluate",
            "score",
            "pack",
            "profile",
            "demo",
        )
    )


@pytest.mark.parametrize(
    "command", ["adapters", "new-adapter", "check", "compress", "track", "evaluate", "score", "pack", "profile", "demo"]
)
def test_every_option_of_every_command_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    for line in capsys.readouterr().out.splitlines():
        if "--" in line and line.startswith("│"):
            assert len(line.strip("│* ").split("  ", 1)) == 2, line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trak"], 'Did you mean "track"?'),
        (["track", "v.mp4"], "--box"),
        (["track", "v.mp4", "--box", "1,2,3"], "'1,2,3' is no box"),
        (["track", "v.mp4", "--box", "a,b,c,d"], "'a,b,c,d' is no box"),
        (["track", "v.mp4", "--box", "1,2,3,4", "--max-frames", "0"], "--max-frames"),
        (["track", "v.mp4", "--box", "1,2,3,4", "--bix", "1"], "Did you mean --box?"),
        (["compress"], "--out"),
        (["compress", "--out", __file__], "--out"),
        (["demo"], "--out"),
        (["new-adapter"], "NAME"),
    ],
)
def test_wrong_usage_exits_with_two(words: list[str], said: str, refused: Callable[..., str]) -> None:
    assert said in " ".join(refused(*words, code=2).replace("│", "").split())


def test_exit_codes_of_the_program(tmp_path: Path) -> None:
    def ctsdk_program(*words: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; from ctsdk.cli import main; sys.exit(main())"
        return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)

    done = ctsdk_program("track", str(tmp_path / "none.mp4"), "--box", "1,2,3,4", *TINY)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: " in done.stderr
    assert "none.mp4 does not exist" in done.stderr
    assert ctsdk_program("bogus").returncode == 2


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> list[PluginInfo]:
        # A process that a script starts in the background ignores the signal; a terminal's does not.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)
        return []

    monkeypatch.setattr(ctsdk, "list_adapters", interrupted)
    assert main(["adapters"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_error_that_nobody_foresaw_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[PluginInfo]:
        raise RuntimeError("a bug")

    monkeypatch.setattr(ctsdk, "list_adapters", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["adapters"])


def test_a_reader_that_goes_away_makes_no_noise(video: Path) -> None:
    code = "import sys; from ctsdk.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "track", str(video), "--box", BOX, *TINY]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_logging_is_as_it_was_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("ctsdk")
    before = (list(logger.handlers), logger.level)
    main(["adapters"])
    main(["profile"])
    assert (logger.handlers, logger.level) == before
    capsys.readouterr()


# -- adapters ---------------------------------------------------------------------------------------------------------


def test_adapters_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapters"]) == 0
    out = capsys.readouterr().out
    assert "ostrack" in out
    assert "tiny" in out
    assert main(["adapters", "--json"]) == 0
    listed = {info["name"]: info for info in json.loads(capsys.readouterr().out)}
    assert listed["ostrack"]["status"] == "available"
    assert "tiny" in listed["ostrack"]["variants"]
    assert listed["ostrack"]["distribution"] == "ctsdk"


def test_an_adapter_that_cannot_be_used_is_listed_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lame = PluginInfo("lame", "missing dependency", detail="needs 'x': pip install 'ctsdk[lame]'")
    monkeypatch.setattr(ctsdk, "list_adapters", lambda: [lame])
    assert main(["adapters"]) == 0
    assert "'ctsdk[lame]'" in " ".join(capsys.readouterr().out.split())


def test_verbose_says_all_that_is_known(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lame = PluginInfo(
        "lame", "broken", "It raised.", "acme-lame", "2.0", "acme_lame", traceback="Traceback:\n  x\nRuntimeError: [no]"
    )
    listed = [lame, *ctsdk.list_adapters()]
    monkeypatch.setattr(ctsdk, "list_adapters", lambda: listed)
    assert main(["adapters", "--verbose"]) == 0
    first, *rest = capsys.readouterr().out.split("\nostrack  available\n")
    assert "lame  broken\n  from      acme-lame 2.0 (acme_lame)\n  wrong     It raised.\n    Traceback:" in first
    assert "RuntimeError: [no]" in first
    told = dict(line.split(maxsplit=1) for line in rest[0].splitlines()[:5])
    assert told["from"] == f"ctsdk {metadata.version('ctsdk')} (ctsdk_ostrack)"
    assert told["contract"] == "version 1"
    assert told["needs"] == "cv2, timm: pip install 'ctsdk[ostrack]'"
    assert "tiny" in told["variants"]


# -- new-adapter ------------------------------------------------------------------------------------------------------


def test_new_adapter_lists_what_it_wrote_and_says_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-adapter", "snow_lynx"]) == 0
    *files, last = capsys.readouterr().out.splitlines()
    assert "ctsdk-snow-lynx/ctsdk_snow_lynx/adapter.py" in files
    assert all((tmp_path / file).is_file() for file in files)
    assert last.startswith("Next: pip install -e ctsdk-snow-lynx")
    assert "ctsdk-snow-lynx exists" in refused("new-adapter", "snow_lynx")
    assert "Would 'snow_lynx' do?" in refused("new-adapter", "Snow-Lynx", "--out", "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


# -- check ------------------------------------------------------------------------------------------------------------

TOY = """
import torch
from tests.helpers.toy import ToyAdapter, ToyTracker


class Right(ToyAdapter):
    @classmethod
    def load(cls, variant, weights):
        torch.manual_seed(0)
        return cls(ToyTracker(depth=int(variant or 2)))


class Wrong(Right):
    def task_loss(self, prediction, batch):
        return {"l1": prediction.boxes.abs()}
"""


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file with one adapter that keeps its promises, and one that does not."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "own_adapter.py"
    path.write_text(TOY)
    yield path
    sys.modules.pop("own_adapter", None)


def test_check_says_which_promises_hold(own_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{own_file}:Right", "--variant", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [check.__name__ for check in ctsdk.testing.adapter_checks()]
    told = {line.split()[1]: line.split()[0] for line in lines if line.startswith(("passed", "skipped"))}
    assert list(told) == names
    assert [name for name in names if told[name] == "skipped"] == ["check_official_layout_round_trip"]


def test_check_says_how_to_fix_what_is_broken(own_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{own_file}:Wrong"]) == 1
    captured = capsys.readouterr()
    told = captured.out.splitlines()
    first = next(number for number, line in enumerate(told) if line.startswith("failed"))
    assert told[first + 1].startswith("        ")
    assert "scalar" in captured.out
    assert any(line.startswith("passed") for line in told)
    assert f"adapter 'toy' breaks {sum(line.startswith('failed') for line in told)} of" in captured.err
    assert main(["check", f"{own_file}:Wrong", "--json"]) == 1
    results = json.loads(capsys.readouterr().out)
    assert sum(result["status"] == "failed" for result in results) == sum(line.startswith("failed") for line in told)


def test_check_takes_the_name_of_an_installed_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def check_adapter(adapter: ctsdk.TrackerAdapter, **_: object) -> list[Any]:
        seen.append((adapter.name, adapter.variant))
        return []

    monkeypatch.setattr(ctsdk.testing, "check_adapter", check_adapter)
    assert main(["check", "ostrack", "--variant", "tiny"]) == 0
    assert seen == [("ostrack", "tiny")]


def test_check_refuses_what_is_no_adapter(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "Did you mean 'ostrack'?" in refused("check", "ostrak")
    assert "none.py does not exist" in refused("check", f"{tmp_path / 'none.py'}:Mine")


# -- compress, then use what it wrote ---------------------------------------------------------------------------------


def test_compress_writes_the_student_and_its_official_form(run: Path) -> None:
    assert {"student.safetensors", "result.json", "student_official.pth.tar", "metrics.jsonl", "states"} <= {
        path.name for path in run.iterdir()
    }
    student = ctsdk.load_result(run).student
    tensors = torch.load(run / "student_official.pth.tar", weights_only=True)["net"]
    adapter = ctsdk.load_adapter("ostrack", "tiny", "random")
    assert list(tensors) == list(adapter.to_official(student))
    official = adapter.from_official(run / "student_official.pth.tar").state_dict()
    for name, tensor in student.state_dict().items():
        torch.testing.assert_close(official[name], tensor, rtol=0, atol=0)


def test_compress_says_what_it_made(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], photographs: Path
) -> None:
    config = tmp_path / "compress.yaml"
    config.write_text(
        "adapter: {name: nobody, variant: tiny, weights: random}\n"
        "stages: [2, 4, 6]\n"
        f"data: {{photographs: {photographs}}}\n"
        "training: {steps: 9, learning_rate: 1e-4}\n"
    )
    words = ["compress", "--config", str(config), "--adapter", "ostrack", "--out", str(tmp_path / "run"), *settings]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "student_official.pth.tar" in captured.out
    cells = {line.split()[0]: line.split()[1:] for line in captured.out.splitlines() if line.strip()}
    assert cells["blocks"] == ["12", "3"]
    assert cells["parameters"][0] == "2.58"
    result = ctsdk.load_result(tmp_path / "run")
    assert result.config.adapter is not None
    assert result.config.adapter.name == "ostrack"  # the option goes before the file
    assert (result.config.training.steps, result.config.training.learning_rate) == (2, 1e-4)
    assert [*result.plans["backbone"].sizes] == [2, 4, 6]


def test_track_then_profile_a_result(
    run: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, annotated = tmp_path / "new" / "boxes.txt", tmp_path / "annotated.mp4"
    words = ["track", str(video), "--box", BOX, "--result", str(run), "--out", str(out), "--video", str(annotated)]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"wrote {out}" in captured.err
    lines = out.read_text().splitlines()
    assert lines[0] == "149.500,22.250,57.000,41.500"
    boxes = np.array([[float(number) for number in line.split(",")] for line in lines])
    assert boxes.shape == (NUM_FRAMES, 4)
    assert [shown.shape for shown in open_frames(annotated)] == [(SIZE_PX[1], SIZE_PX[0], 3)] * NUM_FRAMES
    assert open_frames(annotated).frames_per_second == open_frames(video).frames_per_second

    # Without --out the same lines are the output.
    assert main(["track", str(video), "--box", BOX, "--result", str(run), "--max-frames", "5"]) == 0
    assert capsys.readouterr().out.splitlines() == lines[:5]

    assert main(["profile", "--result", str(run), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["adapter"], figures["variant"], figures["num_blocks"]) == ("ostrack", "tiny", 4)
    assert 0 < figures["params"] < 1_100_000
    assert main(["profile", *TINY]) == 0
    assert "2.58 M" in capsys.readouterr().out


def test_track_is_what_the_api_does(run: Path, video: Path, tmp_path: Path) -> None:
    from ctsdk.tracking import track

    assert main(["track", str(video), "--box", BOX, "--result", str(run), "--out", str(tmp_path / "a.txt")]) == 0
    adapter = ctsdk.load_adapter("ostrack", "tiny", "random")
    results = track(adapter, ctsdk.load_result(run).student, open_frames(video), FIRST_BOX_XYWH_PX)
    expected = [",".join(f"{number:.3f}" for number in result.box_xywh_px) for result in results]
    assert (tmp_path / "a.txt").read_text().splitlines() == expected


def test_an_interrupted_run_continues_where_it_stopped(
    run: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compress", *TINY, "--out", str(tmp_path / "run"), *settings, "--set", "training.save_every=1"]
    take = Stepper.take

    def interrupt_second(self: Stepper, step: int, *args: Any) -> dict[str, float]:
        if step == 1:
            raise KeyboardInterrupt
        return take(self, step, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "take", interrupt_second)
        assert main(words) == 130
    assert not (tmp_path / "run" / "result.json").exists()
    assert main(words) == 1  # the folder holds a run, which continues only if asked to
    assert "already holds a training state" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    through, resumed = ctsdk.load_result(run).student, ctsdk.load_result(tmp_path / "run").student
    for name, tensor in through.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0)
    rows = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows == [0, 1]


def test_a_loss_that_is_not_finite_ends_the_run(
    settings: list[str], tmp_path: Path, refused: Callable[..., str]
) -> None:
    folder = tmp_path / "run"
    said = refused("compress", *TINY, "--out", str(folder), *settings, "--set", "training.learning_rate=1e30")
    assert "step 1: a loss or gradient is not finite" in said
    assert not (folder / "result.json").exists()
    assert [path.name for path in (folder / "states").iterdir()] == ["step-00000001.pt"]


# -- what is refused --------------------------------------------------------------------------------------------------


def test_an_unknown_key_is_refused_with_a_suggestion(tmp_path: Path, refused: Callable[..., str]) -> None:
    words = ["compress", *TINY, "--out", str(tmp_path / "run")]
    said = refused(*words, "--set", "training.step=5")
    assert "unknown configuration key 'training.step'. Did you mean 'training.steps'?" in said
    (tmp_path / "c.toml").write_text("[trainig]\nsteps = 5\n")
    assert "Did you mean 'training'?" in refused("compress", str(tmp_path / "c.toml"), *words[1:])
    assert "override 'training.steps' has no value" in refused(*words, "--set", "training.steps")
    assert not (tmp_path / "run").exists()


def test_a_configuration_that_cannot_be_read_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    words = [*TINY, "--out", str(tmp_path / "run")]
    assert "cannot read the configuration" in refused("compress", str(tmp_path / "none.yaml"), *words)
    (tmp_path / "c.ini").write_text("")
    assert "ends in '.ini'" in refused("compress", str(tmp_path / "c.ini"), *words)


def test_a_tracker_must_be_named_once(run: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "no tracker is named" in refused("profile")
    assert "no tracker is named" in refused("compress", "--out", str(tmp_path / "run"))
    assert "leave out --variant and --weights" in refused(
        "profile", "--result", str(run), "--variant", "tiny", "--weights", "random"
    )
    assert "leave out --variant other" in refused("profile", "ostrack/tiny", "--variant", "other")
    assert "specified multiple times" in refused("profile", "--result", str(run), "--adapter", "ostrack", code=2)


def test_what_does_not_exist_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "Did you mean 'ostrack'?" in refused("profile", "--adapter", "ostrak")
    assert "Did you mean 'tiny'?" in refused("profile", "--adapter", "ostrack", "--variant", "tinny")
    missing = str(tmp_path / "none.pth")
    said = refused("profile", "--adapter", "ostrack", "--variant", "tiny", "--weights", missing)
    assert f"{missing} does not exist" in said
    assert "holds no readable result.json" in refused("profile", "--result", str(tmp_path))
    for name in ("runs/none", "./none", "ostrak"):
        said = refused("evaluate", name, "--data", "otb:x", "--out", str(tmp_path))
        assert f"there is no folder '{name}', and no adapter is called" in said
    assert "device 'nonsense' cannot be used here" in refused("profile", *TINY, "--device", "nonsense")


def test_a_video_that_cannot_be_read_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"no video\n" * 50)
    said = refused("track", str(path), "--box", BOX, *TINY, "--out", str(tmp_path / "boxes.txt"))
    assert "cannot be decoded as a video" in said
    assert not (tmp_path / "boxes.txt").exists()


@pytest.mark.parametrize("box", ["500,10,20,20", "-90,10,20,20", "10,10,0,20", "nan,1,2,3"])
def test_a_box_outside_the_frame_is_refused(video: Path, tmp_path: Path, refused: Callable[..., str], box: str) -> None:
    outputs = ["--out", str(tmp_path / "boxes.txt"), "--video", str(tmp_path / "annotated.mp4")]
    assert "box (" in refused("track", str(video), "--box", box, *TINY, *outputs)
    assert not list(tmp_path.iterdir())


def test_nothing_half_is_left_when_a_frame_is_damaged(tmp_path: Path, refused: Callable[..., str]) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame(number))
    (tmp_path / "2.png").write_bytes(b"damaged")
    outputs = ["--out", str(tmp_path / "out" / "boxes.txt"), "--video", str(tmp_path / "out" / "annotated.mp4")]
    assert "2.png (7 bytes) cannot be decoded" in refused("track", str(tmp_path), "--box", BOX, *TINY, *outputs)
    assert not list((tmp_path / "out").iterdir())


# -- demo -------------------------------------------------------------------------------------------------------------


def test_demo_is_called_with_folder_tracker_and_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    module = types.ModuleType("ctsdk.demo")
    module.run_demo = lambda out, **options: calls.append((out, options))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ctsdk.demo", module)
    assert main(["demo", "--out", str(tmp_path), "--seed", "3", "--adapter", "seqtrack"]) == 0
    assert main(["demo", "--out", str(tmp_path)]) == 0
    assert calls == [(tmp_path, {"adapter": "seqtrack", "seed": 3}), (tmp_path, {"adapter": "ostrack", "seed": 0})]
