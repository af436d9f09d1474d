"""A package that ctsdk writes installs, keeps its own rules, and passes its own tests as it is."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import ctsdk
from ctsdk.plugins import PluginInfo
from ctsdk.plugins.skeleton import write_adapter_package
from ctsdk.testing import adapter_checks
from tests.helpers.distributions import write_metadata

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter_package("snow_lynx", tmp_path_factory.mktemp("skeleton") / "package")


@pytest.fixture(scope="module")
def run(package: Path) -> Callable[..., str]:
    """Return a function that runs a module of Python in the package, and gives what it printed."""
    write_metadata(package)
    places = [package, ROOT, ROOT / "adapters"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))}

    def run_module(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=package, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_module


def workflow(package: Path) -> list[dict[str, Any]]:
    text = (package / ".github" / "workflows" / "ci.yml").read_text()
    return yaml.safe_load(text)["jobs"]["check"]["steps"]


def test_its_own_tests_pass_as_they_are(run: Callable[..., str]) -> None:
    out = run("pytest", "-q", "-W", "error")
    # Every promise, and that the package is found; the skipped one is for adapters with a file format of their own.
    assert f"{len(adapter_checks())} passed, 1 skipped" in out


@pytest.mark.parametrize("name", ["x", "snow_lynx", "a_long_name_of_30_characters_x"])
def test_it_is_formatted_and_lint_clean_whatever_its_name(name: str, tmp_path: Path) -> None:
    folder = write_adapter_package(name, tmp_path / "package")
    for words in (["format", "--check"], ["check", "--no-cache"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "."], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_its_types_are_clean(run: Callable[..., str]) -> None:
    assert "Success" in run("mypy")


def test_its_adapter_takes_at_most_40_lines_of_code(package: Path) -> None:
    tree = ast.parse((package / "ctsdk_snow_lynx" / "adapter.py").read_text())
    # Written anew, without comments, blank lines and docstrings.
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            del node.body[0]
    assert len([line for line in ast.unparse(tree).splitlines() if line]) <= 40


def test_its_workflow_runs_what_its_readme_says(package: Path) -> None:
    commands = "\n".join(step.get("run", "") for step in workflow(package))
    for command in ('pip install -e ".[dev]"', "ctsdk check snow_lynx", "pytest"):
        assert command in commands
        assert command in (package / "README.md").read_text()
    # Nothing asks a package index for a ctsdk that may be somebody else's.
    assert "pip install ctsdk" not in commands
    assert "${CTSDK:?" in commands


def test_nothing_is_left_to_fill_in(package: Path) -> None:
    for path in (path for path in package.rglob("*") if path.is_file() and "cache" not in str(path)):
        text = path.read_text().replace("${{ vars.CTSDK }}", "").replace("${CTSDK:?", "")
        assert "$" not in text, path
        assert "TODO" not in text, path


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Lynx", "Would 'lynx' do?"),
        ("snow-lynx", "Would 'snow_lynx' do?"),
        ("snow__lynx", "Would 'snow_lynx' do?"),
        ("2lynx", "Would 'lynx' do?"),
        ("../lynx", "Would 'lynx' do?"),
        ("lynx_", "Would 'lynx' do?"),
        ("a" * 31, f"Would '{'a' * 30}' do?"),
        ("", "beginning with a letter."),
        ("луна", "beginning with a letter."),
    ],
)
def test_a_name_that_is_no_identifier_is_refused(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(ctsdk.ConfigError) as raised:
        write_adapter_package(name, tmp_path / "package")
    assert str(raised.value).endswith(hint)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_taken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ctsdk.ConfigError, match=r"'ostrack' is taken by ctsdk \d"):
        write_adapter_package("ostrack", tmp_path / "package")
    here = [PluginInfo("lynx", "available", entry_point="my_module:Lynx")]
    monkeypatch.setattr("ctsdk.plugins.skeleton.list_adapters", lambda: here)
    with pytest.raises(ctsdk.ConfigError, match="'lynx' is taken by my_module:Lynx"):
        write_adapter_package("lynx", tmp_path / "package")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "ctsdk-lynx"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep")
    with pytest.raises(ctsdk.ConfigError, match="ctsdk-lynx exists and is not an empty folder"):
        write_adapter_package("lynx")
    with pytest.raises(ctsdk.ConfigError, match=r"notes.txt exists and is not an empty folder"):
        write_adapter_package("lynx", mine / "notes.txt")
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]
    (mine / "notes.txt").unlink()
    assert (write_adapter_package("lynx") / "ctsdk_lynx" / "adapter.py").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ctsdk.ConfigError, match=r"file/package cannot be written"):
        write_adapter_package("lynx", tmp_path / "file" / "package")
