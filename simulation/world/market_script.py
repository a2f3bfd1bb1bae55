"""A script of people's acts on the three chains, hour after hour: plan, offer and bid, read meters. For worlds.

A task is tried at a peer that is up, and again a little later where it is refused (the quotas may not have come yet),
until its time is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from ledger.codec import Value
from ledger.errors import AlreadyKnown
from ledger.params import Area, Line, MarketParams, SchedulingParams
from ledger.signatures import SigningKey
from ledger.transaction import make_transaction
from market.trading.clearing_rules import is_by_target
from market.trading.gates import SETTLED
from market.trading.views import get_gate
from simulation.world.networks import SmallNetwork
from simulation.world.world import World

PPM = 1_000_000
CLOCK = MarketParams(open_ppm=4 * PPM, gate_ppm=2 * PPM, deadline_ppm=0, settle_ppm=3 * PPM)
LINES = ("a", "b", "c")
GRID = SchedulingParams(
    quota_ppm=4 * PPM,
    verdict_ppm=PPM // 2,
    meter_ppm=3 * PPM // 2,
    areas=(Area(name="town", wheeling_uyuan_per_kwh=20_000),),
    lines=(
        Line(name="a", area="town", capacity_wh=4_000_000),
        Line(name="b", upstream="a", area="town", capacity_wh=2_000_000),
        Line(name="c", upstream="b", area="town", capacity_wh=2_000_000),
    ),
)
FIRST_PERIOD = 6  # the first with a plan that can come in time
_LIFETIME_BLOCKS = 9_000
_LAST_PPM = 3 * PPM + PPM // 2  # after the start of a delivery all of it is settled


@dataclass(frozen=True, slots=True)
class _Task:
    """One transaction, when it is to be sent first, and until when it makes sense."""

    chain: str
    peer: str
    account: str
    key: SigningKey
    kind: str
    payload: tuple[Value, ...]
    until_ms: int


class MarketScript:
    """`hours` delivery periods, in each of which `traders` of the prosumers sell and as many buy."""

    def __init__(
        self, worlds: Mapping[str, World], network: SmallNetwork, *, hours: int, traders: int, seed: int
    ) -> None:
        assert 2 * traders <= len(network.keys), "one prosumer does not sell and buy in one hour"
        self._worlds = worlds
        self._network = network
        self._random = Random(f"{seed}/market")
        self._sequences: Counter[tuple[str, str]] = Counter()
        self._periods = range(FIRST_PERIOD, FIRST_PERIOD + hours)
        self.period_ms = network.genesis.params.ledger.period_ms
        self.retry_ms = max(500, network.genesis.params.consensus.block_interval_ms // 2)
        self.submitted = 0
        self.given_up: Counter[str] = Counter()  # tasks, by their kind
        names = list(network.keys)
        for period in self._periods:
            chosen = self._random.sample(names, 2 * traders)
            self._plan(period)
            if is_by_target(network.genesis.params.market.clearing_rule):
                self._commit_target(period)
            self._trade(period, chosen[:traders], chosen[traders:])
            self._meter(period, chosen[:traders], chosen[traders:])

    @property
    def end_ms(self) -> int:
        """The time when all of it is over."""
        return self._time_ms(self._periods[-1], _LAST_PPM)

    def count_settled(self, state_of: str) -> int:
        """Hours that a peer's trading chain has settled."""
        state = self._worlds[self._network.genesis.params.name].node(state_of).chain.head.state
        gates = [get_gate(state, period) for period in self._periods]
        return sum(gate is not None and gate.status == SETTLED for gate in gates)

    # --- what is to be done ----------------------------------------------------------------------

    def _time_ms(self, period: int, ppm: int) -> int:
        return self._network.genesis.time_ms + period * self.period_ms + ppm * self.period_ms // PPM

    def _plan(self, period: int) -> None:
        assert self._network.dispatcher is not None
        plan = tuple((line, 2_000_000, 2_000_000) for line in LINES)
        first = next(iter(self._network.keys))
        until_ms = self._time_ms(period, -GRID.quota_ppm)
        task = _Task("DU1", first, "dispatch", self._network.dispatcher, "plan", (period, plan), until_ms)
        self._at(self._time_ms(period, -GRID.quota_ppm - PPM), task)

    def _commit_target(self, period: int) -> None:
        assert self._network.dispatcher is not None
        prices = (470_000 + period % 7 * 10_000, *[CLOCK.feed_in_uyuan_per_kwh] * 3)
        last = next(reversed(self._network.keys))
        payload, until_ms = (period, prices), self._time_ms(period, -CLOCK.open_ppm)
        task = _Task("JY1", last, "dispatch", self._network.dispatcher, "game-target", payload, until_ms)
        self._at(self._time_ms(period, -CLOCK.open_ppm - PPM), task)

    def _trade(self, period: int, sellers: Sequence[str], buyers: Sequence[str]) -> None:
        until_ms = self._time_ms(period, -CLOCK.gate_ppm) - self.retry_ms
        for side, names in ((1, sellers), (0, buyers)):
            for name in names:
                price = self._random.randrange(450_000, 520_000) + (60_000 if side == 0 else 0)
                volume_wh = self._random.randrange(10_000, 100_000)
                payload = (side, period, price, volume_wh)
                task = _Task("JY1", name, name, self._network.keys[name], "intention", payload, until_ms)
                begin_ms = self._time_ms(period, -CLOCK.open_ppm + PPM // 2)
                self._at(begin_ms + self._random.randrange(self.period_ms // 2), task)

    def _meter(self, period: int, sellers: Sequence[str], buyers: Sequence[str]) -> None:
        until_ms = self._time_ms(period, GRID.meter_ppm) - self.retry_ms
        for side, names in ((1, sellers), (0, buyers)):
            for name in names:
                energy_wh = self._random.randrange(10_000, 100_000)
                payload = (period, 0, energy_wh) if side else (period, energy_wh, 0)
                task = _Task("DU1", name, f"{name}/meter", self._network.devices[name], "reading", payload, until_ms)
                self._at(self._time_ms(period, PPM) + self._random.randrange(self.period_ms // 8), task)

    # --- doing it --------------------------------------------------------------------------------

    def _at(self, time_ms: int, task: _Task) -> None:
        self._worlds[task.chain].time.at(time_ms, self._try, task)

    def _try(self, task: _Task) -> None:
        world = self._worlds[task.chain]
        if world.now_ms > task.until_ms:
            self.given_up[task.kind] += 1
            return
        peer = self._find_peer(world, task.peer)
        if peer is None or not self._send(world, peer, task):
            self._at(world.now_ms + self.retry_ms, task)

    def _find_peer(self, world: World, wanted: str) -> str | None:
        """The peer that one would ask, or another where it does not answer or one has none."""
        names = list(world.peers)
        start = names.index(wanted) if wanted in world.peers else 0
        return next((name for name in names[start:] + names[:start] if world.is_up(name)), None)

    def _send(self, world: World, peer: str, task: _Task) -> bool:
        """Send it; returns True if the peer has taken it on."""
        place = (task.chain, task.account)
        transaction = make_transaction(
            task.key,
            chain_id=world.chain_id,
            sequence=self._sequences[place],
            expiry_height=world.node(peer).chain.head.height + _LIFETIME_BLOCKS,
            kind=task.kind,
            payload=task.payload,
        )
        outcomes = world.submit(peer, transaction)
        if outcomes != (None,) and not isinstance(outcomes[0], AlreadyKnown):
            return False
        self._sequences[place] += 1
        self.submitted += 1
        return True
