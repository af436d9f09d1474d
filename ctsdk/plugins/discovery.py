"""Where things with names come from: entry points of installed packages, and what this process registered.

Adapters and data set formats are found in the same way; what differs between them is a :class:`Kind`. Entry points are
read as metadata. A module is imported only when what it offers is asked for or described, so a broken package never
harms the others. The environment variable ``CTSDK_PLUGINS`` narrows the choice to the names in it, separated by
commas; set and empty, it shuts out every package.
"""

from __future__ import annotations

import os
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Generic, Literal, Protocol, TypeAlias, TypeVar

import pluggy

from ctsdk.errors import AdapterContractError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ctsdk.errors import CtsdkError

__all__ = [
    "Kind",
    "Offer",
    "Plugin",
    "Source",
    "Status",
    "check_strings",
    "check_version",
    "hookimpl",
    "hookspec",
    "offers",
    "path_of",
    "using",
]

hookspec = pluggy.HookspecMarker("ctsdk")
hookimpl = pluggy.HookimplMarker("ctsdk")

Status: TypeAlias = Literal["available", "missing dependency", "broken", "clash", "incompatible"]

_ALLOW_LIST: Final = "CTSDK_PLUGINS"


class Plugin(Protocol):
    """What a package tells about one thing that it offers."""

    @property
    def requires(self) -> tuple[str, ...]:
        """Top-level modules that it imports and that may be absent."""
        ...

    @property
    def api_version(self) -> int:
        """The version of the contract that it was written for."""
        ...


PluginT = TypeVar("PluginT", bound=Plugin)


@dataclass(frozen=True)
class Kind(Generic[PluginT]):
    """One kind of thing that plugs in.

    Attributes:
        noun: what messages call one: ``adapter``.
        group: the entry-point group.
        hooks: the class that specifies the hook.
        hook: the name of the hook, a function of the entry point's name.
        plugin: the class of what the hook returns, under its name in ``ctsdk``.
        api_version: the version of the contract that this ctsdk speaks.
        not_found: the error where a name cannot be used here.
        registered: returns what this process registered.
        extras: names that come with some version of ctsdk, each with an extra of that name.
        extra: the extra that brings what ctsdk's own ones need; None where each has an extra of its name.
    """

    noun: str
    group: str
    hooks: type
    hook: str
    plugin: type[PluginT]
    api_version: int
    not_found: type[CtsdkError]
    registered: Callable[[], Iterable[Source[PluginT]]]
    extras: tuple[str, ...] = ()
    extra: str | None = None

    def title(self, source: Source[PluginT]) -> str:
        """Return what messages call the thing that `source` offers."""
        return f"{self.noun} {source.name!r} of {source}"


@dataclass(frozen=True)
class Source(Generic[PluginT]):
    """One place where a thing may come from.

    Attributes:
        name: of the thing.
        path: the module, class or function that offers it.
        distribution: the installed distribution that brings it; None for what this process registered.
        version: of the distribution.
        entry_point: of the distribution.
        plugin: what this process registered, in the shape of a package's answer.
        noun: what messages call that: ``class``.
    """

    name: str
    path: str
    distribution: str | None = None
    version: str | None = None
    entry_point: metadata.EntryPoint | None = None
    plugin: PluginT | None = None
    noun: str = ""

    def __str__(self) -> str:
        if self.distribution is None:
            return f"{self.noun} {self.path} of this process"
        return f"distribution {self.distribution!r} {self.version} ({self.path})"


@dataclass(frozen=True)
class Offer(Generic[PluginT]):
    """What can be said about one source.

    Attributes:
        source: where the thing comes from.
        status: "available"; "missing dependency": a module that it needs is not installed; "broken": its package
            cannot be imported or breaks the contract; "clash": two sources offer the name; "incompatible": written
            for another version of the contract.
        detail: what is wrong and what to do about it; empty where available.
        plugin: what it tells about itself; None unless available.
        traceback: of what its module raised; empty where it raised nothing.
    """

    source: Source[PluginT]
    status: Status = "available"
    detail: str = ""
    plugin: PluginT | None = None
    traceback: str = ""


@contextmanager
def using(kind: Kind[PluginT], name: str) -> Iterator[tuple[Source[PluginT], PluginT]]:
    """Import the one source of `name` and give it with what it tells; explain what fails to import inside.

    Raises:
        CtsdkError: `kind.not_found` where no source has that name, two have it, or a package or a dependency cannot be
            imported.
        AdapterContractError: the thing was written for another version of the contract, or breaks it.
    """
    found = _sources(kind).get(name)
    if found is None:
        raise _unknown(kind, name)
    try:
        source, plugin = _open(kind, found)
        with _imports_of(kind, source):
            yield source, plugin
    except _Unusable as unusable:
        raise unusable.error from unusable.reason


