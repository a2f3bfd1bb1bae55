"""Forks and credit in full nodes: low-credit forks, one member's own, the loss of the best member."""

from __future__ import annotations

from functools import partial
from math import exp, fsum, log
from typing import Any, Literal, Self, cast

from pydantic import Field, model_validator

from simulation.attacks.long_range import LongRange, LongRangeSettings
from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.scenarios.networks import (
    INTERVAL_MS,
    TAU_UPT,
    Attacker,
    deal_shares,
    end_film,
    make_attack_network,
    run_while,
)
from simulation.theory.formulas import naive_work_give_up, poca_shares
from simulation.world.given_credit import StandingWorld, compute_n_diff_for
from simulation.world.links import Constant, Links
from simulation.world.recorder import Recorder

_BEST_UPT = 100_000_000
_HASHES_PER_S = 10_000
_FORK_HEIGHT = 1
_NEVER = 10**6  # intervals, more than any trial lasts: no relief


class ForkWorld(Settings):
    """A member that forks off z blocks below the head, against honest ones with 100 points of credit."""

    q: float = Field(default=0.4, gt=0, lt=1, description="its share of the hash power")
    weight: int = Field(
        default=8, ge=1, le=20_000, description="e^{ΔC/τ}: how many times rarer its blocks are for its lack of credit"
    )
    z: int = Field(default=4, ge=1, le=100, description="blocks that the chain is ahead when it begins")
    work: Literal["credit-free", "naive"] = Field(
        default="credit-free", description="what counts as work: naive takes the credit-scaled target for it"
    )
    give_up: int = Field(default=40, ge=1, le=10_000, description="honest blocks behind at which it stops")
    slot_blocks: int = Field(default=0, ge=0, le=10_000, description="blocks between checkpoints; 0: no checkpoints")
    diversity_window: int = Field(default=0, ge=0, le=100, description="of so many blocks …; 0: no limit")
    diversity_limit: int = Field(default=1, ge=1, le=100, description="… one member seals at most so many")
    honest: int = Field(default=2, ge=1, le=50, description="honest members")

    @model_validator(mode="after")
    def _check_diversity(self) -> Self:
        if 0 < self.diversity_window <= self.diversity_limit:
            raise ValueError("diversity_limit must be below diversity_window")
        return self

    @property
    def credits_upt(self) -> dict[str, int]:
        low_upt = _BEST_UPT - round(TAU_UPT * log(self.weight))
        return {name: low_upt if name == "attacker" else _BEST_UPT for name in deal_shares(self.q, self.honest)}


def open_standing_world(
    credits_upt: dict[str, int],
    shares: dict[str, float],
    *,
    slot_blocks: int,
    consensus: dict[str, Any],
    **options: Any,
) -> StandingWorld:
    """Full nodes with these credits and shares of the hash power, a block per ten seconds of all of them together."""
    hash_rates = {name: round(share * _HASHES_PER_S) for name, share in shares.items()}
    tau_upt = consensus.get("tau_upt", TAU_UPT)
    n_diff = compute_n_diff_for(credits_upt, hash_rates, tau_upt=tau_upt, interval_ms=INTERVAL_MS)
    frozen = {"n_diff_initial": n_diff, "n_diff_min": n_diff, "n_diff_max": n_diff}
    network = make_attack_network(list(shares), slot_blocks=slot_blocks, is_frozen=False, **{**frozen, **consensus})
    return StandingWorld(network.genesis, network.keys, credits_upt=credits_upt, hash_rate=hash_rates, **options)


