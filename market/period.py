"""The life of a delivery period: open, gate, certified or void, delivered, settled.

Time is the block's timestamp. It may step back between blocks (consensus asks only that it exceed the median
of the last 11), so what has happened to a period is read from the state, not inferred from the clock alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from ledger.execution import BlockContext
from ledger.gates import CERTIFIED, OPEN, SETTLED, VOID, Gate, get_gate, put_gate, record_gate
from ledger.overlay import Overlay
from ledger.params import ChainParams, MarketParams
from market.book import close_book, get_candidates, has_book
from market.credit import PPM
from market.delivery import settle_period
from market.matching_weight import weigh_book
from market.orders import Order
from market.reserves import compute_bid_reserves, compute_trade_reserves, replace_reserves
from market.rules import ClearingContext, get_rule, is_by_merit
from market.trades import MatchWeights, TradeRecord, compute_result_root, get_trades, put_trades

_LIVE = b"market/live"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodTimes:
    """When things happen to one delivery period, in ms since the epoch; each holds from that instant on."""

    open_ms: int
    gate_ms: int
    deadline_ms: int
    delivery_start_ms: int
    delivery_end_ms: int
    settle_ms: int


def compute_times(period: int, params: ChainParams, genesis_time_ms: int) -> PeriodTimes:
    """The clock of the period whose delivery starts `period` periods after genesis, in whole ms."""
    period_ms, market = params.ledger.period_ms, params.market
    start_ms = genesis_time_ms + period * period_ms
    return PeriodTimes(
        open_ms=start_ms - market.open_ppm * period_ms // PPM,
        gate_ms=start_ms - market.gate_ppm * period_ms // PPM,
        deadline_ms=start_ms - market.deadline_ppm * period_ms // PPM,
        delivery_start_ms=start_ms,
        delivery_end_ms=start_ms + period_ms,
        settle_ms=start_ms + market.settle_ppm * period_ms // PPM,
    )


def get_live_periods(view: Overlay) -> tuple[int, ...]:
    """Periods with orders, trades or readings that are not settled yet, ascending."""
    return cast(tuple[int, ...], view.get(_LIVE) or ())


def add_live_period(view: Overlay, period: int) -> None:
    """See to it that the period will be processed; nothing changes where it is live already."""
    live = get_live_periods(view)
    if period not in live:
        view.put(_LIVE, tuple(sorted((*live, period))))


def process_due_periods(view: Overlay, block: BlockContext) -> None:
    """The hook at the start of every block: close, void and settle what is due, in ascending period order.

    Costs a lookup where nothing is live, however long ago the last block was. One block may take a period
    through all of its stages.
    """
    live = get_live_periods(view)
    unsettled = tuple([period for period in live if not _process_period(view, block, period)])
    if unsettled != live:
        view.put(_LIVE, unsettled)


def _process_period(view: Overlay, block: BlockContext, period: int) -> bool:
    """Bring one live period up to the block's time; whether it is settled with that."""
    times = compute_times(period, block.params, block.genesis_time_ms)
    if block.timestamp_ms < times.gate_ms:
        return False
    gate = get_gate(view, period)
    if gate is None and has_book(view, period):
        gate = _close_gate(view, block, period)
    if gate is not None and gate.status == OPEN and block.timestamp_ms >= times.deadline_ms:
        gate = _void_gate(view, block, period, gate)
    if block.timestamp_ms < times.settle_ms:
        return False
    is_binding = gate is not None and gate.status == CERTIFIED
    settle_period(view, block, period, get_trades(view, period) if is_binding else [])
    if gate is not None and is_binding:
        put_gate(view, period, gate._replace(status=SETTLED))
    return True


def _close_gate(view: Overlay, block: BlockContext, period: int) -> Gate:
    """Clear the book by the chain's rule, keep its trades and record the gate for members to sign.

    A book that yields no trade has its gate recorded too, over the empty tree: members' signatures on it make
    the chain final as well as any.
    """
    orders, trades = _clear_book(view, period, block.params.market)
    wheeling = block.params.market.wheeling_uyuan_per_kwh
    bid_reserves = compute_bid_reserves(orders, wheeling)
    replace_reserves(view, bid_reserves, compute_trade_reserves(trades, wheeling))
    put_trades(view, period, trades)
    gate = Gate(
        height=block.height,
        block_hash=b"",
        result_root=compute_result_root(trades),
        trade_count=len(trades),
    )
    record_gate(view, period, gate)
    _announce_gate(view, period, gate, trades)
    return gate


def _clear_book(view: Overlay, period: int, params: MarketParams) -> tuple[list[Order], list[TradeRecord]]:
    """Take the orders off the book; them, and their trades with the weights that made them, where merit decides."""
    rule = get_rule(params.clearing_rule)
    if not is_by_merit(params.clearing_rule):
        orders = close_book(view, period)
        trades = rule(orders, ClearingContext(k_ppm=params.k_ppm))
        return orders, [
            TradeRecord(period, index, trade.buyer, trade.seller, trade.price_uyuan_per_kwh, trade.volume_wh)
            for index, trade in enumerate(trades)
        ]
    weights = weigh_book(get_candidates(view, period), params.weights)
    orders = close_book(view, period)
    merits = {order_id: weight.total_ppm for order_id, weight in weights.items()}
    return orders, [
        TradeRecord(
            period,
            index,
            trade.buyer,
            trade.seller,
            trade.price_uyuan_per_kwh,
            trade.volume_wh,
            MatchWeights(weights[trade.bid_id].contributions, weights[trade.offer_id].contributions),
        )
        for index, trade in enumerate(rule(orders, ClearingContext(merits=merits)))
    ]


def _announce_gate(view: Overlay, period: int, gate: Gate, trades: Sequence[TradeRecord]) -> None:
    volume_wh = sum(record.volume_wh for record in trades)
    view.emit("gate", period, gate.trade_count, volume_wh, gate.result_root)
    for record in trades:
        view.emit("trade", *record[:6])


def _void_gate(view: Overlay, block: BlockContext, period: int, gate: Gate) -> Gate:
    """No certificate came in time: the trades lapse and their reserves are free again."""
    wheeling = block.params.market.wheeling_uyuan_per_kwh
    lapsed = compute_trade_reserves(get_trades(view, period), wheeling)
    replace_reserves(view, lapsed, {})
    void = gate._replace(status=VOID)
    put_gate(view, period, void)
    view.emit("void", period)
    return void
