"""Error messages for a wrong configuration: which key, what was seen, what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import get_args, get_origin

import pydantic
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

__all__ = ["explain"]

Section = type[pydantic.BaseModel]
Place = tuple[int | str, ...]


def explain(root: Section, error: pydantic.ValidationError) -> str:
    """Return the error message: one line for each key that is wrong.

    Args:
        root: the section that was validated.
        error: the errors that pydantic found; their paths start at `root`.
    """
    lines: dict[str, str] = {}
    for fault in error.errors():
        section, field, place = _follow(root, fault["loc"])
        # A key that takes one of several types has an error for each type. The first one shows the whole value.
        lines.setdefault(_join(place), _line(root, section, field, place, fault))
    return "\n".join(lines.values())


def _follow(root: Section, path: Place) -> tuple[Section, FieldInfo | None, Place]:
    """Return the section that holds a key, its field (None for an unknown key), and the path of the key.

    Where a key takes one of several types, pydantic's path continues below the key; that part is cut off.
    """
    section, field = root, None
    for number, step in enumerate(path):
        if isinstance(step, int):
            continue
        inner = root if field is None else _section_of(field.annotation)
        if inner is None:
            return section, field, path[:number]
        section, field = inner, inner.model_fields.get(step)
        if field is None:
            return section, None, path[: number + 1]
    return section, field, path


def _section_of(annotation: object) -> Section | None:
    """Return the section, or the section of a list of sections, that a key takes; None if it takes plain values."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)


def _line(root: Section, section: Section, field: FieldInfo | None, place: Place, fault: ErrorDetails) -> str:
    key, seen = _join(place), f"(seen: {fault['input']!r:.200})"
    match fault["type"]:
        case "extra_forbidden":
            return _describe_unknown(root, section, place)
        case "missing":
            return f"{key} is missing; it has no default."
        case "model_type" if field is not None and (inner := _section_of(field.annotation)):
            return f"{key} should be a section with the keys {', '.join(inner.model_fields)} {seen}."
        case "value_error":
            return f"{key or root.__name__}: {fault['msg'].removeprefix('Value error, ')} {seen}."
    if field is not None and fault["loc"] != place:
        return f"{key} takes no such value {seen}. What it takes: {field.description}"
    return f"{key} {fault['msg'].removeprefix('Input ').replace('a valid tuple', 'a list')} {seen}."


def _describe_unknown(root: Section, section: Section, place: Place) -> str:
    """Suggest the known key with the closest name, from any section; without one, list the keys of this section."""
    *parents, key = map(str, place)
    by_name = {name.rpartition(".")[2]: name for name in reversed(list(_keys(root)))}
    by_name |= {name: ".".join([*parents, name]) for name in section.model_fields}
    close = difflib.get_close_matches(key, by_name, n=1)
    hint = f"Did you mean {by_name[close[0]]!r}?" if close else f"Known keys: {', '.join(section.model_fields)}."
    return f"unknown configuration key {_join(place)!r}. {hint}"


def _keys(section: Section, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all keys except those inside lists; keys of the top level come first."""
    yield from (f"{prefix}{name}" for name in section.model_fields)
    for name, field in section.model_fields.items():
        inner = None if get_origin(field.annotation) is tuple else _section_of(field.annotation)
        if inner is not None:
            yield from _keys(inner, f"{prefix}{name}.")


def _join(place: Place) -> str:
    return ".".join(map(str, place))
