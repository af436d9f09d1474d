"""The pages say what is there: names, links, dependencies. Their code blocks run by themselves, see conftest.py."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

import ctsdk

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "adapters").glob("*/README.md")),
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]
READING_ORDER = DOCS / "explanation" / "reading-order.md"
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))


def test_every_public_name_is_in_the_reference() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    described = set(re.findall(r"^\.\. \w+:: ctsdk\.(\w+)(?:\(.*\))?$", text, flags=re.MULTILINE))
    assert set(ctsdk.__all__) <= described


def test_the_overview_has_every_public_name_and_no_other() -> None:
    rows = re.findall(
        r"^\| \[.*?\| (.*) \|$", (DOCS / "reference" / "index.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(ctsdk.__all__)


def test_the_readme_leads_to_every_guide() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    guides = [page for folder in ("tutorial", "how-to", "explanation") for page in (DOCS / folder).glob("*.md")]
    assert [page.name for page in guides if f"({page.relative_to(ROOT)})" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!https?://)([^)#\s]+)", text)
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_decisions_are_short_and_numbered() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for page in DECISIONS:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith(f"# {int(page.name[:4])}. ")
        assert len(lines) <= 40, page.name


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    needed = [*project["build-system"]["requires"], *project["project"]["dependencies"], *chain.from_iterable(extras)]
    names = {re.split(r"[<>=\[ ]", requirement)[0] for requirement in needed} - {"ctsdk"}
    reasons = (DOCS / "decisions" / "0003-dependencies.md").read_text(encoding="utf-8")
    assert sorted(name for name in names if f"`{name}`" not in reasons) == []


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", READING_ORDER], ids=lambda page: page.name)
def test_pages_for_developers_name_files_that_exist(page: Path) -> None:
    named = re.findall(r"`((?:ctsdk|adapters|docs|tests|tools)/[^`]+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("package", ["engine", "training"])
def test_the_reading_order_has_every_file_of(package: str) -> None:
    rows = re.findall(rf"^\| `ctsdk/{package}/(\w+)\.py` \|", READING_ORDER.read_text(encoding="utf-8"), re.MULTILINE)
    files = [path.stem for path in (ROOT / "ctsdk" / package).glob("*.py") if path.stem != "__init__"]
    assert sorted(rows) == sorted(files)
