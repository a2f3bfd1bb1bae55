"""The nearest neighbour: worked books, what the rule promises for every book, and that tree and sort trade alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.orders import Order, Side, Trade
from market.trading.clearing import match_price_time
from market.trading.clearing_rules import ClearingContext, clear_knn
from market.trading.matching_weight import WeightedOrder
from market.trading.nearest import (
    MAX_FACTOR,
    STEPS,
    Factors,
    Features,
    Neighbourhood,
    Place,
    Scale,
    Target,
    count_steps,
)
from market.trading.quote_tree import NOBODY, QuoteTree
from market.trading.ties import make_lottery

ANN, BEN, CLEO, EVE = (bytes([letter]) * 20 for letter in b"abce")


def bid(order_id: int, owner: bytes, price: int, volume: int) -> Order:
    return Order(order_id, owner, Side.BID, price, volume, order_id)


def offer(order_id: int, owner: bytes, price: int, volume: int) -> Order:
    return Order(order_id, owner, Side.OFFER, price, volume, order_id)


def aim(book: list[Order], price: int) -> Neighbourhood:
    """A target of this price, and offers that differ in price alone: a step is a µ¥ here."""
    features = {order.order_id: Features(price=order.price_uyuan_per_kwh) for order in book if order.side}
    return Neighbourhood(target=Target(price, Features(price=price)), offers=features)


def met(trades: list[Trade]) -> list[tuple[int, int, int, int]]:
    return [(t.bid_id, t.offer_id, t.price_uyuan_per_kwh, t.volume_wh) for t in trades]


# --- worked books --------------------------------------------------------------------------------


def test_bids_by_price_take_the_offers_nearest_to_the_target() -> None:
    # 4 @ 46 is nearest to 47, then 5 @ 50 and 3 @ 40; ann's limit lets her have all, ben's not 5
    book = [
        bid(1, ANN, 60, 15),
        bid(2, BEN, 48, 20),
        offer(3, EVE, 40, 10),
        offer(4, EVE, 46, 10),
        offer(5, CLEO, 50, 10),
    ]
    assert met(clear_knn(book, ClearingContext(neighbourhood=aim(book, 47)))) == [
        (1, 4, 47, 10),
        (1, 5, 50, 5),
        (2, 3, 47, 10),
    ]


def test_the_price_is_the_targets_between_what_is_asked_and_what_is_bid() -> None:
    book = [bid(1, ANN, 50, 5), offer(2, EVE, 40, 5)]
    for target, price in ((30, 40), (45, 45), (60, 50)):
        assert met(clear_knn(book, ClearingContext(neighbourhood=aim(book, target)))) == [(1, 2, price, 5)]


def test_without_a_target_a_book_clears_by_price_and_time() -> None:
    book = [bid(1, ANN, 60, 15), bid(2, BEN, 48, 20), offer(3, EVE, 40, 10), offer(4, EVE, 46, 10)]
    assert clear_knn(book, ClearingContext()) == match_price_time(book)


def test_at_one_distance_the_cheaper_and_then_the_earlier_offer_is_served() -> None:
    book = [bid(1, ANN, 60, 30), offer(2, EVE, 52, 10), offer(3, CLEO, 48, 10), offer(4, EVE, 48, 10)]
    assert [t.offer_id for t in clear_knn(book, ClearingContext(neighbourhood=aim(book, 50)))] == [3, 4, 2]


def test_a_credit_far_from_the_target_outweighs_a_price_near_to_it() -> None:
    book = [bid(1, ANN, 60, 10), offer(2, EVE, 50, 10), offer(3, CLEO, 40, 10)]
    near = Neighbourhood(
        target=Target(50, Features(price=500, credit=1000)),
        offers={2: Features(price=500, credit=900), 3: Features(price=450, credit=1000)},
        factors=Factors(price=1, credit=2),
    )
    assert met(clear_knn(book, ClearingContext(neighbourhood=near))) == [(1, 3, 50, 10)]


@pytest.mark.parametrize(
    ("place", "steps"),
    [(Place("l1", "a"), 0), (Place("l2", "a"), 500), (Place("l3", "b"), 1000), (Place("", "a"), 500), (Place(), 1000)],
)
def test_places(place: Place, steps: int) -> None:
    assert place.compute_steps(Place("l1", "a")) == Place("l1", "a").compute_steps(place) == steps


def test_unknown_places_are_near_no_other() -> None:
    assert Place().compute_steps(Place()) == STEPS


def test_no_square_reaches_two_to_the_31() -> None:
    factors = Factors(*[MAX_FACTOR] * 5)
    near = Neighbourhood(target=Target(0, Features(0, 0, 0, 0)), offers={}, factors=factors)
    assert near.compute_distance(Features(STEPS, STEPS, STEPS, STEPS), near.target) == 5 * 8000**2 < 1 << 31


def test_an_intention_in_steps() -> None:
    book = [offer(1, EVE, 400_000, 100), offer(2, EVE, 500_000, 300)]
    scale = Scale.measure(book)
    quote = WeightedOrder(offer(3, EVE, 433_333, 200), 90_000_000, 0, 500_000, "l1", 0)
    assert scale.describe(quote, {"l1": "a"}) == Features(333, 500, 900, 500, Place("l1", "a"))
    assert scale.describe(quote).place == Place("l1", "")
    assert scale.aim(450_000) == Target(450_000, Features(500, STEPS, STEPS, STEPS))
    assert scale.aim(450_000, Features(0, 7)) == Target(450_000, Features(500, 7))
    assert [count_steps(value, 3, 3) for value in (2, 3, 4)] == [0, 0, 0]
    assert [count_steps(value, 10, 20) for value in (0, 10, 19, 20, 99)] == [0, 0, 900, 1000, 1000]


# --- for every book ------------------------------------------------------------------------------

steps = st.sampled_from([0, 1, 2, 500, 1000])
features = st.builds(
    Features,
    price=steps,
    volume=steps,
    credit=steps,
    renewable=steps,
    place=st.builds(Place, st.sampled_from(["", "l1", "l2"]), st.sampled_from(["", "a", "b"])),
)
targets = st.builds(Target, st.integers(0, 12), features)
factors = st.builds(Factors, *[st.sampled_from([0, 1, 8])] * 5)


@st.composite
def books(draw: st.DrawFn, max_size: int = 20) -> tuple[list[Order], Neighbourhood]:
    """Books of few owners with ties in price and distance, and what their offers are like."""
    order = st.tuples(
        st.sampled_from([ANN, BEN, EVE]),
        st.sampled_from(Side),
        st.integers(0, 12),
        st.integers(1, 9),
        st.integers(0, 5),
    )
    book = [Order(number, *row) for number, row in enumerate(draw(st.lists(order, max_size=max_size)))]
    offers = {one.order_id: draw(features) for one in book if one.side == Side.OFFER}
    return draw(st.permutations(book)), Neighbourhood(target=draw(targets), offers=offers, factors=draw(factors))


def clear_by_search(book: list[Order], near: Neighbourhood) -> list[Trade]:
    """The rule read aloud: each bid in turn searches all offers, nearest to its target first."""
    left = {order.order_id: order.volume_wh for order in book}
    trades = []
    for b in sorted((o for o in book if o.side == Side.BID), key=lambda o: (-o[3], o.placed_at, o.order_id)):
        target = near.find_target(b)

        def stand(o: Order, target: Target = target) -> tuple[int, ...]:
            return near.compute_distance(near.offers[o.order_id], target), o[3], o.placed_at, o.order_id

        for o in sorted((o for o in book if o.side == Side.OFFER), key=stand):
            volume = min(left[b.order_id], left[o.order_id])
            if volume and b.owner != o.owner and b.price_uyuan_per_kwh >= o.price_uyuan_per_kwh:
                price = min(max(target.price_uyuan_per_kwh, o.price_uyuan_per_kwh), b.price_uyuan_per_kwh)
                trades.append(Trade(b.order_id, o.order_id, b.owner, o.owner, price, volume))
                left[b.order_id] -= volume
                left[o.order_id] -= volume
    return trades


@given(books())
@settings(max_examples=60)
def test_the_rule_clears_as_it_reads(drawn: tuple[list[Order], Neighbourhood]) -> None:
    book, near = drawn
    assert clear_knn(book, ClearingContext(neighbourhood=near)) == clear_by_search(book, near)


@given(books())
@settings(max_examples=60)
def test_tree_and_sort_trade_alike(drawn: tuple[list[Order], Neighbourhood]) -> None:
    """A tree is planted where bids have targets of their own: here they all have the hour's."""
    book, near = drawn
    own = {order.order_id: near.target for order in book if order.side == Side.BID} or {-1: near.target}
    planted = replace(near, own_targets=own)
    assert clear_knn(book, ClearingContext(neighbourhood=planted)) == clear_knn(
        book, ClearingContext(neighbourhood=near)
    )