def offers(kind: Kind[PluginT]) -> list[Offer[PluginT]]:
    """Return an item for every source that this installation knows of, usable or not, sorted by name.

    Two sources of one name give two items. This imports the module of each entry point.
    """
    sources = sorted(_sources(kind).items(), key=lambda item: item[0])
    return [offer for _, found in sources for offer in _describe(kind, found)]


def check_version(kind: Kind[PluginT], source: Source[PluginT], api_version: object) -> None:
    """Refuse a version of the contract that is not this ctsdk's. Call it inside :func:`using`, which tells the user."""
    if api_version == kind.api_version:
        return
    title = kind.title(source)
    if not isinstance(api_version, int):
        message = f"{title} has api_version={api_version!r:.200}; expected a whole number."
        raise _Unusable("broken", AdapterContractError(message))
    upgrade = "ctsdk" if api_version > kind.api_version else source.distribution or source.path
    raise _Unusable(
        "incompatible",
        AdapterContractError(
            f"{title} was written for version {api_version} of the {kind.noun} contract; this ctsdk speaks version "
            f"{kind.api_version}. Upgrade {upgrade}."
        ),
    )


def check_strings(plugin: object, *fields: str) -> None:
    """Refuse a bare string where a tuple of strings belongs.

    Raises:
        AdapterContractError: a field is one, or holds something else than strings.
    """
    for field in fields:
        names = getattr(plugin, field)
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise AdapterContractError(
                f"{type(plugin).__name__}.{field} is {names!r:.200}; expected a tuple of strings. "
                "A tuple of one needs its comma: ('a',)."
            )


