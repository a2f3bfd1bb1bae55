"""The grid's limits on a gate's trades: the scheduling chain's quota for each line, and a book kept to it.

With the quotas come the wheeling prices of the lines' areas. A chain that trades alone has no quotas, and one price.

Each line's quota is a state value of its own, so that an order costs a look-up however many lines there are. They form
a chain, each naming the line that came before it, so that all are found without a list that grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest
from typing import NamedTuple, cast

from ledger.accounts import require_member
from ledger.codec import expect_array, expect_int, expect_str
from ledger.contract import BlockContext
from ledger.errors import WrongShape
from ledger.hashing import Address
from ledger.inbox import InboundMessage
from ledger.overlay import Overlay
from market.claim_records import get_promised_on
from market.errors import NoQuota, OverLineQuota, RelayTooLate, UnexpectedRelay, UnknownLine
from market.messages import QUOTA
from market.orders import Order, Side
from market.trading.gates import get_gate
from market.trading.period_index import add_live_period
from market.trading.sessions import get_period
from market.trading.ties import Lots, share_group
from market.trading.times import compute_gate_times

MAX_WHEELING_UYUAN_PER_KWH = 10**8  # 100 yuan per kWh, as for prices: amounts of money stay far below 2**63
MAX_LINE_BYTES = 32

_HEADER = b"market/quotas/"
_QUOTA = b"market/quota/"


class Quota(NamedTuple):
    """The volumes that members on one line may buy and sell at a gate, and the charge for a kWh carried to them."""

    demand_wh: int
    supply_wh: int
    wheeling_uyuan_per_kwh: int

    def limit_wh(self, side: Side | int) -> int:
        return self.demand_wh if side == Side.BID else self.supply_wh


class _Header(NamedTuple):
    """The header of a gate's quotas: when all of them had come, by the block's time, and the line that came last.

    `complete_ms` is 0 until then.
    """

    complete_ms: int = 0
    last_line: str = ""
    lines: int = 0


# --- from the scheduling chain -------------------------------------------------------------------


def receive_quota(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """`quota`, rows (line, demand_wh, supply_wh, wheeling price in µ¥ per kWh): what a gate may trade on every line.

    It counts once all of its parts are there. Raises `WrongShape`, `TooLarge`, `RelayTooLate` or `UnexpectedRelay`.
    """
    gate = delivery.number
    period = get_period(block.params.market, gate)
    gate_ms = compute_gate_times(gate, block.params, block.genesis_time_ms).gate_ms
    if block.timestamp_ms >= gate_ms or get_gate(view, gate) is not None:
        raise RelayTooLate(kind=QUOTA, period=period, deadline=gate_ms, now=block.timestamp_ms)
    header = _get_header(view, gate)
    if header.complete_ms:
        raise UnexpectedRelay(kind=QUOTA, period=period, detail="it is complete already")
    for row in delivery.rows:
        name, demand, supply, wheeling = expect_array(row, 4, "line quota")
        line = expect_str(name, "line", max_size=MAX_LINE_BYTES)
        if view.get(_line_key(gate, line)) is not None:
            raise WrongShape(what=QUOTA, detail=f"line {line!r} is in it twice")
        quota = Quota(
            expect_int(demand, "demand quota"),
            expect_int(supply, "supply quota"),
            expect_int(wheeling, "wheeling price", high=MAX_WHEELING_UYUAN_PER_KWH),
        )
        view.put(_line_key(gate, line), (*quota, header.last_line))
        header = header._replace(last_line=line, lines=header.lines + 1)
    if delivery.is_complete:
        header = header._replace(complete_ms=block.timestamp_ms)
    view.put(_header_key(gate), tuple(header))
    add_live_period(view, period)
    if delivery.is_complete:
        quotas = [quota for _, quota in _iterate(view, gate)]
        demand_wh, supply_wh = sum(quota.demand_wh for quota in quotas), sum(quota.supply_wh for quota in quotas)
        view.emit("quota", gate, len(quotas), demand_wh, supply_wh)


def get_quotas(view: Overlay, gate: int) -> dict[str, Quota] | None:
    """A gate's quotas by line, None until all of them have come and once they are no longer kept."""
    return dict(sorted(_iterate(view, gate))) if get_completion(view, gate) else None


