"""The record of checkpoints in the state: the first block of each slot, its hash a block later, and what is final."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoints import (
    Checkpoint,
    compute_slot,
    get_certified_height,
    get_checkpoints,
    get_undecided,
    mark_certified,
    update_checkpoints,
)
from ledger.overlay import Overlay
from ledger.params import ChainParams, ConsensusParams, LedgerParams
from ledger.results import NOTHING, Result, compute_digest, drop_result, put_result
from ledger.state import State

SLOT_MS = 250  # four in a period of a second


def make_params(**consensus):
    return ChainParams(name="JY1", ledger=LedgerParams(period_ms=1_000), consensus=ConsensusParams(**consensus))


def hash_at(height):
    return height.to_bytes(32, "big")


class Record:
    """A chain of blocks of which only the checkpoints are kept."""

    def __init__(self, **consensus):
        self.params = make_params(**consensus)
        self.view = Overlay(State.empty())
        self.height = 0

    def add(self, elapsed_ms):
        self.height += 1
        parent = hash_at(self.height - 1)
        update_checkpoints(self.view, self.params, parent=parent, height=self.height, elapsed_ms=elapsed_ms)
        return get_checkpoints(self.view)

    def certify(self, slot):
        mark_certified(self.view, next(item for item in get_checkpoints(self.view) if item.slot == slot))

    @property
    def undecided(self):
        return [item.slot for item in get_undecided(self.view)]


@pytest.mark.parametrize(
    ("per_period", "elapsed_ms", "slot"),
    [(1, 0, 0), (1, 999, 0), (1, 1_000, 1), (4, 249, 0), (4, 250, 1), (4, 1_000, 4), (3, 333, 0), (3, 334, 1)],
)
def test_a_period_is_divided_into_slots(per_period, elapsed_ms, slot):
    assert compute_slot(elapsed_ms, make_params(checkpoints_per_period=per_period)) == slot


def test_a_chain_begins_without_a_checkpoint():
    record = Record()
    for elapsed_ms in (0, 100, 249):
        assert record.add(elapsed_ms) == ()
    assert get_certified_height(record.view) == 0


def test_the_first_block_of_a_slot_opens_it_and_the_next_one_names_it():
    record = Record()
    assert record.add(240) == ()
    assert record.add(260) == (Checkpoint(slot=1, height=2),)
    assert record.add(270) == (Checkpoint(slot=1, height=2, block_hash=hash_at(2)),)
    assert record.add(499) == (Checkpoint(slot=1, height=2, block_hash=hash_at(2)),)
    assert record.add(500) == (Checkpoint(1, 2, hash_at(2)), Checkpoint(slot=2, height=5))


def test_a_block_may_name_one_checkpoint_and_open_the_next():
    record = Record()
    record.add(250)
    assert record.add(500) == (Checkpoint(1, 1, hash_at(1)), Checkpoint(2, 2))


def test_slots_without_blocks_have_no_checkpoint_and_time_that_steps_back_opens_none():
    record = Record()
    record.add(250)
    assert [item.slot for item in record.add(800)] == [1, 3]
    assert [item.slot for item in record.add(740)] == [1, 3]
    assert [item.slot for item in record.add(1_000)] == [1, 3, 4]


@pytest.mark.parametrize("lifetime", [1, 2, 4, 64])
def test_only_the_last_slots_are_kept(lifetime):
    record = Record(checkpoint_lifetime=lifetime)
    for slot in range(1, 71):
        kept = record.add(slot * SLOT_MS)
        assert [item.slot for item in kept] == list(range(max(1, slot - lifetime + 1), slot + 1))
        assert record.undecided == [item.slot for item in kept]


def test_a_certificate_decides_its_checkpoint_and_all_before_it():
    record = Record()
    for slot in (1, 2, 3):
        record.add(slot * SLOT_MS)
    record.certify(2)
    assert [item.is_certified for item in get_checkpoints(record.view)] == [False, True, False]
    assert (get_certified_height(record.view), record.undecided) == (2, [3])
    record.add(4 * SLOT_MS)
    assert [item.is_certified for item in get_checkpoints(record.view)] == [False, True, False, False]
    assert record.undecided == [3, 4]
    record.certify(4)
    assert [item.is_certified for item in get_checkpoints(record.view)] == [False, True, False, True]
    assert (get_certified_height(record.view), record.undecided) == (4, [])


def test_the_certified_height_outlives_the_checkpoint():
    record = Record(checkpoint_lifetime=2)
    record.add(SLOT_MS)
    record.certify(1)
    for slot in (5, 6):
        record.add(slot * SLOT_MS)
    assert [item.slot for item in get_checkpoints(record.view)] == [5, 6]
    assert (get_certified_height(record.view), record.undecided) == (1, [5, 6])


@given(
    st.lists(st.tuples(st.integers(-300, 1_500), st.booleans()), max_size=60),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_slots_rise_one_block_each_and_finality_never_falls(steps, per_period, lifetime):
    record = Record(checkpoints_per_period=per_period, checkpoint_lifetime=lifetime)
    elapsed_ms, seen, certified = 0, {}, 0
    for step_ms, certify in steps:
        elapsed_ms = max(0, elapsed_ms + step_ms)
        kept = record.add(elapsed_ms)
        for item in kept:
            assert seen.setdefault(item.slot, item.height) == item.height, "a slot has one checkpoint for ever"
            assert item.block_hash == (hash_at(item.height) if item.height < record.height else b"")
        assert [item.slot for item in kept] == sorted({item.slot for item in kept})
        assert [item.height for item in kept] == sorted({item.height for item in kept})
        if kept:
            newest = kept[-1].slot
            assert newest == max(seen) >= compute_slot(elapsed_ms, record.params)
            assert {item.slot for item in kept} == {slot for slot in seen if slot > newest - lifetime}
        if certify and record.undecided:
            record.certify(record.undecided[0])
        assert get_certified_height(record.view) >= certified
        certified = get_certified_height(record.view)
        assert all(item.height > certified for item in get_undecided(record.view))


def test_a_checkpoint_is_named_with_what_waited_after_it():
    result = Result(9, 2, bytes(32))
    record = Record()
    record.add(250)
    put_result(record.view, result)  # in the block that opens the slot
    assert record.add(260) == (Checkpoint(1, 1, hash_at(1), result=compute_digest([result])),)
    drop_result(record.view, 9)
    assert record.add(270)[-1].result == compute_digest([result]), "what came later is another checkpoint's"
    record.add(500)
    assert record.add(510)[-1].result == NOTHING
