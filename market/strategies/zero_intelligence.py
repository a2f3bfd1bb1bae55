"""The strategy `zero-intelligence`: any price at which the player does not lose (Gode and Sunder 1993, ZI-C)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import ClassVar

from market.orders import Side
from market.strategies.strategy import Act, Quote, Strategy
from market.strategies.view import View


class ZeroIntelligence(Strategy):
    """The whole forecast at a price drawn evenly from feed-in to retail less wheeling.

    Nobody can lose there, since the grid company sells and buys at the ends; that is all it knows.
    """

    looks_back: ClassVar[int] = 0

    def answer(self, view: View, random: Random) -> Sequence[Act]:
        tariffs = view.tariffs
        if tariffs.feed_in_uyuan_per_kwh > tariffs.ceiling_uyuan_per_kwh:
            return []
        price = random.randint(tariffs.feed_in_uyuan_per_kwh, tariffs.ceiling_uyuan_per_kwh)
        side = Side.OFFER if view.surplus_wh else Side.BID
        return [Quote(side, price, view.surplus_wh or view.shortage_wh)]
