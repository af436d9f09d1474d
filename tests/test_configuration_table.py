"""The reference page of the configuration says what the fields say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from ctsdk.config import CompressionConfig

ROOT = Path(__file__).parents[1]


def test_the_page_is_up_to_date() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "configuration_table.py"))
    page = tool["PAGE"].read_text(encoding="utf-8")
    assert tool["page_with"](tool["tables"](), page) == page, "run: python tools/configuration_table.py"


@pytest.mark.parametrize("section", ["", "replacement", "losses", "training", "data"])
def test_every_key_has_a_row(section: str) -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    values = getattr(CompressionConfig(), section) if section else CompressionConfig()
    for key in type(values).model_fields:
        assert f"| `{section}{'.' if section else ''}{key}` |" in page
