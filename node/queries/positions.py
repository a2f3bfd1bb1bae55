"""Answers about positions: what each member has traded in the sessions of a period, and what its meter says beyond."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ledger.hashing import Address, show_address
from market.settlement import settle_firm
from market.trading import views
from market.trading.quotas import Quota
from market.trading.sessions import get_session, is_firm, list_gates
from market.trading.trades import TradeRecord
from node.chain.node import ChainNode
from node.errors import OneSession
from node.queries.answers import PositionInfo, PositionsInfo
from node.queries.member_names import MemberNames

REAL_TIME = "real-time"


class PositionQueries:
    """Questions about positions. Raises the `NotFound` family."""

    def __init__(self, node: ChainNode, members: MemberNames) -> None:
        self._node = node
        self._members = members

    def get_positions(self, period: int) -> PositionsInfo:
        """The positions of a period by member and session; of sessions whose trades do not bind there are none."""
        market, state = self._node.params.market, self._node.chain.head.state
        if not is_firm(market):
            raise OneSession(name=self._node.params.name, period=period)
        rows: dict[tuple[Address, str], PositionInfo] = {}
        for number in list_gates(market, period):
            gate = views.get_gate(state, number)
            if gate is None or not gate.binds:
                continue
            session = get_session(market, number).title
            for member, bought_wh, sold_wh, pays, receives in self._list_legs(number):
                known = rows.get((member, session)) or self._make(member, session)
                rows[member, session] = self._make(
                    member,
                    session,
                    known.bought_wh + bought_wh,
                    known.sold_wh + sold_wh,
                    known.pays_uyuan + pays,
                    known.receives_uyuan + receives,
                )
        settled = views.get_settlement(state, period)
        for row in () if settled is None else settled.grid:
            rows[row.member, REAL_TIME] = self._make(row.member, REAL_TIME, *row[1:])
        names = {member: self._members.name_of(member) or show_address(member) for member, _ in rows}
        ordered = sorted(rows.items(), key=lambda item: names[item[0][0]])  # sessions stay in their order
        return PositionsInfo(
            period=period, settled=settled is not None, positions=tuple(position for _, position in ordered)
        )

    def _list_legs(self, number: int) -> Iterator[tuple[Address, int, int, int, int]]:
        """(Member, bought, sold, pays, receives) of either side of each trade that a gate has made, in Wh and µ¥."""
        state = self._node.chain.head.state
        quotas = views.get_quota(state, number)
        for record in views.get_binding_trades(state, number):
            legs = settle_firm(
                price_uyuan_per_kwh=record.price_uyuan_per_kwh,
                wheeling_uyuan_per_kwh=self._find_wheeling(quotas, record),
                volume_wh=record.volume_wh,
            )
            yield record.buyer, record.volume_wh, 0, legs.buyer_pays_uyuan, 0
            yield record.seller, 0, record.volume_wh, 0, legs.seller_receives_uyuan

    def _find_wheeling(self, quotas: Mapping[str, Quota] | None, record: TradeRecord) -> int:
        buyer = self._members.get_member(record.buyer)
        if quotas is None or buyer is None:
            return self._node.params.market.wheeling_uyuan_per_kwh
        return quotas[buyer.position].wheeling_uyuan_per_kwh

    def _make(
        self,
        member: Address,
        session: str,
        bought_wh: int = 0,
        sold_wh: int = 0,
        pays_uyuan: int = 0,
        receives_uyuan: int = 0,
    ) -> PositionInfo:
        return PositionInfo(
            member=show_address(member),
            member_name=self._members.name_of(member),
            session=session,
            bought_wh=bought_wh,
            sold_wh=sold_wh,
            pays_uyuan=pays_uyuan,
            receives_uyuan=receives_uyuan,
        )
