"""Numbers in text files: what may vary, and what is refused with its line."""

from __future__ import annotations

import timeit
from pathlib import Path

import numpy as np
import pytest

from ctsdk import DataError
from ctsdk.data.readers.files import Folder
from ctsdk.data.readers.text import read_boxes, read_flags, read_lines, read_rows, read_text
from tests.helpers.fixtures import write

ROWS = [[1.0, 2.0, 3.5, 4.0], [-5.0, 6.25, 7.0, 0.0]]


def put(root: Path, data: bytes) -> Folder:
    write(root / "file.txt", data)
    return Folder(root)


@pytest.mark.parametrize(
    "data",
    [
        b"1,2,3.5,4\n-5,6.25,7,0\n",
        b"1,2,3.5,4\n-5,6.25,7,0",
        b"\xef\xbb\xbf1,2,3.5,4\r\n-5,6.25,7,0\r\n\r\n  \n",
        b" 1.00, 2.00, 3.50, 4.00\r-5.00, 6.25, 7.00, 0.00\r",
        b"1\t2\t3.5\t4\n-5\t6.25\t7\t0\n",
        b"1   2 3.5  4  \n  -5 6.25 7 0\n",
        b"1, 2 3.5\t4\n-5 ,6.25 , 7,0\n",
        b"1,2,3.5,4\n-5 6.25 7 0\n",
        b"+1e0,2.,35e-1,4\n-5,6.25,7,-0\n",
    ],
)
def test_rows_mean_the_same_however_they_are_written(tmp_path: Path, data: bytes) -> None:
    files = put(tmp_path, data)
    assert read_boxes(files, "file.txt").tolist() == ROWS
    assert read_boxes(files, "file.txt").dtype == np.float64
    assert read_rows(files, "file.txt", 4) == ROWS


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"1,2,3,4\n1,2,3\n", 2),
        (b"1,2,3\n1,2,3\n", 1),
        (b"1,2,3,4,5\n", 1),
        (b"1,2,3,4\n\n1,2,3,4\n", 2),
        (b"1,2,3,4\n1;2;3;4\n", 2),
        (b"1,2,3,4\n1,2,,4\n", 2),
        (b"1,2,3,4,\n", 1),
        (b"1,2,3,4\n5,6,7,x\n", 2),
        (b"1,2,3,1_0\n", 1),
        (b"1,2,3,4\n1,2,3,4\0\n", 2),
        (b"# x,y,w,h\n1,2,3,4\n", 1),
        (b"1,2,3,4\n5,6,0x10,8\n", 2),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, data: bytes, line: int) -> None:
    files = put(tmp_path, data)
    for read in (read_boxes, lambda files, path: read_rows(files, path, 4)):
        with pytest.raises(DataError, match=rf"file\.txt, line {line}: .*expected 4 numbers separated by"):
            read(files, "file.txt")


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_an_empty_file_holds_no_boxes(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError, match=r"file\.txt is empty"):
        read_boxes(put(tmp_path, data), "file.txt")


def test_nan_is_a_number_and_infinity_is_none(tmp_path: Path) -> None:
    boxes = read_boxes(put(tmp_path, b"1,2,3,4\nNaN,nan,NAN,NaN\n"), "file.txt")
    assert np.isnan(boxes).tolist() == [[False] * 4, [True] * 4]
    for word in (b"inf", b"-Infinity", b"1e999", b"-1e308", b"1e10"):
        with pytest.raises(DataError, match=r"file\.txt, line 2: .*expected finite numbers"):
            read_boxes(put(tmp_path, b"1,2,3,4\n1,2,3," + word + b"\n"), "file.txt")


def test_rows_are_as_wide_as_the_first_where_no_width_is_asked_for(tmp_path: Path) -> None:
    assert read_rows(put(tmp_path, b"1,2\n3,4\n"), "file.txt", None) == [[1, 2], [3, 4]]
    with pytest.raises(DataError, match=r"line 2: '0'; expected 2 numbers"):
        read_rows(put(tmp_path, b"1,2\n0\n"), "file.txt", None)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    for data in ("1,2,3,4\n".encode("utf-16"), b"\xff\xd8\xff\xe0JFIF"):
        with pytest.raises(DataError, match=r"file\.txt is no UTF-8 text"):
            read_lines(put(tmp_path, data), "file.txt")
    with pytest.raises(DataError, match=r"none\.txt cannot be read: No such file"):
        read_lines(Folder(tmp_path), "none.txt")


def test_only_ends_of_lines_part_lines(tmp_path: Path) -> None:
    files = put(tmp_path, "first\u2028still\x0cfirst\r\nsecond\n\nfourth\n\n".encode())
    assert read_lines(files, "file.txt") == ["first\u2028still\x0cfirst", "second", "", "fourth"]
    assert read_text(files, "file.txt").endswith("fourth\n\n")
    assert read_lines(put(tmp_path, b""), "file.txt") == []


@pytest.mark.parametrize(
    "data",
    [b"0\n8\n1\n", b"0\r\n8\r\n1", b"0,8,1", b"0, 8, 1,\n", b"0 8\t1\n", b"\xef\xbb\xbf0,8,1", b" 0 \n 8\n1\n\n"],
)
def test_flags_stand_one_per_line_or_in_one_line(tmp_path: Path, data: bytes) -> None:
    flags = read_flags(put(tmp_path, data), "file.txt", 3, largest=8)
    assert flags.tolist() == [0, 8, 1]
    assert flags.dtype == np.int64


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"0\n2\n1\n", r"line 2: '2'; expected a whole number from 0 to 1"),
        (b"0,1,x", r"line 1, number 3: 'x'"),
        (b"0,,1", r"line 1, number 2: ''"),
        (b"0\n\n1\n", r"line 2: ''"),
        (b"0\n-1\n1\n", r"line 2: '-1'"),
        (b"0\n0.0\n1\n", r"line 2: '0\.0'"),
        (b"0,0\n1,0\n", r"line 1: '0,0'"),
        (b"0,1", r"has 2 flags for 3 boxes"),
        (b"0\n0\n0\n0\n", r"has 4 flags for 3 boxes"),
        (b"", r"has 0 flags for 3 boxes"),
    ],
)
def test_wrong_flags_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"file\.txt.*{message}"):
        read_flags(put(tmp_path, data), "file.txt", 3)


def test_one_flag_is_a_line(tmp_path: Path) -> None:
    assert read_flags(put(tmp_path, b"1\n"), "file.txt", 1).tolist() == [1]


def test_long_files_are_read_fast(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 1900, (2500, 4))
    files = put(tmp_path, "".join(",".join(map(str, row)) + "\n" for row in rows).encode())
    assert read_boxes(files, "file.txt").tolist() == rows.tolist()
    # It takes 1 to 2 ms; line by line takes 5.
    assert min(timeit.repeat(lambda: read_boxes(files, "file.txt"), number=1, repeat=20)) < 0.02
