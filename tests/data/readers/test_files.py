"""Files of a data set, in a folder and in an LMDB."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import numpy as np
import pytest

from ctsdk import DataError
from ctsdk.data.readers import lmdb_files
from ctsdk.data.readers.files import Folder, find_present
from ctsdk.data.readers.frames import ImageFiles, NumberedPaths, find_numbered
from ctsdk.data.readers.lmdb_files import Lmdb, open_files
from tests.helpers.fixtures import jpeg, level_of, pack_lmdb, write

# Names that sort around the slash, so that walking the keys of an LMDB could skip some.
CONTENT = {
    "a": b"file a",
    "a-1/x": b"1",
    "a.txt": b"text",
    "b/one.txt": b"one",
    "b/sub/deep/two.txt": b"two",
    "b/sub-1": b"3",
    "b/sub10/x": b"4",
    "c0": b"",
}


@pytest.fixture(params=["folder", "lmdb"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Folder | Lmdb:
    for path, data in CONTENT.items():
        write(tmp_path / "folder" / path, data)
    root = tmp_path / "folder" if request.param == "folder" else pack_lmdb(tmp_path / "folder", tmp_path / "packed")
    return open_files(root)


def test_both_kinds_answer_alike(files: Folder | Lmdb) -> None:
    assert {path: files.read(path) for path in CONTENT} == CONTENT
    assert files.names("") == files.names(".") == ["a", "a-1", "a.txt", "b", "c0"]
    assert files.names("b") == files.names("b/") == ["one.txt", "sub", "sub-1", "sub10"]
    assert files.names("b/sub") == ["deep"]
    assert [files.exists(path) for path in ("", "a", "b", "b/", "b/sub", "c0")] == [True] * 6
    assert [files.exists(path) for path in ("c", "b/su", "a.tx", "d/e", "b/sub1")] == [False] * 5
    assert find_present(files, ["b/sub", "b/none", "a-1", "none/x", "none"]) == {"b/sub", "a-1"}


def test_what_is_missing_is_named(files: Folder | Lmdb) -> None:
    for ask in (files.read, files.names):
        with pytest.raises(
            DataError, match=r"no/such.*Check that the (data set|LMDB) is complete|no/such.*Check the path"
        ):
            ask("no/such")
    with pytest.raises(DataError, match="Check"):
        files.read("odd\0name")
    assert not files.exists("x" * 300)
    for ask in (files.read, files.names):
        with pytest.raises(DataError):
            ask("\ud800")


def test_a_folder_that_cannot_be_checked_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "exists", fails)
    with pytest.raises(DataError, match="a cannot be checked: Input/output error"):
        Folder(tmp_path).exists("a")


def test_what_is_too_long_is_refused(files: Folder | Lmdb) -> None:
    assert files.read("a", 6) == b"file a"
    with pytest.raises(DataError, match=r"a.* has 6 bytes.* 5 at most"):
        files.read("a", 5)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        Folder(tmp_path).read(".")
    with pytest.raises(DataError, match=r"none does not exist or is no folder"):
        open_files(tmp_path / "none")
    with pytest.raises(DataError, match="is no folder"):
        open_files(write(tmp_path / "file", b""))


def test_an_lmdb_is_opened_once_whatever_its_path_looks_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "folder" / "a", b"1")
    root = pack_lmdb(tmp_path / "folder", tmp_path / "packed")
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    for path in (root, Path("packed"), tmp_path / "folder" / ".." / "packed", tmp_path / "link"):
        assert Lmdb(path).read("a") == b"1"


def test_threads_share_an_lmdb(tmp_path: Path) -> None:
    write(tmp_path / "folder" / "a", b"1")
    files = open_files(pack_lmdb(tmp_path / "folder", tmp_path / "packed"))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(files.read, ["a"] * 64)) == {b"1"}


def _answer(files: Folder | Lmdb, queue: multiprocessing.Queue[object]) -> None:
    place = os.path.realpath(files.root)
    queue.put((files.read("a"), lmdb_files._environments[place][0] == os.getpid()))


# Newer Pythons warn of forks beside the threads of libraries, which do nothing here.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    "method", ["spawn", pytest.param("fork", marks=pytest.mark.skipif(sys.platform != "linux", reason="forks"))]
)
def test_each_process_opens_an_lmdb_for_itself(tmp_path: Path, method: str) -> None:
    write(tmp_path / "folder" / "a", b"1")
    files = open_files(pack_lmdb(tmp_path / "folder", tmp_path / "packed"))
    assert files.read("a") == b"1"
    assert pickle.loads(pickle.dumps(files)) == files
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_answer, args=(files, queue))
    process.start()
    assert queue.get(timeout=60) == (b"1", True)
    process.join()
    assert files.read("a") == b"1"


def test_damaged_lmdbs_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "folder" / "a", bytes(6_000_000))
    root = pack_lmdb(tmp_path / "folder", tmp_path / "packed")
    whole = (root / "data.mdb").read_bytes()
    for name, data, message in (
        ("empty", b"", "cannot be opened"),
        ("foreign", b"version https://git-lfs\n" * 400, "cannot be opened.*Copy it again"),
        ("cut", whole[:100_000], r"data\.mdb has 100000 bytes of \d+: it was cut"),
    ):
        write(tmp_path / name / "data.mdb", data)
        with pytest.raises(DataError, match=message):
            open_files(tmp_path / name).read("a")


def test_an_lmdb_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "data.mdb", b"")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(DataError, match=r"pip install 'ctsdk\[lmdb\]'"):
        open_files(tmp_path).read("a")


def test_numbered_paths_are_a_sequence() -> None:
    paths = NumberedPaths("v/img", 1, 3, 8)
    assert list(paths) == ["v/img/00000001.jpg", "v/img/00000002.jpg", "v/img/00000003.jpg"]
    assert paths[-1] == paths[2]
    assert paths[1:] == list(paths)[1:]
    assert NumberedPaths("f", 0, 12, 1)[10] == "f/10.jpg"
    with pytest.raises(IndexError):
        paths[3]


def test_numbered_frames_are_counted_by_number(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path / "v" / f"{number}.jpg", b"")
    for other in ("._0.jpg", ".DS_Store", "Thumbs.db"):
        write(tmp_path / "v" / other, b"")
    assert list(find_numbered(Folder(tmp_path), "v", 0, 1)) == [f"v/{number}.jpg" for number in range(12)]
    (tmp_path / "v" / "5.jpg").unlink()
    with pytest.raises(DataError, match=r"v holds 11 \.jpg files, but not v/5\.jpg; expected all numbers from 0 on"):
        find_numbered(Folder(tmp_path), "v", 0, 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds 0 \.jpg files, but not empty/00000001\.jpg"):
        find_numbered(Folder(tmp_path), "empty", 1, 8)
    write(tmp_path / "odd" / "1.jpg", b"")
    with pytest.raises(DataError, match=r"but not odd/00000001\.jpg"):
        find_numbered(Folder(tmp_path), "odd", 1, 8)


def test_frames_are_read_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "v" / "0.jpg", jpeg(185))
    write(tmp_path / "v" / "1.jpg", b"no image")
    frames = ImageFiles(Folder(tmp_path), NumberedPaths("v", 0, 3, 1))
    assert abs(level_of(pickle.loads(pickle.dumps(frames))(0)) - 185) <= 1
    assert frames(0).dtype == np.uint8
    with pytest.raises(DataError, match=r"v/1\.jpg \(8 bytes\) cannot be decoded"):
        frames(1)
    with pytest.raises(DataError, match=r"v/2\.jpg cannot be read: No such file"):
        frames(2)


def test_an_lmdb_may_end_in_pages_that_nobody_wrote(tmp_path: Path) -> None:
    root = tmp_path / "packed"
    root.mkdir()
    with lmdb.open(str(root), map_size=1 << 24) as environment:
        for value in (b"0", b"1", b"2", b"3"):
            with environment.begin(write=True) as transaction:
                transaction.put(b"kept", value * 9000)
        with environment.begin(write=True) as transaction:
            transaction.put(b"gone", bytes(200_000))
            transaction.delete(b"gone")
        num_pages = environment.info()["last_pgno"] + 1
        assert (root / "data.mdb").stat().st_size < num_pages * environment.stat()["psize"]
    assert Lmdb(root).read("kept") == b"3" * 9000
