"""The nearest neighbour of a target among quotes (text 001, step 8), in integers, so that every node finds the same.

A quote is described by features of 0 … 1000. Each counts by a factor, the squares add up to a distance, and nearer
offers are served first; at one distance the cheaper, then the earlier. Where all bids look for one target, offers are
sorted once; where each looks for it around its own place, once for each line and area. Where bids have targets of their
own, offers stand in k-d trees (`quote_tree`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from ledger.params import NearnessFactors
from market.credit.score import FULL_CREDIT_UPT, PPM
from market.orders import Order, Trade
from market.trading.matching_weight import WeightedOrder
from market.trading.offer_queue import OfferQueue, serve_in_turn
from market.trading.quote_tree import NOBODY, Neighbour, Point, QuoteTree

STEPS = 1_000
MAX_FACTOR = 8

_SAME_AREA = STEPS // 2


class Place(NamedTuple):
    """The line and the area of a quote; empty where unknown, and an unknown one is near no other."""

    line: str = ""
    area: str = ""

    def compute_steps(self, other: Place) -> int:
        """The steps between two places: 0 on one line, 500 in one area, 1000 else."""
        if self.line and self.line == other.line:
            return 0
        return _SAME_AREA if self.area and self.area == other.area else STEPS


class Features(NamedTuple):
    """A quote as others compare it: each of 0 … 1000 steps, and its place."""

    price: int
    volume: int = 0
    credit: int = 0
    renewable: int = 0
    place: Place = Place()


class Factors(NamedTuple):
    """The weight of a step of each feature, 0 … 8: a squared distance is then below 2^31."""

    price: int = 1
    volume: int = 0
    credit: int = 0
    renewable: int = 0
    position: int = 0

    @classmethod
    def of(cls, nearness: NearnessFactors) -> Factors:
        """Those of a chain's parameters."""
        return cls(**nearness.model_dump())


PRICE_ALONE = Factors()


class Target(NamedTuple):
    """The quote that is looked for, and its price in µ¥ per kWh."""

    price_uyuan_per_kwh: int
    features: Features


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """All that the nearest offer is found by: the hour's target, and what the offers are like, by order id."""

    target: Target
    offers: Mapping[int, Features]
    factors: Factors = PRICE_ALONE
    own_targets: Mapping[int, Target] = field(default_factory=dict)
    """By the order id of a bid that looks for something else."""
    places: Mapping[int, Place] = field(default_factory=dict)
    """By the order id of a bid, of all or none: each looks for the target, but around its own place."""

    @property
    def is_one(self) -> bool:
        """True where an offer is as near to every bid."""
        return not (self.own_targets or self.places)

    def find_target(self, bid: Order) -> Target:
        """The target that a bid looks for."""
        return self.own_targets.get(bid.order_id, self.target)

    def compute_distance(self, features: Features, target: Target) -> int:
        """The square of the distance between a quote and a target, in squared steps."""
        squares = sum((a - b) ** 2 for a, b in zip(self.locate(features), self.locate(target.features), strict=True))
        return squares + self.compute_way(features.place, target.features.place)

    def locate(self, features: Features) -> Point:
        """The point at which a quote stands, wherever its place is; an axis for each feature that counts."""
        *steps, _ = features
        *factors, _ = self.factors
        return tuple(factor * step for factor, step in zip(factors, steps, strict=True) if factor)

    def compute_way(self, here: Place, there: Place) -> int:
        """The part of the squared distance that is their places'."""
        return (self.factors.position * here.compute_steps(there)) ** 2


def match_nearest(bids: Sequence[Order], offers: Sequence[Order], near: Neighbourhood) -> list[Trade]:
    """Serve bids in their order: each takes what it crosses of other owners, nearest first, in parts.

    Offers stand by price and time, and so do those at one distance. The price is the target's, but no lower than is
    asked and no higher than is bid.
    """

    def clamp(bid: Order, offer: Order) -> int:
        target = near.find_target(bid).price_uyuan_per_kwh
        return min(max(target, offer.price_uyuan_per_kwh), bid.price_uyuan_per_kwh)

    if not near.is_one:
        lookup = _Districts(offers, near) if near.places else _Grove(offers, near)
        return serve_in_turn(bids, offers, lookup.find, lookup.remove, clamp)
    ranked = sorted(offers, key=lambda offer: near.compute_distance(near.offers[offer.order_id], near.target))
    queue = OfferQueue(ranked)
    return serve_in_turn(
        bids, ranked, lambda bid: queue.find_first(bid.price_uyuan_per_kwh, bid.owner), queue.remove, clamp
    )


