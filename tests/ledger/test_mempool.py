"""The pool of pending transactions against a list, and every reason why it refuses one."""

from functools import cache

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.errors import (
    AlreadyKnown,
    GridmeritError,
    PoolFull,
    SenderQuotaFull,
    SequenceGapTooWide,
    SequenceTaken,
    SequenceTooLow,
)
from ledger.mempool import Mempool, MempoolLimits
from ledger.transaction import make_transaction
from tests.support.keys import key_of

SENDERS = ("anna", "bert", "cleo")


@cache
def tx(sender, sequence, expiry=100, note=0):
    """A transaction; the note tells two with one sequence number apart."""
    return make_transaction(
        key_of(sender),
        chain_id=b"\xc1" * 32,
        sequence=sequence,
        expiry_height=expiry,
        kind="transfer",
        payload=(note,),
    )


def filled(*transactions, **limits):
    pool = Mempool(MempoolLimits(**limits))
    for transaction in transactions:
        pool.add(transaction, next_sequence=0)
    return pool


def in_order(pool, **spent):
    """(sender, sequence) of the candidates, where `spent` gives the state's next sequences."""
    names = {tx(name, 0).sender: name for name in SENDERS}
    found = pool.candidates(lambda sender: spent.get(names[sender], 0))
    return [(names[transaction.sender], transaction.sequence) for transaction in found]


# --- reasons to refuse -----------------------------------------------------------------------------


def test_each_refusal_is_named_and_leaves_the_pool_as_it_was():
    full = {"max_count": 4, "max_bytes": 10_000, "max_per_sender": 3}
    pool = filled(tx("anna", 5), tx("anna", 6), **{**full, "max_per_sender": 10})
    cases = [
        (AlreadyKnown, tx("anna", 5), 5, {"transaction_id": tx("anna", 5).id.hex()}),
        (SequenceTooLow, tx("anna", 4), 5, {"expected": 5, "actual": 4}),
        (SequenceTaken, tx("anna", 5, note=1), 5, {"sequence": 5}),
        (SequenceGapTooWide, tx("anna", 15), 5, {"expected": 5, "actual": 15, "limit": 10}),
    ]
    for error, transaction, next_sequence, values in cases:
        with pytest.raises(error) as caught:
            pool.add(transaction, next_sequence=next_sequence)
        assert caught.value.values == values
        assert list(pool) == [tx("anna", 5), tx("anna", 6)]
    pool.add(tx("anna", 14), next_sequence=5)


def test_a_pool_is_full_by_count():
    pool = filled(tx("anna", 0), tx("bert", 0), max_count=2)
    with pytest.raises(PoolFull) as caught:
        pool.add(tx("cleo", 0), next_sequence=0)
    assert caught.value.values == {"count": 2, "size": pool.size_bytes}
    assert "the mempool is full (2 transactions, " in str(caught.value)


def test_a_pool_is_full_by_bytes():
    size = len(tx("anna", 0).raw)
    pool = filled(tx("anna", 0), max_bytes=2 * size)
    pool.add(tx("bert", 0), next_sequence=0)
    assert pool.size_bytes == 2 * size
    with pytest.raises(PoolFull):
        pool.add(tx("cleo", 0), next_sequence=0)
    pool.remove([tx("anna", 0).id])
    pool.add(tx("cleo", 0), next_sequence=0)
    with pytest.raises(PoolFull):
        filled(tx("anna", 0), max_bytes=size - 1)


def test_a_sender_has_a_quota_even_when_its_sequence_falls_back():
    """After a reorg the state's next sequence is lower, while the pool still holds the run above it."""
    pool = Mempool(MempoolLimits(max_per_sender=3))
    for sequence in (10, 11, 12):
        pool.add(tx("anna", sequence), next_sequence=10)
    with pytest.raises(SenderQuotaFull) as caught:
        pool.add(tx("anna", 9), next_sequence=9)
    assert caught.value.values == {"limit": 3, "unit": "transactions"}
    pool.add(tx("bert", 0), next_sequence=0)


