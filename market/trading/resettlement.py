"""The settlement of a period anew, once readings have changed: the difference is paid, and scored.

What it comes to does not depend on the order in which they came (decision 32).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledger.codec import Value
from ledger.contract import BlockContext
from ledger.hashing import Address
from ledger.overlay import Overlay
from market.bills import correct_bills
from market.claim_records import get_net_energy, get_net_readings
from market.metering import get_reading, get_readings
from market.trading.balances import Balance, get_balances, list_deliveries, put_balances
from market.trading.deliveries import get_metered, list_net_metered, report_deliveries, score_netted, score_sides
from market.trading.quotas import get_wheeling
from market.trading.sessions import is_firm
from market.trading.settlement_accounts import Accounts
from market.trading.settlement_record import (
    PeriodSettlement,
    SettledWithGrid,
    get_settlement,
    put_settlement,
)
from market.trading.settlement_rows import compute_deviations, compute_rest, compute_trade_rows
from market.trading.trades import TradeRecord
from market.trading.work import is_limited


def resettle_period(
    view: Overlay, block: BlockContext, period: int, trades: Sequence[TradeRecord], owners: Sequence[Address]
) -> list[Value]:
    """Pay and score the difference to what a settled period was settled at, now that these meters' readings changed.

    The rows of `redelivered` about it: the trades of which another part was metered, with what was before and what is
    now; the chain that keeps the credit scores them, where there is one.
    """
    params, changed_owners = block.params.market, set(owners)
    before = get_settlement(view, period)
    assert before is not None, period
    if is_firm(params):
        return _rebalance(view, block, period, before, owners)
    places = [place for place, record in enumerate(trades) if {record.buyer, record.seller} & changed_owners]
    wheeling = get_wheeling(view, block, period, [trades[place].buyer for place in places])
    rows = compute_trade_rows(view, period, trades, places, wheeling, params)
    accounts = Accounts(view, block)
    changed = [
        (place, trades[place], before.trades[place], new)
        for place, new in zip(places, rows, strict=True)
        if new != before.trades[place]
    ]
    for _, record, old, new in changed:
        accounts.move_trade(old, sign=-1)
        accounts.move_trade(new)
        view.emit("resettlement", period, new.buyer, new.seller, *new.legs)
        if "credit" in block.siblings:
            continue
        for (address, new_upt), (_, old_upt) in zip(
            score_sides(record, new, params), score_sides(record, old, params), strict=True
        ):
            if new_upt != old_upt:
                credit_upt = accounts.correct_score(address, new_upt - old_upt, record.volume_wh, params)
                view.emit("credit-corrected", period, address, new_upt, credit_upt)
    settled = {place: new for place, _, _, new in changed}
    after = [settled.get(place, old) for place, old in enumerate(before.trades)]
    rest = _resettle_rest(view, block, period, trades, owners, before.grid, accounts)
    put_settlement(view, block, period, after, rest)
    correct_bills(view, block, period, before, PeriodSettlement(tuple(after), tuple(rest)))
    accounts.write()
    view.emit("resettled", period)
    return [
        (period, *report, *get_metered(block, old))
        for _, record, old, new in changed
        for report in report_deliveries(block, [record], [new])
    ]


def _rebalance(
    view: Overlay, block: BlockContext, period: int, before: PeriodSettlement, owners: Sequence[Address]
) -> list[Value]:
    """The same where trades are firm: what they cost stays, what these meters say beyond them has changed."""
    params, accounts = block.params.market, Accounts(view, block)
    old = get_balances(view, period)
    found = {item.member: item for item in old}
    energy = {owner: get_net_energy(view, params, period, owner) for owner in owners}
    metered_wh = {owner: now[0] - now[1] for owner, now in energy.items() if now is not None}
    changed = [found.get(owner, Balance(owner, 0, None))._replace(metered_wh=wh) for owner, wh in metered_wh.items()]
    fresh = {row.member: row for row in compute_deviations(changed, params)}
    grid = _pay_difference(view, period, before.grid, list(metered_wh), fresh, accounts)
    put_settlement(view, block, period, before.trades, list(grid.values()))
    correct_bills(view, block, period, before, before._replace(grid=tuple(grid.values())))
    new = [item._replace(metered_wh=metered_wh.get(item.member, item.metered_wh)) for item in old]
    put_balances(view, period, new)
    rows: list[Value] = []
    due = list_deliveries(old), list_deliveries(new)
    told = [list_net_metered(block, items, of) for items, of in zip(due, (old, new), strict=True)]
    for was, now, metered_before, metered in zip(*due, *told, strict=True):
        if (was, metered_before) == (now, metered):
            continue
        rows.append((period, *now[:4], *metered, *metered_before))
        scores = zip(score_netted(now, params), score_netted(was, params), strict=True)
        for (address, new_upt), (_, old_upt) in scores if "credit" not in block.siblings else ():
            if new_upt != old_upt:
                credit_upt = accounts.correct_score(address, new_upt - old_upt, now.agreed_wh, params)
                view.emit("credit-corrected", period, address, new_upt, credit_upt)
    accounts.write()
    view.emit("resettled", period)
    return rows


def _resettle_rest(
    view: Overlay,
    block: BlockContext,
    period: int,
    trades: Sequence[TradeRecord],
    owners: Sequence[Address],
    before: Sequence[SettledWithGrid],
    accounts: Accounts,
) -> list[SettledWithGrid]:
    """The rows beside the trades, once the difference is paid for these meters."""
    heard = [reading for owner in owners if (reading := get_reading(view, period, owner)) is not None]
    readings = get_net_readings(view, block.params.market, period, heard)
    fresh = {row.member: row for row in compute_rest(trades, readings, block.params.market)}
    grid = _pay_difference(view, period, before, owners, fresh, accounts)
    if is_limited(block):
        return list(grid.values())
    return [grid[reading.owner] for reading in get_readings(view, period) if reading.owner in grid]


def _pay_difference(
    view: Overlay,
    period: int,
    before: Sequence[SettledWithGrid],
    owners: Sequence[Address],
    fresh: Mapping[Address, SettledWithGrid],
    accounts: Accounts,
) -> dict[Address, SettledWithGrid]:
    """Pay the difference that the fresh rows of these meters make; all rows beside the trades after that."""
    grid = {row.member: row for row in before}
    for member in [
        *(owner for owner in grid if owner in set(owners)),
        *(owner for owner in owners if owner not in grid),
    ]:
        nothing = SettledWithGrid(member, 0, 0, 0, 0)
        was, now = grid.pop(member, nothing), fresh.get(member, nothing)
        if was != now:
            accounts.move_rest(was, sign=-1)
            accounts.move_rest(now)
            view.emit("grid-resettlement", period, *now)
    return {**grid, **fresh}
