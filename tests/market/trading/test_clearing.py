"""The call auction: worked books, the self-trade rule, and what must hold for every book."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.orders import Order, Side, Trade
from market.trading.clearing import BAND_ORDERS, best_prices, match_price_time

ANN, BEN, EVE = (bytes([letter]) * 20 for letter in b"abe")


def bid(order_id: int, owner: bytes, price: int, volume: int, placed_at: int | None = None) -> Order:
    return Order(order_id, owner, Side.BID, price, volume, order_id if placed_at is None else placed_at)


def offer(order_id: int, owner: bytes, price: int, volume: int, placed_at: int | None = None) -> Order:
    return Order(order_id, owner, Side.OFFER, price, volume, order_id if placed_at is None else placed_at)


def met(trades: list[Trade]) -> list[tuple[int, int, int]]:
    """(bid, offer, volume) of each trade."""
    return [(trade.bid_id, trade.offer_id, trade.volume_wh) for trade in trades]


# --- worked books --------------------------------------------------------------------------------


def test_the_best_bid_takes_from_the_best_offer_in_parts():
    book = [bid(1, ANN, 560_000, 300), bid(2, BEN, 550_000, 300), offer(3, EVE, 540_000, 200)]
    book += [offer(4, EVE, 530_000, 250), offer(5, EVE, 555_000, 900)]
    # bids   1: 300 @ 0.56   2: 300 @ 0.55
    # offers 4: 250 @ 0.53   3: 200 @ 0.54   5: 900 @ 0.555 <- above bid 2
    assert match_price_time(book) == [
        Trade(1, 4, ANN, EVE, 545_000, 250),
        Trade(1, 3, ANN, EVE, 550_000, 50),
        Trade(2, 3, BEN, EVE, 545_000, 150),
    ]


def test_equal_prices_are_served_in_order_of_placement():
    book = [bid(1, ANN, 500, 10, placed_at=7), bid(2, BEN, 500, 10, placed_at=3), offer(3, EVE, 500, 15)]
    assert met(match_price_time(book)) == [(2, 3, 10), (1, 3, 5)]


def test_orders_placed_at_once_are_served_by_id():
    book = [bid(2, ANN, 500, 10, placed_at=1), bid(1, BEN, 500, 10, placed_at=1), offer(3, EVE, 500, 10)]
    assert met(match_price_time(book)) == [(1, 3, 10)]


@pytest.mark.parametrize(
    ("limit", "ask", "price"), [(500, 500, 500), (501, 500, 501), (503, 500, 502), (502, 500, 501), (1, 0, 1)]
)
def test_the_price_is_the_midpoint_rounded_half_up(limit, ask, price):
    (trade,) = match_price_time([bid(1, ANN, limit, 10), offer(2, EVE, ask, 10)])
    assert trade.price_uyuan_per_kwh == price


@pytest.mark.parametrize("book", [[], [bid(1, ANN, 500, 1)], [offer(1, ANN, 500, 1)]])
def test_a_book_without_two_sides_does_not_trade(book):
    assert match_price_time(book) == []


def test_limits_that_do_not_meet_do_not_trade():
    assert match_price_time([bid(1, ANN, 499, 10), offer(2, EVE, 500, 10)]) == []


def test_an_invalid_order_is_a_bug_of_the_caller():
    for broken in (bid(1, ANN, 500, 0), offer(1, ANN, 500, -1), bid(1, ANN, -1, 10)):
        with pytest.raises(AssertionError):
            match_price_time([broken, offer(2, EVE, 500, 10)])


def test_best_prices():
    book = [bid(1, ANN, 500, 1), offer(2, EVE, 530, 1), bid(3, BEN, 510, 1), offer(4, EVE, 520, 1)]
    assert best_prices(book) == (510, 520)
    assert best_prices(book[:1]) == (500, None)
    assert best_prices(book[1:2]) == (None, 530)
    assert best_prices([]) == (None, None)


# --- nobody trades with itself -------------------------------------------------------------------


def test_a_bid_passes_over_its_owners_offer_which_keeps_its_place():
    # bids   1: ann 10 @ 9   2: ben 10 @ 8
    # offers 3: ann 10 @ 1   4: eve 10 @ 2     ann's bid passes 3 and takes 4; ben's then finds 3 in front
    book = [bid(1, ANN, 9, 10), bid(2, BEN, 8, 10), offer(3, ANN, 1, 10), offer(4, EVE, 2, 10)]
    assert met(match_price_time(book)) == [(1, 4, 10), (2, 3, 10)]


def test_a_bid_that_finds_only_its_owners_offers_lapses_and_the_next_one_has_its_turn():
    book = [bid(1, ANN, 9, 10), bid(2, BEN, 8, 10), offer(3, ANN, 1, 10), offer(4, EVE, 20, 10)]
    assert met(match_price_time(book)) == [(2, 3, 10)]


def test_an_offer_taken_ahead_of_its_turn_has_only_the_rest_left():
    book = [bid(1, ANN, 9, 4), bid(2, BEN, 8, 100), offer(3, ANN, 1, 10), offer(4, EVE, 2, 10)]
    assert met(match_price_time(book)) == [(1, 4, 4), (2, 3, 10), (2, 4, 6)]


def test_an_offer_used_up_ahead_of_its_turn_is_gone():
    book = [bid(1, ANN, 9, 10), bid(2, BEN, 8, 100), offer(3, ANN, 1, 10), offer(4, EVE, 2, 10)]
    book += [offer(5, EVE, 3, 10)]
    assert met(match_price_time(book)) == [(1, 4, 10), (2, 3, 10), (2, 5, 10)]


def test_many_orders_of_one_owner_cost_no_more_than_one_pass():
    """Eve stands in front on both sides. Were each of her bids to pass all her offers anew: 10^8 steps."""
    count = 10_000
    looks = 0

    class Owner(bytes):
        def __eq__(self, other: object) -> bool:
            nonlocal looks
            looks += 1
            assert looks < 10 * count, "more looks at an owner than a few per order"
            return bytes.__eq__(self, other)

        __hash__ = bytes.__hash__

    eve = Owner(EVE)
    book = [bid(i, eve, 900, 1) for i in range(count)]
    book += [offer(count + i, eve, 100, 1) for i in range(count)]
    book += [offer(2 * count, ANN, 200, count // 2), bid(2 * count + 1, BEN, 800, count)]
    trades = match_price_time(book)
    assert sum(trade.volume_wh for trade in trades if trade.seller == ANN) == count // 2
    assert sum(trade.volume_wh for trade in trades if trade.buyer == BEN) == count
    assert looks > count


# --- for every book ------------------------------------------------------------------------------


def match_by_search(orders: list[Order]) -> list[Trade]:
    """The rule read aloud, with no thought for speed: each bid in turn searches all offers, best first."""
    bids = sorted((o for o in orders if o.side == Side.BID), key=lambda o: (-o.price_uyuan_per_kwh, *place(o)))
    offers = sorted((o for o in orders if o.side == Side.OFFER), key=lambda o: (o.price_uyuan_per_kwh, *place(o)))
    left = {o.order_id: o.volume_wh for o in orders}
    trades = []
    for b in bids:
        for o in offers:
            volume = min(left[b.order_id], left[o.order_id])
            if volume and b.owner != o.owner and b.price_uyuan_per_kwh >= o.price_uyuan_per_kwh:
                price = (b.price_uyuan_per_kwh + o.price_uyuan_per_kwh + 1) // 2
                trades.append(Trade(b.order_id, o.order_id, b.owner, o.owner, price, volume))
                left[b.order_id] -= volume
                left[o.order_id] -= volume
    return trades


def place(order: Order) -> tuple[int, int]:
    return order.placed_at, order.order_id


def broken_rules(orders: list[Order], trades: list[Trade]) -> list[str]:
    """The rules that these trades of this book break; none, for a right clearing."""
    book = {o.order_id: o for o in orders}
    left = {o.order_id: o.volume_wh for o in orders}
    wrong = []
    for trade in trades:
        b, o = book[trade.bid_id], book[trade.offer_id]
        left[b.order_id] -= trade.volume_wh
        left[o.order_id] -= trade.volume_wh
        if (b.side, o.side, b.owner, o.owner) != (Side.BID, Side.OFFER, trade.buyer, trade.seller):
            wrong.append(f"wrong parties: {trade}")
        if not o.price_uyuan_per_kwh <= trade.price_uyuan_per_kwh <= b.price_uyuan_per_kwh:
            wrong.append(f"outside the limits: {trade}")
        if trade.volume_wh <= 0:
            wrong.append(f"no volume: {trade}")
        if trade.buyer == trade.seller:
            wrong.append(f"self-trade: {trade}")
    wrong += [f"overfilled: {book[i]}" for i, rest in left.items() if rest < 0]
    open_bids = [o for o in orders if o.side == Side.BID and left[o.order_id] > 0]
    open_offers = [o for o in orders if o.side == Side.OFFER and left[o.order_id] > 0]
    wrong += [
        f"left crossing: {b} {o}"
        for b in open_bids
        for o in open_offers
        if b.owner != o.owner and b.price_uyuan_per_kwh >= o.price_uyuan_per_kwh
    ]
    return wrong


@st.composite
def books(draw: st.DrawFn) -> list[Order]:
    """Books with ties, few owners and overlapping prices: own offers in the way, and partial fills."""
    order = st.tuples(
        st.sampled_from([ANN, BEN, EVE]),
        st.sampled_from(Side),
        st.integers(0, 12),
        st.integers(1, 9),
        st.integers(0, 5),
    )
    rows = draw(st.lists(order, max_size=30))
    return draw(st.permutations([Order(i, *row) for i, row in enumerate(rows)]))


@given(books())
def test_every_book_clears_by_the_rules(book):
    assert broken_rules(book, match_price_time(book)) == []


@given(books())
def test_every_book_clears_as_the_rule_reads(book):
    assert match_price_time(book) == match_by_search(book)


@given(books(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(book, rng):
    shuffled = list(book)
    rng.shuffle(shuffled)
    assert match_price_time(shuffled) == match_price_time(book)


@given(st.integers(0, 2**32), st.sampled_from([1, 997, 10**6]))
@settings(max_examples=20, deadline=None)
def test_a_book_of_several_price_bands_clears_as_the_rule_reads(seed, tick):
    owners = (ANN, BEN, EVE)
    book = []
    for i in range(2 * BAND_ORDERS + 40):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        word = seed >> 33
        side = Side(word & 1)
        # mostly far apart, so that the search above stays short; one price in 16 reaches across
        price = (word >> 1) % 100 + (60 if side == Side.OFFER else 0) + (60 if (word >> 20) % 16 == 0 else 0)
        book.append(Order(i, owners[(word >> 8) % 3], side, price * tick, 1 + (word >> 12) % 50, i // 3))
    trades = match_price_time(book)
    assert trades
    assert trades == match_by_search(book)


@pytest.mark.parametrize(
    "plant",
    [
        lambda trade: trade._replace(volume_wh=trade.volume_wh + 1),
        lambda trade: trade._replace(volume_wh=trade.volume_wh - 1),
        lambda trade: trade._replace(price_uyuan_per_kwh=561_000),
        lambda trade: trade._replace(seller=trade.buyer),
    ],
)
def test_the_checker_of_these_properties_sees_a_planted_fault(plant):
    book = [bid(1, ANN, 560_000, 300), offer(2, EVE, 540_000, 300)]
    (trade,) = match_price_time(book)
    assert broken_rules(book, [trade]) == []
    assert broken_rules(book, [plant(trade)])
