"""The experiment of text 001: a profile's hours, the prices that nobody can gain by changing, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from random import Random
from typing import Literal, TypeAlias

from market.game import ants, best_response
from market.game.day import Energy, Series, cast, list_energy
from market.game.hour import Hour, Prices, as_tuple
from market.game.merit_order import trade
from market.game.payoffs import Matrix, Volumes, compute_printed_regret
from market.game.regret import SETTLED, compute_regret, compute_regrets
from market.profile import HOUR_MS, Profile
from simulation.game.accounts import HourAccounts
from simulation.game.markets import MARKETS, Market, trade_in

Solver: TypeAlias = Literal["best-response", "ants"]
Progress: TypeAlias = Callable[[int, int], None]

PAPER_NOON = Prices(g_to_u=0.687799, g_to_c=0.595725, c_to_u=0.555435, c_to_g=0.420585)
USER_VALUES = (0.4, 0.6)  # yuan/kWh, the users' bid space
_NOON = 12
_HOURS_AT_ONCE = 24
_LEAST_WEIGHT, _MOST_WEIGHT = 1, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The choices of an experiment. Another number of players than the paper's shares out the same energy."""

    companies: int = 1
    bureaus: int = 1
    users: int = 2
    mu: float = 0.05
    series: Series = "forecast"
    solver: Solver = "best-response"
    seed: int = 1
    """Draws the ants' steps, and the sizes of players that share out what the paper's few have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedHour:
    """One hour with its prices, what they leave to gain and the energy that is traded at them."""

    start_ms: int
    energy: Energy
    hour: Hour
    prices: Prices
    regret: float
    volumes: Volumes

    @property
    def is_settled(self) -> bool:
        """Return True if nobody gains by another price."""
        return self.regret <= SETTLED

    def mean_price(self, direction: str) -> float:
        """The price of a direction: by volume where several sell, else their plain mean."""
        prices, volumes = self.prices.of(direction), self._list_sales(direction)
        weights = volumes if sum(volumes) > 0 else [1.0] * len(prices)
        return sum(price * weight for price, weight in zip(prices, weights, strict=True)) / sum(weights)

    def sum_volume(self, direction: str) -> float:
        """The kWh that are sold that way."""
        return sum(self._list_sales(direction))

    def _list_sales(self, direction: str) -> list[float]:
        matrix: Matrix = getattr(self.volumes, direction)
        return [sum(row) for row in matrix]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noon:
    """The paper's 12:00 prices held against ours: regret in the game as built, and in the printed one."""

    solved: SolvedHour
    regret: float
    printed_regret: float
    our_printed_regret: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A profile's hours solved, and every player's account of them under each market."""

    profile: Profile
    plan: Plan
    hours: tuple[SolvedHour, ...]
    accounts: Mapping[Market, tuple[HourAccounts, ...]]
    noon: Noon | None
    """None where the profile has no hour from 12:00."""

    @property
    def unsettled(self) -> list[SolvedHour]:
        return [one for one in self.hours if not one.is_settled]


def run_experiment(profile: Profile, plan: Plan, progress: Progress | None = None) -> Experiment:
    """Solve the game of every hour. Raises `BadHour` and `NoSupplyMargin`."""
    energies = list_energy(profile, plan.series, cast(profile))
    hours = make_players(energies, plan)
    found = _solve(hours, plan, progress)
    solved = tuple(
        SolvedHour(
            start_ms=start_ms,
            energy=energy,
            hour=hour,
            prices=prices,
            regret=regret,
            volumes=trade(hour, prices),
        )
        for start_ms, energy, hour, prices, regret in zip(
            profile.hours_ms, energies, hours, found, compute_regrets(hours, found), strict=True
        )
    )
    own_use = [energy.plants_wh - sum(as_tuple(hour.surplus_wh)) for energy, hour in zip(energies, hours, strict=True)]
    return Experiment(
        profile=profile,
        plan=plan,
        hours=solved,
        accounts={
            market: tuple(
                trade_in(market, one.hour, one.prices, used) for one, used in zip(solved, own_use, strict=True)
            )
            for market in MARKETS
        },
        noon=next((_judge(one) for one in solved if one.start_ms // HOUR_MS % 24 == _NOON), None),
    )


def _solve(hours: Sequence[Hour], plan: Plan, progress: Progress | None) -> list[Prices]:
    """A day at a time; `progress` hears how many hours are done, and of how many."""
    found: list[Prices] = []

    def hear(done: int, total: int) -> None:
        if progress:
            progress(min(len(hours), len(found) + _HOURS_AT_ONCE * done // total), len(hours))

    for start in range(0, len(hours), _HOURS_AT_ONCE):
        day = hours[start : start + _HOURS_AT_ONCE]
        if plan.solver == "ants":
            found += ants.solve_hours(day, seed=plan.seed, progress=hear)
        else:
            found += [one.prices for one in best_response.search_hours(day, progress=hear)]
    return found


def _judge(solved: SolvedHour) -> Noon:
    hour = solved.hour
    paper = hour.make_prices(
        g_to_u=PAPER_NOON.of("g_to_u") * hour.companies,
        g_to_c=PAPER_NOON.of("g_to_c") * hour.companies,
        c_to_u=PAPER_NOON.of("c_to_u") * hour.bureaus,
        c_to_g=PAPER_NOON.of("c_to_g") * hour.bureaus,
    )
    return Noon(
        solved=solved,
        regret=compute_regret(hour, paper),
        printed_regret=compute_printed_regret(hour, paper, trade(hour, paper)),
        our_printed_regret=compute_printed_regret(hour, solved.prices, solved.volumes),
    )


# --- players ---------------------------------------------------------------------------------------


def make_players(energies: Sequence[Energy], plan: Plan) -> list[Hour]:
    """The hours of the game with as many players as planned.

    One company, one bureau and two users are the profile's. Others share out the same energy by weights that the seed
    draws, the same in all hours; companies' plants and loads by weights of their own, so that one may lack what another
    has left. Users other than the paper's two value a kWh at 0.4 to 0.6 yuan each. Raises `BadHour`.
    """
    random = Random(plan.seed)
    plants, loads, capacities, users = (
        [random.uniform(_LEAST_WEIGHT, _MOST_WEIGHT) for _ in range(count)]
        for count in (plan.companies, plan.companies, plan.bureaus, plan.users)
    )
    values = [random.uniform(*USER_VALUES) for _ in users]
    is_paired = plan.users == 2
    hours = []
    for energy in energies:
        made, own = share_out(energy.plants_wh, plants), share_out(energy.own_load_wh, loads)
        balances = [some - used for some, used in zip(made, own, strict=True)]
        wanted = sum(energy.user_load_wh)
        surplus, shortage = [max(0, balance) for balance in balances], [max(0, -balance) for balance in balances]
        hours.append(
            Hour(
                surplus_wh=_as_few(surplus),
                shortage_wh=_as_few(shortage),
                user_load_wh=energy.user_load_wh if is_paired else share_out(wanted, users),
                bureau_capacity_wh=_as_few(share_out(wanted, capacities)),
                value_user=0.5 if is_paired else values,
                mu=plan.mu,
            )
        )
    return hours


def share_out(whole: int, weights: Sequence[float]) -> list[int]:
    """Whole parts of a number in proportion to the weights, which sum to it."""
    ends = [0, *(round(whole * end / sum(weights)) for end in accumulate(weights))]
    ends[-1] = whole
    return [end - start for start, end in pairwise(ends)]


def _as_few(values: list[int]) -> int | list[int]:
    """A number where there is one."""
    return values[0] if len(values) == 1 else values
