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
        ("stages={a: x}", r"^stages takes no such value \(seen: {'a': 'x'}\). What it takes: How many stages, [^\n]*$"),
        ("data.train=x", r"data.train should be a list \(seen: 'x'\)"),
        ("data.train=[{ratio: 1}]", "data.train.0.spec is missing"),
        ("data.train=[3]", r"data.train.0: expected a text, such as lasot:.* \(seen: 3\)"),
        ("training.groups=[{match: 'a{99999999999999999999}'}]", "training.groups.0.match: no regular expression: "),
        ("training.groups=[{match: '('}]", "training.groups.0.match: no regular expression: "),
        ("training={steps: 3, warm_up_steps: 3}", "warm_up_steps=3, and the run has 3 steps"),
        ("training={batch_size: 12, micro_batch_size: 5}", "batch_size=12 is no multiple of micro_batch_size=5"),
        ("training={batch_size: 3, micro_batch_size: 4}", "batch_size=3 is no multiple of micro_batch_size=4"),
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
