"""The scheduling chain's contract (DU1): plans and quotas, the check of JY1's trade list, and the meters.

Steps 1, 3 and 4 of text 000, §3, on the clock of `SchedulingTimes`. Registered with the chain by
`scheduling_handlers`, `scheduling_hooks` and `scheduling_routes`; what it says to the other chains goes to the outbox
as `quota`, `verdict`, `metered` and `corrected` for JY1, `power` and `actual` for LH1.

What subscribers hear, amounts in Wh, addresses as bytes:

    plan           period, sender, lines named, their planned load, their planned output
    quota          period, lines, demand, supply
    plan-lapsed    period: no block came between its plan and its verdict's deadline
    verdict        period, trades on the list, curtailed ones, accepted volume; then one `curtailed` each
    curtailed      period, trade index, accepted volume, the line that is the reason
    register       period, owner, consumed, produced: what the meter's counters stood at
    reading        period, owner, consumed, produced
    corrected      period, owner, consumed, produced, revision: the same of a period whose metering is closed
    metered        period, meters read
    unmetered      period: it has contracts, and not a meter was read
    actual         period, contracts, volume that went from sellers to buyers under them
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ledger.accounts import get_member, require_member
from ledger.codec import Value, expect_array, expect_int, expect_list, expect_str
from ledger.contract import BlockContext, Handler, Hook, NextDue
from ledger.errors import WrongShape
from ledger.hashing import Address, show_address
from ledger.inbox import REMEMBERED, InboundMessage, Routes
from ledger.outbox import ROWS_PER_PART, post
from ledger.overlay import Overlay
from ledger.params import ChainParams, MarketParams
from ledger.transaction import Transaction
from market.credit.contract import receive_credit
from market.credit.score import PPM
from market.errors import (
    NotADispatcher,
    PlanTooEarly,
    PlanTooLate,
    ReadingTooEarly,
    ReadingTooLate,
    RelayTooLate,
    UnexpectedRelay,
    UnknownLine,
)
from market.messages import ACTUAL, CORRECTED, CREDIT, METERED, QUOTA, RESULT, VERDICT
from market.metering import (
    MAX_ENERGY_WH,
    Clock,
    Corrected,
    announce_register,
    drop_readings,
    get_readings,
    is_heard,
    read_meter,
    read_register,
    take_corrected,
)
from market.roles import Act, may
from market.scheduling import records as records
from market.scheduling.agreed import compute_actuals, count_contracts, has_actuals, list_agreed
from market.scheduling.feeder import (
    Feeder,
    Hop,
    LinePlan,
    LineQuota,
    ListedTrade,
    check_executability,
    compute_flows,
    derive_left,
    derive_quotas,
)
from market.scheduling.life import Action, Event, Row, State, find_row
from market.scheduling.records import ActualBlock, BilateralContract, PowerBlock
from market.scheduling.shares import (
    begin_metering,
    check_list,
    drop_list,
    end_meterings,
    is_being_checked,
    is_metering,
    keep_list_part,
    post_power,
)
from market.trading.corrections import find_corrections_due, take_share
from market.trading.forgetting import drop_forgotten, find_forgotten_due, forget_readings
from market.trading.message_parts import add_part, drop_parts
from market.trading.sessions import Session, get_gate_number, get_period, get_session, list_earlier_gates, list_gates
from market.trading.times import count_retained
from market.trading.trades import Curtailment, TradeRecord, curtail, read_trade
from market.trading.work import HEAR, is_limited, spend

PLANNED_AHEAD = 192  # periods, eight days of hours: how long before it is due a plan may come


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulingTimes:
    """The instants of one delivery period, in ms since the epoch; each holds from that instant on."""

    quota_ms: int
    intraday_quota_ms: int  # where there is such a session; the day-ahead verdict's deadline
    verdict_ms: int
    delivery_start_ms: int
    delivery_end_ms: int
    meter_ms: int
    final_ms: int


def compute_scheduling_times(period: int, params: ChainParams, genesis_time_ms: int) -> SchedulingTimes:
    """The clock of the period whose delivery starts `period` periods after genesis, in whole ms."""
    period_ms, clock = params.ledger.period_ms, params.scheduling
    start_ms = genesis_time_ms + period * period_ms
    return SchedulingTimes(
        quota_ms=start_ms - clock.quota_ppm * period_ms // PPM,
        intraday_quota_ms=start_ms - clock.intraday_quota_ppm * period_ms // PPM,
        verdict_ms=start_ms - clock.verdict_ppm * period_ms // PPM,
        delivery_start_ms=start_ms,
        delivery_end_ms=start_ms + period_ms,
        meter_ms=start_ms + clock.meter_ppm * period_ms // PPM,
        final_ms=start_ms + (clock.meter_ppm + params.market.correction_ppm) * period_ms // PPM,
    )


def scheduling_handlers() -> dict[str, Handler]:
    """The scheduling chain's transaction kinds."""
    return {"plan": process_plan, "reading": process_reading, "register": process_register}


