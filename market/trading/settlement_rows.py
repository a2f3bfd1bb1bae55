"""The rows that a period is settled by: its trades and its meters' rests, by the readings. No money moves here.

A member's consumption is spread over all it bought and its output over all it sold; a member that bought or sold
nothing settles that meter with the grid company. So every Wh that was metered is settled exactly once.

Of a meter that was not heard the rows hold what is imputed: a buyer has taken what it agreed to, from the grid company,
and a seller has made nothing.

Where a period is traded twice its trades are firm (decision 54): they are paid as agreed, whatever is metered, and what
a meter says beyond its owner's position settles with the grid company. A seller that was not heard has made nothing, a
buyer has taken its position.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ledger.hashing import Address
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.claim_records import get_net_energy
from market.metering import Reading
from market.settlement import get_price_limit, settle_firm, settle_trade, settle_with_grid, spread_over
from market.trading.balances import Balance
from market.trading.sessions import is_firm
from market.trading.settlement_record import SettledTrade, SettledWithGrid
from market.trading.trades import TradeRecord


def compute_trade_rows(
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
        energy = get_net_energy(view, params, period, owner)
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


def compute_rest(
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


def compute_deviations(balances: Iterable[Balance], params: MarketParams) -> list[SettledWithGrid]:
    """The rest of meters beyond what was agreed: a shortage as consumption, a surplus as output."""
    rows = []
    for member, position_wh, metered_wh in balances:
        beyond_wh = (max(0, position_wh) if metered_wh is None else metered_wh) - position_wh
        if beyond_wh:
            rows.append(_settle_rest(member, max(0, beyond_wh), max(0, -beyond_wh), params))
    return rows


def list_imputed(rows: Iterable[SettledTrade]) -> dict[Address, int]:
    """Members with imputed readings, in the order of their trades: what they have consumed, Wh; none has made any."""
    consumed_wh: dict[Address, int] = {}
    for row in rows:
        if row.is_consumption_imputed:
            consumed_wh[row.buyer] = consumed_wh.get(row.buyer, 0) + row.consumption_wh
        if row.is_output_imputed:
            consumed_wh.setdefault(row.seller, 0)
    return consumed_wh


def _settle_firm(record: TradeRecord, wheeling_uyuan_per_kwh: int) -> SettledTrade:
    """A trade as agreed, whatever is metered."""
    legs = settle_firm(
        price_uyuan_per_kwh=record.price_uyuan_per_kwh,
        wheeling_uyuan_per_kwh=wheeling_uyuan_per_kwh,
        volume_wh=record.volume_wh,
    )
    volumes = record.volume_wh, record.volume_wh
    return SettledTrade(record.trade_index, record.buyer, record.seller, *volumes, *legs)


def _settle_rest(member: Address, consumption_wh: int, output_wh: int, params: MarketParams) -> SettledWithGrid:
    legs = settle_with_grid(
        consumption_wh=consumption_wh,
        output_wh=output_wh,
        retail_uyuan_per_kwh=params.retail_uyuan_per_kwh,
        feed_in_uyuan_per_kwh=params.feed_in_uyuan_per_kwh,
    )
    return SettledWithGrid(member, consumption_wh, output_wh, legs.buyer_pays_uyuan, legs.seller_receives_uyuan)
