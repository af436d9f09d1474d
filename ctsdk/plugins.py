"""Find adapters by name: the hook that adapter packages implement, and the functions that users call.

An adapter reaches :func:`load_adapter` in one of two ways. In one's own process, decorate the class::

    @ctsdk.register_adapter
    class MyAdapter(ctsdk.TrackerAdapter):
        name = "mine"

        @classmethod
        def load(cls, variant, weights): ...

As a package, declare a module under the entry-point group ``ctsdk.adapters``::

    [project.entry-points."ctsdk.adapters"]
    mine = "my_package"

and let that module implement the one hook, :meth:`AdapterHooks.ctsdk_adapter`. Built-in adapters use the same door.

Entry points are read as metadata. A module is imported only when its adapter is asked for or described, so a broken
package never harms the others. The environment variable ``CTSDK_PLUGINS`` narrows the choice to the adapters that it
names, separated by commas; set and empty, it shuts out every package.
"""

from __future__ import annotations

import difflib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

import pluggy
from torch import nn

from ctsdk.adapter import TrackerAdapter, TrackerSpec
from ctsdk.errors import AdapterContractError, AdapterNotFoundError, CtsdkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "API_VERSION",
    "AdapterHooks",
    "AdapterInfo",
    "AdapterPlugin",
    "hookimpl",
    "list_adapters",
    "load_adapter",
    "register_adapter",
]

API_VERSION: Final = 1
"""The version of the adapter contract that this ctsdk speaks."""

hookspec = pluggy.HookspecMarker("ctsdk")
hookimpl = pluggy.HookimplMarker("ctsdk")

AdapterStatus: TypeAlias = Literal["available", "missing dependency", "broken", "clash", "incompatible"]
_AdapterClass = TypeVar("_AdapterClass", bound=type[TrackerAdapter])

_GROUP: Final = "ctsdk.adapters"
_ALLOW_LIST: Final = "CTSDK_PLUGINS"
# Adapters that come with ctsdk: each has an extra of its own name, which brings its dependencies.
_EXTRAS: Final = ("mixformerv2", "ostrack", "seqtrack", "sutrack")

# What register_adapter was given in this process, by name.
_registered: dict[str, type[TrackerAdapter]] = {}


@dataclass(frozen=True)
class AdapterPlugin:
    """What an adapter package tells about its adapter, before any model code is imported.

    Attributes:
        load: called with `variant` and `weights` as :func:`load_adapter` got them; returns the bound adapter. Import
            the model code inside it.
        variants: the members of the family that users may ask for; empty where there is only one.
        requires: top-level modules that `load` imports and that may be absent, such as ``("cv2",)``.
        summary: one line for the list of adapters.
        api_version: the version of the contract that the adapter was written for.

    Raises:
        AdapterContractError: `load` cannot be called, or `variants` or `requires` is a bare string.
    """

    load: Callable[[str | None, str | Path | None], TrackerAdapter]
    variants: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    summary: str = ""
    api_version: int = 1

    def __post_init__(self) -> None:
        if not callable(self.load):
            raise AdapterContractError(
                f"AdapterPlugin.load is {self.load!r:.200}; expected a function of (variant, weights) that returns "
                "the adapter."
            )
        for field in ("variants", "requires"):
            names = getattr(self, field)
            if isinstance(names, str) or not all(isinstance(name, str) for name in names):
                raise AdapterContractError(
                    f"AdapterPlugin.{field} is {names!r:.200}; expected a tuple of strings. "
                    "A tuple of one needs its comma: ('a',)."
                )