def scheduling_hooks() -> tuple[Hook, ...]:
    """The hooks of the scheduling chain at the start of every block."""
    return (process_due_periods, post_corrections, drop_forgotten)


def scheduling_further_hooks() -> tuple[Hook, ...]:
    """Those of the scheduling chain that go on with each further share of a block's work."""
    return (process_due_periods, drop_forgotten)


def scheduling_next_due() -> tuple[NextDue, ...]:
    """The times at which the scheduling chain's hooks have something to do."""
    return (find_next_due, find_corrections_due, find_forgotten_due)


def scheduling_routes() -> Routes:
    """The messages that the scheduling chain takes in."""
    return {("trading", RESULT): receive_result, ("credit", CREDIT): receive_credit}


# --- what members send ---------------------------------------------------------------------------


def process_plan(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`plan [period, [[line, load_wh, output_wh], …]]`: what is expected at each line; a later one replaces its lines.

    Raises `WrongShape`, `TooLarge`, `NotADispatcher`, `UnknownLine`, `PlanTooLate` or `PlanTooEarly`.
    """
    feeder = _feeder(block)
    period, plans = _parse_plan(transaction.payload, max_lines=len(feeder.lines))
    planner = require_member(view, transaction.sender)
    if not may(planner.role, Act.PLAN):
        raise NotADispatcher(role=planner.role)
    for line in plans:
        if line not in feeder:
            raise UnknownLine(line=line)
    _check_plannable(view, block, period)
    _enter(view, block.params.market, period, Event.PLAN)
    _keep_plan(view, transaction.sender, period, plans)


def _keep_plan(view: Overlay, sender: Address, period: int, plans: Mapping[str, LinePlan]) -> None:
    records.put_plan(view, period, {**records.get_plan(view, period), **plans})
    load_wh, output_wh = sum(plan.load_wh for plan in plans.values()), sum(plan.output_wh for plan in plans.values())
    view.emit("plan", period, sender, len(plans), load_wh, output_wh)


def process_reading(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`reading [period, consumed_wh, produced_wh]`: a device reports what its owner's meter counted in a period.

    Raises `ReadingTooEarly`, `ReadingTooLate`, and what `read_meter` does.
    """
    clock = _get_clock(view, block, is_register=False)
    _take_in(view, block, read_meter(view, transaction, block.params.market, clock))


def process_register(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`register [period, consumed_wh, produced_wh]`: a device reports what its counters stood at as a period ended.

    A late one is taken whether or not any other meter was heard of the period: the next period's reading counts from
    it. Raises `ReadingTooEarly`, `ReadingTooLate`, and what `read_register` does.
    """
    rows = read_register(view, transaction, block.params.market, _get_clock(view, block, is_register=True))
    period = announce_register(view, transaction)
    _enter(view, block.params.market, period, Event.READING)
    _take_in(view, block, rows)


def _take_in(view: Overlay, block: BlockContext, rows: Sequence[Corrected]) -> None:
    """Tell of readings; those that came in time make their periods live."""
    for row in rows:
        if _enter(view, block.params.market, row.period, Event.READING).after == State.CLOSED:
            view.emit("corrected", *row)
        else:
            view.emit("reading", *row[:4])


def _get_clock(view: Overlay, block: BlockContext, *, is_register: bool) -> Clock:
    return Clock(
        lambda period: _check_readable(view, block, period, is_register=is_register),
        lambda period: records.is_closed(view, period),
    )


def _parse_plan(payload: Value, *, max_lines: int) -> tuple[int, dict[str, LinePlan]]:
    """Period and plan by line. Raises `WrongShape` or `TooLarge`."""
    period, rows = expect_array(payload, 2, "plan")
    plans: dict[str, LinePlan] = {}
    for row in expect_list(rows, "lines of a plan", max_items=max_lines):
        line, load_wh, output_wh = expect_array(row, 3, "plan of a line")
        plan = LinePlan(
            line=expect_str(line, "line"),
            load_wh=expect_int(load_wh, "planned load", high=MAX_ENERGY_WH),
            output_wh=expect_int(output_wh, "planned output", high=MAX_ENERGY_WH),
        )
        if plan.line in plans:
            raise WrongShape(what="plan", detail=f"line {plan.line!r} is planned twice")
        plans[plan.line] = plan
    if not plans:
        raise WrongShape(what="plan", detail="expected at least one line")
    return expect_int(period, "period"), plans


def _check_plannable(view: Overlay, block: BlockContext, period: int) -> None:
    due_ms = compute_scheduling_times(period, block.params, block.genesis_time_ms).quota_ms
    is_past = find_row(records.get_state(view, block.params.market, period), Event.PLAN) is None
    if block.timestamp_ms >= due_ms or is_past:
        raise PlanTooLate(period=period, deadline=due_ms, now=block.timestamp_ms)
    last = block.period + block.params.scheduling.quota_ppm // PPM + PLANNED_AHEAD
    if period > last:
        raise PlanTooEarly(period=period, last=last)


def _check_readable(view: Overlay, block: BlockContext, period: int, *, is_register: bool) -> None:
    """Meters speak once a period is delivered; once its metering is closed, only where some were heard in time."""
    times = compute_scheduling_times(period, block.params, block.genesis_time_ms)
    if block.timestamp_ms < times.delivery_end_ms:
        raise ReadingTooEarly(period=period, ends=times.delivery_end_ms, now=block.timestamp_ms)
    is_over = records.is_closed(view, period)
    now_ms = max(block.timestamp_ms, times.meter_ms) if is_over else block.timestamp_ms
    is_correctable = now_ms < times.final_ms and (is_register or (is_over and is_heard(view, period)))
    if now_ms >= times.meter_ms and not is_correctable:
        raise ReadingTooLate(period=period, settles=times.final_ms)


# --- what is due at the start of a block ---------------------------------------------------------


def process_due_periods(view: Overlay, block: BlockContext) -> None:
    """The hook at the start of every block: publish quotas and close meterings that are due, in ascending period order.

    Costs a lookup where nothing is live, however long ago the last block was. One block may take a period through all
    of its stages, as far as its share of work goes; nothing else happens to a period while its list is being checked.
    """
    end_meterings(view, block)
    market = block.params.market
    for period, stage in records.get_live(view).items():
        for gate in _list_being_checked(view, block, period):
            _check(view, block, gate)
        if _list_being_checked(view, block, period):
            continue
        due = _list_events(block, period)
        if block.timestamp_ms < min(due_ms for _, due_ms in due):
            break
        state = records.get_live_state(view, market, period, stage)
        for event in [event for event, due_ms in due if block.timestamp_ms >= due_ms]:
            if find_row(state, event) is not None:
                row = _enter(view, market, period, event)
                _WHEN_DUE[row.action](view, block, period)
                state = row.after


def find_next_due(view: Overlay, block: BlockContext) -> int | None:
    """The time from which on something is due for a live period; 0 where a block's share of work was not enough."""
    live, market = records.get_live(view), block.params.market
    if is_metering(view) or any(_list_being_checked(view, block, period) for period in live):
        return 0
    due = (
        due_ms
        for period, stage in live.items()
        for event, due_ms in _list_events(block, period)
        if find_row(records.get_live_state(view, market, period, stage), event) is not None
    )
    return min(due, default=None)


def _list_events(block: BlockContext, period: int) -> tuple[tuple[Event, int], ...]:
    """The events that time brings to a period, in the order in which a block takes them, and from when on, in ms."""
    times = compute_scheduling_times(period, block.params, block.genesis_time_ms)
    intraday = [(Event.INTRADAY, times.intraday_quota_ms)] if block.params.market.sessions > 1 else []
    return (
        (Event.DEADLINE, times.verdict_ms),
        (Event.QUOTAS, times.quota_ms),
        *intraday,
        (Event.METERING, times.meter_ms),
    )


def _list_being_checked(view: Overlay, block: BlockContext, period: int) -> list[int]:
    """The gates of a period whose lists are whole, and their contracts not all recorded."""
    return [gate for gate in list_gates(block.params.market, period) if is_being_checked(view, gate)]


def _enter(view: Overlay, market: MarketParams, period: int, event: Event) -> Row:
    """Take the step that the table has for an event, which must be one: what is left to do is the row's action."""
    state = records.get_state(view, market, period)
    row = find_row(state, event)
    assert row is not None, f"nothing is to happen to a period that is {state} on {event}"
    records.enter(view, period, row.after)
    return row


def _lapse_plan(view: Overlay, block: BlockContext, period: int) -> None:
    records.delete_plan(view, period)
    view.emit("plan-lapsed", period)


def _publish_quotas(view: Overlay, block: BlockContext, period: int) -> None:
    quotas = derive_quotas(_feeder(block), records.get_plan(view, period))
    _put_quotas(view, block, get_gate_number(block.params.market, period), quotas)


def _publish_intraday(view: Overlay, block: BlockContext, period: int) -> None:
    """Publish what the day-ahead contracts leave of the lines; it is all theirs where no list came."""
    gate = get_gate_number(block.params.market, period, Session.INTRADAY)
    _put_quotas(view, block, gate, derive_left(_feeder(block), _find_carried(view, block, gate)))


def _put_quotas(view: Overlay, block: BlockContext, gate: int, quotas: Sequence[LineQuota]) -> None:
    records.put_quotas(view, gate, quotas)
    rows: list[Value] = [tuple(quota) for quota in quotas]
    post(view, QUOTA, gate, rows, height=block.height, retained=_count_retained(block))
    demand_wh, supply_wh = sum(quota.demand_wh for quota in quotas), sum(quota.supply_wh for quota in quotas)
    view.emit("quota", gate, len(quotas), demand_wh, supply_wh)


def _count_retained(block: BlockContext) -> int:
    return count_retained(block.params.market, block.params.scheduling.quota_ppm)


def _find_carried(view: Overlay, block: BlockContext, gate: int) -> dict[Hop, int]:
    """The flows over the lines of all that is agreed in the sessions before this one of a period."""
    market = block.params.market
    period = get_period(market, gate)
    agreed = [
        TradeRecord(*contract)
        for earlier in list_earlier_gates(market, gate)
        for contract in records.get_contracts(view, earlier)
    ]
    return compute_flows(_feeder(block), _locate(view, period, agreed)) if agreed else {}


def _close_metering(view: Overlay, block: BlockContext, period: int) -> None:
    """Report the readings to JY1, record the actual-transaction block, and send its digest to LH1.

    Where not a single reading came, no meter is said to have stood still: nothing is reported, and JY1 lets the trades
    lapse (decision 15). A period whose list was checked and found empty has an actual-transaction block all the same.
    """
    if is_limited(block):
        begin_metering(view, period)
        end_meterings(view, block)
        _close(view, block, period)
        return
    readings, market = get_readings(view, period), block.params.market
    if readings:
        post(view, METERED, period, [tuple(reading) for reading in readings], height=block.height)
        view.emit("metered", period, len(readings))
    elif count_contracts(view, market, period):
        view.emit("unmetered", period)
    if has_actuals(view, market, period, readings=len(readings)):
        actuals = compute_actuals(market, list_agreed(view, market, period), readings)
        metered_wh = sum(min(actual.consumption_wh, actual.output_wh) for actual in actuals)
        root = records.compute_actual_root(actuals)
        records.put_actual_block(view, period, ActualBlock(block.height, root, len(actuals), metered_wh), actuals)
        if "credit" in block.siblings:
            post(view, ACTUAL, period, [(root, len(actuals), metered_wh)], height=block.height)
        view.emit("actual", period, len(actuals), metered_wh)
    _close(view, block, period)


def _close(view: Overlay, block: BlockContext, period: int) -> None:
    """The period's metering is closed, and what is beyond those retained is forgotten."""
    for gate in list_gates(block.params.market, period):
        if is_limited(block):
            drop_list(view, gate)
        else:
            drop_parts(view, RESULT, gate)
    for old in records.close_period(view, block.params.market, period):
        if is_limited(block):
            forget_readings(view, old)
        else:
            drop_readings(view, old)


_WHEN_DUE: Mapping[Action, Callable[[Overlay, BlockContext, int], None]] = {
    Action.PUBLISH_QUOTAS: _publish_quotas,
    Action.PUBLISH_INTRADAY: _publish_intraday,
    Action.LAPSE_PLAN: _lapse_plan,
    Action.CLOSE_METERING: _close_metering,
}


def post_corrections(view: Overlay, block: BlockContext) -> None:
    """The hook at a period's first block: tell JY1 of the readings that came or changed after their period was closed.

    They go together, so that as many as there may be take one message a period. The actual-transaction block stays as
    it was recorded: it says what was metered in time.
    """
    if is_limited(block):
        _post_share(view, block)
        return
    if not block.is_first_of_period:
        return
    rows: list[Value] = [tuple(row) for corrected in take_corrected(view).values() for row in corrected]
    if rows:
        post(view, CORRECTED, block.period, rows, height=block.height)


def _post_share(view: Overlay, block: BlockContext) -> None:
    """The same by shares, in messages that are numbered by their blocks: there may be several in a period."""
    rows: list[Value] = [tuple(row) for row in take_share(view, block)]
    if rows:
        post(view, CORRECTED, block.height, rows, height=block.height, retained=REMEMBERED)


# --- what JY1 reports ----------------------------------------------------------------------------


def receive_result(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """`result` of JY1: collect a period's trade list, and give the verdict when it is complete.

    Raises `RelayTooLate`, `UnexpectedRelay` or the `Malformed` family; the last two only where JY1's members certified
    what no honest one signs, or a list for which no quotas are out.
    """
    gate, market = delivery.number, block.params.market
    period, session = get_period(market, gate), get_session(market, gate)
    times = compute_scheduling_times(period, block.params, block.genesis_time_ms)
    is_last = session == market.sessions - 1
    deadline_ms = times.verdict_ms if is_last else times.intraday_quota_ms
    if block.timestamp_ms >= deadline_ms:
        raise RelayTooLate(kind=RESULT, period=period, deadline=deadline_ms, now=block.timestamp_ms)
    state = records.get_state(view, market, period)
    if find_row(state, Event.RESULT) is None or state != _AWAITED[session]:
        is_given = records.get_verdict(view, gate) is not None
        raise _unexpected(period, "its verdict has been given" if is_given else "no quotas are out for it")
    if delivery.part < delivery.parts - 1 and len(delivery.rows) != ROWS_PER_PART:
        raise _unexpected(period, f"part {delivery.part} of {delivery.parts} has {len(delivery.rows)} trades")
    trades = _parse_trades(market, gate, delivery.rows, first=delivery.part * ROWS_PER_PART)
    if is_limited(block):
        spend(view, block, len(trades), cost=HEAR)
        keep_list_part(view, delivery, trades, _locate(view, period, trades))
        if is_being_checked(view, gate):
            _check(view, block, gate)
        return
    rows = add_part(view, delivery)
    if rows is not None:
        _enter(view, block.params.market, period, Event.RESULT)
        _give_verdict(view, block, gate, _parse_trades(market, gate, rows))


_AWAITED = {Session.DAY_AHEAD: State.QUOTED, Session.INTRADAY: State.REQUOTED}  # the state in which a list may come


def _parse_trades(market: MarketParams, gate: int, rows: Sequence[Value], *, first: int = 0) -> list[TradeRecord]:
    """A gate's trades by index, from `first` on. Raises `UnexpectedRelay` or the `Malformed` family."""
    trades = []
    for index, row in enumerate(rows, start=first):
        trade = read_trade(row)
        if trade[:2] != (gate, index):
            period = get_period(market, trade.gate)
            detail = f"trade {trade.trade_index} of period {period} stands in place {index}"
            raise _unexpected(get_period(market, gate), detail)
        expect_int(trade.volume_wh, "trade volume", low=1, high=MAX_ENERGY_WH)
        trades.append(trade)
    return trades


def _give_verdict(view: Overlay, block: BlockContext, gate: int, trades: Sequence[TradeRecord]) -> None:
    """Check the list against the lines, and record the power-transaction block with what is accepted."""
    period = get_period(block.params.market, gate)
    listed, carried = _locate(view, period, trades), _find_carried(view, block, gate)
    curtailments = check_executability(_feeder(block), listed, carried)
    contracts = [BilateralContract(*trade[:6]) for trade in curtail(trades, curtailments)]
    accepted_wh = sum(contract.accepted_wh for contract in contracts)
    root = records.compute_contracts_root(contracts)
    records.put_verdict(view, gate, curtailments)
    records.put_power_block(view, gate, PowerBlock(block.height, root, len(contracts), accepted_wh), contracts)
    _announce_verdict(view, block, gate, trades, curtailments)
    if "credit" in block.siblings:
        post_power(view, block, gate, (root, len(contracts), accepted_wh))


def _announce_verdict(
    view: Overlay,
    block: BlockContext,
    gate: int,
    trades: Sequence[TradeRecord],
    curtailments: Sequence[Curtailment],
) -> None:
    rows: list[Value] = [tuple(curtailment) for curtailment in curtailments]
    post(view, VERDICT, gate, rows, height=block.height, retained=_count_retained(block))
    accepted_wh = sum(trade.volume_wh for trade in curtail(trades, curtailments))
    view.emit("verdict", gate, len(trades), len(curtailments), accepted_wh)
    for curtailment in curtailments:
        view.emit("curtailed", gate, *curtailment)


def _check(view: Overlay, block: BlockContext, gate: int) -> None:
    """Check a list that is whole, or go on with it, as far as the block's share of work allows."""
    check_list(
        view,
        block,
        gate,
        _feeder(block),
        find_carried=partial(_find_carried, view, block, gate),
        announce=partial(_judge, view, block, gate),
    )


def _judge(
    view: Overlay,
    block: BlockContext,
    gate: int,
    trades: Sequence[TradeRecord],
    curtailments: Sequence[Curtailment],
) -> None:
    _enter(view, block.params.market, get_period(block.params.market, gate), Event.RESULT)
    _announce_verdict(view, block, gate, trades, curtailments)


def _feeder(block: BlockContext) -> Feeder:
    return Feeder(block.params.scheduling, block.params.market.allowance_ppm)


def _locate(view: Overlay, period: int, trades: Sequence[TradeRecord]) -> list[ListedTrade]:
    """The list with the members' positions. Raises `UnexpectedRelay` where one is no member."""
    positions: dict[Address, str] = {}
    for address in dict.fromkeys(party for trade in trades for party in (trade.seller, trade.buyer)):
        member = get_member(view, address)
        if member is None:
            raise _unexpected(period, f"{show_address(address)} is not a member")
        positions[address] = member.position
    return [
        ListedTrade(trade.trade_index, positions[trade.seller], positions[trade.buyer], trade.volume_wh)
        for trade in trades
    ]


def _unexpected(period: int, detail: str) -> UnexpectedRelay:
    return UnexpectedRelay(kind=RESULT, period=period, detail=detail)
