from __future__ import annotations

import pytest

from ctsdk import CompressionConfig, ConfigError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.stepz=3", r"unknown configuration key 'training.stepz'. Did you mean 'training.steps'\?"),
        ("steps=3", r"unknown configuration key 'steps'. Did you mean 'training.steps'\?"),
        ("trainng.steps=3", r"unknown configuration key 'trainng'. Did you mean 'training'\?"),
        ("training.seed=3", r"unknown configuration key 'training.seed'. Did you mean 'seed'\?"),
        ("training.groups=[{match: a, rate: 1}]", "key 'training.groups.0.rate'. Known keys: match, rate_factor"),
        ("adapter=ostrack", r"adapter should be a section with the keys name, variant, weights \(seen: 'ostrack'\)"),
        (
            "stages={a: x}",
            r"^stages takes no such value \(seen: {'a': 'x'}\). What it takes: Number of stages, [^\n]*$",
        ),
        ("data.train=x", r"data.train should be a list \(seen: 'x'\)"),
        ("data.train=[{ratio: 1}]", "data.train.0.source is missing"),
        ("data.train=[3]", r"data.train.0: expected a text, such as lasot:.* \(seen: 3\)"),
        ("training.groups=[{match: 'a{99999999999999999999}'}]", "training.groups.0.match: no regular expression: "),
        ("training.groups=[{match: '('}]", "training.groups.0.match: no regular expression: "),
        ("training={steps: 3, warm_up_steps: 3}", "warm_up_steps=3, and the run has 3 steps"),
        ("training={batch_size: 12, micro_batch_size: 5}", "batch_size=12 is no multiple of micro_batch_size=5"),
        ("training={batch_size: 3, micro_batch_size: 4}", "batch_size=3 is no multiple of micro_batch_size=4"),
        ("replacement={warm_up: 0.7, cool_down: 0.7}", "warm_up=0.7 and cool_down=0.7 are more than the whole run"),
        ("replacement.p=1.5", "replacement.p should be less than or equal to 1"),
        *(
            (f"data.{name}=1.5", rf"data\.{name} should be less than or equal to 1 \(seen: 1\.5\)")
            for name in ("greyscale", "joint_flip", "brightness", "flip", "mirror_shift_px", "label_shift_px")
        ),
        ("data.flip=.nan", "data.flip should be"),
        ("data.source=synthetic", r"unknown configuration key 'data.source'. Known keys: train, validation, "),
        ("preset=ful", "preset should be 'naive', 'distill', 'replace' or 'full'"),
        ("training.steps=0", "training.steps should be greater than or equal to 1"),
        ("losses.task=-1", "losses.task"),
    ],
)
def test_what_is_said_of_each_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CompressionConfig.from_mapping({}, [override])


def test_an_unknown_key_at_the_top_lists_or_suggests() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'stages'\?"):
        CompressionConfig(stage=3)
    with pytest.raises(ConfigError, match="Known keys: adapter, stages"):
        CompressionConfig(zzz=3)


@pytest.mark.parametrize(
    ("override", "old", "new"),
    [
        ("data.train=[{spec: 'a:b', ratio: 2}]", "spec", "source"),
        ("data.num_sequences=7", "num_sequences", "num_videos"),
    ],
)
def test_a_key_that_was_renamed_still_works_with_a_warning(
    override: str, old: str, new: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = CompressionConfig.from_mapping({}, [override])

    assert config == CompressionConfig.from_mapping({}, [override.replace(old, new)])
    (record,) = caplog.records
    assert f"{old!r}" in record.getMessage()
    assert f"is now called {new!r}" in record.getMessage()


def test_the_old_and_the_new_name_of_a_key_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"unknown configuration key 'data.num_sequences'"):
        CompressionConfig.from_mapping({"data": {"num_videos": 3, "num_sequences": 4}})