def test_no_sender_can_fill_the_pool():
    """Transactions whose first one is missing would otherwise stay, at no cost, until they expire."""
    size = len(tx("anna", 1).raw)
    pool = filled(tx("anna", 1), tx("anna", 2), max_bytes=4 * size, max_bytes_per_sender=2 * size)
    with pytest.raises(SenderQuotaFull) as caught:
        pool.add(tx("anna", 3), next_sequence=0)
    assert str(caught.value) == f"this sender would have more than {2 * size} bytes of transactions pending"
    pool.add(tx("bert", 0), next_sequence=0)
    pool.remove([tx("anna", 2).id])
    pool.add(tx("anna", 3), next_sequence=0)


def test_what_was_refused_or_removed_can_be_sent_again():
    pool = filled(tx("anna", 0), max_count=1)
    with pytest.raises(PoolFull):
        pool.add(tx("bert", 0), next_sequence=0)
    pool.remove([tx("anna", 0).id, tx("cleo", 0).id])  # the second was never there
    assert (len(pool), pool.size_bytes) == (0, 0)
    pool.add(tx("bert", 0), next_sequence=0)
    pool.remove([tx("bert", 0).id])
    pool.add(tx("anna", 0), next_sequence=0)
    assert pool.get(tx("anna", 0).id) == tx("anna", 0)
    assert pool.get(tx("bert", 0).id) is None


# --- order -----------------------------------------------------------------------------------------


def test_senders_take_turns_by_their_oldest_arrival_each_with_an_unbroken_run():
    pool = filled(
        tx("bert", 1), tx("anna", 0), tx("cleo", 3), tx("bert", 0), tx("anna", 2), tx("anna", 1), tx("cleo", 2)
    )
    assert in_order(pool) == [("bert", 0), ("anna", 0), ("bert", 1), ("anna", 1), ("anna", 2)]
    assert in_order(pool, bert=1, anna=2, cleo=2) == [("bert", 1), ("anna", 2), ("cleo", 2), ("cleo", 3)]
    assert in_order(pool, bert=2, anna=9) == []


def test_a_gap_is_closed_by_the_transaction_that_was_missing():
    pool = filled(tx("anna", 1), tx("anna", 2))
    assert in_order(pool) == []
    assert pool.next_sequence(tx("anna", 0).sender, 0) == 0
    pool.add(tx("anna", 0), next_sequence=0)
    assert in_order(pool) == [("anna", 0), ("anna", 1), ("anna", 2)]
    assert pool.next_sequence(tx("anna", 0).sender, 0) == 3
    assert pool.next_sequence(tx("bert", 0).sender, 7) == 7


def test_what_is_spent_or_expired_is_dropped():
    pool = filled(tx("anna", 0), tx("anna", 1), tx("bert", 0, expiry=4), tx("bert", 1, expiry=5), tx("cleo", 0))
    stale = pool.drop_stale(height=5, spent=lambda sender: 1 if sender == tx("anna", 0).sender else 0)
    assert set(stale) == {tx("anna", 0), tx("bert", 0, expiry=4)}
    assert set(pool) == {tx("anna", 1), tx("bert", 1, expiry=5), tx("cleo", 0)}
    assert pool.drop_stale(height=5, spent=lambda sender: 0) == ()


# --- against a list --------------------------------------------------------------------------------

LIMITS = MempoolLimits(max_count=7, max_bytes=1_400, max_per_sender=4, max_bytes_per_sender=700)


