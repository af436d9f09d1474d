"""What several test modules share: golden weights, made once per session."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
from torch import Tensor

from ctsdk.cli import main
from ctsdk.data.synthetic.photographs import procedural_textures
from ctsdk_ostrack.adapter import OSTrackAdapter
from tests.golden.synthetic_weights import draw_all
from tests.helpers.official_files import official_file

OSTRACK_GOLDEN = Path(__file__).parent / "golden" / "ostrack"


@pytest.fixture(scope="session")
def ostrack_weights() -> dict[str, Tensor]:
    """The official OSTrack-256 state dict with synthetic values; not to be changed."""
    layouts = json.loads((OSTRACK_GOLDEN / "layouts.json").read_text())
    return draw_all(layouts["ostrack"])


@pytest.fixture(scope="session")
def ostrack_file(ostrack_weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint as the official trainer writes it: the weights beside objects of classes that are not here."""
    yield from official_file(tmp_path_factory.mktemp("ostrack") / "OSTrack_ep0300.pth.tar", "OSTrack", ostrack_weights)


@pytest.fixture(scope="session")
def ostrack_ce(ostrack_file: Path) -> OSTrackAdapter:
    """OSTrack-256 with candidate elimination. Leave its weights as they are."""
    from ctsdk_ostrack.adapter import OSTrackAdapter

    return OSTrackAdapter.load("vitb_256_mae_ce_32x4_ep300", ostrack_file)


@pytest.fixture(scope="session")
def ostrack_plain(ostrack_file: Path) -> OSTrackAdapter:
    """OSTrack-256 without candidate elimination. Leave its weights as they are."""
    from ctsdk_ostrack.adapter import OSTrackAdapter

    return OSTrackAdapter.load("vitb_256_mae_32x4_ep300", ostrack_file)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three small pictures, for synthetic videos that are made quickly."""
    folder = tmp_path_factory.mktemp("photographs")
    for index, texture in enumerate(procedural_textures(0, 3, (120, 90))):
        cv2.imwrite(str(folder / f"{index}.png"), texture)
    return folder


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command that must fail, and gives what it said on stderr."""

    def run_refused(*words: str, code: int = 1) -> str:
        assert main(list(words)) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        if code == 1:
            assert captured.err.count("error: ") == 1
        return captured.err

    return run_refused
