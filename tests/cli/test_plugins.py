"""A custom adapter in a file, through every command that loads one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ctsdk.cli import main
from ctsdk.plugins import clear_registered
from ctsdk.video import write_video
from tests.helpers.golden_sequence import FIRST_BOX_XYWH_PX, NUM_FRAMES, frame

ADAPTER = """
import torch
from tests.helpers.toy import ToyAdapter, ToyTracker

import ctsdk


@ctsdk.register_adapter
class OwnToy(ToyAdapter):
    '''A toy in a file.'''

    name = "own-toy"

    @classmethod
    def load(cls, variant, weights):
        torch.manual_seed(0)
        return cls(ToyTracker(depth=3))
"""
DATASET = """
import ctsdk
from tests.helpers.evaluations import make_video


def read(index):
    return make_video("abc"[index])


@ctsdk.register_dataset_format("own-made")
def open_made(root="."):
    return ctsdk.VideoDataset("own-made", "all", ["a"], read)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with two plug-in files; what they change in this process is undone."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_toy.py").write_text(ADAPTER)
    (tmp_path / "own_made.py").write_text(DATASET)
    yield tmp_path
    clear_registered()
    for name in ("own_toy", "own_made", "own_plain"):
        sys.modules.pop(name, None)


def test_a_tracker_in_a_file_is_compressed_and_used(
    folder: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = ["--plugin", str(folder / "own_toy.py")]
    run = folder / "run"
    values = [
        *("training.steps=2", "training.batch_size=2", "training.device=cpu", "stages=1"),
        *(f"data.photographs={photographs}", "data.num_videos=2"),
    ]
    settings = [word for value in values for word in ("--set", value)]
    assert main(["compress", "--adapter", "own-toy", *plugin, "--out", str(run), *settings]) == 0
    assert json.loads((run / "result.json").read_text())["adapter"]["name"] == "own-toy"
    capsys.readouterr()

    assert main(["profile", "--result", str(run), *plugin, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_blocks"] == 1

    video = write_video(folder / "video.mp4", map(frame, range(3)))
    box = ",".join(map(str, FIRST_BOX_XYWH_PX))
    assert NUM_FRAMES > 3
    assert main(["track", str(video), "--box", box, "--result", str(run), *plugin]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3

    # In worker processes, too, and on a data set that a second file brings.
    both = [*plugin, "--plugin", str(folder / "own_made.py")]
    assert main(["evaluate", str(run), *both, "--data", "own-made:", "--num-workers", "1", "--out", str(folder)]) == 0
    assert "own-made" in capsys.readouterr().out


def test_a_tracker_in_a_file_is_listed_and_checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ctsdk.testing.check_adapter", lambda adapter, **_: [])
    # A dotted name does as well as a path, if Python finds it.
    monkeypatch.syspath_prepend(folder)
    assert main(["adapters", "--plugin", "own_toy", "--json"]) == 0
    listed = {info["name"]: info for info in json.loads(capsys.readouterr().out)}
    assert listed["own-toy"]["entry_point"] == "own_toy:OwnToy"
    assert listed["own-toy"]["summary"] == "A toy in a file."
    assert "ostrack" in listed
    assert main(["check", "own-toy", "--plugin", str(folder / "own_toy.py")]) == 0


def test_without_the_file_the_name_is_unknown(folder: Path, refused: Callable[..., str]) -> None:
    assert "no adapter is called 'own-toy'" in refused("profile", "--adapter", "own-toy")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1", "registers nothing. Put @ctsdk.register_adapter above"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("import ctsdk\n@ctsdk.register_adapter\nclass X: pass", "expected a subclass of ctsdk.TrackerAdapter"),
        (None, "own_plain.py does not exist"),
    ],
)
@pytest.mark.parametrize("command", [["adapters"], ["check", "ostrack"], ["profile", "--adapter", "ostrack"]])
def test_a_file_that_is_no_plugin_is_refused(
    folder: Path, text: str | None, told: str, command: list[str], refused: Callable[..., str]
) -> None:
    path = folder / "own_plain.py"
    if text is not None:
        path.write_text(text)
    assert told in refused(*command, "--plugin", str(path))
