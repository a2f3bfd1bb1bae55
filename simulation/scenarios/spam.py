"""Spam: whether honest transactions still get into blocks, and whether anything grows beyond its bound."""

from __future__ import annotations

from functools import partial
from typing import Literal, cast

from pydantic import Field

from ledger.signatures import SigningKey
from simulation.attacks.spam import Spammer, SpamSettings
from simulation.experiments.scenario import Metric, Scenario, Settings, Trial
from simulation.scenarios.networks import (
    INTERVAL_MS,
    Attacker,
    deal_shares,
    end_film,
    make_attack_network,
    open_world,
    pay,
)
from simulation.world.recorder import Recorder
from simulation.world.world import World

_HONEST = 3
_IN_TIME = 3  # blocks within which a transaction should stand in one


class SpamWorld(Settings):
    """A spammer, and three honest members; a client of h0 sends a transfer every other interval."""

    kind: Literal["failing", "waiting", "announcements", "headers", "none"] = Field(
        default="failing", description="what the spammer floods with"
    )
    count: int = Field(default=10, ge=1, le=512, description="items per burst")
    size: int = Field(default=50_000, ge=1, le=60_000, description="payload of one transaction, bytes")
    every_ms: int = Field(default=1_000, ge=1, description="time between bursts, ms")
    blocks: int = Field(default=30, ge=5, le=10_000, description="intervals that a trial lasts")


def run(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """A flood from the first moment on, and a client that goes about its business."""
    settings = cast(SpamWorld, given)
    shares = deal_shares(0.25, _HONEST)
    network = make_attack_network(list(shares))
    attackers = {}
    if settings.kind != "none":
        policy = SpamSettings(kind=settings.kind, count=settings.count, size=settings.size, every_ms=settings.every_ms)
        attackers["attacker"] = Attacker(partial(Spammer, settings=policy))
    world = open_world(network, shares, seed=seed, attackers=attackers)
    recorder = Recorder(world) if record else None
    client = _Client(world, network.keys["h0"], network.keys["h1"].address)
    most_bytes = most_count = 0
    for interval in range(settings.blocks):
        if interval % 2 == 0 and interval < settings.blocks - 2 * _IN_TIME:
            client.send()
        for _ in range(4):
            world.run_for(INTERVAL_MS // 4)
            pool = world.node("h0").mempool
            most_bytes, most_count = max(most_bytes, pool.size_bytes), max(most_count, len(pool))
    waits, waiting = client.waits()
    return Trial(
        replay=end_film(recorder, "spam", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "asked": client.asked,
            "refused": client.refused,
            "committed": len(waits),
            "in_time": sum(wait <= _IN_TIME for wait in waits),
            "longest_wait": max([*waits, *waiting], default=0),
            "longest_unknown": int(bool(waiting)),
            "blocks": world.node("h0").chain.head.height,
            "pool_bytes": most_bytes,
            "pool_count": most_count,
            "sent": attackers["attacker"].policy.sent if attackers else 0,
        },
    )


class _Client:
    """Sends transfers through h0, and looks when they came into a block."""

    def __init__(self, world: World, key: SigningKey, to: bytes) -> None:
        self._world, self._key, self._to = world, key, to
        self._sent: list[tuple[bytes, int]] = []  # id and height at which it was sent
        self.asked = self.refused = 0

    def send(self) -> None:
        height = self._world.node("h0").chain.head.height
        transfer = pay(self._world, self._key, self._to, sequence=len(self._sent))
        self.asked += 1
        (error,) = self._world.submit("h0", transfer)
        if error is None:
            self._sent.append((transfer.id, height))
        else:
            self.refused += 1

    def waits(self) -> tuple[list[int], list[int]]:
        """Blocks from sending to standing in one, of those that do; and so far, of those that wait for it."""
        chain = self._world.node("h0").chain
        found: list[int] = []
        waiting: list[int] = []
        for identity, height in self._sent:
            place = chain.find_transaction(identity)
            header = None if place is None else chain.get_header(place[0])
            if header is None:
                waiting.append(chain.head.height - height)
            else:
                found.append(header.height - height)
        return found, waiting


SPAM = Scenario(
    name="spam",
    about="A member floods mempools and gossip with what costs it nothing.",
    settings=SpamWorld,
    run=run,
    film=partial(run, record=True),
    metrics=(
        Metric(name="committed within three blocks", kind="share", column="in_time", out_of="asked"),
        Metric(name="refused at the door", kind="share", column="refused", out_of="asked"),
        Metric(
            name="longest wait",
            kind="mean",
            column="longest_wait",
            unit="blocks",
            cut_off="longest_unknown",
            limit="blocks",
        ),
        Metric(name="fullest mempool", kind="mean", column="pool_bytes", unit="bytes"),
    ),
)
