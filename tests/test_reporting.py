"""Tables and clips: the right figures in them."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from rich.console import Console

from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError
from ctsdk.reporting import (
    TrackerFigures,
    comparison_table,
    measure_trackers,
    print_comparison,
    save_side_by_side,
)
from ctsdk.video import open_frames
from tests.helpers.evaluations import evaluation, pooled_evaluation
from tests.helpers.toy import toy_adapter

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ctsdk.evaluation.tables import Table

TEACHER = TrackerFigures(
    params=86_600_000, macs=21_500_000_000, latency_ms=100.0, num_blocks=12, auc=0.8, precision=0.9
)
STUDENT = TrackerFigures(params=29_900_000, macs=7_300, latency_ms=40.0, num_blocks=4, auc=0.72, precision=0.85)


def rows(table: Table, width: int = 80) -> dict[str, list[str]]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    lines = [line.split("  ") for line in console.export_text().splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return {line[0]: line[1:] for line in cells if line}


# -- the table --------------------------------------------------------------------------------------------------------


def test_the_table_compares_with_the_first_tracker() -> None:
    seen = rows(comparison_table({"teacher": TEACHER, "student": STUDENT}))
    assert next(iter(seen)) == "teacher"
    assert seen["success AUC"] == ["0.800", "0.720"]
    assert seen["precision at 20 px"] == ["0.900", "0.850"]
    assert seen["AUC kept"] == ["-", "90.0%"]
    assert seen["blocks"] == ["12", "4"]
    assert seen["parameters"] == ["86.60 M", "29.90 M"]
    assert seen["multiply-adds"] == ["21.50 G", "7.30 K"]
    assert seen["latency"] == ["100.00 ms", "40.00 ms"]
    assert seen["speed-up"] == ["-", "2.50x"]


def test_rows_that_nobody_measured_are_left_out() -> None:
    bare = TrackerFigures(params=999, macs=1000, latency_ms=1.0)
    seen = rows(comparison_table({"one": bare}))
    assert not {"success AUC", "precision at 20 px", "AUC kept", "blocks", "speed-up"} & set(seen)
    assert (seen["parameters"], seen["multiply-adds"]) == (["999"], ["1.00 K"])


def test_a_teacher_that_never_hits_breaks_nothing() -> None:
    lost = TrackerFigures(params=1, macs=1, latency_ms=1.0, auc=0.0, precision=0.0)
    seen = rows(comparison_table({"teacher": lost, "student": STUDENT}))
    assert "AUC kept" not in seen
    assert seen["success AUC"] == ["0.000", "0.720"]


def test_a_label_with_brackets_is_shown_as_it_is() -> None:
    assert "mine [bold]" in next(iter(rows(comparison_table({"mine [bold]": TEACHER})).items()))[0]


def test_a_summary_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"auc": 0.8, "precision": 0.9, "params": 10, "macs": 20, "latency_ms": 2.0}
    untrained = {**figures, "auc": 0.2, "latency_ms": 1.0}
    print_comparison({"teacher": figures, "student_untrained": untrained, "retention": 0.25, "seconds": 3.0})
    out = capsys.readouterr().out
    assert "student untrained" in out
    assert "25.0%" in out
    assert "2.00x" in out


def test_accuracy_stands_beside_its_protocol() -> None:
    scored = replace(TEACHER, protocol="ostrack")
    seen = rows(comparison_table({"teacher": scored, "untracked": replace(STUDENT, auc=None, precision=None)}))
    assert seen["success AUC (ostrack)"] == ["0.800", "-"]
    assert seen["precision at 20 px (ostrack)"] == ["0.900", "-"]


def test_trackers_are_measured() -> None:
    adapter = toy_adapter()
    figures = measure_trackers(
        adapter, {"a": adapter.teacher, "b": adapter.teacher}, {"b": evaluation({"s": 0.25})}, num_rounds=2
    )
    assert figures["a"].params == sum(parameter.numel() for parameter in adapter.teacher.parameters())
    assert figures["a"].macs > 0
    assert figures["a"].latency_ms > 0
    assert figures["a"].num_blocks == 6
    assert (figures["a"].auc, figures["a"].protocol) == (None, None)
    assert (figures["b"].auc, figures["b"].precision, figures["b"].protocol) == (0.25, 0.25, "ostrack")


def test_accuracy_by_other_rules_is_not_taken_over() -> None:
    adapter = toy_adapter()
    with pytest.raises(ConfigError, match="the protocol 'got10k' has no figure 'AUC'"):
        measure_trackers(adapter, {"a": adapter.teacher}, {"a": pooled_evaluation([0.5], [3])}, num_rounds=1)
    trackers = {"a": adapter.teacher, "b": adapter.teacher}
    with pytest.raises(ConfigError, match="different videos"):
        measure_trackers(adapter, trackers, {"a": evaluation({"s": 0.5}), "b": evaluation({"t": 0.5})}, num_rounds=1)


# -- the clip ---------------------------------------------------------------------------------------------------------


def video(num_frames: int = 3) -> Video:
    def read(index: int) -> NDArray[np.uint8]:
        return np.full((60, 80, 3), 100 + index, dtype=np.uint8)

    boxes = np.tile([20.0, 20.0, 20.0, 20.0], (num_frames, 1))
    return Video("made", boxes, np.arange(num_frames) != 1, (80, 60), read)


def test_a_clip_has_a_panel_per_tracker_and_every_frame(tmp_path: Path) -> None:
    made = video()
    there, elsewhere = made.boxes_xywh_px, np.tile([50.0, 5.0, 10.0, 10.0], (3, 1))
    path = save_side_by_side(tmp_path / "clip.mp4", made, {"good": there, "lost": elsewhere, "nan": there * np.nan})
    frames = list(open_frames(path))
    assert len(frames) == 3
    height, width, _ = frames[0].shape
    assert abs(width - 3 * 480 - 2 * 8) <= 1
    assert abs(height - 360 - 34) <= 1
    # The box of the first panel covers its target, so it is drawn in the first colour there and only there.
    for panel, is_drawn in ((0, True), (1, False), (2, False)):
        left = panel * 488
        edge = frames[0][34 + 6 * 20 + 30 : 34 + 6 * 40 - 30, left + 6 * 20 - 1 : left + 6 * 20 + 2].astype(int)
        orange = np.abs(edge.reshape(-1, 3).mean(axis=0) - [230, 159, 0]).max()
        assert (orange < 60) == is_drawn


def test_many_trackers_share_the_width(tmp_path: Path) -> None:
    made = video(1)
    (frame,) = open_frames(
        save_side_by_side(tmp_path / "clip.mp4", made, dict.fromkeys("abcdefgh", made.boxes_xywh_px))
    )
    assert frame.shape[1] <= 1920 + 7 * 8


@pytest.mark.parametrize("shape", [(2, 4), (3, 5), (4, 4)])
def test_boxes_must_fit_the_video(tmp_path: Path, shape: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"expected \(3, 4\), one box per frame of 'made'"):
        save_side_by_side(tmp_path / "clip.mp4", video(), {"a": np.ones(shape)})
    with pytest.raises(DataError, match="no boxes to draw"):
        save_side_by_side(tmp_path / "clip.mp4", video(), {})


def test_opencv_is_what_reads_the_clip(tmp_path: Path) -> None:
    path = save_side_by_side(tmp_path / "clip.mp4", video(), {"a": video().boxes_xywh_px}, frames_per_second=20)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(20)
    capture.release()
