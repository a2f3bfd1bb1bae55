"""The skeleton of a peer's branch: headers that lead from a block of the tree to its head, and which of them hold.

Under proof of credit assessment a header is judged as a block is but for its body: N_diff by the retarget, timestamps,
credit and seal. The state of the last block before them gives the credit snapshot of its own period and of the next
one's first block; headers beyond wait until the blocks below them are here. Under PBFT a quorum's certificate for one
header proves all before it, for each names its parent by hash. A header that holds has cost its producer what a block
costs, or a quorum stands behind it; one that does not is a peer's word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from consensus.engine import Ancestry, Weighed
from consensus.quorum import QuorumCertificate
from ledger.block import Header
from ledger.chain import Ancestor, BlockNode, Chain
from node.chain.events import PeerId
from node.errors import BrokenHeaders

JUDGED_AHEAD = 64  # headers judged ahead of the next block to import

HeaderCheck: TypeAlias = Callable[[Header, BlockNode, Ancestry], Weighed]


class Claim(NamedTuple):
    """A peer's word on its head: the work of its branch, and up to which height it knew what is final."""

    work: int
    final_height: int


NO_CLAIM = Claim(work=0, final_height=0)


class Skeleton:
    """Headers in the order of the chain; those that hold come first. The block below them is in the tree."""

    def __init__(self, source: PeerId, base: BlockNode, chain: Chain) -> None:
        self.source = source
        self.was_asked_for = False  # whether its bodies have been asked for
        self.claim = NO_CLAIM  # of its source, where the headers are all that lead there
        self.imported = 0  # how many of its blocks are in the tree
        self._base = base
        self._chain = chain
        self._headers: list[Header] = []
        self._heights: dict[bytes, int] = {}  # by hash
        self._judged: dict[bytes, BlockNode] = {}  # of headers in front, each with the work of its branch
        self._tip = base  # the last one judged
        self._certificates: dict[bytes, QuorumCertificate] = {}
        self._certified_height = 0

    def __contains__(self, block_hash: bytes) -> bool:
        return block_hash in self._heights

    def __len__(self) -> int:
        return len(self._headers)

    @property
    def headers(self) -> tuple[Header, ...]:
        """Those still to be imported."""
        return tuple(self._headers)

    @property
    def base(self) -> BlockNode:
        """The block below the first header."""
        return self._base

    @property
    def first(self) -> Header | None:
        return self._headers[0] if self._headers else None

    @property
    def target_height(self) -> int:
        return self._headers[-1].height if self._headers else self._base.height

    @property
    def sound_count(self) -> int:
        """The number of headers in front that hold."""
        certified = self._certified_height - self._base.height
        return max(0, min(len(self._headers), max(len(self._judged), certified)))

    @property
    def work(self) -> int:
        """Work of the branch up to the last header that holds; under PBFT every block counts one."""
        return max(self._tip.work, self._base.work + self.sound_count if self._certified_height else 0)

    def sound(self, limit: int) -> list[Header]:
        """The first headers that hold, at most `limit` of them."""
        return self._headers[: min(limit, self.sound_count)]

    def certificate_of(self, block_hash: bytes) -> QuorumCertificate | None:
        """The certificate that came with a header."""
        return self._certificates.get(block_hash)

    def is_certified(self, block_hash: bytes) -> bool:
        """True where a quorum stands behind one of the headers, or behind one above it."""
        return self._heights.get(block_hash, self._certified_height + 1) <= self._certified_height

    # --- growing ---------------------------------------------------------------------------------

    def extend(self, headers: tuple[Header, ...]) -> None:
        """Put headers that link to each other on top; what was above their parent is given up.

        Raises `BrokenHeaders`.
        """
        below = self._headers[-1].hash if self._headers else self._base.hash
        if headers[0].parent != below:
            self._cut_after(headers[0].parent)
        height = self.target_height + 1
        if headers[0].height != height:
            raise BrokenHeaders(detail=f"no link at height {height}")
        for header in headers:
            self._heights[header.hash] = header.height
            self._headers.append(header)

    def certify(self, certificate: QuorumCertificate, height: int) -> None:
        """Note a verified certificate of the header at a height: it and those before it hold."""
        self._certificates[certificate.statement.block_hash] = certificate
        self._certified_height = max(self._certified_height, height)

    def judge(self, check: HeaderCheck, date_ms: int) -> None:
        """Judge as many headers as the state below them allows, up to the clock and `JUDGED_AHEAD`.

        Raises what `check` raises for the first that breaks a rule.
        """
        if self._certified_height:
            return
        while len(self._judged) < min(len(self._headers), JUDGED_AHEAD):
            header, parent = self._headers[len(self._judged)], self._tip
            if parent.header.period != self._base.header.period or header.timestamp_ms > date_ms:
                return
            weighed = check(header, parent, self)
            self._tip = BlockNode(
                header=header,
                work=weighed.work,
                base_n_diff=weighed.base_n_diff,
                state=self._base.state,
                undo={},
                arrival=0,
            )
            self._judged[header.hash] = self._tip

    def advance(self, entry: BlockNode) -> None:
        """The first header's block is in the tree now."""
        header = self._headers.pop(0)
        assert header.hash == entry.hash
        del self._heights[header.hash]
        self._certificates.pop(header.hash, None)
        self._base = entry
        self.imported += 1
        self._judged.pop(header.hash, None)
        if not self._judged:
            self._tip = entry

    # --- the tree as far as the headers go (`consensus.engine.Ancestry`) ---------------------------

    def ancestors(self, entry: Ancestor) -> Iterator[Ancestor]:
        """The entry, its parent, and so on to genesis."""
        while entry.hash in self._judged:
            yield entry
            entry = self._judged.get(entry.header.parent) or self._base
        yield from self._chain.ancestors(entry)

    # --- inside ----------------------------------------------------------------------------------

    def _cut_after(self, block_hash: bytes) -> None:
        """Drop what is above one of the headers. Raises `BrokenHeaders` where it is none of them."""
        if block_hash != self._base.hash and block_hash not in self._heights:
            raise BrokenHeaders(detail="the first header's parent is unknown")
        while self._headers and self._headers[-1].hash != block_hash:
            header = self._headers.pop()
            del self._heights[header.hash]
            self._judged.pop(header.hash, None)
            self._certificates.pop(header.hash, None)
        self._tip = next(reversed(self._judged.values()), self._base)
        self._certified_height = min(self._certified_height, self.target_height)
