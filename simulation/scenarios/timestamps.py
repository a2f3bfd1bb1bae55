"""False timestamps against the retarget: how far liars move the block interval, and what it does for their share."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Literal, cast

from pydantic import Field

from consensus.engine import Ancestry, Engine
from consensus.poca.retarget import MAX_DEVIATION_INTERVALS
from ledger.chain import BlockNode
from ledger.snapshot import Snapshot
from simulation.attacks.timestamps import TimestampAttacker, TimestampSettings
from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.scenarios.networks import (
    INTERVAL_MS,
    Attacker,
    count_canonical,
    deal_shares,
    end_film,
    make_attack_network,
    open_world,
)
from simulation.world.recorder import Recorder
from simulation.world.sealing import DrawnEngine
from simulation.world.world import World

_WARM_UP = 50  # intervals that do not count


class TimestampWorld(Settings):
    """A liar about time, and honest members that share the rest of the hash power."""

    share: float = Field(default=1 / 3, gt=0, lt=1, description="the liar's share of the hash power")
    direction: Literal["backward", "forward", "alternate", "none"] = Field(
        default="backward", description="how the liar dates its blocks"
    )
    ahead_ms: int = Field(default=5_000, ge=0, le=60_000, description="how far ahead it dates, ms; 5 000 is allowed")
    rule: Literal["node", "linear"] = Field(
        default="node", description="how N_diff follows solve times: as in the node, or by the usual linear factor"
    )
    window: int = Field(default=24, ge=12, le=10_000, description="retarget window, blocks")
    honest: int = Field(default=2, ge=1, le=50, description="honest members")
    blocks: int = Field(default=300, ge=10, le=100_000, description="intervals that a trial lasts, after the first 50")


def run(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """One stretch of the chain."""
    settings = cast(TimestampWorld, given)
    shares = deal_shares(settings.share, settings.honest)
    network = make_attack_network(list(shares), is_frozen=False, retarget_window=settings.window)
    attackers = {}
    if settings.direction != "none":
        policy = TimestampSettings(direction=settings.direction, ahead_ms=settings.ahead_ms)
        attackers["attacker"] = Attacker(partial(TimestampAttacker, settings=policy))
    world_type = LinearWorld if settings.rule == "linear" else World
    world = open_world(network, shares, seed=seed, attackers=attackers, world_type=world_type)
    recorder = Recorder(world) if record else None
    world.run_for(_WARM_UP * INTERVAL_MS)
    node = world.node("h0")
    start_height = node.chain.head.height
    world.run_for(settings.blocks * INTERVAL_MS)
    counts = count_canonical(node, start_height)
    own, canonical = counts.get(network.keys["attacker"].public_key, 0), sum(counts.values())
    return Trial(
        replay=end_film(recorder, "timestamps", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "canonical": canonical,
            "own_share": own / max(1, canonical),
            "interval_ratio": settings.blocks / max(1, canonical),
            "side_blocks": node.chain.counters.side_blocks,
        },
    )


class LinearEngine(DrawnEngine):
    """The usual retarget, base · (1 + d/W): a pair of false solve times +x and −x costs (x/W)², so that liars gain."""

    def _next_base(self, parent: BlockNode, chain: Ancestry, snapshot: Snapshot) -> int:
        params = self._params
        if not parent.height:
            return parent.base_n_diff
        _, grandparent = islice(chain.ancestors(parent), 2)
        interval_ms = params.block_interval_ms
        solve_time_ms = parent.header.timestamp_ms - grandparent.header.timestamp_ms
        reach_ms = interval_ms * min(params.retarget_window, MAX_DEVIATION_INTERVALS)
        deviation_ms = max(-reach_ms, min(reach_ms, solve_time_ms - interval_ms))
        span_ms = interval_ms * params.retarget_window
        return max(1, parent.base_n_diff * (span_ms + deviation_ms) // span_ms)


class LinearWorld(World):
    """Full nodes, seals drawn, under a `LinearEngine`."""

    def _make_engine(self) -> Engine:
        return LinearEngine(self.genesis)


def _predict_interval(given: Settings) -> Theory | None:
    if cast(TimestampWorld, given).rule == "linear":
        return None
    source = "docs/decisions/0002-retarget.md: the factors of d and −d cancel"
    return Theory(name="retarget_aim", value=1.0, source=source)


def _predict_share(given: Settings) -> Theory | None:
    """The liar's hash power, where it does not lie.

    Dated ahead, its blocks wait with the others, which meanwhile seal against them. Dated back, they bring forward the
    relief of any member that seals on them at the right date, and not its own. It has less, and no formula here says
    how much.
    """
    settings = cast(TimestampWorld, given)
    is_right = settings.direction == "none" or (settings.direction == "forward" and not settings.ahead_ms)
    if not is_right:
        return None
    return Theory(name="hash_share", value=settings.share, source="every attempt of equal credits counts alike")


TIMESTAMPS = Scenario(
    name="timestamps",
    about="A member dates its blocks as early or as late as the others let pass.",
    settings=TimestampWorld,
    run=run,
    film=partial(run, record=True),
    metrics=(
        Metric(
            name="block interval",
            kind="mean",
            column="interval_ratio",
            unit="of what is aimed at",
            theory=_predict_interval,
        ),
        Metric(name="liar's blocks", kind="mean", column="own_share", unit="of all", theory=_predict_share),
    ),
)
