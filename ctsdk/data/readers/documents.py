"""Annotation files in JSON and XML, from untrusted sources."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Final

from ctsdk.data.readers.files import Files
from ctsdk.errors import DataError

__all__ = ["read_json", "read_xml"]

_MAX_XML_BYTES: Final = 4 << 20


def read_json(
    files: Files, path: str, object_hook: Callable[[dict[str, object]], dict[str, object]] | None = None
) -> object:
    """Return the content of a JSON file.

    Args:
        files: of the data set.
        path: of the file.
        object_hook: called with each object as soon as it is read, to drop at once what is not needed.

    Raises:
        DataError: the file is missing or no JSON.
    """
    try:
        # One expression, so that the bytes of a large file are freed before its objects are made.
        content: object = json.loads(files.read(path).decode("utf-8-sig"), object_hook=object_hook)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{files.place(path)} is no JSON: {error}. Copy it again.") from error
    return content


def read_xml(files: Files, path: str) -> ET.Element:
    """Return the root element of an XML file in UTF-8.

    Raises:
        DataError: the file is missing or no XML, it is too long, or it declares a document type: entities can be made
            to fill memory.
    """
    data = files.read(path, _MAX_XML_BYTES)
    # A parser detects UTF-16 by itself, and there the search would miss "<!DOCTYPE". UTF-16 text has zero bytes.
    if b"<!DOCTYPE" in data or b"\0" in data:
        raise DataError(
            f"{files.place(path)} declares a document type (<!DOCTYPE) or is no UTF-8 text; annotations need no such "
            "declaration, and it may do harm. Copy the file again from where the data set is published."
        )
    try:
        return ET.fromstring(data, ET.XMLParser(encoding="utf-8"))
    except ET.ParseError as error:
        raise DataError(f"{files.place(path)} is no XML: {error}. Copy it again.") from error
