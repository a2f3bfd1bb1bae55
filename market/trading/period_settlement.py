"""The settlement of a delivery period: readings spread over trades, money moved, credit earned, one record kept.

A member's consumption is spread over all it bought and its output over all it sold; a member that bought or sold
nothing settles that meter with the grid company. So every Wh that was metered is settled exactly once.
Beside a credit chain no member is scored here: that chain hears what was delivered, and scores it.

Of a meter that was not heard the record holds what is imputed: a buyer has taken what it agreed to, from the grid
company, and a seller has made nothing. Neither has delivered, so it scores nothing. Once readings change, the
period is settled anew from all of them, and the difference is paid: what it comes to does not depend on the order in
which they came (decision 32).

Where a period is traded twice its trades are firm (decision 54): they are paid as agreed, whatever is metered, and what
a meter says beyond its owner's position settles with the grid company. A seller that was not heard has made nothing, a
buyer has taken its position. Who has delivered is assessed by what is left of all trades once they are netted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, cast

from ledger.accounts import Account, get_account, put_account
from ledger.codec import Value
from ledger.contract import BlockContext
from ledger.genesis import get_grid_operator
from ledger.hashing import Address
from ledger.outbox import ROWS_PER_PART, count_parts, post, post_parts
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.credit.score import add_score, assess_sides, correct_score
from market.messages import DELIVERED
from market.metering import Reading, get_energy, get_last_meter, get_reading, get_readings, walk_energy
from market.netting import NetDelivery, net
from market.settlement import get_price_limit, settle_firm, settle_trade, settle_with_grid, spread_over
from market.trading.balances import Balance, get_balances, list_deliveries, put_balances
from market.trading.pages import append_rows, as_value, drop_rows, get_rows, get_slice
from market.trading.quotas import get_wheeling
from market.trading.reserves import compute_reserve_shares, set_aside
from market.trading.sessions import is_firm
from market.trading.trades import TradeRecord
from market.trading.work import REST, SETTLEMENT, TELL, claim, claim_whole, get_room, is_limited, spend

_SETTLEMENT = b"market/settlement/"
_SETTLING = b"market/settling/"


class SettledTrade(NamedTuple):
    """One trade as metered: the parts of both readings that fall on it (Wh) and its three legs (µ¥).

    Indexes have gaps where the scheduling chain accepted nothing of a trade. An imputed side's meter was not heard.
    """

    trade_index: int
    buyer: Address
    seller: Address
    consumption_wh: int
    output_wh: int
    buyer_pays_uyuan: int
    seller_receives_uyuan: int
    grid_receives_uyuan: int
    traded_wh: int
    is_consumption_imputed: int = 0
    is_output_imputed: int = 0

    @property
    def metered_consumption_wh(self) -> int:
        return 0 if self.is_consumption_imputed else self.consumption_wh


class SettledWithGrid(NamedTuple):
    """One member's consumption at retail and output at feed-in, outside all trades."""

    member: Address
    consumption_wh: int
    output_wh: int
    pays_uyuan: int
    receives_uyuan: int


class PeriodSettlement(NamedTuple):
    """A settled period: its trades by index (none where it was void or lapsed), and the rest by order of reading."""

    trades: tuple[SettledTrade, ...]
    grid: tuple[SettledWithGrid, ...]


NOTHING = PeriodSettlement((), ())


class _Progress(NamedTuple):
    """The place that a settlement has come to: trades first, then what meters show beside them, last heard first."""

    trades: int = 0
    owner: Address | None = None  # whose meter is next, empty after all of them; None while trades are left
    grid: int = 0  # rows beside the trades


def get_settlement(view: Overlay, period: int) -> PeriodSettlement | None:
    """The record of a period that is over; None before that, and once it is no longer kept."""
    value = cast(tuple[Any, Any] | None, view.get(_settlement_key(period)))
    if value is None:
        return None
    trades, grid = value
    if isinstance(trades, int):
        trades, grid = get_rows(view, _trades_name(period), trades), get_rows(view, _grid_name(period), grid)
    return PeriodSettlement(
        trades=tuple([SettledTrade._make(row) for row in trades]),
        grid=tuple([SettledWithGrid._make(row) for row in grid]),
    )


def has_settlement(view: Overlay, period: int) -> bool:
    return view.get(_settlement_key(period)) is not None


