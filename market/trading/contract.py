"""The market's contract: what each kind of transaction asks for, and the rules it has to meet.

Handlers take a payload apart, ask who sent it and whether the period's clock allows it, and leave the rest to
the order book and the meters. Registered with the chain by `market_handlers` and `market_hooks`.

What it hears from other chains comes to the receivers in `market_routes`.

What subscribers hear, amounts in Wh and µ¥, addresses as bytes, side 0 for a bid and 1 for an offer. Where a period is
traded twice, what happens to a gate has the gate's number (`market.trading.sessions`) for its period, which
`describe_event` of `node/queries/chain.py` turns into period and session; `settlement` and `grid-settlement` are what
was agreed and what a meter says beyond it:

    quota              period, lines, demand, supply: how much all lines together may buy and sell
    order, cancelled   period, order id, owner, side, price, volume
    trimmed            period, order id, owner, side, volume that the line's quota leaves of the order
    gate               period, trade count, volume, result root; then one `trade` each
    trade              period, trade index, buyer, seller, price, volume
    certified-result   period
    accepted           period, trades curtailed, volume accepted of all trades; then one `curtailed` each
    curtailed          period, trade index, volume accepted, line that is the reason
    countersigned      period, result root
    void               period, reason: "no-certificate", "no-verdict" or "no-countersignature" by the deadline
    register           period, owner, consumed, produced: what the meter's counters stood at
    reading            period, owner, consumed, produced
    corrected          period, owner, consumed, produced, revision: the same of a period that is closed
    correction-lapsed  period, owner: its trades have lapsed, or it is long over
    metered            period, meters read
    imputed            period, member, consumption, output: its meter was not heard: it is settled by these here
    settlement         period, buyer, seller, buyer pays, seller receives, grid receives, traded
    credit             period, member, score of one delivery, credit after it (both in micro-points)
    grid-settlement    period, member, consumption, output, pays, receives
    settled            period
    resettlement, credit-corrected, grid-resettlement
                       as settlement, credit and grid-settlement: what takes their place now that a reading has changed
    resettled          period
    unmetered          period: not a meter was read, its trades lapse
    game-target        period, sender, the four prices of the game, which a book that is cleared by `knn` has
    second-target      period, sender: a target that was refused, since the period has one

Beside a scheduling chain `quota`, `trimmed`, `accepted`, `curtailed`, `metered` and `correction-lapsed` are heard, and
neither `register` nor `reading`; beside a credit chain `credit-applied` (see `market.credit.contract`), and neither
`credit` nor `credit-corrected`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ledger.accounts import Member, require_member
from ledger.codec import Value, expect_array, expect_bytes, expect_int
from ledger.contract import BlockContext, Handler, Hook, NextDue
from ledger.hashing import HASH_SIZE, Address
from ledger.inbox import Routes
from ledger.membership import check_act
from ledger.overlay import Overlay
from ledger.transaction import Transaction
from market.claim_records import get_promised_wh
from market.credit.contract import receive_credit
from market.errors import (
    BeyondPosition,
    GateClosed,
    IntentionTooLate,
    MarketNotOpen,
    NoAudit,
    PriceTooHigh,
    ReadingTooEarly,
    ReadingTooLate,
    SideNotAllowed,
    TargetNotAllowed,
)
from market.messages import CORRECTED, CREDIT, METERED, QUOTA, VERDICT
from market.metering import MAX_ENERGY_WH as MAX_ENERGY_WH
from market.metering import Clock, Corrected, announce_register, read_meter, read_register
from market.orders import Side
from market.roles import Act, may
from market.trading.book import cancel_order, get_standing_wh, place_order
from market.trading.clearing_rules import is_by_target
from market.trading.corrections import find_corrections_due
from market.trading.forgetting import drop_forgotten, find_forgotten_due
from market.trading.gates import get_gate
from market.trading.period import (
    can_correct,
    countersign,
    find_next_due,
    is_over,
    process_corrections,
    process_due_periods,
    receive_corrected,
    receive_metered,
    receive_verdict,
)
from market.trading.period_index import add_live_period
from market.trading.positions import get_position_before
from market.trading.quotas import check_quota, get_completion, receive_quota, require_quota
from market.trading.sessions import Session, get_period, get_session
from market.trading.targets import commit_target, parse_prices
from market.trading.times import PeriodTimes, compute_gate_times, compute_orders_end, compute_times

MAX_PRICE_UYUAN_PER_KWH = 10**8  # 100 yuan per kWh
COUNTERSIGN = "countersign"
GAME_TARGET = "game-target"

_ACT_OF_SIDE = {Side.BID: Act.BID, Side.OFFER: Act.OFFER}


class TradeIntention(NamedTuple):
    """Step 3 of credit matching (text 000): a limit order.

    What counts of its sender besides (node type, position, capacity, the share of renewable energy, stability) is what
    it was registered with: no member states it about itself.
    """

    side: Side
    gate: int
    price_uyuan_per_kwh: int
    volume_wh: int

    def to_payload(self) -> tuple[Value, ...]:
        return (int(self.side), *self[1:])

    @classmethod
    def from_payload(cls, payload: Value) -> TradeIntention:
        """Raises `WrongShape` or `TooLarge`."""
        fields = expect_array(payload, len(cls._fields), "intention")
        side, gate, price, volume_wh = fields
        return cls(
            side=Side(expect_int(side, "side", high=1)),
            gate=expect_int(gate, "period"),
            price_uyuan_per_kwh=expect_int(price, "price", low=1, high=MAX_PRICE_UYUAN_PER_KWH),
            volume_wh=expect_int(volume_wh, "volume", low=1, high=MAX_ENERGY_WH),
        )


def market_handlers(siblings: frozenset[str], rule: str = "price-time") -> dict[str, Handler]:
    """The market's transaction kinds, given the kinds of the network's other chains and the rule of its gates."""
    handlers: dict[str, Handler] = {
        "intention": process_intention,
        "cancel": process_cancel,
        COUNTERSIGN: process_countersign,
    }
    if "scheduling" not in siblings:
        handlers |= {"reading": process_reading, "register": process_register}
    if is_by_target(rule):
        handlers |= {GAME_TARGET: process_game_target}
    return handlers


def market_hooks() -> tuple[Hook, ...]:
    """The hooks of the market at the start of every block."""
    return (process_due_periods, process_corrections, drop_forgotten)


def market_further_hooks() -> tuple[Hook, ...]:
    """Those of the market that go on with each further share of a block's work."""
    return (process_due_periods, drop_forgotten)


