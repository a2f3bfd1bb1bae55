"""The suitability of an intention to the other side: the weights of credit matching (text 000, §4.2, Table 1).

Seven parameters, each normalised to 0 … 1 000 000 ppm among the candidates of one side, times their basic weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import mul
from typing import NamedTuple

from ledger.params import MatchingWeights
from market.credit.score import FULL_CREDIT_UPT, PPM
from market.orders import Order, Side

TABLE_1 = MatchingWeights()

_HALF_PPM = PPM // 2
_new_tuple = tuple.__new__  # makes a record without its constructor


class WeightedOrder(NamedTuple):
    """A TradeIntention on the book, its sender's credit, and what its sender is registered with."""

    order: Order
    credit_upt: int
    capacity_wh: int
    renewable_ppm: int
    position: str  # feeder or line; empty where it is unknown
    stability_ppm: int


class WeightInputs(NamedTuple):
    """A candidate's seven parameters, or what each adds to its weight; 0 … 1 000 000 ppm, in Table 1's order."""

    capacity_ppm: int
    credit_ppm: int
    renewable_ppm: int
    position_ppm: int
    price_ppm: int
    volume_ppm: int
    stability_ppm: int


class Breakdown(NamedTuple):
    """A weight, and what each parameter adds to it."""

    total_ppm: int
    contributions: WeightInputs


class Ranked(NamedTuple):
    """A candidate with its weight."""

    candidate: WeightedOrder
    weight: Breakdown


class Scale(NamedTuple):
    """The scale by which the candidates of one side are measured."""

    side: Side | int
    max_capacity_wh: int
    max_volume_wh: int
    low_price: int  # µ¥ per kWh, as `high_price`
    high_price: int
    wanted_wh: int  # by all counterparts
    wanted_at_wh: Mapping[str, int]  # by those at one position


def measure(candidates: Sequence[WeightedOrder], counterparts: Iterable[WeightedOrder]) -> Scale:
    """The scale for candidates of one side, at least one, as seen from the other.

    The counterparts are that one node that looks for a partner, or the whole other side of a closed book.
    """
    orders = [candidate.order for candidate in candidates]
    side = orders[0].side
    assert all(order.side == side for order in orders), "candidates stand on one side"
    wanted_at_wh: dict[str, int] = {}
    wanted_wh = 0
    for counterpart in counterparts:
        assert counterpart.order.side != side, "counterparts stand on the other side"
        wanted_wh += counterpart.order.volume_wh
        wanted_at_wh[counterpart.position] = wanted_at_wh.get(counterpart.position, 0) + counterpart.order.volume_wh
    wanted_at_wh.pop("", None)
    return Scale(
        side=side,
        max_capacity_wh=max(candidate.capacity_wh for candidate in candidates),
        max_volume_wh=max(order.volume_wh for order in orders),
        low_price=min(order.price_uyuan_per_kwh for order in orders),
        high_price=max(order.price_uyuan_per_kwh for order in orders),
        wanted_wh=wanted_wh,
        wanted_at_wh=wanted_at_wh,
    )


def normalise(candidate: WeightedOrder, scale: Scale) -> WeightInputs:
    """The seven parameters of text 000, §4.2, each 0 (worst) … 1 000 000 (best), rounded half up:

    - generation capacity c and power volume s: the ratio to the largest among the candidates; 0 where that is 0
    - credit q: the ratio to 100 points
    - renewable energy r and generation stability n: as the member is registered
    - node position l: how much of the counterparts' volume is at the same position; with a single counterpart, all
      or nothing. An unknown position is near no other
    - unit price p: where it lies between the candidates' worst and best price, which is the lowest for an offer and
      the highest for a bid; if all ask the same, all are best

    The paper says which parameters count and how much, not how they are measured: these rules are ours. What is
    relative to other candidates depends on who else is there: one absurd price brings the others closer together.
    """
    order = candidate.order
    gap = order.price_uyuan_per_kwh - scale.low_price
    better_by = gap if scale.side == Side.BID else scale.high_price - order.price_uyuan_per_kwh
    spread = scale.high_price - scale.low_price
    return WeightInputs(
        _share(candidate.capacity_wh, scale.max_capacity_wh),
        _share(candidate.credit_upt, FULL_CREDIT_UPT),
        candidate.renewable_ppm,
        _share(scale.wanted_at_wh.get(candidate.position, 0), scale.wanted_wh),
        _share(better_by, spread) if spread else PPM,
        _share(order.volume_wh, scale.max_volume_wh),
        candidate.stability_ppm,
    )


