"""The baseline of the game's benchmark: plain loops that find what the arrays find."""

from dataclasses import replace

import pytest

from benchmarks.game import PLAINLY, solve_plainly
from market.game import ants
from market.game.hour import DIRECTIONS, Hour

NOON = Hour(surplus_wh=726_563, shortage_wh=0, user_load_wh=[257_399, 342_143])


@pytest.mark.parametrize("kind", PLAINLY.values())
@pytest.mark.parametrize("hour", [NOON, replace(NOON, surplus_wh=0, shortage_wh=60_395, mu=0.02)])
def test_an_ant_at_a_time_finds_the_same_prices(kind, hour):
    found, plain = ants.solve(hour, seed=3, iterations=30), solve_plainly(hour, 3, iterations=30, kind=kind)
    for name in DIRECTIONS:
        assert getattr(found, name) == pytest.approx(getattr(plain, name), abs=1e-7)
