"""What compress() says before it trains: parts of the configuration that it does not use."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import ctsdk
from ctsdk.cli import main
from tests.helpers.toy import toy_adapter, toy_batches, toy_config


def warnings(caplog: pytest.LogCaptureFixture, tracker: ctsdk.TrackerAdapter, **changes: object) -> list[str]:
    """Return what a run of one step warns of."""
    config = toy_config(training={"steps": 1}, **changes)
    with caplog.at_level(logging.WARNING, "ctsdk.compression"):
        ctsdk.compress(tracker, config, batches=toy_batches(1))
    return caplog.messages


@pytest.mark.parametrize(
    ("named", "variant", "says"),
    [
        ({"name": "seqtrack", "variant": "tiny"}, None, "config.adapter names seqtrack tiny, and the adapter that"),
        (
            {"name": "toy", "variant": "large"},
            "small",
            "names toy large, and the adapter that was passed is toy small;",
        ),
    ],
)
def test_another_adapter_than_the_configuration_names(
    caplog: pytest.LogCaptureFixture, named: dict[str, str], variant: str | None, says: str
) -> None:
    adapter = toy_adapter()
    adapter.variant = variant
    (message,) = warnings(caplog, adapter, adapter=named)
    assert says in message
    assert message.endswith("config.adapter is not used.")


@pytest.mark.parametrize("named", [None, {"name": "toy"}, {"name": "toy", "variant": "small"}])
def test_the_adapter_that_the_configuration_names(
    caplog: pytest.LogCaptureFixture, named: dict[str, str] | None
) -> None:
    adapter = toy_adapter()
    adapter.variant = "small"
    assert warnings(caplog, adapter, adapter=named) == []


def test_data_of_the_configuration_beside_batches(caplog: pytest.LogCaptureFixture) -> None:
    (message,) = warnings(caplog, toy_adapter(), data={"num_videos": 7, "seed": 4})
    assert message == "batches were passed, so data.num_videos, data.seed of the configuration is not used."


def test_the_command_uses_the_adapter_that_it_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = []

    def keep(adapter: ctsdk.TrackerAdapter, config: ctsdk.CompressionConfig, **_: object) -> None:
        assert config.adapter is not None
        seen.append((adapter.name, adapter.variant, config.adapter.name, config.adapter.variant))
        raise ctsdk.TrainingError("enough")

    monkeypatch.setattr(ctsdk, "compress", keep)
    tiny = ctsdk.load_adapter("seqtrack", "tiny", "random")
    depth = len(tiny.trunks()["encoder"].blocks(tiny.teacher))
    words = ["--adapter", "seqtrack", "--variant", f"tiny_encoder{depth}", "--weights", "random"]
    assert main(["compress", *words, "--out", str(tmp_path / "run")]) == 1
    assert seen == [("seqtrack", "tiny", "seqtrack", "tiny")]