@given(books(max_size=40), st.data())
@settings(max_examples=60)
def test_a_tree_finds_each_bid_what_a_search_finds(
    drawn: tuple[list[Order], Neighbourhood], data: st.DataObject
) -> None:
    book, near = drawn
    bids = [order.order_id for order in book if order.side == Side.BID]
    own = data.draw(st.dictionaries(st.sampled_from(bids), targets, min_size=1)) if bids else {-1: near.target}
    planted = replace(near, own_targets=own)
    assert clear_knn(book, ClearingContext(neighbourhood=planted)) == clear_by_search(book, planted)


@given(books(), st.binary(min_size=1, max_size=4), st.booleans())
@settings(max_examples=60)
def test_by_lot_the_limits_volumes_and_other_owners_are_kept_and_nothing_that_crosses_is_left(
    drawn: tuple[list[Order], Neighbourhood], seed: bytes, has_own: bool
) -> None:
    book, near = drawn
    if has_own:
        near = replace(near, own_targets={one.order_id: near.target for one in book if one.side == Side.BID})
    trades = clear_knn(book, ClearingContext(neighbourhood=near, lottery=make_lottery(seed, 1)))
    left = {order.order_id: order.volume_wh for order in book}
    orders = {order.order_id: order for order in book}
    for trade in trades:
        b, o = orders[trade.bid_id], orders[trade.offer_id]
        assert (b.side, o.side) == (Side.BID, Side.OFFER)
        assert trade.buyer != trade.seller
        assert o.price_uyuan_per_kwh <= trade.price_uyuan_per_kwh <= b.price_uyuan_per_kwh
        left[b.order_id] -= trade.volume_wh
        left[o.order_id] -= trade.volume_wh
    assert min(left.values(), default=0) >= 0
    rest = [order for order in book if left[order.order_id]]
    assert not [(b, o) for b in rest for o in rest if b.side < o.side and b.owner != o.owner and b[3] >= o[3]], (
        "different owners cross"
    )


