"""Plots: drawn in every format, the same bytes for the same figures, and no traces in the process."""

from __future__ import annotations

import builtins
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError
from ctsdk.evaluation.plots import save_plot, save_plots
from ctsdk.evaluation.protocols.names import PROTOCOLS, make_protocol
from ctsdk.evaluation.scores import Evaluation
from tests.helpers.evaluations import evaluation, pooled_evaluation

BOTH = {"worse": evaluation({"a": 0.3, "b": 0.5}), "better": evaluation({"a": 0.6, "b": 0.5})}


@pytest.fixture(autouse=True)
def _needs_matplotlib() -> None:
    pytest.importorskip("matplotlib")


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_plots_are_drawn_with_the_same_bytes_each_time(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = save_plot(tmp_path / "new" / f"success{suffix}", BOTH)
    data = path.read_bytes()
    assert data.startswith(start)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert save_plot(tmp_path / f"again{suffix}", BOTH).read_bytes() == data


def test_the_legend_has_the_figures_with_their_protocol_the_best_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Text as text, and not as outlines of its letters.
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    text = save_plot(tmp_path / "a.svg", {**BOTH, "_odd $1$ <b>": BOTH["worse"]}).read_text(encoding="utf-8")
    seen = [text.index(part) for part in ("AUC (ostrack)", "[55.0] better", "[40.0] worse", "[40.0] _odd $1$ &lt;b")]
    assert seen == sorted(seen)
    assert "Success, made" in text
    precise = save_plot(tmp_path / "b.svg", BOTH, "precision", title="How near").read_text(encoding="utf-8")
    assert "P (ostrack)" in precise
    assert "How near" in precise
    assert "distance of centres, px" in precise


def test_every_curve_becomes_two_files(tmp_path: Path) -> None:
    paths = save_plots(tmp_path / "plots", BOTH)
    assert [path.name for path in paths] == [
        f"{curve}{suffix}" for curve in ("success", "precision", "normalised_precision") for suffix in (".png", ".svg")
    ]
    assert all(path.stat().st_size > 5000 for path in paths)
    only = save_plots(tmp_path / "pooled", {"a": pooled_evaluation([0.5, 0.2], [3, 4])})
    assert [path.name for path in only] == ["success.png", "success.svg"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_can_be_drawn_with_a_figure_in_each_legend(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    truth = np.tile([10.0, 10, 20, 20], (4, 1))
    video = Video("a", truth, np.ones(4, dtype=bool), (80, 60), lambda _: np.zeros((60, 80, 3), dtype=np.uint8))
    for dataset in ("lasot", "made"):
        rules = make_protocol(name, dataset)
        score = Evaluation(rules, dataset, (rules.score(video, truth),))
        for curve in score.curves:
            path = save_plot(tmp_path / f"{curve}.svg", {"only": score}, curve)
            assert "] only" in path.read_text(encoding="utf-8"), curve


def test_more_trackers_than_colours_can_be_drawn(tmp_path: Path) -> None:
    many = {f"tracker {number}": evaluation({"a": number / 12}) for number in range(12)}
    assert save_plot(tmp_path / "many.png", many).stat().st_size > 5000


def test_plots_leave_the_callers_matplotlib_alone(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.helpers.evaluations import evaluation
from ctsdk.evaluation.plots import save_plot
assert "matplotlib" not in sys.modules
import matplotlib
matplotlib.use("svg")
before = dict(matplotlib.rcParams)
save_plot({str(tmp_path / "curves.png")!r}, {{"a": evaluation({{"a": 0.5}})}})
save_plot({str(tmp_path / "curves.svg")!r}, {{"a": evaluation({{"a": 0.5}})}})
assert dict(matplotlib.rcParams) == before
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in '\.jpg'; expected one of \.png"):
        save_plot(tmp_path / "a.jpg", BOTH)
    with pytest.raises(ConfigError, match="no evaluations to show"):
        save_plot(tmp_path / "a.png", {})
    with pytest.raises(ConfigError, match="the protocol of 'b' is 'got10k'"):
        save_plot(tmp_path / "a.png", {"a": BOTH["worse"], "b": pooled_evaluation([0.5], [3])})
    with pytest.raises(ConfigError, match="'got10k' has no curve 'precision' to draw; it has success"):
        save_plot(tmp_path / "a.png", {"b": pooled_evaluation([0.5], [3])}, "precision")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_matplotlib(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError("No module named 'matplotlib'")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(ConfigError, match=r"needs matplotlib.*pip install 'ctsdk\[demo\]'"):
        save_plot(tmp_path / "a.png", BOTH)
