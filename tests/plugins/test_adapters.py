"""Adapters by name: fake distributions on disk, read as metadata and imported one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import TrackerSpec
from ctsdk.errors import AdapterContractError, AdapterNotFoundError, ConfigError
from ctsdk.plugins import PluginInfo, clear_registered
from ctsdk.plugins.adapters import AdapterPlugin, list_adapters, load_adapter, register_adapter
from tests.helpers.distributions import fake_distributions, imported

Install = Callable[..., None]


# The entry module of a package: light. Its model code is in another module.
LIGHT = """
from ctsdk.plugins.adapters import AdapterPlugin, hookimpl

@hookimpl
def ctsdk_adapter():
    return AdapterPlugin(load=load, variants=("small", "large"), summary="A fake.", {more})

def load(variant, weights):
    from {module}_model import Adapter
    adapter = Adapter(Adapter.make_teacher())
    adapter.asked = (variant, weights)
    return adapter
"""
MODEL = """
from torch import nn
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import TrackerSpec

class Adapter(TrackerAdapter):
    name = {name!r}
    spec = TrackerSpec(template_size=32, search_size=64)
    make_teacher = staticmethod(lambda: nn.Linear(2, 2))
    trunks = predict = task_loss = None
    {more}

Adapter.__abstractmethods__ = frozenset()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Give a function that installs one fake distribution with one adapter; everything is gone after the test."""

    def install_one(
        name: str,
        *,
        distribution: str | None = None,
        light: str = LIGHT,
        model: str = MODEL,
        version: str = "1.2",
        light_more: str = "",
        model_more: str = "",
        value: str | None = None,
        extras: Sequence[str] = (),
    ) -> None:
        distribution = distribution or f"acme-{name}"
        module = f"fake_{distribution}_{name}".replace("-", "_")
        distributions.install(
            distribution,
            {"ctsdk.adapters": {name: value or module}},
            {
                module: light.format(module=module, more=light_more),
                f"{module}_model": model.format(name=name, more=model_more),
            },
            version,
            extras,
        )

    with fake_distributions(tmp_path, monkeypatch) as distributions:
        yield install_one
    clear_registered()


def info(name: str) -> PluginInfo:
    (found,) = [adapter for adapter in list_adapters() if adapter.name == name]
    return found


class Mine(TrackerAdapter):
    """An adapter of this process.

    More about it.
    """

    name = "mine"
    spec = TrackerSpec(template_size=32, search_size=64)

    @classmethod
    def load(cls, variant: str | None, weights: str | Path | None) -> Mine:
        if variant == "wrong":
            raise ConfigError("no such variant")
        adapter = cls(nn.Linear(2, 2))
        adapter.variant = f"{variant} {weights}"
        return adapter

    def trunks(self) -> Any:
        return {}

    def predict(self, tracker: Any, batch: Any) -> Any:
        raise NotImplementedError

    def task_loss(self, prediction: Any, batch: Any) -> Any:
        raise NotImplementedError


def test_load_imports_only_the_package_that_was_asked_for(install: Install) -> None:
    install("alpha")
    install("beta")

    adapter: Any = load_adapter("alpha", "small", "file.pth")

    assert adapter.asked == ("small", "file.pth")
    assert imported() == {"fake_acme_alpha_alpha", "fake_acme_alpha_alpha_model"}


def test_load_passes_on_that_nothing_was_said(install: Install) -> None:
    install("alpha")
    adapter: Any = load_adapter("alpha")
    assert adapter.asked == (None, None)


def test_unknown_name_imports_nothing(install: Install) -> None:
    install("alpha")
    with pytest.raises(AdapterNotFoundError):
        load_adapter("nothing-like-it")
    assert imported() == set()


def test_list_tells_all_without_importing_model_code(install: Install) -> None:
    install("alpha")

    assert info("alpha") == PluginInfo(
        name="alpha",
        status="available",
        detail="",
        distribution="acme-alpha",
        version="1.2",
        entry_point="fake_acme_alpha_alpha",
        variants=("small", "large"),
        summary="A fake.",
        api_version=1,
    )
    assert imported() == {"fake_acme_alpha_alpha"}


def test_list_is_sorted_by_name(install: Install) -> None:
    install("zeta")
    install("alpha")
    names = [adapter.name for adapter in list_adapters()]
    assert names == sorted(names)
    assert {"alpha", "zeta"} <= set(names)


@pytest.mark.parametrize(
    ("light", "shown"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("import sys; sys.exit('needs a GPU')", "SystemExit: needs a GPU"),
        ("import fake_acme_bad_bad.inner", "ModuleNotFoundError"),
        ("from ctsdk.plugins.adapters import no_such_name", "ImportError"),
        ("def (:", "SyntaxError"),
    ],
)
def test_broken_package_is_named_and_harms_nobody(install: Install, light: str, shown: str) -> None:
    install("bad", light=light)
    install("good")

    with pytest.raises(AdapterNotFoundError, match=shown) as raised:
        load_adapter("bad")
    assert "'acme-bad' 1.2" in str(raised.value)
    assert raised.value.__cause__ is not None
    broken = info("bad")
    assert (broken.status, broken.distribution, broken.version) == ("broken", "acme-bad", "1.2")
    assert shown in broken.detail
    assert broken.traceback.startswith("Traceback (most recent call last)")
    assert shown.partition(":")[0] in broken.traceback.splitlines()[-1]
    assert info("good").traceback == ""
    assert info("good").status == "available"
    assert load_adapter("good").name == "good"


def test_entry_point_that_leads_nowhere_is_broken(install: Install) -> None:
    install("alpha", value="fake_acme_alpha_alpha:nothing")
    assert info("alpha").status == "broken"


def test_distribution_without_readable_metadata_is_still_listed(install: Install, tmp_path: Path) -> None:
    install("alpha")
    (tmp_path / "acme-alpha" / "acme_alpha-1.2.dist-info" / "METADATA").unlink()
    assert info("alpha").status == "available"


class TestMissingDependency:
    def test_declared_and_built_in(self, install: Install) -> None:
        install("gamma", distribution="ctsdk", light_more="requires=('no_such_module',)", extras=["gamma", "all"])
        with pytest.raises(AdapterNotFoundError) as raised:
            load_adapter("gamma")
        assert str(raised.value) == "adapter 'gamma' needs 'no_such_module': pip install 'ctsdk[gamma]'"
        assert info("gamma").status == "missing dependency"
        assert "pip install 'ctsdk[gamma]'" in info("gamma").detail
        assert not any(module.endswith("_model") for module in imported())

    def test_declared_and_present(self, install: Install) -> None:
        install("gamma", light_more="requires=('torch', 'json.decoder')")
        assert info("gamma").status == "available"
        assert info("gamma").requires == ("torch", "json.decoder")
        assert info("gamma").extra is None
        assert info("ostrack").extra == "ostrack"

    def test_found_on_loading(self, install: Install) -> None:
        install("gamma", model="import no_such_module.part", extras=["beta", "all"])
        with pytest.raises(
            AdapterNotFoundError, match=r"needs 'no_such_module': pip install 'acme-gamma\[all\]'"
        ) as raised:
            load_adapter("gamma")
        assert isinstance(raised.value.__cause__, ModuleNotFoundError)

    def test_without_an_extra_none_is_promised(self, install: Install) -> None:
        install("gamma", distribution="ctsdk", light_more="requires=('no_such_module',)", extras=["beta"])
        with pytest.raises(AdapterNotFoundError, match=r"'no_such_module', which is not installed. Install it;"):
            load_adapter("gamma")
        assert info("gamma").extra is None

    def test_found_on_import_of_a_third_party(self, install: Install) -> None:
        install("gamma", light="import no_such_module")
        with pytest.raises(AdapterNotFoundError, match=r"'acme-gamma' 1\.2 .*needs 'no_such_module'"):
            load_adapter("gamma")
        assert info("gamma").status == "missing dependency"

    def test_library_that_does_not_load_names_the_package(self, install: Install) -> None:
        install("gamma", model="raise ImportError('libGL.so.1: cannot open shared object file')")
        with pytest.raises(AdapterNotFoundError, match=r"'acme-gamma' 1\.2.*libGL"):
            load_adapter("gamma")

    def test_other_exceptions_of_load_are_the_adapters_own(self, install: Install) -> None:
        install("gamma", model="raise FloatingPointError('inner')")
        with pytest.raises(FloatingPointError, match="inner"):
            load_adapter("gamma")


def test_clash_names_both_distributions_and_spares_the_others(install: Install) -> None:
    install("twin", distribution="acme-one")
    install("twin", distribution="acme-two")
    install("good")

    with pytest.raises(AdapterNotFoundError) as raised:
        load_adapter("twin")
    assert "'acme-one' 1.2" in str(raised.value)
    assert "'acme-two' 1.2" in str(raised.value)
    assert "ninstall" in str(raised.value)
    assert imported() == set()
    clashing = [adapter for adapter in list_adapters() if adapter.name == "twin"]
    assert [(adapter.status, adapter.distribution) for adapter in clashing] == [
        ("clash", "acme-two"),
        ("clash", "acme-one"),
    ]
    assert not {module for module in imported() if "twin" in module}
    assert load_adapter("good").name == "good"


class TestVersionOfTheContract:
    @pytest.mark.parametrize(("version", "upgrade"), [(2, "Upgrade ctsdk"), (0, "Upgrade acme-alpha")])
    def test_of_the_plugin(self, install: Install, version: int, upgrade: str) -> None:
        install("alpha", light_more=f"api_version={version}")
        with pytest.raises(AdapterContractError, match=upgrade) as raised:
            load_adapter("alpha")
        assert "'alpha'" in str(raised.value)
        assert "'acme-alpha' 1.2" in str(raised.value)
        assert info("alpha").status == "incompatible"
        assert upgrade in info("alpha").detail
        assert not any(module.endswith("_model") for module in imported())

    @pytest.mark.parametrize(("version", "upgrade"), [(2, "Upgrade ctsdk"), (0, "Upgrade acme-alpha")])
    def test_of_the_class(self, install: Install, version: int, upgrade: str) -> None:
        install("alpha", model_more=f"api_version = {version}")
        with pytest.raises(AdapterContractError, match=upgrade):
            load_adapter("alpha")

    def test_that_is_no_number(self, install: Install) -> None:
        install("alpha", light_more="api_version='1'")
        install("beta", model_more="api_version = '1'")
        assert info("alpha").status == "broken"
        for name in ("alpha", "beta"):
            with pytest.raises(AdapterContractError, match="api_version='1'; expected a whole number"):
                load_adapter(name)


@pytest.mark.parametrize(
    ("model_more", "seen"),
    [
        ("make_teacher = staticmethod(dict)", "teacher is a dict; expected a Module"),
        ("spec = (32, 64)", "spec is a tuple; expected a TrackerSpec"),
        ("name = 'omega'", "name is 'omega'; expected 'alpha'"),
        ("__new__ = lambda *_: Other()\nclass Other: pass", "load returned a Other"),
    ],
)
def test_what_load_returns_is_checked(install: Install, model_more: str, seen: str) -> None:
    install("alpha", model_more=model_more)
    with pytest.raises(AdapterContractError, match=seen) as raised:
        load_adapter("alpha")
    assert "'acme-alpha' 1.2" in str(raised.value)


@pytest.mark.parametrize(
    ("light", "seen"),
    [
        ("from ctsdk import hookimpl\n@hookimpl\ndef ctsdk_adaptor(): pass", "unknown hook 'ctsdk_adaptor'"),
        ("from ctsdk import hookimpl\n@hookimpl\ndef ctsdk_adapter(nome): pass", "nome"),
        ("def ctsdk_adapter(): pass", "no such hook"),
        ("from ctsdk import hookimpl\n@hookimpl\ndef ctsdk_adapter(): return 7", "returned 7"),
        ("from ctsdk import *\n@hookimpl\ndef ctsdk_adapter(): return AdapterPlugin(print, variants='a')", "variants"),
        ("from ctsdk import *\n@hookimpl\ndef ctsdk_adapter(): return AdapterPlugin(load='print')", "load"),
    ],
)
def test_wrong_hooks_are_reported_with_their_distribution(install: Install, light: str, seen: str) -> None:
    install("alpha", light=light)
    install("good")

    with pytest.raises(AdapterContractError, match=seen) as raised:
        load_adapter("alpha")
    assert "'acme-alpha' 1.2" in str(raised.value)
    assert info("alpha").status == "broken"
    assert load_adapter("good").name == "good"


def test_one_package_may_offer_several_adapters(install: Install, tmp_path: Path) -> None:
    light = """
