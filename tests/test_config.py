from __future__ import annotations

from pathlib import Path

import pytest

from ctsdk import CompressionConfig, ConfigError, TrainingConfig


def test_defaults_are_the_papers() -> None:
    config = CompressionConfig()
    assert config.stages == 4
    assert config.initialisation == "last"
    assert (config.losses.task, config.losses.guidance, config.losses.imitation) == (1.0, 1.0, 0.2)
    assert (config.replacement.p, config.replacement.warm_up, config.replacement.cool_down) == (0.5, 0.1, 0.1)
    training = config.training
    assert (training.learning_rate, training.weight_decay, training.batch_size) == (4e-5, 1e-4, 128)
    assert (training.rate_schedule, training.drop_at, training.clip_norm) == ("drop", 0.8, 0.1)
    assert training.num_steps == 500 * 60_000 // 128


def test_steps_and_epochs() -> None:
    assert TrainingConfig(steps=30_000, batch_size=128).num_steps == 30_000
    assert TrainingConfig(epochs=2, batch_size=100).num_steps == 1200
    with pytest.raises(ConfigError, match="give one of them"):
        TrainingConfig(steps=1, epochs=1)


YAML = """
adapter: {name: ostrack, variant: tiny}
stages: [2, 2, 6, 2]
training:
  steps: 500
  learning_rate: 1e-4
"""
TOML = """
stages = [2, 2, 6, 2]
[adapter]
name = "ostrack"
variant = "tiny"
[training]
steps = 500
learning_rate = 1e-4
"""


def test_files_of_both_kinds_and_overrides(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(YAML)
    (tmp_path / "a.toml").write_text(TOML)
    config = CompressionConfig.from_file(tmp_path / "a.yaml")
    assert config == CompressionConfig.from_file(tmp_path / "a.toml")
    assert config.stages == (2, 2, 6, 2)
    assert config.training.learning_rate == 1e-4
    changed = CompressionConfig.from_file(
        tmp_path / "a.yaml", ["training.steps=7", "stages={encoder: 4}", "data.flip=0"]
    )
    assert (changed.training.steps, changed.stages, changed.data.flip) == (7, {"encoder": 4}, 0.0)


def test_overrides_may_be_values_instead_of_text() -> None:
    values = {"training": {"steps": 9}}
    changes = [("adapter.name", "null"), ("adapter.weights", "a: [b]=#c"), "training.steps=7", ("training.steps", 8)]
    config = CompressionConfig.from_mapping(values, changes)
    assert config.adapter is not None
    assert (config.adapter.name, config.adapter.weights, config.training.steps) == ("null", "a: [b]=#c", 8)
    assert CompressionConfig.from_mapping(values, {"data.train": ("otb:x", "nfs:y")}).data.train[1].source == "nfs:y"
    assert values == {"training": {"steps": 9}}


def test_a_configuration_survives_json() -> None:
    config = CompressionConfig(stages={"encoder": [6, 6]}, training=TrainingConfig(steps=3))
    assert CompressionConfig.from_mapping(config.to_mapping()) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed.x=1", "'seed' is a value"),
        ("training.steps", "has no value"),
        ("training.steps=", "has no value.* For none, write null"),
        ("stages=[", "is no valid value"),
        ("training.groups=[{1: 2}]", "key 1 is a int; expected text"),
    ],
)
def test_bad_overrides_say_what_and_what_instead(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CompressionConfig.from_mapping({"seed": 0}, [override])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.ini", "", "expected one of"),
        ("a.yaml", "a: [", "no valid YAML"),
        ("a.toml", "a = ", "no valid TOML"),
        ("a.yaml", "- 1", "holds a list"),
        # From an untrusted source.
        ("a.yaml", "a: &a [1]\nb: *a", "found an alias"),
        ("a.yaml", "a: &a {b: 1}\nc: {<<: [*a, *a]}", "found an alias"),
        ("a.yaml", "[" * 5000, "no valid YAML"),
        ("a.yaml", "seed: 2001-99-99", "no valid YAML"),
        ("a.yaml", "seed: !!float ''", "no valid YAML"),
        ("a.yaml", "seed: !!python/object/apply:os.system [ls]", "no valid YAML"),
        ("a.yaml", "seed: " + "9" * 5000, "no valid YAML"),
        ("a.yaml", "1: 2", "expected text"),
        ("a.yaml", "training: {groups: [{1: 2}]}", "expected text"),
        ("a.yaml", "#" * 300_000, "at most are expected"),
        ("a.toml", "a" + ".a" * 5000 + " = 1", "no valid TOML"),
        ("a.toml", "a = " + "[" * 5000, "no valid TOML"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        CompressionConfig.from_file(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot read"):
        CompressionConfig.from_file(tmp_path / "missing.yaml")


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(Exception, match="frozen"):
        CompressionConfig().seed = 3  # type: ignore[misc]
