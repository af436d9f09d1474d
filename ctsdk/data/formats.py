"""Open a data set by one line of text, such as ``lasot:/data/lasot?split=test``, whatever format it is in.

A format reaches :func:`open_dataset` in one of two ways: decorated with :func:`register_dataset_format` in the same
process, or offered by a package, through the entry-point group ``ctsdk.datasets`` and the hook
:meth:`DatasetHooks.ctsdk_dataset`. Built-in formats take the second way.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote

from ctsdk.data.datasets import VideoDataset
from ctsdk.errors import AdapterContractError, ConfigError, did_you_mean
from ctsdk.plugins.discovery import list_plugins, register, summary_of, using
from ctsdk.plugins.info import PluginInfo
from ctsdk.plugins.kind import Kind, check_strings, hookspec

__all__ = [
    "API_VERSION",
    "DatasetHooks",
    "DatasetPlugin",
    "DatasetSource",
    "list_dataset_formats",
    "open_dataset",
    "parse_source",
    "register_dataset_format",
]

API_VERSION: Final = 1
"""The version of the contract for data set formats that this ctsdk speaks."""

_GRAMMAR: Final = "NAME:PATH or NAME:PATH?key=value&key=value"
_NAME: Final = re.compile(r"[\w.-]+")

_OpenFunction = TypeVar("_OpenFunction", bound="Callable[..., VideoDataset]")


@dataclass(frozen=True)
class DatasetPlugin:
    """How a package describes a data set format, before any file is read.

    Attributes:
        open: called with the folder or file of the source, a ``Path``, and the source's options as keywords, all of
            them strings; returns the data set. Its keywords, which are inspected when it is called, are the options
            that users may give. Where its first argument has a default, the path may be left empty.
        splits: the values of the option ``split``, for the list of formats; empty where there is only one.
        requires: top-level modules that `open` imports and that may be absent, such as ``("h5py",)``.
        summary: one line for the list of formats.
        api_version: the version of the contract that the format was written for.

    Raises:
        AdapterContractError: `open` cannot be called, or `splits` or `requires` is a bare string.
    """

    open: Callable[..., VideoDataset]
    splits: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    summary: str = ""
    api_version: int = 1

    def __post_init__(self) -> None:
        if not callable(self.open):
            raise _wrong_function("DatasetPlugin.open", self.open)
        check_strings(self, "splits", "requires")


class DatasetHooks:
    """The hook that a package with data set formats implements."""

    @hookspec(firstresult=True)
    def ctsdk_dataset(self, name: str) -> DatasetPlugin:
        """Describe the format that this package offers under the entry point `name`.

        A whole ``__init__.py``::

            import ctsdk

            @ctsdk.hookimpl
            def ctsdk_dataset():
                return ctsdk.DatasetPlugin(open=_open, splits=("train", "test"), requires=("h5py",))

            def _open(root, *, split="test"):
                from my_package.reader import open_mine  # brings h5py, so not before it is asked for

                return open_mine(root, split)

        Keep the module light: listing the formats imports it. Leave out `name` where the package has one format.

        Args:
            name: the name of the entry point, which is what users write before the colon.
        """
        raise NotImplementedError


_FORMATS: Final = Kind(
    noun="data set format",
    group="ctsdk.datasets",
    hooks=DatasetHooks,
    hook="ctsdk_dataset",
    plugin=DatasetPlugin,
    api_version=API_VERSION,
    not_found=ConfigError,
)


@dataclass(frozen=True)
class DatasetSource:
    """A data set in a line of text, taken apart; ``str`` puts it together again.

    Attributes:
        name: of the format.
        path: of the folder or file, as it was written.
        options: what the format is asked for, by name.
    """

    name: str
    path: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        options = "&".join(f"{_escaped(key, '%&=')}={_escaped(value, '%&')}" for key, value in self.options.items())
        return f"{self.name}:{_escaped(self.path, '?')}" + (f"?{options}" if options else "")


def parse_source(text: str) -> DatasetSource:
    """Take apart ``NAME:PATH?key=value&key=value``; the question mark and what follows may be left out.

    In the path every character stands for itself, except that ``%3F`` is a question mark. In keys and values, ``%`` and
    two hexadecimal digits are a character, as in addresses of the web: ``%26`` is ``&``.

    Raises:
        ConfigError: there is no colon or no name, or an option is not ``key=value`` or is given twice.
    """
    place, mark, query = text.partition("?")
    name, colon, path = place.partition(":")
    if not colon or not name:
        example = f"{name}:/data/{name}" if _NAME.fullmatch(name) else "lasot:/data/lasot?split=test"
        raise ConfigError(f"data set {text!r:.200} is not written as {_GRAMMAR}. An example: {example}")
    options: dict[str, str] = {}
    for option in query.split("&") if mark else ():
        key, equals, value = (unquote(part) for part in option.partition("="))
        if not equals or not key:
            raise ConfigError(
                f"data set {text!r:.200} has the option {option!r}; expected key=value, as in {_GRAMMAR}. "
                "A question mark inside the path is written %3F."
            )
        if key in options:
            raise ConfigError(f"data set {text!r:.200} has the option {key!r} twice. Remove one of them.")
        options[key] = value
    return DatasetSource(name, path.replace("%3F", "?"), options)


def open_dataset(source: str) -> VideoDataset:
    """Open the data set that `source` names; its videos are read when they are asked for.

    Args:
        source: ``NAME:PATH`` or ``NAME:PATH?key=value&key=value``, such as ``lasot:/data/lasot?split=test``. The name
            is one of :func:`list_dataset_formats`. The path may hold blanks and colons; ``~`` at its start is the home
            folder, and ``%3F`` a question mark. Each format has options of its own.

    Raises:
        ConfigError: the source is written wrongly, no format has that name, two have it, its package or a dependency
            cannot be imported, or it has no such option.
        AdapterContractError: the format was written for another version of the contract, or breaks it.
        DataError: the folder or a file in it is missing or wrong.
    """
    parsed = parse_source(source)
    with using(_FORMATS, parsed.name) as (origin, plugin):
        parameters = _parameters(origin.title, plugin.open)
        dataset: object = plugin.open(*_arguments(parsed, parameters), **parsed.options)
        if not isinstance(dataset, VideoDataset):
            raise AdapterContractError(
                f"{origin.title}: open returned a {type(dataset).__name__}; expected a ctsdk.VideoDataset."
            )
    return dataset


def list_dataset_formats() -> list[PluginInfo]:
    """Return every data set format that this installation knows of, usable or not, sorted by name.

    Two sources of one name give two items. This imports the light entry module of each package, and no reader.
    """
    return list_plugins(_FORMATS)


def register_dataset_format(name: str) -> Callable[[_OpenFunction], _OpenFunction]:
    """Offer a function of this process to :func:`open_dataset` under `name`. Use it as a decorator.

    The function gets the folder or file of the source, a ``Path``, and the source's options as keywords, all of them
    strings, and returns a ``VideoDataset``. The first line of its docstring describes it in the list. Registering
    the same function again changes nothing, also after its module was reloaded.

    Args:
        name: what users write before the colon: letters, digits, ``_``, ``.`` and ``-``.

    Raises:
        AdapterContractError: the name cannot be used, this is no function, or another function has the name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise AdapterContractError(
            f"register_dataset_format got {name!r:.200}; expected a name of letters, digits, '_', '.' and '-'. "
            'Put @ctsdk.register_dataset_format("mine") above the function.'
        )

    def register_function(open_function: _OpenFunction) -> _OpenFunction:
        _parameters(f"data set format {name!r}", open_function)
        plugin = DatasetPlugin(open_function, summary=summary_of(open_function))
        register(_FORMATS, name, open_function, plugin)
        return open_function

    return register_function


