"""The rules that every engine has for a header: chain, place on the parent, period, and its producer's standing."""

from __future__ import annotations

from consensus.errors import NotASealer, WrongCredit, WrongHeight, WrongPeriod
from ledger.block import Header
from ledger.chain import BlockNode
from ledger.errors import WrongChain
from ledger.execution import compute_period
from ledger.genesis import Genesis
from ledger.snapshot import SealerSnapshot, Snapshot


class HeaderRules:
    """The rules of one chain that do not depend on how its blocks are agreed on."""

    def __init__(self, genesis: Genesis) -> None:
        self._chain_id = genesis.chain_id
        self._genesis_time_ms = genesis.time_ms
        self._period_ms = genesis.params.ledger.period_ms

    def check_origin(self, header: Header, sealers: frozenset[bytes]) -> None:
        """That one of `sealers`, public keys, claims it for this chain. Raises `WrongChain` or `NotASealer`."""
        self._check_chain(header)
        if header.producer not in sealers:
            raise NotASealer(producer=header.producer.hex()[:16])

    def check_place(self, header: Header, parent: BlockNode) -> None:
        """Raises `WrongChain` or `WrongHeight`."""
        self._check_chain(header)
        if header.height != parent.height + 1:
            raise WrongHeight(expected=parent.height + 1, actual=header.height)

    def check_period(self, header: Header, parent: BlockNode) -> None:
        """Raises `WrongPeriod`."""
        period = self.period_at(header.timestamp_ms, parent)
        if header.period != period:
            raise WrongPeriod(expected=period, actual=header.period)

    def check_standing(self, header: Header, snapshot: Snapshot) -> SealerSnapshot:
        """The producer's standing, with the credit that it claims. Raises `NotASealer` or `WrongCredit`."""
        standing = snapshot.members.get(header.producer)
        if standing is None:
            raise NotASealer(producer=header.producer.hex()[:16])
        if header.credit_upt != standing.credit_upt:
            raise WrongCredit(expected=standing.credit_upt, actual=header.credit_upt)
        return standing

    def period_at(self, timestamp_ms: int, parent: BlockNode) -> int:
        """The period of a block of that time on `parent`."""
        return compute_period(
            timestamp_ms,
            genesis_time_ms=self._genesis_time_ms,
            period_ms=self._period_ms,
            parent_period=parent.header.period,
        )

    def _check_chain(self, header: Header) -> None:
        if header.chain_id != self._chain_id:
            raise WrongChain(expected=self._chain_id.hex()[:16], actual=header.chain_id.hex()[:16])
