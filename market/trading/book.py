"""The order book of each open gate, in ledger state: live orders, and what each member has.

Knows no clock: whether a book may change is asked in `contract.py`. Best bid and ask are not kept
but read off the live orders (`views.get_best`): kept, a cancelled best order would force a walk over all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias, cast

from ledger.accounts import get_account, require_member
from ledger.hashing import Address, show_address
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.errors import BookFull, NotYourOrder, OverQuota, TooManyOrders, UnknownOrder
from market.orders import Order, Side
from market.trading.matching_weight import WeightedOrder
from market.trading.reserves import compute_bid_reserve, hold_reserve, release_reserve
from market.trading.sessions import get_period

_BOOK = b"market/book/"
_ORDER = b"market/order/"
_STANDING = b"market/standing/"
_new_tuple = tuple.__new__  # makes a record without its constructor

_Row: TypeAlias = tuple[bytes, int, int, int]  # an order without its id, which is its place


class _Standing(NamedTuple):
    """One member's totals on a book."""

    orders: int = 0
    bid_wh: int = 0
    offer_wh: int = 0

    def sum_wh(self, side: Side) -> int:
        return self.bid_wh if side == Side.BID else self.offer_wh

    def add(self, side: Side | int, volume_wh: int, *, orders: int) -> _Standing:
        if side == Side.BID:
            return _Standing(self.orders + orders, self.bid_wh + volume_wh, self.offer_wh)
        return _Standing(self.orders + orders, self.bid_wh, self.offer_wh + volume_wh)


def has_book(view: Overlay, gate: int) -> bool:
    """Return True if any order was placed for a gate, live or not, and it is still to come."""
    return view.get(_book_key(gate)) is not None


def place_order(
    view: Overlay,
    gate: int,
    owner: Address,
    *,
    side: Side,
    price_uyuan_per_kwh: int,
    volume_wh: int,
    quota_wh: int,
    wheeling_uyuan_per_kwh: int,
    params: MarketParams,
) -> Order:
    """Put an order on the book of a gate; a bid sets its whole cost at its limit aside, wheeling included.

    `quota_wh` bounds the sum of the owner's live orders on that side. Ids count from 0 in order of placing,
    cancelled orders included. Raises `BookFull`, `TooManyOrders`, `OverQuota`, `UnderCreditLine`
    or `InsufficientBalance`.
    """
    placed, live = _get_counts(view, gate)
    if live >= params.max_orders_per_period:
        raise BookFull(period=get_period(params, gate), limit=params.max_orders_per_period)
    standing = _get_standing(view, gate, owner)
    if standing.orders >= params.max_orders_per_member:
        raise TooManyOrders(limit=params.max_orders_per_member)
    have = standing.sum_wh(side)
    if have + volume_wh > quota_wh:
        raise OverQuota(have=have, want=volume_wh, limit=quota_wh)
    order = Order(placed, owner, side, price_uyuan_per_kwh, volume_wh, placed)
    if side == Side.BID:
        hold_reserve(view, owner, compute_bid_reserve(order, wheeling_uyuan_per_kwh, params), params)
    view.put(_order_key(gate, placed), (owner, int(side), price_uyuan_per_kwh, volume_wh))
    view.put(_book_key(gate), (placed + 1, live + 1))
    view.put(_standing_key(gate, owner), tuple(standing.add(side, volume_wh, orders=1)))
    return order


def cancel_order(
    view: Overlay, gate: int, order_id: int, owner: Address, *, wheeling_uyuan_per_kwh: int, params: MarketParams
) -> Order:
    """Take an order off the book and release its reserve. Raises `UnknownOrder` or `NotYourOrder`.

    The wheeling price is the one that the order was placed at.
    """
    order = _get_order(view, gate, order_id)
    if order is None:
        raise UnknownOrder(period=get_period(params, gate), order_id=order_id)
    if order.owner != owner:
        period = get_period(params, gate)
        raise NotYourOrder(period=period, order_id=order_id, owner=show_address(order.owner))
    if order.side == Side.BID:
        release_reserve(view, owner, compute_bid_reserve(order, wheeling_uyuan_per_kwh, params))
    view.delete(_order_key(gate, order_id))
    placed, live = _get_counts(view, gate)
    view.put(_book_key(gate), (placed, live - 1))
    standing = _get_standing(view, gate, owner).add(order.side, -order.volume_wh, orders=-1)
    if standing.orders:
        view.put(_standing_key(gate, owner), tuple(standing))
    else:
        view.delete(_standing_key(gate, owner))
    return order


