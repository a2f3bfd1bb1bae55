"""Ties: equals share pro rata under every rule, place decides nothing, and splitting an order gains nothing."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from market.orders import Order, Side, Trade
from market.trading.clearing import match_price_time
from market.trading.clearing_rules import RULES, ClearingContext, get_rule
from market.trading.ties import Lots, make_lottery

ANN, BEN, CLEO, DAN, EVE, FAY, GUS = (bytes([letter]) * 20 for letter in b"abcdefg")
SELLERS = (BEN, CLEO, DAN, EVE, FAY)
LOTTERY = make_lottery(bytes(32), 7)
PRO_RATA = ClearingContext(lottery=LOTTERY)


def bid(order_id: int, owner: bytes, price: int, volume: int) -> Order:
    return Order(order_id, owner, Side.BID, price, volume, order_id)


def offer(order_id: int, owner: bytes, price: int, volume: int) -> Order:
    return Order(order_id, owner, Side.OFFER, price, volume, order_id)


def turn(order: Order) -> Order:
    """The same order on the other side of the book, its price mirrored at 100."""
    return order._replace(side=1 - order.side, price_uyuan_per_kwh=100 - order.price_uyuan_per_kwh)


def by_owner(trades: list[Trade], side: Side) -> dict[bytes, int]:
    """The volume of each owner's trades on a side, in Wh."""
    volumes_wh: Counter[bytes] = Counter()
    for trade in trades:
        volumes_wh[trade.buyer if side == Side.BID else trade.seller] += trade.volume_wh
    return dict(volumes_wh)


# --- worked books --------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_ten_wh_to_five_offers_of_ten_are_two_each(rule):
    book = [bid(0, ANN, 60, 10), *(offer(1 + i, owner, 40, 10) for i, owner in enumerate(SELLERS))]
    assert by_owner(get_rule(rule)(book, PRO_RATA), Side.OFFER) == dict.fromkeys(SELLERS, 2)
    assert by_owner(get_rule(rule)(book, ClearingContext()), Side.OFFER) == {BEN: 10}
    turned = [turn(order) for order in book]
    assert by_owner(get_rule(rule)(turned, PRO_RATA), Side.BID) == dict.fromkeys(SELLERS, 2)


@pytest.mark.parametrize("rule", RULES)
def test_a_better_price_is_served_whole_and_only_the_last_ones_share(rule):
    book = [bid(0, ANN, 60, 16), offer(1, BEN, 40, 9), offer(2, CLEO, 40, 18), offer(3, DAN, 30, 10)]
    assert by_owner(get_rule(rule)(book, PRO_RATA), Side.OFFER) == {BEN: 2, CLEO: 4, DAN: 10}


@pytest.mark.parametrize("rule", RULES)
def test_nobody_shares_what_it_would_sell_to_itself(rule):
    # ann buys ten and is one of five equal sellers: the other four have her ten
    book = [bid(0, ANN, 60, 10), *(offer(1 + i, owner, 40, 10) for i, owner in enumerate((ANN, *SELLERS[:4])))]
    shares = by_owner(get_rule(rule)(book, PRO_RATA), Side.OFFER)
    assert sorted(shares.values()) == [2, 2, 3, 3]
    assert ANN not in shares


def test_those_behind_somebody_who_stands_in_its_own_way_share_too():
    # ann would sell at 40 and buys at 60: her offer feeds gus, and five sellers of ten at 45 share her thirty
    book = [bid(0, ANN, 60, 30), bid(1, GUS, 50, 10), offer(2, ANN, 40, 100)]
    book += [offer(3 + i, owner, 45, 10) for i, owner in enumerate(SELLERS)]
    for rule in ("price-time", "pay-as-bid", "credit-weighted"):
        assert by_owner(get_rule(rule)(book, PRO_RATA), Side.OFFER) == {ANN: 10, **dict.fromkeys(SELLERS, 6)}, rule


def test_one_price_is_what_it_is_by_time():
    book = [bid(0, ANN, 60, 10), *(offer(1 + i, owner, 40, 10) for i, owner in enumerate(SELLERS))]
    assert {trade.price_uyuan_per_kwh for trade in get_rule("uniform-price")(book, PRO_RATA)} == {40}


def test_more_merit_goes_first_and_only_equal_merit_shares():
    context = ClearingContext(lottery=LOTTERY, merits={1: 5, 2: 5, 3: 1})
    book = [bid(0, ANN, 60, 10), offer(1, BEN, 40, 10), offer(2, CLEO, 40, 10), offer(3, DAN, 40, 10)]
    assert by_owner(get_rule("credit-weighted")(book, context), Side.OFFER) == {BEN: 5, CLEO: 5}


