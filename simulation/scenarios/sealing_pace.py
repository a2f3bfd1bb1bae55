"""Sealing under a limit on the nonces of an interval (decision 49): machines of unequal speed, and one that cheats."""

from __future__ import annotations

from typing import cast

from pydantic import Field

from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.scenarios.networks import INTERVAL_MS, count_canonical, make_attack_network, run_while
from simulation.theory.formulas import poca_shares
from simulation.world.given_credit import StandingWorld, compute_n_diff_for
from simulation.world.links import Constant, Links

_SLOWEST_PER_S = 1_000  # nonces of the slowest machine
_POINT_UPT = 1_000_000
_SETTLING_BLOCKS = 48  # two windows of the retarget


class PaceWorld(Settings):
    """Members whose machines differ: the less credit one has, the faster its machine."""

    members: int = Field(default=5, ge=2, le=50, description="members")
    lowest: float = Field(default=90.0, ge=0, le=100, description="the lowest credit, points")
    highest: float = Field(default=100.0, ge=0, le=100, description="the highest credit, points")
    tau: float = Field(default=10.0, ge=1, le=100, description="credit temperature, points")
    spread: float = Field(default=30.0, ge=1, le=10_000, description="speed of the fastest machine, in the slowest's")
    limit: float = Field(
        default=0.5, ge=0, le=1_000, description="nonces of an interval, in those of the slowest machine; 0: no limit"
    )
    cheater: float = Field(
        default=1.0, ge=1, le=10_000, description="how many times the limit the fastest takes; 1: it keeps to it"
    )
    blocks: int = Field(default=200, ge=10, le=100_000, description="blocks counted per trial")

    @property
    def credits(self) -> tuple[float, ...]:
        """By rising credit, points."""
        step = (self.highest - self.lowest) / (self.members - 1)
        return tuple(min(self.highest, self.lowest + index * step) for index in range(self.members))

    @property
    def speeds(self) -> tuple[float, ...]:
        """Of their machines, by rising credit, in the slowest's."""
        return tuple(self.spread ** (1 - index / (self.members - 1)) for index in range(self.members))

    @property
    def paces(self) -> tuple[float, ...]:
        """At which they search, in the slowest's."""
        if not self.limit:
            return self.speeds
        first, *others = (min(speed, self.limit) for speed in self.speeds)
        return min(self.speeds[0], first * self.cheater), *others


def run_pace(given: Settings, seed: int) -> Trial:
    """Blocks by member once the difficulty, which was set for full speed, has settled."""
    settings = cast(PaceWorld, given)
    names = [f"m{index}" for index in range(settings.members)]
    credits_upt = {name: round(credit * _POINT_UPT) for name, credit in zip(names, settings.credits, strict=True)}
    speeds = {name: round(speed * _SLOWEST_PER_S) for name, speed in zip(names, settings.speeds, strict=True)}
    tau_upt = round(settings.tau * _POINT_UPT)
    network = make_attack_network(
        names,
        is_frozen=False,
        tau_upt=tau_upt,
        n_diff_initial=compute_n_diff_for(credits_upt, speeds, tau_upt=tau_upt, interval_ms=INTERVAL_MS),
        interval_nonces=round(settings.limit * _SLOWEST_PER_S * INTERVAL_MS / 1_000),
    )
    is_cheating = settings.limit > 0 and settings.cheater > 1
    world = StandingWorld(
        network.genesis,
        network.keys,
        credits_upt=credits_upt,
        seed=seed,
        links=Links(latency=Constant(1)),
        hash_rate=speeds | ({names[0]: round(settings.paces[0] * _SLOWEST_PER_S)} if is_cheating else {}),
        hurried=names[:1] if is_cheating else (),
    )
    chain = world.node(names[0]).chain
    run_while(world, lambda: chain.head.height < _SETTLING_BLOCKS, 100 * _SETTLING_BLOCKS)
    begin = chain.head
    run_while(world, lambda: chain.head.height < begin.height + settings.blocks, 100 * settings.blocks)
    counts = count_canonical(world.node(names[0]), begin.height)
    by_name = {name: counts.get(network.keys[name].public_key, 0) for name in names}
    blocks = chain.head.height - begin.height
    return Trial(
        row={
            "log": world.trace_hash()[:16],
            "fastest": by_name[names[0]],
            "best": by_name[names[-1]],
            "blocks": blocks,
            "settling_intervals": (begin.header.timestamp_ms - network.genesis.time_ms) / INTERVAL_MS,
            "interval_s": (chain.head.header.timestamp_ms - begin.header.timestamp_ms) / blocks / 1_000,
        }
    )


def _predict(given: Settings, index: int) -> Theory:
    settings = cast(PaceWorld, given)
    share = poca_shares(settings.credits, settings.tau, settings.paces)[index]
    return Theory(name=poca_shares.name, value=share, source=poca_shares.source)


def _predict_interval(given: Settings) -> Theory:
    return Theory(name="aim of the retarget", value=INTERVAL_MS / 1_000, source="decision 2")


SEALING_PACE = Scenario(
    name="sealing-pace",
    about="A limit on the nonces of an interval: machines of unequal speed are equal under it, and one may cheat.",
    settings=PaceWorld,
    run=run_pace,
    metrics=(
        Metric(
            name="blocks of the fastest machine",
            kind="share",
            column="fastest",
            out_of="blocks",
            theory=lambda given: _predict(given, 0),
        ),
        Metric(
            name="blocks of the best member",
            kind="share",
            column="best",
            out_of="blocks",
            theory=lambda given: _predict(given, -1),
        ),
        Metric(name="time per block", kind="mean", column="interval_s", unit="s", theory=_predict_interval),
        Metric(name="settling of the difficulty", kind="mean", column="settling_intervals", unit="intervals"),
    ),
)
