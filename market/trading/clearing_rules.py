"""The rules by which a closed book may clear, behind one port, and what each makes of the same book.

Every rule keeps to the limits, fills in parts, never pairs an owner with itself and does not care for the order of
its input. Where volume is short, the order that stands first by the rule is served first, and equal orders, which only
the time of placing tells apart, by time or pro rata (`market.trading.ties`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Protocol

from ledger.hashing import Address
from market.credit.score import PPM
from market.errors import UnknownRule
from market.orders import Order, Side, Trade
from market.rounding import divide_half_up
from market.settlement import WH_PER_KWH
from market.trading.clearing import match_price_time
from market.trading.nearest import Neighbourhood, match_nearest
from market.trading.offer_queue import OfferQueue, serve_in_turn
from market.trading.ties import Lots, clear_pro_rata, ration


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearingContext:
    """The context that a rule may ask for besides the book."""

    merits: Mapping[int, int] = field(default_factory=dict)
    """By order id, 0 where there is none: matching weights (`compute_merits`) or the owners' credit."""
    k_ppm: int = PPM // 2
    """Where a uniform price lies among those that clear the book: 0 is the sellers' end, 1 000 000 the buyers'."""
    lottery: bytes | None = None
    """Equals share pro rata, their lots drawn from this (`make_lottery`); None: the earlier is served first."""
    neighbourhood: Neighbourhood | None = None
    """The target that the nearest offers are found by, and what they are like; None: nobody has set one."""


class ClearingRule(Protocol):
    """Turns a closed book into trades (prices in µ¥ per kWh, volumes in Wh), in the order they are made.

    Order ids are unique; volumes are positive and prices not negative, else it asserts.
    """

    def __call__(self, orders: Sequence[Order], context: ClearingContext, /) -> list[Trade]: ...


# --- the rules -----------------------------------------------------------------------------------


def clear_price_time(orders: Sequence[Order], context: ClearingContext) -> list[Trade]:
    """Step 3 of text 000: the best bid takes from the best offer, at the midpoint. See `match_price_time`."""
    if context.lottery is None:
        return match_price_time(orders)
    return clear_pro_rata(match_price_time, orders, _rank_by_price, context.lottery)


def clear_credit_weighted(orders: Sequence[Order], context: ClearingContext) -> list[Trade]:
    """Serve by merit those that prices let trade: credit matching (text 000, §4.2, step 4) as a call auction.

    Bids have their turn in descending merit; each takes, in descending merit, the offers that it crosses. Equal
    merits stand by price and time, so that a book without merits clears as `match_price_time` does. The price is the
    midpoint of the two limits, half up. No bid and offer of different owners that cross are left. Gains from trade
    may be: a bid of high merit may take the cheap offer that a low one needed, or trade where it adds little.
    """
    merits = context.merits

    def match(book: Sequence[Order]) -> list[Trade]:
        return _match_by_merit(book, merits)

    def rank(order: Order) -> tuple[int, int]:
        return merits.get(order.order_id, 0), order.price_uyuan_per_kwh

    return match(orders) if context.lottery is None else clear_pro_rata(match, orders, rank, context.lottery)


def _match_by_merit(orders: Iterable[Order], merits: Mapping[int, int]) -> list[Trade]:
    bids, offers = _split(orders)
    bids.sort(key=lambda order: -merits.get(order.order_id, 0))  # stable: equal merits stay by price and time
    offers.sort(key=lambda order: -merits.get(order.order_id, 0))
    queue = OfferQueue(offers)
    return serve_in_turn(
        bids,
        offers,
        lambda bid: queue.find_first(bid.price_uyuan_per_kwh, bid.owner),
        queue.remove,
        lambda bid, offer: (bid.price_uyuan_per_kwh + offer.price_uyuan_per_kwh + 1) >> 1,
    )


