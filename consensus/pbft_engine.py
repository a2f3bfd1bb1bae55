"""The engine port under PBFT: what a header must say. Which block a height gets is agreed on in `consensus.pbft`."""

from __future__ import annotations

from consensus.engine import Proposal, Weighed
from consensus.timestamps import check_timestamp
from ledger.block import Header, check_producer_signature
from ledger.chain import Chain, Entry
from ledger.errors import NotASealer, WrongChain, WrongCredit, WrongDifficulty, WrongHeight, WrongPeriod
from ledger.execution import compute_period
from ledger.genesis import Genesis
from ledger.snapshot import get_snapshot

_N_DIFF = 1  # there is nothing to search


class PbftEngine:
    """The engine of one chain. Holds nothing but its parameters."""

    def __init__(self, genesis: Genesis) -> None:
        self._chain_id = genesis.chain_id
        self._genesis_time_ms = genesis.time_ms
        self._period_ms = genesis.params.ledger.period_ms

    def screen_header(self, header: Header, sealers: frozenset[bytes]) -> None:
        """See `Engine.screen_header`."""
        self._check_chain(header)
        if header.producer not in sealers:
            raise NotASealer(producer=header.producer.hex()[:16])
        check_producer_signature(header)

    def check_header(self, header: Header, parent: Entry, chain: Chain) -> Weighed:
        """See `Engine.check_header`. The timestamp must exceed the parent's: there is one chain, agreed on."""
        self._check_chain(header)
        if header.height != parent.height + 1:
            raise WrongHeight(expected=parent.height + 1, actual=header.height)
        check_timestamp(header.timestamp_ms, [parent.header.timestamp_ms])
        period = self._period_at(header.timestamp_ms, parent)
        if header.period != period:
            raise WrongPeriod(expected=period, actual=header.period)
        standing = get_snapshot(parent.state).members.get(header.producer)
        if standing is None:
            raise NotASealer(producer=header.producer.hex()[:16])
        if header.credit_upt != standing.credit_upt:
            raise WrongCredit(expected=standing.credit_upt, actual=header.credit_upt)
        if header.n_diff != _N_DIFF:
            raise WrongDifficulty(expected=_N_DIFF, actual=header.n_diff)
        check_producer_signature(header)
        return Weighed(work=parent.work + 1, base_n_diff=_N_DIFF)

    def get_work(self, header: Header) -> int:
        """See `Engine.get_work`."""
        return 1

    def propose(self, producer: bytes, parent: Entry, chain: Chain, now_ms: int) -> Proposal | None:
        """See `Engine.propose`. Whether it is this producer's turn is not asked here."""
        standing = get_snapshot(parent.state).members.get(producer)
        if standing is None:
            return None
        timestamp_ms = max(now_ms, parent.header.timestamp_ms + 1)
        return Proposal(
            timestamp_ms=timestamp_ms,
            period=self._period_at(timestamp_ms, parent),
            credit_upt=standing.credit_upt,
            n_diff=_N_DIFF,
            target=None,
        )

    def is_better(self, candidate: Entry, head: Entry) -> bool:
        """Never: a head is left for nothing but a certified block on it."""
        return False

    def _check_chain(self, header: Header) -> None:
        if header.chain_id != self._chain_id:
            raise WrongChain(expected=self._chain_id.hex()[:16], actual=header.chain_id.hex()[:16])

    def _period_at(self, timestamp_ms: int, parent: Entry) -> int:
        return compute_period(
            timestamp_ms,
            genesis_time_ms=self._genesis_time_ms,
            period_ms=self._period_ms,
            parent_period=parent.header.period,
        )