def is_settling(view: Overlay, period: int) -> bool:
    """Return True if a period's settlement has begun and takes more blocks."""
    return view.get(_progress_key(period)) is not None


# --- settlement ----------------------------------------------------------------------------------


def settle_period(view: Overlay, block: BlockContext, period: int, trades: Sequence[TradeRecord]) -> bool:
    """Settle a period by its readings, or go on with it; `trades` are those that bind. True once it is done.

    A trade's reserve is released as it is settled, then its money moves, and a balance may end in arrears. Both sides
    of every trade are scored, by Eqs (1), (2) and (12) of text 000, or reported to the chain that does so.
    """
    value = cast(tuple[int, bytes | None, int] | None, view.get(_progress_key(period)))
    progress = _Progress() if value is None else _Progress._make(value)
    accounts = _Accounts(view, block)
    if progress.owner is None:
        progress = _settle_trades(view, block, period, trades, progress, accounts)
    if progress.owner is not None:
        settle_rest = _settle_balances if is_firm(block.params.market) else _settle_meters
        progress = settle_rest(view, block, period, trades, progress, accounts)
    accounts.write()
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
    accounts: _Accounts,
) -> _Progress:
    params, first = block.params.market, progress.trades
    places = range(first, first + claim(view, block, len(trades) - first, cost=SETTLEMENT))
    rows: list[SettledTrade] = []
    for gate, own, part in _split_by_gate(period, trades, places, params):
        wheeling = get_wheeling(view, block, gate, [own[place].buyer for place in part])
        rows += _compute_rows(view, period, own, part, wheeling, params)
        accounts.release(compute_reserve_shares(own, part, wheeling, params))
    for member, consumed_wh in _list_imputed(rows).items():
        view.emit("imputed", period, member, consumed_wh, 0)
    is_scored_here = "credit" not in block.siblings and not is_firm(params)
    for record, row in zip(trades[places.start : places.stop], rows, strict=True):
        accounts.move_trade(row)
        view.emit("settlement", record.gate, row.buyer, row.seller, *_get_legs(row))
        for address, score_upt in _score(record, row, params) if is_scored_here else ():
            credit_upt = accounts.add_score(address, score_upt, record.volume_wh, params)
            view.emit("credit", period, address, score_upt, credit_upt)
    append_rows(view, _trades_name(period), first, rows)
    if trades and is_limited(block) and not is_firm(params):
        _tell(view, block, period, trades, places)
    owner = get_last_meter(view, period) if places.stop == len(trades) else None
    return progress._replace(trades=places.stop, owner=owner)


def _tell(view: Overlay, block: BlockContext, period: int, trades: Sequence[TradeRecord], places: range) -> None:
    """Tell the credit chain of those parts of `delivered` that are full with the trades in these places."""
    parts = count_parts(len(trades))
    first_part, last_part = places.start // ROWS_PER_PART, places.stop // ROWS_PER_PART
    if places.stop == len(trades):
        last_part = parts
    if "credit" not in block.siblings or first_part == last_part:
        return
    begin, end = first_part * ROWS_PER_PART, min(last_part * ROWS_PER_PART, places.stop)
    found = get_slice(view, _trades_name(period), range(begin, end))
    rows = _report_deliveries(block, trades[begin:end], list(map(SettledTrade._make, found)))
    post_parts(view, DELIVERED, period, rows, parts=parts, first=first_part, height=block.height)


def _settle_meters(
    view: Overlay,
    block: BlockContext,
    period: int,
    trades: Sequence[TradeRecord],
    progress: _Progress,
    accounts: _Accounts,
) -> _Progress:
    """Settle with the grid company what meters show beside the trades."""
    assert progress.owner is not None
    count, readings, owner = walk_energy(view, period, progress.owner, get_room(view, block, cost=REST))
    spend(view, block, count, cost=REST)
    rows = _compute_rest(trades, readings[::-1], block.params.market)
    for row in rows:
        accounts.move_rest(row)
        view.emit("grid-settlement", period, *row)
    return progress._replace(owner=owner, grid=append_rows(view, _grid_name(period), progress.grid, rows))