def clear_uniform_price(orders: Sequence[Order], context: ClearingContext) -> list[Trade]:
    """One price for all: the k-double auction (Satterthwaite and Williams 1989), in Wh rather than single units.

    As much is traded as limits allow: the most willing on both sides, by price and time. Of the prices that clear the
    book, at which no order left out would rather trade and none in it rather not, the one at `k_ppm` of the way up is
    paid, half up. Gains from trade are the highest there are, unless something lapses:

    what an owner would have to trade with itself does, on both sides, beginning with its least willing orders. It is
    the volume by which its own bids and offers together exceed what is traded, and only one owner can have any. What
    is left of this one owner's orders may cross others that the price leaves out; nothing else that is left crosses.
    """
    assert 0 <= context.k_ppm <= PPM, "k is 0 … 1"
    lots = None if context.lottery is None else Lots.draw(context.lottery, [order.owner for order in orders])
    bids, offers, low, high = _select_crossing(orders, lots)
    price = divide_half_up(low * PPM + context.k_ppm * (high - low), PPM)
    _drop_own(bids, offers)
    return _pair_up(bids, offers, price)


def clear_pay_as_bid(orders: Sequence[Order], context: ClearingContext) -> list[Trade]:
    """The pairs of `clear_price_time`, each at its bid's limit: the discriminatory auction with k = 1.

    A bid is here the buyer's order, and the buyer pays what it bid; the seller has the whole gain. Where only
    generators bid, as in the pools that the term comes from, it means that each is paid what *it* asked for. That
    cannot be meant as well: with each side at its own limit the difference would belong to neither.
    """
    limits = {order.order_id: order.price_uyuan_per_kwh for order in orders if order.side == Side.BID}
    return [trade._replace(price_uyuan_per_kwh=limits[trade.bid_id]) for trade in clear_price_time(orders, context)]


def clear_knn(orders: Sequence[Order], context: ClearingContext) -> list[Trade]:
    """The nearest neighbour (text 001, step 8): by price and time, bids take the offers nearest to the target.

    Prices let trade as ever: an offer that asks more than is bid is no neighbour, however near. The price is the
    target's, but no lower than is asked and no higher than is bid. A book without a target clears by price and time.
    """
    near = context.neighbourhood
    if near is None:
        return clear_price_time(orders, context)

    numbers = {features: number for number, features in enumerate(sorted(set(near.offers.values())))}

    def match(book: Sequence[Order]) -> list[Trade]:
        return match_nearest(*_split(book), near)

    def rank(order: Order) -> tuple[int, ...]:
        if order.side == Side.BID:
            return (order.price_uyuan_per_kwh,)
        features = near.offers[order.order_id]
        nearness = near.compute_distance(features, near.target) if near.is_one else numbers[features]
        return order.price_uyuan_per_kwh, nearness

    return match(orders) if context.lottery is None else clear_pro_rata(match, orders, rank, context.lottery)


RULES: Mapping[str, ClearingRule] = MappingProxyType(
    {
        "price-time": clear_price_time,
        "credit-weighted": clear_credit_weighted,
        "uniform-price": clear_uniform_price,
        "pay-as-bid": clear_pay_as_bid,
        "knn": clear_knn,
    }
)


def is_by_merit(name: str) -> bool:
    """Return True if the rule asks for merits."""
    return RULES.get(name) is clear_credit_weighted


def is_by_target(name: str) -> bool:
    """Return True if the rule asks for a target."""
    return RULES.get(name) is clear_knn


def get_rule(name: str) -> ClearingRule:
    """Raises `UnknownRule`."""
    rule = RULES.get(name)
    if rule is None:
        raise UnknownRule(name=name, known=", ".join(RULES))
    return rule


# --- what they make of one book ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOutcome:
    """One rule's result on a book. Prices are µ¥ per kWh, None without trades; the mean is by volume, half up.

    Welfare is what the buyers' limits exceed the sellers' by, over all that is traded, rounded half up once: the
    buyers' gain below their limits and the sellers' above theirs. It takes the limits for true.
    """

    rule: str
    trade_count: int
    volume_wh: int
    welfare_uyuan: int
    buyer_gain_uyuan: int
    seller_gain_uyuan: int
    low_price: int | None
    high_price: int | None
    mean_price: int | None
    bought_wh: tuple[tuple[Address, int], ...]  # by address, ascending; only those that traded
    sold_wh: tuple[tuple[Address, int], ...]


def compare_rules(
    orders: Sequence[Order], context: ClearingContext | None = None, *, rules: Iterable[str] = tuple(RULES)
) -> list[RuleOutcome]:
    """Clear one book by each of the named rules. Raises `UnknownRule`."""
    context = context or ClearingContext()
    chosen = [(name, get_rule(name)) for name in rules]
    return [assess_trades(name, orders, rule(orders, context)) for name, rule in chosen]


