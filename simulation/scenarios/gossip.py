"""Stale blocks in a gossip-only network, against 1 − e^(−D/I)."""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Literal, cast

from pydantic import Field, model_validator

from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.theory.formulas import stale_fraction_of_miners, stale_probability
from simulation.world.gossip_only import GossipNetwork, Graph, compute_blind_ms, make_complete, make_neighbours
from simulation.world.link_files import packaged_links

_SETTLING = 1_000_000_007  # the seed of the graph: one graph for all trials, so that D is the same in all


class GossipSettings(Settings):
    """Equal peers; one block per interval on average."""

    peers: int = Field(default=300, ge=3, le=5_000, description="peers, all of one hash rate")
    blocks: int = Field(default=1_000, ge=10, le=1_000_000, description="blocks found in a trial")
    interval_ms: int = Field(default=100_000, ge=1, le=10**9, description="mean time between blocks, ms")
    graph: Literal["complete", "random"] = Field(
        default="complete", description="whether all are neighbours, or each has `degree` of them"
    )
    degree: int = Field(default=8, ge=2, le=100, description="neighbours of a peer on average, in a random graph")
    delay_ms: int = Field(default=30_000, ge=0, le=10**9, description="delay of every link, ms")
    links: Literal["constant", "city", "internet"] = Field(
        default="constant", description="`delay_ms` on every link, or those of configs/lab, at their medians"
    )
    block_bytes: int = Field(default=0, ge=0, le=10**8, description="bytes of a block, counted where links have a rate")

    @model_validator(mode="after")
    def _check(self) -> GossipSettings:
        if self.graph == "random" and self.degree >= self.peers:
            raise ValueError("degree must be below peers")
        if self.graph == "complete" and self.peers > 1_000:
            raise ValueError("a complete graph has at most 1000 peers")
        return self


@lru_cache(maxsize=4)
def make_graph(settings: GossipSettings) -> Graph:
    """The network of these settings: the same in every trial."""
    if settings.graph == "complete" and settings.links == "constant":
        return make_complete(settings.peers, settings.delay_ms)
    random = Random(_SETTLING)
    if settings.graph == "complete":
        neighbours = [[other for other in range(settings.peers) if other != peer] for peer in range(settings.peers)]
    else:
        neighbours = make_neighbours(settings.peers, settings.degree, random)
    if settings.links == "constant":
        return [[(other, settings.delay_ms) for other in row] for row in neighbours]
    file = packaged_links(settings.links)
    names = [str(peer) for peer in range(settings.peers)]
    places = [file.regions.index(region) for region in file.deal(names, random).values()]
    rate = file.bandwidth_bytes_per_s
    sending_ms = settings.block_bytes * 1_000 // rate if rate else 0
    return [
        [(other, sending_ms + file.delay_ms[places[peer]][places[other]]) for other in row]
        for peer, row in enumerate(neighbours)
    ]


@lru_cache(maxsize=4)
def compute_blind(settings: GossipSettings) -> tuple[float, ...]:
    """D of each peer's blocks, ms: see `compute_blind_ms`. With `complete` no peer relays, so links count directly."""
    graph = make_graph(settings)
    if settings.graph == "complete":
        return tuple(sum(delay for _, delay in row) / len(graph) for row in graph)
    rates = [1] * settings.peers
    return tuple(compute_blind_ms(graph, rates, source) for source in range(settings.peers))


def run(given: Settings, seed: int) -> Trial:
    """So many blocks, found and passed on."""
    settings = cast(GossipSettings, given)
    relays = settings.graph == "random"
    network = GossipNetwork(make_graph(settings), interval_ms=settings.interval_ms, seed=seed, relays=relays)
    network.run(settings.blocks)
    contested, heights = network.count_contested()
    return Trial(
        row={
            "contested": contested,
            "heights": heights,
            "stale": network.stale_count,
            "blocks": settings.blocks,
            "propagation_ms": sum(network.arrived) / max(1, len(network.arrived)),
            "log": network.log_hash()[:16],
        }
    )


def _contested(given: Settings) -> Theory:
    settings = cast(GossipSettings, given)
    chances = [stale_probability(blind_ms, settings.interval_ms) for blind_ms in compute_blind(settings)]
    return Theory(
        name="stale_probability",
        value=sum(chances) / len(chances),
        source="1 − e^(−D/I), the mean over producers; D: delay to the others, weighted by their hash power",
    )


def _stale(given: Settings) -> Theory | None:
    settings = cast(GossipSettings, given)
    if settings.graph != "complete" or settings.links != "constant":
        return None
    value = stale_fraction_of_miners(settings.delay_ms, settings.interval_ms, settings.peers)
    return Theory(name="stale_fraction_of_miners", value=value, source="s/(1 + s) of n equal miners, first-seen rule")


def _propagation(given: Settings) -> Theory:
    settings = cast(GossipSettings, given)
    blind = compute_blind(settings)
    mean_ms = sum(blind) / len(blind) * settings.peers / (settings.peers - 1)
    return Theory(name="shortest paths", value=mean_ms, source="Dijkstra 1959, the mean over pairs of peers")


GOSSIP_STALE = Scenario(
    name="gossip-stale",
    about="How many blocks get a competitor while they travel, in a network of hundreds of peers.",
    settings=GossipSettings,
    run=run,
    metrics=(
        Metric(name="contested heights", kind="share", column="contested", out_of="heights", theory=_contested),
        Metric(name="stale blocks", kind="share", column="stale", out_of="blocks", theory=_stale),
        Metric(name="propagation", kind="mean", column="propagation_ms", unit="ms", theory=_propagation),
    ),
)
