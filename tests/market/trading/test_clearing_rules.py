"""Clearing rules: worked books, what every rule promises for every book, and that one price loses no welfare."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import UnknownRule
from market.orders import Order, Side, Trade
from market.trading.clearing import match_price_time
from market.trading.clearing_rules import RULES, ClearingContext, assess_trades, compare_rules, get_rule

ANN, BEN, CLEO, EVE = (bytes([letter]) * 20 for letter in b"abce")
PLAIN = ClearingContext()


def bid(order_id: int, owner: bytes, price: int, volume: int, placed_at: int | None = None) -> Order:
    return Order(order_id, owner, Side.BID, price, volume, order_id if placed_at is None else placed_at)


def offer(order_id: int, owner: bytes, price: int, volume: int, placed_at: int | None = None) -> Order:
    return Order(order_id, owner, Side.OFFER, price, volume, order_id if placed_at is None else placed_at)


def clear(rule: str, book: list[Order], *, merits: dict[int, int] | None = None, k_ppm: int = 500_000) -> list[Trade]:
    return get_rule(rule)(book, ClearingContext(merits=merits or {}, k_ppm=k_ppm))


def met(trades: list[Trade]) -> list[tuple[int, int, int, int]]:
    """(bid, offer, price, volume) of each trade."""
    return [(t.bid_id, t.offer_id, t.price_uyuan_per_kwh, t.volume_wh) for t in trades]


# bids   1: ann 10 @ 60   2: ben 10 @ 50   3: cleo 10 @ 44
# offers 4: eve 15 @ 40   5: eve 10 @ 46
BOOK = [bid(1, ANN, 60, 10), bid(2, BEN, 50, 10), bid(3, CLEO, 44, 10), offer(4, EVE, 40, 15), offer(5, EVE, 46, 10)]


# --- the port ------------------------------------------------------------------------------------


def test_the_rules_by_name():
    assert tuple(RULES) == ("price-time", "credit-weighted", "uniform-price", "pay-as-bid", "knn")
    with pytest.raises(UnknownRule, match=r"called 'lottery', there are price-time, credit-weighted"):
        get_rule("lottery")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("book", [[], [bid(1, ANN, 50, 1)], [offer(1, ANN, 50, 1)]])
def test_a_book_without_two_sides_does_not_trade(rule, book):
    assert clear(rule, book) == []


@pytest.mark.parametrize("rule", RULES)
def test_an_invalid_order_is_a_bug_of_the_caller(rule):
    for broken in (bid(1, ANN, 50, 0), offer(1, ANN, 50, -1), bid(1, ANN, -1, 10)):
        with pytest.raises(AssertionError):
            clear(rule, [broken, offer(2, EVE, 50, 10)])


# --- worked books --------------------------------------------------------------------------------


def test_price_time():
    assert met(clear("price-time", BOOK)) == [(1, 4, 50, 10), (2, 4, 45, 5), (2, 5, 48, 5)]


def test_pay_as_bid_pairs_alike_and_the_buyer_pays_its_limit():
    assert met(clear("pay-as-bid", BOOK)) == [(1, 4, 60, 10), (2, 4, 50, 5), (2, 5, 50, 5)]


def test_one_price_is_set_by_the_order_that_is_filled_in_part():
    # demand 60 60 … 50 50 | 44   supply 40 40 … 46 46 | 46: twenty are traded, offer 5 is left with five at 46
    for k_ppm in (0, 500_000, 1_000_000):
        assert met(clear("uniform-price", BOOK, k_ppm=k_ppm)) == [(1, 4, 46, 10), (2, 4, 46, 5), (2, 5, 46, 5)]


@pytest.mark.parametrize(("k_ppm", "price"), [(0, 46), (250_000, 47), (500_000, 48), (1_000_000, 50), (375_000, 48)])
def test_where_volumes_meet_k_says_who_gains(k_ppm, price):
    # twenty at 50 or more, twenty at 46 or less; cleo's 44 is left out and would not pay 46
    book = [*BOOK[:4], offer(5, EVE, 46, 5)]
    assert {t.price_uyuan_per_kwh for t in clear("uniform-price", book, k_ppm=k_ppm)} == {price}


def test_who_is_left_out_would_not_rather_trade_at_the_price():
    # cleo's 48 is left out, and so is an offer at 49: the price is between them, not between 46 and 50
    book = [*BOOK[:2], bid(3, CLEO, 48, 10), offer(4, EVE, 40, 15), offer(5, EVE, 46, 5), offer(6, EVE, 49, 5)]
    assert {t.price_uyuan_per_kwh for t in clear("uniform-price", book, k_ppm=0)} == {48}
    assert {t.price_uyuan_per_kwh for t in clear("uniform-price", book, k_ppm=1_000_000)} == {49}


def test_the_one_with_merit_is_served_first_though_it_bids_less():
    # ben comes first and takes the better offer; ann gets what is left of it and of the other; nothing for cleo
    assert met(clear("credit-weighted", BOOK, merits={1: 1, 2: 9, 3: 0})) == [
        (2, 4, 45, 10),
        (1, 4, 50, 5),
        (1, 5, 53, 5),
    ]


def test_merit_does_not_help_against_limits_that_do_not_cross():
    # offer 5 has more merit, and cleo, first of all, cannot pay it
    assert met(clear("credit-weighted", BOOK, merits={3: 9, 5: 9})) == [(3, 4, 42, 10), (1, 5, 53, 10), (2, 4, 45, 5)]


@pytest.mark.parametrize("rule", RULES)
def test_equal_prices_are_served_in_order_of_placement(rule):
    book = [bid(1, ANN, 50, 10, placed_at=7), bid(2, BEN, 50, 10, placed_at=3), offer(3, EVE, 50, 15)]
    assert met(clear(rule, book)) == [(2, 3, 50, 10), (1, 3, 50, 5)]


@pytest.mark.parametrize("rule", RULES)
def test_nobody_trades_with_itself(rule):
    # ann would buy at 9 and sell at 1: she buys of eve and sells to ben
    book = [bid(1, ANN, 9, 10), bid(2, BEN, 8, 10), offer(3, ANN, 1, 10), offer(4, EVE, 2, 10)]
    assert sorted(pair[:2] for pair in met(clear(rule, book))) == [(1, 4), (2, 3)]


def test_what_one_owner_would_trade_with_itself_lapses_at_one_price():
    # ten at 9 meet ten at 1, both ann's; no price is right for both eve and ben, and one rule has but one price
    book = [bid(1, ANN, 9, 10), offer(2, ANN, 1, 10), bid(3, BEN, 3, 10), offer(4, EVE, 7, 10)]
    assert clear("uniform-price", book) == []
    assert met(clear("price-time", book)) == [(1, 4, 8, 10), (3, 2, 2, 10)]


def test_only_what_exceeds_the_others_lapses_and_the_least_willing_first():
    # ann buys 6 and sells 8 of 10 in all: 4 of each lapse, of bid 2 first, and the others trade with her
    book = [bid(1, ANN, 90, 3), bid(2, ANN, 80, 3), bid(3, BEN, 70, 4), offer(4, ANN, 10, 8), offer(5, EVE, 20, 2)]
    trades = clear("uniform-price", book)
    assert met(trades) == [(1, 5, 45, 2), (3, 4, 45, 4)]


# --- for every book ------------------------------------------------------------------------------


@st.composite
def books(draw: st.DrawFn, owners: int = 3, max_size: int = 20, max_volume: int = 9) -> list[Order]:
    """Books with ties, few owners and overlapping prices: own offers in the way, and partial fills."""
    order = st.tuples(
        st.sampled_from([ANN, BEN, EVE][:owners]),
        st.sampled_from(Side),
        st.integers(0, 12),
        st.integers(1, max_volume),
        st.integers(0, 5),
    )
    rows = draw(st.lists(order, max_size=max_size))
    return draw(st.permutations([Order(i, *row) for i, row in enumerate(rows)]))


contexts = st.builds(
    ClearingContext,
    merits=st.dictionaries(st.integers(0, 19), st.integers(0, 3)),
    k_ppm=st.sampled_from([0, 1, 333_333, 500_000, 1_000_000]),
)


def get_rests(book: list[Order], trades: list[Trade]) -> dict[int, int]:
    """The rest of each order in Wh, by id."""
    left = {order.order_id: order.volume_wh for order in book}
    for trade in trades:
        left[trade.bid_id] -= trade.volume_wh
        left[trade.offer_id] -= trade.volume_wh
    return left


def find_crossing(book: list[Order], trades: list[Trade]) -> list[tuple[Order, Order]]:
    """Bids and offers of different owners that are left although they cross."""
    left = get_rests(book, trades)
    bids = [order for order in book if order.side == Side.BID and left[order.order_id]]
    offers = [order for order in book if order.side == Side.OFFER and left[order.order_id]]
    return [(b, o) for b in bids for o in offers if b.owner != o.owner and b[3] >= o[3]]


def spread_owners(book: list[Order]) -> list[Order]:
    """The same book with every order somebody's own: nothing is then in anybody's way."""
    return [order._replace(owner=order.order_id.to_bytes(20, "big")) for order in book]


@pytest.mark.parametrize("rule", RULES)
@given(book=books(), context=contexts)
@settings(max_examples=40)
def test_trades_keep_to_the_limits_the_volumes_and_other_owners(rule, book, context):
    trades = get_rule(rule)(book, context)
    orders = {order.order_id: order for order in book}
    for trade in trades:
        b, o = orders[trade.bid_id], orders[trade.offer_id]
        assert (b.side, o.side, b.owner, o.owner) == (Side.BID, Side.OFFER, trade.buyer, trade.seller)
        assert trade.buyer != trade.seller
        assert trade.volume_wh > 0
        assert o.price_uyuan_per_kwh <= trade.price_uyuan_per_kwh <= b.price_uyuan_per_kwh
    assert min(get_rests(book, trades).values(), default=0) >= 0
    assert len({trade[:2] for trade in trades}) == len(trades), "one trade for a bid and an offer"
    assert len(trades) <= len(book) + 1


@pytest.mark.parametrize("rule", RULES)
@given(book=books(), context=contexts, rng=st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_the_order_of_the_input_does_not_matter(rule, book, context, rng):
    shuffled = list(book)
    rng.shuffle(shuffled)
    assert get_rule(rule)(shuffled, context) == get_rule(rule)(book, context)


@pytest.mark.parametrize("rule", ["price-time", "credit-weighted", "pay-as-bid"])
@given(book=books(), context=contexts)
@settings(max_examples=40)
def test_no_bid_and_offer_of_different_owners_that_cross_are_left(rule, book, context):
    assert find_crossing(book, get_rule(rule)(book, context)) == []


@given(books())
def test_without_merits_merit_clears_as_price_and_time_do(book):
    assert clear("credit-weighted", book) == match_price_time(book)


def clear_by_search(book: list[Order], merits: dict[int, int]) -> list[Trade]:
    """Merit read aloud: each bid in turn searches all offers, most merit first."""

    def stand(order: Order) -> tuple[int, ...]:
        price = order.price_uyuan_per_kwh
        best = -price if order.side == Side.BID else price
        return -merits.get(order.order_id, 0), best, order.placed_at, order.order_id

    left = {order.order_id: order.volume_wh for order in book}
    trades = []
    for b in sorted((order for order in book if order.side == Side.BID), key=stand):
        for o in sorted((order for order in book if order.side == Side.OFFER), key=stand):
            volume = min(left[b.order_id], left[o.order_id])
            if volume and b.owner != o.owner and b.price_uyuan_per_kwh >= o.price_uyuan_per_kwh:
                price = (b.price_uyuan_per_kwh + o.price_uyuan_per_kwh + 1) // 2
                trades.append(Trade(b.order_id, o.order_id, b.owner, o.owner, price, volume))
                left[b.order_id] -= volume
                left[o.order_id] -= volume
    return trades


@given(books(), contexts)
def test_merit_clears_as_the_rule_reads(book, context):
    assert clear("credit-weighted", book, merits=dict(context.merits)) == clear_by_search(book, dict(context.merits))


@pytest.mark.parametrize(("rule", "bought_by_ben"), [("credit-weighted", 3_000), ("uniform-price", 1_500)])
def test_many_orders_of_one_owner_cost_no_more_than_a_path_each(rule, bought_by_ben):
    """Eve stands in front on both sides. Were each of her bids to pass all her offers anew: 10^7 looks.

    At one price her bids keep ben, who bids less, from her offers, and then cannot have them either.
    """
    count = 3_000
    looks = 0

    class Owner(bytes):
        def __eq__(self, other: object) -> bool:
            nonlocal looks
            looks += 1
            assert looks < 200 * count, "more looks at an owner than some per order"
            return bytes.__eq__(self, other)

        __hash__ = bytes.__hash__

    eve = Owner(EVE)
    book = [bid(i, eve, 900, 1) for i in range(count)] + [offer(count + i, eve, 100, 1) for i in range(count)]
    book += [offer(2 * count, ANN, 200, count // 2), bid(2 * count + 1, BEN, 800, count)]
    trades = clear(rule, book)
    assert sum(trade.volume_wh for trade in trades if trade.seller == ANN) == count // 2
    assert sum(trade.volume_wh for trade in trades if trade.buyer == BEN) == bought_by_ben


# --- one price -----------------------------------------------------------------------------------


@given(books(), contexts)
def test_there_is_one_price_and_nobody_left_out_would_rather_trade_at_it(book, context):
    trades = get_rule("uniform-price")(book, context)
    prices = {trade.price_uyuan_per_kwh for trade in trades}
    assert len(prices) <= 1
    left = get_rests(book, trades)
    lapsed: dict[bytes, list[int]] = {}
    for price in prices:
        for order in book:
            would = order.price_uyuan_per_kwh > price if order.side == Side.BID else order.price_uyuan_per_kwh < price
            if would and left[order.order_id]:
                lapsed.setdefault(order.owner, [0, 0])[order.side] += left[order.order_id]
    assert len(lapsed) <= 1, "only one owner can stand in its own way"


@given(books(), contexts)
def test_one_price_leaves_only_orders_of_one_owner_on_both_sides_crossing(book, context):
    crossing = find_crossing(book, get_rule("uniform-price")(book, context))
    both = [
        owner
        for owner in (ANN, BEN, EVE)
        if {order.side for order in book if order.owner == owner} == {Side.BID, Side.OFFER}
        and all(owner in (b.owner, o.owner) for b, o in crossing)
    ]
    assert not crossing or both


@given(books(), contexts)
def test_one_price_trades_all_that_crosses_but_what_one_owner_would_trade_with_itself(book, context):
    rule = get_rule("uniform-price")
    whole = rule(spread_owners(book), context)
    volume_wh = sum(trade.volume_wh for trade in whole)
    own_wh = dict.fromkeys((ANN, BEN, EVE), 0)
    owners = {order.order_id: order.owner for order in book}
    for trade in whole:
        own_wh[owners[trade.bid_id]] += trade.volume_wh
        own_wh[owners[trade.offer_id]] += trade.volume_wh
    trades = rule(book, context)
    assert sum(trade.volume_wh for trade in trades) == volume_wh - max(0, *(own - volume_wh for own in own_wh.values()))
    assert {trade.price_uyuan_per_kwh for trade in trades} <= {trade.price_uyuan_per_kwh for trade in whole}


def find_most_welfare(book: list[Order]) -> int:
    """The most that bids can exceed offers by, in Wh · µ¥/kWh, tried Wh by Wh: every way to pair them."""
    bids = [order for order in book if order.side == Side.BID for _ in range(order.volume_wh)]
    offers = [order for order in book if order.side == Side.OFFER for _ in range(order.volume_wh)]

    @cache
    def search(index: int, free: int) -> int:
        if index == len(bids):
            return 0
        most = search(index + 1, free)
        for j, o in enumerate(offers):
            if free >> j & 1 and bids[index].owner != o.owner:
                gain = bids[index].price_uyuan_per_kwh - o.price_uyuan_per_kwh
                most = max(most, gain + search(index + 1, free & ~(1 << j)))
        return most

    return search(0, (1 << len(offers)) - 1)


def measure_welfare(book: list[Order], trades: list[Trade]) -> int:
    limits = {order.order_id: order.price_uyuan_per_kwh for order in book}
    return sum(trade.volume_wh * (limits[trade.bid_id] - limits[trade.offer_id]) for trade in trades)


small_books = books(max_size=6, max_volume=2)


@given(small_books, contexts)
def test_one_price_loses_no_welfare_where_nobody_stands_in_its_own_way(book, context):
    book = spread_owners(book)
    assert measure_welfare(book, get_rule("uniform-price")(book, context)) == find_most_welfare(book)


@given(small_books, contexts)
def test_no_rule_makes_more_welfare_than_there_is(book, context):
    most = find_most_welfare(book)
    assert all(measure_welfare(book, rule(book, context)) <= most for rule in RULES.values())


# --- the comparison ------------------------------------------------------------------------------


def test_the_comparison_of_a_worked_book():
    book = [order._replace(price_uyuan_per_kwh=order.price_uyuan_per_kwh * 10_000) for order in BOOK]
    by_rule = {outcome.rule: outcome for outcome in compare_rules(book, ClearingContext(merits={3: 9}))}
    assert tuple(by_rule) == tuple(RULES)
    # 10 Wh gain 0.20, 5 Wh 0.10 and 5 Wh 0.04 yuan per kWh: 2700 µ¥ in all, half of it to each side
    outcome = by_rule["price-time"]
    assert (outcome.trade_count, outcome.volume_wh) == (3, 20)
    assert (outcome.welfare_uyuan, outcome.buyer_gain_uyuan, outcome.seller_gain_uyuan) == (2_700, 1_350, 1_350)
    assert (outcome.low_price, outcome.high_price, outcome.mean_price) == (450_000, 500_000, 482_500)
    assert (outcome.bought_wh, outcome.sold_wh) == (((ANN, 10), (BEN, 10)), ((EVE, 20),))
    # at one price of 0.46, ann gains 1400, ben 400, eve 900
    outcome = by_rule["uniform-price"]
    assert (outcome.welfare_uyuan, outcome.buyer_gain_uyuan, outcome.seller_gain_uyuan) == (2_700, 1_800, 900)
    assert (outcome.low_price, outcome.high_price, outcome.mean_price) == (460_000, 460_000, 460_000)
    outcome = by_rule["pay-as-bid"]
    assert (outcome.buyer_gain_uyuan, outcome.seller_gain_uyuan) == (0, 2_700)
    # cleo's merit gets her ten Wh at a gain of 0.04, ann five at 0.20 and five at 0.14, ben five at 0.04
    outcome = by_rule["credit-weighted"]
    assert (outcome.volume_wh, outcome.welfare_uyuan) == (25, 2_300)
    assert outcome.bought_wh == ((ANN, 10), (BEN, 5), (CLEO, 10))


def test_a_book_that_does_not_trade_has_no_prices():
    (outcome,) = compare_rules([bid(1, ANN, 5, 1)], rules=["uniform-price"])
    assert (outcome.low_price, outcome.high_price, outcome.mean_price) == (None, None, None)
    assert (outcome.trade_count, outcome.volume_wh, outcome.welfare_uyuan) == (0, 0, 0)


def test_an_unknown_rule_is_refused_before_any_is_run():
    with pytest.raises(UnknownRule):
        compare_rules([bid(1, ANN, 5, 0)], rules=["price-time", "lottery"])


@given(books(), contexts)
def test_the_outcome_adds_up(book, context):
    for outcome in compare_rules(book, context):
        assert sum(wh for _, wh in outcome.bought_wh) == sum(wh for _, wh in outcome.sold_wh) == outcome.volume_wh
        assert outcome.welfare_uyuan == outcome.buyer_gain_uyuan + outcome.seller_gain_uyuan
        assert min(outcome.buyer_gain_uyuan, outcome.seller_gain_uyuan) >= 0
        if outcome.volume_wh:
            assert outcome.low_price <= outcome.mean_price <= outcome.high_price
    first = compare_rules(book, context)[0]
    assert first == assess_trades("price-time", book, match_price_time(book))
