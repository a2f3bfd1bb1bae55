"""A step's writes are joined into fewer batches, and nothing waits for less than it did."""

from consensus.signing_record import SigningRecord
from node.chain.events import Persist, PersistSigningRecord, Publish
from node.driver.chain_driver import join_writes


def persist(*names):
    return Persist(changes=[(name, b"") for name in names])


HEAD, GUARD = Publish(event=("head",)), PersistSigningRecord(record=SigningRecord())


def test_a_batch_takes_along_those_that_follow_it():
    assert join_writes([persist(b"a"), HEAD, persist(b"b", b"c"), HEAD]) == [persist(b"a", b"b", b"c"), HEAD, HEAD]


def test_the_last_change_to_a_key_still_wins():
    (joined,) = join_writes([persist(b"a"), Persist(changes=[(b"a", None)])])
    assert joined.changes == [(b"a", b""), (b"a", None)]


def test_no_write_overtakes_the_record_of_a_vote():
    assert join_writes([persist(b"a"), GUARD, persist(b"b"), HEAD, persist(b"c")]) == [
        persist(b"a"),
        GUARD,
        persist(b"b", b"c"),
        HEAD,
    ]


def test_what_a_step_returned_is_left_alone():
    first = persist(b"a")
    join_writes([first, persist(b"b")])
    assert first == persist(b"a")
