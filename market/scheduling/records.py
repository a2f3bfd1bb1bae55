"""The scheduling chain's records of a delivery period, as state values: plan, quotas, verdict, contracts, actuals.

Owns their keys, the leaves of the two Merkle trees over a period's transactions, which periods are live, and for how
long the records of closed ones stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, cast

from ledger.codec import encode
from ledger.hashing import Address
from ledger.merkle import merkle_root
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.scheduling.feeder import LinePlan, LineQuota
from market.scheduling.life import State
from market.trading.pages import append_rows, drop_rows, get_rows
from market.trading.sessions import Session, get_session, list_gates
from market.trading.trades import Curtailment

RETAINED = 64  # closed periods whose records stay

_LIVE = b"scheduling/live"
_CLOSED = b"scheduling/closed"
_PLAN = b"scheduling/plan/"
_QUOTAS = b"scheduling/quotas/"
_VERDICT = b"scheduling/verdict/"
_POWER = b"scheduling/power/"
_CONTRACTS = b"scheduling/contracts/"
_ACTUAL = b"scheduling/actual/"
_ACTUALS = b"scheduling/actuals/"

_RECORDS = (_PLAN, _ACTUAL, _ACTUALS)  # of a period
_RECORDS_OF_GATE = (_QUOTAS, _VERDICT, _POWER, _CONTRACTS)


class Stage(IntEnum):
    """The stage of a live period."""

    PLANNED = 0  # a plan has come, its quotas are not due yet
    OPEN = 1  # its quotas are out, or readings have come, and its metering is not closed


_BY_NUMBER = tuple(Stage)
_STAGES = {
    State.PLANNED: Stage.PLANNED,
    State.QUOTED: Stage.OPEN,
    State.CHECKED: Stage.OPEN,
    State.REQUOTED: Stage.OPEN,
    State.RECHECKED: Stage.OPEN,
    State.UNPLANNED: Stage.OPEN,
}  # of live states


_STATES_OF_SESSION = {
    Session.DAY_AHEAD: (State.QUOTED, State.CHECKED),
    Session.INTRADAY: (State.REQUOTED, State.RECHECKED),
}  # with quotas, and with a verdict


class BilateralContract(NamedTuple):
    """The mutual debt of a trade's buyer and seller: the point-to-point contract of step 4 (text 000, §3)."""

    gate: int
    trade_index: int
    buyer: Address
    seller: Address
    price_uyuan_per_kwh: int
    accepted_wh: int


class ActualTransaction(NamedTuple):
    """One contract as metered: the parts of the buyer's and of the seller's reading that fall on it (Wh)."""

    period: int
    trade_index: int
    buyer: Address
    seller: Address
    agreed_wh: int
    consumption_wh: int
    output_wh: int


class PowerBlock(NamedTuple):
    """The power-transaction block of a gate: the height at which it was recorded, and what is in it."""

    height: int
    contracts_root: bytes
    contract_count: int
    accepted_wh: int


class ActualBlock(NamedTuple):
    """The actual-transaction block of a period; `metered_wh` went from sellers to buyers under its contracts."""

    height: int
    actual_root: bytes
    contract_count: int
    metered_wh: int


def encode_contract_leaf(contract: BilateralContract) -> bytes:
    """The canonical bytes that stand for a contract under the gate's contracts root."""
    return encode(tuple(contract))


def encode_actual_leaf(actual: ActualTransaction) -> bytes:
    """The canonical bytes that stand for a metered contract under the period's actual root."""
    return encode(tuple(actual))


def compute_contracts_root(contracts: Sequence[BilateralContract]) -> bytes:
    """RFC 6962 root over the contracts' leaves, in the order of their trades."""
    return merkle_root([encode_contract_leaf(contract) for contract in contracts])


def compute_actual_root(actuals: Sequence[ActualTransaction]) -> bytes:
    """RFC 6962 root over the metered contracts' leaves, in the order of their trades."""
    return merkle_root([encode_actual_leaf(actual) for actual in actuals])


