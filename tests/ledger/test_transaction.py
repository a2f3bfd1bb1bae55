"""Transactions: bytes by hand, an id without the signature, and no way to change a signed one."""

import hashlib
from dataclasses import replace

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import Block
from ledger.codec import MAX_DEPTH, encode
from ledger.errors import (
    InvalidKey,
    InvalidSignature,
    Malformed,
    NonCanonical,
    TooDeep,
    TooLarge,
    WrongChain,
    WrongShape,
    WrongVersion,
)
from ledger.signatures import SigningKey, signing_digest
from ledger.transaction import Transaction, check_envelope, make_transaction

KEY, OTHER = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)
CHAIN, OTHER_CHAIN = b"\xc1" * 32, b"\xc2" * 32


def make(key=KEY, **fields):
    truth = {"chain_id": CHAIN, "sequence": 7, "expiry_height": 90, "kind": "transfer", "payload": (b"to", 5)}
    return make_transaction(key, **{**truth, **fields})


def from_fields(transaction, **changes):
    """The transaction with some fields replaced, its signature kept unless that is one of them."""
    value = replace(transaction, **changes).to_value()
    return Transaction.from_value(value)


def nested(depth):
    value = 1
    for _ in range(depth):
        value = (value,)
    return value


def read(raw):
    return Transaction.from_bytes(raw, max_bytes=16_384)


# --- bytes -----------------------------------------------------------------------------------------


def test_the_bytes_are_a_msgpack_array_of_eight():
    transaction = make()
    fields = [1, CHAIN, KEY.public_key, 7, 90, "transfer", [b"to", 5], transaction.signature]
    assert transaction.raw == msgpack.packb(fields, use_bin_type=True)
    assert read(transaction.raw) == transaction
    assert read(transaction.raw).raw == transaction.raw


def test_the_id_is_the_tagged_hash_of_all_but_the_signature():
    transaction = make()
    tag = hashlib.sha256(b"gridmerit/transaction").digest()
    unsigned = msgpack.packb([1, CHAIN, KEY.public_key, 7, 90, "transfer", [b"to", 5]], use_bin_type=True)
    assert transaction.id == hashlib.sha256(tag + tag + unsigned).digest()
    assert from_fields(transaction, signature=bytes(64)).id == transaction.id
    assert transaction.sender == KEY.address


def test_the_signature_is_ed25519_over_the_id_under_purpose_and_chain():
    transaction = make()
    tag = hashlib.sha256(b"gridmerit/sign/transaction").digest()
    digest = hashlib.sha256(tag + tag + CHAIN + transaction.id).digest()
    Ed25519PublicKey.from_public_bytes(KEY.public_key).verify(transaction.signature, digest)
    check_envelope(transaction, CHAIN)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"chain_id": CHAIN[:31]}, WrongShape),
        ({"sender_key": KEY.public_key + b"\x00"}, WrongShape),
        ({"sequence": -1}, WrongShape),
        ({"sequence": 2**63}, WrongShape),
        ({"sequence": None}, WrongShape),
        ({"expiry_height": b"9"}, WrongShape),
        ({"kind": b"transfer"}, WrongShape),
        ({"kind": "k" * 33}, TooLarge),
        ({"kind": "é" * 17}, TooLarge),
        ({"payload": 5}, WrongShape),
        ({"payload": (0,) * 257}, TooLarge),
        ({"signature": bytes(63)}, WrongShape),
        ({"signature": bytes(65)}, WrongShape),
    ],
)
def test_a_field_of_the_wrong_shape_is_refused(changes, error):
    transaction = make()
    raw = encode(replace(transaction, **changes).to_value())
    with pytest.raises(error):
        read(raw)


@pytest.mark.parametrize("value", [5, (), (1,) * 7, (1,) * 9, "text", None])
def test_what_is_not_an_array_of_eight_is_refused(value):
    with pytest.raises(WrongShape):
        read(encode(value))


def test_another_version_is_refused_with_both_numbers():
    raw = encode((2, *make().to_value()[1:]))
    with pytest.raises(WrongVersion) as caught:
        read(raw)
    assert caught.value.values == {"what": "transaction", "expected": 1, "actual": 2}
    assert str(caught.value) == "transaction has version 2, this node knows 1"


def test_an_oversized_one_is_refused_before_it_is_looked_at():
    transaction = make(payload=(bytes(100),))
    assert Transaction.from_bytes(transaction.raw, max_bytes=len(transaction.raw)) == transaction
    with pytest.raises(TooLarge) as caught:
        Transaction.from_bytes(transaction.raw, max_bytes=len(transaction.raw) - 1)
    assert caught.value.values["limit"] == len(transaction.raw) - 1


def test_the_largest_allowed_fields_pass():
    transaction = make(sequence=2**63 - 1, expiry_height=2**63 - 1, kind="k" * 32, payload=(0,) * 256)
    assert read(transaction.raw) == transaction


