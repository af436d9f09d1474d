"""What is no file, or more than a file should be."""

from __future__ import annotations

import os
import struct
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest

from ctsdk.data.images import read_image
from ctsdk.data.readers.documents import read_xml
from ctsdk.data.readers.files import Folder
from ctsdk.data.readers.text import read_rows
from ctsdk.errors import DataError
from ctsdk.storage.bounded import open_regular, open_zip, read_bounded


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    assert read_bounded(tmp_path / "link", 3) == b"abc"
    with pytest.raises(OSError, match="it has 3 bytes, and 2 at most are expected"):
        read_bounded(tmp_path / "a", 2)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


def test_no_more_memory_is_asked_for_than_a_file_has_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    tracemalloc.start()
    try:
        assert read_bounded(tmp_path / "a", 1 << 30) == b"abc"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes and devices in folders")
@pytest.mark.timeout(60)
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(OSError, match="it is a pipe, a socket or a device"):
            open_regular(tmp_path / name)
        with pytest.raises(DataError, match="it is a pipe, a socket or a device"):
            read_rows(Folder(tmp_path), name, 4)
        with pytest.raises(DataError, match="it is a pipe, a socket or a device"):
            read_image(tmp_path / name)


def test_an_archive_with_a_long_directory_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(150):
            archive.writestr(f"{number:060000}", b"")
    with pytest.raises(ValueError, match="should be short"), open_zip(tmp_path / "a.zip"):
        pass


def test_annotations_of_one_video_are_short(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"1,2,3,4\n" * (2 << 20) + b"\n")
    with pytest.raises(DataError, match=r"a\.txt .*it has 16777217 bytes"):
        read_rows(Folder(tmp_path), "a.txt", 4)
    (tmp_path / "a.xml").write_bytes(b"<a>" * (2 << 20))
    with pytest.raises(DataError, match=r"a\.xml .*it has 6291456 bytes"):
        read_xml(Folder(tmp_path), "a.xml")


def test_an_image_of_ten_gigapixels_is_refused(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "a.png").write_bytes(data + b"\0" * 64)
    with pytest.raises(DataError, match="cannot be decoded as an image"):
        read_image(tmp_path / "a.png")
