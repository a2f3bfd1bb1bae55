"""A false head: whether honest members go on sealing, voting and committing while one of them makes heads up."""

from __future__ import annotations

from functools import partial
from typing import Literal, cast

from pydantic import Field

from simulation.attacks.false_head import FalseHead, FalseHeadKind, FalseHeadSettings
from simulation.experiments.scenario import Metric, Scenario, Settings, Trial
from simulation.scenarios.networks import INTERVAL_MS, Attacker, end_film, make_attack_network, open_world, pay
from simulation.world.recorder import Recorder

_HONEST = ("h0", "h1", "h2")
_SLOT_BLOCKS = 5
_LAST_ASKED = 3  # intervals before the end after which no transfer is sent: it could not be committed any more


class FalseHeadWorld(Settings):
    """A member without hash power that makes heads up, and three honest ones; a client pays once per interval."""

    kind: FalseHeadKind | Literal["none"] = Field(default="headers", description="what the liar makes up")
    engine: Literal["poca", "pbft"] = Field(default="poca", description="how blocks are agreed on")
    count: int = Field(default=64, ge=1, le=512, description="headers in an answer, or blocks in a burst")
    every_ms: int = Field(default=1_000, ge=1, description="time between claims, ms")
    blocks: int = Field(default=60, ge=10, le=10_000, description="intervals that a trial lasts")


def run(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """Lies from the first moment on, and a client that goes about its business."""
    settings = cast(FalseHeadWorld, given)
    shares = {"liar": 0.0, **dict.fromkeys(_HONEST, 1 / len(_HONEST))}
    network = make_attack_network(list(shares), slot_blocks=_SLOT_BLOCKS, engine=settings.engine)
    attackers = {}
    if settings.kind != "none":
        policy = FalseHeadSettings(kind=settings.kind, count=settings.count, every_ms=settings.every_ms)
        attackers["liar"] = Attacker(partial(FalseHead, settings=policy))
    world = open_world(network, shares, seed=seed, attackers=attackers)
    recorder = Recorder(world) if record else None
    sent = []
    looks = syncing = 0
    for interval in range(settings.blocks):
        if interval < settings.blocks - _LAST_ASKED:
            transfer = pay(world, network.keys["h0"], network.keys["h1"].address, sequence=interval)
            world.submit("h0", transfer)
            sent.append(transfer.id)
        for _ in range(4):
            world.run_for(INTERVAL_MS // 4)
            looks += len(_HONEST)
            syncing += sum(world.node(name).is_syncing for name in _HONEST)
    chain = world.node("h1").chain
    faults = [(culprit, error) for name in _HONEST for culprit, error in world.peers[name].faults]
    return Trial(
        replay=end_film(recorder, "false-head", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "asked": len(sent),
            "committed": sum(chain.find_transaction(identity) is not None for identity in sent),
            "blocks": chain.head.height,
            "final_height": chain.final_height,
            "looks": looks,
            "syncing": syncing,
            "liar_points": sum(error.penalty for culprit, error in faults if culprit == "liar"),
            "honest_points": sum(error.penalty for culprit, error in faults if culprit != "liar"),
            "sent": attackers["liar"].policy.sent if attackers else 0,
        },
    )


FALSE_HEAD = Scenario(
    name="false-head",
    about="A member without hash power says that it is ahead, and feeds made-up headers to whoever asks.",
    settings=FalseHeadWorld,
    run=run,
    film=partial(run, record=True),
    metrics=(
        Metric(name="transfers committed", kind="share", column="committed", out_of="asked"),
        Metric(name="blocks", kind="mean", column="blocks", unit="blocks"),
        Metric(name="final height", kind="mean", column="final_height", unit="blocks"),
        Metric(name="honest nodes that have stopped to catch up", kind="share", column="syncing", out_of="looks"),
        Metric(name="points against the liar", kind="mean", column="liar_points", unit="points"),
        Metric(name="points against the honest", kind="mean", column="honest_points", unit="points"),
    ),
)