def get_completion(view: Overlay, gate: int) -> int:
    """The time of the block that completed a gate's quotas, in ms since the epoch; 0 until then."""
    return _get_header(view, gate).complete_ms


def require_quota(view: Overlay, block: BlockContext, gate: int, line: str) -> Quota:
    """A line's quota, less what claims have taken of it. Raises `NoQuota` or `UnknownLine`."""
    period = get_period(block.params.market, gate)
    if not get_completion(view, gate):
        raise NoQuota(period=period)
    found = _get_row(view, gate, line)
    if found is None:
        raise UnknownLine(line=line)
    if not block.params.market.economy:
        return found[0]
    return found[0]._replace(supply_wh=found[0].supply_wh - get_promised_on(view, period, line))


def drop_quotas(view: Overlay, gate: int) -> None:
    """Forget a gate's quotas; nothing where there are none."""
    for line, _ in _iterate(view, gate):
        view.delete(_line_key(gate, line))
    view.delete(_header_key(gate))


def check_quota(quota: Quota, line: str, side: Side, volume_wh: int) -> None:
    """Raise `OverLineQuota` where a single order is more than its whole line may trade on that side."""
    if volume_wh > quota.limit_wh(side):
        raise OverLineQuota(line=line, want=volume_wh, limit=quota.limit_wh(side))


# --- wheeling ------------------------------------------------------------------------------------


def get_wheeling(view: Overlay, block: BlockContext, gate: int, buyers: Iterable[Address]) -> dict[Address, int]:
    """The wheeling charge of each of these buyers, in µ¥ per kWh; on a line with a quota where there are any.

    A buyer that has an order or a trade has such a line, else its order would have been refused.
    """
    if "scheduling" not in block.siblings:
        return dict.fromkeys(buyers, block.params.market.wheeling_uyuan_per_kwh)
    return get_wheeling_on(view, block, gate, get_lines(view, buyers))


def get_wheeling_on(view: Overlay, block: BlockContext, gate: int, lines: Mapping[Address, str]) -> dict[Address, int]:
    """The same of buyers whose lines are known."""
    if "scheduling" not in block.siblings:
        return dict.fromkeys(lines, block.params.market.wheeling_uyuan_per_kwh)
    quotas = {line: require_quota(view, block, gate, line) for line in dict.fromkeys(lines.values())}
    return {buyer: quotas[line].wheeling_uyuan_per_kwh for buyer, line in lines.items()}


def get_lines(view: Overlay, owners: Iterable[Address]) -> dict[Address, str]:
    """The line that each of these members is on."""
    return {owner: require_member(view, owner).position for owner in dict.fromkeys(owners)}


# --- a book within its quotas --------------------------------------------------------------------