class AdapterHooks:
    """The hooks that an adapter package may implement."""

    @hookspec(firstresult=True)
    def ctsdk_adapter(self, name: str) -> AdapterPlugin:
        """Describe the adapter that this package offers under the entry point `name`.

        A whole ``__init__.py``::

            import ctsdk

            @ctsdk.hookimpl
            def ctsdk_adapter():
                return ctsdk.AdapterPlugin(load=_load, variants=("small", "large"), requires=("cv2",))

            def _load(variant, weights):
                from my_package.adapter import MyAdapter  # brings torch model code, so not before it is asked for

                return MyAdapter.load(variant, weights)

        Keep the module light: listing the adapters imports it. Leave out `name` where the package has one adapter.

        Args:
            name: the name of the entry point, which must also be the ``name`` of the adapter class.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class AdapterInfo:
    """One line of the list of adapters.

    Attributes:
        name: what :func:`load_adapter` takes.
        status: "available"; "missing dependency": a module that it needs is not installed; "broken": its package
            cannot be imported or breaks the contract; "clash": two sources offer the name; "incompatible": written
            for another version of the contract.
        detail: what is wrong and what to do about it; empty where available.
        distribution: the installed distribution that brings it; None for a class registered in this process.
        version: of the distribution.
        entry_point: the module, or the class, that offers it.
        variants: what it says it can be asked for; empty where it cannot be asked or has only one.
        summary: its own line about itself.
    """

    name: str
    status: AdapterStatus
    detail: str = ""
    distribution: str | None = None
    version: str | None = None
    entry_point: str = ""
    variants: tuple[str, ...] = ()
    summary: str = ""


def load_adapter(name: str, variant: str | None = None, weights: str | Path | None = None) -> TrackerAdapter:
    """Return the adapter called `name`, bound to its trained tracker.

    Args:
        name: an adapter of this list: :func:`list_adapters`.
        variant: a member of the adapter's family; what None means is the adapter's choice.
        weights: the file of the tracker's weights; None where the variant ships its own; the word "random" for a
            teacher with random weights.

    Raises:
        AdapterNotFoundError: no adapter has that name, two have it, or its package or a dependency cannot be imported.
        AdapterContractError: the adapter was written for another version of the contract, or breaks it.
        CtsdkError: whatever the adapter says about `variant` and `weights`.
    """
    found = _sources().get(name)
    if found is None:
        raise _unknown(name)
    try:
        source, plugin = _open(name, found)
        with _imports_of(source):
            adapter = plugin.load(variant, weights)
        _check_adapter(source, adapter)
    except _Unusable as unusable:
        raise unusable.error from unusable.reason
    return adapter


def list_adapters() -> list[AdapterInfo]:
    """Return every adapter that this installation knows of, usable or not, sorted by name.

    Two sources of one name give two items. This imports the light entry module of each package, and no model code.
    """
    sources = sorted(_sources().items(), key=lambda item: item[0])
    return [line for name, found in sources for line in _describe(name, found)]


def register_adapter(adapter_class: _AdapterClass) -> _AdapterClass:
    """Offer a class of this process to :func:`load_adapter` under its ``name``. Use it as a decorator.

    The class needs a classmethod ``load(cls, variant, weights)`` that returns the bound adapter; `variant` and
    `weights` arrive as :func:`load_adapter` got them. Registering the same class again changes nothing, also after
    its module was reloaded.

    Raises:
        AdapterContractError: this is no adapter class, it lacks ``name`` or ``load``, or another class has the name.
    """
    name = _registrable_name(adapter_class)
    other = _registered.get(name)
    if other is not None and _path_of(other) != _path_of(adapter_class):
        raise AdapterContractError(
            f"adapter name {name!r} is taken by {_path_of(other)}, so {_path_of(adapter_class)} cannot have it. "
            "Give one of them another `name`."
        )
    _registered[name] = adapter_class
    return adapter_class


def _registrable_name(adapter_class: object) -> str:
    if not (isinstance(adapter_class, type) and issubclass(adapter_class, TrackerAdapter)):
        raise AdapterContractError(
            f"register_adapter got {adapter_class!r:.200}; expected a subclass of ctsdk.TrackerAdapter. "
            "Put @ctsdk.register_adapter above the class, without parentheses."
        )
    name = getattr(adapter_class, "name", None)
    if not isinstance(name, str) or not name:
        raise AdapterContractError(
            f"{_path_of(adapter_class)} has name={name!r}; expected a class attribute such as `name = 'mine'`."
        )
    if not callable(getattr(adapter_class, "load", None)):
        raise AdapterContractError(
            f"{_path_of(adapter_class)} has no `load`; expected a classmethod load(cls, variant, weights) that returns "
            f"the adapter. An adapter that is already built needs no name: pass it to ctsdk.compress."
        )
    return name


@dataclass(frozen=True)
class _Source:
    """One place where an adapter may come from, and how to say so in a message."""

    name: str
    entry_point: str
    read: Callable[[], object]
    distribution: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        if self.distribution is None:
            return f"class {self.entry_point} of this process"
        return f"distribution {self.distribution!r} {self.version} ({self.entry_point})"


class _Unusable(Exception):  # noqa: N818 - it carries the error that users see, and never reaches them itself
    """Why an adapter cannot be used, on its way to either an exception or a line of the list."""

    def __init__(self, status: AdapterStatus, error: CtsdkError, reason: BaseException | None = None) -> None:
        super().__init__(str(error))
        self.status = status
        self.error = error
        self.reason = reason


def _sources() -> dict[str, list[_Source]]:
    """Return where each name comes from; more than one source is a clash. Nothing is imported."""
    sources: dict[str, list[_Source]] = {}
    for entry in metadata.entry_points(group=_GROUP):
        if _is_allowed(entry.name):
            source = _Source(entry.name, entry.value, entry.load, *_identity(entry.dist))
            sources.setdefault(entry.name, []).append(source)
    for name, adapter_class in _registered.items():
        plugin = _RegisteredClass(adapter_class)
        sources.setdefault(name, []).append(_Source(name, _path_of(adapter_class), plugin.itself))
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


class _RegisteredClass:
    """A registered class in the shape of an adapter package, so that both take the same path."""

    def __init__(self, adapter_class: type[TrackerAdapter]) -> None:
        self._class = adapter_class

    def itself(self) -> _RegisteredClass:
        return self

    @hookimpl
    def ctsdk_adapter(self) -> AdapterPlugin:
        summary = (self._class.__doc__ or "").strip().partition("\n")[0]
        load = getattr(self._class, "load")  # noqa: B009 - the contract for registered classes only
        return AdapterPlugin(load=load, summary=summary, api_version=self._class.api_version)


def _describe(name: str, found: list[_Source]) -> list[AdapterInfo]:
    status: AdapterStatus = "available"
    detail, summary = "", ""
    variants: tuple[str, ...] = ()
    try:
        _, plugin = _open(name, found)
        variants, summary = plugin.variants, plugin.summary
    except _Unusable as unusable:
        status, detail = unusable.status, str(unusable.error)
    return [
        AdapterInfo(
            name=name,
            status=status,
            detail=detail,
            distribution=source.distribution,
            version=source.version,
            entry_point=source.entry_point,
            variants=tuple(variants),
            summary=summary,
        )
        for source in found
    ]


def _open(name: str, found: list[_Source]) -> tuple[_Source, AdapterPlugin]:
    """Import the one source of `name` and ask it about its adapter.

    Raises:
        _Unusable: it cannot be used here.
    """
    if len(found) > 1:
        raise _Unusable("clash", _clash(name, found))
    source = found[0]
    try:
        with _imports_of(source):
            module = source.read()
            plugin = _ask(source, module)
    except _Unusable:
        raise
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything, and must not end the program
        raise _Unusable("broken", _unimportable(source, error), error) from error
    _check_version(source, plugin.api_version)
    for module_name in plugin.requires:
        if not _is_installed(module_name):
            raise _Unusable("missing dependency", _missing(source, module_name))
    return source, plugin


def _ask(source: _Source, module: object) -> AdapterPlugin:
    # A plug-in manager of its own: a call reaches nobody else's hook, and a failed registration leaves nothing behind.
    manager = pluggy.PluginManager("ctsdk")
    manager.add_hookspecs(AdapterHooks)
    try:
        manager.register(module)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _Unusable(
            "broken",
            AdapterContractError(
                f"adapter {source.name!r} of {source} has a hook that does not fit: {_one_line(error)}. "
                "The one hook of ctsdk is ctsdk_adapter(name)."
            ),
            error,
        ) from error
    try:
        plugin = manager.hook.ctsdk_adapter(name=source.name)
    except AdapterContractError as error:
        message = f"adapter {source.name!r} of {source} describes itself wrongly: {error}"
        raise _Unusable("broken", AdapterContractError(message), error) from error
    if isinstance(plugin, AdapterPlugin):
        return plugin
    seen = f"its hook returned {plugin!r:.200}" if manager.hook.ctsdk_adapter.get_hookimpls() else "it has no such hook"
    raise _Unusable(
        "broken",
        AdapterContractError(
            f"adapter {source.name!r} of {source}: {seen}; expected a function ctsdk_adapter, decorated with "
            "@ctsdk.hookimpl, in the module that the entry point names, which returns a ctsdk.AdapterPlugin."
        ),
    )


@contextmanager
def _imports_of(source: _Source) -> Iterator[None]:
    """Tell what to install when an import fails inside."""
    try:
        yield
    except ModuleNotFoundError as error:
        own_package = source.entry_point.partition(":")[0].partition(".")[0]
        if error.name is None or error.name.partition(".")[0] in (own_package, "ctsdk"):
            raise _Unusable("broken", _unimportable(source, error), error) from error
        raise _Unusable("missing dependency", _missing(source, error.name), error) from error
    except ImportError as error:
        raise _Unusable("broken", _unimportable(source, error), error) from error


def _check_version(source: _Source, api_version: object) -> None:
    if api_version == API_VERSION:
        return
    if not isinstance(api_version, int):
        message = f"adapter {source.name!r} of {source} has api_version={api_version!r:.200}; expected a whole number."
        raise _Unusable("broken", AdapterContractError(message))
    upgrade = "ctsdk" if api_version > API_VERSION else source.distribution or source.entry_point
    raise _Unusable(
        "incompatible",
        AdapterContractError(
            f"adapter {source.name!r} of {source} was written for version {api_version} of the adapter contract; this "
            f"ctsdk speaks version {API_VERSION}. Upgrade {upgrade}."
        ),
    )


def _check_adapter(source: _Source, adapter: object) -> None:
    who = f"adapter {source.name!r} of {source}"
    if not isinstance(adapter, TrackerAdapter):
        raise AdapterContractError(
            f"{who}: load returned a {type(adapter).__name__}; expected an instance of a ctsdk.TrackerAdapter subclass."
        )
    _check_version(source, adapter.api_version)
    for attribute, kind in (("spec", TrackerSpec), ("teacher", nn.Module)):
        seen = getattr(adapter, attribute, None)
        if not isinstance(seen, kind):
            raise AdapterContractError(
                f"{who}: {type(adapter).__name__}.{attribute} is a {type(seen).__name__}; expected a {kind.__name__}."
            )
    if getattr(adapter, "name", None) != source.name:
        raise AdapterContractError(
            f"{who}: {type(adapter).__name__}.name is {getattr(adapter, 'name', None)!r}; expected {source.name!r}, "
            "the name under which it was asked for, so that saved results find it again."
        )


def _unknown(name: str) -> AdapterNotFoundError:
    shut_out = [entry for entry in metadata.entry_points(group=_GROUP) if entry.name == name]
    if shut_out:
        return AdapterNotFoundError(
            f"adapter {name!r} is installed, but {_ALLOW_LIST}={os.environ.get(_ALLOW_LIST)!r} leaves it out. "
            f"Add {name!r} to {_ALLOW_LIST}, or unset it."
        )
    names = sorted(_sources())
    available = f"Available: {', '.join(names) or 'none'}."
    if name in _EXTRAS:
        return AdapterNotFoundError(
            f"adapter {name!r} is not part of this installation of ctsdk; a version that brings it installs with "
            f"pip install --upgrade 'ctsdk[{name}]'. {available}"
        )
    close = difflib.get_close_matches(name.lower(), sorted({*names, *_EXTRAS}), n=1)
    guess = f"Did you mean {close[0]!r}? " if close else ""
    return AdapterNotFoundError(f"no adapter is called {name!r}. {guess}{available}")


def _clash(name: str, found: list[_Source]) -> AdapterNotFoundError:
    packages = [source.distribution for source in found if source.distribution is not None]
    remedy = f"Uninstall all but one of {', '.join(packages)}"
    if len(packages) < len(found):
        remedy = f"Give the class another `name`, or leave {name!r} out of {_ALLOW_LIST}"
    return AdapterNotFoundError(f"adapter {name!r} is offered by {' and by '.join(map(str, found))}. {remedy}.")


def _missing(source: _Source, module_name: str) -> AdapterNotFoundError:
    if source.distribution == "ctsdk":
        return AdapterNotFoundError(
            f"adapter {source.name!r} needs {module_name!r}: pip install 'ctsdk[{source.name}]'"
        )
    return AdapterNotFoundError(
        f"adapter {source.name!r} of {source} needs {module_name!r}, which is not installed. Install it; the "
        "adapter's own instructions say how."
    )


def _unimportable(source: _Source, error: BaseException) -> AdapterNotFoundError:
    remedy = "Repair its imports."
    if source.distribution is not None:
        remedy = f"Reinstall or upgrade {source.distribution}, or tell its authors; other adapters are not affected."
    return AdapterNotFoundError(f"adapter {source.name!r} of {source} cannot be imported: {_one_line(error)}. {remedy}")


def _is_installed(module_name: str) -> bool:
    try:
        return find_spec(module_name.partition(".")[0]) is not None
    except ValueError:
        # The module is imported already, by something that gave it no spec.
        return True


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")


def _path_of(adapter_class: type) -> str:
    return f"{adapter_class.__module__}:{adapter_class.__qualname__}"
