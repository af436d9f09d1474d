"""Write a new adapter package: files that work, with a small tracker where the custom one will be.

The files are templates in ``templates/`` beside this module; a dollar sign before a word stands for what depends on the
name.
"""

from __future__ import annotations

import re
from importlib import metadata, resources
from pathlib import Path
from string import Template
from typing import Final

from ctsdk.errors import ConfigError
from ctsdk.plugins.adapters import list_adapters

__all__ = ["write_adapter_package"]

# Where each template goes in the package, in the order in which a newcomer reads them.
_FILES: Final = {
    "README.md": "README.md",
    "pyproject.toml": "pyproject.toml",
    "$module/__init__.py": "init.py",
    "$module/adapter.py": "adapter.py",
    "$module/model.py": "model.py",
    "$module/py.typed": "py.typed",
    "tests/test_$name.py": "test.py",
    ".github/workflows/ci.yml": "ci.yml",
}
# Names of modules: short enough for lines that hold the name twice.
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_MOST_CHARACTERS: Final = 30


def write_adapter_package(name: str, folder: str | Path | None = None) -> Path:
    """Write a package with an adapter called `name`: it installs, and its tests pass, as it is.

    Args:
        name: what users will type: lower-case letters, digits and single ``_``, beginning with a letter.
        folder: where to; it may exist if it is empty. None for ``ctsdk-NAME`` in the current folder.

    Returns:
        the folder.

    Raises:
        ConfigError: the name cannot be used or is taken, the folder holds something, or it cannot be written.
    """
    _check_name(name)
    folder = Path(f"ctsdk-{name.replace('_', '-')}") if folder is None else Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not an empty folder. Name another one; nothing is overwritten.")
    tracker = "".join(word.capitalize() for word in name.split("_"))
    words = {
        "name": name,
        "module": f"ctsdk_{name}",
        "distribution": f"ctsdk-{name.replace('_', '-')}",
        "tracker": tracker,
        "adapter": f"{tracker}Adapter",
        "version": metadata.version("ctsdk"),
    }
    texts = {Template(place).substitute(words): _fill_in(template, words) for place, template in _FILES.items()}
    try:
        for place, text in texts.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error}. Name a folder that can.") from error
    return folder


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _MOST_CHARACTERS:
        usable = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")[:_MOST_CHARACTERS].rstrip("_")
        hint = f" Would {usable!r} do?" if usable else ""
        raise ConfigError(
            f"{name!r:.200} cannot be the name of an adapter: expected at most {_MOST_CHARACTERS} lower-case letters, "
            f"digits and single underscores, beginning with a letter.{hint}"
        )
    for info in list_adapters():
        if info.name == name:
            origin = info.entry_point if info.distribution is None else info.origin
            raise ConfigError(
                f"adapter name {name!r} is taken by {origin}. Choose another name, or uninstall that one first."
            )


def _fill_in(template: str, words: dict[str, str]) -> str:
    file = resources.files(__package__).joinpath("templates", f"{template}.template")
    return Template(file.read_text(encoding="utf-8")).substitute(words)
