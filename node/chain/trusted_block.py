"""An anchor: one block that the node's operator vouches for. A chain without it is not followed.

Work cannot tell a node that starts anew which of two histories is the real one, and certificates only tell the nodes
they reach. The anchor's text comes out of band, from a node that one trusts; this module owns what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ledger.block import Header
from ledger.chain import Chain
from node.errors import AnchorContradicted, OffAnchor


class TrustedBlock(NamedTuple):
    """A block by its height and hash."""

    height: int
    block_hash: bytes

    def __str__(self) -> str:
        return f"{self.height}:{self.block_hash.hex()}"


def parse_anchor(text: str) -> TrustedBlock:
    """An anchor from HEIGHT:HASH. Raises `ValueError`, which says what is wanted."""
    height, _, digits = text.partition(":")
    try:
        block_hash = bytes.fromhex(digits.removeprefix("0x"))
    except ValueError:
        block_hash = b""
    if not (height.isascii() and height.isdecimal()) or not 0 < int(height) < 2**63 or len(block_hash) != 32:
        raise ValueError("HEIGHT:HASH, a block's height, above 0, and its hash as 64 hexadecimal digits")
    return TrustedBlock(int(height), block_hash)


class TrustedBranch:
    """A chain's position to its anchor, if any. Raises `AnchorContradicted` where another block is there already.

    Once the anchored block is on the chain it stays there: that height and all below are settled, like what is final.
    """

    def __init__(self, anchor: TrustedBlock | None, chain: Chain) -> None:
        self.anchor = anchor
        self.refused = 0  # headers and blocks of other branches
        self._chain = chain
        self._is_reached = False
        if anchor is not None and chain.head.height >= anchor.height and self.is_awaited:
            actual = chain.hash_at(anchor.height)
            if actual is not None:  # else its header is still to come, from below what the chain was taken up from
                raise AnchorContradicted(height=anchor.height, actual=actual.hex(), expected=anchor.block_hash.hex())

    @property
    def is_awaited(self) -> bool:
        """True while there is an anchor that the chain has not come to yet."""
        if self.anchor is None or self._is_reached:
            return False
        self._is_reached = self._chain.hash_at(self.anchor.height) == self.anchor.block_hash
        return not self._is_reached

    @property
    def settled_height(self) -> int:
        """Height of the last block that fork choice never leaves: the final one or the anchor."""
        if self.anchor is None or self.is_awaited:
            return self._chain.final_height
        return max(self._chain.final_height, self.anchor.height)

    def check(self, header: Header) -> None:
        """Raises `OffAnchor` for a block, not on the chain, that cannot be on one with the anchor."""
        anchor = self.anchor
        if anchor is None or header.height > anchor.height or header.hash == anchor.block_hash:
            return
        if header.height == anchor.height or not self.is_awaited:
            self.refused += 1
            raise OffAnchor(height=header.height, actual=header.hash.hex()[:16], anchor=str(anchor))

    def leads_to(self, headers: Iterable[Header]) -> bool:
        """Return True if the anchor is awaited and one of these is it: then follow them, whatever their work."""
        anchor = self.anchor
        return anchor is not None and self.is_awaited and any(header.hash == anchor.block_hash for header in headers)

    def may_be_at(self, height: int) -> bool:
        """Return True if the anchor is awaited and a peer at that height may have it."""
        return self.anchor is not None and self.is_awaited and height >= self.anchor.height