class _Districts:
    """The offers of each line, of each area and of all, in the order of their distance but for the way.

    A bid looks at the first of its line, of its area and of all. That the last two may stand nearer than they are taken
    for does no harm: they come first where they are.
    """

    def __init__(self, offers: Sequence[Order], near: Neighbourhood) -> None:
        self._near = near
        features = [near.offers[offer.order_id] for offer in offers]
        self._squares = [near.compute_distance(each._replace(place=Place()), near.target) for each in features]
        self._members: dict[Place | None, list[int]] = {}
        self._spots: list[list[tuple[Place | None, int]]] = [[] for _ in offers]
        for index in sorted(range(len(offers)), key=self._squares.__getitem__):
            for district in _name_districts(features[index].place):
                members = self._members.setdefault(district, [])
                self._spots[index].append((district, len(members)))
                members.append(index)
        self._queues = {name: OfferQueue([offers[index] for index in found]) for name, found in self._members.items()}
        self._around: dict[Place, list[tuple[OfferQueue, list[int], int]]] = {}

    def find(self, bid: Order) -> int | None:
        """The nearest offer that a bid can have."""
        best = NOBODY
        for queue, members, way in self._look_around(self._near.places[bid.order_id]):
            spot = queue.find_first(bid.price_uyuan_per_kwh, bid.owner)
            if spot is not None:
                index = members[spot]
                best = min(best, Neighbour(self._squares[index] + way, index))
        return None if best is NOBODY else best.rank

    def _look_around(self, place: Place) -> list[tuple[OfferQueue, list[int], int]]:
        """The queue, the offers and the way of each district around a place; places are few."""
        if place not in self._around:
            self._around[place] = [
                (self._queues[name], self._members[name], self._near.compute_way(place, name or Place()))
                for name in _name_districts(place)
                if name in self._queues
            ]
        return self._around[place]

    def remove(self, index: int) -> None:
        """Take an offer out."""
        for district, spot in self._spots[index]:
            self._queues[district].remove(spot)


@lru_cache(maxsize=1_024)
def _name_districts(place: Place) -> tuple[Place | None, ...]:
    """A place's line, its area and all there is, the narrowest first; what is unknown has no name."""
    known = (Place(line=place.line), Place(area=place.area))
    return *(district for district in known if any(district)), None


class _Grove:
    """A tree of quotes for each place."""

    def __init__(self, offers: Sequence[Order], near: Neighbourhood) -> None:
        self._near = near
        self._place_of = [near.offers[offer.order_id].place for offer in offers]
        members: dict[Place, list[int]] = {}
        for index, place in enumerate(self._place_of):
            members.setdefault(place, []).append(index)
        self._trees = {
            place: QuoteTree(
                {index: offers[index] for index in indices},
                {index: near.locate(near.offers[offers[index].order_id]) for index in indices},
            )
            for place, indices in members.items()
        }

    def find(self, bid: Order) -> int | None:
        """The nearest offer that a bid can have."""
        features = self._near.find_target(bid).features
        point = self._near.locate(features)
        best = NOBODY
        for place, tree in self._trees.items():
            way = self._near.compute_way(place, features.place)
            best = tree.find_nearest(point, bid.price_uyuan_per_kwh, bid.owner, best, way)
        return None if best is NOBODY else best.rank

    def remove(self, index: int) -> None:
        """Take an offer out."""
        self._trees[self._place_of[index]].remove(index)


# --- what quotes are like ----------------------------------------------------------------------------


def count_steps(value: int, low: int, high: int) -> int:
    """The steps from the lower end of a range to a value, 0 … 1000; 0 where the range is a point."""
    return (min(max(value, low), high) - low) * STEPS // (high - low) if high > low else 0


class Scale(NamedTuple):
    """The ranges of an hour's quotes: prices in µ¥ per kWh, volumes in Wh."""

    low_price: int
    high_price: int
    low_volume_wh: int
    high_volume_wh: int

    @classmethod
    def measure(cls, offers: Sequence[Order]) -> Scale:
        """The ranges of offers, at least one."""
        prices = [offer.price_uyuan_per_kwh for offer in offers]
        volumes = [offer.volume_wh for offer in offers]
        return cls(min(prices), max(prices), min(volumes), max(volumes))

    def describe(self, quote: WeightedOrder, areas: Mapping[str, str] = MappingProxyType({})) -> Features:
        """The features of an intention; `areas` has the area of each line."""
        order = quote.order
        return Features(
            price=count_steps(order.price_uyuan_per_kwh, self.low_price, self.high_price),
            volume=count_steps(order.volume_wh, self.low_volume_wh, self.high_volume_wh),
            credit=count_steps(quote.credit_upt, 0, FULL_CREDIT_UPT),
            renewable=count_steps(quote.renewable_ppm, 0, PPM),
            place=Place(quote.position, areas.get(quote.position, "")),
        )

    def aim(self, price_uyuan_per_kwh: int, features: Features | None = None) -> Target:
        """A target of this price, and else as the features say: of full credit and all renewable, unless they do."""
        like = features or Features(price=0, volume=STEPS, credit=STEPS, renewable=STEPS)
        price = count_steps(price_uyuan_per_kwh, self.low_price, self.high_price)
        return Target(price_uyuan_per_kwh, like._replace(price=price))


def look_around(
    book: Iterable[WeightedOrder], price_uyuan_per_kwh: int, factors: Factors, areas: Mapping[str, str]
) -> Neighbourhood | None:
    """The neighbourhood of a book whose bids look for offers at this price; None where nothing is offered.

    Where places count each bid looks around its own. `areas` is by line.
    """
    sides: tuple[list[WeightedOrder], list[WeightedOrder]] = ([], [])
    for quote in book:
        sides[quote.order.side].append(quote)
    bids, offers = sides
    if not offers:
        return None
    scale, places = Scale.measure([quote.order for quote in offers]), dict[int, Place]()
    if factors.position:
        places = {bid.order.order_id: Place(bid.position, areas.get(bid.position, "")) for bid in bids}
    return Neighbourhood(
        target=scale.aim(price_uyuan_per_kwh),
        offers={quote.order.order_id: scale.describe(quote, areas) for quote in offers},
        factors=factors,
        places=places,
    )
