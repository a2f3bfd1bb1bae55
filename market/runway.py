"""For how long an account's money lasts, by what the last periods have cost it: said before it is gone (decision 60).

What is left to a member is its balance, what is set aside for its bids and trades, and its credit line. What a period
costs is the mean over the newest settled ones, 24 at most, of what settlements had it pay less what they have paid it.
The money lasts for as many periods as that goes into it, rounded down, a million at most. It is *low* where that is
less than 24 periods, and less than until a standing order tops it up, if the bank has what that takes. A member whose
balance is below its credit line is *under* it, and places no bids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ledger.accounts import Account, get_account
from ledger.genesis import get_grid_operator
from ledger.hashing import Address
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.standing_orders import StandingOrder
from market.trading.period_index import get_closed_periods
from market.trading.settlement_record import PeriodSettlement, get_settlement

LOOK_BACK = 24  # periods
WARN_BEFORE = 24
MOST_PERIODS = 1_000_000  # that are told


class Spending(NamedTuple):
    """The µ¥ by which settlements of some periods have changed balances for the worse, by member; negative: better."""

    periods: int
    amounts_uyuan: Mapping[Address, int]


class Runway(NamedTuple):
    """The µ¥ that are left to a member, and for how many periods they last; None: as long as none costs it anything."""

    left_uyuan: int
    lasts_periods: int | None
    is_low: bool
    is_under: bool


def get_spending(view: Overlay) -> Spending:
    """The cost of the newest settled periods, `LOOK_BACK` at most, to every member."""
    newest = sorted(get_closed_periods(view))[-LOOK_BACK:]
    settlements = [found for period in newest if (found := get_settlement(view, period)) is not None]
    return sum_spending(settlements, get_grid_operator(view))


def sum_spending(settlements: Iterable[PeriodSettlement], operator: Address) -> Spending:
    """The cost of periods to every member by their settlements, the grid company (`operator`) among them."""
    spent: dict[Address, int] = {}
    periods = 0
    for settlement in settlements:
        periods += 1
        for trade in settlement.trades:
            spent[trade.buyer] = spent.get(trade.buyer, 0) + trade.buyer_pays_uyuan
            spent[trade.seller] = spent.get(trade.seller, 0) - trade.seller_receives_uyuan
            spent[operator] = spent.get(operator, 0) - trade.grid_receives_uyuan
        for rest in settlement.grid:
            cost_uyuan = rest.pays_uyuan - rest.receives_uyuan
            spent[rest.member] = spent.get(rest.member, 0) + cost_uyuan
            spent[operator] = spent.get(operator, 0) - cost_uyuan
    return Spending(periods, spent)


def compute_runway(
    account: Account, spent_uyuan: int, periods: int, line_uyuan: int, *, next_top_up: int | None = None
) -> Runway:
    """The runway of an account that has spent so much in so many periods; it is topped up in `next_top_up` of them."""
    left_uyuan = account.balance_uyuan + account.reserved_uyuan + line_uyuan
    lasts = min(MOST_PERIODS, max(0, left_uyuan) * periods // spent_uyuan) if spent_uyuan > 0 else None
    within = WARN_BEFORE if next_top_up is None else min(WARN_BEFORE, next_top_up)
    is_low = lasts is not None and lasts < within
    return Runway(left_uyuan, lasts, is_low, account.balance_uyuan < -line_uyuan)


def find_runway(
    view: Overlay, params: MarketParams, member: Address, spending: Spending, order: StandingOrder | None, period: int
) -> Runway:
    """The runway of a member in this very state, whose block is of `period`; `order` is in its favour."""
    next_top_up = None
    if order is not None and get_account(view, order.bank).balance_uyuan >= order.limit_uyuan:
        next_top_up = order.due - period
    account, spent_uyuan = get_account(view, member), spending.amounts_uyuan.get(member, 0)
    return compute_runway(account, spent_uyuan, spending.periods, params.credit_line_uyuan, next_top_up=next_top_up)
