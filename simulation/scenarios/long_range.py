"""Long range: a branch from far back against nodes that were there, and against one that starts anew."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal, cast

from pydantic import Field

from ledger.genesis import Authority, Genesis
from ledger.membership import sign_act
from ledger.snapshot import get_snapshot
from ledger.transaction import make_transaction
from node.chain.node import ChainNode
from node.chain.trusted_block import TrustedBlock
from simulation.attacks.long_range import LongRange, LongRangeSettings
from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.scenarios.networks import INTERVAL_MS, Attacker, end_film, make_attack_network, open_world, run_while
from simulation.world.networks import SmallNetwork, key_of
from simulation.world.recorder import Recorder
from simulation.world.world import World

_HONEST = ("h0", "h1", "h2")
_CHAIR = key_of("chair")
_SLOT_BLOCKS = 3
_SETTLE = 20  # intervals in which a fresh node makes up its mind


class LongRangeWorld(Settings):
    """Three honest members, and a fourth that leaves early and comes back with a branch; `fresh` starts at the end."""

    strength: float = Field(default=3.0, gt=0, le=100, description="its hash power in those of all the honest together")
    from_height: int = Field(default=4, ge=1, le=1_000, description="height of the last block that the branches share")
    until_height: int = Field(default=24, ge=5, le=10_000, description="height of the chain at which it begins to seal")
    finality: bool = Field(default=True, description="whether checkpoints get their certificates")
    revoked: bool = Field(default=False, description="whether the authority revokes its membership once it has left")
    anchor: bool = Field(default=False, description="whether the fresh node was given the block before the attack")
    fresh_sees: Literal["all", "attacker"] = Field(default="all", description="whom the fresh node is linked to")
    patience: int = Field(default=60, ge=1, le=10_000, description="intervals that it has for its branch")


def run(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """From genesis until the fresh node has made up its mind."""
    settings = cast(LongRangeWorld, given)
    names = (*_HONEST, "attacker", "fresh")
    network = make_attack_network(names, slot_blocks=_SLOT_BLOCKS, has_finality=settings.finality, sealers=names[:4])
    network = _with_authority(network)
    policy = LongRangeSettings(from_height=settings.from_height, until_height=settings.until_height)
    attacker = Attacker(partial(LongRange, settings=policy))
    shares = {**dict.fromkeys(_HONEST, 1 / 3), "attacker": settings.strength, "fresh": 0.0}
    seen_by_honest = names if settings.fresh_sees == "all" else names[:4]
    neighbours: dict[str, tuple[str, ...]] = dict.fromkeys(_HONEST, seen_by_honest)
    neighbours |= {"attacker": names, "fresh": names if settings.fresh_sees == "all" else ("attacker",)}
    world = open_world(network, shares, seed=seed, attackers={"attacker": attacker}, neighbours=neighbours)
    recorder = Recorder(world) if record else None
    world.crash("fresh")
    if settings.revoked:
        _revoke(world, network, settings.from_height + 1)
    run_while(world, lambda: not attacker.policy.has_begun, settings.until_height * 3)
    key = network.keys["attacker"].public_key
    is_out = key not in get_snapshot(world.node("h0").chain.head.state).members
    public = world.node("h0").chain.head
    anchor = TrustedBlock(public.height, public.hash) if settings.anchor else None
    run_while(world, lambda: not attacker.policy.is_shown, settings.patience)
    is_shown = attacker.policy.is_shown
    world.start("fresh", anchor=anchor)
    world.run_for(_SETTLE * INTERVAL_MS)
    honest, fresh = world.node("h0").chain, world.node("fresh").chain
    return Trial(
        replay=end_film(recorder, "long-range", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "attempts": 1,
            "is_out": int(is_out),
            "shown": int(is_shown),
            "undecided": int(not is_shown),
            "rewritten": int(_is_rewritten(world.node("h0"), settings.from_height, key)),
            "fresh_fooled": int(_is_rewritten(world.node("fresh"), settings.from_height, key)),
            "fresh_reached": int(settings.anchor and not world.node("fresh").trusted_branch.is_awaited),
            "fresh_final": int(fresh.final_height > settings.from_height),
            "deepest_reorg": honest.counters.deepest_reorg,
            "refused": sum(peer.node.blocks_refused for peer in world.peers.values() if peer.node is not None),
        },
    )


def _with_authority(network: SmallNetwork) -> SmallNetwork:
    old = network.genesis
    authority = Authority(threshold=1, keys=(_CHAIR.public_key,))
    genesis = Genesis(params=old.params, time_ms=old.time_ms, members=old.members, authority=authority)
    return replace(network, genesis=genesis)


def _revoke(world: World, network: SmallNetwork, height: int) -> None:
    """The authority takes the attacker's membership once the chain is that high."""
    run_while(world, lambda: world.node("h0").chain.head.height < height, 10 * height)
    body = ("revoke", network.genesis.serial_of("attacker"), "has left")
    act = make_transaction(
        network.keys["h0"],
        chain_id=world.chain_id,
        sequence=0,
        expiry_height=9_000,
        kind="revoke",
        payload=sign_act(network.genesis.network_id, body, [_CHAIR]),
    )
    (error,) = world.submit("h0", act)
    assert error is None, error


def _is_rewritten(node: ChainNode, from_height: int, key: bytes) -> bool:
    """Return True if the first block after the fork, on a node's chain, is the attacker's."""
    block_hash = node.chain.hash_at(from_height + 1)
    header = None if block_hash is None else node.chain.get_header(block_hash)
    return header is not None and header.producer == key


def _predict(given: Settings) -> Theory | None:
    """Weaker than the honest, it never catches up from far back; stronger, it does, and only finality is in its way."""
    settings = cast(LongRangeWorld, given)
    if settings.finality:
        return Theory(name="finality", value=0.0, source="fork choice never leaves a certified checkpoint")
    return None


def _predict_fooled(given: Settings) -> Theory | None:
    """With an anchor it has a block that the branch lacks; without, it believes the attacker, which is all it sees.

    That may yet be the honest chain: the attacker itself leaves its branch should the honest get ahead of it again.
    """
    if cast(LongRangeWorld, given).anchor:
        return Theory(name="anchor", value=0.0, source="no chain is followed without the anchored block")
    return None


LONG_RANGE = Scenario(
    name="long-range",
    about="A branch from far back by one that has left; nobody follows it who hears of a certificate or has an anchor.",
    settings=LongRangeWorld,
    run=run,
    film=partial(run, record=True),
    metrics=(
        Metric(
            name="branch became heavier",
            kind="share",
            column="shown",
            out_of="attempts",
            cut_off="undecided",
            limit="patience",
        ),
        Metric(name="chain rewritten", kind="share", column="rewritten", out_of="attempts", theory=_predict),
        Metric(
            name="fresh node fooled", kind="share", column="fresh_fooled", out_of="attempts", theory=_predict_fooled
        ),
        Metric(name="fresh node has a final block", kind="share", column="fresh_final", out_of="attempts"),
        Metric(name="deepest reorg", kind="mean", column="deepest_reorg", unit="blocks"),
    ),
)
