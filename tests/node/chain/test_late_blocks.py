"""Blocks that come too late for their gate, by one member's clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.block import Header
from ledger.chain import Chain
from ledger.genesis import Genesis
from ledger.params import ConsensusParams
from ledger.store import MemoryStore
from node.chain.late_blocks import GateWatch
from simulation.world.networks import make_network

# periods of 20 s, gates two periods before delivery, deadlines at its start
GATE_MS = 40_000
FIRST = Chain(make_network().genesis, MemoryStore()).head.header


def make_genesis(tolerance_ms: int = 1_000, kind: str = "trading") -> Genesis:
    genesis = make_network(consensus=ConsensusParams(gate_tolerance_ms=tolerance_ms)).genesis
    return genesis.model_copy(update={"params": genesis.params.model_copy(update={"kind": kind})})


def make_header(genesis: Genesis, dated_ms: int, height: int = 5) -> Header:
    return replace(FIRST, timestamp_ms=genesis.time_ms + dated_ms, height=height)


@pytest.mark.parametrize(
    ("dated_ms", "seen_ms", "is_late"),
    [
        (GATE_MS - 1, GATE_MS + 1_000, False),
        (GATE_MS - 1, GATE_MS + 1_001, True),
        (GATE_MS - 19_000, GATE_MS + 1_001, True),
        (GATE_MS, GATE_MS + 5_000, False),  # it is after this gate, and the next is to come
        (GATE_MS - 1, GATE_MS - 1, False),
    ],
)
def test_a_block_dated_before_a_gate_is_late_once_the_tolerance_is_over(dated_ms, seen_ms, is_late):
    genesis = make_genesis()
    watch = GateWatch(genesis)
    header = make_header(genesis, dated_ms)
    assert watch.is_late(header, genesis.time_ms + seen_ms) is is_late
    assert watch.list_late(genesis.time_ms + seen_ms) == ([(header.hash, 5)] if is_late else [])


def test_an_announcement_in_time_binds_what_the_block_holds():
    genesis = make_genesis()
    watch, header = GateWatch(genesis), make_header(genesis, GATE_MS - 1)
    watch.note(header, genesis.time_ms + GATE_MS + 900)
    watch.note(header, genesis.time_ms + GATE_MS + 2_000)
    assert not watch.is_late(header, genesis.time_ms + GATE_MS + 9_000)


def test_of_several_that_a_producer_announces_on_one_parent_the_first_alone_is_in_time():
    """Else it would choose after the gate; under PBFT a header costs nothing."""
    genesis = make_genesis()
    watch = GateWatch(genesis)
    first, second = make_header(genesis, GATE_MS - 2), make_header(genesis, GATE_MS - 1)
    other = replace(second, producer=b"\x01" * 32)
    for header in (first, second, other):
        watch.note(header, genesis.time_ms + GATE_MS - 1)
    assert [watch.is_late(one, genesis.time_ms + GATE_MS + 5_000) for one in (first, second, other)] == [
        False,
        True,
        False,
    ]


def test_one_producer_does_not_have_the_announcements_of_others_forgotten():
    genesis = make_genesis()
    watch, header = GateWatch(genesis), make_header(genesis, GATE_MS - 1)
    watch.note(header, genesis.time_ms + GATE_MS)
    for nonce in range(200):
        watch.note(replace(header, producer=b"\x01" * 32, nonce=nonce), genesis.time_ms + GATE_MS)
    assert not watch.is_late(header, genesis.time_ms + GATE_MS + 5_000)


def test_what_was_shown_at_a_gate_before_its_start_a_node_cannot_tell():
    genesis = make_genesis()
    watch = GateWatch(genesis)
    watch.begin(genesis.time_ms + GATE_MS + 1)
    assert not watch.is_late(make_header(genesis, GATE_MS - 1), genesis.time_ms + GATE_MS + 5_000)
    assert watch.is_late(make_header(genesis, GATE_MS + 19_999), genesis.time_ms + GATE_MS + 25_000)


def test_after_the_deadline_the_period_is_void_and_the_block_is_one_like_any_other():
    genesis = make_genesis()
    watch, header = GateWatch(genesis), make_header(genesis, GATE_MS - 1)
    assert watch.is_late(header, genesis.time_ms + GATE_MS + 2_000)
    assert watch.list_late(genesis.time_ms + GATE_MS + 39_999) == [(header.hash, 5)]
    assert watch.list_late(genesis.time_ms + GATE_MS + 40_000) == []


@pytest.mark.parametrize("genesis", [make_genesis(tolerance_ms=0), make_genesis(kind="scheduling")])
def test_without_a_tolerance_and_on_other_chains_nothing_is_late(genesis):
    watch = GateWatch(genesis)
    assert watch.find_next_ms(genesis.time_ms) is None
    assert not watch.is_late(make_header(genesis, GATE_MS - 1), genesis.time_ms + 10**7)


def test_the_next_gate_is_later_than_now():
    genesis = make_genesis()
    watch = GateWatch(genesis)
    assert [watch.find_next_ms(genesis.time_ms + at_ms) - genesis.time_ms for at_ms in (0, 1, 19_999, 20_000)] == [
        20_000,
        20_000,
        20_000,
        40_000,
    ]


def test_only_so_many_are_remembered():
    genesis = make_genesis()
    watch = GateWatch(genesis)
    for height in range(100):
        assert watch.is_late(make_header(genesis, GATE_MS - 1, height), genesis.time_ms + GATE_MS + 2_000)
    assert [height for _, height in watch.list_late(genesis.time_ms + GATE_MS)] == list(range(36, 100))
