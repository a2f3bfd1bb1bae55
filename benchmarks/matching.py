"""Order matching against a plain heap matcher: orders cleared per second, for books of 10^3 to 10^6 orders.

Python's cyclic garbage collector is paused while timing, as `timeit` does; the last row shows what it costs.
"""

from __future__ import annotations

import sys
from heapq import heapify, heappop
from random import Random
from timeit import Timer

from benchmarks.table import Row, print_table
from market.orders import Order, Side, Trade
from market.trading.clearing import match_price_time
from market.trading.clearing_rules import ClearingContext, clear_price_time
from market.trading.ties import Match, make_lottery

SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUICK_SIZES = (1_000, 10_000)
OWNERS = 1_000
HEAP = "heapq, no self-trade check"


def make_book(count: int, seed: int = 1) -> list[Order]:
    """A book in order of arrival, prices uniform between feed-in and retail: about half of it trades."""
    rng = Random(seed)
    owners = [rng.randbytes(20) for _ in range(OWNERS)]
    return [
        Order(
            order_id=number,
            owner=rng.choice(owners),
            side=rng.choice((Side.BID, Side.OFFER)),
            price_uyuan_per_kwh=rng.randrange(410_000, 615_000),
            volume_wh=rng.randrange(1, 5_000),
            placed_at=number,
        )
        for number in range(count)
    ]


def make_wall(count: int) -> list[Order]:
    """A book that one owner walls off on both sides: every bid of its own has all its offers in front."""
    wall, other = bytes(20), b"\1" * 20
    half = count // 2
    book = [Order(i, wall, Side.BID, 600_000, 1, i) for i in range(half - 1)]
    book += [Order(half + i, wall, Side.OFFER, 420_000, 1, half + i) for i in range(half - 1)]
    book.append(Order(2 * half, other, Side.OFFER, 500_000, half, 2 * half))
    book.append(Order(2 * half + 1, other, Side.BID, 500_000, half, 2 * half + 1))
    return book


def make_ties(count: int) -> list[Order]:
    """The same book with a hundred prices, so that a hundred and more orders share what is left at the last one."""
    return [
        order._replace(price_uyuan_per_kwh=order.price_uyuan_per_kwh // 2_000 * 2_000) for order in make_book(count)
    ]


def share_pro_rata(orders: list[Order]) -> list[Trade]:
    """The rule of the recommended set."""
    return clear_price_time(orders, ClearingContext(lottery=make_lottery(bytes(32), 1)))


def match_by_heap(orders: list[Order]) -> list[Trade]:
    """The baseline: the same price-time rule on two heaps, without the self-trade rule."""
    bids = [(-o.price_uyuan_per_kwh, o.placed_at, o.order_id, o.owner, o.volume_wh) for o in orders if not o.side]
    offers = [(o.price_uyuan_per_kwh, o.placed_at, o.order_id, o.owner, o.volume_wh) for o in orders if o.side]
    heapify(bids)
    heapify(offers)
    trades: list[Trade] = []
    wanted = left = 0
    while True:
        if not wanted:
            if not bids:
                return trades
            limit, _, bid_id, buyer, wanted = heappop(bids)
        if not left:
            if not offers:
                return trades
            ask, _, offer_id, seller, left = heappop(offers)
        if -limit < ask:
            return trades
        volume = min(wanted, left)
        trades.append(Trade(bid_id, offer_id, buyer, seller, (ask - limit + 1) // 2, volume))
        wanted -= volume
        left -= volume


def measure(name: str, book: list[Order], *, collector: bool = False, match: Match = match_price_time) -> Row:
    """Orders per second of the better of several runs, the two matchers taking turns."""
    repeats = max(4, min(50, 1_000_000 // len(book)))
    setup = "import gc; gc.enable()" if collector else "pass"
    ours, heap = Timer(lambda: match(book), setup), Timer(lambda: match_by_heap(book), setup)
    seconds = [(ours.timeit(1), heap.timeit(1)) for _ in range(repeats)]
    best, best_heap = map(min, zip(*seconds, strict=True))
    return Row(name, len(book) / best, "orders/s", HEAP, best_heap / best)


def run(quick: bool = False) -> list[Row]:
    rows = [measure(f"matching, {count:,} orders", make_book(count)) for count in (QUICK_SIZES if quick else SIZES)]
    wall = QUICK_SIZES[-1] if quick else 100_000
    rows.append(measure(f"matching, {wall:,} orders, one owner in front on both sides", make_wall(wall)))
    name = f"matching, {wall:,} orders, a hundred prices, equals pro rata"
    rows.append(measure(name, make_ties(wall), match=share_pro_rata))
    largest = QUICK_SIZES[-1] if quick else SIZES[-1]
    rows.append(measure(f"matching, {largest:,} orders, collector on", make_book(largest), collector=True))
    return rows


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv[1:]))
