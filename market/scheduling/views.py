"""Read-only answers about the scheduling chain for the API and for reports, each from one `State`."""

from __future__ import annotations

from ledger.overlay import Overlay
from ledger.state import State
from market.scheduling import records as records
from market.scheduling.feeder import LinePlan, LineQuota
from market.scheduling.records import ActualBlock, ActualTransaction, BilateralContract, PowerBlock
from market.trading.trades import Curtailment


def get_plan(state: State, period: int) -> list[LinePlan]:
    """The plan of a delivery period, by line name; none without a plan and where it has lapsed."""
    return list(records.get_plan(Overlay(state), period).values())


def get_quotas(state: State, period: int) -> list[LineQuota]:
    """A period's quotas in the feeder's order; none before they are out."""
    return records.get_quotas(Overlay(state), period)


def get_verdict(state: State, period: int) -> list[Curtailment] | None:
    """The curtailed trades of a period by index, None before the verdict."""
    return records.get_verdict(Overlay(state), period)


def get_power_block(state: State, period: int) -> PowerBlock | None:
    """The period's power-transaction block, None before the verdict."""
    return records.get_power_block(Overlay(state), period)


def get_contracts(state: State, period: int) -> list[BilateralContract]:
    """The bilateral contracts in the power-transaction block, by trade index."""
    return records.get_contracts(Overlay(state), period)


def get_actual_block(state: State, period: int) -> ActualBlock | None:
    """The period's actual-transaction block, None before its metering is closed."""
    return records.get_actual_block(Overlay(state), period)


def get_actuals(state: State, period: int) -> list[ActualTransaction]:
    """The contracts as metered in the actual-transaction block, by trade index."""
    return records.get_actuals(Overlay(state), period)


def live_periods(state: State) -> tuple[int, ...]:
    """Periods with a plan, quotas or readings whose metering is not closed yet, ascending."""
    return tuple(records.get_live(Overlay(state)))
