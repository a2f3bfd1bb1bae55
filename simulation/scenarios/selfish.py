"""Selfish mining in full nodes: the pool's share of the canonical blocks against Eyal & Sirer's closed form."""

from __future__ import annotations

from functools import partial
from math import exp
from typing import cast

from pydantic import Field

from simulation.attacks.selfish import SelfishMiner, SelfishSettings
from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.scenarios.credit_forks import open_standing_world
from simulation.scenarios.networks import (
    INTERVAL_MS,
    TAU_UPT,
    Attacker,
    TieBreak,
    count_canonical,
    deal_shares,
    end_film,
    make_attack_network,
    open_world,
    run_while,
)
from simulation.theory.formulas import selfish_revenue
from simulation.world.links import Constant, Links
from simulation.world.recorder import Recorder
from simulation.world.world import World

_HONEST_UPT = 90_000_000
_NEVER = 10**6  # intervals, more than any trial lasts: no relief


class SelfishWorld(Settings):
    """A pool, and honest members that share the rest of the hash power."""

    alpha: float = Field(default=0.35, gt=0, lt=0.5, description="the pool's share of the hash power")
    tie_break: TieBreak = Field(
        default="lower-hash", description="how honest nodes choose between branches of equal work"
    )
    pool_credit: float = Field(
        default=0.0, ge=0, le=10, description="points of credit that the pool has ahead of the honest"
    )
    is_fast: bool = Field(default=False, description="whether the pool's messages overtake those of the honest")
    lead_stubborn: bool = Field(default=False, description=SelfishSettings.model_fields["lead_stubborn"].description)
    fork_stubborn: bool = Field(default=False, description=SelfishSettings.model_fields["fork_stubborn"].description)
    trail: int = Field(default=0, ge=0, le=100, description=SelfishSettings.model_fields["trail"].description)
    honest: int = Field(default=2, ge=1, le=50, description="honest members")
    slot_blocks: int = Field(default=0, ge=0, le=10_000, description="blocks between checkpoints; 0: no checkpoints")
    blocks: int = Field(
        default=300, ge=10, le=100_000, description="intervals that a trial lasts, and on until nothing is withheld"
    )

    @property
    def gamma(self) -> float:
        """Share of the honest hash power that builds on the pool's block in a tie.

        "lower-hash" decides by the toss of a coin that all see alike. Under "first-seen" a fast pool wins over all but
        the finder of the other block, and a slow one over none. Under "higher-credit" at equal credits it is the hash,
        and with more credit than the others the pool wins every tie.
        """
        if self.tie_break == "higher-credit" and self.pool_credit:
            return 1.0
        if self.tie_break != "first-seen":
            return 0.5
        return (self.honest - 1) / self.honest if self.is_fast else 0.0


def run(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """One stretch of the chain from genesis."""
    settings = cast(SelfishWorld, given)
    policy = SelfishSettings(
        lead_stubborn=settings.lead_stubborn, fork_stubborn=settings.fork_stubborn, trail=settings.trail
    )
    attacker = Attacker(partial(SelfishMiner, settings=policy))
    world = _open_world(settings, attacker, seed)
    recorder = Recorder(world) if record else None
    world.run_for(settings.blocks * INTERVAL_MS)
    run_while(world, lambda: bool(attacker.policy.withheld()), settings.blocks)
    node = world.node("h0")
    counts = count_canonical(node)
    own, canonical = counts.get(world.peers["attacker"].key.public_key, 0), sum(counts.values())
    return Trial(
        replay=end_film(recorder, "selfish", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "own": own,
            "canonical": canonical,
            "revenue": own / canonical if canonical else 0.0,
            "reorgs": node.chain.counters.reorgs,
            "deepest_reorg": node.chain.counters.deepest_reorg,
            "final_height": node.chain.final_height,
        },
    )


def _open_world(settings: SelfishWorld, attacker: Attacker[SelfishMiner], seed: int) -> World:
    """The pool has the share alpha of the blocks: what it has ahead in credit it lacks in hash power."""
    shares = deal_shares(settings.alpha, settings.honest)
    if not settings.pool_credit:
        network = make_attack_network(list(shares), slot_blocks=settings.slot_blocks, tie_break=settings.tie_break)
        return open_world(network, shares, seed=seed, links=_links(settings), attackers={"attacker": attacker})
    lead_upt = round(settings.pool_credit * 1_000_000)
    return open_standing_world(
        {name: _HONEST_UPT + lead_upt * (name == "attacker") for name in shares},
        {**shares, "attacker": shares["attacker"] * exp(-lead_upt / TAU_UPT)},
        slot_blocks=settings.slot_blocks,
        consensus={"tie_break": settings.tie_break, "relief_after": _NEVER},
        seed=seed,
        links=_links(settings),
        policies={"attacker": attacker},
    )


def _links(settings: SelfishWorld) -> Links:
    """A pool that hears and speaks at once, among honest members 20 ms apart, or one no faster than they are."""
    if not settings.is_fast:
        return Links(latency=Constant(20))
    swift = Constant(1)
    between = {("pool", ""): swift, ("", "pool"): swift}
    return Links(latency=Constant(20), regions={"attacker": "pool"}, between=between)


def _revenue(given: Settings) -> Theory | None:
    settings = cast(SelfishWorld, given)
    is_stubborn = settings.lead_stubborn or settings.fork_stubborn or settings.trail
    if is_stubborn or settings.slot_blocks:
        return None
    return selfish_revenue.predict(settings.alpha, settings.gamma)


SELFISH = Scenario(
    name="selfish",
    about="A pool withholds blocks, and shows them when that makes honest work worthless.",
    settings=SelfishWorld,
    run=run,
    film=partial(run, record=True),
    metrics=(
        Metric(name="revenue", kind="mean", column="revenue", unit="of the canonical blocks", theory=_revenue),
        Metric(name="deepest reorg", kind="mean", column="deepest_reorg", unit="blocks"),
    ),
)
