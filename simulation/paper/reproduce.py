"""Everything that text 000 reports, computed anew: start here, then `paper_credit`, `paper_sealing`, `paper_day`.

`paper_matching` has its own rule of matching on the same day.

Integers and fractions only; the same seed gives the same result on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from ledger.params import ChainParams
from market.credit.score import CreditRecord
from market.profile import Profile
from market.trading.matching_weight import WeightedOrder
from simulation.paper.credit import CreditCurve, ReproducedTest, reproduce_figure_3, reproduce_table_2
from simulation.paper.day import (
    CentralMode,
    MarketDay,
    PlayerOrder,
    compute_lag,
    deliver,
    run_centrally,
    run_day,
    summarise,
)
from simulation.paper.matching import MatchedDay, match_day
from simulation.paper.network import ChainDay, run_chain_day
from simulation.paper.sealing import TAUS_UPT, Race, run_race

OnProgress = Callable[[str], None]


class ResultCheck(NamedTuple):
    """One thing about our own machinery that must hold whatever the paper says."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One day in both modes, and what it would be if players promised less when their credit falls.

    `central` and `shaded` are computed by plain functions; `chain` is what ten nodes did, and `on_chain` is that day in
    the same terms as `central`. In `shaded` an hour's orders know the scores of hours at least `lag_hours` before it.
    """

    central: MarketDay
    central_mode: CentralMode
    chain: ChainDay
    on_chain: MarketDay
    shaded: MarketDay
    lag_hours: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """All results of one run."""

    seed: int
    params: ChainParams  # of the trading chain in the paper's set
    matched: MatchedDay
    table: tuple[ReproducedTest, ...]
    curves: tuple[CreditCurve, ...]
    races: tuple[Race, ...]
    comparison: Comparison
    checks: tuple[ResultCheck, ...]


def reproduce(
    paper_params: ChainParams,
    day_params: ChainParams,
    profile: Profile,
    orders: Sequence[PlayerOrder],
    books: Sequence[Sequence[WeightedOrder]],
    seed: int,
    on_progress: OnProgress,
) -> Reproduction:
    """Run everything: the races under `paper_params` with each τ, the day under `day_params`.

    `books` are the day's orders by hour, with what Table 1 weighs.
    """
    races = []
    for tau_upt in TAUS_UPT:
        on_progress(f"ten nodes race for 50 blocks, τ = {tau_upt // 1_000_000}")
        races.append(run_race(paper_params, tau_upt, seed))
    comparison = compare(day_params, profile, orders, seed, on_progress)
    return Reproduction(
        seed=seed,
        params=paper_params,
        matched=match_day(books, paper_params.market.weights),
        table=reproduce_table_2(),
        curves=reproduce_figure_3(),
        races=tuple(races),
        comparison=comparison,
        checks=(*check_races(races), *check_day(comparison)),
    )


def compare(
    params: ChainParams, profile: Profile, orders: Sequence[PlayerOrder], seed: int, on_progress: OnProgress
) -> Comparison:
    """The same orders and meters in the central mode, on the chain, and with players that respond to their credit."""
    hours = len(profile.hours_ms)

    def on_hour(hour: int) -> None:
        if hour % 6 == 0 and hour < hours:
            on_progress(f"{len(profile.players)} nodes trade the day, hour {hour} of {hours}")

    chain_day = run_chain_day(params, profile, orders, seed, on_hour)
    return Comparison(
        central=run_day(profile, orders, params.market),
        central_mode=run_centrally(profile, orders),
        chain=chain_day,
        on_chain=_assess(chain_day, profile, params),
        shaded=run_day(profile, orders, params.market, shade=True),
        lag_hours=compute_lag(params.market),
    )


def _assess(day: ChainDay, profile: Profile, params: ChainParams) -> MarketDay:
    """The chain's trades in the terms of `run_day`; the credits are those of the chain's accounts."""
    delivered = chain.from_iterable(deliver(profile, hour, trades) for hour, trades in enumerate(day.trades))
    records = {name: CreditRecord(initial_upt=credit_upt) for name, credit_upt in day.credits_upt.items()}
    return summarise(len(day.trades), list(delivered), records, params.market)


def check_races(races: Sequence[Race]) -> list[ResultCheck]:
    """Check that nodes refused none of each other's headers, and that every block was counted."""
    refused = sum(race.refused for race in races)
    counted = all(sum(racer.sealed for racer in race.racers) == race.blocks for race in races)
    total = sum(race.blocks for race in races)
    return [
        ResultCheck("every header passed on every node", refused == 0, f"{refused} refused in {len(races)} races"),
        ResultCheck("every block was counted", counted, f"{total} blocks under the credits that were earned"),
    ]


def check_day(comparison: Comparison) -> list[ResultCheck]:
    """Check that the nodes cleared and scored what the plain functions did."""
    central, day = comparison.central, comparison.on_chain
    differing = len(set(day.trades) ^ set(central.trades))
    void = comparison.chain.void_hours
    return [
        ResultCheck(
            "every hour was certified and settled",
            not void,
            f"{len(comparison.chain.trades) - len(void)} of {len(comparison.chain.trades)} hours",
        ),
        ResultCheck(
            "the chain cleared what the operator did",
            day.trades == central.trades,
            f"{len(day.trades)} trades on the chain, {len(central.trades)} by the operator, {differing} differ",
        ),
        ResultCheck(
            "the chain's credits follow from the deliveries",
            dict(day.credits_upt) == dict(central.credits_upt),
            f"{len(central.credits_upt)} players",
        ),
        ResultCheck(
            "no node refused a block of the day",
            comparison.chain.refused == 0,
            f"{comparison.chain.blocks} blocks, {comparison.chain.side_blocks} beside the chain",
        ),
    ]
