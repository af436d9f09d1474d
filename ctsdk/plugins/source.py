"""One source of a plug-in: an entry point, or what this process registered. Ask it, and name what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Generic

import pluggy

from ctsdk.errors import AdapterContractError, CtsdkError
from ctsdk.plugins.info import PluginInfo, Status
from ctsdk.plugins.kind import Kind, PluginT

__all__ = ["Source", "Unusable"]


class Unusable(Exception):  # noqa: N818 - it carries the error that users see, and never reaches them itself
    """Why a plug-in cannot be used. It becomes an exception or a line of the list."""

    def __init__(self, status: Status, error: CtsdkError, reason: BaseException | None = None) -> None:
        super().__init__(str(error))
        self.status = status
        self.error = error
        self.reason = reason


@dataclass(frozen=True)
class Source(Generic[PluginT]):
    """One place where a plug-in comes from.

    Attributes:
        kind: of the plug-in.
        info: what is known without importing anything.
        entry_point: of an installed distribution.
        registered: what this process registered, as a package would describe it.
    """

    kind: Kind[PluginT]
    info: PluginInfo
    entry_point: metadata.EntryPoint | None = None
    registered: PluginT | None = None

    def __str__(self) -> str:
        if self.info.distribution is None:
            return f"{self.info.entry_point} of this process"
        return f"distribution {self.info.distribution!r} {self.info.version} ({self.info.entry_point})"

    @property
    def title(self) -> str:
        """What messages call the plug-in."""
        return f"{self.kind.noun} {self.info.name!r} of {self}"

    def ask(self) -> PluginT:
        """Import what the entry point names, and return what its hook describes.

        Raises:
            Unusable: it cannot be used here.
        """
        try:
            plugin = self._describe()
        except Unusable:
            raise
        # A third-party module may raise anything, and must not end the program.
        except (Exception, SystemExit) as error:
            raise self.import_failure(error) from error
        self.check_version(plugin.api_version)
        for module_name in plugin.requires:
            if not _is_installed(module_name):
                raise Unusable("missing dependency", self._missing(module_name))
        return plugin

    def check_version(self, api_version: object) -> None:
        """Refuse a version of the contract that is not this ctsdk's.

        Raises:
            Unusable: it is another one, or no number.
        """
        spoken = self.kind.api_version
        if api_version == spoken:
            return
        if not isinstance(api_version, int):
            raise self._contract_fault(f" has api_version={api_version!r:.200}; expected a whole number.")
        upgrade = "ctsdk" if api_version > spoken else self.info.distribution or self.info.entry_point
        message = (
            f"{self.title} was written for version {api_version} of the {self.kind.noun} contract; this ctsdk speaks "
            f"version {spoken}. Upgrade {upgrade}."
        )
        raise Unusable("incompatible", AdapterContractError(message))

    def import_failure(self, error: BaseException) -> Unusable:
        """Return what an exception during an import means: a module to install, or a broken package."""
        if isinstance(error, ModuleNotFoundError) and error.name is not None:
            own_package = self.info.entry_point.partition(":")[0].partition(".")[0]
            if error.name.partition(".")[0] not in (own_package, "ctsdk"):
                return Unusable("missing dependency", self._missing(error.name), error)
        remedy = "Repair its imports."
        if self.info.distribution is not None:
            remedy = (
                f"Reinstall or upgrade {self.info.distribution}, or report it to its authors; other {self.kind.noun}s "
                "are not affected."
            )
        message = f"{self.title} cannot be imported: {_one_line(error)}. {remedy}"
        return Unusable("broken", self.kind.not_found(message), error)

    def _describe(self) -> PluginT:
        if self.registered is not None:
            return self.registered
        assert self.entry_point is not None
        module, kind = self.entry_point.load(), self.kind
        try:
            plugin = kind.call_hook(module, self.info.name)
        except pluggy.PluginValidationError as error:
            expected = f"expected {kind.hook}(name), with @ctsdk.hookimpl, in the module that the entry point names."
            raise self._contract_fault(f" has no hook that fits: {error}; {expected}", error) from error
        except AdapterContractError as error:
            raise self._contract_fault(f" describes itself wrongly: {error}", error) from error
        if not isinstance(plugin, kind.plugin):
            expected = f"expected that {kind.hook} returns a ctsdk.{kind.plugin.__name__}."
            raise self._contract_fault(f": its hook returned {plugin!r:.200}; {expected}")
        return plugin

    def _contract_fault(self, what: str, reason: BaseException | None = None) -> Unusable:
        return Unusable("broken", AdapterContractError(f"{self.title}{what}"), reason)

    def _missing(self, module_name: str) -> CtsdkError:
        info, noun = self.info, self.kind.noun
        if info.extra is not None:
            install = f"pip install '{info.distribution}[{info.extra}]'"
            return self.kind.not_found(f"{noun} {info.name!r} needs {module_name!r}: {install}")
        return self.kind.not_found(
            f"{self.title} needs {module_name!r}, which is not installed. Install it; the {noun}'s own instructions "
            "say how."
        )


def _is_installed(module_name: str) -> bool:
    try:
        return find_spec(module_name.partition(".")[0]) is not None
    except ValueError:
        # The module is imported already, by something that gave it no spec.
        return True


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")
