"""Frames of a video as image files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import overload

from ctsdk.crops import Pixels
from ctsdk.data.images import IMAGE_SUFFIXES, decode_image
from ctsdk.data.readers.files import Files
from ctsdk.errors import DataError

__all__ = ["ImageFiles", "NumberedPaths", "find_numbered", "list_images", "open_frames"]


@dataclass(frozen=True)
class ImageFiles:
    """The frames of one video, one image file each. Call it with an index to read a frame.

    Attributes:
        files: of the data set.
        paths: of the frames, in order.
    """

    files: Files
    paths: Sequence[str]

    def __call__(self, index: int) -> Pixels:
        """Return frame `index`, (H, W, 3) uint8 RGB.

        Raises:
            DataError: the file is missing or is no image.
        """
        path = self.paths[index]
        return decode_image(self.files.read(path), self.files.place(path))


@dataclass(frozen=True)
class NumberedPaths(Sequence[str]):
    """Paths that are numbered: ``img/00000001.jpg``, ``img/00000002.jpg`` and so on.

    Attributes:
        folder: of the files.
        first: number of the first file.
        num_paths: number of files.
        digits: digits of a name, padded with zeros; 1 for no padding.
    """

    folder: str
    first: int
    num_paths: int
    digits: int

    def __len__(self) -> int:
        return self.num_paths

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return path `index`; IndexError ends a loop, as Python wants it."""
        numbers = range(self.first, self.first + self.num_paths)[index]
        if isinstance(numbers, range):
            return [self._path(number) for number in numbers]
        return self._path(numbers)

    def _path(self, number: int) -> str:
        return f"{self.folder}/{number:0{self.digits}d}.jpg"


def find_numbered(files: Files, folder: str, first: int, digits: int) -> NumberedPaths:
    """Return the frames of a folder: its JPEG files, named by their number.

    Args:
        files: of the data set.
        folder: of the frames.
        first: number of the first frame.
        digits: digits of a name, padded with zeros; 1 for no padding.

    Raises:
        DataError: there is no such folder, it holds no JPEG file, or a number is missing.
    """
    # macOS leaves files whose names begin with a dot on foreign disks.
    found = {name for name in files.names(folder) if name.endswith(".jpg") and not name.startswith(".")}
    paths = NumberedPaths(folder, first, len(found), digits)
    missing = next((path for path in paths if path.rpartition("/")[2] not in found), None)
    if missing is not None or not found:
        raise DataError(
            f"{files.place(folder)} holds {len(found)} .jpg files, but not "
            f"{missing or NumberedPaths(folder, first, 1, digits)[0]}; expected all numbers from {first} on. "
            "Copy the frames again."
        )
    return paths


def list_images(files: Files, folder: str) -> list[str]:
    """Return the paths of the images in `folder`, sorted as text.

    Raises:
        DataError: there is no such folder, or there are no images in it.
    """
    names = [
        name
        for name in files.names(folder)
        if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")
    ]
    if not names:
        raise DataError(f"{files.place(folder)} holds no images; expected the frames of a video. Copy it again.")
    return [f"{folder}/{name}" for name in names]


def open_frames(files: Files, frames: Sequence[str]) -> ImageFiles:
    """Return the frames of a video, after checking that the first and the last one exist.

    Raises:
        DataError: one of the two is missing.
    """
    for path in (frames[0], frames[-1]):
        if not files.exists(path):
            raise DataError(
                f"the frame {files.place(path)} is missing; expected {len(frames)} frames from {frames[0]} to "
                f"{frames[-1]}. Check that the data set is complete."
            )
    return ImageFiles(files, frames)
