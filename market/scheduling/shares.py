"""The long steps of a period on the scheduling chain, in shares of a block's work: the check, and the end of metering.

A trade list is kept in pages as its parts come, beside its members' lines. Once it is whole it is checked in one piece,
which gives the verdict; then its contracts are recorded under a root that grows with them. When metering ends, the
readings are put together first, so that the trading chain hears them, then what they make of the contracts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from ledger.codec import Value
from ledger.contract import BlockContext
from ledger.inbox import InboundMessage
from ledger.merkle import compute_frontier_root, extend_frontier
from ledger.outbox import RETAINED, post
from ledger.overlay import Overlay
from market.messages import ACTUAL, METERED, POWER, RESULT
from market.metering import Reading, get_last_meter, walk_energy
from market.scheduling import records
from market.scheduling.agreed import compute_actuals, count_agreed, count_contracts, has_actuals, list_agreed
from market.scheduling.feeder import Feeder, Hop, ListedTrade, check_executability
from market.scheduling.records import ActualBlock, BilateralContract, PowerBlock
from market.trading.message_parts import count_part, drop_count
from market.trading.pages import PAGE_ROWS, Row, append_rows, drop_rows, get_rows, put_page
from market.trading.times import count_retained
from market.trading.trades import Curtailment, TradeRecord, curtail
from market.trading.work import CONTRACT, METER, TELL, TRIM, claim, claim_whole, get_room, spend

_CHECKING = b"scheduling/checking/"
_METERING = b"scheduling/metering"

Announce = Callable[[Sequence[TradeRecord], Sequence[Curtailment]], None]


# --- the check -----------------------------------------------------------------------------------


class _Check(NamedTuple):
    """The place that the check of a whole list has come to."""

    trades: int  # on the list
    is_judged: int = 0  # the verdict is given
    contracts: int = 0  # recorded
    frontier: tuple[bytes, ...] = ()
    accepted_wh: int = 0


def keep_list_part(
    view: Overlay, delivery: InboundMessage, trades: Sequence[TradeRecord], listed: Sequence[ListedTrade]
) -> None:
    """Keep one part of a trade list, with its members' lines: `is_being_checked` once it is whole."""
    rows = [(*trade[2:6], place.seller_line, place.buyer_line) for trade, place in zip(trades, listed, strict=True)]
    if rows:
        put_page(view, _list_name(delivery.number), delivery.part, rows)
    count = count_part(view, delivery)
    if count is not None:
        view.put(_check_key(delivery.number), tuple(_Check(count)))


def drop_list(view: Overlay, gate: int) -> None:
    """Forget the parts of a list that has never become whole."""
    drop_rows(view, _list_name(gate), drop_count(view, RESULT, gate) * PAGE_ROWS)


def is_being_checked(view: Overlay, gate: int) -> bool:
    """Return True if a gate's list is whole and its contracts are not all recorded."""
    return view.get(_check_key(gate)) is not None


def check_list(
    view: Overlay,
    block: BlockContext,
    gate: int,
    feeder: Feeder,
    *,
    find_carried: Callable[[], Mapping[Hop, int]],
    announce: Announce,
) -> None:
    """Go on with the check of a gate's list, on lines that carry what was agreed before.

    `announce` hears all trades and what is cut off them, as it is known.
    """
    check = _Check._make(cast(Row, view.get(_check_key(gate))))
    if not check.is_judged and not claim_whole(view, block, check.trades * TRIM):
        return
    rows = get_rows(view, _list_name(gate), check.trades)
    trades = [TradeRecord(gate, index, *row[:4]) for index, row in enumerate(rows)]
    if not check.is_judged:
        listed = [ListedTrade(index, row[4], row[5], row[3]) for index, row in enumerate(rows)]
        curtailments = check_executability(feeder, listed, find_carried())
        announce(trades, curtailments)
        records.put_verdict(view, gate, curtailments)
        check = check._replace(is_judged=1)
    accepted = curtail(trades, records.get_verdict(view, gate) or ())
    check = _add_contracts(view, block, gate, accepted, check)
    if check.contracts < len(accepted):
        view.put(_check_key(gate), tuple(check))
        return
    drop_rows(view, _list_name(gate), check.trades)
    view.delete(_check_key(gate))
    root = compute_frontier_root(check.frontier)
    records.put_power_paged(view, gate, PowerBlock(block.height, root, check.contracts, check.accepted_wh))
    if "credit" in block.siblings:
        post_power(view, block, gate, (root, check.contracts, check.accepted_wh))


def post_power(view: Overlay, block: BlockContext, gate: int, row: tuple[bytes, int, int]) -> None:
    """Tell the credit chain of a power-transaction block."""
    market, quota_ppm = block.params.market, block.params.scheduling.quota_ppm
    retained = count_retained(market, quota_ppm) if market.sessions > 1 else RETAINED
    post(view, POWER, gate, [row], height=block.height, retained=retained)


