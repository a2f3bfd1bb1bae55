"""Headers first: what links is followed, what does not is a fault, and bodies come in the order of the chain."""

from dataclasses import replace

import pytest

from ledger.block import Block, Header
from ledger.errors import BrokenHeaders
from node.fetcher import Fetcher
from node.sync import BODY_WINDOW, HEADERS_TIMEOUT_MS, STALL_MS, Sync

A, B = b"a", b"b"
GENESIS = Header(
    chain_id=bytes(32),
    height=0,
    parent=bytes(32),
    timestamp_ms=0,
    producer=bytes(32),
    credit_upt=0,
    n_diff=1,
    period=0,
    tx_root=bytes(32),
    receipt_root=bytes(32),
    state_root=bytes(32),
)


def grow(parent, count, *, salt=0):
    headers = []
    for _ in range(count):
        parent = replace(parent, parent=parent.hash, height=parent.height + 1, timestamp_ms=salt)
        headers.append(parent)
    return tuple(headers)


def body(header):
    return Block(header=header, transactions=())


@pytest.fixture
def bodies():
    return Fetcher(timeout_ms=100, max_wanted=1_000, max_per_peer=1_000)


@pytest.fixture
def sync(bodies):
    return Sync(bodies)


def known(*headers):
    hashes = {header.hash for header in (GENESIS, *headers)}
    return lambda block_hash: block_hash in hashes


def test_bodies_are_wanted_from_all_sources_and_imported_in_order(sync, bodies):
    chain = grow(GENESIS, 200)
    assert sync.may_ask(A, 0)
    assert sync.on_headers(A, chain, 0, is_known=known()) == (chain[-1].hash,)
    sync.want_bodies([A, B])
    asked = bodies.requests(0)
    assert len(asked[A]) == len(asked[B]) == BODY_WINDOW // 2
    for header in reversed(chain[:BODY_WINDOW]):
        assert sync.next_block(0) is None
        assert sync.on_block(body(header), B)
    imported = [sync.next_block(0)[0].header for _ in range(BODY_WINDOW)]
    assert imported == list(chain[:BODY_WINDOW])
    assert sync.next_block(0) is None
    assert sync.target_height == 200


def test_headers_that_do_not_link_are_a_fault(sync):
    chain = grow(GENESIS, 5)
    with pytest.raises(BrokenHeaders, match="parent is unknown"):
        sync.on_headers(A, chain[1:], 0, is_known=known())
    with pytest.raises(BrokenHeaders, match="no link at height 5"):
        sync.on_headers(A, (*chain[:3], chain[4]), 0, is_known=known())
    assert not sync.is_active


def test_a_second_message_goes_on_where_the_first_ended(sync):
    chain = grow(GENESIS, 10)
    sync.on_headers(A, chain[:5], 0, is_known=known())
    assert sync.on_headers(A, chain[5:], 0, is_known=known()) == (chain[-1].hash,)
    assert sync.target_height == 10
    assert sync.on_headers(A, chain, 0, is_known=known()) == ()


def test_another_branch_replaces_the_skeleton(sync, bodies):
    one, other = grow(GENESIS, 5), grow(GENESIS, 8, salt=1)
    sync.on_headers(A, one, 0, is_known=known())
    sync.want_bodies([A])
    sync.on_headers(B, other, 0, is_known=known())
    assert sync.target_height == 8
    assert not sync.on_block(body(one[0]), A)
    assert one[0].hash not in bodies


def test_only_one_header_request_is_open_until_it_times_out(sync):
    assert sync.may_ask(A, 0)
    assert not sync.may_ask(B, HEADERS_TIMEOUT_MS - 1)
    assert sync.may_ask(B, HEADERS_TIMEOUT_MS)
    assert sync.expects(B)
    assert not sync.expects(A)
    sync.lost(B)
    assert not sync.is_active


def test_what_arrived_by_another_way_is_skipped(sync, bodies):
    chain = grow(GENESIS, 3)
    sync.on_headers(A, chain, 0, is_known=known())
    sync.want_bodies([A])
    sync.skip_known(known(*chain[:2]))
    assert chain[0].hash not in bodies
    sync.on_block(body(chain[2]), A)
    assert sync.next_block(0)[0].header == chain[2]
    assert not sync.is_active


def test_a_skeleton_without_bodies_is_given_up_and_its_sender_named(sync):
    chain = grow(GENESIS, 3)
    sync.on_headers(A, chain, 1_000, is_known=known())
    sync.on_block(body(chain[0]), B)
    assert sync.next_block(9_000)[0].header == chain[0]
    assert sync.give_up_stalled(9_000 + STALL_MS - 1) is None
    assert sync.give_up_stalled(9_000 + STALL_MS) == A
    assert not sync.is_active
    assert sync.give_up_stalled(10**9) is None
