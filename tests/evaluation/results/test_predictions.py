from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ctsdk.errors import DataError, OutputError
from ctsdk.evaluation.results.predictions import PredictionFolder, TrackedVideo

BOXES = np.array([[10.0, 20.0, 30.0, 40.0], [10.7, -3.6, 40.26, 0.0]])

few = settings(max_examples=50, deadline=None, derandomize=True)
coordinates = st.floats(allow_nan=False, allow_infinity=False)
sizes = st.floats(min_value=0, allow_infinity=False)
boxes = st.lists(st.tuples(coordinates, coordinates, sizes, sizes), min_size=1, max_size=5)


def test_shapes_are_refused_that_do_not_fit_together() -> None:
    with pytest.raises(DataError, match=r"video 'dog': boxes have shape \(4,\); expected \(N, 4\)"):
        TrackedVideo("dog", BOXES[0])
    with pytest.raises(DataError, match=r"'dog': boxes have shape \(0, 4\)"):
        TrackedVideo("dog", np.empty((0, 4)))
    with pytest.raises(DataError, match=r"'dog': seconds have shape \(3,\) for 2 boxes; expected one per box"):
        TrackedVideo("dog", BOXES, np.zeros(3))
    with pytest.raises(DataError, match=r"'dog': confidences have shape \(2, 1\)"):
        TrackedVideo("dog", BOXES, confidences=np.zeros((2, 1)))


@pytest.mark.parametrize(("column", "value"), [(0, np.nan), (1, np.inf), (2, -0.1), (3, -np.inf), (3, np.nan)])
def test_box_that_is_none_is_refused_by_its_frame(column: int, value: float) -> None:
    wrong = BOXES.copy()
    wrong[1, column] = value

    with pytest.raises(DataError, match=r"video 'dog': box 1 is \[.*\]; expected finite .* as its last box"):
        TrackedVideo("dog", wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e-9])
def test_time_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(DataError, match=r"video 'dog': time 1 is .*; expected seconds, at least 0"):
        TrackedVideo("dog", BOXES, np.array([0.0, value]))


@few
@given(rows=boxes, data=st.data())
def test_folder_gives_back_the_same_numbers(
    rows: list[tuple[float, ...]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    num = len(rows)
    seconds = np.array(data.draw(st.just([]) | st.lists(sizes, min_size=num, max_size=num)), dtype=np.float64)
    confidences = np.array(data.draw(st.just([]) | st.lists(st.floats(), min_size=num, max_size=num)), dtype=np.float64)
    folder = PredictionFolder(tmp_path_factory.mktemp("predictions"))
    folder.write(TrackedVideo("dog", np.array(rows), seconds, confidences))

    back = folder.read("dog")

    assert back.boxes_xywh_px.tobytes() == np.array(rows).tobytes()
    assert back.seconds.tobytes() == seconds.tobytes()
    np.testing.assert_array_equal(back.confidences, confidences)


@pytest.mark.parametrize("name", ["-3TIfnTSM6c_2", "Jogging.1", "a dog", "a..b", "..a", "Müller", "timelapse_1"])
def test_names_that_data_sets_use_are_names_of_files(name: str, tmp_path: Path) -> None:
    folder = PredictionFolder(tmp_path / "made" / "when needed")
    assert not folder.has(name)

    path = folder.write(TrackedVideo(name, BOXES))

    assert path == tmp_path / "made" / "when needed" / f"{name}.txt"
    assert folder.has(name)
    np.testing.assert_array_equal(folder.read(name).boxes_xywh_px, BOXES)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../dog", "/dog", "a/dog", "a\\dog", "dog\n", "dog\0", "dog_time", "_confidence", "x" * 201]
)
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    folder = PredictionFolder(tmp_path / "inside")
    for act in (folder.has, folder.read, lambda name: folder.write(TrackedVideo(name, BOXES))):
        with pytest.raises(DataError, match="file"):
            act(name)
    assert list(tmp_path.iterdir()) == []


def test_files_are_plain_text(tmp_path: Path) -> None:
    PredictionFolder(tmp_path).write(TrackedVideo("dog", BOXES, np.array([0.1, 2.0]), np.array([np.nan, 0.5])))

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "dog.txt": b"10.0,20.0,30.0,40.0\n10.7,-3.6,40.26,0.0\n",
        "dog_time.txt": b"0.1\n2.0\n",
        "dog_confidence.txt": b"nan\n0.5\n",
    }


def test_writing_again_leaves_nothing_of_the_first_writing(tmp_path: Path) -> None:
    folder = PredictionFolder(tmp_path)
    folder.write(TrackedVideo("dog", BOXES, np.ones(2), np.ones(2)))
    folder.write(TrackedVideo("dog", BOXES[:1]))

    assert [path.name for path in tmp_path.iterdir()] == ["dog.txt"]
    assert len(folder.read("dog")) == 1


def test_video_is_complete_only_once_its_boxes_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = PredictionFolder(tmp_path)
    folder.write(TrackedVideo("dog", BOXES, np.ones(2)))
    (tmp_path / "dog_confidence.txt").mkdir()  # so that writing fails half-way

    with pytest.raises(OutputError, match="dog_confidence"):
        folder.write(TrackedVideo("dog", BOXES[:1], np.ones(1), np.ones(1)))

    assert not folder.has("dog")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dog_confidence.txt", "dog_time.txt"]


def test_what_cannot_be_replaced_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dog.txt").mkdir()
    with pytest.raises(OutputError, match=r"cannot replace .*dog\.txt"):
        PredictionFolder(tmp_path).write(TrackedVideo("dog", BOXES))


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    folder = PredictionFolder(tmp_path)
    with pytest.raises(DataError, match=r"dog\.txt does not exist; expected the boxes of video 'dog'"):
        folder.read("dog")
    folder.write(TrackedVideo("dog", BOXES, np.ones(2)))
    (tmp_path / "dog_time.txt").write_text("1.0\n")
    with pytest.raises(DataError, match=r"dog\.txt: video 'dog': seconds have shape \(1,\)"):
        folder.read("dog")
    (tmp_path / "dog.txt").write_text("1,2,3,4\n1,2,3,40")
    with pytest.raises(DataError, match=r"dog\.txt was cut: its last line has no end"):
        folder.read("dog")
    (tmp_path / "dog.txt").write_text("1,2,3,4\n1,2,3\n")
    with pytest.raises(DataError, match=r"dog\.txt, line 2: '1,2,3'"):
        folder.read("dog")
