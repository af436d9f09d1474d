from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from ctsdk.errors import DataError
from ctsdk.evaluation.results import archives
from ctsdk.evaluation.results.archives import Archive, list_folder
from tests.helpers import hostile


def make_zip(path: Path, **texts: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return path


def write(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("1,2,3,4\n")


def test_folder_is_listed_with_what_is_below(tmp_path: Path) -> None:
    write(tmp_path, "b.txt", "a/c.txt", "a/b/-d e.txt", ".hidden")

    assert list_folder(tmp_path) == [".hidden", "b.txt", "a/c.txt", "a/b/-d e.txt"]


def test_links_are_followed_but_not_for_ever(tmp_path: Path) -> None:
    write(tmp_path / "disk", "a.txt")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "lasot").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert list_folder(tmp_path / "results") == ["lasot/a.txt"]

    (tmp_path / "disk" / "x").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert list_folder(tmp_path / "disk") == ["a.txt"]
    for number in range(40):  # each would lead to all of them again, and again
        (tmp_path / "disk" / f"x{number}").symlink_to(".", target_is_directory=True)
    assert list_folder(tmp_path / "results") == ["lasot/a.txt"]


def test_two_links_to_one_folder_are_both_followed(tmp_path: Path) -> None:
    write(tmp_path / "shared", "a.txt")
    (tmp_path / "results").mkdir()
    for name in ("OTB100", "UAV123"):
        (tmp_path / "results" / name).symlink_to(tmp_path / "shared", target_is_directory=True)
    assert list_folder(tmp_path / "results") == ["OTB100/a.txt", "UAV123/a.txt"]


def test_folder_that_is_too_large_or_closed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.txt", "b.txt")
    monkeypatch.setattr(archives, "_MAX_FILES", 1)
    with pytest.raises(DataError, match="more than 1 files; expected the results of one tracker"):
        list_folder(tmp_path)

    def closed(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DataError, match="cannot be listed: Permission denied"):
        list_folder(tmp_path)


def test_archive_tells_what_it_holds(tmp_path: Path) -> None:
    archive = Archive.open(make_zip(tmp_path / "t.zip", **{"empty/": "", "./t/a.txt": "1", "t//s/b.txt": "2"}))

    assert archive.contents == {"t/a.txt": b"1", "t/s/b.txt": b"2"}
    assert (archive.names(""), archive.names("t"), archive.names("t/s")) == (["t"], ["a.txt", "s"], ["b.txt"])
    assert [archive.exists(path) for path in ("t", "t/a.txt", "empty", "t/a", "b.txt")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert archive.read("t/a.txt") == b"1"
    assert (archive.place("t"), archive.place("")) == (f"'t' in {tmp_path}/t.zip", f"{tmp_path}/t.zip")
    with pytest.raises(DataError, match=r"there is no 'a\.txt' in .*t\.zip"):
        archive.read("a.txt")
    with pytest.raises(DataError, match=r"there is no folder 's' in .*t\.zip"):
        archive.names("s")


@pytest.mark.parametrize("name", ["/a.txt", "../a.txt", "x/../../a.txt", "..\\a.txt", "C:/a.txt", "x/.."])
def test_archive_that_points_out_of_itself_is_refused(name: str, tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "t.zip", **{"a.txt": "1,2,3,4\n", name: "1,2,3,4\n"})
    with pytest.raises(DataError, match=r"names 1 files outside of itself, such as .*; it was not read"):
        Archive.open(archive)


def test_archive_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "t.zip", **{"a.txt": "1,2,3,4\n", "./a.txt": "1,2,3,4\n"})
    with pytest.raises(DataError, match=r"has 1 names more than once, such as 'a\.txt'"):
        Archive.open(archive)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_long_entry_of_an_archive_is_read(method: int, tmp_path: Path) -> None:
    content = b"1,2,3,4\n" * (2 << 20)
    with zipfile.ZipFile(tmp_path / "t.zip", "w", method) as archive:
        archive.writestr("a.txt", content)
    assert Archive.open(tmp_path / "t.zip").read("a.txt") == content
    with pytest.raises(DataError, match=r"'a\.txt' in .* has 16777216 bytes; expected 16777215 at most"):
        Archive.open(tmp_path / "t.zip").read("a.txt", (16 << 20) - 1)


@pytest.mark.parametrize("limit", ["_MAX_FILES", "_MAX_BYTES"])
def test_archive_that_is_too_large_is_refused_before_it_is_unpacked(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_zip(tmp_path / "t.zip", **{"a.txt": "1,2,3,4\n", "b.txt": "1,2,3,4\n"})
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    monkeypatch.setattr(archives, limit, 1)
    with pytest.raises(DataError, match="2 entries of 16 bytes when unpacked; expected at most"):
        Archive.open(archive)


def test_archive_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "1,2,3,4\n" * 10_000)
    size = (80_000).to_bytes(4, "little")
    (tmp_path / "t.zip").write_bytes(buffer.getvalue().replace(size, (8).to_bytes(4, "little")))

    with pytest.raises(DataError, match=r"t\.zip cannot be read as a zip archive"):
        Archive.open(tmp_path / "t.zip")


@pytest.mark.parametrize("content", [b"", b"1,2,3,4\n", b"PK\x03\x04 and so on"])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.zip").write_bytes(content)
    with pytest.raises(
        DataError, match=r"t\.zip cannot be read as a zip archive: .*Expected a folder or a zip archive"
    ):
        Archive.open(tmp_path / "t.zip")
    with pytest.raises(DataError, match="nowhere does not exist; expected a folder or a zip archive"):
        Archive.open(tmp_path / "nowhere")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archive_that_is_packed_without_bounds_is_refused(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w", method) as archive:
        archive.writestr("a.txt", "1,2,3,4\n")
    with pytest.raises(DataError, match="is packed in a way that result files never are"):
        Archive.open(tmp_path / "t.zip")


def test_archive_that_unpacks_to_a_gigabyte_takes_no_memory(tmp_path: Path) -> None:
    data = hostile.bomb("a.txt", {}).replace((1 << 30).to_bytes(4, "little"), (8).to_bytes(4, "little"))
    (tmp_path / "t.zip").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="cannot be read as a zip archive"):
            Archive.open(tmp_path / "t.zip")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
