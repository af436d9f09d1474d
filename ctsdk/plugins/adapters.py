"""Find adapters by name: the hook that adapter packages implement, and the functions that users call.

An adapter reaches :func:`load_adapter` in one of two ways: decorated with :func:`register_adapter` in the same process,
or offered by a package, through the entry-point group ``ctsdk.adapters`` and the hook
:meth:`AdapterHooks.ctsdk_adapter`. Built-in adapters take the second way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from torch import nn

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import TrackerSpec
from ctsdk.errors import AdapterContractError, AdapterNotFoundError
from ctsdk.plugins.discovery import list_plugins, path_of, register, summary_of, using
from ctsdk.plugins.info import PluginInfo
from ctsdk.plugins.kind import Kind, check_strings, hookimpl, hookspec
from ctsdk.plugins.source import Source

__all__ = [
    "API_VERSION",
    "AdapterHooks",
    "AdapterPlugin",
    "hookimpl",
    "is_loadable",
    "list_adapters",
    "load_adapter",
    "register_adapter",
]

API_VERSION: Final = 1
"""The version of the adapter contract that this ctsdk speaks."""

_AdapterClass = TypeVar("_AdapterClass", bound=type[TrackerAdapter])


@dataclass(frozen=True)
class AdapterPlugin:
    """How a package describes its adapter, before any model code is imported.

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


_ADAPTERS: Final = Kind(
    noun="adapter",
    group="ctsdk.adapters",
    hooks=AdapterHooks,
    hook="ctsdk_adapter",
    plugin=AdapterPlugin,
    api_version=API_VERSION,
    not_found=AdapterNotFoundError,
)


def load_adapter(name: str, variant: str | None = None, weights: str | Path | None = None) -> TrackerAdapter:
    """Return the adapter called `name`, bound to its trained tracker.

    Args:
        name: one of :func:`list_adapters`.
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


def list_adapters() -> list[PluginInfo]:
    """Return every adapter that this installation knows of, usable or not, sorted by name.

    Two sources of one name give two items. This imports the light entry module of each package, and no model code.
    """
    return list_plugins(_ADAPTERS)


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
    plugin = AdapterPlugin(
        load=adapter_class.load, summary=summary_of(adapter_class), api_version=adapter_class.api_version
    )
    register(_ADAPTERS, name, adapter_class, plugin)
    return adapter_class


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


def _check_adapter(source: Source[AdapterPlugin], adapter: object) -> None:
    title = source.title
    if not isinstance(adapter, TrackerAdapter):
        raise AdapterContractError(
            f"{title}: load returned a {type(adapter).__name__}; expected an instance of a ctsdk.TrackerAdapter "
            "subclass."
        )
    source.check_version(adapter.api_version)
    for attribute, kind in (("spec", TrackerSpec), ("teacher", nn.Module)):
        seen = getattr(adapter, attribute, None)
        if not isinstance(seen, kind):
            raise AdapterContractError(
                f"{title}: {type(adapter).__name__}.{attribute} is a {type(seen).__name__}; expected a {kind.__name__}."
            )
    seen = getattr(adapter, "name", None)
    if seen != source.info.name:
        raise AdapterContractError(
            f"{title}: {type(adapter).__name__}.name is {seen!r}; expected {source.info.name!r}, the name under which "
            "it was asked for, so that saved results find it again."
        )
