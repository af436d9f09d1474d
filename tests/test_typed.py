"""The typed example runs; that its types hold, mypy says, which reads it with the rest."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.typed import consumer

ROOT = Path(__file__).parents[1]


def test_the_typed_example_does_what_it_says(tmp_path: Path) -> None:
    consumer.use_a_named_adapter()
    result = consumer.compress(tmp_path)
    consumer.measure(result.student)
    assert [check.status for check in consumer.use_a_module() if check.status == "failed"] == []
    assert "no-such-adapter" in consumer.handle()


def test_mypy_reads_the_typed_example_and_suffers_no_any_in_it() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert "tests/typed/consumer.py" in settings["files"]
    assert settings["strict"]
    (own,) = [override for override in settings["overrides"] if override["module"] == "tests.typed.consumer"]
    assert own["disallow_any_expr"]