def _add_contracts(
    view: Overlay, block: BlockContext, gate: int, accepted: Sequence[TradeRecord], check: _Check
) -> _Check:
    first = check.contracts
    count = claim(view, block, len(accepted) - first, cost=CONTRACT)
    contracts = [BilateralContract(*trade[:6]) for trade in accepted[first : first + count]]
    records.add_contracts(view, gate, first, contracts)
    return check._replace(
        contracts=first + count,
        frontier=extend_frontier(check.frontier, first, map(records.encode_contract_leaf, contracts)),
        accepted_wh=check.accepted_wh + sum(contract.accepted_wh for contract in contracts),
    )


# --- the end of metering -------------------------------------------------------------------------


class _Metering(NamedTuple):
    """The place that the end of a period's metering has come to."""

    period: int
    owner: bytes | None  # whose meter is next; None once all have been put together, and told
    readings: int = 0
    contracts: int = 0  # metered
    frontier: tuple[bytes, ...] = ()
    metered_wh: int = 0


def begin_metering(view: Overlay, period: int) -> None:
    """Begin to end a period's metering: what is read from now on is late."""
    _put_meterings(view, [*_get_meterings(view), _Metering(period, get_last_meter(view, period))])


def is_metering(view: Overlay) -> bool:
    """Return True if the metering of some period has begun to end, and has not ended."""
    return bool(_get_meterings(view))


def end_meterings(view: Overlay, block: BlockContext) -> None:
    """Go on with all that have begun, in the order in which they did."""
    meterings = _get_meterings(view)
    if meterings:
        after = [_go_on(view, block, metering) for metering in meterings]
        _put_meterings(view, [metering for metering in after if metering is not None])


def _go_on(view: Overlay, block: BlockContext, metering: _Metering) -> _Metering | None:
    """The metering after this block's share of it; None once it has ended."""
    period, market = metering.period, block.params.market
    if metering.owner is not None:
        metering = _put_together(view, block, metering)
        if metering.owner or not claim_whole(view, block, metering.readings * TELL):
            return metering
        rows: list[Value] = list(get_rows(view, _readings_name(period), metering.readings))
        if rows:
            post(view, METERED, period, rows, height=block.height)
            view.emit("metered", period, len(rows))
        elif count_contracts(view, market, period):
            view.emit("unmetered", period)
        metering = metering._replace(owner=None)
    if has_actuals(view, market, period, readings=metering.readings):
        metering, count = _add_actuals(view, block, metering)
        if metering.contracts < count:
            return metering
        root = compute_frontier_root(metering.frontier)
        records.put_actual_paged(view, period, ActualBlock(block.height, root, count, metering.metered_wh))
        if "credit" in block.siblings:
            post(view, ACTUAL, period, [(root, count, metering.metered_wh)], height=block.height)
        view.emit("actual", period, count, metering.metered_wh)
    drop_rows(view, _readings_name(period), metering.readings)
    return None


def _put_together(view: Overlay, block: BlockContext, metering: _Metering) -> _Metering:
    """Put readings on the list of those that count, whatever is said later."""
    assert metering.owner is not None
    period = metering.period
    meters, readings, owner = walk_energy(view, period, metering.owner, get_room(view, block, cost=METER))
    spend(view, block, meters, cost=METER)
    count = append_rows(view, _readings_name(period), metering.readings, readings)
    return metering._replace(owner=owner, readings=count)


def _add_actuals(view: Overlay, block: BlockContext, metering: _Metering) -> tuple[_Metering, int]:
    """Add what meters make of some more contracts; of how many it is to be in all."""
    period, first, market = metering.period, metering.contracts, block.params.market
    total = count_agreed(view, market, period)
    count = claim(view, block, total - first, cost=CONTRACT)
    if not count:
        return metering, total
    readings = [Reading._make(row) for row in get_rows(view, _readings_name(period), metering.readings)]
    agreed = list_agreed(view, market, period)
    actuals = compute_actuals(market, agreed, readings, range(first, first + count))
    records.add_actuals(view, period, first, actuals)
    metered_wh = sum(min(actual.consumption_wh, actual.output_wh) for actual in actuals)
    metering = metering._replace(
        contracts=first + count,
        frontier=extend_frontier(metering.frontier, first, map(records.encode_actual_leaf, actuals)),
        metered_wh=metering.metered_wh + metered_wh,
    )
    return metering, total


def _get_meterings(view: Overlay) -> list[_Metering]:
    return [_Metering._make(row) for row in cast(tuple[Row, ...], view.get(_METERING) or ())]


def _put_meterings(view: Overlay, meterings: Sequence[_Metering]) -> None:
    if meterings:
        view.put(_METERING, tuple(map(tuple, meterings)))
    else:
        view.delete(_METERING)


def _list_name(gate: int) -> bytes:
    return b"list/" + gate.to_bytes(8, "big")


def _readings_name(period: int) -> bytes:
    return b"readings/" + period.to_bytes(8, "big")


def _check_key(gate: int) -> bytes:
    return _CHECKING + gate.to_bytes(8, "big")
