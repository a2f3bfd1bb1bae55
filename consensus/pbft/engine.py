"""The engine port under PBFT: what a header must say. `consensus.pbft.replica` agrees on which block."""

from __future__ import annotations

from consensus.engine import Ancestry, Proposal, Weighed
from consensus.errors import WrongDifficulty
from consensus.header_rules import HeaderRules
from consensus.timestamps import check_timestamp
from ledger.block import Header, check_producer_signature
from ledger.chain import Ancestor, BlockNode
from ledger.genesis import Genesis
from ledger.snapshot import get_snapshot

_N_DIFF = 1  # there is nothing to search


class PbftEngine:
    """The engine of one chain. Holds nothing but its parameters."""

    def __init__(self, genesis: Genesis) -> None:
        self._rules = HeaderRules(genesis)

    def screen_header(self, header: Header, sealers: frozenset[bytes]) -> None:
        """See `PocaEngine.screen_header`: all but the seal, for there is none."""
        self._rules.check_origin(header, sealers)
        check_producer_signature(header)

    def check_header(self, header: Header, parent: BlockNode, chain: Ancestry) -> Weighed:
        """See `Engine.check_header`. The timestamp must exceed the parent's: there is one chain, agreed on."""
        self._rules.check_place(header, parent)
        check_timestamp(header.timestamp_ms, [parent.header.timestamp_ms])
        self._rules.check_period(header, parent)
        self._rules.check_standing(header, get_snapshot(parent.state))
        self.check_base(header, _N_DIFF, parent, chain)
        check_producer_signature(header)
        return Weighed(work=parent.work + self.work_of(header), base_n_diff=_N_DIFF)

    def work_of(self, header: Header) -> int:
        """See `Engine.work_of`."""
        return 1

    def find_work(self, header: Header) -> int | None:
        """See `Engine.find_work`."""
        return header.height

    def find_base(self, header: Header, parent: Ancestor, chain: Ancestry) -> int | None:
        """See `Engine.find_base`."""
        return _N_DIFF

    def check_base(self, header: Header, base_n_diff: int, _parent: Ancestor, _chain: Ancestry) -> None:
        """Raise `WrongDifficulty` unless a header's N_diff and this base are what all have."""
        for n_diff in (header.n_diff, base_n_diff):
            if n_diff != _N_DIFF:
                raise WrongDifficulty(expected=_N_DIFF, actual=n_diff)

    def propose(self, producer: bytes, parent: BlockNode, chain: Ancestry, now_ms: int) -> Proposal | None:
        """See `Engine.propose`. Whether it is this producer's turn is not asked here."""
        standing = get_snapshot(parent.state).members.get(producer)
        if standing is None:
            return None
        timestamp_ms = max(now_ms, parent.header.timestamp_ms + 1)
        return Proposal(
            timestamp_ms=timestamp_ms,
            period=self._rules.period_at(timestamp_ms, parent),
            credit_upt=standing.credit_upt,
            n_diff=_N_DIFF,
            target=None,
        )

    def is_better(self, candidate: BlockNode, head: BlockNode) -> bool:
        """Never: a head is left for nothing but a certified block on it."""
        return False
