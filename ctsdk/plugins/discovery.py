"""Find plug-ins by name: entry points of installed packages, and what this process registered.

Adapters and data set formats are found in the same way; what differs is their :class:`~ctsdk.plugins.kind.Kind`.
Entry points are read as metadata. A module is imported only when its plug-in is used or listed, so a broken package
never harms the others. The environment variable ``CTSDK_PLUGINS`` narrows the choice to the installed plug-ins that it
names, separated by commas; set and empty, it leaves out every package.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from typing import Any, Final

from ctsdk.errors import AdapterContractError, CtsdkError, did_you_mean
from ctsdk.plugins.info import PluginInfo
from ctsdk.plugins.kind import Kind, PluginT
from ctsdk.plugins.source import Source, Unusable

__all__ = ["clear_registered", "list_plugins", "path_of", "register", "registered_paths", "summary_of", "using"]

_ALLOW_LIST: Final = "CTSDK_PLUGINS"

# What this process registered, by entry-point group and name.
_registered: dict[tuple[str, str], Source[Any]] = {}


@contextmanager
def using(kind: Kind[PluginT], name: str) -> Iterator[tuple[Source[PluginT], PluginT]]:
    """Import the one source of `name` and give it with its plug-in; explain what fails to import inside.

    Raises:
        CtsdkError: `kind.not_found` where no source has that name, two have it, or a package or a dependency cannot be
            imported.
        AdapterContractError: the plug-in was written for another version of the contract, or breaks it.
    """
    sources = _sources(kind).get(name)
    if sources is None:
        raise _unknown(kind, name)
    source = sources[0]
    try:
        yield source, _ask_the_one(sources)
    except Unusable as unusable:
        raise unusable.error from unusable.reason
    except ImportError as error:
        raise source.import_failure(error).error from error


def list_plugins(kind: Kind[PluginT]) -> list[PluginInfo]:
    """Return every plug-in that this installation knows of, usable or not, sorted by name.

    Two sources of one name give two items. This imports the module of each entry point.
    """
    sources = _sources(kind)
    return [info for name in sorted(sources) for info in _describe(sources[name])]


def register(kind: Kind[PluginT], name: str, thing: object, plugin: PluginT) -> None:
    """Offer a class or function of this process. The same one may come again, also after its module was reloaded.

    Raises:
        AdapterContractError: another one has the name.
    """
    path = path_of(thing)
    other = _registered.get((kind.group, name))
    if other is not None and other.info.entry_point != path:
        raise AdapterContractError(
            f"{kind.noun} name {name!r} is taken by {other.info.entry_point}, so {path} cannot have it. Register one "
            "of them under another name."
        )
    info = PluginInfo(name, "available", entry_point=path)
    _registered[kind.group, name] = Source(kind, info, registered=plugin)


def clear_registered() -> None:
    """Forget all adapters and data set formats that this process registered. Useful between tests."""
    _registered.clear()


def registered_paths() -> set[str]:
    """Return module and name of each class and function that this process registered."""
    return {source.info.entry_point for source in _registered.values()}


def path_of(thing: object) -> str:
    """Return module and name of a class or function; of another object, those of its class."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}:{getattr(named, '__qualname__')}"  # noqa: B009 - object has none, for the type checker


def summary_of(thing: object) -> str:
    """Return the first line of a docstring."""
    return (thing.__doc__ or "").strip().partition("\n")[0]


def _sources(kind: Kind[PluginT]) -> dict[str, list[Source[PluginT]]]:
    """Return where each name comes from; more than one source is a clash. Nothing is imported."""
    sources: dict[str, list[Source[PluginT]]] = {}
    for entry in metadata.entry_points(group=kind.group):
        if _is_allowed(entry.name):
            sources.setdefault(entry.name, []).append(Source(kind, _read_metadata(entry), entry_point=entry))
    for (group, name), source in _registered.items():
        if group == kind.group:
            sources.setdefault(name, []).append(source)
    return sources


def _read_metadata(entry: metadata.EntryPoint) -> PluginInfo:
    distribution, version, extras = _read_distribution(entry.dist)
    return PluginInfo(
        name=entry.name,
        status="available",
        distribution=distribution or "of unknown name",
        version=version or "of unknown version",
        entry_point=entry.value,
        # By convention, the extra of one plug-in has its name, and "all" is for all of them.
        extra=next((extra for extra in (entry.name, "all") if extra in extras), None),
    )


def _read_distribution(distribution: metadata.Distribution | None) -> tuple[str | None, str | None, list[str]]:
    """Return name, version and extras, as far as the metadata can be read."""
    if distribution is None:
        return None, None, []
    try:
        fields = distribution.metadata
        # A field that is missing gives None today, and an exception in later versions of Python.
        return fields["Name"], fields["Version"], fields.get_all("Provides-Extra") or []
    except Exception:  # noqa: BLE001 - one unreadable distribution must not hide the others
        return None, None, []


def _is_allowed(name: str) -> bool:
    allow_list = os.environ.get(_ALLOW_LIST)
    return allow_list is None or name in [allowed.strip() for allowed in allow_list.split(",")]


def _ask_the_one(sources: list[Source[PluginT]]) -> PluginT:
    if len(sources) > 1:
        raise Unusable("clash", _clash(sources))
    return sources[0].ask()


def _describe(sources: list[Source[PluginT]]) -> list[PluginInfo]:
    try:
        plugin = _ask_the_one(sources)
    except Unusable as unusable:
        lines = "" if unusable.reason is None else "".join(traceback.format_exception(unusable.reason))
        return [
            replace(source.info, status=unusable.status, detail=str(unusable), traceback=lines) for source in sources
        ]
    return [
        replace(
            sources[0].info,
            # Each kind has one of these two.
            variants=tuple(getattr(plugin, "variants", ())),
            splits=tuple(getattr(plugin, "splits", ())),
            summary=plugin.summary,
            api_version=plugin.api_version,
            requires=tuple(plugin.requires),
        )
    ]


def _unknown(kind: Kind[PluginT], name: str) -> CtsdkError:
    if metadata.entry_points(group=kind.group, name=name):
        return kind.not_found(
            f"{kind.noun} {name!r} is installed, but {_ALLOW_LIST}={os.environ.get(_ALLOW_LIST)!r} leaves it out. "
            f"Add {name!r} to {_ALLOW_LIST}, or unset it."
        )
    names = sorted(_sources(kind))
    available = f"Available: {', '.join(names) or 'none'}."
    return kind.not_found(f"no {kind.noun} is called {name!r}. {did_you_mean(name, names)}{available}")


def _clash(sources: list[Source[PluginT]]) -> CtsdkError:
    kind, name = sources[0].kind, sources[0].info.name
    packages = [source.info.distribution for source in sources if source.info.distribution is not None]
    remedy = f"Uninstall all but one of {', '.join(packages)}"
    if len(packages) < len(sources):
        remedy = f"Register yours under another name, or leave {name!r} out of {_ALLOW_LIST}"
    return kind.not_found(f"{kind.noun} {name!r} is offered by {' and by '.join(map(str, sources))}. {remedy}.")
