"""The strategies `best-response` and `ants`: an hour of text 001's game as one player sees it, solved.

Everything is between the grid company's prices, which nobody needs to do worse than: a kWh that costs a user more than
retail less wheeling is the grid company's, so that all demand is flexible (φ = 1) and no hour lacks supply.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from market.game.hour import DIRECTIONS, Hour, Prices
from market.orders import Side
from market.strategies.strategy import Act, Quote
from market.strategies.truthful import Truthful
from market.strategies.view import View

_UYUAN = 1_000_000
_MAX_RIVALS = 8


def make_hour(view: View) -> Hour:
    """The player's hour: itself as the first seller, or as the first user, and half of the others as equal sellers.

    What the others have and need is what they have traded at the gates that it looks back on, the mean of them, or what
    stands on the book if that is more; where it knows nothing, as much as its own. Raises `BadHour`.
    """
    low, high = (price / _UYUAN for price in (view.tariffs.feed_in_uyuan_per_kwh, view.tariffs.ceiling_uyuan_per_kwh))
    sold_wh, bought_wh = _expect(view, Side.OFFER), _expect(view, Side.BID)
    rivals = max(1, min((view.players - 1) // 2, _MAX_RIVALS))
    if view.surplus_wh:
        loads_wh = [bought_wh or view.surplus_wh]
    else:
        loads_wh, sold_wh = [view.shortage_wh, bought_wh], sold_wh or view.shortage_wh
    return Hour(
        surplus_wh=[view.surplus_wh, *[sold_wh // rivals] * rivals],
        shortage_wh=[0] * (1 + rivals),
        user_load_wh=loads_wh,
        phi=1.0,
        bureau_capacity_wh=0,
        bureau_cost=low,
        value_company=high,
        value_bureau=low,
        value_user=high,
        subsidy=0.0,
        feed_in=low,
        bounds=dict.fromkeys(DIRECTIONS, (low, high)),
    )


def _expect(view: View, side: Side) -> int:
    """The others' trade on a side, as expected, Wh."""
    own_wh = sum(trade.volume_wh for trade in view.own_trades if trade.side == side)
    all_wh = sum(outcome.volume_wh for outcome in view.earlier)
    usual_wh = max(0, all_wh - own_wh) // len(view.earlier) if view.earlier else 0
    return max(usual_wh, (view.bids if side == Side.BID else view.offers).volume_wh)


class GamePlayer(Truthful):
    """A seller asks what the game says; a buyer takes prices and bids what the others ask.

    Where the game does not settle there is nothing to answer with, and the player is truthful. Needs numpy.
    """

    looks_back = 24

    def solve(self, hour: Hour, random: Random) -> Prices | None:
        """Prices that nobody gains by changing; None where none were found."""
        raise NotImplementedError

    def answer(self, view: View, random: Random) -> Sequence[Act]:
        own_wh = view.surplus_wh or view.shortage_wh
        if not own_wh or view.tariffs.feed_in_uyuan_per_kwh >= view.tariffs.ceiling_uyuan_per_kwh:
            return []
        is_seller = view.surplus_wh > 0
        prices = self.solve(make_hour(view), random)
        if prices is None:
            return super().answer(view, random)
        price = view.tariffs.clamp(round(prices.of("g_to_u")[0 if is_seller else 1] * _UYUAN))
        return [Quote(Side.OFFER if is_seller else Side.BID, price, own_wh)]


class BestResponse(GamePlayer):
    """The game's equilibrium by best response."""

    def __init__(self) -> None:
        from market.game.best_response import search_hours

        self._search = search_hours

    def solve(self, hour: Hour, random: Random) -> Prices | None:
        (found,) = self._search([hour])
        return found.prices if found.is_settled else None


class Ants(GamePlayer):
    """The game's equilibrium by the colonies of text 001."""

    def __init__(self) -> None:
        from market.game import ants, regret

        self._solve, self._is_solved = ants.solve, regret.is_solved

    def solve(self, hour: Hour, random: Random) -> Prices | None:
        prices = self._solve(hour, seed=random.getrandbits(32))
        return prices if self._is_solved(hour, prices) else None