def path_of(thing: object) -> str:
    """Return module and name of a class or function; of another object, those of its class."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}:{getattr(named, '__qualname__')}"  # noqa: B009 - object has none, for the type checker


class _Unusable(Exception):  # noqa: N818 - it carries the error that users see, and never reaches them itself
    """Why a thing cannot be used, on its way to either an exception or a line of the list."""

    def __init__(self, status: Status, error: CtsdkError, reason: BaseException | None = None) -> None:
        super().__init__(str(error))
        self.status = status
        self.error = error
        self.reason = reason


def _sources(kind: Kind[PluginT]) -> dict[str, list[Source[PluginT]]]:
    """Return where each name comes from; more than one source is a clash. Nothing is imported."""
    sources: dict[str, list[Source[PluginT]]] = {}
    for entry in metadata.entry_points(group=kind.group):
        if _is_allowed(entry.name):
            distribution, version = _identity(entry.dist)
            source: Source[PluginT] = Source(entry.name, entry.value, distribution, version, entry_point=entry)
            sources.setdefault(entry.name, []).append(source)
    for source in kind.registered():
        sources.setdefault(source.name, []).append(source)
    return sources


def _identity(distribution: metadata.Distribution | None) -> tuple[str, str]:
    """Return the name and the version of a distribution, as far as its metadata can be read."""
    unknown = "of unknown name", "of unknown version"
    if distribution is None:
        return unknown
    try:
        # Metadata without these lines gives None today, and an exception in later versions of Python.
        return distribution.name or unknown[0], distribution.version or unknown[1]
    except Exception:  # noqa: BLE001 - one unreadable distribution must not hide the others
        return unknown


def _is_allowed(name: str) -> bool:
    allow_list = os.environ.get(_ALLOW_LIST)
    return allow_list is None or name in [allowed.strip() for allowed in allow_list.split(",")]


def _describe(kind: Kind[PluginT], found: list[Source[PluginT]]) -> list[Offer[PluginT]]:
    try:
        source, plugin = _open(kind, found)
    except _Unusable as unusable:
        lines = () if unusable.reason is None else traceback.format_exception(unusable.reason)
        return [Offer(source, unusable.status, str(unusable.error), traceback="".join(lines)) for source in found]
    return [Offer(source, plugin=plugin)]


def _open(kind: Kind[PluginT], found: list[Source[PluginT]]) -> tuple[Source[PluginT], PluginT]:
    """Import the one source of a name and ask it what it offers.

    Raises:
        _Unusable: it cannot be used here.
    """
    if len(found) > 1:
        raise _Unusable("clash", _clash(kind, found))
    source = found[0]
    try:
        with _imports_of(kind, source):
            plugin = _ask(kind, source)
    except _Unusable:
        raise
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything, and must not end the program
        raise _Unusable("broken", _unimportable(kind, source, error), error) from error
    check_version(kind, source, plugin.api_version)
    for module_name in plugin.requires:
        if not _is_installed(module_name):
            raise _Unusable("missing dependency", _missing(kind, source, module_name))
    return source, plugin


def _ask(kind: Kind[PluginT], source: Source[PluginT]) -> PluginT:
    if source.plugin is not None:
        return source.plugin
    assert source.entry_point is not None
    module, title = source.entry_point.load(), kind.title(source)
    # A plug-in manager of its own: a call reaches nobody else's hook, and a failed registration leaves nothing behind.
    manager = pluggy.PluginManager("ctsdk")
    manager.add_hookspecs(kind.hooks)
    hook: pluggy.HookCaller = getattr(manager.hook, kind.hook)
    try:
        manager.register(module)
        if not hook.get_hookimpls():
            # A hook that is there may be misspelt. Beside the right one it is that of another kind.
            manager.check_pending()
    except pluggy.PluginValidationError as error:
        message = f"{title} has a hook that does not fit: {_one_line(error)}. Its hook is {kind.hook}(name)."
        raise _Unusable("broken", AdapterContractError(message), error) from error
    try:
        plugin = hook(name=source.name)
    except AdapterContractError as error:
        message = f"{title} describes itself wrongly: {error}"
        raise _Unusable("broken", AdapterContractError(message), error) from error
    if isinstance(plugin, kind.plugin):
        return plugin
    seen = f"its hook returned {plugin!r:.200}" if hook.get_hookimpls() else "it has no such hook"
    raise _Unusable(
        "broken",
        AdapterContractError(
            f"{title}: {seen}; expected a function {kind.hook}, decorated with @ctsdk.hookimpl, in the module that the "
            f"entry point names, which returns a ctsdk.{kind.plugin.__name__}."
        ),
    )


@contextmanager
def _imports_of(kind: Kind[PluginT], source: Source[PluginT]) -> Iterator[None]:
    """Tell what to install when an import fails inside."""
    try:
        yield
    except ModuleNotFoundError as error:
        own_package = source.path.partition(":")[0].partition(".")[0]
        if error.name is None or error.name.partition(".")[0] in (own_package, "ctsdk"):
            raise _Unusable("broken", _unimportable(kind, source, error), error) from error
        raise _Unusable("missing dependency", _missing(kind, source, error.name), error) from error
    except ImportError as error:
        raise _Unusable("broken", _unimportable(kind, source, error), error) from error


def _unknown(kind: Kind[PluginT], name: str) -> CtsdkError:
    shut_out = [entry for entry in metadata.entry_points(group=kind.group) if entry.name == name]
    if shut_out:
        return kind.not_found(
            f"{kind.noun} {name!r} is installed, but {_ALLOW_LIST}={os.environ.get(_ALLOW_LIST)!r} leaves it out. "
            f"Add {name!r} to {_ALLOW_LIST}, or unset it."
        )
    names = sorted(_sources(kind))
    available = f"Available: {', '.join(names) or 'none'}."
    if name in kind.extras:
        return kind.not_found(
            f"{kind.noun} {name!r} is not part of this installation of ctsdk; a version that brings it installs with "
            f"pip install --upgrade 'ctsdk[{name}]'. {available}"
        )
    return kind.not_found(f"no {kind.noun} is called {name!r}. {did_you_mean(name, {*names, *kind.extras})}{available}")


def _clash(kind: Kind[PluginT], found: list[Source[PluginT]]) -> CtsdkError:
    name = found[0].name
    packages = [source.distribution for source in found if source.distribution is not None]
    remedy = f"Uninstall all but one of {', '.join(packages)}"
    if len(packages) < len(found):
        remedy = f"Register yours under another name, or leave {name!r} out of {_ALLOW_LIST}"
    return kind.not_found(f"{kind.noun} {name!r} is offered by {' and by '.join(map(str, found))}. {remedy}.")


def _missing(kind: Kind[PluginT], source: Source[PluginT], module_name: str) -> CtsdkError:
    if source.distribution == "ctsdk":
        return kind.not_found(
            f"{kind.noun} {source.name!r} needs {module_name!r}: pip install 'ctsdk[{kind.extra or source.name}]'"
        )
    return kind.not_found(
        f"{kind.title(source)} needs {module_name!r}, which is not installed. Install it; the {kind.noun}'s own "
        "instructions say how."
    )


def _unimportable(kind: Kind[PluginT], source: Source[PluginT], error: BaseException) -> CtsdkError:
    remedy = "Repair its imports."
    if source.distribution is not None:
        remedy = (
            f"Reinstall or upgrade {source.distribution}, or tell its authors; other {kind.noun}s are not affected."
        )
    return kind.not_found(f"{kind.title(source)} cannot be imported: {_one_line(error)}. {remedy}")


def _is_installed(module_name: str) -> bool:
    try:
        return find_spec(module_name.partition(".")[0]) is not None
    except ValueError:
        # The module is imported already, by something that gave it no spec.
        return True


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")
