"""Eclipse: what a victim believes while every link of it leads to the attacker, and what it wakes up to."""

from __future__ import annotations

from functools import partial
from math import exp
from typing import Literal, cast

from pydantic import Field

from ledger.transaction import Transaction
from node.chain.node import ChainNode
from simulation.attacks.eclipse import Eclipse, EclipseSettings
from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.scenarios.networks import (
    INTERVAL_MS,
    Attacker,
    end_film,
    find_depth,
    is_final,
    make_attack_network,
    open_world,
    pay,
    run_while,
)
from simulation.world.recorder import Recorder

_HONEST = ("h0", "h1", "h2")
_WARM_UP = 50  # intervals at most until the branches part
_AFTER = 10  # intervals after the victim has its links again


class EclipseWorld(Settings):
    """Three honest members, an attacker, and a victim that is to be paid; all but the victim see each other."""

    q: float = Field(default=0.2, gt=0, lt=1, description="the attacker's share of the hash power")
    victim_share: float = Field(default=0.1, ge=0, lt=0.5, description="the victim's, which helps the attacker")
    z: int = Field(default=6, ge=1, le=100, description="confirmations that the victim waits for")
    accept: Literal["depth", "final"] = Field(default="depth", description="whether it counts blocks")
    slot_blocks: int = Field(default=0, ge=0, le=10_000, description="blocks between checkpoints; 0: no checkpoints")
    lasts: int = Field(default=30, ge=1, le=10_000, description="intervals until the victim has its links again")
    retarget: bool = Field(default=False, description="whether the difficulty follows what the victim sees")


def run(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """A payment that stands on the secret branch alone, and the end of the eclipse."""
    settings = cast(EclipseWorld, given)
    rest = (1 - settings.q - settings.victim_share) / len(_HONEST)
    shares = {"attacker": settings.q, "victim": settings.victim_share, **dict.fromkeys(_HONEST, rest)}
    network = make_attack_network(list(shares), slot_blocks=settings.slot_blocks, is_frozen=not settings.retarget)
    policy = EclipseSettings(victim=network.keys["victim"].public_key.hex())
    attacker = Attacker(partial(Eclipse, settings=policy))
    world = open_world(network, shares, seed=seed, attackers={"attacker": attacker})
    recorder = Recorder(world) if record else None
    for name in _HONEST:
        world.cut("victim", name)
    run_while(world, lambda: not attacker.policy.has_begun, _WARM_UP)
    payment = pay(world, network.keys["attacker"], network.keys["victim"].address)
    world.submit("attacker", payment)
    victim, began_ms = world.node("victim"), world.now_ms
    final_height = victim.chain.final_height
    run_while(world, lambda: not _believes(victim, payment, settings), settings.lasts)
    is_fooled, took_ms = _believes(victim, payment, settings), world.now_ms - began_ms
    world.run_for(max(0, settings.lasts * INTERVAL_MS - took_ms))
    finals = victim.chain.final_height - final_height
    world.heal()
    world.run_for(_AFTER * INTERVAL_MS)
    return Trial(
        replay=end_film(recorder, "eclipse", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "attempts": 1,
            "fooled": int(is_fooled),
            "robbed": int(is_fooled and not find_depth(victim, payment)),
            "took_ms": took_ms,
            "final_blocks": finals,
            "deepest_reorg": victim.chain.counters.deepest_reorg,
            "rejoined": int(victim.chain.head.hash == world.node("h0").chain.head.hash),
        },
    )


def _believes(node: ChainNode, payment: Transaction, settings: EclipseWorld) -> bool:
    return is_final(node, payment) if settings.accept == "final" else find_depth(node, payment) >= settings.z


def _predict(given: Settings) -> Theory | None:
    """z blocks of a Poisson process of the attacker's and the victim's hash power, within the eclipse."""
    settings = cast(EclipseWorld, given)
    if settings.accept == "final":
        return Theory(name="finality", value=0.0, source="a certificate takes the votes of more than two members")
    if settings.retarget:
        return None
    mean = (settings.q + settings.victim_share) * settings.lasts
    term, below = exp(-mean), 0.0
    for count in range(settings.z):
        below += term
        term *= mean / (count + 1)
    return Theory(name="poisson_tail", value=1 - below, source="P(X ≥ z), X Poisson of mean (q + v)·duration/interval")


ECLIPSE = Scenario(
    name="eclipse",
    about="A victim linked to the attacker alone is paid on a branch that nobody else sees.",
    settings=EclipseWorld,
    run=run,
    film=partial(run, record=True),
    metrics=(
        Metric(name="victim fooled", kind="share", column="fooled", out_of="attempts", theory=_predict),
        Metric(name="payment gone afterwards", kind="share", column="robbed", out_of="attempts"),
        Metric(name="blocks final to the victim meanwhile", kind="mean", column="final_blocks", unit="blocks"),
        Metric(name="deepest reorg of the victim", kind="mean", column="deepest_reorg", unit="blocks"),
    ),
)
