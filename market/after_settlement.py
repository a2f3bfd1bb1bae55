"""The consequences of settled rows, in a fixed order: each acts on the rows that a share of the work has settled.

A period may be settled in several shares. Its rows come once each and in order: claims, trades, then what meters show
beside them. Money has moved by then. Nothing here happens again when a period is settled anew.
"""

from __future__ import annotations

from collections.abc import Callable

from ledger.contract import BlockContext
from ledger.overlay import Overlay
from market.bills import split_bills
from market.pool_payments import collect_for_pools
from market.programme_records import list_paying
from market.programmes import pay_subsidies
from market.trading.settlement_record import SettledShare
from market.trading.work import BILL, SUBSIDY
from market.vouchers import grant_incentives

AFTER_SETTLEMENT: tuple[Callable[[Overlay, BlockContext, SettledShare], None], ...] = (
    pay_subsidies,
    split_bills,
    grant_incentives,
    collect_for_pools,
)


def follow_up(view: Overlay, block: BlockContext, share: SettledShare) -> None:
    """Do all that follows from these rows; nothing where the chain has no economy."""
    for act in AFTER_SETTLEMENT if block.params.market.economy else ():
        act(view, block, share)


def compute_meter_cost(view: Overlay, block: BlockContext, period: int) -> int:
    """The work that follows from a meter: its bill, and each programme that pays for the period looks at it."""
    if not block.params.market.economy:
        return 0
    return SUBSIDY * len(list_paying(view, period)) + compute_trade_cost(block)


def compute_trade_cost(block: BlockContext) -> int:
    """The work that follows from a trade: a line of its buyer's bill, where bills are split."""
    return BILL if block.params.market.bills.is_split else 0
