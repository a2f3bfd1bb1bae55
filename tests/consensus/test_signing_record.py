"""The guard: whatever happens in between, no key seals twice on a parent or signs two statements for a slot."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consensus.pbft.record import PbftRecord
from consensus.quorum import Statement
from consensus.signing_record import VOID, SigningRecord
from ledger.codec import decode, encode
from ledger.errors import TooLarge, WrongShape

KEPT = 256
NONE = PbftRecord().to_value()


def parent(number):
    return number.to_bytes(32, "big")


def statement(slot, version=0):
    return Statement(chain_id=b"\xc1" * 32, slot=slot, block_hash=parent(version))


def restarted(record):
    """The record as a process finds it that reads it from disk."""
    return SigningRecord.from_value(decode(encode(record.to_value()), max_bytes=100_000))


def test_a_fresh_guard_permits_everything():
    assert SigningRecord().may_seal_on(parent(1))
    assert SigningRecord().may_sign(statement(0))
    assert restarted(SigningRecord()) == SigningRecord()


def test_one_seal_per_parent():
    record = SigningRecord().after_seal(height=5, parent=parent(1))
    assert record.height == 5
    assert not record.may_seal_on(parent(1))
    assert record.may_seal_on(parent(2))
    assert restarted(record) == record
    with pytest.raises(AssertionError):
        record.after_seal(height=5, parent=parent(1))


def test_one_statement_per_slot_though_it_may_be_repeated():
    record = SigningRecord().after_vote(statement(3))
    assert record.may_sign(statement(3))
    assert not record.may_sign(statement(3, version=1))
    assert not record.may_sign(replace(statement(3), chain_id=b"\xc2" * 32))
    assert not record.may_sign(replace(statement(3), since_slot=2)), "nor the same as one of other voters"
    assert record.may_sign(statement(2))
    assert record.may_sign(statement(4, version=1))
    assert record.after_vote(statement(3)) == record
    with pytest.raises(AssertionError):
        record.after_vote(statement(3, version=1))


def test_the_height_falls_only_with_the_head():
    record = SigningRecord().after_seal(height=9, parent=parent(1))
    assert record.after_head(12).height == 9
    assert record.after_head(7).height == 7
    assert not record.after_head(7).may_seal_on(parent(1))


def test_a_slot_too_old_to_be_remembered_is_refused():
    record = SigningRecord()
    for slot in range(10, 10 + KEPT):
        record = record.after_vote(statement(slot))
    assert len(record.votes) == KEPT
    assert record.may_sign(statement(10))
    assert not record.may_sign(statement(9))
    record = record.after_vote(statement(1_000))
    assert len(record.votes) == KEPT
    assert not record.may_sign(statement(10))
    assert not record.may_sign(statement(10, version=1))
    assert record.may_sign(statement(999))


def test_parents_are_bounded():
    record = SigningRecord()
    for number in range(KEPT + 10):
        record = record.after_seal(height=number, parent=parent(number))
    assert len(record.parents) == KEPT
    assert restarted(record) == record
    assert [record.may_seal_on(parent(number)) for number in (9, 10, KEPT + 9)] == [True, False, False]


def test_an_agreement_is_remembered_beside_everything_else():
    agreement = PbftRecord(height=5).after_view_change(2).after_prepare(2, parent(7))
    record = replace(SigningRecord().after_vote(statement(3)), agreement=agreement)
    assert restarted(record) == record
    assert restarted(record.after_head(2)).agreement == agreement


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, WrongShape),
        ((), WrongShape),
        ((0, ()), WrongShape),
        ((0, (), ()), WrongShape),
        ((-1, (), (), NONE, 0), WrongShape),
        ((0, (bytes(31),), (), NONE, 0), WrongShape),
        ((0, (), ((1,),), NONE, 0), WrongShape),
        ((0, (), ((1, bytes(31)),), NONE, 0), WrongShape),
        ((0, (), ((b"1", bytes(32)),), NONE, 0), WrongShape),
        ((0, (), ((2, bytes(32)), (1, bytes(32))), NONE, 0), WrongShape),
        ((0, (), ((1, bytes(32)), (1, bytes(32))), NONE, 0), WrongShape),
        ((0, (bytes(32),) * (KEPT + 1), (), NONE, 0), TooLarge),
        ((0, (), tuple((number, bytes(32)) for number in range(KEPT + 1)), NONE, 0), TooLarge),
        ((0, (), (), None, 0), WrongShape),
        ((0, (), (), NONE), WrongShape),
        ((0, (), (), NONE, -1), WrongShape),
        ((0, (), (), (1, 0, bytes(31), (), None), 0), WrongShape),
    ],
)
def test_a_record_that_no_guard_wrote_is_refused(value, error):
    with pytest.raises(error):
        SigningRecord.from_value(value)


class GuardMachine(RuleBasedStateMachine):
    """A signer that asks its guard, restarts and follows reorgs, beside a list of all it ever signed."""

    @initialize()
    def start(self):
        self.record = SigningRecord()
        self.sealed = []
        self.signed = {}

    @rule(number=st.integers(0, 40), height=st.integers(0, 50))
    def seal(self, number, height):
        if self.record.may_seal_on(parent(number)):
            self.record = self.record.after_seal(height=height, parent=parent(number))
            self.sealed.append(number)

    @rule(slot=st.integers(0, 12) | st.integers(0, 600), version=st.integers(0, 2))
    def sign(self, slot, version):
        if self.record.may_sign(statement(slot, version)):
            self.record = self.record.after_vote(statement(slot, version))
            self.signed.setdefault(slot, set()).add(version)

    @rule(first=st.integers(0, 400))
    def sign_many(self, first):
        """Enough slots in a row to push old ones out."""
        for slot in range(first, first + 120):
            self.sign(slot=slot, version=first % 3)

    @rule(height=st.integers(0, 50))
    def move_head(self, height):
        self.record = self.record.after_head(height)

    @rule()
    def restart(self):
        self.record = restarted(self.record)

    @invariant()
    def nothing_was_signed_twice(self):
        assert len(self.sealed) == len(set(self.sealed))
        assert all(len(versions) == 1 for versions in self.signed.values())
        assert len(self.record.votes) <= KEPT


TestGuardNeverSignsTwice = GuardMachine.TestCase
TestGuardNeverSignsTwice.settings = settings(max_examples=40, stateful_step_count=30)


def test_what_was_signed_under_a_clock_that_was_ahead_is_void_and_never_signed_again():
    early = [statement(slot) for slot in (3, 4, 900, 901)]
    record = SigningRecord()
    for one in early:
        record = record.after_vote(one)
    kept = record.after_clock(4)
    assert [digest == VOID for _, digest in kept.votes] == [False, False, True, True]
    assert [kept.may_sign(one) for one in early] == [True, True, False, False]
    assert kept.may_sign(statement(5)), "time has not stopped"
    assert kept.after_clock(4) is kept
    assert kept.after_clock(2_000) is kept
    assert SigningRecord.from_value(kept.to_value()) == kept


def test_what_is_void_is_no_strangers():
    """Else a peer that has kept such a vote could silence its signer with it, for as long as nothing becomes final."""
    kept = SigningRecord().after_vote(statement(900)).after_clock(4)
    assert kept.knows_statement(statement(900))
    assert not kept.knows_statement(statement(5))
