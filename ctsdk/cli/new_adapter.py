"""The command ``new-adapter``: a package to start from."""

from __future__ import annotations

from rich.console import Console

from ctsdk.cli.options import FolderToWrite
from ctsdk.plugins.skeleton import write_adapter_package

__all__ = ["new_adapter"]


def new_adapter(name: str, /, *, out: FolderToWrite | None = None) -> None:
    """Write a package with a working adapter around a small example tracker; put your own tracker in its place.

    Args:
        name: what users will type to name your tracker, such as `mine`.
        out: folder for the package, new or empty; `ctsdk-NAME` if left out.
    """
    folder = write_adapter_package(name, out)
    console = Console(soft_wrap=True, highlight=False)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        console.print(str(path), markup=False)
    console.print(f"Next: pip install -e {folder}, then read {folder / 'README.md'}.", markup=False)
