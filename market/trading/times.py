"""The clock of a delivery period: when the market opens, closes and settles it, and when that is final."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.outbox import RETAINED
from ledger.params import ChainParams, MarketParams
from market.credit.score import PPM
from market.trading.sessions import Session, get_period, get_session


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodTimes:
    """The instants of one delivery period, in ms since the epoch; each holds from that instant on.

    The first three are those of a session: trades of one must bind before the next opens.
    """

    open_ms: int
    gate_ms: int
    deadline_ms: int
    delivery_start_ms: int
    delivery_end_ms: int
    settle_ms: int
    final_ms: int


def count_periods(duration_ppm: int) -> int:
    """The most periods that can begin within a time of so many ppm of a period."""
    return -(-duration_ppm // PPM)


def count_retained(market: MarketParams, ahead_ppm: int) -> int:
    """The numbers of what is said so long before delivery that stay in an outbox: of all periods that are planned."""
    planned = count_periods(ahead_ppm)
    return max(RETAINED, planned) if market.sessions == 1 else market.sessions * (RETAINED + planned)


def compute_times(
    period: int, params: ChainParams, genesis_time_ms: int, session: Session = Session.DAY_AHEAD
) -> PeriodTimes:
    """The clock of the period whose delivery starts `period` periods after genesis, in whole ms."""
    period_ms, market = params.ledger.period_ms, params.market
    start_ms = genesis_time_ms + period * period_ms
    open_ppm, gate_ppm, deadline_ppm = market.open_ppm, market.gate_ppm, market.deadline_ppm
    if session == Session.INTRADAY:
        open_ppm, gate_ppm = market.intraday_open_ppm, market.intraday_gate_ppm
    elif market.sessions > 1:
        deadline_ppm = market.intraday_open_ppm
    return PeriodTimes(
        open_ms=start_ms - open_ppm * period_ms // PPM,
        gate_ms=start_ms - gate_ppm * period_ms // PPM,
        deadline_ms=start_ms - deadline_ppm * period_ms // PPM,
        delivery_start_ms=start_ms,
        delivery_end_ms=start_ms + period_ms,
        settle_ms=start_ms + market.settle_ppm * period_ms // PPM,
        final_ms=start_ms + (market.settle_ppm + market.correction_ppm) * period_ms // PPM,
    )


def compute_gate_times(gate: int, params: ChainParams, genesis_time_ms: int) -> PeriodTimes:
    """The clock of the session that ends with this gate."""
    period, session = get_period(params.market, gate), get_session(params.market, gate)
    return compute_times(period, params, genesis_time_ms, session)


def compute_orders_end(times: PeriodTimes, params: ChainParams, known_ms: int) -> int:
    """From when on orders come too late: the gate, or sooner where `intention_ppm` limits them.

    `known_ms` is the time of the block that completed the gate's quotas, 0 where there are none: a period's opening
    is known to all. Step 3 of credit matching (text 000, §4.2): within 0.1 Δt of having received and stored it.
    """
    window_ppm = params.market.intention_ppm
    if not window_ppm:
        return times.gate_ms
    return min(times.gate_ms, max(times.open_ms, known_ms) + window_ppm * params.ledger.period_ms // PPM)
