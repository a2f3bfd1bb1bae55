"""Answers about programmes and bills, on a chain that has the money of text 003 (decision 63)."""

from __future__ import annotations

from ledger.hashing import parse_address, show_address
from ledger.overlay import Overlay
from market.bill_records import get_bill
from market.programme_records import Programme, get_left_uyuan, walk_programmes
from node.chain.node import ChainNode
from node.errors import NoBill, NoEconomy
from node.queries.answers import BillInfo, ProgrammeInfo, ProgrammesInfo
from node.queries.member_names import MemberNames


class EconomyQueries:
    """Questions about subsidies and what members paid. Raises the `NotFound` family."""

    def __init__(self, node: ChainNode, members: MemberNames) -> None:
        self._node = node
        self._members = members

    def get_programmes(self) -> ProgrammesInfo:
        """All programmes that are kept, with what is left of each budget. Raises `NoEconomy`."""
        view, head = self._require_economy(), self._node.chain.head
        found = tuple(self._describe(view, name, programme) for name, programme in walk_programmes(view))
        return ProgrammesInfo(height=head.height, period=head.header.period, programmes=found)

    def get_bill(self, period: int, ref: str) -> BillInfo:
        """A member's bill of a period, by name or address. Raises `NoEconomy`, `NoBill` or for an unknown name."""
        view = self._require_economy()
        member = parse_address(ref) if ref.startswith("0x") else self._members.find(ref)
        bill = get_bill(view, period, member)
        if bill is None:
            raise NoBill(member=ref, period=period)
        return BillInfo(
            height=self._node.chain.head.height,
            period=period,
            member=show_address(member),
            member_name=self._members.name_of(member),
            energy_wh=bill.energy_wh,
            paid_uyuan=bill.paid_uyuan,
            parts_uyuan=bill.parts,
        )

    def _describe(self, view: Overlay, name: str, programme: Programme) -> ProgrammeInfo:
        return ProgrammeInfo(
            name=name,
            funder=show_address(programme.funder),
            funder_name=self._members.name_of(programme.funder),
            state=programme.state,
            rates_uyuan_per_kwh=dict(programme.rates),
            first_period=programme.first,
            last_period=programme.last,
            budget_uyuan=programme.budget_uyuan,
            paid_uyuan=programme.paid_uyuan,
            left_uyuan=get_left_uyuan(view, name),
        )

    def _require_economy(self) -> Overlay:
        params = self._node.params
        if params.kind != "trading" or not params.market.economy:
            raise NoEconomy(name=params.name)
        return Overlay(self._node.chain.head.state)