def _settle_balances(
    view: Overlay,
    block: BlockContext,
    period: int,
    trades: Sequence[TradeRecord],
    progress: _Progress,
    accounts: _Accounts,
) -> _Progress:
    """Settle what meters say beyond all that was agreed with the grid company, and assess who has delivered.

    In one piece: where this block has no room for it, the next one begins with it.
    """
    params = block.params.market
    positions_wh = net((record.buyer, record.seller, record.volume_wh) for record in trades)
    readings = get_readings(view, period)
    work = len(trades) * TELL + len(positions_wh) * SETTLEMENT + len(readings) * REST
    if not claim_whole(view, block, work):
        return progress._replace(owner=None)
    metered_wh = {owner: consumed_wh - produced_wh for owner, consumed_wh, produced_wh in readings}
    balances = [Balance(owner, wh, metered_wh.get(owner)) for owner, wh in sorted(positions_wh.items())]
    others = [Balance(owner, 0, wh) for owner, wh in metered_wh.items() if owner not in positions_wh]
    for member, position_wh, metered in balances:
        if metered is None:
            view.emit("imputed", period, member, max(0, position_wh), 0)
    rows = _compute_deviations([*balances, *others], params)
    for row in rows:
        accounts.move_rest(row)
        view.emit("grid-settlement", period, *row)
    put_balances(view, period, balances)
    deliveries = list_deliveries(balances)
    if "credit" in block.siblings:
        if deliveries:
            energy = _list_net_metered(block, deliveries, balances)
            told = [(*item[:4], *wh) for item, wh in zip(deliveries, energy, strict=True)]
            post(view, DELIVERED, period, told, height=block.height)
    else:
        for delivery in deliveries:
            for address, score_upt in _score_delivery(delivery, params):
                credit_upt = accounts.add_score(address, score_upt, delivery.agreed_wh, params)
                view.emit("credit", period, address, score_upt, credit_upt)
    return progress._replace(owner=b"", grid=append_rows(view, _grid_name(period), progress.grid, rows))


def _finish(
    view: Overlay, block: BlockContext, period: int, trades: Sequence[TradeRecord], progress: _Progress
) -> None:
    view.put(_settlement_key(period), (progress.trades, progress.grid))
    if not is_limited(block):
        rows, grid = get_settlement(view, period) or NOTHING
        _put(view, block, period, rows, grid)
        if trades and "credit" in block.siblings and not is_firm(block.params.market):
            post(view, DELIVERED, period, _report_deliveries(block, trades, rows), height=block.height)
    view.emit("settled", period)


def put_nothing(view: Overlay, period: int) -> None:
    """Put down that nothing is settled of a period."""
    view.put(_settlement_key(period), ((), ()))


def drop_settlement(view: Overlay, period: int) -> None:
    value = cast(tuple[Any, Any] | None, view.get(_settlement_key(period)))
    if value is not None and isinstance(value[0], int):
        drop_rows(view, _trades_name(period), value[0])
        drop_rows(view, _grid_name(period), value[1])
    view.delete(_settlement_key(period))


# --- corrections ---------------------------------------------------------------------------------


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
    rows = _compute_rows(view, period, trades, places, wheeling, params)
    accounts = _Accounts(view, block)
    changed = [
        (place, trades[place], before.trades[place], new)
        for place, new in zip(places, rows, strict=True)
        if new != before.trades[place]
    ]
    for _, record, old, new in changed:
        accounts.move_trade(old, sign=-1)
        accounts.move_trade(new)
        view.emit("resettlement", period, new.buyer, new.seller, *_get_legs(new))
        if "credit" in block.siblings:
            continue
        for (address, new_upt), (_, old_upt) in zip(
            _score(record, new, params), _score(record, old, params), strict=True
        ):
            if new_upt != old_upt:
                credit_upt = accounts.correct_score(address, new_upt - old_upt, record.volume_wh, params)
                view.emit("credit-corrected", period, address, new_upt, credit_upt)
    settled = {place: new for place, _, _, new in changed}
    after = [settled.get(place, old) for place, old in enumerate(before.trades)]
    _put(view, block, period, after, _resettle_rest(view, block, period, trades, owners, before.grid, accounts))
    accounts.write()
    view.emit("resettled", period)
    return [
        (period, *report, *_get_metered(block, old))
        for _, record, old, new in changed
        for report in _report_deliveries(block, [record], [new])
    ]


