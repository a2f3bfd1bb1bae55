"""The settlement of a delivery period: its rows put down, money moved, credit earned, or told to whom it concerns.

What its readings make of it is `settlement_rows.py`. Beside a credit chain no member is scored here: that chain hears
what was delivered, and scores it. A side that was not heard has not delivered, so it scores nothing. Once readings
change, the period is settled anew (`resettlement.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, cast

from ledger.contract import BlockContext
from ledger.hashing import Address
from ledger.outbox import ROWS_PER_PART, count_parts, post, post_parts
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.after_settlement import compute_meter_cost, compute_trade_cost, follow_up
from market.claim_records import get_net_readings
from market.messages import DELIVERED
from market.metering import Reading, get_last_meter, get_readings, walk_energy
from market.netting import net
from market.trading.balances import Balance, list_deliveries, put_balances
from market.trading.claim_settlement import serve_period
from market.trading.deliveries import list_net_metered, report_deliveries, score_netted, score_sides
from market.trading.pages import append_rows, get_slice
from market.trading.quotas import get_wheeling
from market.trading.reserves import compute_reserve_shares
from market.trading.sessions import is_firm
from market.trading.settlement_accounts import Accounts
from market.trading.settlement_record import (
    SettledShare,
    SettledTrade,
    SettledWithGrid,
    get_settlement,
    grid_name,
    put_paged,
    put_settlement,
    trades_name,
)
from market.trading.settlement_rows import compute_deviations, compute_rest, compute_trade_rows, list_imputed
from market.trading.trades import TradeRecord
from market.trading.work import REST, SETTLEMENT, TELL, claim, claim_whole, get_room, is_limited, spend

_SETTLING = b"market/settling/"


class _Progress(NamedTuple):
    """The place that a settlement has come to: trades first, then what meters show beside them, last heard first."""

    trades: int = 0
    owner: Address | None = None  # whose meter is next, empty after all of them; None while trades are left
    grid: int = 0  # rows beside the trades


def is_settling(view: Overlay, period: int) -> bool:
    """Return True if a period's settlement has begun and takes more blocks."""
    return view.get(_progress_key(period)) is not None


def settle_period(view: Overlay, block: BlockContext, period: int, trades: Sequence[TradeRecord]) -> bool:
    """Settle a period by its readings, or go on with it; `trades` are those that bind. True once it is done.

    A trade's reserve is released as it is settled, then its money moves, and a balance may end in arrears. Both sides
    of every trade are scored, by Eqs (1), (2) and (12) of text 000, or reported to the chain that does so.
    """
    value = cast(tuple[int, bytes | None, int] | None, view.get(_progress_key(period)))
    progress = _Progress() if value is None else _Progress._make(value)
    accounts = Accounts(view, block)
    settled, grid, meters = list[SettledTrade](), list[SettledWithGrid](), list[Reading]()
    is_served, claims = serve_period(view, block, period, accounts)
    if is_served and progress.owner is None:
        progress, settled = _settle_trades(view, block, period, trades, progress, accounts)
    if progress.owner is not None:
        settle_rest = _settle_balances if is_firm(block.params.market) else _settle_meters
        progress, grid, meters = settle_rest(view, block, period, trades, progress, accounts)
    accounts.write()
    follow_up(view, block, SettledShare(period, claims, settled, grid, meters))
    if progress.owner != b"":
        view.put(_progress_key(period), tuple(progress))
        return False
    view.delete(_progress_key(period))
    _finish(view, block, period, trades, progress)
    return True


def _settle_trades(
    view: Overlay,
    block: BlockContext,
    period: int,
    trades: Sequence[TradeRecord],
    progress: _Progress,
    accounts: Accounts,
) -> tuple[_Progress, list[SettledTrade]]:
    params, first = block.params.market, progress.trades
    cost = SETTLEMENT + compute_trade_cost(block)
    places = range(first, first + claim(view, block, len(trades) - first, cost=cost))
    rows: list[SettledTrade] = []
    for gate, own, part in _split_by_gate(period, trades, places, params):
        wheeling = get_wheeling(view, block, gate, [own[place].buyer for place in part])
        rows += compute_trade_rows(view, period, own, part, wheeling, params)
        accounts.release(compute_reserve_shares(own, part, wheeling, params))
    for member, consumed_wh in list_imputed(rows).items():
        view.emit("imputed", period, member, consumed_wh, 0)
    is_scored_here = "credit" not in block.siblings and not is_firm(params)
    for record, row in zip(trades[places.start : places.stop], rows, strict=True):
        accounts.move_trade(row)
        view.emit("settlement", record.gate, row.buyer, row.seller, *row.legs)
        for address, score_upt in score_sides(record, row, params) if is_scored_here else ():
            credit_upt = accounts.add_score(address, score_upt, record.volume_wh, params)
            view.emit("credit", period, address, score_upt, credit_upt)
    append_rows(view, trades_name(period), first, rows)
    if trades and is_limited(block) and not is_firm(params):
        _tell(view, block, period, trades, places)
    owner = get_last_meter(view, period) if places.stop == len(trades) else None
    return progress._replace(trades=places.stop, owner=owner), rows


