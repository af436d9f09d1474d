"""Tables and clips: the right figures in them."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError
from ctsdk.evaluation.tables import Table
from ctsdk.profiling import Profile
from ctsdk.reporting import comparison_table, save_side_by_side
from ctsdk.video import open_frames
from tests.helpers.evaluations import evaluation, pooled_evaluation

TEACHER = Profile(params=86_600_000, macs=21_500_000_000, latency_ms=100.0, device="cpu", num_blocks=12)
STUDENT = Profile(params=29_900_000, macs=7_300, latency_ms=40.0, device="cpu", num_blocks=4)
BOTH = {"teacher": TEACHER, "student": STUDENT}


def rows(table: Table, width: int = 80) -> dict[str, list[str]]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    lines = [line.split("  ") for line in console.export_text().splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return {line[0]: line[1:] for line in cells if line}


# -- the table --------------------------------------------------------------------------------------------------------


def test_the_table_compares_with_the_first_tracker() -> None:
    seen = rows(comparison_table(BOTH, {"teacher": evaluation({"s": 0.8}), "student": evaluation({"s": 0.72})}))
    assert next(iter(seen)) == "teacher"
    assert seen["success AUC (ostrack)"] == ["0.800", "0.720"]
    assert seen["precision at 20 px (ostrack)"] == ["0.800", "0.720"]
    assert seen["AUC kept"] == ["-", "90.0%"]
    assert seen["blocks"] == ["12", "4"]
    assert seen["parameters"] == ["86.60 M", "29.90 M"]
    assert seen["multiply-adds"] == ["21.50 G", "7.30 K"]
    assert seen["latency"] == ["100.00 ms", "40.00 ms"]
    assert seen["speed-up"] == ["-", "2.50x"]


def test_rows_that_nobody_measured_are_left_out() -> None:
    bare = Profile(params=999, macs=1000, latency_ms=1.0, device="cpu", num_blocks=1)
    seen = rows(comparison_table({"one": bare}))
    assert not {"success AUC", "precision at 20 px", "AUC kept", "speed-up"} & set(seen)
    assert (seen["parameters"], seen["multiply-adds"]) == (["999"], ["1.00 K"])


def test_a_teacher_that_never_hits_breaks_nothing() -> None:
    seen = rows(comparison_table(BOTH, {"teacher": evaluation({"s": 0.0}), "student": evaluation({"s": 0.72})}))
    assert "AUC kept" not in seen
    assert seen["success AUC (ostrack)"] == ["0.000", "0.720"]


def test_a_label_with_brackets_is_shown_as_it_is() -> None:
    assert "mine [bold]" in next(iter(rows(comparison_table({"mine [bold]": TEACHER})).items()))[0]


def test_a_tracker_that_was_not_evaluated_has_no_accuracy() -> None:
    seen = rows(comparison_table(BOTH, {"teacher": evaluation({"s": 0.8})}))
    assert seen["success AUC (ostrack)"] == ["0.800", "-"]
    assert seen["precision at 20 px (ostrack)"] == ["0.800", "-"]
    assert "AUC kept" not in seen


def test_accuracy_by_other_rules_is_refused() -> None:
    with pytest.raises(ConfigError, match="the protocol 'got10k' has no metric 'AUC'"):
        comparison_table(BOTH, {"teacher": pooled_evaluation([0.5], [3])})
    with pytest.raises(ConfigError, match="different videos"):
        comparison_table(BOTH, {"teacher": evaluation({"s": 0.5}), "student": evaluation({"t": 0.5})})


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
