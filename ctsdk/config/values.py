"""A configuration as plain values: read from a file, overridden key by key, compared with another."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from ctsdk.errors import ConfigError
from ctsdk.storage.bounded import read_bounded

__all__ = ["Overrides", "copy_values", "differences", "override", "read_values"]

# A hundred times the size of a real configuration. YAML is slow: a second or more per megabyte.
_MAX_BYTES: Final = 256 << 10

Overrides: TypeAlias = Iterable[str | tuple[str, object]] | Mapping[str, object]


def read_values(path: Path) -> dict[str, Any]:
    """Return the keys and values of a YAML or TOML file.

    Raises:
        ConfigError: the file cannot be read, is neither, or has no keys at the top level.
    """
    readers: dict[str, Callable[[str], Any]] = {".yaml": _read_yaml, ".yml": _read_yaml, ".toml": tomllib.loads}
    if path.suffix not in readers:
        raise ConfigError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(readers)}.")
    try:
        values = readers[path.suffix](read_bounded(path, _MAX_BYTES).decode("utf-8"))
        values = copy_values(values) if isinstance(values, dict) else values
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}. Check the path.") from error
    except Exception as error:  # both parsers raise many kinds of errors on bad input
        raise ConfigError(f"{path} is no valid {path.suffix[1:].upper()}: {error!s:.500}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; expected keys and values at the top level.")
    return values


def copy_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of nested values.

    Raises:
        ConfigError: a key is not text.
    """
    odd = next((key for key in values if not isinstance(key, str)), None)
    if odd is not None:
        raise ConfigError(f"the configuration key {odd!r:.80} is a {type(odd).__name__}; expected text. Quote it.")
    return {key: _copy_value(value) for key, value in values.items()}


def override(values: dict[str, Any], overrides: Overrides) -> None:
    """Set keys of nested values, in place and in this order.

    Args:
        values: the values to change.
        overrides: texts such as ``training.steps=500``, whose value is read as YAML; or pairs such as
            ``("training.steps", 500)``, or a mapping of such pairs.

    Raises:
        ConfigError: a text has no value, a value is no valid YAML, or a key goes through something that is no section.
    """
    for each in overrides.items() if isinstance(overrides, Mapping) else overrides:
        key, value = _parse_override(each) if isinstance(each, str) else each
        *sections, last = key.split(".")
        place = values
        for section in sections:
            inner = place.setdefault(section, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"override of {key!r}: {section!r} is a value ({inner!r}), not a section with keys.")
            place = inner
        place[last] = _copy_value(value)


def _parse_override(text: str) -> tuple[str, object]:
    key, separator, value = text.partition("=")
    if not separator or not key or not value.strip():
        raise ConfigError(
            f"override {text!r} has no value; expected key=value, such as training.steps=500. For none, write null."
        )
    try:
        return key, _read_yaml(value)
    except Exception as error:  # as in a file
        raise ConfigError(f"override {text!r}: {value!r} is no valid value: {error}") from error


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[object, object]]:
    """Return the keys whose values differ, dotted, each with its two values: (before, after)."""
    changes: dict[str, tuple[object, object]] = {}
    for key in dict.fromkeys([*before, *after]):
        one, other = before.get(key), after.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            changes |= differences(one, other, f"{prefix}{key}.")
        elif one != other:
            changes[f"{prefix}{key}"] = (one, other)
    return changes


class _YamlLoader(yaml.SafeLoader):
    """YAML without aliases: a few lines of them can expand to more values than fit into memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="found an alias (*); expected the value itself", problem_mark=mark)
        return super().compose_node(parent, index)


def _read_yaml(text: str) -> Any:  # noqa: ANN401 - whatever a configuration file may hold
    return yaml.load(text, _YamlLoader)


def _copy_value(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_copy_value(item) for item in value]
    return copy_values(value) if isinstance(value, dict) else value
