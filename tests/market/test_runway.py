"""For how long money lasts: worked cases, and the record of a settled period."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.accounts import Account
from market.runway import MOST_PERIODS, WARN_BEFORE, compute_runway, sum_spending
from market.trading.settlement_record import PeriodSettlement, SettledTrade, SettledWithGrid

CAROL, PAUL, GRID = b"carol", b"paul", b"grid"


@pytest.mark.parametrize(
    ("balance", "reserved", "line", "spent", "periods", "lasts", "is_low", "is_under"),
    [
        (100, 0, 0, 24, 24, 100, False, False),
        (24, 0, 0, 24, 24, 24, False, False),
        (23, 0, 0, 24, 24, 23, True, False),
        (13, 10, 0, 24, 24, 23, True, False),  # what is set aside is left, too
        (-1, 0, 24, 24, 24, 23, True, False),
        (-25, 0, 24, 24, 24, 0, True, True),
        (-25, 40, 24, 24, 24, 39, False, True),  # it waits for what its trades leave of its reserve
        (-25, 0, 24, 0, 24, None, False, True),
        (5, 0, 0, -9, 24, None, False, False),
        (5, 0, 0, 0, 0, None, False, False),
        (2**62, 0, 0, 1, 24, MOST_PERIODS, False, False),
        (7, 0, 0, 2, 3, 10, True, False),  # 7 · 3 / 2, rounded down
    ],
)
def test_worked_cases(balance, reserved, line, spent, periods, lasts, is_low, is_under):
    account = Account(balance_uyuan=balance, reserved_uyuan=reserved)
    assert compute_runway(account, spent, periods, line) == (balance + reserved + line, lasts, is_low, is_under)


@pytest.mark.parametrize(("next_top_up", "is_low"), [(10, False), (11, True), (1_000, True), (None, True)])
def test_money_that_lasts_until_it_is_topped_up_is_not_low(next_top_up, is_low):
    assert compute_runway(Account(balance_uyuan=10), 24, 24, 0, next_top_up=next_top_up).is_low == is_low


def test_periods_cost_what_their_settlements_say():
    """carol buys 2 kWh of paul: 9 for 8 and 1 to the grid; beside that she pays 5 for consumption, he is paid 3."""
    trade = SettledTrade(0, CAROL, PAUL, 2_000, 2_000, 9, 8, 1, 2_000)
    settlement = PeriodSettlement((trade,), (SettledWithGrid(CAROL, 1, 0, 5, 0), SettledWithGrid(PAUL, 0, 1, 0, 3)))
    assert sum_spending([settlement, settlement], GRID) == (2, {CAROL: 28, PAUL: -22, GRID: -6})


@given(st.integers(-100, 10_000), st.integers(0, 100), st.integers(1, 1_000), st.integers(1, 24))
def test_it_lasts_as_long_as_is_said(balance, line, spent, periods):
    """At the same cost a period the money covers so many periods, and not one more."""
    runway = compute_runway(Account(balance_uyuan=balance), spent, periods, line)
    assert runway.lasts_periods is not None
    left = max(0, runway.left_uyuan)
    assert runway.lasts_periods * spent <= left * periods < (runway.lasts_periods + 1) * spent
    assert runway.is_low == (runway.lasts_periods < WARN_BEFORE)
