"""Actions in the life of a period, as `life.py` has them: gate, certificate, verdict, deadline, metering, correction.

A chain that trades alone has its trades bind when they are certified, and settles by readings of its own. Beside a
scheduling chain the trades bind as far as that chain's verdict accepts them, and its metering settles them. Where the
market asks for an audit, they bind only once the authority has countersigned them too.

A period that is traded twice has a gate for each session, and each has a life of its own until its trades bind or are
void; delivery ends both at once, and all that binds is settled together (decision 54).

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

from ledger.checkpoints import get_certified_height
from ledger.codec import Value, expect_array, expect_int, expect_str
from ledger.contract import BlockContext
from ledger.errors import WrongShape
from ledger.hashing import Address
from ledger.inbox import REMEMBERED, InboundMessage
from ledger.outbox import post
from ledger.overlay import Overlay
from ledger.params import MarketParams
from ledger.results import drop_result
from market.bill_records import forget_bills
from market.errors import (
    CountersignedAlready,
    CountersignedTooLate,
    NoTradeList,
    RelayTooLate,
    UnexpectedRelay,
    WrongTradeList,
)
from market.messages import CORRECTED, METERED, REDELIVERED, VERDICT
from market.metering import (
    Corrected,
    Reading,
    add_reading,
    check_distinct,
    drop_readings,
    has_reading,
    mark_corrected,
    parse_reading,
    take_corrected,
    take_part,
)
from market.trading.balances import drop_balances
from market.trading.book import has_book
from market.trading.claim_settlement import cancel_period, forget_claims
from market.trading.closing import close_gate, is_closing
from market.trading.corrections import take_share
from market.trading.forgetting import forget_readings
from market.trading.gates import Gate, drop_gate, gate_key, get_gate, put_gate
from market.trading.life import Action, Event, Guard, Row, State, find_row, list_rows
from market.trading.message_parts import add_part, count_part, drop_count, drop_parts
from market.trading.period_index import add_live_period, close_period, get_live_periods, is_closed
from market.trading.period_settlement import is_settling, settle_period
from market.trading.positions import add_positions, drop_positions
from market.trading.quotas import MAX_LINE_BYTES, drop_quotas, get_wheeling
from market.trading.reserves import compute_trade_reserves, replace_reserves
from market.trading.resettlement import resettle_period
from market.trading.sessions import get_period, is_firm, list_gates
from market.trading.settlement_record import drop_settlement, has_settlement, put_nothing
from market.trading.targets import drop_target
from market.trading.times import PeriodTimes as PeriodTimes
from market.trading.times import compute_gate_times
from market.trading.times import compute_times as compute_times
from market.trading.trades import (
    Curtailment,
    TradeRecord,
    curtail,
    drop_trades,
    get_binding_terms,
    get_curtailments,
    get_terms,
    put_curtailments,
)
from market.trading.work import HEAR, is_limited, spend

_COUNTERSIGNED = b"/countersigned"  # after a gate's key: the height at which it was
_METERED = b"market/due/"

# --- steps of the table --------------------------------------------------------------------------


class _Case(NamedTuple):
    """A gate of a period as a block finds it, by its number."""

    view: Overlay
    block: BlockContext
    gate: int
    record: Gate | None

    @classmethod
    def read(cls, view: Overlay, block: BlockContext, gate: int) -> _Case:
        return cls(view, block, gate, get_gate(view, gate))

    @property
    def period(self) -> int:
        return get_period(self.block.params.market, self.gate)

    @property
    def state(self) -> State:
        return State.BOOK if self.record is None else self.record.status

    @property
    def closed(self) -> Gate:
        """The record of a gate that is closed."""
        assert self.record is not None, self.gate
        return self.record

    @property
    def is_scheduled(self) -> bool:
        return "scheduling" in self.block.siblings

    @property
    def is_unheard(self) -> bool:
        """True if there are trades to settle in any session of the period, and not a meter was read."""
        if has_reading(self.view, self.period):
            return False
        siblings = _read_all(self.view, self.block, self.period)
        return any(case.state in _BINDING and get_binding_terms(self.view, case.gate) for case in siblings)

    @property
    def is_unsigned(self) -> bool:
        is_required = self.block.params.market.audit == "required"
        return is_required and not is_countersigned(self.view, self.gate)


_BINDING = (State.CERTIFIED, State.ACCEPTED)  # once its deadline has passed

_GUARDS: Mapping[Guard, Callable[[_Case], bool]] = {
    Guard.HAS_BOOK: lambda case: has_book(case.view, case.gate),
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


def _end(view: Overlay, block: BlockContext, period: int, event: Event) -> None:
    """Take the step that the end of a period brings to each of its gates; what is to be done is done once for all."""
    steps = [(case, _find(case, event)) for case in _read_all(view, block, period)]
    taken = []
    for case, row in steps:
        assert row is not None, f"nothing is to happen to a period that is {case.state} on {event}"
        taken.append((case, row))
    *others, last = sorted(taken, key=lambda step: -_ENDINGS.index(step[1].action))
    for case, row in others:
        _enter(case, row)
    _take(*last)


def _happen_if(case: _Case, event: Event) -> _Case:
    """Take the step that the table has for an event, if any; the period after it."""
    row = _find(case, event)
    return case if row is None else _take(case, row)


def _take(case: _Case, row: Row) -> _Case:
    """Enter the row's state, then do what it says: an action may be what forgets the period."""
    _ACTIONS[row.action](_enter(case, row))
    return _Case.read(case.view, case.block, case.gate)


