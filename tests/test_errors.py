from __future__ import annotations

import pytest

from ctsdk.errors import did_you_mean


@pytest.mark.parametrize(
    ("typed", "answer"), [("lasto", "Did you mean 'lasot'? "), ("LASOT", "Did you mean 'lasot'? "), ("xyz", "")]
)
def test_did_you_mean(typed: str, answer: str) -> None:
    assert did_you_mean(typed, {"lasot", "got10k"}) == answer
