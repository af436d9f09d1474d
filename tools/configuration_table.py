"""Write the tables of docs/reference/configuration.md from the descriptions of the configuration's own fields.

    python tools/configuration_table.py

A test fails while the page and the fields differ.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ctsdk.config import CompressionConfig

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"
BEGIN, END = "% begin of the tables of tools/configuration_table.py", "% end of the tables"

_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}


def tables() -> str:
    """Return one Markdown table of keys for the top level and for each section."""
    schema = CompressionConfig.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    parts = [_table("", "Top level", schema, definitions)]
    for key, field in schema["properties"].items():
        parts += _sections(key, field, definitions)
    return "\n\n".join(parts)


def page_with(text: str, page: str) -> str:
    """Return `page` with `text` between the marks."""
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}"


def _sections(key: str, field: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    """Return the table of the section that a key holds, and those of the sections in it."""
    name = _section_name(field)
    if name is None:
        return []
    is_list = any("items" in choice for choice in field.get("anyOf", [field]))
    path = f"{key}[]" if is_list else key
    section = definitions[name]
    inner = [_sections(f"{path}.{inner}", value, definitions) for inner, value in section["properties"].items()]
    return [_table(f"{path}.", f"`{key}`", section, definitions), *(part for parts in inner for part in parts)]


def _section_name(field: dict[str, Any]) -> str | None:
    for choice in field.get("anyOf", [field]):
        reference = choice.get("$ref") or choice.get("items", {}).get("$ref")
        if reference:
            return str(reference).rpartition("/")[2]
    return None


def _table(prefix: str, heading: str, section: dict[str, Any], definitions: dict[str, Any]) -> str:
    required = section.get("required", [])
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, field in section["properties"].items():
        default = "required" if key in required else _default(field)
        meaning = field.get("description") or definitions[str(_section_name(field))]["description"]
        rows.append(f"| `{prefix}{key}` | {_kind(field)} | {default} | {meaning} |")
    return f"## {heading}\n\n{section['description']}\n\n" + "\n".join(rows)


def _default(field: dict[str, Any]) -> str:
    return f"`{json.dumps(field['default'])}`" if "default" in field else ""


def _kind(field: dict[str, Any]) -> str:
    """Return in words which values a field takes."""
    if "anyOf" in field:
        return ", or ".join(_kind(choice) for choice in field["anyOf"])
    if "$ref" in field:
        return "section"
    if "const" in field or "enum" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    match field["type"]:
        case "array":
            return f"list of {_kind(field['items'])}s"
        case "object":
            return f"by trunk: {_kind(field['additionalProperties'])}"
        case "string" if field.get("format") == "path":
            return "path"
        case kind:
            return _WORDS[kind] + _limits(field)


def _limits(field: dict[str, Any]) -> str:
    if "minimum" in field and "maximum" in field:
        return f" from {field['minimum']:g} to {field['maximum']:g}"
    if "minimum" in field:
        return f" of at least {field['minimum']:g}"
    return f" above {field['exclusiveMinimum']:g}" if "exclusiveMinimum" in field else ""


if __name__ == "__main__":
    PAGE.write_text(page_with(tables(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
