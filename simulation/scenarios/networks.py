"""Networks for attacks: one trading chain without trade, hash power dealt by shares, seals drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Generic, Literal, TypeVar

from ledger.params import ConsensusParams, MarketParams
from ledger.signatures import SigningKey
from ledger.transaction import Transaction, make_transaction
from node.chain.node import ChainNode
from simulation.attacks.policy import Policy
from simulation.experiments.scenario import Settings
from simulation.recording import Recording
from simulation.world.links import Links
from simulation.world.networks import SmallNetwork, compute_n_diff, make_network
from simulation.world.recorder import Recorder
from simulation.world.world import World

INTERVAL_MS = 10_000
_HASHES_PER_S = 10_000  # of all peers together
TAU_UPT = 10_000_000
_NEVER_MS = 10**13  # a period that no trial sees the end of: no checkpoint, no gate
SLOTS_PER_PERIOD = 4

P = TypeVar("P", bound=Policy)
TieBreak = Literal["first-seen", "lower-hash", "higher-credit"]


def deal_shares(attacker: float, honest: int) -> dict[str, float]:
    """The attacker's share of the hash power, and equal shares of the rest for the honest: h0, h1, …"""
    return {"attacker": attacker, **{f"h{index}": (1 - attacker) / honest for index in range(honest)}}


def make_attack_network(
    names: Sequence[str],
    *,
    slot_blocks: int = 0,
    has_finality: bool = True,
    is_frozen: bool = True,
    tie_break: TieBreak = "first-seen",
    sealers: Sequence[str] | None = None,
    market: MarketParams | None = None,
    **consensus: Any,
) -> SmallNetwork:
    """All names, or the `sealers` among them, seal at one credit, a block per ten seconds.

    `slot_blocks` is how many blocks apart checkpoints are on average; 0: there are none, nor do periods end. Without
    `has_finality` there are periods and checkpoints, but no peer lives to sign one. `is_frozen`
    keeps the base N_diff where it is, without relief, as the theories suppose that a branch has its length for its
    work.
    """
    n_diff = compute_n_diff(
        TAU_UPT, MarketParams().initial_credit_upt, hash_rate=_HASHES_PER_S, interval_ms=INTERVAL_MS
    )
    frozen = {"n_diff_min": n_diff, "n_diff_max": n_diff, "relief_after": 10_000} if is_frozen else {}
    params = ConsensusParams(
        **{
            "tau_upt": TAU_UPT,
            "n_diff_initial": n_diff,
            "block_interval_ms": INTERVAL_MS,
            "tie_break": tie_break,
            "checkpoints_per_period": SLOTS_PER_PERIOD,
            **({} if has_finality else {"checkpoint_depth": 10**9}),
            **frozen,
            **consensus,
        }
    )
    period_ms = SLOTS_PER_PERIOD * slot_blocks * INTERVAL_MS if slot_blocks else _NEVER_MS
    return make_network(names, period_ms=period_ms, consensus=params, market=market, sealers=sealers)


def open_world(
    network: SmallNetwork,
    shares: Mapping[str, float],
    *,
    seed: int,
    links: Links | None = None,
    attackers: Mapping[str, Attacker[Any]] | None = None,
    neighbours: Mapping[str, Sequence[str]] | None = None,
    world_type: type[World] = World,
) -> World:
    """A world of full nodes in which each peer finds its share of the blocks."""
    return world_type(
        network.genesis,
        network.keys,
        seed=seed,
        links=links,
        hash_rate={name: round(share * _HASHES_PER_S) for name, share in shares.items()},
        sealing="drawn",
        policies=attackers,
        neighbours=neighbours,
    )


@dataclass(slots=True)
class Attacker(Generic[P]):
    """A factory of policies that remembers the one it made last, for a scenario to look into."""

    make: Callable[[ChainNode, Random], P]
    made: list[P] = field(default_factory=list)

    def __call__(self, node: ChainNode, random: Random) -> P:
        self.made.append(self.make(node, random))
        return self.made[-1]

    @property
    def policy(self) -> P:
        return self.made[-1]


def count_canonical(node: ChainNode, since_height: int = 0) -> dict[bytes, int]:
    """Number of canonical blocks of each producer above a height."""
    counts: dict[bytes, int] = {}
    for entry in node.chain.ancestors(node.chain.head):
        if entry.height <= since_height:
            break
        counts[entry.header.producer] = counts.get(entry.header.producer, 0) + 1
    return counts


def run_while(world: World, condition: Callable[[], bool], intervals: int) -> None:
    """Let time pass, interval by interval, as long as the condition holds and at most so many of them."""
    end_ms = world.now_ms + intervals * INTERVAL_MS
    while condition() and world.now_ms < end_ms:
        world.run_for(INTERVAL_MS)


def find_depth(node: ChainNode, transaction: Transaction) -> int:
    """Confirmations of a transaction; 0 where it is not on the node's chain."""
    place = node.chain.find_transaction(transaction.id)
    header = None if place is None else node.chain.get_header(place[0])
    return 0 if header is None else node.chain.head.height - header.height + 1


def is_final(node: ChainNode, transaction: Transaction) -> bool:
    depth = find_depth(node, transaction)
    return bool(depth) and node.chain.head.height - depth + 1 <= node.chain.final_height


def pay(world: World, payer: SigningKey, payee: bytes, *, sequence: int = 0) -> Transaction:
    """A transfer of one yuan, not sent yet; `payee` is an address."""
    return make_transaction(
        payer,
        chain_id=world.chain_id,
        sequence=sequence,
        expiry_height=9_000,
        kind="transfer",
        payload=(payee, 1_000_000),
    )


def end_film(recorder: Recorder | None, scenario: str, settings: Settings, seed: int) -> Recording | None:
    """The film of a trial, where one was recorded."""
    if recorder is None:
        return None
    return recorder.to_replay(scenario=scenario, settings=settings.model_dump(), seed=seed)
