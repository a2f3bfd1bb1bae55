"""The keys of those that play a part in tests, by name."""

from __future__ import annotations

from functools import cache

from ledger.signatures import SigningKey


@cache
def key_of(name: str) -> SigningKey:
    return SigningKey(name.encode().ljust(32, b"."))


def address(name: str) -> bytes:
    return key_of(name).address
