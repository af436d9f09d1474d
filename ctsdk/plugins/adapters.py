"""Find adapters by name: the hook that adapter packages implement, and the functions that users call.

An adapter reaches :func:`load_adapter` in one of two ways. In one's own process, decorate the class (on the command
line, ``--plugin my_module.py`` imports the module that does)::

    @ctsdk.register_adapter
    class MyAdapter(ctsdk.TrackerAdapter):
        name = "mine"

        @classmethod
        def load(cls, variant, weights): ...

As a package, declare a module under the entry-point group ``ctsdk.adapters``::

    [project.entry-points."ctsdk.adapters"]
    mine = "my_package"

and let that module implement the hook :meth:`AdapterHooks.ctsdk_adapter`. Built-in adapters use the same door. How
packages are found, and what happens to broken ones, is in :mod:`ctsdk.plugins.discovery`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from torch import nn

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import TrackerSpec
from ctsdk.errors import AdapterContractError, AdapterNotFoundError
from ctsdk.plugins.discovery import (
    Kind,
    Offer,
    Source,
    Status,
    check_strings,
    check_version,
    hookimpl,
    hookspec,
    offers,
    path_of,
    using,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "API_VERSION",
    "AdapterHooks",
    "AdapterInfo",
    "AdapterPlugin",
    "hookimpl",
    "is_loadable",
    "list_adapters",
    "load_adapter",
    "register_adapter",
    "registered_adapters",
]

API_VERSION: Final = 1
"""The version of the adapter contract that this ctsdk speaks."""

# Adapters that come with ctsdk: each has an extra of its own name, which brings its dependencies.
_EXTRAS: Final = ("mixformerv2", "ostrack", "seqtrack")

_AdapterClass = TypeVar("_AdapterClass", bound=type[TrackerAdapter])

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
        check_strings(self, "variants", "requires")


class AdapterHooks:
    """The hook that an adapter package implements."""

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
        api_version: the version of the contract that it was written for; None where it cannot be asked.
        requires: top-level modules that it needs beyond ctsdk's own; empty where it cannot be asked.
        extra: the extra of ctsdk that brings them; None for an adapter of others.
        traceback: of what its package raised when it was imported; empty where it raised nothing.
    """

    name: str
    status: Status
    detail: str = ""
    distribution: str | None = None
    version: str | None = None
    entry_point: str = ""
    variants: tuple[str, ...] = ()
    summary: str = ""
    api_version: int | None = None
    requires: tuple[str, ...] = ()
    extra: str | None = None
    traceback: str = ""


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
    with using(_ADAPTERS, name) as (source, plugin):
        adapter = plugin.load(variant, weights)
        _check_adapter(source, adapter)
    return adapter


def list_adapters() -> list[AdapterInfo]:
    """Return every adapter that this installation knows of, usable or not, sorted by name.

    Two sources of one name give two items. This imports the light entry module of each package, and no model code.
    """
    return [_info(offer) for offer in offers(_ADAPTERS)]


def register_adapter(adapter_class: _AdapterClass) -> _AdapterClass:
    """Offer a class of this process to :func:`load_adapter` under its ``name``. Use it as a decorator.

    The class needs a classmethod ``load(cls, variant, weights)`` that returns the bound adapter; `variant` and
    `weights` arrive as :func:`load_adapter` got them. Registering the same class again changes nothing, also after
    its module was reloaded.

    Args:
        adapter_class: a subclass of :class:`TrackerAdapter` with ``name`` and ``load``.

    Raises:
        AdapterContractError: this is no adapter class, it lacks ``name`` or ``load``, or another class has the name.
    """
    name = _registrable_name(adapter_class)
    other = _registered.get(name)
    if other is not None and path_of(other) != path_of(adapter_class):
        raise AdapterContractError(
            f"adapter name {name!r} is taken by {path_of(other)}, so {path_of(adapter_class)} cannot have it. "
            "Give one of them another `name`."
        )
    _registered[name] = adapter_class
    return adapter_class