def market_next_due() -> tuple[NextDue, ...]:
    """The times at which the market's hooks have something to do."""
    return (find_next_due, find_corrections_due, find_forgotten_due)


def market_routes() -> Routes:
    """The messages that the market hears from the other chains, and their handlers."""
    return {
        ("scheduling", QUOTA): receive_quota,
        ("scheduling", VERDICT): receive_verdict,
        ("scheduling", METERED): receive_metered,
        ("scheduling", CORRECTED): receive_corrected,
        ("credit", CREDIT): receive_credit,
    }


def process_intention(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`intention`, a `TradeIntention`: put an order on the book of a period that is open.

    Raises `WrongShape`, `TooLarge`, `SideNotAllowed`, `MarketNotOpen`, `GateClosed`, `IntentionTooLate`,
    `PriceTooHigh`, in an intraday session `BeyondPosition`, what `place_order` raises, and beside a scheduling chain
    `NoQuota`, `UnknownLine` or `OverLineQuota`.
    """
    intention = TradeIntention.from_payload(transaction.payload)
    member = require_member(view, transaction.sender)
    _check_side(block, member, intention)
    _check_open(view, block, intention.gate)
    limit_wh = _find_limit(view, block, transaction.sender, member, intention)
    if intention.price_uyuan_per_kwh > block.params.market.max_price_uyuan_per_kwh:
        limit = block.params.market.max_price_uyuan_per_kwh
        raise PriceTooHigh(actual=intention.price_uyuan_per_kwh, limit=limit)
    wheeling = block.params.market.wheeling_uyuan_per_kwh
    if "scheduling" in block.siblings:
        quota = require_quota(view, block, intention.gate, member.position)
        check_quota(quota, member.position, intention.side, intention.volume_wh)
        wheeling = quota.wheeling_uyuan_per_kwh
    _check_in_time(view, block, intention.gate)
    order = place_order(
        view,
        intention.gate,
        transaction.sender,
        side=intention.side,
        price_uyuan_per_kwh=intention.price_uyuan_per_kwh,
        volume_wh=intention.volume_wh,
        quota_wh=limit_wh,
        wheeling_uyuan_per_kwh=wheeling,
        params=block.params.market,
    )
    if order.order_id == 0:
        add_live_period(view, get_period(block.params.market, intention.gate))
    price, volume_wh = order.price_uyuan_per_kwh, order.volume_wh
    view.emit("order", intention.gate, order.order_id, order.owner, int(order.side), price, volume_wh)


def _check_side(block: BlockContext, member: Member, intention: TradeIntention) -> None:
    """Raise `SideNotAllowed`: consumers buy and producers sell, and intraday each may trade back what it has traded."""
    is_allowed = may(member.role, _ACT_OF_SIDE[intention.side])
    if get_session(block.params.market, intention.gate) == Session.INTRADAY:
        is_allowed = may(member.role, Act.TRADE_BACK)
    if not is_allowed:
        raise SideNotAllowed(role=member.role, side=intention.side.name.lower())


def _find_limit(view: Overlay, block: BlockContext, owner: Address, member: Member, intention: TradeIntention) -> int:
    """The Wh that a member's orders of this side may sum to: its position stays what it can take or make.

    Between its capacity and nothing, or as much the other way of a prosumer. Raises `BeyondPosition`.
    """
    gate, side = intention.gate, intention.side
    bought_wh = get_position_before(view, block.params.market, gate, owner)
    back_wh = bought_wh if side == Side.OFFER else -bought_wh
    if may(member.role, _ACT_OF_SIDE[side]):
        return max(0, member.capacity_wh + back_wh - _get_promised_wh(view, block, gate, owner, side))
    have = get_standing_wh(view, gate, owner, side)
    if have + intention.volume_wh > back_wh:
        traded = "bought" if side == Side.OFFER else "sold"
        raise BeyondPosition(
            have=have, want=intention.volume_wh, limit=max(0, back_wh), role=member.role, traded=traded
        )
    return back_wh


def _get_promised_wh(view: Overlay, block: BlockContext, gate: int, owner: Address, side: Side) -> int:
    """The Wh that a member has promised by claims, and does not offer once more."""
    params = block.params.market
    if not params.economy or side == Side.BID:
        return 0
    return get_promised_wh(view, get_period(params, gate), owner)


def process_cancel(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`cancel [gate, order_id]`: take one's own order off the book before its gate.

    Raises `WrongShape`, `MarketNotOpen`, `GateClosed`, `UnknownOrder` or `NotYourOrder`, and beside a scheduling chain
    `NoQuota` or `UnknownLine`.
    """
    fields = expect_array(transaction.payload, 2, "cancel")
    gate, order_id = expect_int(fields[0], "period"), expect_int(fields[1], "order id")
    _check_open(view, block, gate)
    wheeling = block.params.market.wheeling_uyuan_per_kwh
    if "scheduling" in block.siblings:
        member = require_member(view, transaction.sender)
        wheeling = require_quota(view, block, gate, member.position).wheeling_uyuan_per_kwh
    params = block.params.market
    order = cancel_order(view, gate, order_id, transaction.sender, wheeling_uyuan_per_kwh=wheeling, params=params)
    price, volume_wh = order.price_uyuan_per_kwh, order.volume_wh
    view.emit("cancelled", gate, order_id, order.owner, int(order.side), price, volume_wh)


def process_countersign(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`countersign [gate, result_root, signatures]`: the authority has audited a trade list.

    It signs `["countersign", chain_id, gate, result_root]` as it signs an act. Raises `NoAudit`, and what
    `check_act` and `countersign` raise.
    """
    number, root, signatures = expect_array(transaction.payload, 3, COUNTERSIGN)
    gate, result_root = expect_int(number, "period"), expect_bytes(root, "result root", size=HASH_SIZE)
    if block.params.market.audit != "required":
        raise NoAudit()
    check_act(view, (COUNTERSIGN, block.chain_id, gate, result_root), signatures)
    countersign(view, block, gate, result_root)


def process_game_target(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`game-target [gate, [g_to_u, g_to_c, c_to_u, c_to_g]]`, µ¥ per kWh: the prices that a book clears by.

    Raises `WrongShape`, `TooLarge`, `TargetNotAllowed`, and what `commit_target` does.
    """
    number, prices = expect_array(transaction.payload, 2, GAME_TARGET)
    member = require_member(view, transaction.sender)
    if not may(member.role, Act.TARGET):
        raise TargetNotAllowed(role=member.role)
    commit_target(view, block, expect_int(number, "period"), transaction.sender, parse_prices(prices))


def process_reading(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`reading [period, consumed_wh, produced_wh]`: a device reports what its owner's meter counted in a period.

    Raises `ReadingTooEarly`, `ReadingTooLate`, and what `read_meter` does.
    """
    clock = _get_clock(view, block, is_register=False)
    _take_in(view, block, read_meter(view, transaction, block.params.market, clock))


def process_register(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`register [period, consumed_wh, produced_wh]`: a device reports what its counters stood at as a period ended.

    A late one is taken whether or not the period's own trades have lapsed: the next period's reading counts from it.
    Raises `ReadingTooEarly`, `ReadingTooLate`, and what `read_register` does.
    """
    rows = read_register(view, transaction, block.params.market, _get_clock(view, block, is_register=True))
    period = announce_register(view, transaction)
    if not is_over(view, block, period):
        add_live_period(view, period)
    _take_in(view, block, rows)


def _take_in(view: Overlay, block: BlockContext, rows: Sequence[Corrected]) -> None:
    """Tell of readings; those that came in time make their periods live."""
    for row in rows:
        if is_over(view, block, row.period):
            view.emit("corrected", *row)
        else:
            add_live_period(view, row.period)
            view.emit("reading", *row[:4])


def _check_open(view: Overlay, block: BlockContext, gate: int) -> None:
    period, times = _get_session_times(block, gate)
    if block.timestamp_ms < times.open_ms:
        raise MarketNotOpen(period=period, opens=times.open_ms, now=block.timestamp_ms)
    if block.timestamp_ms >= times.gate_ms or get_gate(view, gate) is not None:
        raise GateClosed(period=period, closed=times.gate_ms)


def _check_in_time(view: Overlay, block: BlockContext, gate: int) -> None:
    """Step 3 of credit matching: an intention answers to what its sender has been told, within so much of a period."""
    period, times = _get_session_times(block, gate)
    end_ms = compute_orders_end(times, block.params, get_completion(view, gate))
    if block.timestamp_ms >= end_ms:
        raise IntentionTooLate(period=period, ended=end_ms, now=block.timestamp_ms)


def _get_session_times(block: BlockContext, gate: int) -> tuple[int, PeriodTimes]:
    """The period of a gate, and the clock of its session."""
    times = compute_gate_times(gate, block.params, block.genesis_time_ms)
    return get_period(block.params.market, gate), times


def _get_clock(view: Overlay, block: BlockContext, *, is_register: bool) -> Clock:
    return Clock(
        lambda period: _check_delivered(view, block, period, is_register=is_register),
        lambda period: is_over(view, block, period),
    )


def _check_delivered(view: Overlay, block: BlockContext, period: int, *, is_register: bool) -> None:
    """Meters speak once a period is delivered; readings of one that is settled, only where some were heard in time."""
    times = compute_times(period, block.params, block.genesis_time_ms)
    if block.timestamp_ms < times.delivery_end_ms:
        raise ReadingTooEarly(period=period, ends=times.delivery_end_ms, now=block.timestamp_ms)
    now_ms = max(block.timestamp_ms, times.settle_ms) if is_over(view, block, period) else block.timestamp_ms
    is_correctable = now_ms < times.final_ms and (is_register or can_correct(view, block, period))
    if now_ms >= times.settle_ms and not is_correctable:
        raise ReadingTooLate(period=period, settles=times.final_ms)
