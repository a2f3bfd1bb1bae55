"""What the grid can carry of a period's trades: the scheduling chain's quota for each line, and a book kept to it.

With the quotas come the wheeling prices of the lines' areas. A chain that trades alone has no quotas, and one price.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

from ledger.accounts import require_member
from ledger.codec import expect_array, expect_int, expect_str
from ledger.errors import NoQuota, OverLineQuota, RelayTooLate, UnexpectedRelay, UnknownLine, WrongShape
from ledger.execution import BlockContext
from ledger.hashing import Address
from ledger.inbox import Delivery
from ledger.overlay import Overlay
from market.gates import get_gate
from market.orders import Order, Side
from market.times import compute_times

QUOTA = "quota"
MAX_WHEELING_UYUAN_PER_KWH = 10**8  # 100 yuan per kWh, as for prices: amounts of money stay far below 2**63
MAX_LINE_BYTES = 32

_QUOTA = b"market/quota/"


class Quota(NamedTuple):
    """What the members on one line may buy and sell in a period, and what it costs to carry a kWh to them."""

    demand_wh: int
    supply_wh: int
    wheeling_uyuan_per_kwh: int

    def limit_wh(self, side: Side | int) -> int:
        return self.demand_wh if side == Side.BID else self.supply_wh


# --- from the scheduling chain -------------------------------------------------------------------


def receive_quota(view: Overlay, block: BlockContext, delivery: Delivery) -> None:
    """`quota`, rows (line, demand_wh, supply_wh, wheeling price in µ¥ per kWh): what a period may trade on every line.

    It counts once all of its parts are there. Raises `WrongShape`, `TooLarge`, `RelayTooLate` or `UnexpectedRelay`.
    """
    period = delivery.number
    gate_ms = compute_times(period, block.params, block.genesis_time_ms).gate_ms
    if block.timestamp_ms >= gate_ms or get_gate(view, period) is not None:
        raise RelayTooLate(kind=QUOTA, period=period, deadline=gate_ms, now=block.timestamp_ms)
    is_complete, quotas = _read(view, period)
    if is_complete:
        raise UnexpectedRelay(kind=QUOTA, period=period, detail="it is complete already")
    for row in delivery.rows:
        name, demand, supply, wheeling = expect_array(row, 4, "line quota")
        line = expect_str(name, "line", max_size=MAX_LINE_BYTES)
        if line in quotas:
            raise WrongShape(what=QUOTA, detail=f"line {line!r} is in it twice")
        quotas[line] = Quota(
            expect_int(demand, "demand quota"),
            expect_int(supply, "supply quota"),
            expect_int(wheeling, "wheeling price", high=MAX_WHEELING_UYUAN_PER_KWH),
        )
    view.put(_quota_key(period), (int(delivery.is_complete), tuple([(name, *quotas[name]) for name in sorted(quotas)])))
    if delivery.is_complete:
        demand_wh = sum(quota.demand_wh for quota in quotas.values())
        supply_wh = sum(quota.supply_wh for quota in quotas.values())
        view.emit("quota", period, len(quotas), demand_wh, supply_wh)


def get_quotas(view: Overlay, period: int) -> dict[str, Quota] | None:
    """A period's quotas by line, None until all of them have come."""
    is_complete, quotas = _read(view, period)
    return quotas if is_complete else None


def require_quota(view: Overlay, period: int, line: str) -> Quota:
    """Raises `NoQuota` or `UnknownLine`."""
    quotas = get_quotas(view, period)
    if quotas is None:
        raise NoQuota(period=period)
    if line not in quotas:
        raise UnknownLine(line=line)
    return quotas[line]


def check_quota(quota: Quota, line: str, side: Side, volume_wh: int) -> None:
    """Raise `OverLineQuota` where a single order is more than its whole line may trade on that side."""
    if volume_wh > quota.limit_wh(side):
        raise OverLineQuota(line=line, want=volume_wh, limit=quota.limit_wh(side))


# --- wheeling ------------------------------------------------------------------------------------


def get_wheeling(view: Overlay, block: BlockContext, period: int, buyers: Iterable[Address]) -> dict[Address, int]:
    """What each of these buyers pays to have a kWh carried to it, in µ¥; on a line with a quota where there are any.

    A buyer that has an order or a trade has such a line, else nobody would have let it place one.
    """
    if "scheduling" not in block.siblings:
        return dict.fromkeys(buyers, block.params.market.wheeling_uyuan_per_kwh)
    quotas = get_quotas(view, period) or {}
    lines = get_lines(view, buyers)
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
) -> list[Order]:
    """The orders, in the order given, as far as quotas let them stand.

    On each line and side they are served best first until the line's quota is used up; the one it ends in is cut, and
    those after it are left out. Best is the best price, then the earlier order. Where merit decides, `merits` by order
    id come before both, as they do in the clearing rule. `lines` has the line of every owner.
    """
    left_wh: dict[tuple[str, int], int] = {}
    kept_wh: dict[int, int] = {}
    for order in sorted(orders, key=lambda order: _rank(order, merits or {})):
        line = lines[order.owner]
        place = line, int(order.side)
        left = left_wh.get(place, quotas[line].limit_wh(order.side))
        kept_wh[order.order_id] = min(order.volume_wh, left)
        left_wh[place] = left - kept_wh[order.order_id]
    return [order._replace(volume_wh=kept_wh[order.order_id]) for order in orders if kept_wh[order.order_id]]


def _rank(order: Order, merits: Mapping[int, int]) -> tuple[int, int, int, int]:
    price = order.price_uyuan_per_kwh
    better_first = -price if order.side == Side.BID else price
    return -merits.get(order.order_id, 0), better_first, order.placed_at, order.order_id


def _read(view: Overlay, period: int) -> tuple[bool, dict[str, Quota]]:
    """Whether all of a period's quotas have come, and those that have."""
    value = cast(tuple[int, tuple[tuple[str, int, int, int], ...]] | None, view.get(_quota_key(period)))
    if value is None:
        return False, {}
    is_complete, rows = value
    return bool(is_complete), {line: Quota(*quota) for line, *quota in rows}


def _quota_key(period: int) -> bytes:
    return _QUOTA + period.to_bytes(8, "big")