def _rebalance(
    view: Overlay, block: BlockContext, period: int, before: PeriodSettlement, owners: Sequence[Address]
) -> list[Value]:
    """The same where trades are firm: what they cost stays, what these meters say beyond them has changed."""
    params, accounts = block.params.market, _Accounts(view, block)
    old = get_balances(view, period)
    found = {item.member: item for item in old}
    energy = {owner: get_energy(view, period, owner) for owner in owners}
    metered_wh = {owner: now[0] - now[1] for owner, now in energy.items() if now is not None}
    changed = [found.get(owner, Balance(owner, 0, None))._replace(metered_wh=wh) for owner, wh in metered_wh.items()]
    fresh = {row.member: row for row in _compute_deviations(changed, params)}
    grid = _pay_difference(view, period, before.grid, list(metered_wh), fresh, accounts)
    _put(view, block, period, before.trades, list(grid.values()))
    new = [item._replace(metered_wh=metered_wh.get(item.member, item.metered_wh)) for item in old]
    put_balances(view, period, new)
    rows: list[Value] = []
    due = list_deliveries(old), list_deliveries(new)
    told = [_list_net_metered(block, items, of) for items, of in zip(due, (old, new), strict=True)]
    for was, now, metered_before, metered in zip(*due, *told, strict=True):
        if (was, metered_before) == (now, metered):
            continue
        rows.append((period, *now[:4], *metered, *metered_before))
        scores = zip(_score_delivery(now, params), _score_delivery(was, params), strict=True)
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
    accounts: _Accounts,
) -> list[SettledWithGrid]:
    """The rows beside the trades, once the difference is paid for these meters."""
    readings = [reading for owner in owners if (reading := get_reading(view, period, owner)) is not None]
    fresh = {row.member: row for row in _compute_rest(trades, readings, block.params.market)}
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
    accounts: _Accounts,
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


# --- what is kept --------------------------------------------------------------------------------


def _put(
    view: Overlay,
    block: BlockContext,
    period: int,
    trades: Sequence[SettledTrade],
    grid: Sequence[SettledWithGrid],
) -> None:
    """Put down what a period is settled at: in pages where the chain spreads work over blocks, else as one value."""
    drop_settlement(view, period)
    if is_limited(block):
        counts = append_rows(view, _trades_name(period), 0, trades), append_rows(view, _grid_name(period), 0, grid)
        view.put(_settlement_key(period), counts)
    else:
        view.put(_settlement_key(period), (as_value(trades), as_value(grid)))


def _get_legs(row: SettledTrade) -> tuple[int, ...]:
    return (row.buyer_pays_uyuan, row.seller_receives_uyuan, row.grid_receives_uyuan, row.traded_wh)


def _list_imputed(rows: Iterable[SettledTrade]) -> dict[Address, int]:
    """Members with imputed readings, in the order of their trades: what they have consumed, Wh; none has made any."""
    consumed_wh: dict[Address, int] = {}
    for row in rows:
        if row.is_consumption_imputed:
            consumed_wh[row.buyer] = consumed_wh.get(row.buyer, 0) + row.consumption_wh
        if row.is_output_imputed:
            consumed_wh.setdefault(row.seller, 0)
    return consumed_wh


def _report_deliveries(
    block: BlockContext, trades: Sequence[TradeRecord], settled: Sequence[SettledTrade]
) -> list[tuple[Value, ...]]:
    """The rows of `delivered`: what was agreed of each trade, and what was metered of it."""
    return [
        (row.trade_index, row.buyer, row.seller, record.volume_wh, *_get_metered(block, row))
        for record, row in zip(trades, settled, strict=True)
    ]


def _get_metered(block: BlockContext, row: SettledTrade) -> tuple[int | None, int | None]:
    """Consumption and output as they are told: None for a meter that was not heard, where violations are recorded."""
    if not block.params.market.recorded_violations:
        return row.metered_consumption_wh, row.output_wh
    consumption_wh = None if row.is_consumption_imputed else row.consumption_wh
    return consumption_wh, None if row.is_output_imputed else row.output_wh


def _list_net_metered(
    block: BlockContext, deliveries: Sequence[NetDelivery], balances: Sequence[Balance]
) -> list[tuple[int | None, int | None]]:
    """The same of what is left of all trades once they are netted."""
    is_told = not block.params.market.recorded_violations
    heard = {item.member for item in balances if is_told or item.metered_wh is not None}
    return [
        (item.consumption_wh if item.buyer in heard else None, item.output_wh if item.seller in heard else None)
        for item in deliveries
    ]


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


