"""One kind of plug-in, such as adapters: its hook, and the version of its contract."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import pluggy

from ctsdk.errors import AdapterContractError, CtsdkError

__all__ = ["Kind", "PluginT", "check_strings", "hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("ctsdk")
hookimpl = pluggy.HookimplMarker("ctsdk")


class _Plugin(Protocol):
    @property
    def requires(self) -> tuple[str, ...]: ...
    @property
    def summary(self) -> str: ...
    @property
    def api_version(self) -> int: ...


PluginT = TypeVar("PluginT", bound=_Plugin)


@dataclass(frozen=True)
class Kind(Generic[PluginT]):
    """One kind of plug-in.

    Attributes:
        noun: what messages call one: ``adapter``.
        group: the entry-point group.
        hooks: the class that specifies the hook.
        hook: the name of the hook, a function of the entry point's name.
        plugin: the class that the hook returns.
        api_version: the version of the contract that this ctsdk speaks.
        not_found: the error where a name cannot be used here.
    """

    noun: str
    group: str
    hooks: type
    hook: str
    plugin: type[PluginT]
    api_version: int
    not_found: type[CtsdkError]

    @cached_property
    def _manager(self) -> pluggy.PluginManager:
        manager = pluggy.PluginManager("ctsdk")
        manager.add_hookspecs(self.hooks)
        return manager

    def call_hook(self, module: object, name: str) -> object:
        """Call the hook of this module, and of no other one.

        Raises:
            pluggy.PluginValidationError: the module has no such hook, or its hook takes other arguments.
        """
        with suppress(ValueError):  # it was registered before; after a reload it is another object
            self._manager.register(module, name=str(id(module)))
        callers = {caller.name: caller for caller in self._manager.get_hookcallers(module) or ()}
        if self.hook not in callers:
            raise pluggy.PluginValidationError(
                module, f"unknown hook {min(callers)!r}" if callers else "there is no such hook"
            )
        (hook,) = [found for found in callers[self.hook].get_hookimpls() if found.plugin is module]
        return hook.function(*[name] if hook.argnames else [])


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
