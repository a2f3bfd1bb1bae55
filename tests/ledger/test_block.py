"""Headers and blocks: what the sealed root W binds, what the hash leaves out, and the bounds of the bytes."""

import hashlib
from dataclasses import fields, replace

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ledger.block import (
    MAX_CREDIT_UPT,
    MAX_HEADER_BYTES,
    NO_SIGNATURE,
    Block,
    Header,
    check_producer_signature,
    compute_tx_root,
)
from ledger.codec import decode, encode
from ledger.errors import InvalidKey, InvalidSignature, Malformed, TooLarge, WrongShape, WrongVersion
from ledger.merkle import inclusion_proof, verify_inclusion
from ledger.signatures import SigningKey, signing_digest

KEY, OTHER = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)
HEADER = Header(
    chain_id=b"\xc1" * 32,
    height=7,
    parent=b"\xaa" * 32,
    timestamp_ms=1_700_000_000_123,
    producer=KEY.public_key,
    credit_upt=90_000_000,
    n_diff=2**200,
    period=3,
    tx_root=b"\x11" * 32,
    receipt_root=b"\x22" * 32,
    state_root=b"\x33" * 32,
)
CHANGED = {
    "chain_id": b"\xc2" * 32,
    "height": 8,
    "parent": b"\xab" * 32,
    "timestamp_ms": 1_700_000_000_124,
    "producer": OTHER.public_key,
    "credit_upt": 90_000_001,
    "n_diff": 2**200 + 1,
    "period": 4,
    "tx_root": b"\x12" * 32,
    "receipt_root": b"\x23" * 32,
    "state_root": b"\x34" * 32,
}
LIMITS = {"max_bytes": 100_000, "max_transactions": 10, "max_transaction_bytes": 16_384}


def sha(data):
    return hashlib.sha256(data).digest()


@pytest.fixture
def block(lab):
    transactions = [lab.transfer("anna", "bert", amount, sequence=amount - 1) for amount in (1, 2, 3)]
    built, _ = lab.build(lab.chain.head, *transactions)
    return replace(built, header=built.header.sealed(99, lab.key("anna")))


# --- W and the block hash --------------------------------------------------------------------------


def test_w_is_a_merkle_root_of_the_core_and_the_transactions():
    core = msgpack.packb(
        [
            1, b"\xc1" * 32, 7, b"\xaa" * 32, 1_700_000_000_123, KEY.public_key, 90_000_000,
            (2**200).to_bytes(32, "big"), 3, b"\x11" * 32, b"\x22" * 32, b"\x33" * 32,
        ],
        use_bin_type=True,
    )  # fmt: skip
    assert HEADER.core == core
    assert HEADER.root == sha(b"\x01" + sha(b"\x00" + core) + b"\x11" * 32)


@pytest.mark.parametrize("nonce", [0, 1, 2**32, 2**64 - 1])
def test_the_hash_is_one_sha256_of_w_and_eight_bytes(nonce):
    header = replace(HEADER, nonce=nonce)
    assert header.root == HEADER.root
    assert header.hash == sha(HEADER.root + nonce.to_bytes(8, "big"))


def test_every_field_of_the_core_changes_w():
    assert set(CHANGED) == {field.name for field in fields(Header)} - {"nonce", "signature"}
    roots = {replace(HEADER, **{name: value}).root for name, value in CHANGED.items()}
    assert len(roots | {HEADER.root}) == len(CHANGED) + 1


def test_the_signature_is_not_part_of_the_hash():
    assert HEADER.sealed(5, KEY).hash == replace(HEADER, nonce=5).hash == HEADER.sealed(5, OTHER).hash


def test_w_binds_every_transaction_and_their_order(lab, block):
    root = block.header.tx_root
    assert root == compute_tx_root(block.transactions)
    first, second, third = block.transactions
    resigned = replace(first, signature=second.signature)
    others = [
        (),
        (first,),
        (second, first, third),
        (first, second, third, third),
        (type(first).from_value(resigned.to_value()), second, third),
    ]
    assert root not in {compute_tx_root(other) for other in others}
    for index, transaction in enumerate(block.transactions):
        leaves = [one.raw for one in block.transactions]
        verify_inclusion(root, transaction.raw, index, 3, inclusion_proof(leaves, index))


def test_a_proof_cannot_be_moved_to_another_parent_or_producer():
    """A target of 2^-12 of all hashes: the nonce found for one header is worth nothing under another."""
    target = 2**244
    nonce = next(n for n in range(10**6) if int.from_bytes(sha(HEADER.root + n.to_bytes(8, "big")), "big") <= target)
    assert int.from_bytes(replace(HEADER, nonce=nonce).hash, "big") <= target
    moved = [replace(HEADER, nonce=nonce, **{name: CHANGED[name]}) for name in ("parent", "producer", "height")]
    assert all(int.from_bytes(header.hash, "big") > target for header in moved)


# --- the producer's signature ----------------------------------------------------------------------


def test_the_producer_signs_the_block_hash_under_purpose_and_chain():
    header = HEADER.sealed(5, KEY)
    digest = sha(sha(b"gridmerit/sign/block") * 2 + b"\xc1" * 32 + header.hash)
    Ed25519PublicKey.from_public_bytes(KEY.public_key).verify(header.signature, digest)
    check_producer_signature(header)


