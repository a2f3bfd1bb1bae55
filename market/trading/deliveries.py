"""The deliveries of a settled period that are assessed: its trades, or what is left of them once they are netted.

A side whose meter was not heard has not delivered: it scores nothing, and where violations are recorded it is told as
silent. Beside a credit chain these are the rows of `delivered`; on a chain alone they are scored here.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.codec import Value
from ledger.contract import BlockContext
from ledger.hashing import Address
from ledger.params import MarketParams
from market.credit.score import assess_sides
from market.netting import NetDelivery
from market.trading.balances import Balance
from market.trading.settlement_record import SettledTrade
from market.trading.trades import TradeRecord


def report_deliveries(
    block: BlockContext, trades: Sequence[TradeRecord], settled: Sequence[SettledTrade]
) -> list[tuple[Value, ...]]:
    """The rows of `delivered`: what was agreed of each trade, and what was metered of it."""
    return [
        (row.trade_index, row.buyer, row.seller, record.volume_wh, *get_metered(block, row))
        for record, row in zip(trades, settled, strict=True)
    ]


def get_metered(block: BlockContext, row: SettledTrade) -> tuple[int | None, int | None]:
    """Consumption and output as they are told: None for a meter that was not heard, where violations are recorded."""
    if not block.params.market.recorded_violations:
        return row.metered_consumption_wh, row.output_wh
    consumption_wh = None if row.is_consumption_imputed else row.consumption_wh
    return consumption_wh, None if row.is_output_imputed else row.output_wh


def list_net_metered(
    block: BlockContext, deliveries: Sequence[NetDelivery], balances: Sequence[Balance]
) -> list[tuple[int | None, int | None]]:
    """The same of what is left of all trades once they are netted."""
    is_told = not block.params.market.recorded_violations
    heard = {item.member for item in balances if is_told or item.metered_wh is not None}
    return [
        (item.consumption_wh if item.buyer in heard else None, item.output_wh if item.seller in heard else None)
        for item in deliveries
    ]


def score_sides(record: TradeRecord, row: SettledTrade, params: MarketParams) -> tuple[tuple[Address, int], ...]:
    """Buyer and seller with their scores, in micro-points."""
    energy_wh = record.volume_wh, row.metered_consumption_wh, row.output_wh
    scores = assess_sides(*energy_wh, natural_factor_ppm=params.natural_factor_ppm)
    return tuple(zip((record.buyer, record.seller), scores, strict=True))


def score_netted(delivery: NetDelivery, params: MarketParams) -> tuple[tuple[Address, int], ...]:
    """As `score_sides`, of what is left of all trades once they are netted."""
    _, buyer, seller, *energy_wh = delivery
    scores = assess_sides(*energy_wh, natural_factor_ppm=params.natural_factor_ppm)
    return tuple(zip((buyer, seller), scores, strict=True))