class PoolMachine(RuleBasedStateMachine):
    """Everything the pool does, done to a plain list in order of arrival."""

    @initialize()
    def start(self):
        self.pool = Mempool(LIMITS)
        self.pending = []
        self.spent = dict.fromkeys(SENDERS, 0)
        self.names = {tx(name, 0).sender: name for name in SENDERS}
        self.height = 1

    def of(self, name):
        return [one for one in self.pending if one.sender == tx(name, 0).sender]

    def reason(self, name, one):
        """The error that adding this one ought to raise, None where it fits."""
        sequences = [other.sequence for other in self.of(name)]
        if one in self.pending:
            return AlreadyKnown
        if one.sequence < self.spent[name]:
            return SequenceTooLow
        if one.sequence >= self.spent[name] + LIMITS.max_per_sender:
            return SequenceGapTooWide
        if one.sequence in sequences:
            return SequenceTaken
        own = sum(len(other.raw) for other in self.of(name))
        if len(sequences) >= LIMITS.max_per_sender or own + len(one.raw) > LIMITS.max_bytes_per_sender:
            return SenderQuotaFull
        size = sum(len(other.raw) for other in self.pending)
        if len(self.pending) >= LIMITS.max_count or size + len(one.raw) > LIMITS.max_bytes:
            return PoolFull
        return None

    @rule(name=st.sampled_from(SENDERS), step=st.integers(-1, 5), life=st.integers(0, 4), note=st.integers(0, 1))
    def add(self, name, step, life, note):
        one = tx(name, max(0, self.spent[name] + step), self.height + life, note)
        expected = self.reason(name, one)
        if expected is None:
            self.pool.add(one, next_sequence=self.spent[name])
            self.pending.append(one)
            return
        with pytest.raises(GridmeritError) as caught:
            self.pool.add(one, next_sequence=self.spent[name])
        assert caught.type is expected

    @rule(picks=st.lists(st.integers(0, 9), max_size=3))
    def remove(self, picks):
        gone = [self.pending[pick] for pick in picks if pick < len(self.pending)]
        self.pool.remove([*(one.id for one in gone), b"?" * 32])
        self.pending = [one for one in self.pending if one not in gone]

    @rule(name=st.sampled_from(SENDERS), step=st.integers(-2, 3))
    def move_sequence(self, name, step):
        """A block spends sequences; a reorg gives some back."""
        self.spent[name] = max(0, self.spent[name] + step)

    @rule(blocks=st.integers(0, 2))
    def drop_stale(self, blocks):
        self.height += blocks
        gone = [
            one
            for one in self.pending
            if one.sequence < self.spent[self.names[one.sender]] or one.expiry_height < self.height
        ]
        dropped = self.pool.drop_stale(height=self.height, spent=lambda sender: self.spent[self.names[sender]])
        assert sorted(one.id for one in dropped) == sorted(one.id for one in gone)
        self.pending = [one for one in self.pending if one not in gone]

    @invariant()
    def holds_what_the_list_holds(self):
        assert list(self.pool) == self.pending
        assert len(self.pool) == len(self.pending) <= LIMITS.max_count
        assert self.pool.size_bytes == sum(len(one.raw) for one in self.pending) <= LIMITS.max_bytes
        assert all(one.id in self.pool and self.pool.get(one.id) is one for one in self.pending)

    @invariant()
    def offers_the_runs_that_the_list_has(self):
        runs = []
        for sender in dict.fromkeys(one.sender for one in self.pending):
            name = self.names[sender]
            by_sequence = {one.sequence: one for one in self.of(name)}
            sequence = self.spent[name]
            runs.append([])
            while sequence in by_sequence:
                runs[-1].append(by_sequence[sequence])
                sequence += 1
            assert self.pool.next_sequence(sender, self.spent[name]) == sequence
        expected = [run[turn] for turn in range(LIMITS.max_count) for run in runs if turn < len(run)]
        assert self.pool.candidates(lambda sender: self.spent[self.names[sender]]) == expected
        assert self.pool.has_candidate(lambda sender: self.spent[self.names[sender]]) == bool(expected)


TestPoolAgainstAList = PoolMachine.TestCase
TestPoolAgainstAList.settings = settings(max_examples=60, stateful_step_count=40)
