"""Partition and healing: how much a minority loses, and that nothing becomes final on two sides."""

from __future__ import annotations

from functools import partial
from math import exp, fsum, lgamma, log, sqrt
from typing import cast

from pydantic import Field

from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.scenarios.networks import INTERVAL_MS, end_film, find_depth, make_attack_network, open_world, pay
from simulation.world.recorder import Recorder

_MEMBERS = 4
_QUORUM = _MEMBERS - (_MEMBERS - 1) // 3
_WARM_UP = 5  # intervals
_AFTER = 10
_IN_FLIGHT = 2  # intervals in which what was certified before the cut still arrives


class PartitionWorld(Settings):
    """Four members; the first of them are cut off from the others, together."""

    cut_off: int = Field(default=1, ge=1, le=3, description="members on the smaller side")
    share: float = Field(default=0.25, gt=0, lt=1, description="their share of the hash power, together")
    lasts: int = Field(default=20, ge=1, le=10_000, description="intervals until the cut heals")
    slot_blocks: int = Field(default=5, ge=0, le=10_000, description="blocks between checkpoints; 0: no checkpoints")
    retarget: bool = Field(default=False, description="whether the difficulty follows what each side sees")


def run(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """A cut, what each side does with it, and the healing."""
    settings = cast(PartitionWorld, given)
    names = [f"h{index}" for index in range(_MEMBERS)]
    here, there = names[: settings.cut_off], names[settings.cut_off :]
    shares = {
        **dict.fromkeys(here, settings.share / len(here)),
        **dict.fromkeys(there, (1 - settings.share) / len(there)),
    }
    network = make_attack_network(names, slot_blocks=settings.slot_blocks, is_frozen=not settings.retarget)
    world = open_world(network, shares, seed=seed)
    recorder = Recorder(world) if record else None
    world.run_for(_WARM_UP * INTERVAL_MS)
    world.partition(here, there)
    world.run_for(_IN_FLIGHT * INTERVAL_MS)
    minority, majority = world.node(names[0]).chain, world.node(names[-1]).chain
    final_here, final_there = minority.final_height, majority.final_height
    payment = pay(world, network.keys[names[0]], network.keys[names[-1]].address)
    world.submit(names[0], payment)
    world.run_for(max(0, settings.lasts - _IN_FLIGHT) * INTERVAL_MS)
    finals = minority.final_height - final_here, majority.final_height - final_there
    before = minority.counters.deepest_reorg
    world.heal()
    world.run_for(_AFTER * INTERVAL_MS)
    is_deeper = minority.counters.deepest_reorg > before
    return Trial(
        replay=end_film(recorder, "partition", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "attempts": 1,
            "reorg_depth": minority.counters.deepest_reorg if is_deeper else 0,
            "final_here": finals[0],
            "final_there": finals[1],
            "agreed": int(len({world.node(name).chain.hash_at(minority.final_height) for name in names}) == 1),
            "payment_kept": int(find_depth(world.node(names[-1]), payment) > 0),
        },
    )


def _predict_depth(given: Settings) -> Theory | None:
    """The loss of h0's side: all that it found where only the others can certify, else that of the shorter branch."""
    settings = cast(PartitionWorld, given)
    if settings.retarget:
        return None
    if settings.slot_blocks and settings.cut_off >= _QUORUM:
        return None
    if settings.slot_blocks and _MEMBERS - settings.cut_off >= _QUORUM:
        if settings.lasts < 3 * settings.slot_blocks:
            return None  # the others may not have certified anything yet
        value = settings.share * settings.lasts
        return Theory(name="poisson_mean", value=value, source="blocks that the smaller side finds: share · intervals")
    value = compute_loss(settings.share, settings.lasts)
    source = "E[K; K < J] + E[K; K = J]·(1 − share), K and J Poisson: the shorter branch falls, a tie by the next block"
    return Theory(name="shorter_branch", value=value, source=source)


def compute_loss(share: float, intervals: int) -> float:
    """Blocks that a side with that share of the hash power loses on average to the other, if the longer branch wins."""
    here, there = share * intervals, (1 - share) * intervals
    lost, beyond = [], 1.0
    for count in range(int(intervals + 12 * sqrt(intervals)) + 30):
        chance = _poisson(here, count)
        level = _poisson(there, count)
        beyond -= level
        lost.append(count * chance * (beyond + level * (1 - share)))
    return fsum(lost)


def _poisson(mean: float, count: int) -> float:
    return exp(count * log(mean) - mean - lgamma(count + 1))


def _predict_finality(given: Settings) -> Theory | None:
    settings = cast(PartitionWorld, given)
    if settings.slot_blocks and settings.cut_off >= _QUORUM:
        return None
    return Theory(name="quorum", value=0.0, source="more than m of the members must sign, 2(m+1) > n + f")


PARTITION = Scenario(
    name="partition",
    about="A part of the members is cut off and comes back.",
    settings=PartitionWorld,
    run=run,
    film=partial(run, record=True),
    metrics=(
        Metric(name="reorg after healing", kind="mean", column="reorg_depth", unit="blocks", theory=_predict_depth),
        Metric(
            name="final on the smaller side meanwhile",
            kind="mean",
            column="final_here",
            unit="blocks",
            theory=_predict_finality,
        ),
        Metric(name="final on the larger side meanwhile", kind="mean", column="final_there", unit="blocks"),
        Metric(name="agreement afterwards", kind="share", column="agreed", out_of="attempts"),
        Metric(name="payment of the smaller side kept", kind="share", column="payment_kept", out_of="attempts"),
    ),
)