def _compute_rows(
    view: Overlay,
    period: int,
    trades: Sequence[TradeRecord],
    places: Sequence[int],
    wheeling: Mapping[Address, int],
    params: MarketParams,
) -> list[SettledTrade]:
    """Settle the trades in these places of the list by the readings; `wheeling` is in µ¥ per kWh by buyer."""
    chosen = [trades[place] for place in places]
    if is_firm(params):
        return [_settle_firm(record, wheeling[record.buyer]) for record in chosen]
    consumed_wh: dict[Address, int] = {}
    produced_wh: dict[Address, int] = {}
    for owner in {party for record in chosen for party in (record.buyer, record.seller)}:
        energy = get_energy(view, period, owner)
        if energy is not None:
            consumed_wh[owner], produced_wh[owner] = energy
    volumes_wh = [record.volume_wh for record in trades]
    consumption_wh = spread_over(consumed_wh, [record.buyer for record in trades], volumes_wh, places)
    output_wh = spread_over(produced_wh, [record.seller for record in trades], volumes_wh, places)
    retail, feed_in = params.retail_uyuan_per_kwh, params.feed_in_uyuan_per_kwh
    over_delivery_ppm = params.over_delivery_ppm
    rows = []
    for record, consumed, produced in zip(chosen, consumption_wh, output_wh, strict=True):
        _, index, buyer, seller, price, volume_wh, _ = record
        is_imputed = buyer not in consumed_wh
        taken_wh = volume_wh if is_imputed else consumed
        legs = settle_trade(
            price_uyuan_per_kwh=price,
            wheeling_uyuan_per_kwh=wheeling[buyer],
            consumption_wh=taken_wh,
            output_wh=produced,
            retail_uyuan_per_kwh=retail,
            feed_in_uyuan_per_kwh=feed_in,
            limit_wh=get_price_limit(volume_wh, over_delivery_ppm),
            is_imputed=is_imputed,
        )
        is_silent = int(is_imputed), int(seller not in produced_wh)
        rows.append(SettledTrade(index, buyer, seller, taken_wh, produced, *legs, *is_silent))
    return rows


def _compute_rest(
    trades: Sequence[TradeRecord], readings: Sequence[Reading], params: MarketParams
) -> list[SettledWithGrid]:
    """The readings' remainder beside the trades; a member with nothing left has no row."""
    buyers = {record.buyer for record in trades}
    sellers = {record.seller for record in trades}
    rows = []
    for owner, consumed_wh, produced_wh in readings:
        consumption_wh = 0 if owner in buyers else consumed_wh
        output_wh = 0 if owner in sellers else produced_wh
        if not consumption_wh and not output_wh:
            continue
        rows.append(_settle_rest(owner, consumption_wh, output_wh, params))
    return rows


def _settle_firm(record: TradeRecord, wheeling_uyuan_per_kwh: int) -> SettledTrade:
    """A trade as agreed, whatever is metered."""
    legs = settle_firm(
        price_uyuan_per_kwh=record.price_uyuan_per_kwh,
        wheeling_uyuan_per_kwh=wheeling_uyuan_per_kwh,
        volume_wh=record.volume_wh,
    )
    volumes = record.volume_wh, record.volume_wh
    return SettledTrade(record.trade_index, record.buyer, record.seller, *volumes, *legs)


def _compute_deviations(balances: Iterable[Balance], params: MarketParams) -> list[SettledWithGrid]:
    """The rest of meters beyond what was agreed: a shortage as consumption, a surplus as output."""
    rows = []
    for member, position_wh, metered_wh in balances:
        beyond_wh = (max(0, position_wh) if metered_wh is None else metered_wh) - position_wh
        if beyond_wh:
            rows.append(_settle_rest(member, max(0, beyond_wh), max(0, -beyond_wh), params))
    return rows


def _settle_rest(member: Address, consumption_wh: int, output_wh: int, params: MarketParams) -> SettledWithGrid:
    legs = settle_with_grid(
        consumption_wh=consumption_wh,
        output_wh=output_wh,
        retail_uyuan_per_kwh=params.retail_uyuan_per_kwh,
        feed_in_uyuan_per_kwh=params.feed_in_uyuan_per_kwh,
    )
    return SettledWithGrid(member, consumption_wh, output_wh, legs.buyer_pays_uyuan, legs.seller_receives_uyuan)


