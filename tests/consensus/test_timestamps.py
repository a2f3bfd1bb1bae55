"""Median time past, and the comparison with the local clock."""

from statistics import median_high

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import TimestampTooEarly, TimestampTooFarAhead
from consensus.timestamps import Ahead, Due, check_timestamp, compare_with_clock, median_time_past
from ledger.errors import InvalidBlock

timestamps = st.lists(st.integers(0, 10**6), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("past", "median"),
    [
        ([7], 7),
        ([7, 9], 9),
        ([9, 7, 8], 8),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 6),
        ([11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 6),
        ([10**9] * 20 + [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 6),
    ],
)
def test_the_median_is_over_the_last_eleven(past, median):
    assert median_time_past(past) == median


@given(timestamps)
def test_the_median_agrees_with_the_standard_library(past):
    assert median_time_past(past) == median_high(past[-11:])


@given(timestamps, st.lists(st.integers(1, 10**6), max_size=30))
def test_the_median_never_falls_along_a_chain(past, leaps):
    for leap in leaps:
        before = median_time_past(past)
        check_timestamp(before + leap, past)
        past = [*past, before + leap]
        assert median_time_past(past) >= before


@given(st.lists(st.integers(0, 10**12), min_size=5, max_size=5))
def test_five_liars_among_eleven_cannot_leave_the_honest_range(lies):
    honest = [100, 110, 120, 130, 140, 150]
    assert 100 <= median_time_past([*honest, *lies]) <= 150


def test_a_timestamp_must_be_above_the_median():
    past = [10, 20, 30]
    check_timestamp(21, past)
    for early in (20, 19, -5):
        with pytest.raises(TimestampTooEarly) as caught:
            check_timestamp(early, past)
        assert caught.value.values == {"actual": early, "median": 20}


def test_a_timestamp_may_be_before_the_parents():
    check_timestamp(25, [10, 20, 30])


@pytest.mark.parametrize("timestamp_ms", [0, 999, 1_000])
def test_a_header_of_the_past_or_the_present_is_due(timestamp_ms):
    assert compare_with_clock(timestamp_ms, 1_000, 500) == Due()


def test_a_header_a_little_ahead_waits_until_its_time():
    assert compare_with_clock(1_001, 1_000, 500) == Ahead(wait_ms=1)
    assert compare_with_clock(1_500, 1_000, 500) == Ahead(wait_ms=500)
    assert compare_with_clock(1_500, 1_000 + 500, 500) == Due()


def test_a_header_too_far_ahead_is_refused_mildly():
    with pytest.raises(TimestampTooFarAhead) as caught:
        compare_with_clock(1_501, 1_000, 500)
    assert caught.value.values == {"ahead": 501, "limit": 500}
    assert caught.value.penalty < InvalidBlock.penalty
