"""Hashes and addresses: FIPS 180-4 vectors, the BIP 340 tag scheme, and addresses as people type them."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import WrongShape
from ledger.hashing import address_of, parse_address, sha256, show_address, tagged_hash


@pytest.mark.parametrize(
    ("message", "digest"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
    ],
)
def test_sha256_vectors(message: bytes, digest: str) -> None:
    assert sha256(message).hex() == digest


@given(st.text(max_size=40), st.lists(st.binary(max_size=100), max_size=4))
@settings(deadline=None)
def test_a_tagged_hash_is_the_definition_of_bip_340(tag: str, parts: list[bytes]) -> None:
    prefix = hashlib.sha256(tag.encode()).digest()
    for _ in range(2):  # the second time from the remembered midstate
        assert tagged_hash(tag, *parts) == hashlib.sha256(prefix + prefix + b"".join(parts)).digest()


def test_tags_separate() -> None:
    assert tagged_hash("a", b"message") != tagged_hash("b", b"message")


def test_an_address_is_the_head_of_the_tagged_hash_of_the_key() -> None:
    key = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert address_of(key) == tagged_hash("gridmerit/address", key)[:20]
    assert show_address(address_of(key)) == "0x90dacc8ca353ec97ffa3e8331e532c5eaccdb9aa"


@given(st.binary(min_size=20, max_size=20))
@settings(deadline=None)
def test_a_shown_address_reads_back(address: bytes) -> None:
    text = show_address(address)
    assert len(text) == 42
    assert parse_address(text) == address
    assert parse_address("0x" + text[2:].upper()) == address


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "begin with 0x"),
        ("ab" * 20, "begin with 0x"),
        ("0X" + "ab" * 20, "begin with 0x"),
        (" 0x" + "ab" * 20, "begin with 0x"),
        ("0x" + "ab" * 19, "40 digits after 0x, got 38"),
        ("0x" + "ab" * 20 + "\n", "40 digits after 0x, got 41"),
        ("0x" + "ab" * 19 + "a", "got 39"),
        ("0x" + "ab" * 19 + "g0", "'g' is not a hexadecimal digit"),
        ("0x" + "ab" * 19 + "  ", "' ' is not a hexadecimal digit"),
        ("0x" + "ab" * 19 + "٣٣", "is not a hexadecimal digit"),
        ("q" * 100_000, "begin with 0x"),
    ],
    ids=lambda item: item[:24],
)
def test_a_mistyped_address_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(WrongShape, match=reason) as caught:
        parse_address(text)
    assert len(str(caught.value)) < 150
