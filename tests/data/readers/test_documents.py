"""JSON and XML that nobody vouches for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctsdk.data.readers.documents import read_json, read_xml
from ctsdk.data.readers.files import Folder
from ctsdk.errors import DataError


def files_with(folder: Path, name: str, data: bytes) -> Folder:
    (folder / name).write_bytes(data)
    return Folder(folder)


def test_json_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        assert read_json(files_with(tmp_path, "a.json", mark + b'{"a": [1, "\xc3\xa4"]}'), "a.json") == {"a": [1, "ä"]}


def test_objects_pass_through_the_hook(tmp_path: Path) -> None:
    files = files_with(tmp_path, "a.json", b'[{"keep": 1, "drop": {"keep": 2}}]')
    assert read_json(files, "a.json", lambda entry: {"keep": entry.get("keep")}) == [{"keep": 1}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1 column 1"),
        (b'{"a":\n [1, 2', "line 2 column"),
        (b"\xff\xfe", "can't decode byte"),
        (b"[" * 200_000, ""),
        (b"1" * 5000, ""),
    ],
    ids=["empty", "truncated", "no text", "too deep", "too long a number"],
)
def test_what_is_no_json_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"(?s)a\.json is no JSON.*{message}.*Copy it again"):
        read_json(files_with(tmp_path, "a.json", data), "a.json")


def test_xml_is_read(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><a><!-- said --><b>1 &amp; \xc3\xa4</b></a>'
    root = read_xml(files_with(tmp_path, "a.xml", data), "a.xml")
    assert (root.tag, root.findtext("b")) == ("a", "1 & ä")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no element found"),
        (b"<a>\n<b>1</b>", "line 2, column 8"),
        (b"<a>&made_up;</a>", "undefined entity"),
        (b"<a>\xe4</a>", "not well-formed"),
    ],
    ids=["empty", "truncated", "unknown entity", "another encoding"],
)
def test_what_is_no_xml_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"a\.xml is no XML: .*{message}"):
        read_xml(files_with(tmp_path, "a.xml", data), "a.xml")


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]><a>&y;</a>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>',
    ],
    ids=["entities that grow", "a file from elsewhere"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_document_types_are_refused(tmp_path: Path, declaration: str, encoding: str) -> None:
    with pytest.raises(DataError, match=r"a\.xml declares a document type"):
        read_xml(files_with(tmp_path, "a.xml", declaration.encode(encoding)), "a.xml")
