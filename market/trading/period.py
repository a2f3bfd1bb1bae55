"""Actions in the life of a period, as `life.py` has them: gate, certificate, verdict, deadline, metering, correction.

A chain that trades alone has its trades bind when they are certified, and settles by readings of its own. Beside a
scheduling chain the trades bind as far as that chain's verdict accepts them, and its metering settles them. Where the
market asks for an audit, they bind only once the authority has countersigned them too.

Where not a single meter was read, whoever was to read them, the trades lapse: reserves return, nobody pays and nobody
is scored. It looks like an outage, and in one nobody is to blame. So all members of a period who keep their meters
silent together go unscored, and one of them that does not spoils it for the others (decision 15): of the silent ones
something is imputed, and what they say later corrects it (decision 32).

Time is the block's, which contracts never see step back. Yet a block may come late for many things at once, so what
has happened to a period is read from the state, not inferred from the clock alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from ledger.accounts import get_member
from ledger.checkpoints import get_certified_height
from ledger.codec import Value, expect_array, expect_int, expect_str
from ledger.contract import BlockContext
from ledger.errors import WrongShape
from ledger.inbox import InboundMessage
from ledger.outbox import RETAINED, post
from ledger.overlay import Overlay
from ledger.results import Result, drop_result, put_result
from market.errors import (
    CountersignedAlready,
    CountersignedTooLate,
    NoTradeList,
    RelayTooLate,
    UnexpectedRelay,
    WrongTradeList,
)
from market.messages import CORRECTED, METERED, REDELIVERED, RESULT, VERDICT
from market.metering import (
    Corrected,
    Reading,
    add_reading,
    check_distinct,
    drop_readings,
    get_readings,
    mark_corrected,
    parse_reading,
    take_corrected,
)
from market.orders import Order, Side
from market.trading.book import close_book, get_candidates, has_book
from market.trading.clearing_rules import ClearingContext, get_rule, is_by_merit
from market.trading.gates import Gate, drop_gate, gate_key, get_gate, put_gate
from market.trading.life import Action, Event, Guard, Row, State, find_row, list_rows
from market.trading.matching_weight import weigh_book
from market.trading.message_parts import add_part, drop_parts
from market.trading.period_index import add_live_period, close_period, get_live_periods, is_closed
from market.trading.period_settlement import (
    NOTHING,
    drop_settlement,
    has_settlement,
    put_settlement,
    resettle_period,
    settle_period,
)
from market.trading.quotas import MAX_LINE_BYTES, drop_quotas, get_lines, get_wheeling, require_quota, trim_to_quotas
from market.trading.reserves import compute_bid_reserves, compute_trade_reserves, replace_reserves
from market.trading.ties import Lots, make_lottery
from market.trading.times import PeriodTimes as PeriodTimes
from market.trading.times import compute_times as compute_times
from market.trading.times import count_periods
from market.trading.trades import (
    Curtailment,
    Match,
    Party,
    TradeRecord,
    compute_result_root,
    drop_trades,
    get_binding_trades,
    get_curtailments,
    get_trades,
    put_curtailments,
    put_trades,
)

_COUNTERSIGNED = b"/countersigned"  # after a gate's key: the height at which it was

# --- steps of the table --------------------------------------------------------------------------


class _Case(NamedTuple):
    """A period as a block finds it."""

    view: Overlay
    block: BlockContext
    period: int
    gate: Gate | None

    @classmethod
    def read(cls, view: Overlay, block: BlockContext, period: int) -> _Case:
        return cls(view, block, period, get_gate(view, period))

    @property
    def state(self) -> State:
        return State.BOOK if self.gate is None else self.gate.status

    @property
    def closed(self) -> Gate:
        """The gate of a period whose gate is closed."""
        assert self.gate is not None, self.period
        return self.gate

    @property
    def is_scheduled(self) -> bool:
        return "scheduling" in self.block.siblings

    @property
    def is_unheard(self) -> bool:
        """True if there are trades to settle, and not a meter was read."""
        return not get_readings(self.view, self.period) and bool(get_binding_trades(self.view, self.period))

    @property
    def is_unsigned(self) -> bool:
        is_required = self.block.params.market.audit == "required"
        return is_required and not is_countersigned(self.view, self.period)


_GUARDS: Mapping[Guard, Callable[[_Case], bool]] = {
    Guard.HAS_BOOK: lambda case: has_book(case.view, case.period),
    Guard.IS_CERTIFIED: lambda case: case.closed.height <= get_certified_height(case.view),
    Guard.ALONE: lambda case: not case.is_scheduled,
    Guard.SCHEDULED: lambda case: case.is_scheduled,
    Guard.UNSIGNED: lambda case: case.is_unsigned,
    Guard.HEARD: lambda case: not case.is_unheard,
    Guard.UNHEARD: lambda case: case.is_unheard,
    Guard.IS_OVER: lambda case: has_settlement(case.view, case.period),
}


def _find(case: _Case, event: Event) -> Row | None:
    rows = list_rows(case.state, event)
    return find_row(rows, lambda guard: _GUARDS[guard](case)) if rows else None


def _happen(case: _Case, event: Event) -> _Case:
    """Take the step that the table has for an event, which must be one; the period after it."""
    row = _find(case, event)
    assert row is not None, f"nothing is to happen to a period that is {case.state} on {event}"
    return _take(case, row)


def _happen_if(case: _Case, event: Event) -> _Case:
    """Take the step that the table has for an event, if any; the period after it."""
    row = _find(case, event)
    return case if row is None else _take(case, row)


def _take(case: _Case, row: Row) -> _Case:
    """Enter the row's state, then do what it says: an action may be what forgets the period."""
    view, block, period, gate = case
    if gate is not None and row.after != row.before:
        if row.before == State.OPEN:
            drop_result(view, period)
        case = case._replace(gate=gate._replace(status=row.after, reason=row.reason))
        put_gate(view, period, case.closed)
    _ACTIONS[row.action](case)
    return _Case.read(view, block, period)


