"""SHA-256, one domain tag per purpose (the scheme of BIP 340), and the addresses derived with it."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from ledger.errors import WrongShape

if TYPE_CHECKING:
    from hashlib import _Hash

Address: TypeAlias = bytes

HASH_SIZE = 32
ADDRESS_SIZE = 20
ADDRESS_TAG = "gridmerit/address"


def sha256(data: bytes) -> bytes:
    """The 32-byte SHA-256 digest of `data` (FIPS 180-4)."""
    return hashlib.sha256(data).digest()


def tagged_hash(tag: str, *parts: bytes) -> bytes:
    """SHA256(SHA256(tag) ‖ SHA256(tag) ‖ parts…), 32 bytes, as in BIP 340.

    The parts are only concatenated: the owner of the tag sees to it that they cannot be cut differently
    (fixed sizes, or one canonical value). Tags are program constants; the block each fills is hashed once.
    """
    digest = _midstate(tag).copy()
    for part in parts:
        digest.update(part)
    return digest.digest()


@cache
def _midstate(tag: str) -> _Hash:
    return hashlib.sha256(hashlib.sha256(tag.encode()).digest() * 2)


def address_of(public_key: bytes) -> Address:
    """The 20-byte address of a public key: the head of its tagged hash."""
    return tagged_hash(ADDRESS_TAG, public_key)[:ADDRESS_SIZE]


def show_address(address: Address) -> str:
    """`0x` and 40 lower-case hexadecimal digits."""
    return "0x" + address.hex()


def parse_address(text: str) -> Address:
    """Read what `show_address` wrote (either case of digit), or raise `WrongShape` saying what is missing."""
    if not text.startswith("0x"):
        raise WrongShape(what="address", detail=f"expected it to begin with 0x, got {text[:50]!r}")
    digits = text[2:]
    if len(digits) != 2 * ADDRESS_SIZE:
        detail = f"expected {2 * ADDRESS_SIZE} digits after 0x, got {len(digits)}"
        raise WrongShape(what="address", detail=detail)
    wrong = next((digit for digit in digits if digit not in "0123456789abcdefABCDEF"), None)
    if wrong is not None:
        raise WrongShape(what="address", detail=f"{wrong!r} is not a hexadecimal digit")
    return bytes.fromhex(digits)
