"""Money set aside: what open bids, and then the trades they become, keep out of a member's balance.

A reserve moves between `balance_uyuan` and `reserved_uyuan` of one account: no money changes hands. It covers all that
the agreed price may come to hold for, which is more than was agreed where the market allows for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ledger.accounts import Account, get_account, put_account
from ledger.errors import InsufficientBalance
from ledger.hashing import Address
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.errors import UnderCreditLine
from market.orders import Order, Side
from market.settlement import WH_PER_KWH, allow_over_delivery
from market.trading.trades import TradeRecord


def compute_bid_reserve(order: Order, wheeling_uyuan_per_kwh: int, params: MarketParams) -> int:
    """The reserve of a bid, in µ¥: its volume with the allowance at its limit and the wheeling charge, rounded up."""
    volume_wh = allow_over_delivery(order.volume_wh, params.allowance_ppm)
    return _round_up(volume_wh * (order.price_uyuan_per_kwh + wheeling_uyuan_per_kwh))


def compute_bid_reserves(
    orders: Iterable[Order], wheeling: Mapping[Address, int], params: MarketParams
) -> dict[Address, int]:
    """The reserves (µ¥) of all bids among `orders`, by owner. `wheeling` is in µ¥ per kWh by buyer."""
    reserves: dict[Address, int] = {}
    for order in orders:
        if order.side == Side.BID:
            reserve_uyuan = compute_bid_reserve(order, wheeling[order.owner], params)
            reserves[order.owner] = reserves.get(order.owner, 0) + reserve_uyuan
    return reserves


def compute_trade_reserves(
    records: Iterable[TradeRecord], wheeling: Mapping[Address, int], params: MarketParams
) -> dict[Address, int]:
    """Reserves of every buyer for its trades of a period, in µ¥ by address. `wheeling` is in µ¥ per kWh by buyer.

    Rounded up once per buyer, not once per trade: so it never exceeds the reserves of the bids that were
    filled, however many trades filled one bid, and gate closure leaves no buyer in arrears.
    """
    costs: dict[Address, int] = {}
    for record in records:
        volume_wh = allow_over_delivery(record.volume_wh, params.allowance_ppm)
        cost = volume_wh * (record.price_uyuan_per_kwh + wheeling[record.buyer])
        costs[record.buyer] = costs.get(record.buyer, 0) + cost
    return {buyer: _round_up(cost) for buyer, cost in costs.items()}


def compute_reserve_shares(
    records: Sequence[TradeRecord], places: range, wheeling: Mapping[Address, int], params: MarketParams
) -> dict[Address, int]:
    """The part of what `compute_trade_reserves` has for all these records that falls on those in `places`.

    A buyer's share is the difference of what its trades up to a place need, so that the shares of all of them are the
    whole. `wheeling` has the buyers in `places`.
    """
    costs: dict[Address, int] = {}
    before: dict[Address, int] = {}
    for place, record in enumerate(records[: places.stop]):
        buyer = record.buyer
        if buyer not in wheeling:
            continue
        cost = costs.get(buyer, 0)
        if place >= places.start:
            before.setdefault(buyer, cost)
        volume_wh = allow_over_delivery(record.volume_wh, params.allowance_ppm)
        costs[buyer] = cost + volume_wh * (record.price_uyuan_per_kwh + wheeling[buyer])
    return {buyer: _round_up(costs[buyer]) - _round_up(cost) for buyer, cost in before.items()}


def hold_reserve(view: Overlay, address: Address, amount_uyuan: int, params: MarketParams) -> None:
    """Set money aside, of the balance and of the credit line. Raises `UnderCreditLine` or `InsufficientBalance`."""
    account, line_uyuan = get_account(view, address), params.credit_line_uyuan
    if params.economy and account.balance_uyuan < -line_uyuan:
        raise UnderCreditLine(balance=account.balance_uyuan, line=line_uyuan)
    have_uyuan = account.balance_uyuan + line_uyuan
    if have_uyuan < amount_uyuan:
        raise InsufficientBalance(have_uyuan=have_uyuan, want_uyuan=amount_uyuan)
    put_account(view, address, set_aside(account, amount_uyuan))


def release_reserve(view: Overlay, address: Address, amount_uyuan: int) -> None:
    put_account(view, address, set_aside(get_account(view, address), -amount_uyuan))


def replace_reserves(view: Overlay, old: Mapping[Address, int], new: Mapping[Address, int]) -> None:
    """Release all of `old` and set `new` aside, with one write per account that changes."""
    for address in sorted({*old, *new}):
        amount_uyuan = new.get(address, 0) - old.get(address, 0)
        if amount_uyuan:
            put_account(view, address, set_aside(get_account(view, address), amount_uyuan))


def set_aside(account: Account, amount_uyuan: int) -> Account:
    """The account with that much more in reserve; less where the amount is negative."""
    reserved_uyuan = account.reserved_uyuan + amount_uyuan
    assert reserved_uyuan >= 0, "more is released than was set aside"
    return Account(account[0] - amount_uyuan, *account[1:3], reserved_uyuan, *account[4:])


def _round_up(cost: int) -> int:
    """µ¥ from Wh · µ¥/kWh."""
    return -(-cost // WH_PER_KWH)