def _parameters(title: str, function: object) -> list[inspect.Parameter]:
    """Return the parameters of a function that opens data sets; the first takes the path."""
    try:
        parameters = list(inspect.signature(function).parameters.values())  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise _wrong_function(title, function) from error
    if not parameters or parameters[0].kind in {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}:
        raise _wrong_function(title, function)
    return parameters


def _wrong_function(title: str, function: object) -> AdapterContractError:
    return AdapterContractError(
        f"{title} is {function!r:.200}; expected a function of a path and of options by keyword, such as "
        "open(root, *, split='test'), that returns a ctsdk.VideoDataset."
    )


def _arguments(source: DatasetSource, parameters: list[inspect.Parameter]) -> list[Path]:
    """Return the path to open, or nothing where the source has none and the format needs none."""
    first, *others = parameters
    by_keyword = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    known = {parameter.name: parameter for parameter in others if parameter.kind in by_keyword}
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in others)
    its_own = f"Its options: {', '.join(known)}." if known else "It has no options."
    for key in source.options:
        if key == first.name or not (takes_any or key in known):
            raise ConfigError(f"data set {str(source)!r} has no option {key!r}. {did_you_mean(key, known)}{its_own}")
    needed = [name for name, parameter in known.items() if parameter.default is inspect.Parameter.empty]
    for key in needed:
        if key not in source.options:
            raise ConfigError(
                f"data set {str(source)!r} needs the option {key!r}: {source.name}:PATH?{key}=VALUE. {its_own}"
            )
    if not source.path and first.default is not inspect.Parameter.empty:
        return []
    return [_path(source)]


def _escaped(text: str, characters: str) -> str:
    return "".join(f"%{ord(character):02X}" if character in characters else character for character in text)


def _path(source: DatasetSource) -> Path:
    if not source.path:
        raise ConfigError(
            f"data set {str(source)!r} names no path; expected {_GRAMMAR}, such as {source.name}:/data/{source.name}"
        )
    try:
        return Path(source.path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"data set {str(source)!r}: {error}. Write the whole path instead of '~'.") from error
