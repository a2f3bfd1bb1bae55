"""The strategy of a player: it is shown a `View` of a period, and answers with orders and cancels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from random import Random
from typing import ClassVar, NamedTuple, TypeAlias

from ledger.codec import Value
from market.errors import BadStrategyAnswer, StrategyFailed, StrategyFault
from market.orders import Side
from market.strategies.storage import Storage
from market.strategies.view import View
from market.trading.contract import MAX_PRICE_UYUAN_PER_KWH, TradeIntention

MAX_ORDERS = 16  # of one answer: as many as a chain takes from a member
MAX_LOOKS = 4
MAX_LOOK_BACK = 168


class Quote(NamedTuple):
    """An order to place: a price in µ¥ per kWh, a volume in Wh."""

    side: Side
    price_uyuan_per_kwh: int
    volume_wh: int


class Cancel(NamedTuple):
    """One's own order to take off the book."""

    order_id: int


Act: TypeAlias = Quote | Cancel


def make_call(act: Act, period: int) -> tuple[str, tuple[Value, ...]]:
    """The kind and the payload of the transaction that does it."""
    if isinstance(act, Cancel):
        return "cancel", (period, act.order_id)
    return "intention", TradeIntention(act.side, period, act.price_uyuan_per_kwh, act.volume_wh).to_payload()


class Strategy:
    """A player's way to trade. Made without arguments, one for each player that uses it.

    The same view and the same numbers give the same answer: a strategy keeps nothing between calls, reads no clock, and
    draws from the `random` that it is given alone.
    """

    looks_back: ClassVar[int] = 24
    """How many earlier gates it is shown."""
    looks: ClassVar[int] = 1
    """How often it is asked about a period: at the opening, and again on the way to the gate."""
    storage: ClassVar[Storage | None] = None
    """The battery that comes with it, empty at first; it is run so that its owner keeps what was agreed."""

    def answer(self, view: View, random: Random) -> Sequence[Act]:
        """The orders to place and to cancel for a period, before its gate; none are fine, too."""
        raise NotImplementedError


def ask(strategy: Strategy, view: View, random: Random) -> tuple[Act, ...]:
    """A strategy's answer, checked, and cut to what the player may trade.

    Raises `StrategyFailed` where the strategy raises, `BadStrategyAnswer`, or the `StrategyFault` that it raises.
    """
    name = type(strategy).__name__
    try:
        answer = strategy.answer(view, random)
        acts = tuple(islice(answer, MAX_ORDERS + 1)) if isinstance(answer, Iterable) else answer
        fault = _find_fault(acts, view)
    except StrategyFault:
        raise
    except (Exception, SystemExit) as error:  # it is a stranger's code, and so is what it answers with
        detail = f"{type(error).__name__}: {error}"
        raise StrategyFailed(player=view.player, strategy=name, period=view.period, detail=detail) from error
    if fault:
        raise BadStrategyAnswer(player=view.player, strategy=name, period=view.period, detail=fault)
    return _fit(acts, view)


def describe_class_fault(kind: type[Strategy]) -> str:
    """The fault of a class of strategies; nothing where it can play."""
    if kind.answer is Strategy.answer:
        return "it has no method `answer`"
    for name, low, high in (("looks_back", 0, MAX_LOOK_BACK), ("looks", 1, MAX_LOOKS)):
        if not _is_whole(getattr(kind, name), low, high):
            return f"{name} is {getattr(kind, name)!r}, want a whole number from {low} to {high}"
    storage = kind.storage
    if storage is None:
        return ""
    if not isinstance(storage, Storage) or not all(_is_whole(one, 0, 10**12) for one in storage):
        return f"storage is {storage!r}, want a Storage in whole Wh"
    if not 0 < storage.efficiency_ppm <= 1_000_000 or storage.charge_wh:
        return f"storage is {storage!r}, want an efficiency of 1 to 1000000 ppm, and no charge yet"
    return ""


def _find_fault(acts: object, view: View) -> str:
    """The fault of an answer; nothing where it can be done."""
    if not isinstance(acts, tuple):
        return f"{acts!r:.200} instead of a list"
    if len(acts) > MAX_ORDERS:
        return f"more than {MAX_ORDERS} orders and cancels"
    known = {order.order_id for order in view.own_orders}
    for act in acts:
        match act:
            case Quote(side=side, price_uyuan_per_kwh=price, volume_wh=volume_wh):
                if not isinstance(side, Side):
                    return f"{side!r:.200} for a side, want Side.BID or Side.OFFER"
                if not _is_whole(price, 1, MAX_PRICE_UYUAN_PER_KWH):
                    return f"{price!r:.200} for a price, want whole µ¥ per kWh from 1 to {MAX_PRICE_UYUAN_PER_KWH}"
                if not _is_whole(volume_wh, 0, 10**15):
                    return f"{volume_wh!r:.200} for a volume, want whole Wh"
            case Cancel(order_id=order_id):
                if not _is_whole(order_id, 0, 10**15) or order_id not in known:
                    return f"a cancel of {order_id!r:.200}, which is no order of this player on the book"
            case _:
                return f"{act!r:.200}, want a Quote or a Cancel"
    return ""


def _is_whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _fit(acts: Iterable[Act], view: View) -> tuple[Act, ...]:
    """Cut quotes, in their order, to what a player may still trade on a side; what has no volume is left out."""
    acts = tuple(acts)
    cancelled = {act.order_id for act in acts if isinstance(act, Cancel)}
    room_wh = {Side.BID: view.bid_limit_wh, Side.OFFER: view.offer_limit_wh}
    for order in view.own_orders:
        if order.order_id not in cancelled:
            room_wh[order.side] -= order.volume_wh
    fitted: list[Act] = []
    for act in acts:
        if isinstance(act, Quote):
            volume_wh = min(act.volume_wh, max(0, room_wh[act.side]))
            room_wh[act.side] -= volume_wh
            if not volume_wh:
                continue
            act = act._replace(volume_wh=volume_wh)
        fitted.append(act)
    return tuple(fitted)