def _split_by_gate(
    period: int, trades: Sequence[TradeRecord], places: range, params: MarketParams
) -> Iterator[tuple[int, Sequence[TradeRecord], range]]:
    """The number of each gate that has trades in these places, all of its trades, and the places in their list."""
    if not is_firm(params):
        yield period, trades, places
        return
    first = 0
    for gate, group in groupby(trades, key=attrgetter("gate")):
        own = list(group)
        part = range(max(places.start - first, 0), min(places.stop - first, len(own)))
        if part:
            yield gate, own, part
        first += len(own)


def _tell(view: Overlay, block: BlockContext, period: int, trades: Sequence[TradeRecord], places: range) -> None:
    """Tell the credit chain of those parts of `delivered` that are full with the trades in these places."""
    parts = count_parts(len(trades))
    first_part, last_part = places.start // ROWS_PER_PART, places.stop // ROWS_PER_PART
    if places.stop == len(trades):
        last_part = parts
    if "credit" not in block.siblings or first_part == last_part:
        return
    begin, end = first_part * ROWS_PER_PART, min(last_part * ROWS_PER_PART, places.stop)
    found = get_slice(view, trades_name(period), range(begin, end))
    rows = report_deliveries(block, trades[begin:end], list(map(SettledTrade._make, found)))
    post_parts(view, DELIVERED, period, rows, parts=parts, first=first_part, height=block.height)


def _settle_meters(
    view: Overlay,
    block: BlockContext,
    period: int,
    trades: Sequence[TradeRecord],
    progress: _Progress,
    accounts: Accounts,
) -> tuple[_Progress, list[SettledWithGrid], list[Reading]]:
    """Settle with the grid company what meters show beside the trades."""
    assert progress.owner is not None
    cost = REST + compute_meter_cost(view, block, period)
    count, found, owner = walk_energy(view, period, progress.owner, get_room(view, block, cost=cost))
    spend(view, block, count, cost=cost)
    params, readings = block.params.market, found[::-1]
    rows = compute_rest(trades, get_net_readings(view, params, period, readings), params)
    for row in rows:
        accounts.move_rest(row)
        view.emit("grid-settlement", period, *row)
    count = append_rows(view, grid_name(period), progress.grid, rows)
    return progress._replace(owner=owner, grid=count), rows, readings


def _settle_balances(
    view: Overlay,
    block: BlockContext,
    period: int,
    trades: Sequence[TradeRecord],
    progress: _Progress,
    accounts: Accounts,
) -> tuple[_Progress, list[SettledWithGrid], list[Reading]]:
    """Settle what meters say beyond all that was agreed with the grid company, and assess who has delivered.

    In one piece: where this block has no room for it, the next one begins with it.
    """
    params = block.params.market
    positions_wh = net((record.buyer, record.seller, record.volume_wh) for record in trades)
    meters = get_readings(view, period)
    readings = get_net_readings(view, params, period, meters)
    cost = REST + compute_meter_cost(view, block, period)
    work = len(trades) * TELL + len(positions_wh) * SETTLEMENT + len(readings) * cost
    if not claim_whole(view, block, work):
        return progress._replace(owner=None), [], []
    metered_wh = {owner: consumed_wh - produced_wh for owner, consumed_wh, produced_wh in readings}
    balances = [Balance(owner, wh, metered_wh.get(owner)) for owner, wh in sorted(positions_wh.items())]
    others = [Balance(owner, 0, wh) for owner, wh in metered_wh.items() if owner not in positions_wh]
    for member, position_wh, metered in balances:
        if metered is None:
            view.emit("imputed", period, member, max(0, position_wh), 0)
    rows = compute_deviations([*balances, *others], params)
    for row in rows:
        accounts.move_rest(row)
        view.emit("grid-settlement", period, *row)
    put_balances(view, period, balances)
    deliveries = list_deliveries(balances)
    if "credit" in block.siblings:
        if deliveries:
            energy = list_net_metered(block, deliveries, balances)
            told = [(*item[:4], *wh) for item, wh in zip(deliveries, energy, strict=True)]
            post(view, DELIVERED, period, told, height=block.height)
    else:
        for delivery in deliveries:
            for address, score_upt in score_netted(delivery, params):
                credit_upt = accounts.add_score(address, score_upt, delivery.agreed_wh, params)
                view.emit("credit", period, address, score_upt, credit_upt)
    count = append_rows(view, grid_name(period), progress.grid, rows)
    return progress._replace(owner=b"", grid=count), rows, meters


def _finish(
    view: Overlay, block: BlockContext, period: int, trades: Sequence[TradeRecord], progress: _Progress
) -> None:
    put_paged(view, period, progress.trades, progress.grid)
    if not is_limited(block):
        settlement = get_settlement(view, period)
        assert settlement is not None, period
        rows, grid = settlement
        put_settlement(view, block, period, rows, grid)
        if trades and "credit" in block.siblings and not is_firm(block.params.market):
            post(view, DELIVERED, period, report_deliveries(block, trades, rows), height=block.height)
    view.emit("settled", period)


def _progress_key(period: int) -> bytes:
    return _SETTLING + period.to_bytes(8, "big")
