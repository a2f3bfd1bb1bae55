"""The strategy `truthful`: a player orders all that it expects, at what a kWh is worth to it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import ClassVar

from market.orders import Side
from market.strategies.strategy import Act, Quote, Strategy
from market.strategies.view import Tariffs, View


class Truthful(Strategy):
    """One order of the whole forecast, at the player's own worth of the hour: see `draw_worth`."""

    looks_back: ClassVar[int] = 0

    def answer(self, view: View, random: Random) -> Sequence[Act]:
        side = Side.OFFER if view.surplus_wh else Side.BID
        price = draw_worth(random, side, view.tariffs, place=view.place, players=view.players)
        if not view.tariffs.feed_in_uyuan_per_kwh < price < view.tariffs.ceiling_uyuan_per_kwh:
            return []  # there is no room between the tariffs for a price each
        return [Quote(side, price, view.surplus_wh or view.shortage_wh)]


def draw_worth(random: Random, side: Side, tariffs: Tariffs, *, place: int, players: int) -> int:
    """A worth in both parties' interest, µ¥ per kWh; no two of the players have one.

    A seller gains above the feed-in price, a buyer below retail less wheeling: offers are drawn from the lower two
    thirds of that span and bids from the upper two.
    """
    low, high = tariffs.feed_in_uyuan_per_kwh, tariffs.ceiling_uyuan_per_kwh
    third = (high - low) // (3 * players) * players
    first = low if side == Side.OFFER else low + third
    # The draw leaves room for the player's own last digits.
    return first + random.randrange(1, max(2, 2 * third // players)) * players + place
