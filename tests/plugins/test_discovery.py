"""What adapters and data set formats share, tried on a third kind that is made here."""

from __future__ import annotations

import functools
import importlib
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from ctsdk.data.formats import list_dataset_formats
from ctsdk.errors import AdapterContractError, DataError
from ctsdk.plugins.adapters import list_adapters
from ctsdk.plugins.discovery import clear_registered, list_plugins, path_of, register, using
from ctsdk.plugins.kind import Kind, check_strings, hookspec
from tests.helpers.distributions import Distributions, fake_distributions, imported


@dataclass(frozen=True)
class Cheese:
    smell: str
    requires: tuple[str, ...] = ()
    summary: str = ""
    api_version: int = 3


class Hooks:
    @hookspec(firstresult=True)
    def ctsdk_cheese(self, name: str) -> Cheese:
        raise NotImplementedError


CHEESES = Kind(
    noun="cheese",
    group="ctsdk.cheeses",
    hooks=Hooks,
    hook="ctsdk_cheese",
    plugin=Cheese,
    api_version=3,
    not_found=DataError,
)
MODULE = """
from ctsdk import hookimpl
from tests.plugins.test_discovery import Cheese

@hookimpl
def ctsdk_cheese(name):
    return Cheese(f"of {name}")
"""


@pytest.fixture
def distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    with fake_distributions(tmp_path, monkeypatch) as distributions:
        yield distributions
    clear_registered()


def install(distributions: Distributions, name: str, text: str = MODULE, distribution: str | None = None) -> None:
    distribution = distribution or f"acme-{name}"
    module = f"fake_{distribution}_{name}".replace("-", "_")
    distributions.install(distribution, {"ctsdk.cheeses": {name: module}}, {module: text})


def smell(name: str) -> str:
    with using(CHEESES, name) as (_, cheese):
        return cheese.smell


def test_a_third_kind_takes_one_record(distributions: Distributions) -> None:
    install(distributions, "brie")
    install(distributions, "bad", "raise RuntimeError('mould')")
    register(CHEESES, "cheddar", smell, Cheese("of home", summary="Mild."))

    assert (smell("brie"), smell("cheddar")) == ("of brie", "of home")
    listed = [(info.name, info.status, info.origin, info.summary) for info in list_plugins(CHEESES)]
    assert listed == [
        ("bad", "broken", "acme-bad 1.2", ""),
        ("brie", "available", "acme-brie 1.2", ""),
        ("cheddar", "available", "this process", "Mild."),
    ]
    with pytest.raises(DataError, match=r"no cheese is called 'bri'. Did you mean 'brie'\? Available: bad, brie, ched"):
        smell("bri")
    with pytest.raises(
        DataError, match=r"cheese 'bad' of distribution 'acme-bad' 1.2 .*RuntimeError: mould.*other chee"
    ):
        smell("bad")


def test_kinds_do_not_see_each_other(distributions: Distributions) -> None:
    install(distributions, "brie")
    assert "brie" not in {info.name for info in list_adapters()}
    assert "brie" not in {info.name for info in list_dataset_formats()}


def test_one_module_may_offer_things_of_several_kinds(distributions: Distributions) -> None:
    module = f"""{MODULE}
from ctsdk.data.formats import DatasetPlugin
from ctsdk.plugins.adapters import AdapterPlugin

@hookimpl
def ctsdk_adapter():
    return AdapterPlugin(load=print, summary="adapter")

@hookimpl
def ctsdk_dataset():
    return DatasetPlugin(open=lambda root: None, summary="data set")
"""
    groups = ("ctsdk.cheeses", "ctsdk.adapters", "ctsdk.datasets")
    distributions.install("acme-all", {group: {"brie": "fake_all"} for group in groups}, {"fake_all": module})

    assert smell("brie") == "of brie"
    assert [info.summary for info in list_adapters() if info.name == "brie"] == ["adapter"]
    assert [info.summary for info in list_dataset_formats() if info.name == "brie"] == ["data set"]


def test_the_hook_of_another_kind_is_not_enough(distributions: Distributions) -> None:
    text = "from ctsdk import hookimpl\n@hookimpl\ndef ctsdk_adapter(): pass"
    install(distributions, "brie", text)
    with pytest.raises(
        AdapterContractError, match=r"unknown hook 'ctsdk_adapter'; expected ctsdk_cheese\(name\), with"
    ):
        smell("brie")


def test_a_module_is_asked_anew_after_a_reload(distributions: Distributions, tmp_path: Path) -> None:
    install(distributions, "brie")
    assert smell("brie") == "of brie"
    path = tmp_path / "acme-brie" / "fake_acme_brie_brie.py"
    path.write_text(MODULE.replace('"of', '"another of'))
    sys.modules.pop("fake_acme_brie_brie")
    importlib.invalidate_caches()
    shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
    assert smell("brie") == "another of brie"


def test_threads_may_ask_at_the_same_time(distributions: Distributions) -> None:
    distributions.install("acme", {"ctsdk.cheeses": dict.fromkeys("abcdefgh", "fake_acme")}, {"fake_acme": MODULE})
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(smell, "abcdefgh")) == [f"of {name}" for name in "abcdefgh"]


def test_what_was_registered_can_be_forgotten() -> None:
    register(CHEESES, "cheddar", smell, Cheese("of home"))
    with pytest.raises(AdapterContractError, match=r"cheese name 'cheddar' is taken by tests.*:smell, so .*:install"):
        register(CHEESES, "cheddar", install, Cheese("of home"))
    clear_registered()
    assert list_plugins(CHEESES) == []


def test_a_clash_with_this_process_imports_nothing(distributions: Distributions) -> None:
    install(distributions, "brie")
    register(CHEESES, "brie", smell, Cheese("of home"))
    with pytest.raises(DataError, match=r"'acme-brie' 1.2 .* and by tests.*:smell of this process. Register yours"):
        smell("brie")
    assert imported() == set()


def test_using_explains_only_what_cannot_be_imported(distributions: Distributions) -> None:
    install(distributions, "brie")
    with pytest.raises(DataError, match="needs 'no_such_module', which is not installed"), using(CHEESES, "brie"):
        import no_such_module  # noqa: F401
    with pytest.raises(KeyError), using(CHEESES, "brie"):
        raise KeyError("its own")


def test_versions_are_those_of_the_kind(distributions: Distributions) -> None:
    install(distributions, "brie", MODULE.replace('name}"', 'name}", api_version=4'))
    with pytest.raises(AdapterContractError, match="version 4 of the cheese contract; this ctsdk speaks version 3"):
        smell("brie")


def test_path_of() -> None:
    assert path_of(Cheese) == "tests.plugins.test_discovery:Cheese"
    assert path_of(smell) == "tests.plugins.test_discovery:smell"
    assert path_of(functools.partial(smell)) == "functools:partial"


def test_check_strings() -> None:
    check_strings(Cheese("mild", ("a", "b")), "requires")
    with pytest.raises(AdapterContractError, match=r"Cheese.requires is 'milk'; .* its comma: \('a',\)"):
        check_strings(Cheese("mild", "milk"), "requires")  # type: ignore[arg-type]