def assess_trades(rule: str, orders: Sequence[Order], trades: Sequence[Trade]) -> RuleOutcome:
    """Measure the outcome of trades between these orders: volume, value, gains, and who is served."""
    limits = {order.order_id: order.price_uyuan_per_kwh for order in orders}
    volume_wh = value = gain = buyer_gain = 0  # the last three in Wh · µ¥/kWh
    bought_wh: dict[Address, int] = {}
    sold_wh: dict[Address, int] = {}
    for bid_id, offer_id, buyer, seller, price, traded_wh in trades:
        volume_wh += traded_wh
        value += traded_wh * price
        gain += traded_wh * (limits[bid_id] - limits[offer_id])
        buyer_gain += traded_wh * (limits[bid_id] - price)
        bought_wh[buyer] = bought_wh.get(buyer, 0) + traded_wh
        sold_wh[seller] = sold_wh.get(seller, 0) + traded_wh
    welfare_uyuan = divide_half_up(gain, WH_PER_KWH)
    buyer_gain_uyuan = divide_half_up(buyer_gain, WH_PER_KWH)
    prices = [trade.price_uyuan_per_kwh for trade in trades]
    return RuleOutcome(
        rule=rule,
        trade_count=len(trades),
        volume_wh=volume_wh,
        welfare_uyuan=welfare_uyuan,
        buyer_gain_uyuan=buyer_gain_uyuan,
        seller_gain_uyuan=welfare_uyuan - buyer_gain_uyuan,
        low_price=min(prices, default=None),
        high_price=max(prices, default=None),
        mean_price=divide_half_up(value, volume_wh) if volume_wh else None,
        bought_wh=tuple(sorted(bought_wh.items())),
        sold_wh=tuple(sorted(sold_wh.items())),
    )


# --- the book, most willing first ----------------------------------------------------------------


def _rank_by_price(order: Order) -> tuple[int]:
    return (order.price_uyuan_per_kwh,)


def _split(orders: Iterable[Order]) -> tuple[list[Order], list[Order]]:
    """The bids and the offers, each by (price, best first; placed_at; order_id)."""
    bids: list[Order] = []
    offers: list[Order] = []
    for order in orders:
        assert order.price_uyuan_per_kwh >= 0, "an order has a negative price"
        assert order.volume_wh > 0, "an order has no volume"
        (bids if order.side == Side.BID else offers).append(order)
    bids.sort(key=lambda order: (-order.price_uyuan_per_kwh, order.placed_at, order.order_id))
    offers.sort(key=lambda order: (order.price_uyuan_per_kwh, order.placed_at, order.order_id))
    return bids, offers


# --- one price -----------------------------------------------------------------------------------


class _Fill(NamedTuple):
    """An order, and how much of it is traded."""

    order: Order
    volume_wh: int


def _select_crossing(orders: Sequence[Order], lots: Lots | None) -> tuple[list[_Fill], list[_Fill], int, int]:
    """Fill the most willing bids and offers as long as they cross, of any owners; and find the prices that clear that.

    Such a price is at least the dearest offer filled and the best bid not filled up, and at most the lowest bid filled
    and the best offer not filled up. Where nothing crosses the fills are empty and the prices mean nothing.
    With `lots`, equals share what is filled of them and stand by their lots; that changes no price.
    """
    bids, offers = _split(orders if lots is None else lots.line_up(orders))
    unmet = [bid.volume_wh for bid in bids]
    unsold = [offer.volume_wh for offer in offers]
    i = j = low = high = 0
    while i < len(bids) and j < len(offers) and bids[i].price_uyuan_per_kwh >= offers[j].price_uyuan_per_kwh:
        low, high = offers[j].price_uyuan_per_kwh, bids[i].price_uyuan_per_kwh
        volume = min(unmet[i], unsold[j])
        unmet[i] -= volume
        unsold[j] -= volume
        i += not unmet[i]
        j += not unsold[j]
    if i < len(bids):
        low = max(low, bids[i].price_uyuan_per_kwh)
    if j < len(offers):
        high = min(high, offers[j].price_uyuan_per_kwh)
    book, rests_wh = [*bids, *offers], [*unmet, *unsold]
    filled_wh = {order.order_id: order.volume_wh - rest for order, rest in zip(book, rests_wh, strict=True)}
    if lots is not None:
        filled_wh = ration(book, filled_wh, _rank_by_price, lots)
    return _list_fills(bids, filled_wh), _list_fills(offers, filled_wh), low, high


