"""What adapters and data set formats share, tried on a third kind that is made here."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from ctsdk.data import formats
from ctsdk.errors import AdapterContractError, DataError
from ctsdk.plugins import adapters as plugins
from ctsdk.plugins.discovery import Kind, Source, check_strings, hookspec, offers, path_of, using
from tests.helpers.distributions import Distributions, fake_distributions, imported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Cheese:
    smell: str
    requires: tuple[str, ...] = ()
    api_version: int = 3


class Hooks:
    @hookspec(firstresult=True)
    def ctsdk_cheese(self, name: str) -> Cheese:
        raise NotImplementedError


HERE: list[Source[Cheese]] = []
CHEESES = Kind(
    noun="cheese",
    group="ctsdk.cheeses",
    hooks=Hooks,
    hook="ctsdk_cheese",
    plugin=Cheese,
    api_version=3,
    not_found=DataError,
    registered=lambda: HERE,
    extra="dairy",
)
MODULE = """
from ctsdk.plugins.discovery import hookimpl
from tests.plugins.test_discovery import Cheese

@hookimpl
def ctsdk_cheese(name):
    return Cheese(f"of {name}")
"""


@pytest.fixture
def distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    monkeypatch.setattr("tests.plugins.test_discovery.HERE", [])
    with fake_distributions(tmp_path, monkeypatch) as distributions:
        yield distributions


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
    HERE.append(Source("cheddar", "here:cheddar", plugin=Cheese("of home"), noun="wheel"))

    assert (smell("brie"), smell("cheddar")) == ("of brie", "of home")
    listed = {offer.source.name: (offer.status, offer.plugin) for offer in offers(CHEESES)}
    assert listed == {
        "bad": ("broken", None),
        "brie": ("available", Cheese("of brie")),
        "cheddar": ("available", Cheese("of home")),
    }
    with pytest.raises(DataError, match=r"no cheese is called 'bri'. Did you mean 'brie'\? Available: bad, brie, ched"):
        smell("bri")
    with pytest.raises(
        DataError, match=r"cheese 'bad' of distribution 'acme-bad' 1.2 .*RuntimeError: mould.*other chee"
    ):
        smell("bad")


def test_kinds_do_not_see_each_other(distributions: Distributions) -> None:
    install(distributions, "brie")
    assert "brie" not in {info.name for info in plugins.list_adapters()}
    assert "brie" not in {info.name for info in formats.list_datasets()}


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
    assert [info.summary for info in plugins.list_adapters() if info.name == "brie"] == ["adapter"]
    assert [info.summary for info in formats.list_datasets() if info.name == "brie"] == ["data set"]


def test_the_hook_of_another_kind_is_not_enough(distributions: Distributions) -> None:
    text = "from ctsdk.plugins.discovery import hookimpl\n@hookimpl\ndef ctsdk_adapter(): pass"
    install(distributions, "brie", text)
    with pytest.raises(AdapterContractError, match=r"unknown hook 'ctsdk_adapter'.*Its hook is ctsdk_cheese\(name\)"):
        smell("brie")


def test_what_ctsdk_itself_needs_comes_with_the_extra_of_the_kind(distributions: Distributions) -> None:
    install(distributions, "brie", MODULE.replace('name}"', "name}\", ('no_such_module',)"), distribution="ctsdk")
    with pytest.raises(DataError, match=r"^cheese 'brie' needs 'no_such_module': pip install 'ctsdk\[dairy\]'$"):
        smell("brie")


def test_a_clash_with_this_process_imports_nothing(distributions: Distributions) -> None:
    install(distributions, "brie")
    HERE.append(Source("brie", "here:brie", plugin=Cheese("of home"), noun="wheel"))
    with pytest.raises(DataError, match=r"'acme-brie' 1.2 .* and by wheel here:brie of this process. Register yours"):
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
