"""A node that catches up does a bounded work in each step, and asks for the next one itself."""

from dataclasses import replace

import pytest

from ledger.block import Block, compute_tx_root
from node.chain import catching_up
from node.chain import messages as wire
from node.chain.catching_up import CATCH_UP, STEP_BLOCKS, STEP_BYTES
from node.chain.events import MessageReceived, SetTimer, TimerFired
from node.chain.importer import STEP_SIGNATURES, Placed, Unfinished
from node.chain.progress import ImportBodies
from tests.support.far_behind import PEER, Behind, FarAhead

SMALL, LARGE = 8, 1_200  # transactions


@pytest.fixture(scope="module")
def ahead():
    """Small blocks, and then some that hold more than a step has room for."""
    return FarAhead((SMALL,) * 4 + (300, LARGE, 300, SMALL))


@pytest.fixture
def behind(ahead):
    return Behind(ahead)


def size_of(entry):
    return sum(len(transaction.raw) for transaction in entry.block.transactions)


def find_large(ahead):
    return next(entry for entry in map(ahead.entry, range(1, ahead.height)) if size_of(entry) > STEP_BYTES)


def written_by(entry):
    return sum(len(key) + len(value or b"") for key, value in entry.execution.delta.changes.items())


def catch_up(behind):
    """The blocks that each step has imported, and the signatures that it has checked, until there are no more."""
    node, steps = behind.node, []
    event = MessageReceived(peer=PEER, message=behind.fetch_bodies())
    while node.chain.head.height < behind.ahead.height:
        height, checked = node.chain.head.height, len(node._importer._envelopes)
        actions = behind.step(event)
        entries = [behind.ahead.entry(above) for above in range(height + 1, node.chain.head.height + 1)]
        steps.append((entries, len(node._importer._envelopes) - checked))
        if node.chain.head.height < behind.ahead.height:
            assert SetTimer(name=CATCH_UP, at_ms=behind.ahead.now_ms) in actions, "it goes on by itself"
        event = TimerFired(name=CATCH_UP)
    return steps


def test_a_step_imports_so_many_bytes_or_one_block(behind):
    steps = [entries for entries, _ in catch_up(behind)]
    for entries in steps:
        assert len(entries) <= STEP_BLOCKS
        assert len(entries) == 1 or sum(map(size_of, entries)) <= STEP_BYTES
    assert max(map(len, steps)) == STEP_BLOCKS, "small ones share a step, and its write"
    assert max(size_of(entry) for entries in steps for entry in entries) > STEP_BYTES


def test_the_signatures_of_a_large_block_are_checked_in_steps_before_its_own(behind):
    steps = catch_up(behind)
    assert max(checked for _, checked in steps) <= STEP_SIGNATURES
    for entries, checked in steps:
        assert checked == 0 or not entries or sum(map(size_of, entries)) <= STEP_BYTES
    assert sum(checked for _, checked in steps) == sum(
        len(entry.block.transactions) for entries, _ in steps for entry in entries
    )


def test_the_signatures_of_a_large_block_that_comes_by_itself_are_checked_in_steps_too(behind):
    importer = behind.node._importer
    most = 0
    for height in range(1, behind.ahead.height + 1):
        block, steps, checked = behind.ahead.entry(height).block, 0, len(importer._envelopes)
        while (outcome := importer.judge(block, PEER, behind.ahead.now_ms, is_due=True)) == Unfinished():
            assert len(importer._envelopes) - checked == STEP_SIGNATURES
            steps, checked = steps + 1, len(importer._envelopes)
        assert isinstance(outcome, Placed)
        assert steps == len(block.transactions) // STEP_SIGNATURES
        most = max(most, steps)
    assert most, "one of them is that large"


def test_what_blocks_write_counts_as_what_is_in_them_does(monkeypatch):
    """Orders change more than they hold; a market's deadlines change much in a block that holds nothing."""
    ahead = FarAhead((16,) * 4, "intention")
    entries = [ahead.entry(height) for height in range(1, ahead.height + 1)]
    room = sum(map(size_of, entries[:4])) + written_by(entries[0])
    for was_syncing in (False, True):
        monkeypatch.setitem(catching_up._BEGIN, was_syncing, ImportBodies(STEP_BLOCKS, room, was_syncing))
    for imported, _ in catch_up(Behind(ahead)):
        *before, last = imported
        assert sum(map(size_of, before)) + size_of(last) + sum(map(written_by, before)) <= room
        assert len(imported) < 4


def test_bodies_that_are_much_to_read_are_imported_from_the_next_step_on(behind):
    first = behind.fetch_bodies()
    large = next(
        entry for entry in map(behind.ahead.entry, range(1, behind.ahead.height)) if size_of(entry) > STEP_BYTES
    )
    actions = behind.step(MessageReceived(peer=PEER, message=wire.Blocks(raw=(*first.raw, large.block.raw))))
    assert behind.node.chain.head.height == 0
    assert SetTimer(name=CATCH_UP, at_ms=behind.ahead.now_ms) in actions


def test_a_large_body_that_is_not_its_headers_is_refused_before_a_signature_is_checked(behind):
    entry = next(
        entry for entry in map(behind.ahead.entry, range(1, behind.ahead.height)) if size_of(entry) > STEP_BYTES
    )
    other = Block(header=entry.header, transactions=entry.block.transactions[:-1])
    importer = behind.node._importer
    assert importer.prepare(other), "there is nothing to wait for"
    assert len(importer._envelopes) == 0


def test_a_bad_signature_in_a_large_body_is_left_to_the_judgement(behind):
    entry = next(
        entry for entry in map(behind.ahead.entry, range(1, behind.ahead.height)) if size_of(entry) > STEP_BYTES
    )
    good = entry.block.transactions
    bad = replace(good[3], signature=bytes(64))
    transactions = (*good[:3], bad, *good[4:])
    header = replace(entry.header, tx_root=compute_tx_root(transactions))
    assert behind.node._importer.prepare(Block(header=header, transactions=transactions))
    assert bad not in behind.node._importer._envelopes
