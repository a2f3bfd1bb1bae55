"""Sequences that one program gives to its transactions: by key, above whatever the node it asks has seen of them."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

from node.queries.answers import AccountInfo

Sender: TypeAlias = tuple[str, bytes]  # a chain's name and a public key


class Numbering:
    """The sequences sent under each key that may still be executed; clients that share one number nothing twice.

    A number counts until the chain has spent it or its transaction has expired, so that one that came to nothing
    leaves no gap for good.
    """

    def __init__(self) -> None:
        self._turns: dict[Sender, asyncio.Lock] = {}
        self._sent: dict[Sender, dict[int, int]] = {}  # the height at which each sequence's transaction expires

    def turn(self, sender: Sender) -> asyncio.Lock:
        """Hold it from choosing a sequence until the node has answered."""
        return self._turns.setdefault(sender, asyncio.Lock())

    def choose(self, sender: Sender, account: AccountInfo) -> int:
        """The next sequence that neither the node has pending nor has been sent elsewhere."""
        live = {
            sequence: expiry
            for sequence, expiry in self._sent.get(sender, {}).items()
            if sequence >= account.sequence and expiry > account.height
        }
        self._sent[sender] = live
        sequence = account.next_sequence
        while sequence in live:
            sequence += 1
        return sequence

    def note(self, sender: Sender, sequence: int, expiry_height: int) -> None:
        """A node has acknowledged a transaction, or says that another one has that sequence."""
        self._sent.setdefault(sender, {})[sequence] = expiry_height