# --- which periods there are ---------------------------------------------------------------------


def get_live(view: Overlay) -> dict[int, Stage]:
    """Periods with a plan, quotas or readings whose metering is not closed yet, ascending."""
    rows = cast(tuple[tuple[int, int], ...], view.get(_LIVE) or ())
    return {period: _BY_NUMBER[stage] for period, stage in rows}


def get_state(view: Overlay, market: MarketParams, period: int) -> State:
    stage = get_live(view).get(period)
    if stage is None:
        return State.CLOSED if is_closed(view, period) else State.NEW
    return get_live_state(view, market, period, stage)


def get_live_state(view: Overlay, market: MarketParams, period: int, stage: Stage) -> State:
    """The state of a period that is live in this stage."""
    if stage == Stage.PLANNED:
        return State.PLANNED
    for gate in reversed(list_gates(market, period)):
        quoted, checked = _STATES_OF_SESSION[get_session(market, gate)]
        if view.get(_key(_VERDICT, gate)) is not None:
            return checked
        if view.get(_key(_QUOTAS, gate)):
            return quoted
    return State.UNPLANNED


def enter(view: Overlay, period: int, state: State) -> None:
    """Put down the stage of a period, or that it is not live any more; nothing changes where it is so already."""
    live, stage = get_live(view), _STAGES.get(state)
    if live.get(period) == stage:
        return
    others = {other: known for other, known in live.items() if other != period}
    after = others if stage is None else {**others, period: stage}
    view.put(_LIVE, tuple((period, int(stage)) for period, stage in sorted(after.items())))


def is_closed(view: Overlay, period: int) -> bool:
    """Return True if the period's metering is closed, or older than that of every period that is remembered."""
    closed = _get_closed(view)
    return period in closed or (len(closed) >= RETAINED and period < closed[0])


def close_period(view: Overlay, market: MarketParams, period: int) -> list[int]:
    """Remember that the period's metering is closed; the periods beyond `RETAINED`, whose records are forgotten."""
    closed = sorted((*_get_closed(view), period))
    gone = closed[:-RETAINED]
    for old in gone:
        names = [(prefix, old) for prefix in _RECORDS]
        names += [(prefix, gate) for gate in list_gates(market, old) for prefix in _RECORDS_OF_GATE]
        for prefix, gate in names:
            count = view.get(_key(prefix, gate))
            if isinstance(count, int):
                drop_rows(view, _key(prefix, gate), count)
            view.delete(_key(prefix, gate))
    view.put(_CLOSED, tuple(closed[-RETAINED:]))
    return gone


def _get_closed(view: Overlay) -> tuple[int, ...]:
    return cast(tuple[int, ...], view.get(_CLOSED) or ())


# --- plan and quotas -----------------------------------------------------------------------------


def get_plan(view: Overlay, period: int) -> dict[str, LinePlan]:
    """The plan by line; nothing before the first plan and where it has lapsed."""
    return {row[0]: LinePlan._make(row) for row in _get_rows(view, _PLAN, period)}


def put_plan(view: Overlay, period: int, plans: Mapping[str, LinePlan]) -> None:
    _put_rows(view, _PLAN, period, [plans[line] for line in sorted(plans)])


def delete_plan(view: Overlay, period: int) -> None:
    view.delete(_key(_PLAN, period))


def get_quotas(view: Overlay, gate: int) -> list[LineQuota]:
    """A gate's quotas in the feeder's order; none before they are out."""
    return [LineQuota._make(row) for row in _get_rows(view, _QUOTAS, gate)]


def put_quotas(view: Overlay, gate: int, quotas: Sequence[LineQuota]) -> None:
    _put_rows(view, _QUOTAS, gate, quotas)


# --- verdict, contracts, actuals -----------------------------------------------------------------