# --- what is due ---------------------------------------------------------------------------------


def process_due_periods(view: Overlay, block: BlockContext) -> None:
    """The hook at the start of every block: close, void and settle what is due, in ascending period order.

    Costs a lookup where nothing is live, however long ago the last block was. One block may take a period
    through all of its stages.
    """
    for period in get_live_periods(view):
        _process_period(_Case.read(view, block, period))


def _process_period(case: _Case) -> None:
    """Bring one live period up to the block's time."""
    *stages, (end, settle_ms) = _list_events(case)
    for event, due_ms in stages:
        if case.block.timestamp_ms >= due_ms:
            case = _happen_if(case, event)
    if case.block.timestamp_ms >= settle_ms:
        _happen(case, end)


def _list_events(case: _Case) -> tuple[tuple[Event, int], ...]:
    """The events that time brings to a period, in the order in which a block takes them, and from when on, in ms."""
    times = compute_times(case.period, case.block.params, case.block.genesis_time_ms)
    end = Event.UNMETERED if case.is_scheduled else Event.METERED
    return (
        (Event.GATE, times.gate_ms),
        (Event.CERTIFICATE, 0),
        (Event.DEADLINE, times.deadline_ms),
        (end, times.settle_ms),
    )


def find_next_due(view: Overlay, block: BlockContext) -> int | None:
    """The time from which on something is due for a live period; 0 where a gate has its certificate already."""
    return min((_find_next_due(_Case.read(view, block, period)) for period in get_live_periods(view)), default=None)


def _find_next_due(case: _Case) -> int:
    *stages, (_, settle_ms) = _list_events(case)
    return min([settle_ms, *(due_ms for event, due_ms in stages if _find(case, event) is not None)])


# --- the gate ------------------------------------------------------------------------------------


def _close_gate(case: _Case) -> None:
    """Clear the book by the chain's rule, keep its trades and record the gate; a scheduling chain hears the result.

    A book that yields no trade has its gate recorded too, over the empty tree: it is certified as any other.
    """
    view, block, period, _ = case
    orders, trades = _clear_book(view, block, period)
    bidders = [order.owner for order in orders if order.side == Side.BID]
    wheeling = get_wheeling(view, block, period, bidders)
    params = block.params.market
    before, after = compute_bid_reserves(orders, wheeling, params), compute_trade_reserves(trades, wheeling, params)
    replace_reserves(view, before, after)
    put_trades(view, period, trades)
    gate = Gate(height=block.height, result_root=compute_result_root(trades), trade_count=len(trades))
    put_gate(view, period, gate)
    put_result(view, Result(period, gate.trade_count, gate.result_root))
    _announce_gate(view, period, gate, trades)
    if case.is_scheduled:
        retained = max(RETAINED, count_periods(block.params.market.gate_ppm))  # gates may close long before delivery
        post(view, RESULT, period, [record.terms for record in trades], height=block.height, retained=retained)


