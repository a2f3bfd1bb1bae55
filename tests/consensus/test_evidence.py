"""Equivocation: what convicts a producer, what does not, and the watch that notices."""

from dataclasses import replace

import pytest

from consensus.errors import NotAnEquivocation
from consensus.evidence import Equivocation, EquivocationWatch, check_equivocation
from ledger.block import Header
from ledger.codec import decode, encode
from ledger.errors import InvalidKey, InvalidSignature, Malformed, WrongChain
from ledger.signatures import SigningKey

KEY, OTHER = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)
CHAIN = b"\xc1" * 32


def header(nonce=0, *, key=KEY, **fields):
    """A header signed by its producer. Nothing asks for its seal."""
    truth = {
        "chain_id": CHAIN,
        "height": 7,
        "parent": b"\xaa" * 32,
        "timestamp_ms": 1_700_000_000_000,
        "producer": KEY.public_key,
        "credit_upt": 0,
        "n_diff": 1,
        "period": 0,
        "tx_root": bytes(32),
        "receipt_root": bytes(32),
        "state_root": bytes(32),
    }
    return Header(**{**truth, **fields}).sealed(nonce, key)


def convict(one, other):
    first, second = sorted((one, other), key=lambda header: header.hash)
    return Equivocation(first=first, second=second)


def test_two_signed_headers_on_one_parent_convict_their_producer():
    evidence = convict(header(0), header(1))
    check_equivocation(evidence, CHAIN)
    assert evidence.producer == KEY.public_key
    check_equivocation(convict(header(0), header(0, height=99, period=3)), CHAIN)  # whatever else they say


@pytest.mark.parametrize(
    ("one", "other", "detail"),
    [
        (header(0), header(1, parent=b"\xab" * 32), "the two headers differ in producer or parent"),
        (header(0), header(1, producer=OTHER.public_key, key=OTHER), "the two headers differ in producer or parent"),
        (header(0), header(0), "the same header twice, or the higher hash first"),
    ],
)
def test_what_convicts_nobody(one, other, detail):
    with pytest.raises(NotAnEquivocation) as caught:
        check_equivocation(convict(one, other), CHAIN)
    assert str(caught.value) == f"the two headers convict nobody: {detail}"


def test_one_header_with_two_signatures_convicts_nobody():
    one = header(0)
    with pytest.raises(NotAnEquivocation):
        check_equivocation(convict(one, replace(one, signature=bytes(64))), CHAIN)


def test_every_witness_must_show_the_same_bytes():
    evidence = convict(header(0), header(1))
    with pytest.raises(NotAnEquivocation):
        check_equivocation(Equivocation(first=evidence.second, second=evidence.first), CHAIN)


def test_nobody_is_framed():
    good = header(0)
    for forged in (header(1, key=OTHER), replace(header(1), signature=bytes(64)), replace(header(1), nonce=2)):
        with pytest.raises(InvalidSignature):
            check_equivocation(convict(good, forged), CHAIN)
    both = convict(good, header(1))
    for position in ("first", "second"):
        unsigned = replace(getattr(both, position), signature=bytes(64))
        with pytest.raises(InvalidSignature):
            check_equivocation(replace(both, **{position: unsigned}), CHAIN)
    weak = [replace(header(nonce), producer=bytes(32)) for nonce in (0, 1)]
    with pytest.raises(InvalidKey):
        check_equivocation(convict(*weak), CHAIN)


def test_headers_of_another_chain_say_nothing_about_this_one():
    foreign = [header(nonce, chain_id=b"\xc2" * 32) for nonce in (0, 1)]
    check_equivocation(convict(*foreign), b"\xc2" * 32)
    for pair in (foreign, (header(0), foreign[0])):
        with pytest.raises(WrongChain) as caught:
            check_equivocation(convict(*pair), CHAIN)
        assert caught.value.values == {"expected": "c1" * 8, "actual": "c2" * 8}


def test_evidence_is_read_back():
    evidence = convict(header(0), header(1))
    assert Equivocation.from_value(decode(encode(evidence.to_value()), max_bytes=4_096)) == evidence


@pytest.mark.parametrize("value", [None, (), (1, 2), (header(0).to_value(),), (header(0).to_value(),) * 3])
def test_what_is_no_evidence_is_refused(value):
    with pytest.raises(Malformed):
        Equivocation.from_value(value)


# --- the watch -------------------------------------------------------------------------------------


def test_the_watch_shows_the_second_header_on_a_parent():
    watch = EquivocationWatch()
    assert watch.observe(header(0)) is None
    assert watch.observe(header(0)) is None
    assert watch.observe(header(0, parent=b"\xab" * 32)) is None
    assert watch.observe(header(0, producer=OTHER.public_key, key=OTHER)) is None
    for later in (header(1), header(2)):
        evidence = watch.observe(later)
        assert evidence == convict(header(0), later)
        check_equivocation(evidence, CHAIN)


def test_the_watch_is_bounded_and_forgets_the_oldest():
    watch = EquivocationWatch(limit=3)
    parents = [bytes([number]) * 32 for number in range(5)]
    for parent in parents:
        watch.observe(header(0, parent=parent))
    noticed = [watch.observe(header(1, parent=parent)) is not None for parent in reversed(parents)]
    assert noticed == [True, True, True, False, False]
