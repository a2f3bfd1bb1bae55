"""Equivocation: what two blocks on one parent gain, and what they cost."""

from __future__ import annotations

from functools import partial
from typing import cast

from pydantic import Field

from ledger.accounts import get_account
from ledger.overlay import Overlay
from ledger.params import MarketParams
from simulation.attacks.equivocation import Equivocator
from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.scenarios.networks import (
    INTERVAL_MS,
    TAU_UPT,
    Attacker,
    count_canonical,
    deal_shares,
    end_film,
    make_attack_network,
    open_world,
)
from simulation.theory.formulas import poca_shares
from simulation.world.recorder import Recorder


class EquivocationWorld(Settings):
    """A member that seals every block twice, and honest ones that share the rest of the hash power."""

    share: float = Field(default=0.25, gt=0, lt=1, description="its share of the hash power")
    cost_points: int = Field(default=20, ge=0, le=100, description="credit that an offence costs, points")
    honest: int = Field(default=3, ge=1, le=50, description="honest members")
    slot_blocks: int = Field(default=3, ge=1, le=10_000, description="blocks between checkpoints; four make a period")
    blocks: int = Field(default=60, ge=10, le=100_000, description="intervals before its share is counted, and then")


def run(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """Two stretches of the chain; the second shows what is left of the culprit's share."""
    settings = cast(EquivocationWorld, given)
    shares = deal_shares(settings.share, settings.honest)
    cost_upt = settings.cost_points * 1_000_000
    network = make_attack_network(list(shares), slot_blocks=settings.slot_blocks, equivocation_cost_upt=cost_upt)
    attacker = Attacker(Equivocator)
    world = open_world(network, shares, seed=seed, attackers={"attacker": attacker})
    recorder = Recorder(world) if record else None
    world.run_for(settings.blocks * INTERVAL_MS)
    node = world.node("h0")
    start_height, offences = node.chain.head.height, attacker.policy.offences
    world.run_for(settings.blocks * INTERVAL_MS)
    counts = count_canonical(node, start_height)
    culprit = network.keys["attacker"]
    account = get_account(Overlay(node.chain.head.state), culprit.address)
    return Trial(
        replay=end_film(recorder, "equivocation", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "offences": attacker.policy.offences,
            "early_offences": offences,
            "is_punished": int(account.penalty_upt > 0),
            "credit_points": account.credit_upt // 1_000_000,
            "late_share": counts.get(culprit.public_key, 0) / max(1, sum(counts.values())),
            "side_blocks": node.chain.counters.side_blocks,
            "deepest_reorg": node.chain.counters.deepest_reorg,
        },
    )


def _predict_share(given: Settings) -> Theory:
    """All credit gone after the first few offences, or none of it."""
    settings = cast(EquivocationWorld, given)
    start = MarketParams().initial_credit_upt / 1_000_000
    credit = 0.0 if settings.cost_points else start
    credits = (credit, *[start] * settings.honest)
    rates = tuple(deal_shares(settings.share, settings.honest).values())
    share = poca_shares(credits, TAU_UPT / 1_000_000, rates)[0]
    return Theory(name=poca_shares.name, value=share, source=poca_shares.source)


EQUIVOCATION = Scenario(
    name="equivocation",
    about="A member seals every block twice, one for each half of the network.",
    settings=EquivocationWorld,
    run=run,
    film=partial(run, record=True),
    metrics=(
        Metric(name="offences", kind="mean", column="offences"),
        Metric(name="credit left", kind="mean", column="credit_points", unit="points"),
        Metric(name="culprit's blocks later", kind="mean", column="late_share", unit="of all", theory=_predict_share),
        Metric(name="blocks off the chain", kind="mean", column="side_blocks", unit="blocks"),
    ),
)