def _clear_book(view: Overlay, block: BlockContext, period: int) -> tuple[list[Order], list[TradeRecord]]:
    """Take the orders off the book; them, and their trades with what made them.

    Weights are those of the whole book, before quotas trim it, and computed whether or not merit decides.
    """
    params = block.params.market
    candidates = {one.order.order_id: one for one in get_candidates(view, period)}
    weights = weigh_book(candidates.values(), params.weights)
    orders = close_book(view, period)
    is_weighed = is_by_merit(params.clearing_rule)
    context = ClearingContext(
        k_ppm=params.k_ppm,
        merits={order_id: weight.total_ppm for order_id, weight in weights.items()} if is_weighed else {},
        lottery=make_lottery(block.chain_id, period) if params.ties == "pro-rata" else None,
    )
    trades = get_rule(params.clearing_rule)(_trim(view, block, period, orders, context), context)

    def describe(order_id: int) -> Party:
        candidate = candidates[order_id]
        member = get_member(view, candidate.order.owner)
        node_type = "" if member is None else member.role
        return Party(order_id, node_type, candidate.credit_upt, candidate.position, weights[order_id].contributions)

    return orders, [
        TradeRecord(
            period,
            index,
            trade.buyer,
            trade.seller,
            trade.price_uyuan_per_kwh,
            trade.volume_wh,
            Match(describe(trade.bid_id), describe(trade.offer_id)),
        )
        for index, trade in enumerate(trades)
    ]


def _trim(
    view: Overlay, block: BlockContext, period: int, orders: Sequence[Order], context: ClearingContext
) -> Sequence[Order]:
    """The orders as far as the lines' quotas let them stand; all of them where no chain sets quotas."""
    if "scheduling" not in block.siblings:
        return orders
    lines = get_lines(view, [order.owner for order in orders])
    quotas = {line: require_quota(view, period, line) for line in dict.fromkeys(lines.values())}
    lots = None if context.lottery is None else Lots.draw(context.lottery, lines)
    kept = trim_to_quotas(orders, lines, quotas, context.merits, lots)
    kept_wh = {order.order_id: order.volume_wh for order in kept}
    for order in orders:
        volume_wh = kept_wh.get(order.order_id, 0)
        if volume_wh < order.volume_wh:
            view.emit("trimmed", period, order.order_id, order.owner, int(order.side), volume_wh)
    return kept


def _announce_gate(view: Overlay, period: int, gate: Gate, trades: Sequence[TradeRecord]) -> None:
    volume_wh = sum(record.volume_wh for record in trades)
    view.emit("gate", period, gate.trade_count, volume_wh, gate.result_root)
    for record in trades:
        view.emit("trade", *record.terms)


def _certify(case: _Case) -> None:
    case.view.emit("certified-result", case.period)


def _void(case: _Case) -> None:
    """No certificate, verdict or countersignature came in time: the trades lapse, their reserves are free again."""
    drop_parts(case.view, VERDICT, case.period)
    _release(case)
    case.view.emit("void", case.period, case.closed.reason.value)


def _release(case: _Case) -> None:
    """Give buyers back what they have set aside: for the trades, as far as a verdict has let them stand."""
    view, block, period, _ = case
    trades = get_binding_trades(view, period)
    wheeling = get_wheeling(view, block, period, [record.buyer for record in trades])
    replace_reserves(view, compute_trade_reserves(trades, wheeling, block.params.market), {})


# --- the audit -----------------------------------------------------------------------------------


def countersign(view: Overlay, block: BlockContext, period: int, result_root: bytes) -> None:
    """Record that the authority has countersigned a period's trade list; its signatures have been checked.

    Raises `NoTradeList`, `CountersignedTooLate`, `WrongTradeList` or `CountersignedAlready`.
    """
    case = _Case.read(view, block, period)
    deadline_ms = compute_times(period, block.params, block.genesis_time_ms).deadline_ms
    if block.timestamp_ms >= deadline_ms:
        raise CountersignedTooLate(period=period, deadline=deadline_ms, now=block.timestamp_ms)
    if case.gate is None or _find(case, Event.COUNTERSIGNATURE) is None:
        detail = "its gate is not closed" if case.gate is None else f"it is {case.state}"
        raise NoTradeList(period=period, detail=detail)
    if result_root != case.gate.result_root:
        raise WrongTradeList(period=period, expected=case.gate.result_root.hex()[:16], actual=result_root.hex()[:16])
    if is_countersigned(view, period):
        raise CountersignedAlready(period=period)
    _happen(case, Event.COUNTERSIGNATURE)


def is_countersigned(view: Overlay, period: int) -> bool:
    return view.get(gate_key(period) + _COUNTERSIGNED) is not None