def _list_fills(orders: Iterable[Order], filled_wh: Mapping[int, int]) -> list[_Fill]:
    return [_Fill(order, filled) for order in orders if (filled := filled_wh[order.order_id])]


def _drop_own(bids: list[_Fill], offers: list[_Fill]) -> None:
    """Take from both sides what one owner would have to trade with itself, however the sides are paired."""
    volume_wh = sum(fill.volume_wh for fill in bids)
    filled_wh: dict[Address, int] = {}
    for order, filled in (*bids, *offers):
        filled_wh[order.owner] = filled_wh.get(order.owner, 0) + filled
    for owner, filled in filled_wh.items():
        if filled > volume_wh:
            _trim(bids, owner, filled - volume_wh)
            _trim(offers, owner, filled - volume_wh)


def _trim(fills: list[_Fill], owner: Address, excess_wh: int) -> None:
    """Cut an owner's fills by so much, the least willing first."""
    for index in reversed(range(len(fills))):
        order, filled = fills[index]
        if order.owner == owner:
            cut = min(filled, excess_wh)
            excess_wh -= cut
            fills[index] = _Fill(order, filled - cut)
    fills[:] = [fill for fill in fills if fill.volume_wh]


def _pair_up(bids: list[_Fill], offers: list[_Fill], price: int) -> list[Trade]:
    """Trades that use up both sides without pairing an owner with itself, in one pass.

    Bids lie end to end on a circle as long as the volume, owner after owner, offers on another with the owners in the
    same order. The second is turned until every owner's offers begin where its bids end, or later. With B and O the
    volumes before owner a, a turn by max over a of (B + a's bids - O) does it, and no offer comes round to its
    owner's bids from the other side: that follows from no owner having more on both sides than the whole volume.
    Owners stand by their most willing order, so that where no owner is on both sides nothing is turned, and the most
    willing buyer meets the most willing seller.
    """
    place = {owner: index for index, owner in enumerate(dict.fromkeys(fill.order.owner for fill in (*bids, *offers)))}
    bids = sorted(bids, key=lambda fill: place[fill.order.owner])
    offers = sorted(offers, key=lambda fill: place[fill.order.owner])
    volume_wh = sum(fill.volume_wh for fill in bids)
    offers = _turn(offers, volume_wh - _compute_turn(bids, offers, place))
    trades: list[Trade] = []
    j = used = 0
    for bid, wanted in bids:
        while wanted:
            offer, filled = offers[j]
            volume = min(wanted, filled - used)
            trades.append(Trade(bid.order_id, offer.order_id, bid.owner, offer.owner, price, volume))
            wanted -= volume
            used += volume
            if used == filled:
                j, used = j + 1, 0
    return trades


def _compute_turn(bids: Sequence[_Fill], offers: Sequence[_Fill], place: Mapping[Address, int]) -> int:
    bid_wh, offer_wh = [0] * len(place), [0] * len(place)
    for order, filled in bids:
        bid_wh[place[order.owner]] += filled
    for order, filled in offers:
        offer_wh[place[order.owner]] += filled
    turn = bids_end = offers_start = 0
    for bought, sold in zip(bid_wh, offer_wh, strict=True):
        bids_end += bought
        turn = max(turn, bids_end - offers_start)
        offers_start += sold
    return turn


def _turn(offers: Sequence[_Fill], start_wh: int) -> list[_Fill]:
    """The same offers end to end, read from `start_wh` on and round; the one that lies across it is cut in two."""
    before: list[_Fill] = []
    after: list[_Fill] = []
    for order, filled in offers:
        head = min(filled, start_wh)
        start_wh -= head
        before.append(_Fill(order, head))
        after.append(_Fill(order, filled - head))
    return [fill for fill in (*after, *before) if fill.volume_wh]