def test_equals_at_one_distance_share() -> None:
    book = [bid(0, ANN, 60, 10), *(offer(1 + number, bytes([number]) * 20, 50, 10) for number in range(5))]
    context = ClearingContext(neighbourhood=aim(book, 47), lottery=make_lottery(b"chain", 1))
    assert {trade.volume_wh for trade in clear_knn(book, context)} == {2}


# --- the tree --------------------------------------------------------------------------------------


def test_a_tree_of_equal_points_serves_them_by_rank_and_no_search_is_long() -> None:
    """A thousand offers at one spot, all but the last of the buyer's own: a path, not a thousand looks."""
    count, looks = 1000, 0

    class Owner(bytes):
        def __eq__(self, other: object) -> bool:
            nonlocal looks
            looks += 1
            return bytes.__eq__(self, other)

        __hash__ = bytes.__hash__

    eve = Owner(EVE)
    owners = [*[eve] * (count - 1), ANN]
    tree = QuoteTree({n: offer(n, owner, 50, 1) for n, owner in enumerate(owners)}, dict.fromkeys(range(count), (7, 7)))
    looks = 0
    assert tree.find_nearest((7, 8), 50, eve).rank == count - 1
    assert looks < 50
    assert tree.find_nearest((7, 8), 49, ANN) is NOBODY
    for rank in range(5):
        assert tree.find_nearest((0, 0), 50, BEN) == (98, rank)
        tree.remove(rank)


def test_of_equally_near_offers_beyond_a_split_the_first_by_rank_is_found() -> None:
    for points in ({0: (2,), 1: (0,)}, {0: (0,), 1: (2,)}):
        tree = QuoteTree({rank: offer(rank, ANN, 50, 1) for rank in points}, points)
        assert tree.find_nearest((1,), 50, BEN) == (1, 0)


def test_an_empty_tree_has_nobody() -> None:
    assert QuoteTree({}, {}).find_nearest((1, 2), 1 << 40, ANN) is NOBODY
