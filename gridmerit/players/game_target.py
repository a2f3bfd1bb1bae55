"""The dispatcher's target of a period: the prices of the game (text 001) by the forecasts that the dispatcher has.

All plants of the profile are the company's, every consumer is a user, and the grid company is the bureau, which can
serve them all. So its tariffs are the bounds of every price: nobody sells for less or buys for more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gridmerit.players.agents import Participant, Sender, sleep_until
from ledger.errors import GridmeritError
from ledger.params import MarketParams
from market.game.hour import DIRECTIONS, Hour, Prices
from market.profile import Profile
from market.trading.contract import GAME_TARGET
from market.trading.targets import GamePrices
from node.api.client import Client
from node.errors import RemoteFailed, RemoteNotFound, Unreachable
from node.system.clock import now_ms
from simulation.errors import MissingExtra

_UYUAN_PER_YUAN = 1_000_000
_AHEAD_PPM = 3_000_000  # of a period: how long before its book opens a target is committed

Solver = Callable[[Hour], Prices]


def load_solver() -> Solver:
    """Best response, which reckons in arrays. Raises `MissingExtra` without numpy."""
    try:
        from market.game.best_response import solve
    except ImportError:
        raise MissingExtra(what="the target of a period", package="numpy", extra="lab") from None
    return solve


def make_hour(profile: Profile, hour: int, market: MarketParams) -> Hour:
    """The game of an hour of the profile (0 is its first) by forecasts, within the tariffs. Raises `BadHour`."""
    forecasts: dict[str, list[int]] = {"producer": [], "consumer": []}
    for player in profile.players:
        forecasts[player.role].append(profile.readings[player.name, profile.hours_ms[hour]].forecast_wh)
    low, high = market.feed_in_uyuan_per_kwh / _UYUAN_PER_YUAN, market.retail_uyuan_per_kwh / _UYUAN_PER_YUAN
    middle = (low + high) / 2
    return Hour(
        surplus_wh=sum(forecasts["producer"]),
        shortage_wh=0,
        user_load_wh=forecasts["consumer"],
        bureau_cost=low,
        value_company=middle,
        value_bureau=middle,
        value_user=middle,
        feed_in=low,
        bounds=dict.fromkeys(DIRECTIONS, (low, high)),
    )


def compute_target(profile: Profile, hour: int, market: MarketParams, solve: Solver) -> GamePrices:
    """The prices that nobody can gain by changing, in whole µ¥. Raises `BadHour`, `NoSupplyMargin` or `NotSettled`."""
    prices = solve(make_hour(profile, hour, market))
    low, high = market.feed_in_uyuan_per_kwh, market.retail_uyuan_per_kwh
    return GamePrices(*(min(max(round(prices.of(way)[0] * _UYUAN_PER_YUAN), low), high) for way in DIRECTIONS))


@dataclass(slots=True, kw_only=True)
class Forecaster(Participant):
    """Commits the target of each hour before its book opens, where it has none."""

    sender: Sender
    client: Client
    solve: Solver

    async def run(self) -> None:
        for hour in range(self.day.hours):
            period, open_ms = self.day.first_period + hour, self.day.times_of(hour).open_ms
            begin_ms = open_ms - self.day.share_of_period(_AHEAD_PPM)
            await sleep_until(begin_ms)
            if now_ms() < open_ms and not await self._has_target(self.day.number_of(hour)):
                await self._commit(period, hour, open_ms)

    async def _has_target(self, number: int) -> bool:
        """Return True if an earlier start, or another dispatcher, has committed one: a second is a violation."""
        with suppress(RemoteNotFound, RemoteFailed, Unreachable):
            return (await self.client.book(number)).target is not None
        return False

    async def _commit(self, period: int, hour: int, until_ms: int) -> None:
        try:
            prices = compute_target(self.day.profile, hour, self.day.genesis.params.market, self.solve)
        except GridmeritError as error:
            self._complain(GAME_TARGET, period, f"{error.code}: {error}")
            return
        payload = self.day.number_of(hour), tuple(prices)
        await self._deliver(self.sender, GAME_TARGET, period, payload, until_ms)
