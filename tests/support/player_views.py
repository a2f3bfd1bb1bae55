"""Views of one player's period, and strategies that are of no use."""

from __future__ import annotations

from typing import Any

from market.strategies.strategy import Strategy
from market.strategies.view import Outcome, Tariffs, View

TARIFFS = Tariffs(retail_uyuan_per_kwh=615_000, feed_in_uyuan_per_kwh=410_000, wheeling_uyuan_per_kwh=20_000)
DAY = tuple(
    Outcome(period, 411_000 + 16_000 * (period % 12), 100_000 + 1_000 * period) for period in range(1, 25)
)  # whose quartiles are 459 000 and 539 000


def make_view(**changes: Any) -> View:
    """A player that lacks 30 kWh and may trade a MWh, without a past; with these changes."""
    plain = {
        "player": "homes-1",
        "period": 25,
        "generation_wh": 0,
        "load_wh": 30_000,
        "tariffs": TARIFFS,
        "bid_limit_wh": 10**6,
        "offer_limit_wh": 10**6,
        "place": 2,
        "players": 10,
    }
    return View(**{**plain, **changes})


class Fixed(Strategy):
    """Answers what it was made with, or raises it."""

    def __init__(self, answer: Any = ()) -> None:
        self.fixed = answer

    def answer(self, view: View, random: object) -> Any:
        if isinstance(self.fixed, BaseException):
            raise self.fixed
        return self.fixed