def _enter(case: _Case, row: Row) -> _Case:
    view, _, gate, record = case
    if record is None or row.after == row.before:
        return case
    if row.before == State.OPEN:
        drop_result(view, gate)
    case = case._replace(record=record._replace(status=row.after, reason=row.reason))
    put_gate(view, gate, case.closed)
    return case


def _read_all(view: Overlay, block: BlockContext, period: int) -> list[_Case]:
    """The gates of a period, in the order of its sessions."""
    return [_Case.read(view, block, gate) for gate in list_gates(block.params.market, period)]


# --- what is due ---------------------------------------------------------------------------------


def process_due_periods(view: Overlay, block: BlockContext) -> None:
    """The hook at the start of every block: close, void and settle what is due, in ascending period order.

    Costs a lookup where nothing is live, however long ago the last block was. One block may take a period
    through all of its stages, as far as its share of work goes.
    """
    for period in get_live_periods(view):
        _process_period(view, block, period)


def _process_period(view: Overlay, block: BlockContext, period: int) -> None:
    """Bring one live period up to the block's time; nothing else happens to it while a gate closes, or it settles."""
    cases = _read_all(view, block, period)
    if is_settling(view, period):
        _go_on_settling(cases[0])
        return
    if not all(map(_process_gate, cases)):
        return
    end, settle_ms = _find_end(view, block, period)
    if is_metered(view, period):
        _end(view, block, period, Event.METERED)
    elif block.timestamp_ms >= settle_ms:
        _end(view, block, period, end)


def _process_gate(case: _Case) -> bool:
    """Bring a gate up to the block's time; False while it is being closed."""
    (closing, gate_ms), *stages = _list_events(case)
    if case.block.timestamp_ms >= gate_ms:
        case = _happen_if(case, closing)
    if is_closing(case.view, case.gate):
        return False
    for event, due_ms in stages:
        if case.block.timestamp_ms >= due_ms:
            case = _happen_if(case, event)
    return True


def _list_events(case: _Case) -> tuple[tuple[Event, int], ...]:
    """The events that time brings to a gate, in the order in which a block takes them, and from when on, in ms."""
    times = compute_gate_times(case.gate, case.block.params, case.block.genesis_time_ms)
    return (Event.GATE, times.gate_ms), (Event.CERTIFICATE, 0), (Event.DEADLINE, times.deadline_ms)


def _find_end(view: Overlay, block: BlockContext, period: int) -> tuple[Event, int]:
    """The event that time brings to all gates of a period after that, and from when on, in ms."""
    settle_ms = compute_times(period, block.params, block.genesis_time_ms).settle_ms
    return Event.UNMETERED if "scheduling" in block.siblings else Event.METERED, settle_ms


def find_next_due(view: Overlay, block: BlockContext) -> int | None:
    """The time from which on something is due for a live period.

    0 where a gate has its certificate already, a period is metered, or a block's share of work was not enough.
    """
    return min((_find_next_due(view, block, period) for period in get_live_periods(view)), default=None)


