"""Matching weights: Table 1, each parameter's rule by hand, and what must hold for every set of candidates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ledger.params import MatchingWeights
from market.orders import Order, Side
from market.trading.matching_weight import (
    TABLE_1,
    WeightedOrder,
    WeightInputs,
    compute_merits,
    compute_weight,
    measure,
    normalise,
    rank,
)

ANN = b"a" * 20


def offer(order_id: int = 1, *, price: int = 500_000, volume: int = 200, placed_at: int = 0, **fields) -> WeightedOrder:
    return make_candidate(Order(order_id, ANN, Side.OFFER, price, volume, placed_at), **fields)


def bid(order_id: int = 9, *, price: int = 500_000, volume: int = 200, placed_at: int = 0, **fields) -> WeightedOrder:
    return make_candidate(Order(order_id, ANN, Side.BID, price, volume, placed_at), **fields)


def make_candidate(order: Order, **fields) -> WeightedOrder:
    truth = {"credit_upt": 90_000_000, "capacity_wh": 400, "renewable_ppm": 0, "position": "", "stability_ppm": 0}
    return WeightedOrder(order, **{**truth, **fields})


def normalise_first(candidates: list[WeightedOrder], counterparts: list[WeightedOrder] | None = None) -> WeightInputs:
    return normalise(candidates[0], measure(candidates, counterparts or []))


# --- by hand -------------------------------------------------------------------------------------


def test_the_weights_are_those_of_table_1():
    assert TABLE_1.to_value() == (600_000, 800_000, 500_000, 400_000, 500_000, 600_000, 600_000)
    assert tuple(MatchingWeights.model_fields) == WeightInputs._fields


def test_a_weight_is_at_most_one():
    with pytest.raises(ValidationError):
        MatchingWeights(credit_ppm=1_000_001)


@pytest.mark.parametrize(("credit_upt", "want"), [(100_000_000, 1_000_000), (0, 0), (90_000_050, 900_001)])
def test_credit_counts_by_its_share_of_100_points(credit_upt, want):
    assert normalise_first([offer(credit_upt=credit_upt)]).credit_ppm == want


@pytest.mark.parametrize(("own", "other", "want"), [(400, 100, 1_000_000), (100, 400, 250_000), (1, 3, 333_333)])
def test_capacity_and_volume_count_by_their_share_of_the_largest(own, other, want):
    parameters = normalise_first([offer(capacity_wh=own, volume=own), offer(capacity_wh=other, volume=other)])
    assert (parameters.capacity_ppm, parameters.volume_ppm) == (want, want)


def test_without_any_capacity_it_counts_for_nothing():
    assert normalise_first([offer(capacity_wh=0)]).capacity_ppm == 0


@pytest.mark.parametrize(("price", "for_a_buyer"), [(400, 1_000_000), (450, 750_000), (600, 0)])
def test_a_low_price_is_best_for_a_buyer_and_a_high_one_for_a_seller(price, for_a_buyer):
    low, high = 400, 600
    offers = [offer(price=price), offer(price=low), offer(price=high)]
    assert normalise_first(offers).price_ppm == for_a_buyer
    bids = [bid(price=price), bid(price=low), bid(price=high)]
    assert normalise_first(bids).price_ppm == 1_000_000 - for_a_buyer


def test_if_all_ask_the_same_all_are_best():
    assert normalise_first([offer(price=500), offer(price=500)]).price_ppm == 1_000_000


@pytest.mark.parametrize(("position", "want"), [("feeder-1", 1_000_000), ("feeder-2", 0), ("", 0)])
def test_the_same_feeder_is_best_for_one_that_looks_for_a_partner(position, want):
    assert normalise_first([offer(position=position)], [bid(position="feeder-1")]).position_ppm == want


def test_in_a_closed_book_the_position_counts_by_the_volume_wanted_there():
    buyers = [bid(volume=300, position="feeder-1"), bid(volume=60, position="feeder-2"), bid(volume=40)]
    assert normalise_first([offer(position="feeder-1")], buyers).position_ppm == 750_000
    assert normalise_first([offer(position="feeder-2")], buyers).position_ppm == 150_000


def test_an_unknown_position_is_near_nobody():
    assert normalise_first([offer(position="")], [bid(position="")]).position_ppm == 0


def test_renewable_and_stability_count_as_stated():
    parameters = normalise_first([offer(renewable_ppm=123_456, stability_ppm=654_321)])
    assert (parameters.renewable_ppm, parameters.stability_ppm) == (123_456, 654_321)


def test_a_weight_worked_by_hand():
    seller = offer(
        price=540_000,
        volume=150,
        capacity_wh=300,
        credit_upt=95_000_000,
        renewable_ppm=1_000_000,
        stability_ppm=400_000,
        position="feeder-1",
    )
    rival = offer(2, price=580_000, volume=200, capacity_wh=400)
    weight = compute_weight(seller, measure([seller, rival], [bid(position="feeder-1")]))
    assert weight.contributions == WeightInputs(
        capacity_ppm=450_000,  # 0.6 · 300/400
        credit_ppm=760_000,  # 0.8 · 95/100
        renewable_ppm=500_000,  # 0.5 · 1
        position_ppm=400_000,  # 0.4 · 1
        price_ppm=500_000,  # 0.5 · 1
        volume_ppm=450_000,  # 0.6 · 150/200
        stability_ppm=240_000,  # 0.6 · 0.4
    )
    assert weight.total_ppm == 3_300_000


def test_the_best_there_can_be_weighs_four():
    best = offer(credit_upt=100_000_000, renewable_ppm=1_000_000, stability_ppm=1_000_000, position="feeder-1")
    assert compute_weight(best, measure([best], [bid(position="feeder-1")])).total_ppm == 4_000_000


def test_equal_weights_stand_by_place_and_then_by_id():
    offers = [offer(1, placed_at=5), offer(3, placed_at=2), offer(2, placed_at=2), offer(4, credit_upt=90_000_100)]
    assert [item.candidate.order.order_id for item in rank(offers, [])] == [4, 2, 3, 1]


def test_the_one_with_more_credit_ranks_first_where_all_else_is_equal():
    first, _ = rank([offer(1, credit_upt=90_000_000), offer(2, credit_upt=99_000_000)], [])
    assert first.candidate.order.order_id == 2


def test_nobody_ranks_among_nobody():
    assert rank([], [bid()]) == []


def test_candidates_of_both_sides_are_a_bug_of_the_caller():
    with pytest.raises(AssertionError):
        measure([offer(), bid()], [])
    with pytest.raises(AssertionError):
        measure([offer()], [offer()])


def test_the_merits_of_a_book_measure_each_side_against_the_other():
    book = [offer(1, position="feeder-1"), offer(2, position="feeder-2"), bid(3, position="feeder-1")]
    merits = compute_merits(book)
    assert merits.keys() == {1, 2, 3}
    assert merits[1] - merits[2] == TABLE_1.position_ppm
    assert merits == {
        item.candidate.order.order_id: item.weight.total_ppm
        for item in rank(book[:2], book[2:]) + rank(book[2:], book[:2])
    }


# --- for every set of candidates -----------------------------------------------------------------

ppm = st.integers(0, 1_000_000)


@st.composite
def sides(draw: st.DrawFn, side: Side, min_size: int = 0) -> list[WeightedOrder]:
    fields = st.tuples(
        st.integers(0, 10**8),
        st.integers(1, 10**11),
        st.integers(0, 3),
        st.integers(0, 10**8),
        st.integers(0, 10**11),
        ppm,
        st.sampled_from(["", "feeder-1", "feeder-2"]),
        ppm,
    )
    rows = draw(st.lists(fields, min_size=min_size, max_size=5))
    return [
        WeightedOrder(Order(i, ANN, side, price, volume, placed_at), *rest)
        for i, (price, volume, placed_at, *rest) in enumerate(rows)
    ]


@settings(max_examples=50)
@given(st.sampled_from(Side), st.data(), st.builds(MatchingWeights, credit_ppm=ppm, price_ppm=ppm))
def test_every_weight_is_the_sum_of_seven_bounded_parts(side, data, weights):
    candidates = data.draw(sides(side, min_size=1))
    scale = measure(candidates, data.draw(sides(Side(1 - side))))
    for candidate in candidates:
        assert all(0 <= value <= 1_000_000 for value in normalise(candidate, scale))
        weight = compute_weight(candidate, scale, weights)
        assert weight.total_ppm == sum(weight.contributions)
        bounds = [getattr(weights, name) for name in WeightInputs._fields]
        assert all(0 <= part <= most for part, most in zip(weight.contributions, bounds, strict=True))


@settings(max_examples=50)
@given(sides(Side.OFFER), sides(Side.BID), st.randoms(use_true_random=False))
def test_the_ranking_falls_and_ignores_the_order_of_its_input(offers, bids, rng):
    ranked = rank(offers, bids)
    keys = [(-r.weight.total_ppm, r.candidate.order.placed_at, r.candidate.order.order_id) for r in ranked]
    assert keys == sorted(keys)
    assert sorted(r.candidate.order.order_id for r in ranked) == list(range(len(offers)))
    shuffled = list(offers)
    rng.shuffle(shuffled)
    assert rank(shuffled, bids[::-1]) == ranked


@settings(max_examples=50)
@given(sides(Side.OFFER, min_size=1), sides(Side.BID), st.data())
def test_more_credit_or_stability_never_weighs_less(offers, bids, data):
    scale = measure(offers, bids)
    better = offers[0]._replace(
        credit_upt=data.draw(st.integers(offers[0].credit_upt, 10**8)),
        stability_ppm=data.draw(st.integers(offers[0].stability_ppm, 1_000_000)),
    )
    assert compute_weight(better, scale).total_ppm >= compute_weight(offers[0], scale).total_ppm
