"""The serving budget of peers: a share of a chain's time each, by a model of what answers cost. Time is an argument.

A request is in progress until what it cost has been paid off; a peer that owes more than a burst is refused the next
one.
"""

from __future__ import annotations

from node.chain.events import PeerId
from node.chain.rates import Accounts, TokenBucket
from node.errors import ServedTooMuch

SHARE_US_PER_S = 100_000  # a tenth of the time: 16 000 headers, or 20 MB of blocks, each second
BURST_US = 500_000
_REQUEST_US = 50
_ROW_US = 4  # to look up a header, a block or a transaction, found or not
_BYTES_PER_US = 200  # to read, sign and send
_MAX_PEERS = 1_024  # with an account that is kept


class Serving:
    """An account per peer, in µs; that of the longest silent one is forgotten first."""

    def __init__(self) -> None:
        self._accounts: Accounts[PeerId, TokenBucket] = Accounts(
            lambda: TokenBucket(BURST_US, SHARE_US_PER_S), limit=_MAX_PEERS
        )

    def is_spent(self, peer: PeerId, now_ms: int) -> bool:
        """True while a peer has had more than its share: then it is sent nothing that it did not ask for."""
        return self._accounts.find(peer).is_empty(now_ms)

    def check(self, peer: PeerId, now_ms: int) -> None:
        """Raise `ServedTooMuch` while a peer that asks has had more than its share."""
        if self.is_spent(peer, now_ms):
            raise ServedTooMuch(limit=SHARE_US_PER_S // 1_000)

    def charge(self, peer: PeerId, now_ms: int, *, rows: int, size_bytes: int) -> None:
        """Count an answer, in full even where it is more than the peer's share."""
        self._accounts.find(peer).spend(compute_cost_us(rows, size_bytes), now_ms)


def compute_cost_us(rows: int, size_bytes: int) -> int:
    """Price of an answer in µs of CPU, in round numbers as measured on a small machine."""
    return _REQUEST_US + _ROW_US * rows + size_bytes // _BYTES_PER_US