def run_fork(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """One fork, until it is shown or given up."""
    settings = cast(ForkWorld, given)
    policy = LongRangeSettings(from_height=_FORK_HEIGHT, until_height=_FORK_HEIGHT + settings.z)
    attacker = Attacker(partial(LongRange, settings=policy))
    diversity = {"diversity_window": settings.diversity_window, "diversity_limit": settings.diversity_limit}
    world = open_standing_world(
        settings.credits_upt,
        deal_shares(settings.q, settings.honest),
        slot_blocks=settings.slot_blocks,
        consensus={"relief_after": 12 if settings.diversity_window else _NEVER, **diversity},
        seed=seed,
        links=Links(latency=Constant(1)),
        work_rule=settings.work,
        policies={"attacker": attacker},
    )
    recorder = Recorder(world) if record else None
    chain = world.node("h0").chain
    run_while(world, lambda: not attacker.policy.has_begun, 1_000)
    block_work = world.node("h0").chain.head.work // max(1, chain.head.height)

    def goes_on() -> bool:
        behind = attacker.policy.public_head.work - attacker.policy.secret_head.work
        return not attacker.policy.is_shown and behind < settings.give_up * block_work

    run_while(world, goes_on, 100 * settings.give_up)
    is_undecided = goes_on()
    world.run_for(2 * INTERVAL_MS)
    first = chain.get_header(chain.hash_at(_FORK_HEIGHT + 1) or b"")
    key = world.peers["attacker"].key.public_key
    return Trial(
        replay=end_film(recorder, "credit-fork", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "attempts": 1,
            "heavier": int(attacker.policy.is_shown),
            "undecided": int(is_undecided),
            "reverted": int(first is not None and first.producer == key),
            "deepest_reorg": chain.counters.deepest_reorg,
            "final_height": chain.final_height,
        },
    )


def _predict_heavier(given: Settings) -> Theory | None:
    """By the naive rule credit cancels out; by ours the fork has to find more blocks, at its own rate."""
    settings = cast(ForkWorld, given)
    if settings.diversity_window:
        return None
    if settings.work == "naive":
        return naive_work_give_up.predict(settings.q, settings.z, settings.weight, settings.give_up)
    rate = settings.q / settings.weight
    value = naive_work_give_up(rate / (rate + 1 - settings.q), settings.z, 1, settings.give_up)
    source = "gambler's ruin from z behind to one ahead or to giving up, at the odds h_a/h_h · e^{−ΔC/τ}"
    return Theory(name="credit_free_revert", value=value, source=source)


CREDIT_FORK = Scenario(
    name="credit-fork",
    about="A member with little credit forks off far back; under the naive work rule it wins as if it had full credit.",
    settings=ForkWorld,
    run=run_fork,
    film=partial(run_fork, record=True),
    metrics=(
        Metric(
            name="fork became heavier",
            kind="share",
            column="heavier",
            out_of="attempts",
            theory=_predict_heavier,
            cut_off="undecided",
        ),
        Metric(name="chain reverted", kind="share", column="reverted", out_of="attempts"),
        Metric(name="deepest reorg", kind="mean", column="deepest_reorg", unit="blocks"),
    ),
)


# --- loss of the best member ---------------------------------------------------------------------


class LossWorld(Settings):
    """Members of equal hash power; the one with the most credit goes silent."""

    members: int = Field(default=4, ge=2, le=50, description="members of equal hash power")
    best: float = Field(default=100.0, ge=0, le=100, description="credit of the best, points")
    others: float = Field(default=90.0, ge=0, le=100, description="credit of each other, points")
    tau: float = Field(default=1.0, ge=1, le=100, description="credit temperature, points")
    relief_after: int = Field(default=12, ge=0, le=1_000, description="intervals until the target doubles; 0: never")
    patience: int = Field(default=2_000, ge=1, le=100_000, description="intervals that one waits for the next block")

    @property
    def left(self) -> float:
        """The others' share of the blocks, Eq. (11)."""
        credits = (self.best, *[self.others] * (self.members - 1))
        return fsum(poca_shares(credits, self.tau)[1:])


def run_loss(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """A few blocks, the loss, and the wait for the next one."""
    settings = cast(LossWorld, given)
    names = ["best", *(f"m{index}" for index in range(1, settings.members))]
    credits_upt = {name: round((settings.best if name == "best" else settings.others) * 1_000_000) for name in names}
    world = open_standing_world(
        credits_upt,
        dict.fromkeys(names, 1 / settings.members),
        slot_blocks=0,
        consensus={"tau_upt": round(settings.tau * 1_000_000), "relief_after": settings.relief_after or _NEVER},
        seed=seed,
        links=Links(latency=Constant(1)),
        pace_ms={"heartbeat": 10 * INTERVAL_MS},
    )
    recorder = Recorder(world) if record else None
    chain = world.node("m1").chain
    world.run_until(lambda: chain.head.height == 2, limit_ms=1_000 * INTERVAL_MS)
    world.crash("best")
    last = chain.head.header
    run_while(world, lambda: chain.head.height == last.height, settings.patience)
    following = chain.get_header(chain.hash_at(last.height + 1) or b"")
    is_back = following is not None
    waited_ms = (world.now_ms if following is None else following.timestamp_ms) - last.timestamp_ms
    return Trial(
        replay=end_film(recorder, "best-member-lost", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "attempts": 1,
            "stalled": int(not is_back),
            "waited": waited_ms / INTERVAL_MS,
        },
    )


def compute_wait(left: float, relief_after: int) -> float:
    """The mean wait for the others' next block in intervals, without an end to the waiting.

    They find blocks at `left` per interval, twice as fast from each interval after `relief_after` on; 0: never faster.
    """
    if not relief_after:
        return 1 / left
    survival, mean = exp(-left * relief_after), (1 - exp(-left * relief_after)) / left
    for steps in range(256):
        rate = left * 2.0**steps
        mean += survival * (1 - exp(-rate)) / rate
        survival *= exp(-rate)
    return mean


def compute_stall(left: float, relief_after: int, patience: int) -> float:
    """The chance that the wait of `compute_wait` is longer than so many intervals."""
    slow = min(patience, relief_after) if relief_after else patience
    return exp(-left * (slow + 2.0 ** min(patience - slow, 256) - 1))


_STALL_SOURCE = "exponential wait at the others' share, Eq. (11), doubled by relief"


def _predict_wait(given: Settings) -> Theory:
    """Of all waits, to their end: what is cut off at `patience` is known to be no less."""
    settings = cast(LossWorld, given)
    return Theory(name="stall", value=compute_wait(settings.left, settings.relief_after), source=_STALL_SOURCE)


def _predict_stalled(given: Settings) -> Theory:
    settings = cast(LossWorld, given)
    beyond = compute_stall(settings.left, settings.relief_after, settings.patience)
    return Theory(name="stall", value=beyond, source=_STALL_SOURCE)


BEST_MEMBER_LOST = Scenario(
    name="best-member-lost",
    about="The member with the most credit goes silent: how long until there are blocks again.",
    settings=LossWorld,
    run=run_loss,
    film=partial(run_loss, record=True),
    metrics=(
        Metric(
            name="wait for the next block",
            kind="mean",
            column="waited",
            unit="intervals",
            theory=_predict_wait,
            cut_off="stalled",
            limit="patience",
        ),
        Metric(
            name="no block in all the time", kind="share", column="stalled", out_of="attempts", theory=_predict_stalled
        ),
    ),
)
