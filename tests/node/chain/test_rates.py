"""Token buckets, in the time that the test says it is."""

from hypothesis import given
from hypothesis import strategies as st

from node.chain.rates import Accounts, TokenBucket

NOW_MS = 1_800_000_000_000

requests = st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 300)), max_size=50)


@given(requests)
def test_a_bucket_never_gives_more_than_its_burst_and_its_rate(asked):
    bucket = TokenBucket(100, 50)
    now_ms = first_ms = NOW_MS
    given_out = 0
    for pause_ms, amount in asked:
        now_ms += pause_ms
        if bucket.take(amount, now_ms):
            given_out += amount
    assert given_out * 1_000 <= 100 * 1_000 + (now_ms - first_ms) * 50


@given(requests)
def test_a_clock_set_back_gives_nothing_away(asked):
    bucket = TokenBucket(100, 50)
    assert bucket.take(100, NOW_MS)
    now_ms = NOW_MS
    for step_ms, amount in asked:
        now_ms -= step_ms
        assert not bucket.take(amount + 1, now_ms)


@given(requests)
def test_what_is_spent_counts_in_full_and_is_paid_back_at_the_rate(asked):
    bucket = TokenBucket(100, 50)
    now_ms = NOW_MS
    for pause_ms, amount in asked:
        now_ms += pause_ms
        bucket.spend(amount, now_ms)
    assert bucket.is_empty(now_ms) or bucket.take(1, now_ms + 20)
    bucket.spend(1_000, now_ms)
    assert bucket.is_empty(now_ms)
    owed_at_most = 1_000 + sum(amount for _, amount in asked)
    assert not bucket.is_empty(now_ms + owed_at_most * 20 + 1)


def test_of_too_many_accounts_the_one_asked_for_longest_ago_is_closed():
    accounts = Accounts(list, limit=2)
    accounts.find("a").append(1)
    accounts.find("b").append(2)
    assert accounts.find("a") == [1]
    assert accounts.find("c") == []
    assert len(accounts) == 2
    assert accounts.find("a") == [1]
    assert accounts.find("b") == []
