"""The call auction at gate closure: price-time matching of a closed book (step 3 of text 000)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter

from ledger.hashing import Address
from market.orders import Order, Side, Trade

BAND_ORDERS = 512  # orders per price band, on average: few enough to stay in the processor's cache

_ORDER_ID = attrgetter("order_id")
_PLACED_AT = attrgetter("placed_at")
_PRICE = attrgetter("price_uyuan_per_kwh")
_SIDE = attrgetter("side")
_VOLUME = attrgetter("volume_wh")
_new_tuple = tuple.__new__  # makes a Trade without its constructor, which costs a sixth of the matching


def match_price_time(orders: Sequence[Order]) -> list[Trade]:
    """Match a closed book: the trades (prices in µ¥ per kWh, volumes in Wh), in the order they are made.

    Bids stand by (price descending, placed_at, order_id), offers by (price ascending, placed_at, order_id).
    The best bid takes from the best offer as long as its limit is at least the offer's, in parts where
    volumes differ. In a book that is closed before it is matched no side rests, so the price is the
    midpoint of the two limits, half up.

    No owner trades with itself: a bid passes over its own owner's offers and takes the best of another owner,
    and the offers passed over keep their place for the next bid. So no bid and offer of different owners
    that cross are left. The order of the input does not matter. Linear after the sort, for any owners.
    Order ids are unique; volumes are positive and prices not negative, else it asserts.
    """
    if not orders:
        return []
    bid_bands, offer_bands = _split_into_bands(orders)
    bids = chain.from_iterable(_rank(bid_bands, best_is_highest=True))
    offers = _RankedOffers(_rank(offer_bands, best_is_highest=False))
    trades: list[Trade] = []
    record = trades.append

    ranked, taken = offers.ranked, offers.taken
    front = 0
    if not offers.reach(front):
        return trades
    offer_id, seller, _, ask, left, _ = ranked[front]
    for bid_id, buyer, _, limit, wanted, _ in bids:
        while wanted:
            if seller == buyer:
                trade = offers.take_past(front, bid_id, buyer, limit, wanted)
                if trade is None:
                    break
                record(trade)
                wanted -= trade.volume_wh
                continue
            if ask > limit:
                return trades
            volume = wanted if wanted < left else left
            record(_new_tuple(Trade, (bid_id, offer_id, buyer, seller, (limit + ask + 1) >> 1, volume)))
            wanted -= volume
            left -= volume
            while not left:
                front += 1
                if front == len(ranked) and not offers.reach(front):
                    return trades
                offer_id, seller, _, ask, left, _ = ranked[front]
                if taken:
                    left -= taken.get(front, 0)
    return trades


def best_prices(orders: Iterable[Order]) -> tuple[int | None, int | None]:
    """The book's best bid and best ask, in µ¥ per kWh; None where a side is empty."""
    best_bid: int | None = None
    best_ask: int | None = None
    for order in orders:
        price = order.price_uyuan_per_kwh
        if order.side == Side.BID:
            if best_bid is None or price > best_bid:
                best_bid = price
        elif best_ask is None or price < best_ask:
            best_ask = price
    return best_bid, best_ask


class _RankedOffers:
    """The offers, best first, ranked one band at a time as matching reaches them."""

    __slots__ = ("_bands", "_beyond", "ranked", "taken")

    def __init__(self, bands: Iterator[list[Order]]) -> None:
        self._bands = bands
        self._beyond = 0  # the best open offer that is not the front owner's; all open ones before it are
        self.ranked: list[Order] = []
        self.taken: dict[int, int] = {}  # index -> Wh taken ahead of its turn

    def reach(self, index: int) -> bool:
        """Rank as many bands as `ranked[index]` takes; False when there are not so many offers."""
        while index >= len(self.ranked):
            band = next(self._bands, None)
            if band is None:
                return False
            self.ranked += band
        return True

    def take_past(self, front: int, bid_id: int, buyer: Address, limit: int, wanted: int) -> Trade | None:
        """Trade a bid whose owner has the front offer with the best of another owner; None if none crosses.

        The rank looked at only ever moves up: every open offer between it and the front belongs to the
        front's owner, because that owner's bids have used up the others. So k bids and k offers of one
        owner cost k steps, not k².
        """
        index = max(self._beyond, front + 1)
        while self.reach(index) and (
            self.ranked[index].owner == buyer or self.taken.get(index) == self.ranked[index].volume_wh
        ):
            index += 1
        self._beyond = index
        if index == len(self.ranked):
            return None
        offer = self.ranked[index]
        if offer.price_uyuan_per_kwh > limit:
            return None
        taken = self.taken.get(index, 0)
        volume = min(wanted, offer.volume_wh - taken)
        self.taken[index] = taken + volume
        price = (limit + offer.price_uyuan_per_kwh + 1) >> 1
        return Trade(bid_id, offer.order_id, buyer, offer.owner, price, volume)


def _split_into_bands(orders: Sequence[Order]) -> tuple[list[list[Order]], list[list[Order]]]:
    """The bids and the offers, each as bands of rising price.

    Matching seldom reaches the whole book, and a large one is slow because memory is: a band is sorted when
    it is reached, and while its orders are in the cache. A book with all its prices in one band costs one
    plain sort.
    """
    prices = list(map(_PRICE, orders))
    low = min(prices)
    spread = max(prices) - low
    assert low >= 0, "an order has a negative price"
    assert min(map(_VOLUME, orders)) > 0, "an order has no volume"
    shift = max(0, spread.bit_length() - (len(orders) // BAND_ORDERS).bit_length())
    count = (spread >> shift) + 1
    bids: list[list[Order]] = [[] for _ in range(count)]
    offers: list[list[Order]] = [[] for _ in range(count)]
    sides = (bids, offers)
    for order, side, price in zip(orders, map(_SIDE, orders), prices, strict=True):
        sides[side][(price - low) >> shift].append(order)
    return bids, offers


def _rank(bands: list[list[Order]], *, best_is_highest: bool) -> Iterator[list[Order]]:
    """The bands, best first, each sorted by (price, placed_at, order_id) when its turn comes.

    Three stable sorts on plain integers beat one on tuples, and two of them find a book kept in order of
    arrival sorted already.
    """
    for band in reversed(bands) if best_is_highest else bands:
        band.sort(key=_ORDER_ID)
        band.sort(key=_PLACED_AT)
        band.sort(key=_PRICE, reverse=best_is_highest)
        yield band
