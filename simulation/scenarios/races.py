"""Races without a network: what has a closed form, drawn by `simulation.theory.montecarlo`. The cheapest scenarios."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Literal, Self, TypeVar, cast

from pydantic import Field, model_validator

from simulation.errors import MissingExtra
from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.theory.formulas import (
    double_spend_exact,
    double_spend_give_up,
    double_spend_strict,
    double_spend_strict_give_up,
    naive_work_revert,
    poca_shares,
    poca_without,
    selfish_revenue,
    stale_fraction_of_miners,
)

S = TypeVar("S", bound=Settings)


def get_montecarlo() -> ModuleType:
    """The races, imported when one is run. Raises `MissingExtra` without numpy."""
    try:
        return import_module("simulation.theory.montecarlo")
    except ModuleNotFoundError:
        raise MissingExtra(what="a race", package="numpy") from None


def _typed(kind: type[S], function: Callable[[S], Theory | None]) -> Callable[[Settings], Theory | None]:
    """A theory of one scenario's settings as one of any settings, which is what a metric takes."""
    return lambda settings: function(cast(S, settings))


# --- double spend --------------------------------------------------------------------------------


class DoubleSpendRace(Settings):
    """An attacker starts level when the merchant's confirmations begin."""

    q: float = Field(default=0.3, ge=0, lt=0.5, description="the attacker's share of the hash rate")
    z: int = Field(default=6, ge=0, le=1_000, description="confirmations that the merchant waits for")
    goal: Literal["tie", "ahead"] = Field("tie", description="whether a tie is enough or it must be strictly ahead")
    give_up: int = Field(
        default=0, ge=0, le=1_000, description="deficit in blocks at which the attacker stops; 0: never"
    )
    races: int = Field(default=10_000, ge=1, le=1_000_000, description="races per trial")


def run_double_spend(settings: Settings, seed: int) -> Trial:
    """Races, and how many the attacker won."""
    assert isinstance(settings, DoubleSpendRace)
    count = get_montecarlo().race_double_spend(
        settings.q,
        settings.z,
        settings.races,
        seed,
        lead=int(settings.goal == "ahead"),
        give_up=settings.give_up or None,
    )
    return Trial(row={"won": count.successes, "races": count.trials})


def _predict_double_spend(settings: DoubleSpendRace) -> Theory | None:
    if settings.give_up:
        stopping = double_spend_give_up if settings.goal == "tie" else double_spend_strict_give_up
        return stopping.predict(settings.q, settings.z, settings.give_up)
    theory = double_spend_exact if settings.goal == "tie" else double_spend_strict
    return theory.predict(settings.q, settings.z)


DOUBLE_SPEND_RACE = Scenario(
    name="double-spend-race",
    about="An attacker races z confirmations, counted. Chances below 1e-5 are for double-spend-tail.",
    settings=DoubleSpendRace,
    run=run_double_spend,
    metrics=(
        Metric(
            name="attacker wins",
            kind="share",
            column="won",
            out_of="races",
            theory=_typed(DoubleSpendRace, _predict_double_spend),
        ),
    ),
)


class DoubleSpendTail(Settings):
    """The same race without giving up, for chances too small to count."""

    q: float = Field(default=0.3, gt=0, lt=0.5, description="the attacker's share of the hash rate")
    z: int = Field(default=50, ge=0, le=1_000, description="confirmations that the merchant waits for")
    goal: Literal["tie", "ahead"] = Field("tie", description="whether a tie is enough or it must be strictly ahead")
    races: int = Field(default=10_000, ge=2, le=1_000_000, description="races per trial")


def run_double_spend_tail(settings: Settings, seed: int) -> Trial:
    """One importance-sampled estimate and its variance."""
    assert isinstance(settings, DoubleSpendTail)
    lead = int(settings.goal == "ahead")
    sample = get_montecarlo().sample_double_spend(settings.q, settings.z, settings.races, seed, lead=lead)
    return Trial(row={"estimate": sample.value, "variance": sample.variance, "races": sample.trials})


def _predict_tail(settings: DoubleSpendTail) -> Theory:
    theory = double_spend_exact if settings.goal == "tie" else double_spend_strict
    return theory.predict(settings.q, settings.z)


DOUBLE_SPEND_TAIL = Scenario(
    name="double-spend-tail",
    about="An attacker races z confirmations, by importance sampling: chances down to 1e-100.",
    settings=DoubleSpendTail,
    run=run_double_spend_tail,
    metrics=(
        Metric(name="attacker wins", kind="mean", column="estimate", theory=_typed(DoubleSpendTail, _predict_tail)),
        Metric(name="variance of one trial", kind="mean", column="variance"),
    ),
)


class NaiveWorkRace(Settings):
    """A low-credit fork against an honest chain z blocks ahead, where credit-scaled targets count as work."""

    q: float = Field(default=0.3, gt=0, lt=0.5, description="the attacker's share of the hash rate")
    z: int = Field(default=6, ge=0, le=10_000, description="blocks the honest chain is ahead")
    weight: int = Field(
        default=1_000, ge=1, le=1_000_000, description="work of an attacker's block in honest ones: e^{ΔC/τ}"
    )
    races: int = Field(default=10_000, ge=1, le=1_000_000, description="races per trial")


def run_naive_work(settings: Settings, seed: int) -> Trial:
    """Races, and how many forks ever had more work."""
    assert isinstance(settings, NaiveWorkRace)
    count = get_montecarlo().race_naive_work(settings.q, settings.z, settings.weight, settings.races, seed)
    return Trial(row={"won": count.successes, "races": count.trials})


