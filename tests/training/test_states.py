from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ctsdk
from ctsdk.training.states import States
from tests.helpers.toy import toy_adapter, toy_batches, toy_config

TEACHER = {"adapter": "toy", "variant": None, "sha256": "0" * 64}


def state(step: int, size: int = 1, **changes: object) -> dict[str, Any]:
    config = toy_config(**changes).model_dump_json()
    counts = {"step": step, "batches_read": step}
    tensors = {"student": {"x": torch.zeros(size)}, "optimizer": {}, "scaler": {}}
    return {**counts, **tensors, "config": config, "teacher": TEACHER}


def test_the_last_few_are_kept_in_the_order_of_their_steps(tmp_path: Path) -> None:
    states = States(tmp_path, num_kept=2)
    assert states.latest() is None
    for step in (5, 90, 100):
        states.write(step, state(step))
    assert [path.name for path in states.paths()] == ["step-00000090.pt", "step-00000100.pt"]
    assert states.latest() == states.paths()[-1]
    assert states.read(states.paths()[0], toy_config(), TEACHER)["step"] == 90
    states.remove_all()
    assert states.latest() is None


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    states = States(tmp_path)
    states.write(1, state(1))
    (tmp_path / "states" / ".step-00000002.pt.17-18.tmp").write_bytes(b"half")
    assert [path.name for path in states.paths()] == ["step-00000001.pt"]
    states.write(3, state(3))
    assert {path.name for path in (tmp_path / "states").iterdir()} == {"step-00000001.pt", "step-00000003.pt"}


def test_every_key_that_differs_is_named_and_what_changes_no_figure_may_differ(tmp_path: Path) -> None:
    states = States(tmp_path)
    path = states.write(1, state(1))
    free = {"save_every": 7, "save_every_minutes": None, "num_states": 1, "recompute_blocks": True}
    assert states.read(path, toy_config(training=free, data={"num_workers": 3}), TEACHER)["step"] == 1
    with pytest.raises(ctsdk.TrainingError, match="belongs to another configuration") as caught:
        states.read(path, toy_config(seed=4, stages=[2, 4], training={"steps": 13}), TEACHER)
    lines = str(caught.value).splitlines()[1:]
    assert lines == ["  stages: was 3, is [2, 4]", "  training.steps: was 12, is 13", "  seed: was 0, is 4"]


def test_another_teacher_is_refused(tmp_path: Path) -> None:
    config = toy_config(training={"save_every": 2})
    ctsdk.compress(toy_adapter(), config, batches=toy_batches(), run_dir=tmp_path)
    with pytest.raises(ctsdk.TrainingError, match=r"another configuration or teacher(.|\n)*teacher.sha256: was "):
        ctsdk.compress(toy_adapter(seed=1), config, batches=toy_batches(), run_dir=tmp_path, resume=True)
    with pytest.raises(ctsdk.TrainingError, match="another configuration or teacher"):
        ctsdk.compress(toy_adapter(depth=9), config, batches=toy_batches(), run_dir=tmp_path, resume=True)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk"])
def test_a_damaged_state_is_refused_and_the_one_before_is_named(tmp_path: Path, content: bytes) -> None:
    states = States(tmp_path)
    states.write(1, state(1))
    path = states.write(2, state(2))
    path.write_bytes(content)
    with pytest.raises(ctsdk.TrainingError, match=r"cannot read .*Remove it to resume from step-00000001\.pt"):
        states.read(path, toy_config(), TEACHER)
    torch.save({"step": 2}, path)
    with pytest.raises(ctsdk.TrainingError, match="holds no training state"):
        states.read(path, toy_config(), TEACHER)


class Opened:
    """Would run code if a state were read by pickle's own rules."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_reading_a_state_runs_nothing(tmp_path: Path) -> None:
    states = States(tmp_path)
    path = states.write(1, {**state(1), "student": Opened(tmp_path / "ran")})
    with pytest.raises(ctsdk.TrainingError, match="cannot read"):
        states.read(path, toy_config(), TEACHER)
    assert not (tmp_path / "ran").exists()


def small_disk(folder: Path) -> bool:
    """Mount a file system of 1 MB; False where that is not allowed."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    if not small_disk(folder):
        pytest.skip("only root may mount a file system")
    try:
        states = States(folder)
        good = states.write(1, state(1, size=100_000))
        before = good.read_bytes()
        with pytest.raises(ctsdk.TrainingError, match=r"step 2: .*No space left.*last good state is .*step-00000001"):
            states.write(2, state(2, size=200_000))
        assert good.read_bytes() == before
        assert list((folder / "states").iterdir()) == [good]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_in_the_middle_of_a_save_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(training={"save_every": 2})
    save = torch.save

    def fill_up(content: dict[str, Any], file: Any) -> None:
        if content["step"] == 6:
            file.write(b"PK\x03\x04 the first bytes of a state")
            raise OSError(28, "No space left on device")
        save(content, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fill_up)
        with pytest.raises(ctsdk.TrainingError, match="No space left on device") as caught:
            ctsdk.compress(toy_adapter(), config, batches=toy_batches(), run_dir=tmp_path)
    latest = States(tmp_path).latest()
    assert latest is not None
    assert latest.name == "step-00000004.pt"
    assert caught.value.state_path == latest
    resumed = ctsdk.compress(toy_adapter(), config, batches=toy_batches(), run_dir=tmp_path, resume=True)
    whole = ctsdk.compress(toy_adapter(), config, batches=toy_batches())
    for name, value in whole.student.state_dict().items():
        assert torch.equal(resumed.student.state_dict()[name], value), name


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ctsdk.ConfigError, match="cannot be made"):
        ctsdk.compress(toy_adapter(), toy_config(), batches=toy_batches(), run_dir=tmp_path / "file" / "run")


def test_runs_that_are_killed_end_like_one_that_is_not() -> None:
    tool = Path(__file__).parents[2] / "tools" / "kill_and_resume.py"
    words = [sys.executable, str(tool), "--kills", "2", "--steps", "20"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kills in " in done.stdout