def _find_next_due(view: Overlay, block: BlockContext, period: int) -> int:
    cases = _read_all(view, block, period)
    if is_settling(view, period) or is_metered(view, period) or any(is_closing(view, case.gate) for case in cases):
        return 0
    stages = (due_ms for case in cases for event, due_ms in _list_events(case) if _find(case, event) is not None)
    return min([_find_end(view, block, period)[1], *stages])


# --- the gate ------------------------------------------------------------------------------------


def _close_gate(case: _Case) -> None:
    """Close the gate, or go on with it: until it is recorded the period is as it was."""
    close_gate(case.view, case.block, case.gate)


def _certify(case: _Case) -> None:
    case.view.emit("certified-result", case.gate)


def _void(case: _Case) -> None:
    """No certificate, verdict or countersignature came in time: the trades lapse, their reserves are free again."""
    drop_parts(case.view, VERDICT, case.gate)
    _release(case)
    case.view.emit("void", case.gate, case.closed.reason.value)


def _release(case: _Case) -> None:
    """Give buyers back what they have set aside: for the trades, as far as a verdict has let them stand."""
    view, block, gate, _ = case
    trades = get_binding_terms(view, gate)
    wheeling = get_wheeling(view, block, gate, [record.buyer for record in trades])
    replace_reserves(view, compute_trade_reserves(trades, wheeling, block.params.market), {})


# --- the audit -----------------------------------------------------------------------------------


def countersign(view: Overlay, block: BlockContext, gate: int, result_root: bytes) -> None:
    """Record that the authority has countersigned a gate's trade list; its signatures have been checked.

    Raises `NoTradeList`, `CountersignedTooLate`, `WrongTradeList` or `CountersignedAlready`.
    """
    case = _Case.read(view, block, gate)
    deadline_ms = compute_gate_times(gate, block.params, block.genesis_time_ms).deadline_ms
    period = case.period
    if block.timestamp_ms >= deadline_ms:
        raise CountersignedTooLate(period=period, deadline=deadline_ms, now=block.timestamp_ms)
    if case.record is None or _find(case, Event.COUNTERSIGNATURE) is None:
        detail = "its gate is not closed" if case.record is None else f"it is {case.state}"
        raise NoTradeList(period=period, detail=detail)
    if result_root != case.record.result_root:
        raise WrongTradeList(period=period, expected=case.record.result_root.hex()[:16], actual=result_root.hex()[:16])
    if is_countersigned(view, gate):
        raise CountersignedAlready(period=period)
    _happen(case, Event.COUNTERSIGNATURE)


def is_countersigned(view: Overlay, gate: int) -> bool:
    return view.get(gate_key(gate) + _COUNTERSIGNED) is not None


def _mark_countersigned(case: _Case) -> None:
    case.view.put(gate_key(case.gate) + _COUNTERSIGNED, case.block.height)
    case.view.emit("countersigned", case.gate, case.closed.result_root)


# --- the verdict ---------------------------------------------------------------------------------