def _mark_countersigned(case: _Case) -> None:
    case.view.put(gate_key(case.period) + _COUNTERSIGNED, case.block.height)
    case.view.emit("countersigned", case.period, case.closed.result_root)


# --- the verdict ---------------------------------------------------------------------------------


def receive_verdict(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """`verdict`, rows (trade index, accepted_wh, line): trades that the grid cannot carry whole; the others stand.

    Complete, it makes the period's trades binding at the volumes accepted, and buyers have less to keep aside. It
    implies a certificate, as the scheduling chain takes no result without one. Raises `WrongShape`, `TooLarge`,
    `RelayTooLate` or `UnexpectedRelay`.
    """
    period = delivery.number
    deadline_ms = compute_times(period, block.params, block.genesis_time_ms).deadline_ms
    if block.timestamp_ms >= deadline_ms:
        raise RelayTooLate(kind=VERDICT, period=period, deadline=deadline_ms, now=block.timestamp_ms)
    case = _Case.read(view, block, period)
    if _find(case, Event.VERDICT) is None:
        detail = "its gate is not closed" if case.gate is None else f"its trades are {case.state}"
        raise UnexpectedRelay(kind=VERDICT, period=period, detail=detail)
    for row in delivery.rows:
        _parse_curtailment(row)
    rows = add_part(view, delivery)
    if rows is None:
        return
    curtailments = sorted(map(_parse_curtailment, rows))
    _check_curtailments(period, get_trades(view, period), curtailments)
    put_curtailments(view, period, curtailments)
    _happen(case, Event.VERDICT)


def _accept(case: _Case) -> None:
    """Have the trades bind as the verdict that has been put down lets them stand."""
    view, block, period, _ = case
    trades, accepted = get_trades(view, period), get_binding_trades(view, period)
    curtailments = get_curtailments(view, period)
    wheeling = get_wheeling(view, block, period, [record.buyer for record in trades])
    before, after = (compute_trade_reserves(records, wheeling, block.params.market) for records in (trades, accepted))
    replace_reserves(view, before, after)
    view.emit("accepted", period, len(curtailments), sum(record.volume_wh for record in accepted))
    for curtailment in curtailments:
        view.emit("curtailed", period, *curtailment)


def _parse_curtailment(row: Value) -> Curtailment:
    index, accepted, line = expect_array(row, 3, "curtailed trade")
    return Curtailment(
        expect_int(index, "trade index"),
        expect_int(accepted, "accepted volume"),
        expect_str(line, "line", max_size=MAX_LINE_BYTES),
    )


def _check_curtailments(period: int, trades: Sequence[TradeRecord], curtailments: Sequence[Curtailment]) -> None:
    """Raise `WrongShape` for a trade cut twice, `UnexpectedRelay` for one that is not there or not cut at all."""
    last = -1
    for index, accepted_wh, _ in curtailments:
        if index == last:
            raise WrongShape(what=VERDICT, detail=f"trade {index} is in it twice")
        last = index
        if index >= len(trades):
            raise UnexpectedRelay(kind=VERDICT, period=period, detail=f"of {len(trades)} trades none is {index}")
        if accepted_wh >= trades[index].volume_wh:
            detail = f"{accepted_wh} Wh of trade {index} are accepted, it is of {trades[index].volume_wh} Wh"
            raise UnexpectedRelay(kind=VERDICT, period=period, detail=detail)


# --- settlement ----------------------------------------------------------------------------------


def receive_metered(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """`metered`, rows (owner, consumed_wh, produced_wh), one per meter: settle the period once all parts are there.

    Raises `WrongShape`, `UnknownMember`, `DuplicateReading`, `RelayTooLate`, or `UnexpectedRelay` before the end of
    delivery.
    """
    period = delivery.number
    times = compute_times(period, block.params, block.genesis_time_ms)
    is_over = is_closed(view, period, retained=block.params.market.retained_periods)
    if block.timestamp_ms >= times.settle_ms or is_over:
        raise RelayTooLate(kind=METERED, period=period, deadline=times.settle_ms, now=block.timestamp_ms)
    if block.timestamp_ms < times.delivery_end_ms:
        detail = f"its delivery ends at {times.delivery_end_ms} ms, the block is of {block.timestamp_ms} ms"
        raise UnexpectedRelay(kind=METERED, period=period, detail=detail)
    check_distinct([parse_reading(view, row) for row in delivery.rows], period)
    rows = add_part(view, delivery)
    if rows is None:
        add_live_period(view, period)
        return
    readings = [Reading._make(cast(tuple[bytes, int, int], row)) for row in rows]
    check_distinct(readings, period)
    for reading in readings:
        add_reading(view, Corrected(period, *reading, revision=0))
    view.emit("metered", period, len(readings))
    _happen(_Case.read(view, block, period), Event.METERED)


def receive_corrected(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """`corrected`, rows (period, owner, consumed_wh, produced_wh, revision): readings that came late or have changed.

    What is settled is settled anew with the next period's first block; what is not yet takes the reading as it is. Of a
    period whose trades have lapsed, or which is long over, nothing is corrected. Raises `WrongShape`, `UnknownMember`
    or `UnexpectedRelay`.
    """
    for row in [Corrected.from_value(view, row) for row in delivery.rows]:
        times = compute_times(row.period, block.params, block.genesis_time_ms)
        if block.timestamp_ms < times.delivery_end_ms:
            detail = f"its delivery ends at {times.delivery_end_ms} ms, the block is of {block.timestamp_ms} ms"
            raise UnexpectedRelay(kind=CORRECTED, period=row.period, detail=detail)
        is_over = is_closed(view, row.period, retained=block.params.market.retained_periods)
        if is_over and not can_correct(view, block, row.period):
            view.emit("correction-lapsed", row.period, row.owner)
            continue
        if not add_reading(view, row):
            continue
        if is_over:
            mark_corrected(view, row.period, row.owner)
        else:
            add_live_period(view, row.period)
        view.emit("corrected", *row)


def can_correct(view: Overlay, block: BlockContext, period: int) -> bool:
    """Return True if a period has been settled by readings, so that others may take their place."""
    return _find(_Case.read(view, block, period), Event.CORRECTION) is not None


def process_corrections(view: Overlay, block: BlockContext) -> None:
    """The hook at a period's first block: settle anew what was corrected since the last, however often it was.

    Costs a look-up where nothing was. A credit chain hears what has changed.
    """
    if not block.is_first_of_period:
        return
    rows: list[Value] = []
    for period in take_corrected(view):
        case = _Case.read(view, block, period)
        if _find(case, Event.CORRECTION) is not None:
            rows += _resettle(case)
    if rows and "credit" in block.siblings:
        post(view, REDELIVERED, block.period, rows, height=block.height)


def _resettle(case: _Case) -> list[Value]:
    """Settle anew, as it was settled; what there is to tell of it: `redelivered` is said of all periods together."""
    view, block, period, _ = case
    trades = get_binding_trades(view, period) if case.state == State.SETTLED else []
    return resettle_period(view, block, period, trades, get_readings(view, period))


def _settle(case: _Case) -> None:
    """Settle the trades by what was metered, and with the grid company what they leave."""
    view, block, period, _ = case
    settle_period(view, block, period, get_binding_trades(view, period), get_readings(view, period))
    _close(case)


def _settle_with_grid(case: _Case) -> None:
    """Settle all that was metered with the grid company: no trade binds."""
    view, block, period, _ = case
    settle_period(view, block, period, [], get_readings(view, period))
    _close(case)


def _lapse(case: _Case) -> None:
    """Let a period lapse that was not metered in time: free its reserves; no member pays and none is scored."""
    _release(case)
    _end_unmetered(case)


def _end_unmetered(case: _Case) -> None:
    """Put down that nothing is settled; of a period in which no member had an order there is nothing to tell."""
    view, _, period, gate = case
    drop_parts(view, METERED, period)
    if gate is not None:
        put_settlement(view, period, NOTHING)
        view.emit("unmetered", period)
    _close(case)


def _close(case: _Case) -> None:
    """The period is over; so is the time for which records of the oldest closed one stay."""
    view, block, period, _ = case
    for old in close_period(view, period, retained=block.params.market.retained_periods):
        drop_quotas(view, old)
        drop_gate(view, old)
        view.delete(gate_key(old) + _COUNTERSIGNED)
        drop_trades(view, old)
        drop_readings(view, old)
        drop_settlement(view, old)


_ACTIONS: Mapping[Action, Callable[[_Case], None]] = {  # but `_resettle`, which has something to tell
    Action.CLOSE_GATE: _close_gate,
    Action.CERTIFY: _certify,
    Action.ACCEPT: _accept,
    Action.MARK_COUNTERSIGNED: _mark_countersigned,
    Action.VOID: _void,
    Action.SETTLE: _settle,
    Action.SETTLE_WITH_GRID: _settle_with_grid,
    Action.LAPSE: _lapse,
    Action.END_UNMETERED: _end_unmetered,
}
