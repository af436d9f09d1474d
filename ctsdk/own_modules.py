"""Custom modules, named by file or by dotted name: plug-ins without a package, and the adapters in them."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.errors import AdapterContractError, ConfigError, CtsdkError, did_you_mean
from ctsdk.plugins.adapters import is_loadable
from ctsdk.plugins.discovery import registered_paths

__all__ = ["adapter_at", "import_own_module", "import_plugin"]


def import_plugin(place: str) -> None:
    """Import a module, so that what it registers can be loaded by name.

    Args:
        place: a module as :func:`import_own_module` takes it. It holds ``@ctsdk.register_adapter`` or
            ``@ctsdk.register_dataset_format``, or imports what does.

    Raises:
        ConfigError: the module cannot be imported, or registers nothing.
        AdapterContractError: what it registers breaks the contract, or its name is taken.
    """
    before = registered_paths()
    module = import_own_module(place)
    # A module that was imported already has registered its own before.
    has_own = any(f"{path.partition(':')[0]}.".startswith(f"{module.__name__}.") for path in before)
    if not has_own and registered_paths() == before:
        raise ConfigError(
            f"{place} registers nothing. Put @ctsdk.register_adapter above an adapter class in it, or "
            '@ctsdk.register_dataset_format("mine") above a function that opens data sets.'
        )


def adapter_at(place: str, variant: str | None = None, weights: str | Path | None = None) -> TrackerAdapter:
    """Return the adapter at ``MODULE:NAME``, such as ``my_module.py:MyAdapter`` or ``my_package.adapter:MyAdapter``.

    What has that name may be an adapter, a class with a classmethod ``load(variant, weights)``, or a class or function
    that makes one without arguments.

    Args:
        place: a module as :func:`import_own_module` takes it, a colon, and a name in it.
        variant: given to ``load``.
        weights: given to ``load``; None for the word "random", because an untrained network is enough.

    Raises:
        ConfigError: the module cannot be imported, has no such name, or what has it takes no variant and no weights.
        AdapterContractError: it gives no adapter.
    """
    module_place, _, name = place.rpartition(":")
    if not module_place or not name:
        raise ConfigError(f"{place!r} names no adapter; expected MODULE:NAME, such as my_module.py:MyAdapter.")
    module = import_own_module(module_place)
    if not hasattr(module, name):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise ConfigError(
            f"{module_place} has no {name!r}. {did_you_mean(name, own)}It defines: {', '.join(own) or 'nothing'}."
        )
    found = getattr(module, name)
    if not isinstance(found, TrackerAdapter) and is_loadable(found):
        adapter = found.load(variant, weights or "random")
    elif variant or weights:
        raise ConfigError(f"{place} has no classmethod load(variant, weights); leave out both, or give it one.")
    else:
        adapter = _call(found, place) if callable(found) else found
    if not isinstance(adapter, TrackerAdapter):
        raise AdapterContractError(
            f"{place} gives a {type(adapter).__name__}; expected an instance of a ctsdk.TrackerAdapter subclass."
        )
    return adapter


def _call(make: Callable[[], object], place: str) -> object:
    try:
        inspect.signature(make).bind()
    except ValueError:
        return make()  # a built-in class without a signature
    except TypeError as error:
        raise AdapterContractError(
            f"{place} cannot be called without arguments: {error}. Give the class a classmethod load(variant, weights) "
            "that returns the bound adapter, or name a function that makes one."
        ) from error
    return make()


def import_own_module(place: str) -> ModuleType:
    """Import a module by the path of its file, which ends in ``.py``, or by its dotted name.

    The folder of a file joins the end of ``sys.path``, so that the module finds what lies beside it, and worker
    processes find the module.

    Raises:
        ConfigError: there is no such module, it fails, or another one has the name of the file.
        CtsdkError: what the module itself does with ctsdk fails.
    """
    name = _name_of_file(Path(place)) if place.endswith(".py") else place
    try:
        return importlib.import_module(name)
    except CtsdkError:
        raise  # such as that of register_adapter
    except (Exception, SystemExit) as error:  # a third-party module may raise anything, and must not end the program
        if isinstance(error, ModuleNotFoundError) and error.name in (name, name.partition(".")[0]):
            raise ConfigError(
                f"there is no module {place!r} on Python's path. For a file write its path, such as {name}.py."
            ) from error
        line = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"{place} cannot be imported: {type(error).__name__}: {error} ({line.filename}, line {line.lineno}). "
            "Repair it; it is imported whenever it is named."
        ) from error


def _name_of_file(path: Path) -> str:
    """Return the name under which a file can be imported, once its folder is on the path."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; expected a Python file, or the dotted name of a module.")
    if not path.stem.isidentifier():
        raise ConfigError(f"{path} cannot be imported as {path.stem!r}. Rename it: letters, digits and underscores.")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
        importlib.invalidate_caches()
    found = importlib.util.find_spec(path.stem)
    if found is None or found.origin is None or Path(found.origin).resolve() != path.resolve():
        other = "nothing" if found is None else found.origin
        raise ConfigError(f"{path} cannot be imported as {path.stem!r}: that name leads to {other}. Rename the file.")
    return path.stem
