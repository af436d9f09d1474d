"""Fake installed distributions: metadata and modules on disk, on the path until the test ends."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest


class Distributions:
    """Installs distributions whose modules are called ``fake_...``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._monkeypatch = folder, monkeypatch

    def install(
        self,
        distribution: str,
        entry_points: Mapping[str, Mapping[str, str]],
        modules: Mapping[str, str],
        version: str = "1.2",
        extras: Sequence[str] = (),
    ) -> None:
        """Install one: `entry_points` by group and name, and the text of each module."""
        site = self._folder / distribution
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        fields = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        fields += [f"Provides-Extra: {extra}" for extra in extras]
        (info / "METADATA").write_text("\n".join(fields) + "\n")
        lines = []
        for group, entries in entry_points.items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for module, text in modules.items():
            (site / f"{module}.py").write_text(text)
        self._monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()


@contextmanager
def fake_distributions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    """Give the installer; afterwards forget what was imported."""
    monkeypatch.delenv("CTSDK_PLUGINS", raising=False)
    yield Distributions(folder, monkeypatch)
    for module in imported():
        del sys.modules[module]


def write_metadata(project: Path) -> None:
    """Write beside a project's modules what an installer would; with the folder on the path, it is installed."""
    told = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    information = project / f"{told['name'].replace('-', '_')}-{told['version']}.dist-info"
    information.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {told['name']}\nVersion: {told['version']}\n"
    (information / "METADATA").write_text(metadata, encoding="utf-8")
    lines = []
    for group, entries in told["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (information / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


def imported() -> set[str]:
    """Return which of the fake modules are imported."""
    return {module for module in sys.modules if module.startswith("fake_")}
