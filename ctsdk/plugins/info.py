"""What is known of a plug-in: one record for adapters and for data set formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["PluginInfo", "Status"]

Status: TypeAlias = Literal["available", "missing dependency", "broken", "clash", "incompatible"]


@dataclass(frozen=True)
class PluginInfo:
    """One adapter or one data set format, as the lists of them show it.

    Attributes:
        name: what users type.
        status: "available"; "missing dependency": a module that it needs is not installed; "broken": its package
            cannot be imported or breaks the contract; "clash": two sources offer the name; "incompatible": written
            for another version of the contract.
        detail: what is wrong and what to do about it; empty where available.
        distribution: the installed distribution that brings it; None for what this process registered.
        version: of the distribution.
        entry_point: the module, class or function that offers it.
        variants: members of an adapter's family; like all below, empty where there is none or it is not available.
        summary: one line about it.
        api_version: the version of the contract that it was written for; None where it is not available.
        requires: top-level modules that it needs beyond ctsdk's own.
        extra: the extra of its distribution that installs them; None where the distribution declares none.
        traceback: of what its module raised when it was imported; empty where it raised nothing.
        splits: values of a format's option ``split``.
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
    splits: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Distribution and version, or "this process"."""
        return "this process" if self.distribution is None else f"{self.distribution} {self.version}"
