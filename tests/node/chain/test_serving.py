"""A peer's share of what is served: known by what answers cost, and enough for whoever catches up."""

import pytest

from node.chain.messages import MAX_BLOCKS, MAX_ITEMS
from node.chain.serving import BURST_US, SHARE_US_PER_S, Serving, compute_cost_us
from node.errors import ServedTooMuch

A, B = b"a" * 32, b"b" * 32
HEADER_BYTES = 420


def serve_until_refused(serving, peer, now_ms, **answer):
    """The number of times that it went well."""
    for count in range(1_000_000):
        try:
            serving.check(peer, now_ms)
        except ServedTooMuch:
            return count
        serving.charge(peer, now_ms, **answer)
    raise AssertionError("never refused")


@pytest.mark.parametrize(("rows", "size_bytes"), [(0, 0), (MAX_ITEMS, MAX_ITEMS * HEADER_BYTES), (16, 4_000_000)])
def test_a_peer_has_a_burst_and_then_its_share(rows, size_bytes):
    serving, cost_us = Serving(), compute_cost_us(rows, size_bytes)
    at_once = serve_until_refused(serving, A, 1_000, rows=rows, size_bytes=size_bytes)
    assert BURST_US <= at_once * cost_us < BURST_US + cost_us
    later = serve_until_refused(serving, A, 61_000, rows=rows, size_bytes=size_bytes)
    assert later * cost_us <= BURST_US + cost_us, "what is not used is not saved up beyond a burst"
    spread = sum(serve_until_refused(serving, A, 61_000 + ms, rows=rows, size_bytes=size_bytes) for ms in range(10_000))
    assert spread * cost_us <= 10 * SHARE_US_PER_S + cost_us


def test_what_one_peer_has_had_takes_nothing_from_another():
    serving = Serving()
    serve_until_refused(serving, A, 0, rows=MAX_ITEMS, size_bytes=0)
    serving.check(B, 0)


def test_who_owes_can_only_wait():
    serving = Serving()
    serving.charge(A, 0, rows=0, size_bytes=10**9)
    owed_ms = (compute_cost_us(0, 10**9) - BURST_US) // (SHARE_US_PER_S // 1_000)
    with pytest.raises(ServedTooMuch) as caught:
        serving.check(A, owed_ms - 1)
    assert caught.value.values == {"limit": SHARE_US_PER_S // 1_000}
    assert caught.value.penalty
    serving.check(A, owed_ms + 10)


def test_a_fresh_node_has_a_hundred_thousand_headers_and_blocks_faster_than_it_could_check_them():
    """At once half of the headers, the rest at 10 000 a second; then blocks in tens of thousands."""
    serving, now_ms = Serving(), 0
    for _ in range(100_000 // MAX_ITEMS):
        serving.check(A, now_ms)
        serving.charge(A, now_ms, rows=MAX_ITEMS, size_bytes=MAX_ITEMS * HEADER_BYTES)
        now_ms += 1_000 * MAX_ITEMS // 10_000
    for _ in range(100_000 // MAX_BLOCKS):
        serving.check(A, now_ms)
        serving.charge(A, now_ms, rows=MAX_BLOCKS, size_bytes=MAX_BLOCKS * 1_000)
        now_ms += 1_000 * MAX_BLOCKS // 5_000


def test_accounts_are_bounded():
    serving = Serving()
    for number in range(5_000):
        serving.charge(number.to_bytes(32, "big"), 0, rows=1, size_bytes=1)
    assert len(serving._accounts) <= 1_024
