"""The same market day on a chain: every player runs a real node, in virtual time, and every message is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from consensus.poca.credit_target import compute_n_diff_limit
from ledger.accounts import get_account
from ledger.genesis import ALL_CHAINS, Genesis, GenesisMember
from ledger.overlay import Event as ChainEvent
from ledger.overlay import Overlay
from ledger.params import ChainParams, ConsensusParams, LedgerParams
from ledger.signatures import SigningKey
from ledger.transaction import make_transaction
from market.credit.score import PPM
from market.profile import Profile
from market.trading.contract import TradeIntention
from market.trading.gates import SETTLED, get_gate
from market.trading.period import compute_times
from market.trading.views import get_trades
from node.chain.events import Action, MessageReceived, Publish
from node.chain.messages import message_to_bytes
from simulation.paper.day import AgreedTrade, PlayerOrder
from simulation.world.networks import GENESIS_TIME_MS, SmallNetwork, compute_n_diff, key_of
from simulation.world.world import Peer, World

BLOCKS_PER_PERIOD = 12  # an hour holds 360 blocks of 10 s; this many suffice for every stage of the market
INTERVAL_MS = 5_000  # half of what the chain has, for nodes greet each other every 5 s at most

_HASH_RATE = 200
_BALANCE_UYUAN = 100_000_000_000
_LIFETIME_BLOCKS = 5_000
_POSITION = "feeder-1"
_WITH_BLOCKS = ("NewBlock", "GetHeaders", "Headers", "GetBlocks", "Blocks")
_WITH_TIME = ("Status",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainDay:
    """The figures of the day on the chain; delays are in ms of the run until the *last* node knows.

    A block is final for a node once it knows a certificate of that block or of a later one. `certified_after_ms` counts
    from each hour's gate closure until the gate's block is final, for the hours that were settled. `settled_late_ms`
    counts from the moment the settlement is due, and `final_late_ms` from there until its block is final.
    """

    trades: tuple[tuple[AgreedTrade, ...], ...]  # by hour; none where the hour was void
    void_hours: tuple[int, ...]
    credits_upt: Mapping[str, int]
    certified_after_ms: tuple[int, ...]
    settled_late_ms: tuple[int, ...]
    final_late_ms: tuple[int, ...]
    messages: Mapping[str, int]  # by kind, from one node to another
    message_bytes: int
    blocks: int
    side_blocks: int
    refused: int
    period_ms: int
    interval_ms: int
    checkpoints_per_period: int
    due_after_ppm: int  # of a period, from the end of delivery to when the settlement is due

    @property
    def message_count(self) -> int:
        return sum(self.messages.values())

    def project_messages(self, period_ms: int, interval_ms: int) -> int:
        """The messages of a day with hours and blocks of that length.

        Those that come with blocks and those that come with time grow. The others come with orders and readings, or
        as votes and certificates with checkpoints, of which an hour has as many however long it is.
        """
        with_blocks = sum(self.messages.get(kind, 0) for kind in _WITH_BLOCKS)
        with_time = sum(self.messages.get(kind, 0) for kind in _WITH_TIME)
        with_hours = self.message_count - with_blocks - with_time
        blocks = with_blocks * (period_ms * self.interval_ms) // (self.period_ms * interval_ms)
        return with_hours + blocks + with_time * period_ms // self.period_ms


def run_chain_day(
    params: ChainParams,
    profile: Profile,
    orders: Sequence[PlayerOrder],
    seed: int,
    on_hour: Callable[[int], None] = lambda hour: None,
) -> ChainDay:
    """Trade the profile's day on one node per player, in hours of 12 blocks.

    An hour of the run has the checkpoints of a real one. Gates and settlements must fall on the start of a slot: then
    their blocks are checkpoints, and the wait for a certificate is one for blocks, however long the slots are.
    """
    _check_slots(params)
    network = _make_network(params, profile)
    world = _CountingWorld(network.genesis, network.keys, seed=seed, hash_rate=_HASH_RATE)
    desk = _Operator(world, network, profile, orders)
    hours, period_ms = len(profile.hours_ms), network.genesis.params.ledger.period_ms
    settled_after = -(-params.market.settle_ppm // PPM)  # periods from the start of a delivery
    for step in range(hours + desk.first_period + settled_after + 1):
        world.run_for(network.genesis.time_ms + step * period_ms + INTERVAL_MS // 2 - world.now_ms)
        desk.place_orders(step)
        desk.read_meters(step - desk.first_period - 1)
        on_hour(min(step, hours))
    world.run_until(lambda: len(world.heads()) == 1, limit_ms=10 * period_ms)
    return desk.close()


# --- inside --------------------------------------------------------------------------------------


def _check_slots(params: ChainParams) -> None:
    slots, market = params.consensus.checkpoints_per_period, params.market
    for ppm in (market.gate_ppm, market.settle_ppm):
        assert ppm * slots % PPM == 0, f"{ppm} ppm of a period is not at the start of one of its {slots} slots"


class _CountingWorld(World):
    """A world that counts every message from one node to another, and notes when each node learns what."""

    def __init__(self, genesis: Genesis, keys: dict[str, SigningKey], *, seed: int, hash_rate: int) -> None:
        super().__init__(genesis, keys, seed=seed, hash_rate=hash_rate)
        self.messages: Counter[str] = Counter()
        self.message_bytes = 0
        self.settled: dict[int, dict[str, int]] = {}  # period -> node -> ms, the first time
        self.settled_at: dict[int, int] = {}  # period -> height of the block that settled it
        self.final: dict[str, list[tuple[int, int]]] = {name: [] for name in self.peers}  # (ms, height), rising
        self._sized: tuple[object, int] = (None, 0)

    def last_settled(self, period: int) -> int | None:
        """The time when the last node had first settled the period; None where one has not."""
        times = self.settled.get(period, {})
        return max(times.values()) if len(times) == len(self.peers) else None

    def last_final(self, height: int) -> int | None:
        """The time when the last node had made a block at or above `height` final; None where one has not."""
        times = [next((at_ms for at_ms, final in self.final[name] if final >= height), None) for name in self.peers]
        known = [at_ms for at_ms in times if at_ms is not None]
        return max(known) if len(known) == len(times) else None

    def _deliver(self, sender: Peer, receiver: Peer, event: MessageReceived) -> None:
        self.messages[type(event.message).__name__] += 1
        if self._sized[0] is not event.message:  # a broadcast is measured once for all its receivers
            self._sized = (event.message, len(message_to_bytes(event.message)))
        self.message_bytes += self._sized[1]
        super()._deliver(sender, receiver, event)

    def _perform(self, peer: Peer, action: Action) -> None:
        if isinstance(action, Publish):
            self._note(peer, action.event)
        super()._perform(peer, action)

    def _note(self, peer: Peer, event: ChainEvent) -> None:
        chain = self.node(peer.name).chain
        final = self.final[peer.name]
        if not final or chain.final_height > final[-1][1]:
            final.append((self.now_ms, chain.final_height))
        name, period = event[0], event[1]
        if name == "settled" and isinstance(period, int):
            self.settled.setdefault(period, {}).setdefault(peer.name, self.now_ms)
            self.settled_at[period] = chain.head.height


class _Operator:
    """Places the players' orders and meter readings at their own nodes, and reads the outcome."""

    def __init__(
        self, world: _CountingWorld, network: SmallNetwork, profile: Profile, orders: Sequence[PlayerOrder]
    ) -> None:
        self._world = world
        self._network = network
        self._profile = profile
        self._orders = orders
        self._sequences: Counter[str] = Counter()
        self.first_period = -(-network.genesis.params.market.open_ppm // PPM)

    def place_orders(self, hour: int) -> None:
        """All orders for an hour of the day, just after its market has opened."""
        for order in self._orders:
            if order.hour == hour:
                intention = TradeIntention(
                    side=order.side,
                    gate=self.first_period + hour,
                    price_uyuan_per_kwh=order.price_uyuan_per_kwh,
                    volume_wh=order.volume_wh,
                )
                key = self._network.keys[order.player]
                self._submit(order.player, order.player, key, "intention", intention.to_payload())

    def read_meters(self, hour: int) -> None:
        """All readings of an hour of the day, just after its delivery has ended."""
        if not 0 <= hour < len(self._profile.hours_ms):
            return
        for player in self._profile.players:
            actual_wh = self._profile.readings[player.name, self._profile.hours_ms[hour]].actual_wh
            readings = (0, actual_wh) if player.role == "producer" else (actual_wh, 0)
            payload = (self.first_period + hour, *readings)
            device = self._network.devices[player.name]
            self._submit(player.name, f"{player.name}/meter", device, "reading", payload)

    def close(self) -> ChainDay:
        """The day as the nodes hold it now."""
        world, genesis = self._world, self._network.genesis
        node = world.node(self._profile.players[0].name)
        view = Overlay(node.chain.head.state)
        certified, settled, final, void = [], [], [], []
        trades: list[tuple[AgreedTrade, ...]] = []
        for hour in range(len(self._profile.hours_ms)):
            period = self.first_period + hour
            times = compute_times(period, genesis.params, genesis.time_ms)
            gate = get_gate(view, period)
            if gate is None or gate.status != SETTLED:
                void.append(hour)
                trades.append(())
            else:
                trades.append(self._read_trades(period))
                certified += _delays(world.last_final(gate.height), times.gate_ms)
            settled += _delays(world.last_settled(period), times.settle_ms)
            height = world.settled_at.get(period)
            final += _delays(None if height is None else world.last_final(height), times.settle_ms)
        period_ms, market = genesis.params.ledger.period_ms, genesis.params.market
        return ChainDay(
            trades=tuple(trades),
            void_hours=tuple(void),
            credits_upt={name: get_account(view, key.address).credit_upt for name, key in self._network.keys.items()},
            certified_after_ms=tuple(certified),
            settled_late_ms=tuple(settled),
            final_late_ms=tuple(final),
            messages=dict(world.messages.most_common()),
            message_bytes=world.message_bytes,
            blocks=node.chain.head.height,
            side_blocks=node.chain.counters.side_blocks,
            refused=sum(world.node(name).blocks_refused for name in world.peers),
            period_ms=period_ms,
            interval_ms=INTERVAL_MS,
            checkpoints_per_period=genesis.params.consensus.checkpoints_per_period,
            due_after_ppm=market.settle_ppm - PPM,
        )

    def _read_trades(self, period: int) -> tuple[AgreedTrade, ...]:
        names = {key.address: name for name, key in self._network.keys.items()}
        state = self._world.node(self._profile.players[0].name).chain.head.state
        return tuple(
            AgreedTrade(names[record.buyer], names[record.seller], record.price_uyuan_per_kwh, record.volume_wh)
            for record in get_trades(state, period)
        )

    def _submit(self, node: str, account: str, key: SigningKey, kind: str, payload: tuple[object, ...]) -> None:
        transaction = make_transaction(
            key,
            chain_id=self._world.genesis.chain_id,
            sequence=self._sequences[account],
            expiry_height=_LIFETIME_BLOCKS,
            kind=kind,
            payload=payload,  # type: ignore[arg-type]
        )
        self._sequences[account] += 1
        outcomes = self._world.submit(node, transaction)
        assert outcomes == (None,), (account, kind, outcomes)


def _make_network(params: ChainParams, profile: Profile) -> SmallNetwork:
    """Every player of the profile with a node that seals, a meter and ample money; the grid company has neither."""
    consensus, names = params.consensus, [player.name for player in profile.players]
    tau_upt, credit_upt = consensus.tau_upt, params.market.initial_credit_upt
    hash_rate = _HASH_RATE * len(profile.players)
    changed = {
        "block_interval_ms": INTERVAL_MS,
        "n_diff_initial": compute_n_diff(tau_upt, credit_upt, hash_rate=hash_rate, interval_ms=INTERVAL_MS),
        "n_diff_max": min(2**240, compute_n_diff_limit(tau_upt)),
    }
    scaled = ChainParams(
        name=params.name,
        ledger=LedgerParams.model_validate({**dict(params.ledger), "period_ms": BLOCKS_PER_PERIOD * INTERVAL_MS}),
        consensus=ConsensusParams.model_validate({**dict(consensus), **changed}),
        market=params.market,
    )
    keys = {name: key_of(name) for name in names}
    devices = {name: key_of(f"{name}/meter") for name in names}
    grid = key_of("grid")
    members = [GenesisMember(name="grid", role="grid-operator", key=grid.public_key)]
    for player in profile.players:
        name = player.name
        members += [
            GenesisMember(
                name=name,
                role="producer" if player.role == "producer" else "consumer",
                key=keys[name].public_key,
                seals=(ALL_CHAINS,),
                balance_uyuan=_BALANCE_UYUAN,
                capacity_wh=_compute_capacity(profile, name),
                position=_POSITION,
            ),
            GenesisMember(name=f"meter-{name}", role="device", key=devices[name].public_key, owner=name),
        ]
    genesis = Genesis(params=scaled, time_ms=GENESIS_TIME_MS, members=tuple(members))
    return SmallNetwork(genesis=genesis, keys=keys, devices=devices, grid=grid)


def _compute_capacity(profile: Profile, player: str) -> int:
    """The largest hour that a player has, in Wh, forecast or metered."""
    return max(max(profile.readings[player, hour_ms]) for hour_ms in profile.hours_ms)


def _delays(at_ms: int | None, since_ms: int) -> list[int]:
    return [] if at_ms is None else [at_ms - since_ms]