def _score_delivery(delivery: NetDelivery, params: MarketParams) -> tuple[tuple[Address, int], ...]:
    """As `_score`, of what is left of all trades once they are netted."""
    _, buyer, seller, *energy_wh = delivery
    scores = assess_sides(*energy_wh, natural_factor_ppm=params.natural_factor_ppm)
    return tuple(zip((buyer, seller), scores, strict=True))


def _score(record: TradeRecord, row: SettledTrade, params: MarketParams) -> tuple[tuple[Address, int], ...]:
    """Buyer and seller with their scores, in micro-points."""
    energy_wh = record.volume_wh, row.metered_consumption_wh, row.output_wh
    scores = assess_sides(*energy_wh, natural_factor_ppm=params.natural_factor_ppm)
    return tuple(zip((record.buyer, record.seller), scores, strict=True))


class _Accounts:
    """The accounts that one settlement touches, each read and written once.

    Every leg of a row is income of whom it comes to and cost of whom it comes from, and what a balance changes by is
    the one less the other. A payment between two members is of neither kind, and no affair of a settlement.
    """

    def __init__(self, view: Overlay, block: BlockContext) -> None:
        self._view = view
        self._operator = get_grid_operator(view)
        self._has_columns = block.params.market.income_and_cost == "kept"
        self._accounts: dict[Address, Account] = {}
        self._income_uyuan: dict[Address, int] = {}
        self._cost_uyuan: dict[Address, int] = {}

    def release(self, reserves_uyuan: Mapping[Address, int]) -> None:
        for address, reserve_uyuan in reserves_uyuan.items():
            self._accounts[address] = set_aside(self._get(address), -reserve_uyuan)

    def move_trade(self, row: SettledTrade, *, sign: int = 1) -> None:
        """Move a trade's legs, back again where `sign` is -1; the grid company's is income or cost, as it falls."""
        _add(self._cost_uyuan, row.buyer, sign * row.buyer_pays_uyuan)
        _add(self._income_uyuan, row.seller, sign * row.seller_receives_uyuan)
        rest_uyuan = row.grid_receives_uyuan
        column = self._income_uyuan if rest_uyuan >= 0 else self._cost_uyuan
        _add(column, self._operator, sign * abs(rest_uyuan))

    def move_rest(self, row: SettledWithGrid, *, sign: int = 1) -> None:
        """Move what a member pays the grid company and receives from it, which are not netted."""
        for payer, payee, amount_uyuan in (
            (row.member, self._operator, row.pays_uyuan),
            (self._operator, row.member, row.receives_uyuan),
        ):
            _add(self._cost_uyuan, payer, sign * amount_uyuan)
            _add(self._income_uyuan, payee, sign * amount_uyuan)

    def add_score(self, address: Address, score_upt: int, agreed_wh: int, params: MarketParams) -> int:
        """Count one more delivery; the account's new credit."""
        account = add_score(self._get(address), score_upt, agreed_wh=agreed_wh, params=params)
        self._accounts[address] = account
        return account.credit_upt

    def correct_score(self, address: Address, change_upt: int, agreed_wh: int, params: MarketParams) -> int:
        """Change the score of a delivery that has been counted; the account's new credit."""
        account = correct_score(self._get(address), change_upt, agreed_wh=agreed_wh, params=params)
        self._accounts[address] = account
        return account.credit_upt

    def write(self) -> None:
        for address in {**self._accounts, **self._cost_uyuan, **self._income_uyuan}:
            income_uyuan, cost_uyuan = self._income_uyuan.get(address, 0), self._cost_uyuan.get(address, 0)
            account = self._get(address).pay(cost_uyuan - income_uyuan)
            if self._has_columns:
                account = account.book(income_uyuan, cost_uyuan)
            put_account(self._view, address, account)

    def _get(self, address: Address) -> Account:
        return self._accounts.get(address) or get_account(self._view, address)


def _add(amounts_uyuan: dict[Address, int], address: Address, amount_uyuan: int) -> None:
    amounts_uyuan[address] = amounts_uyuan.get(address, 0) + amount_uyuan


def _settlement_key(period: int) -> bytes:
    return _SETTLEMENT + period.to_bytes(8, "big")


def _progress_key(period: int) -> bytes:
    return _SETTLING + period.to_bytes(8, "big")


def _trades_name(period: int) -> bytes:
    return b"settled/" + period.to_bytes(8, "big")


def _grid_name(period: int) -> bytes:
    return b"with-grid/" + period.to_bytes(8, "big")
