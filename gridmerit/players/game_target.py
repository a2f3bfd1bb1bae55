"""The dispatcher's target of a period: the prices of the game (text 001) by the forecasts of the profile."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from gridmerit.players.agents import Participant, Sender, sleep_until
from ledger.errors import GridmeritError
from market.game.target import Expected, Solver, compute_target
from market.profile import Profile
from market.trading.contract import GAME_TARGET
from node.api.client import Client
from node.errors import RemoteFailed, RemoteNotFound, Unreachable
from node.system.clock import now_ms
from simulation.errors import MissingExtra

_AHEAD_PPM = 3_000_000  # of a period: how long before its book opens a target is committed


def load_solver() -> Solver:
    """Best response, which reckons in arrays. Raises `MissingExtra` without numpy."""
    try:
        from market.game.best_response import solve
    except ImportError:
        raise MissingExtra(what="the target of a period", package="numpy", extra="lab") from None
    return solve


def expect(profile: Profile, hour: int) -> Expected:
    """The forecasts of an hour of the profile (0 is its first)."""
    forecasts: dict[str, list[int]] = {"producer": [], "consumer": []}
    for player in profile.players:
        forecasts[player.role].append(profile.readings[player.name, profile.hours_ms[hour]].forecast_wh)
    return Expected(sum(forecasts["producer"]), tuple(forecasts["consumer"]))


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
            if now_ms() < open_ms and not await self._has_target(period):
                await self._commit(period, hour, open_ms)

    async def _has_target(self, period: int) -> bool:
        """Return True if an earlier start, or another dispatcher, has committed one: a second is a violation."""
        with suppress(RemoteNotFound, RemoteFailed, Unreachable):
            return (await self.client.book(period)).target is not None
        return False

    async def _commit(self, period: int, hour: int, until_ms: int) -> None:
        try:
            prices = compute_target(expect(self.day.profile, hour), self.day.genesis.params.market, self.solve)
        except GridmeritError as error:
            self._complain(GAME_TARGET, period, f"{error.code}: {error}")
            return
        payload = self.day.number_of(hour), tuple(prices)
        await self._deliver(self.sender, GAME_TARGET, period, payload, until_ms)