def test_the_odd_wh_goes_to_the_largest_remainder_and_of_equal_ones_to_the_first_lot():
    lots = Lots.draw(LOTTERY, SELLERS)
    assert lots.share(10, {BEN: 7, CLEO: 7, DAN: 6}) == {BEN: 4, CLEO: 3, DAN: 3} | {
        min((BEN, CLEO), key=lots.places.__getitem__): 4,
        max((BEN, CLEO), key=lots.places.__getitem__): 3,
    }
    assert lots.share(1, {BEN: 100, CLEO: 100, DAN: 101}) == {BEN: 0, CLEO: 0, DAN: 1}
    assert lots.share(30, {BEN: 7, CLEO: 7}) == {BEN: 7, CLEO: 7}


def test_lots_are_drawn_anew_each_period_and_on_each_chain():
    def draw(chain_id: bytes, period: int) -> list[bytes]:
        return sorted(SELLERS, key=Lots.draw(make_lottery(chain_id, period), SELLERS).places.__getitem__)

    firsts = Counter(draw(bytes(32), period)[0] for period in range(500))
    assert all(70 <= firsts[owner] <= 130 for owner in SELLERS), firsts  # 100 ± 9 each
    assert any(draw(bytes(32), period) != draw(b"\1" * 32, period) for period in range(3))


def test_equals_are_served_in_the_order_of_lots_and_not_of_places():
    # who meets the better bid has the better price: no place decides it
    lots = Lots.draw(LOTTERY, [BEN, CLEO])
    first = min((BEN, CLEO), key=lots.places.__getitem__)
    for one, other in permutations((BEN, CLEO)):
        book = [bid(0, ANN, 60, 10), bid(1, GUS, 50, 10), offer(2, one, 40, 10), offer(3, other, 40, 10)]
        assert {t.seller for t in get_rule("price-time")(book, PRO_RATA) if t.price_uyuan_per_kwh == 50} == {first}


# --- for every book ------------------------------------------------------------------------------

OWNERS = (ANN, BEN, CLEO, DAN)


@st.composite
def books(draw: st.DrawFn, *, both_sides: bool = True) -> list[Order]:
    """Many ties, and owners on both sides, unless not."""
    row = st.tuples(st.sampled_from(OWNERS), st.sampled_from(Side), st.integers(40, 44), st.integers(1, 30))
    rows = draw(st.lists(row, max_size=16))
    return [
        Order(i, owner if both_sides else bytes([side]) + owner[1:], side, price, volume, i)
        for i, (owner, side, price, volume) in enumerate(rows)
    ]


merits = st.dictionaries(st.integers(0, 15), st.integers(0, 1))


def rank(order: Order, context: ClearingContext, rule: str) -> tuple[int, ...]:
    merit = context.merits.get(order.order_id, 0) if rule == "credit-weighted" else 0
    return order.side, merit, order.price_uyuan_per_kwh


def get_fills(book: list[Order], trades: list[Trade]) -> dict[int, int]:
    fills = dict.fromkeys((order.order_id for order in book), 0)
    for trade in trades:
        fills[trade.bid_id] += trade.volume_wh
        fills[trade.offer_id] += trade.volume_wh
    return fills


@pytest.mark.parametrize("rule", RULES)
@given(book=books(), merits=merits)
@settings(max_examples=60)
def test_trades_keep_to_limits_volumes_and_other_owners(rule, book, merits):
    trades = get_rule(rule)(book, ClearingContext(merits=merits, lottery=LOTTERY))
    orders = {order.order_id: order for order in book}
    for trade in trades:
        b, o = orders[trade.bid_id], orders[trade.offer_id]
        assert (b.side, o.side, b.owner, o.owner) == (Side.BID, Side.OFFER, trade.buyer, trade.seller)
        assert trade.buyer != trade.seller
        assert o.price_uyuan_per_kwh <= trade.price_uyuan_per_kwh <= b.price_uyuan_per_kwh
        assert trade.volume_wh > 0
    assert len({trade[:2] for trade in trades}) == len(trades), "one trade for a bid and an offer"
    fills = get_fills(book, trades)
    assert all(fills[order.order_id] <= order.volume_wh for order in book)


@pytest.mark.parametrize("rule", ["price-time", "credit-weighted", "pay-as-bid"])
@given(book=books(), merits=merits)
@settings(max_examples=60)
def test_no_bid_and_offer_of_different_owners_that_cross_are_left(rule, book, merits):
    trades = get_rule(rule)(book, ClearingContext(merits=merits, lottery=LOTTERY))
    fills = get_fills(book, trades)
    left = [order for order in book if fills[order.order_id] < order.volume_wh]
    bids, offers = ([order for order in left if order.side == side] for side in Side)
    assert not [(b, o) for b in bids for o in offers if b.owner != o.owner and b[3] >= o[3]]