def _info(offer: Offer[AdapterPlugin]) -> AdapterInfo:
    source, plugin = offer.source, offer.plugin
    return AdapterInfo(
        name=source.name,
        status=offer.status,
        detail=offer.detail,
        distribution=source.distribution,
        version=source.version,
        entry_point=source.path,
        variants=() if plugin is None else tuple(plugin.variants),
        summary="" if plugin is None else plugin.summary,
        api_version=None if plugin is None else plugin.api_version,
        requires=() if plugin is None else tuple(plugin.requires),
        extra=source.name if source.distribution == "ctsdk" else None,
        traceback=offer.traceback,
    )


def is_loadable(adapter_class: object) -> bool:
    """Whether a class has a ``load`` of its own, and not only the one of the contract, which refuses."""
    load = getattr(adapter_class, "load", None)
    return callable(load) and getattr(load, "__func__", None) is not TrackerAdapter.load.__func__  # type: ignore[attr-defined]


def _registrable_name(adapter_class: object) -> str:
    if not (isinstance(adapter_class, type) and issubclass(adapter_class, TrackerAdapter)):
        raise AdapterContractError(
            f"register_adapter got {adapter_class!r:.200}; expected a subclass of ctsdk.TrackerAdapter. "
            "Put @ctsdk.register_adapter above the class, without parentheses."
        )
    name = getattr(adapter_class, "name", None)
    if not isinstance(name, str) or not name:
        raise AdapterContractError(
            f"{path_of(adapter_class)} has name={name!r}; expected a class attribute such as `name = 'mine'`."
        )
    if not is_loadable(adapter_class):
        raise AdapterContractError(
            f"{path_of(adapter_class)} has no `load`; expected a classmethod load(cls, variant, weights) that returns "
            f"the adapter. An adapter that is already built needs no name: pass it to ctsdk.compress."
        )
    return name


def registered_adapters() -> list[Source[AdapterPlugin]]:
    """Return where the adapters come from that :func:`register_adapter` was given in this process."""
    return [
        Source(name, path_of(adapter_class), plugin=_plugin_of(adapter_class), noun="class")
        for name, adapter_class in _registered.items()
    ]


def _plugin_of(adapter_class: type[TrackerAdapter]) -> AdapterPlugin:
    """Return what a package would tell about a registered class, so that both take the same path."""
    summary = (adapter_class.__doc__ or "").strip().partition("\n")[0]
    return AdapterPlugin(load=adapter_class.load, summary=summary, api_version=adapter_class.api_version)


def _check_adapter(source: Source[AdapterPlugin], adapter: object) -> None:
    title = _ADAPTERS.title(source)
    if not isinstance(adapter, TrackerAdapter):
        raise AdapterContractError(
            f"{title}: load returned a {type(adapter).__name__}; expected an instance of a ctsdk.TrackerAdapter "
            "subclass."
        )
    check_version(_ADAPTERS, source, adapter.api_version)
    for attribute, kind in (("spec", TrackerSpec), ("teacher", nn.Module)):
        seen = getattr(adapter, attribute, None)
        if not isinstance(seen, kind):
            raise AdapterContractError(
                f"{title}: {type(adapter).__name__}.{attribute} is a {type(seen).__name__}; expected a {kind.__name__}."
            )
    if getattr(adapter, "name", None) != source.name:
        raise AdapterContractError(
            f"{title}: {type(adapter).__name__}.name is {getattr(adapter, 'name', None)!r}; expected {source.name!r}, "
            "the name under which it was asked for, so that saved results find it again."
        )


_ADAPTERS: Final = Kind(
    noun="adapter",
    group="ctsdk.adapters",
    hooks=AdapterHooks,
    hook="ctsdk_adapter",
    plugin=AdapterPlugin,
    api_version=API_VERSION,
    not_found=AdapterNotFoundError,
    registered=registered_adapters,
    extras=_EXTRAS,
)
