"""A market day on three chains in full nodes, with every invariant on: in peace, and among faults."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Literal, cast

from pydantic import Field, model_validator

from simulation.experiments.scenario import Metric, Scenario, Settings, Trial, Value, trial_command
from simulation.world.gossip_only import name_neighbours
from simulation.world.invariants import Invariants
from simulation.world.link_files import packaged_links
from simulation.world.market_script import CLOCK, GRID, MarketScript
from simulation.world.networks import SmallNetwork, make_consensus, make_network
from simulation.world.recorder import Recorder
from simulation.world.world import World, open_worlds

_HASHES_PER_S = 1_000_000  # of all sealers together


class DaySettings(Settings):
    """Prosumers, some of which seal on all three chains. A day's hours are followed through to their settlement."""

    peers: int = Field(default=6, ge=4, le=500, description="full nodes, each on all three chains")
    sealers: int = Field(default=4, ge=4, le=100, description="those of them that seal and sign")
    hours: int = Field(default=2, ge=1, le=168, description="delivery periods that are traded")
    traders: int = Field(default=2, ge=1, le=100, description="prosumers that sell in an hour, and as many that buy")
    period_ms: int = Field(default=3_600_000, ge=12_000, le=86_400_000, description="Δt, ms")
    interval_ms: int = Field(default=300_000, ge=500, le=3_600_000, description="time between blocks on a chain, ms")
    degree: int = Field(default=0, ge=0, le=100, description="neighbours of a peer on average; 0: all others")
    links: Literal["city", "internet"] = Field(default="city", description="which links of configs/lab")
    check_every_ms: int = Field(
        default=3_600_000, ge=1_000, le=10**9, description="time between deep checks of the invariants, ms"
    )

    @model_validator(mode="after")
    def _check(self) -> DaySettings:
        if self.sealers > self.peers or 2 * self.traders > self.peers:
            raise ValueError("sealers, and twice the traders, must not be above peers")
        if self.degree and not 2 <= self.degree < self.peers:
            raise ValueError("degree must be 0, or at least 2 and below peers")
        if self.period_ms < 12 * self.interval_ms:
            raise ValueError("a period must have 12 intervals or more: each step of the market waits for blocks")
        return self


class FaultySettings(DaySettings):
    """The same, with faults that a network of honest members must outlive."""

    loss_ppm: int = Field(default=20_000, ge=0, le=500_000, description="messages lost")
    duplicate_ppm: int = Field(default=20_000, ge=0, le=1_000_000, description="messages that come twice")
    corrupt_ppm: int = Field(default=5_000, ge=0, le=500_000, description="messages that come damaged")
    faults: int = Field(default=6, ge=0, le=1_000, description="crashes, pauses, partitions, full disks, wrong clocks")