NAIVE_WORK_RACE = Scenario(
    name="naive-work-race",
    about="A low-credit fork under the naive work rule, which lets it win however many blocks it is behind.",
    settings=NaiveWorkRace,
    run=run_naive_work,
    metrics=(
        Metric(
            name="fork wins",
            kind="share",
            column="won",
            out_of="races",
            theory=_typed(NaiveWorkRace, lambda given: naive_work_revert.predict(given.q, given.z, given.weight)),
        ),
    ),
)


# --- selfish mining and stale blocks -------------------------------------------------------------


class SelfishRace(Settings):
    """A selfish pool against everybody else."""

    alpha: float = Field(default=0.3, ge=0, lt=0.5, description="the pool's share of the hash rate")
    gamma: float = Field(
        default=0.5, ge=0, le=1, description="share of the honest hash rate on the pool's block in a tie"
    )
    blocks: int = Field(default=20_000, ge=1, le=10_000_000, description="blocks found per trial")


def run_selfish(settings: Settings, seed: int) -> Trial:
    """Canonical blocks, and the pool's share of them."""
    assert isinstance(settings, SelfishRace)
    count = get_montecarlo().mine_selfishly(settings.alpha, settings.gamma, settings.blocks, seed)
    revenue = count.pool / (count.pool + count.others)
    return Trial(row={"pool": count.pool, "others": count.others, "revenue": revenue})


SELFISH_RACE = Scenario(
    name="selfish-race",
    about="The state machine of Eyal and Sirer: what a pool gains by withholding blocks.",
    settings=SelfishRace,
    run=run_selfish,
    metrics=(
        Metric(
            name="pool's revenue",
            kind="mean",
            column="revenue",
            theory=_typed(SelfishRace, lambda given: selfish_revenue.predict(given.alpha, given.gamma)),
        ),
    ),
)


class StaleRace(Settings):
    """Equal miners whose blocks all take the same time to the others."""

    delay_s: float = Field(default=1.0, ge=0, le=1e6, description="delay of a block to all others, s")
    interval_s: float = Field(default=10.0, gt=0, le=1e6, description="mean time between blocks, s")
    miners: int = Field(default=100, ge=1, le=100_000, description="miners of equal hash rate")
    blocks: int = Field(default=20_000, ge=1, le=10_000_000, description="blocks found per trial")


def run_stale(settings: Settings, seed: int) -> Trial:
    """Blocks found, and the fraction that the longest chain leaves out."""
    assert isinstance(settings, StaleRace)
    count = get_montecarlo().race_stale(settings.delay_s, settings.interval_s, settings.miners, settings.blocks, seed)
    return Trial(row={"stale": count.stale, "blocks": count.blocks, "fraction": count.stale / count.blocks})


def _predict_stale(settings: StaleRace) -> Theory:
    return stale_fraction_of_miners.predict(settings.delay_s, settings.interval_s, settings.miners)


STALE_RACE = Scenario(
    name="stale-race",
    about="Blocks lost to the delay between miners. The theory is for many miners or short delays.",
    settings=StaleRace,
    run=run_stale,
    metrics=(
        Metric(
            name="stale fraction of all blocks",
            kind="mean",
            column="fraction",
            theory=_typed(StaleRace, _predict_stale),
        ),
    ),
)


# --- proof of credit assessment ------------------------------------------------------------------


class PocaRace(Settings):
    """Members of equal hash rate and credits in equal steps race for every block."""

    members: int = Field(default=10, ge=2, le=1_000, description="members of equal hash rate")
    lowest: float = Field(default=90.0, ge=0, le=100, description="the lowest credit, points")
    highest: float = Field(default=100.0, ge=0, le=100, description="the highest credit, points")
    tau: float = Field(default=1.0, ge=0.1, le=1_000, description="credit temperature, points")
    blocks: int = Field(default=10_000, ge=1, le=10_000_000, description="blocks per trial")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.lowest > self.highest:
            raise ValueError("the lowest credit is above the highest")
        return self

    @property
    def credits(self) -> tuple[float, ...]:
        """By rising credit."""
        step = (self.highest - self.lowest) / (self.members - 1)
        return tuple(min(self.highest, self.lowest + index * step) for index in range(self.members))


def run_poca(settings: Settings, seed: int) -> Trial:
    """Blocks, and how many went to the members with the highest and the lowest credit."""
    assert isinstance(settings, PocaRace)
    wins = get_montecarlo().race_poca(settings.credits, settings.tau, settings.blocks, seed)
    return Trial(
        row={"best": wins[-1], "worst": wins[0], "blocks": settings.blocks, "without": sum(not won for won in wins)}
    )


def _predict_share(settings: PocaRace, index: int) -> Theory:
    share = poca_shares(settings.credits, settings.tau)[index]
    return Theory(name=poca_shares.name, value=share, source=poca_shares.source)


POCA_RACE = Scenario(
    name="poca-race",
    about="The race for blocks by credit, Eq. (11): what the best and the worst member get under a temperature.",
    settings=PocaRace,
    run=run_poca,
    metrics=(
        Metric(
            name="best member's blocks",
            kind="share",
            column="best",
            out_of="blocks",
            theory=_typed(PocaRace, lambda given: _predict_share(given, -1)),
        ),
        Metric(
            name="worst member's blocks",
            kind="share",
            column="worst",
            out_of="blocks",
            theory=_typed(PocaRace, lambda given: _predict_share(given, 0)),
        ),
        Metric(
            name="members without a block",
            kind="mean",
            column="without",
            theory=_typed(PocaRace, lambda given: poca_without.predict(given.credits, given.tau, given.blocks)),
        ),
    ),
)