def test_the_deepest_that_is_taken_still_fits_into_a_block(lab):
    """Two levels are the block's and its body's: one that a pool took and no block could encode would stop a node."""
    deepest = lab.sign("anna", "nonsense", nested(MAX_DEPTH - 4))
    assert read(deepest.raw) == deepest
    block, _ = lab.build(lab.chain.head, deepest)
    limits = {"max_bytes": 100_000, "max_transactions": 10, "max_transaction_bytes": 16_384}
    assert Block.from_bytes(block.raw, **limits) == block
    deeper = encode(replace(deepest, payload=(nested(MAX_DEPTH - 3),)).to_value())
    with pytest.raises(TooDeep):
        read(deeper)
    with pytest.raises(TooDeep):
        lab.sign("anna", "nonsense", nested(MAX_DEPTH - 3))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw.replace(b"\x07\x5a", b"\xcc\x07\x5a"),  # sequence 7 in two bytes
        lambda raw: b"\xdc\x00\x08" + raw[1:],  # array 16
        lambda raw: raw + b"\x00",
        lambda raw: raw[:-1],
        lambda raw: b"",
        lambda raw: raw.replace(b"\x92\xc4\x02to\x05", b"\x81\xc4\x02to\x05"),  # a map
        lambda raw: raw.replace(b"\x92\xc4\x02to\x05", b"\x92\xc4\x02to\xcb" + bytes(8)),  # a float
    ],
)
def test_other_encodings_of_it_are_refused(spoil):
    raw = spoil(make().raw)
    assert raw != make().raw
    with pytest.raises(NonCanonical):
        read(raw)


# --- signatures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"chain_id": OTHER_CHAIN}, WrongChain),
        ({"sender_key": OTHER.public_key}, InvalidSignature),
        ({"sender_key": bytes(32)}, InvalidKey),
        ({"sender_key": b"\xff" * 32}, InvalidKey),
        ({"sequence": 8}, InvalidSignature),
        ({"expiry_height": 91}, InvalidSignature),
        ({"kind": "cancel"}, InvalidSignature),
        ({"payload": (b"to", 6)}, InvalidSignature),
        ({"payload": ()}, InvalidSignature),
        ({"signature": bytes(64)}, InvalidSignature),
        ({"signature": b"\xff" * 64}, InvalidSignature),
    ],
)
def test_a_changed_field_breaks_the_signature(changes, error):
    with pytest.raises(error):
        check_envelope(from_fields(make(), **changes), CHAIN)


def test_a_transaction_of_another_chain_is_named():
    with pytest.raises(WrongChain) as caught:
        check_envelope(make(chain_id=OTHER_CHAIN), CHAIN)
    assert caught.value.values == {"expected": CHAIN.hex()[:16], "actual": OTHER_CHAIN.hex()[:16]}


def test_a_signature_made_for_another_chain_or_purpose_does_not_count():
    transaction = make()
    for purpose, chain_id in (("transaction", OTHER_CHAIN), ("block", CHAIN), ("statement", CHAIN)):
        signature = KEY.sign(signing_digest(purpose, chain_id, transaction.id))
        with pytest.raises(InvalidSignature):
            check_envelope(from_fields(transaction, signature=signature), CHAIN)


def test_signing_is_deterministic_and_every_field_reaches_the_id():
    first = make()
    assert make() == first
    assert make().raw == first.raw
    others = [
        make(OTHER),
        make(chain_id=OTHER_CHAIN),
        make(sequence=8),
        make(expiry_height=91),
        make(kind="t"),
        make(payload=()),
    ]
    assert len({transaction.id for transaction in (first, *others)}) == 7


# --- properties ------------------------------------------------------------------------------------

scalars = st.none() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=20) | st.text(max_size=10)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


@settings(max_examples=60)
@given(
    payload=st.lists(values, max_size=5).map(tuple),
    sequence=st.integers(0, 2**63 - 1),
    expiry_height=st.integers(0, 2**63 - 1),
    kind=st.text(max_size=8),
)
def test_what_is_made_is_read_back(payload, sequence, expiry_height, kind):
    try:
        made = make(payload=payload, sequence=sequence, expiry_height=expiry_height, kind=kind)
    except TooDeep:
        return
    again = read(made.raw)
    assert again == made
    assert (again.raw, again.id, again.sender) == (made.raw, made.id, made.sender)
    check_envelope(again, CHAIN)


def test_a_flipped_bit_never_passes():
    made = make()
    for bit in range(8 * len(made.raw)):
        raw = bytearray(made.raw)
        raw[bit // 8] ^= 1 << bit % 8
        try:
            check_envelope(read(bytes(raw)), CHAIN)
        except (Malformed, InvalidKey, InvalidSignature):
            continue
        raise AssertionError(f"bit {bit} changed and nobody noticed")


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_whatever_the_bytes_they_are_canonical_or_malformed(raw):
    for candidate in (raw, b"\x98" + raw, make().raw[:40] + raw):
        try:
            found = read(candidate)
        except Malformed:
            continue
        assert found.raw == encode(found.to_value()) == candidate
