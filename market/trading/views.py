"""Read-only answers about the market for the API and for reports, each from one `State`.

Of a period that is long over, and whose records are no longer kept, they know as little as of one to come.
"""

from __future__ import annotations

from ledger.genesis import Genesis
from ledger.hashing import Address
from ledger.merkle import inclusion_proof
from ledger.overlay import Overlay
from ledger.params import MarketParams
from ledger.state import State
from market.errors import UnknownTrade
from market.orders import Order
from market.trading import balances, book, gates, quotas, settlement_record, targets, trades
from market.trading.balances import Balance
from market.trading.book import get_orders
from market.trading.clearing import best_prices
from market.trading.gates import Gate
from market.trading.matching_weight import WeightedOrder
from market.trading.period_index import get_closed_periods, get_live_periods
from market.trading.positions import Position, sum_up
from market.trading.quotas import Quota
from market.trading.sessions import get_period, list_gates
from market.trading.settlement_record import PeriodSettlement
from market.trading.targets import Commitment
from market.trading.times import compute_gate_times, compute_orders_end
from market.trading.trades import Curtailment, TradeRecord, encode_trade_leaf


def get_book(state: State, gate: int) -> list[Order]:
    """The live orders for a gate by id; none once it is closed."""
    return get_orders(Overlay(state), gate)


def get_candidates(state: State, gate: int) -> list[WeightedOrder]:
    """The live orders by id, each with what its sender states and the sender's credit as it is now."""
    return book.get_candidates(Overlay(state), gate)


def get_best(state: State, gate: int) -> tuple[int | None, int | None]:
    """Best bid and best ask in µ¥ per kWh, None where that side is empty."""
    return best_prices(get_book(state, gate))


def get_trades(state: State, gate: int) -> list[TradeRecord]:
    """The trades of a gate by index, void ones included: whether they bind is its status."""
    return trades.get_trades(Overlay(state), gate)


def get_gate(state: State, gate: int) -> Gate | None:
    """The record of a gate and its fate; None before it has closed, and once it is no longer kept."""
    return gates.get_gate(Overlay(state), gate)


def get_target(state: State, gate: int) -> Commitment | None:
    """The prices that a gate is cleared by; None where none are committed, and once they are no longer kept."""
    return targets.get_target(Overlay(state), gate)


def get_quota(state: State, gate: int) -> dict[str, Quota] | None:
    """The scheduling chain's quotas of a gate by line, None until all of them have come."""
    return quotas.get_quotas(Overlay(state), gate)


def get_completion(state: State, gate: int) -> int:
    """The time of the block that completed a gate's quotas, in ms since the epoch; 0 until then."""
    return quotas.get_completion(Overlay(state), gate)


def get_orders_end(state: State, gate: int, genesis: Genesis) -> int:
    """From when on orders for a gate come too late, as far as that is known: quotas may be yet to come."""
    times, complete_ms = compute_gate_times(gate, genesis.params, genesis.time_ms), get_completion(state, gate)
    if not complete_ms and any(sibling.kind == "scheduling" for sibling in genesis.siblings):
        return times.gate_ms
    return compute_orders_end(times, genesis.params, complete_ms)


def get_curtailments(state: State, gate: int) -> list[Curtailment]:
    """The trades of a gate that the scheduling chain has cut, by index; none before its verdict."""
    return trades.get_curtailments(Overlay(state), gate)


def get_binding_trades(state: State, gate: int) -> list[TradeRecord]:
    """A gate's trades at the volumes accepted, indexes as in `get_trades`; whether they bind is its status."""
    return trades.get_binding_trades(Overlay(state), gate)


def get_settlement(state: State, period: int) -> PeriodSettlement | None:
    """The record of a period that is over; None before that, and once it is no longer kept."""
    return settlement_record.get_settlement(Overlay(state), period)


def live_periods(state: State) -> tuple[int, ...]:
    """Periods with quotas, orders, trades or readings that are not closed yet, ascending."""
    return get_live_periods(Overlay(state))


def closed_periods(state: State) -> tuple[int, ...]:
    """Periods that are over and whose records are still kept, ascending."""
    return get_closed_periods(Overlay(state))


def kept_periods(state: State) -> tuple[int, ...]:
    """Live periods, and those closed ones whose records stay, ascending."""
    return tuple(sorted({*live_periods(state), *closed_periods(state)}))


def kept_gates(state: State, market: MarketParams) -> list[int]:
    """The numbers of the gates of those periods, ascending."""
    return [gate for period in kept_periods(state) for gate in list_gates(market, period)]


def get_positions(state: State, market: MarketParams, period: int) -> dict[int, dict[Address, Position]]:
    """Positions of all members by trades that bind, or have, by the number of the session's gate."""
    view, positions = Overlay(state), {}
    for gate in list_gates(market, period):
        record = gates.get_gate(view, gate)
        is_bound = record is not None and record.status not in (gates.OPEN, gates.VOID)
        positions[gate] = sum_up(get_binding_trades(state, gate)) if is_bound else {}
    return positions


def get_balances(state: State, period: int) -> list[Balance]:
    """Every trader's position beside its meter in a period that is settled and was traded twice."""
    return balances.get_balances(Overlay(state), period)


def prove_trade(state: State, market: MarketParams, gate: int, index: int) -> tuple[bytes, tuple[bytes, ...], int]:
    """A trade's leaf, its inclusion proof under the gate's result root, and the number of leaves.

    `ledger.merkle.verify_inclusion` checks it and `market.trading.trades.decode_trade_leaf` reads the leaf. Raises
    `UnknownTrade`.
    """
    leaves = [encode_trade_leaf(record) for record in get_trades(state, gate)]
    if not 0 <= index < len(leaves):
        raise UnknownTrade(period=get_period(market, gate), count=len(leaves), index=index)
    return leaves[index], inclusion_proof(leaves, index), len(leaves)
