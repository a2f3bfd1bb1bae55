"""Answers of a credit chain: digests of the other chains' blocks, credit reports, and the holders of credit assets."""

from __future__ import annotations

from ledger.accounts import get_account
from ledger.hashing import show_address
from ledger.overlay import Overlay
from market.credit.assets import get_coins, get_holding
from market.credit.contract import get_digest
from market.credit.violations import Kind, Violation, get_report
from market.messages import ACTUAL, DELIVERED, POWER
from market.trading.sessions import get_session, list_gates
from node.chain.node import ChainNode
from node.errors import WrongKind
from node.queries.answers import (
    AssetsInfo,
    CoinInfo,
    CreditReport,
    DigestsInfo,
    RecordedDigest,
    ViolationCounts,
    ViolationInfo,
)
from node.queries.member_names import MemberNames

_DIGESTED = (POWER, ACTUAL, DELIVERED)
_LISTED_COINS = 100


class CreditQueries:
    """Questions about the credit index. Raises the `NotFound` family."""

    def __init__(self, node: ChainNode, members: MemberNames) -> None:
        self._node = node
        self._members = members

    def get_digests(self, period: int) -> DigestsInfo:
        """Digests recorded of a delivery period; none of one long gone."""
        self._require()
        state, digests = self._node.chain.head.state, list[RecordedDigest]()
        for sibling in self._node.genesis.siblings:
            sessions = [get_session(sibling.market, gate).title for gate in list_gates(sibling.market, period)]
            gates = list(zip(list_gates(sibling.market, period), sessions if len(sessions) > 1 else [""], strict=True))
            names = [(kind, *gate) for kind in _DIGESTED for gate in (gates if kind == POWER else [(period, "")])]
            for kind, number, session in names:
                found = get_digest(state, sibling.name, kind, number)
                if found is not None:
                    row = RecordedDigest(
                        source=sibling.name,
                        kind=kind,
                        period=period,
                        height=found.height,
                        block=found.block_hash.hex(),
                        digest=found.digest.hex(),
                        session=session,
                    )
                    digests.append(row)
        return DigestsInfo(period=period, digests=tuple(digests))

    def get_assets(self, ref: str) -> AssetsInfo:
        """A member's credit assets, by "0x…" or name."""
        self._require()
        address, state = self._members.find(ref), self._node.chain.head.state
        holding = get_holding(state, address)
        return AssetsInfo(
            address=show_address(address),
            name=self._members.name_of(address),
            coins=holding.coins,
            credit_upt=holding.credit_upt,
            newest=tuple(
                CoinInfo(
                    transaction=point.transaction_id.hex(),
                    output=point.output_index,
                    value_sat=coin.value_sat,
                    padding_sat=coin.padding_sat,
                    credit_upt=coin.credit_upt,
                    colour=coin.colour.hex(),
                )
                for point, coin in get_coins(state, address, limit=_LISTED_COINS)
            ),
        )

    def get_report(self, ref: str) -> CreditReport:
        """A member's credit and its violations, by "0x…" or name."""
        self._require()
        address, head = self._members.find(ref), self._node.chain.head
        view, market = Overlay(head.state), self._node.params.market
        account, report = get_account(view, address), get_report(view, address)
        return CreditReport(
            height=head.height,
            address=show_address(address),
            name=self._members.name_of(address),
            credit_upt=account.credit_upt,
            score_count=account.score_count,
            penalty_upt=account.penalty_upt,
            tolerance_ppm=market.tolerance_ppm,
            listed=market.recorded_violations,
            counts=ViolationCounts(**{kind.name.lower(): max(0, report.counts[kind]) for kind in Kind}),
            newest=tuple(map(_describe_violation, report.newest)),
        )

    def _require(self) -> None:
        params = self._node.params
        if params.kind != "credit":
            raise WrongKind(name=params.name, actual=params.kind, wanted="credit")


def _describe_violation(violation: Violation) -> ViolationInfo:
    is_delivery = violation.side is not None
    return ViolationInfo(
        period=violation.period,
        index=violation.trade_index,
        side=None if violation.side is None else violation.side.name.lower(),
        kind=violation.kind.label,
        agreed_wh=violation.agreed_wh if is_delivery else None,
        metered_wh=violation.metered_wh,
        height=violation.height,
        time_ms=violation.time_ms,
        corrected=violation.revision > 0,
        withdrawn=violation.is_withdrawn,
    )
