"""Data sets by a line of text: the grammar, formats of other packages, of this process, and those that come along."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.formats import (
    DatasetPlugin,
    DatasetSource,
    list_dataset_formats,
    open_dataset,
    parse_source,
    register_dataset_format,
)
from ctsdk.data.readers import plugin as built_in
from ctsdk.errors import AdapterContractError, ConfigError, DataError
from ctsdk.plugins import PluginInfo, clear_registered
from tests.helpers.distributions import Distributions, fake_distributions, imported

Install = Callable[..., None]


# The entry module of a package: light. What reads the files is in another module.
LIGHT = """
from ctsdk.data.formats import DatasetPlugin
from ctsdk import hookimpl

@hookimpl
def ctsdk_dataset():
    return DatasetPlugin(open=open_it, splits=("train", "test"), summary="A fake.", {more})

def open_it(root, *, split="test", fps="30"):
    from {module}_reader import read
    return read(root, split, fps)
"""
READER = """
from ctsdk.data.datasets import VideoDataset

def read(root, split, fps):
    return VideoDataset(str(root), split, (fps,), print)
"""


@pytest.fixture
def distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    with fake_distributions(tmp_path, monkeypatch) as distributions:
        yield distributions
    clear_registered()


@pytest.fixture
def install(distributions: Distributions) -> Install:
    """Give a function that installs one fake distribution with one format; everything is gone after the test."""

    def install_one(
        name: str, *, distribution: str | None = None, light: str = LIGHT, reader: str = READER, more: str = ""
    ) -> None:
        distribution = distribution or f"acme-{name}"
        module = f"fake_{distribution}_{name}".replace("-", "_")
        modules = {module: light.format(module=module, more=more), f"{module}_reader": reader}
        distributions.install(distribution, {"ctsdk.datasets": {name: module}}, modules)

    return install_one


def info(name: str) -> PluginInfo:
    (found,) = [dataset for dataset in list_dataset_formats() if dataset.name == name]
    return found


def open_mine(root: Path, *, split: str = "test") -> VideoDataset:
    """Videos of this process.

    More about them.
    """
    if split == "wrong":
        raise DataError("no such split")
    return VideoDataset(str(root), split, (), open_mine)  # type: ignore[arg-type]


class TestGrammar:
    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("got10k:/data/got10k", ("got10k", "/data/got10k", {})),
            ("lasot:/data/lasot?split=train", ("lasot", "/data/lasot", {"split": "train"})),
            ("lasot:a b/C:\\x:y?split=train&k=v", ("lasot", "a b/C:\\x:y", {"split": "train", "k": "v"})),
            ("own:~/videos", ("own", "~/videos", {})),
            ("own:100%20+&=", ("own", "100%20+&=", {})),
            ("own:what%3F?key=why?", ("own", "what?", {"key": "why?"})),
            ("own:x?a=1+1&b=%26%3D%25&c==&%C3%A9=", ("own", "x", {"a": "1+1", "b": "&=%", "c": "=", "é": ""})),
            ("synthetic:?count=8&seed=3", ("synthetic", "", {"count": "8", "seed": "3"})),
        ],
    )
    def test_parts(self, text: str, parts: tuple[Any, ...]) -> None:
        assert parse_source(text) == DatasetSource(*parts)

    @given(
        name=st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True),
        path=st.text().filter(lambda path: "%3F" not in path) | st.sampled_from(["-x", "a b", "C:\\d", "~/é:ü?&=%41"]),
        options=st.dictionaries(st.text(min_size=1), st.text(), max_size=3),
    )
    def test_what_is_put_together_comes_apart_again(self, name: str, path: str, options: dict[str, str]) -> None:
        source = DatasetSource(name, path, options)
        assert parse_source(str(source)) == source

    def test_what_needs_no_escape_is_left_as_it_is(self) -> None:
        text = "lasot:~/a b/ü:c?split=train&more=/x y/é:+"
        assert str(parse_source(text)) == text

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("lasot", r"'lasot' is not written as NAME:PATH or .* An example: lasot:/data/lasot$"),
            ("/data/lasot", r"'/data/lasot' is not written as .* An example: lasot:/data/lasot\?split=test$"),
            ("lasot?split=a:b", "is not written as"),
            (":/data", "is not written as"),
            ("", "'' is not written as"),
            ("lasot:/x?", "has the option ''; expected key=value"),
            ("lasot:/x?split", r"has the option 'split'; expected key=value.*question mark .* written %3F"),
            ("lasot:/x?=train", "has the option '=train'; expected key=value"),
            ("lasot:/x?split=a&split=b", "has the option 'split' twice"),
        ],
    )
    def test_what_is_written_wrongly_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            open_dataset(text)


class TestFormatOfAnotherPackage:
    def test_is_opened_and_no_other_is_imported(self, install: Install) -> None:
        install("alpha")
        install("beta")

        dataset = open_dataset("alpha:-a b/é:c?fps=25&split=train")

        assert (dataset.name, dataset.split, dataset.names) == ("-a b/é:c", "train", ("25",))
        assert imported() == {"fake_acme_alpha_alpha", "fake_acme_alpha_alpha_reader"}

    def test_has_its_own_defaults(self, install: Install) -> None:
        install("alpha")
        assert open_dataset("alpha:x").split == "test"

    def test_gets_the_home_folder_for_a_tilde(self, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
        install("alpha")
        monkeypatch.setenv("HOME", os.sep + "home")
        assert open_dataset("alpha:~/x~").name == str(Path("/home/x~"))
        assert open_dataset("alpha:y/~/x").name == str(Path("y/~/x"))
        with pytest.raises(ConfigError, match=r"'alpha:~no-such-user/x': .*Write the whole path"):
            open_dataset("alpha:~no-such-user/x")

    def test_is_listed_without_importing_what_reads_it(self, install: Install) -> None:
        install("alpha")
        assert info("alpha") == PluginInfo(
            name="alpha",
            status="available",
            detail="",
            distribution="acme-alpha",
            version="1.2",
            entry_point="fake_acme_alpha_alpha",
            splits=("train", "test"),
            summary="A fake.",
            api_version=1,
        )
        assert imported() == {"fake_acme_alpha_alpha"}

    @pytest.mark.parametrize(
        ("light", "status", "error", "shown"),
        [
            ("raise RuntimeError('no luck')", "broken", ConfigError, "cannot be imported: RuntimeError: no luck"),
            ("import sys; sys.exit('needs a GPU')", "broken", ConfigError, "SystemExit: needs a GPU"),
            ("import no_such_module", "missing dependency", ConfigError, "needs 'no_such_module'"),
            (
                LIGHT.replace("{more}", "requires=('no_such_module',)"),
                "missing dependency",
                ConfigError,
                "needs 'no_such_module'",
            ),
            (
                LIGHT.replace("{more}", "api_version=2"),
                "incompatible",
                AdapterContractError,
                "version 2 of the data set format contract; this ctsdk speaks version 1. Upgrade ctsdk",
            ),
            (LIGHT.replace("{more}", "api_version=0"), "incompatible", AdapterContractError, "Upgrade acme-bad"),
            ("def ctsdk_dataset(): pass", "broken", AdapterContractError, "there is no such hook; expected ctsdk_dat"),
            (LIGHT.replace("DatasetPlugin(", "dict("), "broken", AdapterContractError, "returns a ctsdk.DatasetPlugin"),
            (
                LIGHT.replace('("train", "test")', '"train"'),
                "broken",
                AdapterContractError,
                "DatasetPlugin.splits is 'train'; expected a tuple",
            ),
        ],
    )
    def test_that_is_of_no_use_is_named_and_harms_nobody(
        self, install: Install, light: str, status: str, error: type[Exception], shown: str
    ) -> None:
        install("bad", light=light)
        install("good")

        with pytest.raises(error, match=shown) as raised:
            open_dataset("bad:x")
        assert "data set format 'bad' of distribution 'acme-bad' 1.2" in str(raised.value)
        assert (info("bad").status, info("bad").distribution) == (status, "acme-bad")
        assert shown in info("bad").detail
        assert open_dataset("good:x").split == "test"

    def test_dependency_may_be_missed_on_opening(self, install: Install) -> None:
        install("alpha", reader="import no_such_module")
        with pytest.raises(ConfigError, match=r"'acme-alpha' 1\.2 .*needs 'no_such_module', which is not installed"):
            open_dataset("alpha:x")

    def test_clash_names_both(self, install: Install) -> None:
        install("twin", distribution="acme-one")
        install("twin", distribution="acme-two")
        with pytest.raises(ConfigError, match=r"offered by .*'acme-.* and by .*'acme-.*Uninstall all but one of acme"):
            open_dataset("twin:x")
        assert imported() == set()
        assert [dataset.status for dataset in list_dataset_formats() if dataset.name == "twin"] == ["clash", "clash"]

    def test_must_return_a_data_set(self, install: Install) -> None:
        install("alpha", reader="def read(*_): return ['video']")
        with pytest.raises(
            AdapterContractError, match=r"'acme-alpha' 1\.2.*: open returned a list; expected a ctsdk.VideoDataset"
        ):
            open_dataset("alpha:x")

    def test_must_take_a_path(self, install: Install) -> None:
        install("alpha", light=LIGHT.replace("open=open_it", "open=lambda: None"))
        with pytest.raises(AdapterContractError, match=r"'acme-alpha' 1\.2 .* expected a function of a path"):
            open_dataset("alpha:x")

    def test_errors_of_its_own_reach_the_user_as_they_are(self, install: Install) -> None:
        install("alpha", reader="def read(*_): raise FloatingPointError('inner')")
        with pytest.raises(FloatingPointError, match="inner"):
            open_dataset("alpha:x")

    def test_may_be_shut_out(self, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
        install("alpha")
        install("beta")
        monkeypatch.setenv("CTSDK_PLUGINS", "ostrack, beta")
        assert [dataset.name for dataset in list_dataset_formats()] == ["beta"]
        with pytest.raises(
            ConfigError, match="data set format 'alpha' is installed, but CTSDK_PLUGINS='ostrack, beta'"
        ):
            open_dataset("alpha:x")


class TestMistakes:
    @pytest.fixture(autouse=True)
    def alpha(self, install: Install) -> None:
        install("alpha")

    @pytest.mark.parametrize("typed", ["alpho", "Alpha"])
    def test_unknown_format_is_answered_with_a_guess_and_the_list(self, typed: str) -> None:
        with pytest.raises(
            ConfigError, match=rf"no data set format is called '{typed}'. Did you mean 'alpha'\?"
        ) as error:
            open_dataset(f"{typed}:x")
        assert "got10k" in str(error.value).partition("Available:")[2]

    def test_unknown_option_is_answered_with_a_guess_and_the_list(self) -> None:
        with pytest.raises(
            ConfigError,
            match=r"^data set 'alpha:x\?spilt=a' has no option 'spilt'. Did you mean 'split'\? Its options: split, fps",
        ):
            open_dataset("alpha:x?spilt=a")

    def test_the_path_is_no_option(self) -> None:
        with pytest.raises(ConfigError, match="has no option 'root'"):
            open_dataset("alpha:x?root=y")

    def test_missing_path_is_answered_with_an_example(self) -> None:
        with pytest.raises(ConfigError, match=r"'alpha:\?fps=3' names no path; .*, such as alpha:/data/alpha$"):
            open_dataset("alpha:?fps=3")

    def test_mistakes_are_found_before_anything_is_read(self) -> None:
        for spec in ("alpha:", "alpha:x?no=1"):
            with pytest.raises(ConfigError):
                open_dataset(spec)
        assert "fake_acme_alpha_alpha_reader" not in imported()


@pytest.mark.usefixtures("distributions")
class TestRegisterDatasetFormat:
    def test_is_a_decorator(self) -> None:
        assert register_dataset_format("mine")(open_mine) is open_mine

        assert (open_dataset("mine:x").name, open_dataset("mine:x?split=train").split) == ("x", "train")
        listed = info("mine")
        assert (listed.status, listed.distribution, listed.summary) == ("available", None, "Videos of this process.")
        assert listed.entry_point == "tests.data.test_formats:open_mine"
        with pytest.raises(DataError, match="no such split"):
            open_dataset("mine:x?split=wrong")

    def test_the_same_function_twice_is_fine(self) -> None:
        def again(root: Path) -> VideoDataset:
            return VideoDataset("again", "", (), open_mine)  # type: ignore[arg-type]

        again.__module__, again.__qualname__ = open_mine.__module__, open_mine.__qualname__
        register_dataset_format("mine")(open_mine)
        register_dataset_format("mine")(again)
        assert open_dataset("mine:x").name == "again"

    def test_another_function_of_that_name_is_refused(self) -> None:
        register_dataset_format("mine")(open_mine)
        with pytest.raises(
            AdapterContractError, match=r"'mine' is taken by tests.data.test_formats:open_mine, so .*another name"
        ):
            register_dataset_format("mine")(lambda root: open_mine(root))
        assert open_dataset("mine:x").split == "test"

    @pytest.mark.parametrize("name", ["", "a:b", "a?b", "a b", open_mine])
    def test_names_that_no_spec_could_hold_are_refused(self, name: Any) -> None:
        with pytest.raises(AdapterContractError, match=r'@ctsdk.register_dataset_format\("mine"\) above the function'):
            register_dataset_format(name)

    @pytest.mark.parametrize("function", ["open", lambda: None, lambda *, root: None, lambda **options: None])
    def test_what_takes_no_path_is_refused(self, function: Any) -> None:
        with pytest.raises(AdapterContractError, match="expected a function of a path and of options by keyword"):
            register_dataset_format("mine")(function)
        assert "mine" not in {dataset.name for dataset in list_dataset_formats()}

    def test_a_name_that_is_taken_by_a_package_is_a_clash(self) -> None:
        register_dataset_format("got10k")(open_mine)
        with pytest.raises(ConfigError, match=r"'ctsdk' .* and by tests.data.test_formats:open_mine of this process"):
            open_dataset("got10k:x")

    def test_options_are_what_the_function_takes(self) -> None:
        @register_dataset_format("any")
        def open_any(root: Path, **options: str) -> VideoDataset:
            return VideoDataset("any", options["colour"], (), open_mine)  # type: ignore[arg-type]

        @register_dataset_format("needy")
        def open_needy(root: Path, *, colour: str) -> VideoDataset:
            return open_any(root, colour=colour)

        @register_dataset_format("plain")
        def open_plain(root: Path, /) -> VideoDataset:
            return open_any(root, colour="none")

        assert open_dataset("any:x?colour=red").split == "red"
        assert open_dataset("needy:x?colour=red").split == "red"
        with pytest.raises(ConfigError, match=r"needs the option 'colour': needy:PATH\?colour=VALUE"):
            open_dataset("needy:x")
        with pytest.raises(ConfigError, match=r"has no option 'colour'. It has no options\.$"):
            open_dataset("plain:x?colour=red")

    def test_the_path_may_be_empty_where_it_has_a_default(self) -> None:
        @register_dataset_format("camera")
        def open_camera(root: Path | None = None) -> VideoDataset:
            return VideoDataset(str(root), "", (), open_mine)  # type: ignore[arg-type]

        assert (open_dataset("camera:").name, open_dataset("camera:x").name) == ("None", "x")


class TestFormatsThatComeAlong:
    @pytest.fixture(autouse=True)
    def only_these(self, distributions: Distributions) -> None:
        """No format of this process."""

    def test_are_offered_by_the_entry_points(self) -> None:
        found = {dataset.name: dataset for dataset in list_dataset_formats() if dataset.distribution == "ctsdk"}
        assert set(found) == set(built_in._FORMATS)
        assert {name: dataset.detail for name, dataset in found.items() if dataset.status != "available"} == {}
        assert all(dataset.summary for dataset in found.values())

    @pytest.mark.parametrize("name", sorted(built_in._FORMATS))
    def test_splits_are_what_the_reader_says(self, name: str, tmp_path: Path) -> None:
        splits = info(name).splits
        with pytest.raises(ConfigError) as raised:
            open_dataset(f"{name}:{tmp_path}?split=nonsense")
        if splits:
            expected = str(raised.value).partition("; expected ")[2]
            assert set(re.findall(r"\w+", expected)) - {"one", "of", "or"} == set(splits)
        else:
            assert "has no option 'split'" in str(raised.value)

    @pytest.mark.parametrize("name", sorted(built_in._FORMATS))
    def test_a_folder_that_is_not_there_is_a_data_error(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="nowhere"):
            open_dataset(f"{name}:{tmp_path}/nowhere")

    def test_synthetic_videos_need_no_path(self) -> None:
        pytest.importorskip("skimage")
        dataset = open_dataset("synthetic:?count=3&seed=5")
        assert (str(dataset), dataset.names) == ("synthetic", ("synthetic-5-0", "synthetic-5-1", "synthetic-5-2"))
        video = pickle.loads(pickle.dumps(dataset))[2]
        assert (video.name, video.has_truth) == ("synthetic-5-2", True)
        np.testing.assert_array_equal(video.frame(1), dataset[2].frame(1))

    def test_synthetic_videos_are_by_default_those_of_the_demo(self) -> None:
        pytest.importorskip("skimage")
        from ctsdk.demo import held_out_videos

        dataset, expected = open_dataset("synthetic:"), held_out_videos()
        assert dataset.names == tuple(video.name for video in expected)
        np.testing.assert_array_equal(dataset[7].boxes_xywh_px, expected[7].boxes_xywh_px)

    @pytest.mark.parametrize(("option", "value"), [("count", "0"), ("count", "x"), ("seed", "-1"), ("seed", "1.5")])
    def test_numbers_of_synthetic_videos_are_checked(self, option: str, value: str) -> None:
        with pytest.raises(ConfigError, match=f"with {option}='{value}'; expected a number from"):
            open_dataset(f"synthetic:?{option}={value}")


def test_importing_and_listing_stay_light() -> None:
    code = """
import sys
import ctsdk
imported = set(sys.modules)
from ctsdk.data.readers.plugin import _FORMATS
readers = {f"ctsdk.data.readers.{reader.partition(':')[0]}" for reader, _, _ in _FORMATS.values()}
print(sorted(imported & {"cv2", "ctsdk.data.readers.plugin", *readers}))
ctsdk.list_dataset_formats()
print(sorted({"cv2", "lmdb", "skimage", "matplotlib", *readers} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split("\n") == ["[]", "[]", ""]


def test_a_plugin_needs_only_a_function() -> None:
    assert DatasetPlugin(open=open_mine).splits == ()
