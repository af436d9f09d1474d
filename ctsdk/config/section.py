"""The base class of every section of a configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Annotated, Any, ClassVar

import pydantic
from pydantic import Field

from ctsdk.config.messages import explain
from ctsdk.errors import ConfigError

__all__ = ["Count", "NotNegative", "Positive", "Section", "Share"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]

_is_validating: ContextVar[bool] = ContextVar("_is_validating", default=False)

_logger = logging.getLogger(__name__)


class Section(pydantic.BaseModel):
    """A section of a configuration. It is frozen, and a key that it does not know is an error.

    Attributes:
        old_names: keys that were renamed, as {old: new}. The old one still works for one release, with a warning.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)

    old_names: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - whatever a configuration file may hold
        is_inner = _is_validating.get()
        token = _is_validating.set(True)
        try:
            super().__init__(**values)
        except pydantic.ValidationError as error:
            if is_inner:
                raise  # the outermost section knows the whole path of the key
            raise ConfigError(explain(type(self), error)) from error
        finally:
            _is_validating.reset(token)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        renamed = {old: new for old, new in cls.old_names.items() if old in values and new not in values}
        for old, new in renamed.items():
            _logger.warning(
                "the configuration key %r of %s is now called %r; the old name works for this release only. Rename it.",
                old,
                cls.__name__,
                new,
            )
        return {renamed.get(key, key): value for key, value in values.items()}
