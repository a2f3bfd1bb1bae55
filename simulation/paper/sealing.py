"""Fig. 4 of text 000: ten players with 90 … 100 points of credit race for 50 blocks, on ten real nodes.

The credits are not set but earned: every player trades the same volume in one period and delivers the share of it that
its credit is to be, so that all of it runs through orders, a certified gate, readings, settlement and a snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from consensus.poca.credit_target import compute_n_diff_limit, compute_shares
from ledger.params import ChainParams, ConsensusParams, MarketParams
from ledger.signatures import SigningKey
from ledger.snapshot import get_snapshot
from ledger.transaction import make_transaction
from market.credit.score import FULL_CREDIT_UPT
from market.orders import Side
from market.rounding import divide_half_up
from market.trading.contract import TradeIntention
from market.trading.period import compute_times
from simulation.theory.binomial import compute_band, compute_chance_of_none
from simulation.world.networks import SmallNetwork, compute_n_diff, make_network
from simulation.world.world import World

PLAYERS = tuple(f"player-{number}" for number in range(1, 11))
LOWEST_UPT, HIGHEST_UPT = 90_000_000, 100_000_000
BLOCKS = 50
TAUS_UPT = (1_000_000, 5_000_000, 10_000_000)

_HASH_RATE = 200  # nonces per second, of every player
_BLOCKS_PER_PERIOD = 16  # so that every stage of the trade has time for several blocks
_TRADED_PERIOD = 2
_AGREED_WH = 9_000  # a ninth of ten points is 100 Wh of it: every score is exact
_BURIED = 3  # blocks on top of the last one counted
_MAX_INTERVALS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Racer:
    """A player: its credit, its share of the blocks by Eq. (11), what it sealed and the 95 % band of that count."""

    name: str
    credit_upt: int
    share: Fraction
    sealed: int
    low: int
    high: int

    @property
    def is_inside(self) -> bool:
        return self.low <= self.sealed <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """`blocks` sealed under one credit temperature; players by rising credit.

    `first_height` is the first of them; all heights before it went into earning the credits. `side_blocks` and
    `refused` are one node's, and all nodes', counts over the whole run.
    """

    tau_upt: int
    blocks: int
    racers: tuple[Racer, ...]
    first_height: int
    side_blocks: int
    refused: int

    @property
    def expected_without(self) -> Fraction:
        """The number of players that Eq. (11) leaves without any block, on average."""
        return sum((compute_chance_of_none(self.blocks, racer.share) for racer in self.racers), Fraction(0))


def spread_credits(count: int, low_upt: int = LOWEST_UPT, high_upt: int = HIGHEST_UPT) -> list[int]:
    """`count` credits in equal steps from the lowest to the highest, both included; micro-points, half up."""
    assert count > 1, "two ends take two players"
    return [low_upt + divide_half_up((high_upt - low_upt) * step, count - 1) for step in range(count)]


def run_race(params: ChainParams, tau_upt: int, seed: int, *, blocks: int = BLOCKS) -> Race:
    """Let the players earn their credits and count the sealers of the next `blocks`.

    Of `params` the block interval and the other consensus rules count; τ is replaced, N_diff starts where blocks come
    at the interval, and a period lasts 16 blocks. All players hash equally fast, as Eq. (11) assumes.
    """
    network = _make_network(params, tau_upt)
    world = World(network.genesis, network.keys, seed=seed, hash_rate=_HASH_RATE)
    credits_upt = dict(zip(PLAYERS, spread_credits(len(PLAYERS)), strict=True))
    _trade(world, network)
    first_height = _await_credits(world, network, credits_upt)
    last_height = first_height + blocks - 1
    _await_agreement(world, last_height)
    sealed = _count(world, network, credits_upt, first_height, last_height)
    shares = compute_shares(list(credits_upt.values()), tau_upt)
    racers = []
    for (name, credit_upt), share in zip(credits_upt.items(), shares, strict=True):
        low, high = compute_band(blocks, share)
        racers.append(Racer(name=name, credit_upt=credit_upt, share=share, sealed=sealed[name], low=low, high=high))
    return Race(
        tau_upt=tau_upt,
        blocks=blocks,
        racers=tuple(racers),
        first_height=first_height,
        side_blocks=world.node(PLAYERS[0]).chain.counters.side_blocks,
        refused=sum(world.node(name).blocks_refused for name in PLAYERS),
    )


# --- inside --------------------------------------------------------------------------------------


def _make_network(params: ChainParams, tau_upt: int) -> SmallNetwork:
    """A network with 100 points for all: with τ = 1 point, N_diff would have no room for less at this hash rate."""
    consensus, market = params.consensus, params.market
    interval_ms, rate = consensus.block_interval_ms, _HASH_RATE * len(PLAYERS)
    n_diff = compute_n_diff(tau_upt, FULL_CREDIT_UPT, hash_rate=rate, interval_ms=interval_ms)
    changed = {
        "tau_upt": tau_upt,
        "n_diff_initial": n_diff,
        "n_diff_max": min(2**240, compute_n_diff_limit(tau_upt)),
        "checkpoint_depth": 1,
    }
    clock = {
        "initial_credit_upt": FULL_CREDIT_UPT,
        "open_ppm": 2_000_000,
        "gate_ppm": 1_000_000,
        "deadline_ppm": 0,
        "settle_ppm": 1_750_000,
        "natural_factor_ppm": 0,
        "intention_ppm": 0,
    }
    return make_network(
        PLAYERS,
        period_ms=_BLOCKS_PER_PERIOD * interval_ms,
        consensus=ConsensusParams.model_validate({**dict(consensus), **changed}),
        market=MarketParams.model_validate({**dict(market), **clock}),
    )


def _trade(world: World, network: SmallNetwork) -> None:
    """Every other player sells, the others buy, all the same volume; each meter shows the share to be scored."""
    times = compute_times(_TRADED_PERIOD, network.genesis.params, network.genesis.time_ms)
    for index, name in enumerate(PLAYERS):
        side = Side(index % 2)
        intention = TradeIntention(
            side=side,
            gate=_TRADED_PERIOD,
            price_uyuan_per_kwh=500_000,
            volume_wh=_AGREED_WH,
        )
        _submit(world, name, network.keys[name], "intention", intention.to_payload())
    world.run_for(times.delivery_end_ms - world.now_ms)
    steps = 10 * (len(PLAYERS) - 1)
    for index, name in enumerate(PLAYERS):
        delivered_wh = _AGREED_WH * (steps - len(PLAYERS) + 1 + index) // steps
        readings = (0, delivered_wh) if index % 2 == Side.OFFER else (delivered_wh, 0)
        _submit(world, name, network.devices[name], "reading", (_TRADED_PERIOD, *readings))


def _submit(world: World, name: str, key: SigningKey, kind: str, payload: tuple[object, ...]) -> None:
    transaction = make_transaction(
        key,
        chain_id=world.genesis.chain_id,
        sequence=0,
        expiry_height=1_000,
        kind=kind,
        payload=payload,  # type: ignore[arg-type]
    )
    outcomes = world.submit(name, transaction)
    assert outcomes == (None,), (name, kind, outcomes)


def _await_credits(world: World, network: SmallNetwork, credits_upt: dict[str, int]) -> int:
    """The height from which blocks are sealed under these credits."""
    wanted = {network.keys[name].public_key: credit_upt for name, credit_upt in credits_upt.items()}
    for _ in range(_MAX_INTERVALS):
        world.run_for(world.genesis.params.consensus.block_interval_ms)
        snapshot = get_snapshot(world.node(PLAYERS[0]).chain.head.state)
        if {key: standing.credit_upt for key, standing in snapshot.members.items()} == wanted:
            return snapshot.height + 1
    raise AssertionError(f"seed {world.seed}: the players did not earn their credits")


def _await_agreement(world: World, height: int) -> None:
    """Until all nodes have the same block at that height, a little below their heads."""
    chains = [world.node(name).chain for name in PLAYERS]

    def is_settled() -> bool:
        if any(chain.head.height < height + _BURIED for chain in chains):
            return False
        return len({chain.hash_at(height) for chain in chains}) == 1

    world.run_until(is_settled, limit_ms=_MAX_INTERVALS * world.genesis.params.consensus.block_interval_ms)


def _count(
    world: World, network: SmallNetwork, credits_upt: dict[str, int], first_height: int, last_height: int
) -> dict[str, int]:
    """Canonical blocks by player from one height to another, both included."""
    names = {key.public_key: name for name, key in network.keys.items()}
    sealed = dict.fromkeys(PLAYERS, 0)
    chain = world.node(PLAYERS[0]).chain
    for entry in chain.ancestors(chain.head):
        if first_height <= entry.height <= last_height:
            name = names[entry.header.producer]
            assert entry.header.credit_upt == credits_upt[name], "every node has checked the header's claim"
            sealed[name] += 1
    return sealed