@pytest.mark.parametrize("name", [*CHANGED, "nonce"])
def test_a_changed_header_needs_a_new_signature(name):
    header = replace(HEADER.sealed(5, KEY), **{name: CHANGED.get(name, 6)})
    with pytest.raises(InvalidSignature, match="signature over block header does not verify"):
        check_producer_signature(header)


def test_nobody_seals_in_anothers_name():
    for header in (HEADER.sealed(5, OTHER), HEADER, replace(HEADER, signature=b"\xff" * 64)):
        with pytest.raises(InvalidSignature):
            check_producer_signature(header)
    with pytest.raises(InvalidKey):
        check_producer_signature(replace(HEADER.sealed(5, KEY), producer=bytes(32)))
    transaction_like = KEY.sign(signing_digest("transaction", HEADER.chain_id, HEADER.hash))
    with pytest.raises(InvalidSignature):
        check_producer_signature(replace(HEADER, signature=transaction_like))


# --- bytes -----------------------------------------------------------------------------------------


def test_a_header_is_read_back():
    header = HEADER.sealed(2**64 - 1, KEY)
    assert Header.from_value(decode(encode(header.to_value()), max_bytes=MAX_HEADER_BYTES)) == header


def test_the_largest_header_keeps_to_its_bound():
    numbers = {"height": 2**63 - 1, "timestamp_ms": 2**63 - 1, "period": 2**63 - 1}
    largest = replace(HEADER, credit_upt=MAX_CREDIT_UPT, n_diff=2**256 - 1, nonce=2**64 - 1, **numbers)
    assert len(encode(largest.to_value())) <= MAX_HEADER_BYTES
    assert Header.from_value(largest.to_value()) == largest


@pytest.mark.parametrize(
    ("index", "bad"),
    [
        (1, bytes(31)), (2, -1), (2, 2**63), (3, bytes(33)), (4, None), (5, b""), (6, MAX_CREDIT_UPT + 1), (6, -1),
        (7, 2**60), (7, bytes(31)), (8, "3"), (9, bytes(33)), (10, ()), (11, 0),
    ],
)  # fmt: skip
def test_a_core_field_of_the_wrong_shape_is_refused(index, bad):
    core, nonce, signature = HEADER.to_value()
    with pytest.raises(WrongShape):
        Header.from_value(((*core[:index], bad, *core[index + 1 :]), nonce, signature))


@pytest.mark.parametrize("nonce", [5, bytes(7), bytes(9), None])
def test_a_nonce_is_eight_bytes(nonce):
    core, _, signature = HEADER.to_value()
    with pytest.raises(WrongShape, match="nonce"):
        Header.from_value((core, nonce, signature))


def test_another_version_of_the_header_is_refused():
    core, nonce, signature = HEADER.to_value()
    with pytest.raises(WrongVersion) as caught:
        Header.from_value(((2, *core[1:]), nonce, signature))
    assert str(caught.value) == "header has version 2, this node knows 1"


@pytest.mark.parametrize("value", [(), (1, 2, 3), ((), bytes(8), NO_SIGNATURE), None])
def test_what_is_no_header_is_refused(value):
    with pytest.raises(WrongShape):
        Header.from_value(value)


def test_a_block_is_read_back(block):
    again = Block.from_bytes(block.raw, **LIMITS)
    assert again == block
    assert (again.hash, again.raw) == (block.hash, block.raw)


@pytest.mark.parametrize(
    ("limit", "by", "what"),
    [
        ("max_bytes", len, "encoded value"),
        ("max_transactions", lambda raw: 3, "block body"),
        ("max_transaction_bytes", None, "transaction"),
    ],
)
def test_a_block_over_a_bound_is_refused(block, limit, by, what):
    size = by(block.raw) if by else max(len(transaction.raw) for transaction in block.transactions)
    assert Block.from_bytes(block.raw, **{**LIMITS, limit: size}) == block
    with pytest.raises(TooLarge) as caught:
        Block.from_bytes(block.raw, **{**LIMITS, limit: size - 1})
    assert caught.value.values == {"what": what, "actual": size, "limit": size - 1}


@pytest.mark.parametrize("value", [5, (), (1, 2), *((HEADER.to_value(), *body) for body in ((), (5,), ((5,),)))])
def test_what_is_no_block_is_refused(value):
    with pytest.raises(WrongShape):
        Block.from_bytes(encode(value), **LIMITS)


def test_a_flipped_bit_is_noticed_by_decoder_hash_root_or_signature(block):
    """The hash leaves the body to the root, and the signature to the check; together nothing is left over."""
    for bit in range(8 * len(block.raw)):
        raw = bytearray(block.raw)
        raw[bit // 8] ^= 1 << bit % 8
        try:
            other = Block.from_bytes(bytes(raw), **LIMITS)
            if other.hash != block.hash or compute_tx_root(other.transactions) != other.header.tx_root:
                continue
            check_producer_signature(other.header)
        except (Malformed, InvalidSignature):
            continue
        raise AssertionError(f"bit {bit} changed and nobody noticed")