@pytest.mark.parametrize("rule", RULES)
@given(book=books(both_sides=False), merits=merits)
@settings(max_examples=60)
def test_equals_share_in_proportion_and_all_of_them_get_what_they_get_by_time(rule, book, merits):
    context = ClearingContext(merits=merits, lottery=LOTTERY)
    shared = get_fills(book, get_rule(rule)(book, context))
    by_time = get_fills(book, get_rule(rule)(book, ClearingContext(merits=merits)))
    groups: dict[tuple[int, ...], list[Order]] = {}
    for order in book:
        groups.setdefault(rank(order, context, rule), []).append(order)
    for group in groups.values():
        total_wh = sum(shared[order.order_id] for order in group)
        assert total_wh == sum(by_time[order.order_id] for order in group)
        want_wh = sum(order.volume_wh for order in group)
        for owner in {order.owner for order in group}:
            own = [order for order in group if order.owner == owner]
            got_wh = sum(shared[order.order_id] for order in own)
            assert abs(got_wh * want_wh - total_wh * sum(order.volume_wh for order in own)) < want_wh, "within 1 Wh"


@pytest.mark.parametrize("rule", RULES)
@given(book=books(), merits=merits, rng=st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_neither_place_nor_the_order_of_the_input_matters(rule, book, merits, rng):
    """Orders are numbered and placed anew, each owner's in the order it had, as sequence numbers make it."""
    seats = [order.owner for order in book]
    rng.shuffle(seats)
    own = {owner: iter([order for order in book if order.owner == owner]) for owner in OWNERS}
    moved = [(place, next(own[owner])) for place, owner in enumerate(seats)]
    again = [order._replace(order_id=place, placed_at=place) for place, order in moved]
    new_merits = {place: merits.get(order.order_id, 0) for place, order in moved}
    rng.shuffle(again)

    def clear(orders: list[Order], merits: dict[int, int]) -> list[Trade]:
        return get_rule(rule)(orders, ClearingContext(merits=merits, lottery=LOTTERY))

    places = {order.order_id: place for place, order in moved}
    moved_trades = [t._replace(bid_id=places[t.bid_id], offer_id=places[t.offer_id]) for t in clear(book, merits)]
    assert clear(again, new_merits) == moved_trades


@pytest.mark.parametrize("rule", RULES)
@given(book=books(), data=st.data())
@settings(max_examples=60)
def test_splitting_ones_order_in_two_gains_nothing(rule, book, data):
    large = [order for order in book if order.volume_wh > 1]
    assume(large)
    chosen = data.draw(st.sampled_from(large))
    head = data.draw(st.integers(1, chosen.volume_wh - 1))
    split = [order for order in book if order != chosen]
    split += [chosen._replace(volume_wh=head), chosen._replace(volume_wh=chosen.volume_wh - head, order_id=16)]

    def weigh(orders: list[Order]) -> Counter[tuple[bytes, bytes, int]]:
        """Wh by buyer, seller and price."""
        sums: Counter[tuple[bytes, bytes, int]] = Counter()
        for trade in get_rule(rule)(orders, PRO_RATA):
            sums[trade.buyer, trade.seller, trade.price_uyuan_per_kwh] += trade.volume_wh
        return sums

    assert weigh(split) == weigh(book)


@given(books())
def test_without_a_lottery_the_earlier_is_served_first(book):
    assert get_rule("price-time")(book, ClearingContext()) == match_price_time(book)


@pytest.mark.parametrize("rule", RULES)
def test_many_equal_orders_cost_a_few_passes(rule):
    """A look at an owner for every pair of equals would be 10^7 of them."""
    count, looks = 3_000, 0

    class Owner(bytes):
        def __eq__(self, other: object) -> bool:
            nonlocal looks
            looks += 1
            assert looks < 300 * count, "more looks at an owner than some per order"
            return bytes.__eq__(self, other)

        __hash__ = bytes.__hash__

    eve = Owner(EVE)
    book = [bid(i, eve, 900, 2) for i in range(count)] + [offer(count + i, eve, 100, 2) for i in range(count)]
    book += [offer(2 * count + i, Owner(i.to_bytes(20, "big")), 100, 2) for i in range(count)]
    trades = get_rule(rule)(book, PRO_RATA)
    assert sum(trade.volume_wh for trade in trades) == 2 * count
    assert EVE not in by_owner(trades, Side.OFFER)
