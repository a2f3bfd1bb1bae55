"""Messages and signed batches: every kind survives the wire, and nothing else gets through."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import decode, encode
from ledger.errors import GridmeritError, InvalidSignature, NotForUs, OutOfStep, TooLarge, UnknownMessage, WrongShape
from node import messages as wire
from simulation.networks import key_of

HASH = bytes(range(32))
SESSION, OTHER_SESSION = b"s" * wire.SESSION_BYTES, b"o" * wire.SESSION_BYTES
CHAIN = bytes(32)
ALICE, BOB = key_of("alice"), key_of("bob")
EVERY_KIND = (
    wire.Status(head=HASH, height=7, work=bytes(40), final_height=3),
    wire.TransactionIds(ids=(HASH, HASH)),
    wire.GetTransactions(ids=(HASH,)),
    wire.Transactions(raw=(b"one", b"two")),
    wire.NewBlock(header=b"header", ids=()),
    wire.GetHeaders(locator=(HASH,)),
    wire.Headers(raw=(b"header",)),
    wire.GetBlocks(ids=(HASH,)),
    wire.Blocks(raw=(b"block",)),
    wire.Votes(raw=(b"vote",)),
    wire.Certificate(raw=b"certificate"),
    wire.Evidence(kind="equivocation", raw=b"evidence"),
    wire.Relay(raw=b"relay"),
    wire.Agreement(raw=b"agreement"),
    wire.Contacts(raw=(b"contact",)),
)


def seal(messages=EVERY_KIND, *, key=ALICE, receiver=BOB, session=SESSION, number=1, chain_id=CHAIN):
    return wire.seal_batch(
        key,
        chain_id=chain_id,
        receiver=receiver.public_key,
        session=session,
        number=number,
        sent_ms=1_700_000_000_000,
        messages=tuple(messages),
    )


def open_(raw, *, receiver=BOB, chain_id=CHAIN, session=SESSION, last=0):
    return wire.open_batch(
        raw, chain_id=chain_id, receiver=receiver.public_key, session=session, last_number=lambda sender: last
    )


def test_every_kind_survives_the_wire():
    assert {message.code for message in EVERY_KIND} == set(wire._READERS)
    batch = open_(seal())
    assert batch.messages == EVERY_KIND
    assert (batch.sender, batch.number, batch.sent_ms) == (ALICE.public_key, 1, 1_700_000_000_000)


def test_a_batch_is_for_one_receiver_on_one_chain_once():
    raw = seal(number=5)
    with pytest.raises(NotForUs):
        open_(raw, receiver=ALICE)
    with pytest.raises(InvalidSignature):
        open_(raw, chain_id=bytes([1]) * 32)
    for last in (5, 6, 2**62):
        with pytest.raises(OutOfStep) as caught:
            open_(raw, last=last)
        assert caught.value.values == {"number": 5, "last": last, "session": SESSION.hex()}
    assert open_(raw, last=0).number == 5, "what was lost on its way leaves a gap"


def test_a_batch_is_good_in_the_session_it_was_sealed_for_and_in_no_other():
    with pytest.raises(OutOfStep) as caught:
        open_(seal(session=OTHER_SESSION, number=9), last=3)
    assert caught.value.values == {"number": 9, "last": 3, "session": SESSION.hex()}
    assert not caught.value.penalty, "whoever overheard it can send it"


def test_nobody_can_make_a_sender_use_up_its_numbers():
    with pytest.raises(OutOfStep):
        open_(seal(number=2**32 + 5), last=4)
    assert open_(seal(number=2**32 + 4), last=4).number == 2**32 + 4


def test_no_byte_of_a_batch_can_be_changed():
    raw = seal(EVERY_KIND[:2])
    for index in range(len(raw)):
        changed = raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]
        with pytest.raises(GridmeritError):
            open_(changed)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (99, WrongShape),
        ((), WrongShape),
        ((99,), UnknownMessage),
        (("0",), WrongShape),
        ((0, HASH, 7, bytes(40)), WrongShape),
        ((0, HASH, -1, bytes(40), 0), WrongShape),
        ((1, (HASH[:31],)), WrongShape),
        ((1, (HASH,) * (wire.MAX_ITEMS + 1)), TooLarge),
        ((7, (HASH,) * (wire.MAX_BLOCKS + 1)), TooLarge),
        ((5, (HASH,) * (wire.MAX_LOCATOR + 1)), TooLarge),
        ((10, bytes(4_000_001)), TooLarge),
        ((11, "x" * 65, b""), TooLarge),
        ((12,), WrongShape),
        ((12, b"", b""), WrongShape),
        ((12, "relay"), WrongShape),
        ((12, bytes(4_000_001)), TooLarge),
    ],
)
def test_a_message_of_the_wrong_shape_or_size_is_refused(value, error):
    with pytest.raises(error):
        wire.message_from_value(value)


def test_a_batch_of_too_many_messages_or_bytes_is_refused():
    with pytest.raises(TooLarge):
        open_(seal(EVERY_KIND[:1] * (wire.MAX_BATCH_MESSAGES + 1)))
    with pytest.raises(TooLarge):
        open_(bytes(wire.MAX_BATCH_BYTES + 1))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_named_errors_only(raw):
    with pytest.raises(GridmeritError):
        open_(raw)
    with suppress(GridmeritError):
        wire.message_from_value(decode(raw, max_bytes=300))


def test_values_are_canonical():
    for message in EVERY_KIND:
        raw = encode(wire.message_to_value(message))
        assert wire.message_from_value(decode(raw, max_bytes=10_000)) == message