def receive_verdict(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """`verdict`, rows (trade index, accepted_wh, line): trades that the grid cannot carry whole; the others stand.

    Complete, it makes the period's trades binding at the volumes accepted, and buyers have less to keep aside. It
    implies a certificate, as the scheduling chain takes no result without one. Raises `WrongShape`, `TooLarge`,
    `RelayTooLate` or `UnexpectedRelay`.
    """
    case = _Case.read(view, block, delivery.number)
    deadline_ms = compute_gate_times(case.gate, block.params, block.genesis_time_ms).deadline_ms
    period = case.period
    if block.timestamp_ms >= deadline_ms:
        raise RelayTooLate(kind=VERDICT, period=period, deadline=deadline_ms, now=block.timestamp_ms)
    if _find(case, Event.VERDICT) is None:
        detail = "its gate is not closed" if case.record is None else f"its trades are {case.state}"
        raise UnexpectedRelay(kind=VERDICT, period=period, detail=detail)
    for row in delivery.rows:
        _parse_curtailment(row)
    rows = add_part(view, delivery)
    if rows is None:
        return
    curtailments = sorted(map(_parse_curtailment, rows))
    _check_curtailments(period, get_terms(view, case.gate), curtailments)
    put_curtailments(view, case.gate, curtailments)
    _happen(case, Event.VERDICT)


def _accept(case: _Case) -> None:
    """Have the trades bind as the verdict that has been put down lets them stand."""
    view, block, gate, _ = case
    trades, curtailments = get_terms(view, gate), get_curtailments(view, gate)
    accepted, buyers = curtail(trades, curtailments), {trades[item.trade_index].buyer for item in curtailments}
    wheeling = get_wheeling(view, block, gate, buyers)
    before, after = (
        compute_trade_reserves([record for record in records if record.buyer in buyers], wheeling, block.params.market)
        for records in (trades, accepted)
    )
    replace_reserves(view, before, after)
    if is_firm(block.params.market):
        cuts = [(trades[index], accepted_wh) for index, accepted_wh, _ in curtailments]
        add_positions(view, gate, [trade._replace(volume_wh=wh - trade.volume_wh) for trade, wh in cuts])
    view.emit("accepted", gate, len(curtailments), sum(record.volume_wh for record in accepted))
    for curtailment in curtailments:
        view.emit("curtailed", gate, *curtailment)


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
    if block.timestamp_ms >= times.settle_ms or is_over(view, block, period):
        raise RelayTooLate(kind=METERED, period=period, deadline=times.settle_ms, now=block.timestamp_ms)
    if block.timestamp_ms < times.delivery_end_ms:
        detail = f"its delivery ends at {times.delivery_end_ms} ms, the block is of {block.timestamp_ms} ms"
        raise UnexpectedRelay(kind=METERED, period=period, detail=detail)
    rows = [parse_reading(view, row) for row in delivery.rows]
    check_distinct(rows, period)
    if is_limited(block):
        _take_metered_part(view, block, delivery, rows)
        return
    parts = add_part(view, delivery)
    if parts is None:
        add_live_period(view, period)
        return
    readings = [Reading._make(cast(tuple[bytes, int, int], row)) for row in parts]
    check_distinct(readings, period)
    for reading in readings:
        add_reading(view, Corrected(period, *reading, revision=0))
    view.emit("metered", period, len(readings))
    _end(view, block, period, Event.METERED)


def _take_metered_part(
    view: Overlay, block: BlockContext, delivery: InboundMessage, readings: Sequence[Reading]
) -> None:
    """Keep the readings of one part; once they are all there the block begins to settle by them, with what it has left.

    Taking them in is work too, so that the block does not do both in full.
    """
    period = delivery.number
    spend(view, block, len(readings), cost=HEAR)
    take_part(view, period, readings)
    add_live_period(view, period)
    count = count_part(view, delivery)
    if count is not None:
        view.put(_metered_key(period), count)
        view.emit("metered", period, count)
        _process_period(view, block, period)


def is_metered(view: Overlay, period: int) -> bool:
    """Return True if all readings have come of a period that waits for a block to settle it."""
    return view.get(_metered_key(period)) is not None


def is_over(view: Overlay, block: BlockContext, period: int) -> bool:
    """Return True if a period is over, or its settlement has begun: what is read now is a correction."""
    return is_settling(view, period) or is_closed(view, period, retained=block.params.market.retained_periods)


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
        is_late = is_over(view, block, row.period)
        if is_late and not can_correct(view, block, row.period):
            view.emit("correction-lapsed", row.period, row.owner)
            continue
        if not add_reading(view, row):
            continue
        if is_late:
            mark_corrected(view, row.period, row.owner)
        else:
            add_live_period(view, row.period)
        view.emit("corrected", *row)


def can_correct(view: Overlay, block: BlockContext, period: int) -> bool:
    """Return True if a period has been settled by readings, or is being so, and others may take their place."""
    return is_settling(view, period) or _is_correctable(view, block, period)


def _is_correctable(view: Overlay, block: BlockContext, period: int) -> bool:
    return all(_find(case, Event.CORRECTION) is not None for case in _read_all(view, block, period))


def process_corrections(view: Overlay, block: BlockContext) -> None:
    """The hook at a period's first block: settle anew what was corrected since the last, however often it was.

    Costs a look-up where nothing was. A credit chain hears what has changed.
    """
    if is_limited(block):
        _correct_by_shares(view, block)
        return
    if not block.is_first_of_period:
        return
    rows: list[Value] = []
    for period, corrected in take_corrected(view).items():
        rows += _correct(view, block, period, corrected)
    if rows and "credit" in block.siblings:
        post(view, REDELIVERED, block.period, rows, height=block.height)


def _correct_by_shares(view: Overlay, block: BlockContext) -> None:
    """Settle a share anew. Messages are numbered by their blocks, as there may be several in a period."""
    corrected = take_share(view, block, is_ready=lambda period: not is_settling(view, period))
    rows = _correct(view, block, corrected[0].period, corrected) if corrected else []
    if rows and "credit" in block.siblings:
        post(view, REDELIVERED, block.height, rows, height=block.height, retained=REMEMBERED)


def _correct(view: Overlay, block: BlockContext, period: int, corrected: Sequence[Corrected]) -> list[Value]:
    """Take up readings that have changed, the last heard first; nothing is settled anew where trades have lapsed."""
    if not _is_correctable(view, block, period):
        return []
    return _resettle(_read_all(view, block, period)[0], [row.owner for row in reversed(corrected)])


def _resettle(case: _Case, owners: Sequence[Address]) -> list[Value]:
    """Settle anew, as it was settled; what there is to tell of it: `redelivered` is said of all periods together."""
    return resettle_period(case.view, case.block, case.period, _list_settled(case), owners)


def _settle(case: _Case) -> None:
    """Settle the trades by what was metered, and with the grid company what they leave; or go on with it."""
    _go_on_settling(case)


def _settle_with_grid(case: _Case) -> None:
    """Settle all that was metered with the grid company, or go on with it: no trade binds."""
    _go_on_settling(case)


def _go_on_settling(case: _Case) -> None:
    if settle_period(case.view, case.block, case.period, _list_settled(case)):
        _close(case)


def _list_settled(case: _Case) -> list[TradeRecord]:
    """The trades that bind of all sessions of a period that is being settled, or is."""
    view = case.view
    settled = [item for item in _read_all(view, case.block, case.period) if item.state == State.SETTLED]
    return [record for item in settled for record in get_binding_terms(view, item.gate)]


def _lapse(case: _Case) -> None:
    """Let a period lapse that was not metered in time: free its reserves; no member pays and none is scored."""
    for item in _read_all(case.view, case.block, case.period):
        if item.state == State.LAPSED:
            _release(item)
    _end_unmetered(case)


def _end_unmetered(case: _Case) -> None:
    """Put down that nothing is settled; of a period in which no member had an order there is nothing to tell."""
    view, block, period = case.view, case.block, case.period
    drop_parts(view, METERED, period)
    drop_count(view, METERED, period)
    if block.params.market.economy:
        cancel_period(view, block, period)
    if any(item.record is not None for item in _read_all(view, block, period)):
        put_nothing(view, period)
        view.emit("unmetered", period)
    _close(case)


def _close(case: _Case) -> None:
    """The period is over; so is the time for which records of the oldest closed one stay."""
    view, block, period = case.view, case.block, case.period
    market = block.params.market
    view.delete(_metered_key(period))
    for old in close_period(view, period, retained=market.retained_periods):
        for gate in list_gates(market, old):
            _drop_session(view, market, gate)
        drop_settlement(view, old)
        drop_balances(view, old)
        if market.economy:
            forget_claims(view, old)
            forget_bills(view, old)
        if is_limited(block):
            forget_readings(view, old)
        else:
            drop_readings(view, old)


def _drop_session(view: Overlay, market: MarketParams, gate: int) -> None:
    """Forget all that is kept of a session."""
    drop_quotas(view, gate)
    drop_gate(view, gate)
    view.delete(gate_key(gate) + _COUNTERSIGNED)
    if is_firm(market):
        drop_positions(view, gate, get_terms(view, gate))
    drop_trades(view, gate)
    drop_target(view, gate)


_ENDINGS = (Action.SETTLE, Action.LAPSE, Action.SETTLE_WITH_GRID, Action.END_UNMETERED)  # which is done, of several

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


def _metered_key(period: int) -> bytes:
    return _METERED + period.to_bytes(8, "big")