def get_verdict(view: Overlay, gate: int) -> list[Curtailment] | None:
    """The curtailed trades by index, None before the verdict."""
    if view.get(_key(_VERDICT, gate)) is None:
        return None
    return [Curtailment._make(row) for row in _get_rows(view, _VERDICT, gate)]


def put_verdict(view: Overlay, gate: int, curtailments: Sequence[Curtailment]) -> None:
    _put_rows(view, _VERDICT, gate, curtailments)


def get_power_block(view: Overlay, gate: int) -> PowerBlock | None:
    value = view.get(_key(_POWER, gate))
    return None if value is None else PowerBlock._make(cast(tuple[Any, ...], value))


def get_contracts(view: Overlay, gate: int) -> list[BilateralContract]:
    """A gate's contracts by trade index; none before its verdict."""
    return [BilateralContract(gate, *row) for row in _get_rows(view, _CONTRACTS, gate)]


def count_contracts(view: Overlay, gate: int) -> int:
    """The number of a gate's contracts; 0 before its power-transaction block."""
    power = get_power_block(view, gate)
    return 0 if power is None else power.contract_count


def add_contracts(view: Overlay, gate: int, count: int, contracts: Sequence[BilateralContract]) -> None:
    """Add to a gate's `count` contracts, in pages."""
    append_rows(view, _key(_CONTRACTS, gate), count, [contract[1:] for contract in contracts])


def put_power_paged(view: Overlay, gate: int, power: PowerBlock) -> None:
    """Record the power-transaction block whose contracts have been added."""
    view.put(_key(_POWER, gate), tuple(power))
    view.put(_key(_CONTRACTS, gate), power.contract_count)


def put_power_block(view: Overlay, gate: int, power: PowerBlock, contracts: Sequence[BilateralContract]) -> None:
    view.put(_key(_POWER, gate), tuple(power))
    _put_rows(view, _CONTRACTS, gate, [contract[1:] for contract in contracts])


def get_actual_block(view: Overlay, period: int) -> ActualBlock | None:
    value = view.get(_key(_ACTUAL, period))
    return None if value is None else ActualBlock._make(cast(tuple[Any, ...], value))


def get_actuals(view: Overlay, period: int) -> list[ActualTransaction]:
    """A period's contracts as metered, by trade index; none before its metering is closed."""
    return [ActualTransaction(period, *row) for row in _get_rows(view, _ACTUALS, period)]


def put_actual_block(view: Overlay, period: int, actual: ActualBlock, actuals: Sequence[ActualTransaction]) -> None:
    view.put(_key(_ACTUAL, period), tuple(actual))
    _put_rows(view, _ACTUALS, period, [item[1:] for item in actuals])


def add_actuals(view: Overlay, period: int, count: int, actuals: Sequence[ActualTransaction]) -> None:
    """Add to a period's `count` contracts as metered, in pages."""
    append_rows(view, _key(_ACTUALS, period), count, [item[1:] for item in actuals])


def put_actual_paged(view: Overlay, period: int, actual: ActualBlock) -> None:
    """Record the actual-transaction block whose contracts have been added."""
    view.put(_key(_ACTUAL, period), tuple(actual))
    view.put(_key(_ACTUALS, period), actual.contract_count)


def _get_rows(view: Overlay, prefix: bytes, period: int) -> Sequence[Any]:
    """The rows of a list that is one value, or in pages, of which the value says how many rows they have."""
    value = cast(tuple[Any, ...] | int, view.get(_key(prefix, period)) or ())
    return get_rows(view, _key(prefix, period), value) if isinstance(value, int) else value


def _put_rows(view: Overlay, prefix: bytes, period: int, rows: Iterable[tuple[Any, ...]]) -> None:
    view.put(_key(prefix, period), tuple([tuple(row) for row in rows]))


def _key(prefix: bytes, period: int) -> bytes:
    return prefix + period.to_bytes(8, "big")