def get_orders(view: Overlay, gate: int) -> list[Order]:
    """The live orders for a gate by id.

    Looks at every id ever given out: a cancelled one cost two transactions, far more than the lookup does.
    """
    placed, _ = _get_counts(view, gate)
    found = (_get_order(view, gate, order_id) for order_id in range(placed))
    return [order for order in found if order is not None]


def get_candidates(view: Overlay, gate: int) -> list[WeightedOrder]:
    """The live orders by id, each with its owner as registered and with the credit this has in this very state.

    That is the live credit and not the snapshot's: the snapshot knows sealing members only.
    """
    return [candidate for candidate, _ in _describe(view, get_orders(view, gate))]


def get_standing_wh(view: Overlay, gate: int, owner: Address, side: Side) -> int:
    """The sum of a member's live orders on one side of a book, in Wh."""
    return _get_standing(view, gate, owner).sum_wh(side)


def count_placed(view: Overlay, gate: int) -> int:
    """The orders ever placed for the gate, cancelled ones included: ids are below it."""
    return _get_counts(view, gate)[0]


def take_orders(view: Overlay, gate: int, ids: range) -> list[tuple[WeightedOrder, str]]:
    """Take the live orders with these ids off a book that takes no more; each as `get_candidates` has it, with a role.

    Their bids' reserves are the caller's to release.
    """
    found = (_get_order(view, gate, order_id) for order_id in ids)
    orders = [order for order in found if order is not None]
    for order in orders:
        view.delete(_order_key(gate, order.order_id))
        view.delete(_standing_key(gate, order.owner))
    return list(_describe(view, orders))


def drop_book(view: Overlay, gate: int) -> None:
    """Forget a book whose orders have all been taken off."""
    view.delete(_book_key(gate))


def _describe(view: Overlay, orders: Iterable[Order]) -> Iterator[tuple[WeightedOrder, str]]:
    """Orders beside what they are weighed by, and their owners' roles."""
    owners: dict[Address, tuple[tuple[int, int, int, str, int], str]] = {}
    for order in orders:
        if order.owner not in owners:
            member, credit_upt = require_member(view, order.owner), get_account(view, order.owner).credit_upt
            merits = credit_upt, member.capacity_wh, member.renewable_ppm, member.position, member.stability_ppm
            owners[order.owner] = merits, member.role
        merits, role = owners[order.owner]
        yield _new_tuple(WeightedOrder, (order, *merits)), role


def _get_order(view: Overlay, gate: int, order_id: int) -> Order | None:
    row = cast(_Row | None, view.get(_order_key(gate, order_id)))
    return None if row is None else _new_tuple(Order, (order_id, *row, order_id))


def _get_counts(view: Overlay, gate: int) -> tuple[int, int]:
    """Orders ever placed for the gate, and live ones."""
    return cast(tuple[int, int], view.get(_book_key(gate)) or (0, 0))


def _get_standing(view: Overlay, gate: int, owner: Address) -> _Standing:
    value = view.get(_standing_key(gate, owner))
    return _Standing() if value is None else _Standing._make(cast(tuple[int, int, int], value))


def _book_key(gate: int) -> bytes:
    return _BOOK + gate.to_bytes(8, "big")


def _order_key(gate: int, order_id: int) -> bytes:
    return _ORDER + gate.to_bytes(8, "big") + order_id.to_bytes(8, "big")


def _standing_key(gate: int, owner: Address) -> bytes:
    return _STANDING + gate.to_bytes(8, "big") + owner
