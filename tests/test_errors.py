from __future__ import annotations

import pytest

from ctsdk.errors import did_you_mean, unknown_variant


@pytest.mark.parametrize(
    ("typed", "answer"), [("lasto", "Did you mean 'lasot'? "), ("LASOT", "Did you mean 'lasot'? "), ("xyz", "")]
)
def test_did_you_mean(typed: str, answer: str) -> None:
    assert did_you_mean(typed, {"lasot", "got10k"}) == answer


def test_a_variant_that_is_unknown_and_one_that_is_missing() -> None:
    misspelt = str(unknown_variant("ostrack", "tinny", ["tiny", "vitb"], ", and more"))
    assert misspelt == ("adapter 'ostrack' has no variant 'tinny'; it has tiny, vitb, and more. Did you mean 'tiny'?")
    missing = str(unknown_variant("ostrack", None, ["tiny", "vitb"]))
    assert missing == "adapter 'ostrack' needs a variant (variant=, --variant); it has tiny, vitb."
