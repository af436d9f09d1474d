from __future__ import annotations

import logging

import pytest

from ctsdk.data.samples.unreadable import UnreadableError, UnreadableFiles, reading
from ctsdk.errors import DataError


def test_only_data_errors_become_unreadable() -> None:
    with pytest.raises(UnreadableError, match=r"^a\.jpg is damaged$"), reading():
        raise DataError("a.jpg is damaged")
    with pytest.raises(ValueError, match="a bug"), reading():
        raise ValueError("a bug")


def test_ten_faults_are_too_many_where_the_share_says_so() -> None:
    log = UnreadableFiles(0.01)

    log.add(100, ["a is damaged"] * 9)
    with pytest.raises(DataError, match=r"10 times in 101 samples something could not be read; expected at most 0\.01"):
        log.add(1, ["b is damaged"])


def test_as_many_as_the_share_allows_are_not_too_many() -> None:
    log = UnreadableFiles(0.01)

    log.add(2000, ["a is damaged"] * 20)

    assert (log.num_samples, log.num_errors) == (2000, 20)
    with pytest.raises(DataError, match="21 times in 2001 samples"):
        log.add(1, ["a is damaged"])


def test_a_share_of_zero_allows_none() -> None:
    UnreadableFiles(0.0).add(5, [])
    with pytest.raises(DataError, match="1 times in 5 samples"):
        UnreadableFiles(0.0).add(5, ["a is damaged"])


def test_each_message_is_logged_once_and_the_first_are_in_the_error(caplog: pytest.LogCaptureFixture) -> None:
    log = UnreadableFiles(0.001)

    with caplog.at_level(logging.WARNING):
        for number in range(4):
            log.add(1, [f"{number}.jpg is damaged", "a is damaged"])
        with pytest.raises(DataError) as caught:
            log.add(1, ["4.jpg is damaged", "a is damaged"])

    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "0.jpg is damaged",
        "a is damaged",
        *(f"{number}.jpg is damaged" for number in range(1, 5)),
    ]
    assert "6 different messages" in str(caught.value)
    assert "- a is damaged\n- 1.jpg is damaged" in str(caught.value)
    assert "4.jpg" not in str(caught.value)
