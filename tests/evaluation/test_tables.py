"""Tables: the right figures in the right cells, with their protocol, in all three forms."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ctsdk.errors import ConfigError
from ctsdk.evaluation.scores import Evaluation
from ctsdk.evaluation.tables import Table, attribute_table, figure_table, frames_per_second, video_table
from tests.helpers.evaluations import evaluation, pooled_evaluation

ATTRIBUTES = {"a": ("OV", "FM"), "b": ("OV",)}
TEACHER = evaluation({"a": 0.8, "b": 0.6, "c": 0.1}, attributes=ATTRIBUTES)
STUDENT = evaluation({"c": 0.2, "a": 0.7, "b": 0.5}, attributes=ATTRIBUTES)
BOTH = {"teacher": TEACHER, "student": STUDENT}


def shown(table: Table, width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def test_figures_stand_beside_their_protocol() -> None:
    table = figure_table(BOTH)
    assert table.headings == ("", "teacher", "student")
    assert table.rows[0] == ("AUC (ostrack)", pytest.approx(50.0), pytest.approx(140 / 3))
    assert [row[0] for row in table.rows] == [
        *(f"{figure} (ostrack)" for figure in ("AUC", "OP50", "OP75", "P", "P_norm")),
        "frames per second",
    ]
    assert table.title == "Metrics: made, 3 videos"
    assert table.rows[-1][1:] == (pytest.approx(10.0), pytest.approx(10.0))


def test_speed_is_left_out_where_nobody_measured() -> None:
    table = figure_table({"teacher": pooled_evaluation([0.5], [3])})
    assert [row[0] for row in table.rows] == [f"{figure} (got10k)" for figure in ("AO", "SR50", "SR75", "speed_fps")]
    # A share of 1 needs more digits than a percentage; what is no number is blank.
    assert "0.500" in shown(table)
    assert table.rows[-1][1] is not None
    assert shown(table).splitlines()[-2].split() == ["speed_fps", "(got10k)", "-"]


def test_videos_are_matched_by_name() -> None:
    table = video_table(BOTH)
    assert table.headings == (
        "video",
        "frames",
        "teacher: AUC (ostrack)",
        "student: AUC (ostrack)",
        "teacher: fps",
        "student: fps",
    )
    assert [row[:2] for row in table.rows] == [("a", 4), ("b", 4), ("c", 4)]
    assert [row[2:4] for row in table.rows] == [
        pytest.approx(cells) for cells in ((80.0, 70.0), (60.0, 50.0), (10.0, 20.0))
    ]


def test_runs_of_a_video_share_a_row() -> None:
    other = evaluation({"a": 0.4})
    twice = Evaluation(other.protocol, "made", (*other.videos, *evaluation({"a": 0.8}).videos))
    assert [row[:3] for row in video_table({"": twice}).rows] == [("a", 4, pytest.approx(60.0))]
    assert attribute_table({"": twice}).rows == ()


def test_attributes_have_the_figures_of_their_videos() -> None:
    table = attribute_table(BOTH, ["AUC", "P"])
    assert table.headings == (
        "attribute",
        "videos",
        *(f"{tracker}: {figure} (ostrack)" for tracker in BOTH for figure in ("AUC", "P")),
    )
    assert table.rows == (
        ("FM", 1, *(pytest.approx(value) for value in (80.0, 80.0, 70.0, 70.0))),
        ("OV", 2, *(pytest.approx(value) for value in (70.0, 70.0, 60.0, 60.0))),
    )


def test_an_empty_label_is_left_out_of_headings() -> None:
    assert video_table({"": TEACHER}, ["P"]).headings == ("video", "frames", "P (ostrack)", "fps")


def test_csv_has_every_digit(tmp_path: Path) -> None:
    table = Table(("name", "value", "count"), (("a, b", 1 / 3, 2), ("c", None, 0), ("d", float("nan"), 1)), "a title")
    path = table.write_csv(tmp_path / "new" / "table.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["name", "value", "count"], ["a, b", repr(1 / 3), "2"], ["c", "", "0"], ["d", "", "1"]]
    assert b"\r" not in path.read_bytes()


def test_markdown_is_a_table() -> None:
    table = Table(("", "a|b"), (("x", 0.12345),), "a title", digits=3)
    assert table.to_markdown() == "a title\n\n|  | a\\|b |\n| --- | ---: |\n| x | 0.123 |\n"
    assert replace(table, title="").to_markdown().startswith("|  |")


def test_labels_are_not_markup() -> None:
    text = shown(figure_table({"mine [bold]": TEACHER}))
    assert "mine [bold]" in text


def test_rows_must_fit_the_headings() -> None:
    with pytest.raises(ConfigError, match="a row has 1 cells"):
        Table(("a", "b"), (("x",),))


def test_only_what_is_alike_goes_into_one_table() -> None:
    for make in (figure_table, video_table, attribute_table):
        with pytest.raises(ConfigError, match="there are no evaluations to show"):
            make({})
        with pytest.raises(ConfigError, match="the protocol of 'b' is 'got10k'"):
            make({"a": TEACHER, "b": pooled_evaluation([0.5], [3])})
        with pytest.raises(ConfigError, match="different videos"):
            make({"a": TEACHER, "b": evaluation({"a": 0.5})})
    with pytest.raises(ConfigError, match="no metric 'AO' here; it has AUC"):
        video_table(BOTH, ["AO"])
    with pytest.raises(ConfigError, match="no metric 'AO' here; it has AUC"):
        attribute_table(BOTH, ["AO"])


def test_speed_is_all_frames_over_all_seconds() -> None:
    slow, fast = TEACHER.videos[0], replace(TEACHER.videos[1], seconds=np.full(8, 0.05))
    assert frames_per_second([slow, fast]) == pytest.approx(12 / 0.8)
    assert frames_per_second([replace(slow, seconds=np.empty(0))]) is None
    assert frames_per_second([]) is None