def trim_to_quotas(
    orders: Sequence[Order],
    lines: Mapping[Address, str],
    quotas: Mapping[str, Quota],
    merits: Mapping[int, int] | None = None,
    lottery: bytes | None = None,
) -> list[Order]:
    """The orders, in the order given, as far as quotas let them stand.

    On each line and side they are served best first until the line's quota is used up; the one it ends in is cut, and
    those after it are left out. Best is the best price, then the earlier order. Where merit decides, `merits` by order
    id come before both, as they do in the clearing rule. Orders that no order of another owner crosses come last: an
    offer that no bid can take must not use up what its neighbours need. `lines` has the line of every owner. With a
    `lottery`, orders that only their place tells apart share what the quota leaves of them.
    """
    if _are_roomy(orders, lines, quotas):
        return list(orders)
    crossing = _find_crossing(orders)
    left_wh: dict[tuple[str, int], int] = {}
    kept_wh: dict[int, int] = {}
    for order in sorted(orders, key=lambda order: (order.order_id not in crossing, _rank(order, merits or {}))):
        line = lines[order.owner]
        place = line, int(order.side)
        left = left_wh.get(place, quotas[line].limit_wh(order.side))
        kept_wh[order.order_id] = min(order.volume_wh, left)
        left_wh[place] = left - kept_wh[order.order_id]
    if lottery is not None:
        lots = Lots.draw(lottery, lines)
        equals: dict[tuple[object, ...], list[Order]] = {}
        for order in orders:
            rank = _rank(order, merits or {})[:2]
            equals.setdefault((lines[order.owner], order.side, order.order_id in crossing, *rank), []).append(order)
        for group in equals.values():
            kept_wh |= share_group(group, sum(kept_wh[order.order_id] for order in group), lots)
    return [order._replace(volume_wh=kept_wh[order.order_id]) for order in orders if kept_wh[order.order_id]]


def _are_roomy(orders: Iterable[Order], lines: Mapping[Address, str], quotas: Mapping[str, Quota]) -> bool:
    """Return True if no quota is less than all that is wanted of it."""
    wanted_wh: dict[tuple[str, int], int] = {}
    for _, owner, side, _, volume_wh, _ in orders:
        place = lines[owner], int(side)
        wanted_wh[place] = wanted_wh.get(place, 0) + volume_wh
    return all(wanted <= quotas[line].limit_wh(side) for (line, side), wanted in wanted_wh.items())


def _rank(order: Order, merits: Mapping[int, int]) -> tuple[int, int, int, int]:
    return -merits.get(order.order_id, 0), _prefer_low(order), order.placed_at, order.order_id


def _find_crossing(orders: Sequence[Order]) -> set[int]:
    """Ids of the orders that an order of another owner crosses, wherever that owner is."""
    best: dict[int, dict[Address, int]] = {Side.BID: {}, Side.OFFER: {}}  # by side and owner; the lower, the better
    for order in orders:
        of_side, price = best[order.side], _prefer_low(order)
        of_side[order.owner] = min(price, of_side.get(order.owner, price))
    rivals = {side: nsmallest(2, of_side.items(), key=lambda item: item[1]) for side, of_side in best.items()}
    return {
        order.order_id
        for order in orders
        if any(owner != order.owner and price + _prefer_low(order) <= 0 for owner, price in rivals[1 - order.side])
    }


def _prefer_low(order: Order) -> int:
    """The price with its sign turned for bids: on either side the lower is the better for the counterpart."""
    return -order.price_uyuan_per_kwh if order.side == Side.BID else order.price_uyuan_per_kwh


# --- in the state --------------------------------------------------------------------------------


def _iterate(view: Overlay, gate: int) -> Iterator[tuple[str, Quota]]:
    """The quotas that have come, the last of them first."""
    header = _get_header(view, gate)
    line = header.last_line
    for _ in range(header.lines):
        found = _get_row(view, gate, line)
        assert found is not None, (gate, line)
        yield line, found[0]
        line = found[1]


def _get_row(view: Overlay, gate: int, line: str) -> tuple[Quota, str] | None:
    """A line's quota, and the line that came before it."""
    value = cast(tuple[int, int, int, str] | None, view.get(_line_key(gate, line)))
    return None if value is None else (Quota._make(value[:3]), value[3])


def _get_header(view: Overlay, gate: int) -> _Header:
    value = view.get(_header_key(gate))
    return _Header() if value is None else _Header._make(cast(tuple[int, str, int], value))


def _header_key(gate: int) -> bytes:
    return _HEADER + gate.to_bytes(8, "big")


def _line_key(gate: int, line: str) -> bytes:
    return _QUOTA + gate.to_bytes(8, "big") + line.encode()