def compute_weight(candidate: WeightedOrder, scale: Scale, weights: MatchingWeights = TABLE_1) -> Breakdown:
    """The weight w of step 4 in text 000, §4.2: the sum of the parameters, each times its basic weight, in ppm.

    Each product is rounded half up, so that the contributions add up to the weight exactly. With Table 1, a weight is
    at most 4 000 000.
    """
    return compute_weights([candidate], scale, weights)[0]


def rank(
    candidates: Sequence[WeightedOrder], counterparts: Iterable[WeightedOrder], weights: MatchingWeights = TABLE_1
) -> list[Ranked]:
    """The candidates of one side in descending weight (step 4 of text 000, §4.2); the first is the highest.

    Equal weights stand by (placed_at, order_id). The order of the input does not matter.
    """
    if not candidates:
        return []
    scale = measure(candidates, counterparts)
    ranked = list(map(Ranked, candidates, compute_weights(candidates, scale, weights)))
    ranked.sort(key=_get_place)
    return ranked


def weigh_book(book: Iterable[WeightedOrder], weights: MatchingWeights = TABLE_1) -> dict[int, Breakdown]:
    """The weight of every order of a closed book by its id, each side measured against the whole other one."""
    sides: dict[int, list[WeightedOrder]] = {Side.BID: [], Side.OFFER: []}
    for candidate in book:
        sides[candidate.order.side].append(candidate)
    found: dict[int, Breakdown] = {}
    for side, others in ((Side.BID, Side.OFFER), (Side.OFFER, Side.BID)):
        if sides[side]:
            breakdowns = compute_weights(sides[side], measure(sides[side], sides[others]), weights)
            found |= {one.order.order_id: weight for one, weight in zip(sides[side], breakdowns, strict=True)}
    return found


def compute_merits(book: Iterable[WeightedOrder], weights: MatchingWeights = TABLE_1) -> dict[int, int]:
    """The weights of `weigh_book` (ppm) alone, as a clearing rule takes them."""
    return {order_id: weight.total_ppm for order_id, weight in weigh_book(book, weights).items()}


def compute_weights(candidates: Iterable[WeightedOrder], scale: Scale, weights: MatchingWeights) -> list[Breakdown]:
    """The `compute_weight` of each of these candidates of one side, in their order."""
    # `divide_half_up` by a million is written out, as it is in `_share`: a ranking spends most of its time here.
    basic = (
        weights.capacity_ppm,
        weights.credit_ppm,
        weights.renewable_ppm,
        weights.position_ppm,
        weights.price_ppm,
        weights.volume_ppm,
        weights.stability_ppm,
    )
    found = []
    for candidate in candidates:
        products = map(mul, normalise(candidate, scale), basic)
        contributions = _new_tuple(WeightInputs, [(product + _HALF_PPM) // PPM for product in products])
        found.append(Breakdown(sum(contributions), contributions))
    return found


def _share(part: int, whole: int) -> int:
    return (2 * PPM * part + whole) // (2 * whole) if whole else 0  # `divide_half_up(part * PPM, whole)`


def _get_place(item: Ranked) -> tuple[int, int, int]:
    order = item.candidate.order
    return -item.weight.total_ppm, order.placed_at, order.order_id
