"""Answers about money: what banks have booked, standing orders, and whose money does not last (decision 60)."""

from __future__ import annotations

from ledger.accounts import TRADERS, get_account, get_member
from ledger.genesis import get_grid_operator
from ledger.hashing import Address, show_address
from ledger.membership import Listing
from ledger.overlay import Overlay
from market.runway import Spending, find_runway, get_spending
from market.standing_orders import StandingOrder, get_standing_order
from market.treasury import get_book, get_booked
from node.chain.node import ChainNode
from node.errors import NoTreasury
from node.queries.answers import BankInfo, LowAccount, RunwayInfo, StandingOrderInfo, TreasuryInfo
from node.queries.member_names import MemberNames


class TreasuryQueries:
    """Questions about money. Raises the `NotFound` family."""

    def __init__(self, node: ChainNode, members: MemberNames) -> None:
        self._node = node
        self._members = members
        self._spending: tuple[bytes, Spending] = b"", Spending(0, {})  # by the head that it was found for
        self._low: tuple[bytes, tuple[LowAccount, ...]] = b"", ()

    @property
    def is_there(self) -> bool:
        params = self._node.params
        return params.kind == "trading" and bool(params.market.economy)

    def get_treasury(self) -> TreasuryInfo:
        """Raises `NoTreasury`."""
        if not self.is_there:
            raise NoTreasury(name=self._node.params.name)
        node, view = self._node, self._view
        booked = get_booked(view)
        founding_uyuan = sum(member.balance_uyuan for member in node.genesis.members)
        members = self._members.list_all()
        orders = [(item.address, get_standing_order(view, item.address)) for item in members]
        return TreasuryInfo(
            height=node.chain.head.height,
            period=node.chain.head.header.period,
            founding_uyuan=founding_uyuan,
            deposited_uyuan=booked.deposited_uyuan,
            withdrawn_uyuan=booked.withdrawn_uyuan,
            money_uyuan=founding_uyuan + booked.deposited_uyuan - booked.withdrawn_uyuan,
            credit_line_uyuan=node.params.market.credit_line_uyuan,
            banks=tuple(self._describe_bank(view, item) for item in members if item.member.role == "bank"),
            orders=tuple(self._describe_order(member, order) for member, order in orders if order is not None),
            low=self.list_low(),
        )

    def get_runway(self, address: Address) -> RunwayInfo | None:
        """The runway of a member; None on a chain without a treasury."""
        if not self.is_there:
            return None
        view, spending = self._view, self._get_spending()
        order, period = get_standing_order(view, address), self._node.chain.head.header.period
        found = find_runway(view, self._node.params.market, address, spending, order, period)
        return RunwayInfo(
            left_uyuan=found.left_uyuan,
            credit_line_uyuan=self._node.params.market.credit_line_uyuan,
            spent_uyuan=spending.amounts_uyuan.get(address, 0),
            periods=spending.periods,
            lasts_periods=found.lasts_periods,
            is_low=found.is_low,
            is_under=found.is_under,
            order=None if order is None else self._describe_order(address, order),
        )

    def list_low(self) -> tuple[LowAccount, ...]:
        """Traders and the grid company whose money does not last, or is gone, on a chain with a treasury."""
        head = self._node.chain.head
        if self._low[0] != head.hash:
            operator = get_grid_operator(self._view)
            asked = [
                item
                for item in self._members.list_all()
                if item.address == operator
                or ((member := get_member(self._view, item.address)) is not None and member.role in TRADERS)
            ]
            self._low = head.hash, tuple(found for item in asked if (found := self._find_low(item)) is not None)
        return self._low[1]

    def _find_low(self, item: Listing) -> LowAccount | None:
        runway = self.get_runway(item.address)
        assert runway is not None, "it was asked whether there is a treasury"
        if not (runway.is_low or runway.is_under):
            return None
        return LowAccount(
            member=show_address(item.address),
            member_name=item.member.name,
            left_uyuan=runway.left_uyuan,
            lasts_periods=runway.lasts_periods,
            is_under=runway.is_under,
            due_period=None if runway.order is None else runway.order.due_period,
        )

    def _describe_bank(self, view: Overlay, item: Listing) -> BankInfo:
        book = get_book(view, item.address)
        return BankInfo(
            bank=show_address(item.address),
            bank_name=item.member.name,
            balance_uyuan=get_account(view, item.address).balance_uyuan,
            statement=None if book is None else book.last.statement,
            line=None if book is None else book.last.line,
            deposited_uyuan=0 if book is None else book.booked.deposited_uyuan,
            withdrawn_uyuan=0 if book is None else book.booked.withdrawn_uyuan,
        )

    def _describe_order(self, member: Address, order: StandingOrder) -> StandingOrderInfo:
        return StandingOrderInfo(
            member=show_address(member),
            member_name=self._members.name_of(member),
            bank=show_address(order.bank),
            bank_name=self._members.name_of(order.bank),
            limit_uyuan=order.limit_uyuan,
            every_periods=order.every,
            due_period=order.due,
        )

    def _get_spending(self) -> Spending:
        head = self._node.chain.head
        if self._spending[0] != head.hash:
            self._spending = head.hash, get_spending(self._view)
        return self._spending[1]

    @property
    def _view(self) -> Overlay:
        return Overlay(self._node.chain.head.state)
