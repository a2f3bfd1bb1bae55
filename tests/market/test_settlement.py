"""Settlement: the money of Table 2 of text 000, and what must hold for every reading."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.settlement import allocate, settle_trade, settle_with_grid, spread

KWH = 1000  # Wh
YUAN = 1_000_000  # µ¥
RETAIL = 615_000  # µ¥/kWh, section 5.1 of text 000
FEED_IN = 410_000
WHEELING = 20_000


class Row(NamedTuple):
    """A row of Table 2: a price in µ¥/kWh, meter readings in kWh, three printed sums in tenths of a yuan."""

    number: int
    price: int
    consumption: int
    output: int
    buyer: int
    seller: int
    grid: int


TABLE_2 = [
    Row(1, 550_000, 220, 200, 1263, 1100, 163),
    Row(2, 560_000, 200, 200, 1160, 1120, 40),
    Row(3, 540_000, 180, 200, 1008, 1054, -46),
    Row(4, 540_000, 250, 250, 1400, 1350, 50),
    Row(5, 560_000, 180, 180, 1044, 1008, 36),
    Row(6, 550_000, 190, 190, 1083, 1045, 38),
    Row(7, 540_000, 240, 220, 1359, 1188, 171),
]
# The printed row 7 charges wheeling on 240 kWh; only 220 kWh change hands.
OURS_WHERE_THE_PAPER_ERRS = {7: (1355, 1188, 167)}


@pytest.mark.parametrize("row", TABLE_2, ids=lambda row: f"row {row.number}")
def test_the_money_of_table_2(row):
    settled = settle_trade(
        price_uyuan_per_kwh=row.price,
        wheeling_uyuan_per_kwh=WHEELING,
        consumption_wh=row.consumption * KWH,
        output_wh=row.output * KWH,
        retail_uyuan_per_kwh=RETAIL,
        feed_in_uyuan_per_kwh=FEED_IN,
    )
    printed = (row.buyer, row.seller, row.grid)
    expected = OURS_WHERE_THE_PAPER_ERRS.get(row.number, printed)
    assert (settled.buyer_pays_uyuan, settled.seller_receives_uyuan, settled.grid_receives_uyuan) == tuple(
        tenths * YUAN // 10 for tenths in expected
    )
    assert settled.traded_wh == min(row.consumption, row.output) * KWH


def test_the_printed_row_7_is_wheeling_on_the_whole_consumption():
    row = TABLE_2[6]
    wheeling_too_much = (row.consumption - row.output) * WHEELING
    ours_buyer, _, ours_grid = OURS_WHERE_THE_PAPER_ERRS[7]
    assert (row.buyer - ours_buyer) * YUAN // 10 == wheeling_too_much
    assert (row.grid - ours_grid) * YUAN // 10 == wheeling_too_much


def test_a_member_without_trades_settles_with_the_grid():
    settled = settle_with_grid(
        consumption_wh=3 * KWH, output_wh=2 * KWH, retail_uyuan_per_kwh=RETAIL, feed_in_uyuan_per_kwh=FEED_IN
    )
    assert (settled.buyer_pays_uyuan, settled.seller_receives_uyuan) == (3 * RETAIL, 2 * FEED_IN)
    assert settled.grid_receives_uyuan == 3 * RETAIL - 2 * FEED_IN
    assert settled.traded_wh == 0


def test_each_leg_is_rounded_once_half_up():
    # 1 Wh at 500 µ¥/kWh is half a µ¥: up. At 499 it is less: down. The grid's leg is what is left of the two.
    half = settle_with_grid(consumption_wh=1, output_wh=1, retail_uyuan_per_kwh=500, feed_in_uyuan_per_kwh=499)
    assert (half.buyer_pays_uyuan, half.seller_receives_uyuan, half.grid_receives_uyuan) == (1, 0, 1)
    # 0.3 + 0.3 µ¥ rounded together is 1; rounded apart it would be 0.
    sum_first = settle_trade(
        price_uyuan_per_kwh=300,
        wheeling_uyuan_per_kwh=0,
        consumption_wh=2,
        output_wh=1,
        retail_uyuan_per_kwh=300,
        feed_in_uyuan_per_kwh=0,
    )
    assert sum_first.buyer_pays_uyuan == 1


energies = st.integers(0, 10**12)
prices = st.integers(0, 10**9)


@given(energies, energies, prices, prices, prices, prices)
def test_the_legs_sum_to_zero_and_are_exact_to_half_a_micro_yuan(consumption, output, price, wheeling, retail, feed_in):
    settled = settle_trade(
        price_uyuan_per_kwh=price,
        wheeling_uyuan_per_kwh=wheeling,
        consumption_wh=consumption,
        output_wh=output,
        retail_uyuan_per_kwh=retail,
        feed_in_uyuan_per_kwh=feed_in,
    )
    assert settled.buyer_pays_uyuan == settled.seller_receives_uyuan + settled.grid_receives_uyuan
    t = min(consumption, output)
    owed = t * (price + wheeling) + (consumption - t) * retail
    earned = t * price + (output - t) * feed_in
    assert -500 <= owed - settled.buyer_pays_uyuan * 1000 < 500
    assert -500 <= earned - settled.seller_receives_uyuan * 1000 < 500


@given(st.integers(0, 10**9), st.lists(st.integers(1, 10**6), min_size=1, max_size=20))
def test_a_reading_is_allocated_exactly_and_in_proportion(actual, agreed):
    parts = allocate(actual, agreed)
    assert sum(parts) == actual
    assert len(parts) == len(agreed)
    for part, volume in zip(parts, agreed, strict=True):
        assert part >= 0
        assert abs(part * sum(agreed) - actual * volume) < sum(agreed)


def test_allocation_worked():
    assert allocate(100, [1, 1, 1]) == [33, 33, 34]
    assert allocate(10, [3, 7]) == [3, 7]
    assert allocate(0, [3, 7]) == [0, 0]
    assert allocate(1, [1]) == [1]


@pytest.mark.parametrize(("actual", "agreed"), [(-1, [1]), (1, []), (1, [0, 1])])
def test_an_impossible_allocation_is_a_bug_of_the_caller(actual, agreed):
    with pytest.raises(AssertionError):
        allocate(actual, agreed)


def test_every_reading_is_spread_over_the_trades_of_its_own_party():
    assert spread({"ann": 100, "bob": 7, "eve": 5}, ["ann", "bob", "ann", "cleo"], [1, 9, 3, 2]) == [25, 7, 75, 0]
    assert spread({"ann": 100}, [], []) == []
