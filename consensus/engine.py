"""The engine port: the right to add the next block, and the branch to follow. Pure: time and tree are arguments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ledger.block import Header
from ledger.chain import Ancestor, BlockNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Consensus's part of the next block; the body is the node's to fill.

    `target` is the bound the seal must not exceed, None where the header needs no search.
    """

    timestamp_ms: int
    period: int
    credit_upt: int
    n_diff: int
    target: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A valid header's contribution to the tree."""

    work: int
    base_n_diff: int


class Ancestry(Protocol):
    """The blocks below one: the tree, or the tree and headers on it that have been judged."""

    def ancestors(self, entry: Ancestor) -> Iterator[Ancestor]:
        """The entry, its parent, and so on to genesis."""
        ...


class Engine(Protocol):
    """One chain's rule for blocks. A chain's parameters choose the engine."""

    def check_header(self, header: Header, parent: BlockNode, chain: Ancestry) -> Weighed:
        """Check a header's rules on its parent, whose state gives the snapshot. Raises the `InvalidBlock` family."""
        ...

    def work_of(self, header: Header) -> int:
        """The work that a block adds to its branch."""
        ...

    def find_work(self, header: Header) -> int | None:
        """The work of a certified block's branch, where its header tells it."""
        ...

    def find_base(self, header: Header, parent: Ancestor, chain: Ancestry) -> int | None:
        """The base N_diff of a certified block, from its header and those below it; None where they do not tell."""
        ...

    def propose(self, producer: bytes, parent: BlockNode, chain: Ancestry, now_ms: int) -> Proposal | None:
        """The proposal that `producer` (a public key) may build on `parent` now, None where it may not."""
        ...

    def is_better(self, candidate: BlockNode, head: BlockNode) -> bool:
        """Fork choice between two branches that both hold the final block."""
        ...