def make_day(settings: DaySettings, seed: int, kind: type[World] = World) -> tuple[SmallNetwork, dict[str, World]]:
    """The network of a day, its links and its worlds, of a kind of `World`."""
    names = [f"n{index}" for index in range(settings.peers)]
    sealers = names[: settings.sealers]
    network = make_network(
        names,
        period_ms=settings.period_ms,
        consensus=make_consensus(_HASHES_PER_S, CLOCK.initial_credit_upt, interval_ms=settings.interval_ms),
        market=CLOCK,
        scheduling=GRID,
        sealers=sealers,
    )
    faults = {}
    if isinstance(settings, FaultySettings):
        fields = ("loss_ppm", "duplicate_ppm", "corrupt_ppm")
        faults = {name: getattr(settings, name) for name in fields}
    random = Random(f"{seed}/day")
    worlds = open_worlds(
        network.genesis,
        network.keys,
        seed=seed,
        links=packaged_links(settings.links).links(names, random, **faults),
        hash_rate={name: _HASHES_PER_S // len(sealers) for name in sealers},
        sealing="drawn",
        neighbours=name_neighbours(names, settings.degree, random) if settings.degree else None,
        pace_ms={"heartbeat": settings.interval_ms, "repeat": settings.period_ms // 2},
        kind=kind,
    )
    return network, worlds


class Mishaps:
    """One fault after another, each on a machine with all its chains, each over before a quarter of a Δt is."""

    def __init__(self, worlds: dict[str, World], *, count: int, end_ms: int, seed: int) -> None:
        self._worlds = list(worlds.values())
        self._random = Random(f"{seed}/mishaps")
        self._names = list(self._worlds[0].peers)
        time = self._worlds[0].time
        start_ms = time.now_ms
        span_ms = max(1, (end_ms - start_ms) // max(1, count))
        for number in range(count):
            begin_ms = start_ms + number * span_ms
            time.at(begin_ms + self._random.randrange(max(1, span_ms // 2)), self._befall, span_ms // 3)

    def _befall(self, lasting_ms: int) -> None:
        kind = self._random.choice(("crash", "pause", "partition", "one way", "full disk", "slow disk", "clock"))
        name, other = self._random.sample(self._names, 2)
        again_ms = self._worlds[0].now_ms + self._random.randrange(lasting_ms // 2, lasting_ms + 1)
        for world in self._worlds:
            match kind:
                case "crash":
                    if world.is_up(name):
                        world.crash(name)
                case "pause":
                    world.pause(name)
                case "partition":
                    world.partition({name}, set(self._names) - {name})
                case "one way":
                    world.cut(name, other, one_way=True)
                case "full disk":
                    world.set_disk(name, full=True)
                case "slow disk":
                    world.set_disk(name, delay_ms=200)
                case "clock":
                    world.set_skew(name, self._random.choice((-2_000, 2_000)))
            world.at(again_ms, partial(self._restore, world, name))

    @staticmethod
    def _restore(world: World, name: str) -> None:
        """All is as it was, but that it has happened."""
        if world.peers[name].condition.is_paused:
            world.resume(name)
        world.set_disk(name)
        world.set_skew(name, 0)
        world.heal()
        if world.peers[name].node is None:
            world.start(name)


def run_day(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """Trade, deliver, settle; then all peers must hold one chain again."""
    settings = cast(DaySettings, given)
    name = "faulty-day" if isinstance(settings, FaultySettings) else "honest-day"
    network, worlds = make_day(settings, seed)
    trading = worlds["JY1"]
    recorder = Recorder(trading)
    invariants = Invariants(
        worlds.values(), command=trial_command(name, settings, seed), deep_every_ms=settings.check_every_ms
    )
    day = MarketScript(worlds, network, hours=settings.hours, traders=settings.traders, seed=seed)
    if isinstance(settings, FaultySettings):
        Mishaps(worlds, count=settings.faults, end_ms=day.end_ms, seed=seed)
    trading.run_for(day.end_ms - trading.now_ms)
    for world in worlds.values():
        world.run_until(partial(_agree, world), limit_ms=40 * settings.interval_ms)
    invariants.check_deeply()
    peers = [peer for world in worlds.values() for peer in world.peers.values()]
    row: dict[str, Value] = {
        "hours": settings.hours,
        "settled": day.count_settled(recorder.reference),
        "given_up": sum(day.given_up.values()),
        "blocks": len(recorder.found),
        "stale": recorder.stale_count,
        "reorgs": len(recorder.reorg_depths),
        "refused": sum(len(peer.refused) for peer in peers),
        "events": trading.time.happened,
        "log": trading.time.log_hash()[:16],
    }
    replay = recorder.to_replay(scenario=name, settings=settings.model_dump(), seed=seed) if record else None
    return Trial(row=row, replay=replay)


def _agree(world: World) -> bool:
    return len(world.heads()) == 1


_METRICS = (
    Metric(name="hours settled", kind="share", column="settled", out_of="hours"),
    Metric(name="stale blocks of JY1", kind="share", column="stale", out_of="blocks"),
)

HONEST_DAY = Scenario(
    name="honest-day",
    about="Three chains, orders and meters, no fault: every invariant holds; an hour lapses where no block is in time.",
    settings=DaySettings,
    run=run_day,
    metrics=_METRICS,
    film=partial(run_day, record=True),
)
FAULTY_DAY = Scenario(
    name="faulty-day",
    about="An honest-day with loss, damage, crashes, partitions, full disks and wrong clocks: every invariant holds.",
    settings=FaultySettings,
    run=run_day,
    metrics=_METRICS,
    film=partial(run_day, record=True),
)