from ctsdk.plugins.adapters import AdapterPlugin, hookimpl

@hookimpl
def ctsdk_adapter(name):
    return AdapterPlugin(load=print, summary=f"This is {{name}}.")
"""
    install("alpha", light=light)
    points = tmp_path / "acme-alpha" / "acme_alpha-1.2.dist-info" / "entry_points.txt"
    points.write_text("[ctsdk.adapters]\nalpha = fake_acme_alpha_alpha\nbeta = fake_acme_alpha_alpha\n")
    assert (info("alpha").summary, info("beta").summary) == ("This is alpha.", "This is beta.")


class TestUnknownName:
    @pytest.mark.parametrize("typed", ["alpho", "Alpha", "ALPHA"])
    def test_is_answered_with_a_guess_and_the_list(self, install: Install, typed: str) -> None:
        install("alpha")
        with pytest.raises(
            AdapterNotFoundError, match=rf"no adapter is called '{typed}'.*Did you mean 'alpha'\?"
        ) as raised:
            load_adapter(typed)
        assert "alpha" in str(raised.value).partition("Available:")[2]

    def test_says_where_there_is_none(self, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
        with pytest.raises(AdapterNotFoundError, match=r"no adapter is called 'seqtrack'\. Available: none\.$"):
            load_adapter("seqtrack")


class TestAllowList:
    @pytest.mark.parametrize(
        ("value", "allowed"), [("alpha", {"alpha"}), (" beta , alpha", {"alpha", "beta"}), ("", set())]
    )
    def test_narrows_the_choice(
        self, install: Install, monkeypatch: pytest.MonkeyPatch, value: str, allowed: set[str]
    ) -> None:
        install("alpha")
        install("beta")
        monkeypatch.setenv("CTSDK_PLUGINS", value)
        assert {adapter.name for adapter in list_adapters()} == allowed

    def test_is_named_when_it_stands_in_the_way(self, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
        install("alpha")
        monkeypatch.setenv("CTSDK_PLUGINS", "")
        with pytest.raises(AdapterNotFoundError, match="CTSDK_PLUGINS"):
            load_adapter("alpha")

    def test_resolves_a_clash_with_a_class_of_this_process(
        self, install: Install, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install("mine")
        register_adapter(Mine)
        with pytest.raises(AdapterNotFoundError, match=r"test_adapters:Mine.*CTSDK_PLUGINS"):
            load_adapter("mine")
        monkeypatch.setenv("CTSDK_PLUGINS", "")
        assert isinstance(load_adapter("mine"), Mine)


@pytest.mark.usefixtures("install")
class TestRegisterAdapter:
    def test_is_a_decorator(self) -> None:
        assert register_adapter(Mine) is Mine
        assert load_adapter("mine", "large", "random").variant == "large random"
        described = info("mine")
        assert (described.status, described.distribution) == ("available", None)
        assert described.summary == "An adapter of this process."
        assert described.entry_point.endswith("test_adapters:Mine")

    def test_the_same_class_twice_is_fine(self) -> None:
        register_adapter(Mine)
        reloaded = type("Mine", (Mine,), {"__module__": Mine.__module__, "__qualname__": Mine.__qualname__})
        register_adapter(Mine)
        register_adapter(reloaded)
        assert type(load_adapter("mine")) is reloaded

    def test_another_class_of_that_name_is_refused(self) -> None:
        class Other(Mine):
            pass

        register_adapter(Mine)
        with pytest.raises(AdapterContractError, match=r"'mine' is taken by .*:Mine, so .*Other"):
            register_adapter(Other)
        assert type(load_adapter("mine")) is Mine

    def test_what_is_no_adapter_class_is_refused(self) -> None:
        class Nameless(Mine):
            name = ""

        class Loadless(Mine):
            load = None  # type: ignore[assignment]

        for wrong, message in ((dict, "dict"), ("mine", "mine"), (Nameless, "name=''"), (Loadless, "no `load`")):
            with pytest.raises(AdapterContractError, match=message):
                register_adapter(wrong)  # type: ignore[type-var]

    def test_errors_of_load_reach_the_user_as_they_are(self) -> None:
        register_adapter(Mine)
        with pytest.raises(ConfigError, match="no such variant"):
            load_adapter("mine", "wrong")

    def test_version_of_the_contract_is_checked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Mine, "api_version", 0)
        register_adapter(Mine)
        assert info("mine").status == "incompatible"
        with pytest.raises(AdapterContractError, match=r"Upgrade .*:Mine"):
            load_adapter("mine")


def test_a_plugin_needs_only_a_function() -> None:
    assert AdapterPlugin(load=Mine.load).variants == ()
