"""Deals on one trading chain: orders before a gate, meters after delivery. For worlds with credit that is earned."""

from __future__ import annotations

from collections import Counter

from ledger.accounts import Account, get_account
from ledger.codec import Value
from ledger.genesis import Genesis
from ledger.overlay import Overlay
from ledger.params import MarketParams
from ledger.signatures import SigningKey
from ledger.transaction import make_transaction
from market.orders import Side
from market.trading.contract import TradeIntention
from market.trading.times import compute_times
from simulation.world.world import World

CLOCK = {"open_ppm": 2_000_000, "gate_ppm": 1_000_000, "deadline_ppm": 0, "settle_ppm": 1_750_000}
POSITION = "feeder-1"
_LIFETIME_BLOCKS = 9_000
_PRICE_UYUAN_PER_KWH = 500_000


def make_clock(**market: object) -> MarketParams:
    """The market's parameters with the shortest way from an order to a score: four periods."""
    return MarketParams.model_validate({**CLOCK, **market})


class Dealer:
    """Sends what members and their meters send, each at its own node. Refusals assert: a script knows the rules."""

    def __init__(self, world: World, keys: dict[str, SigningKey]) -> None:
        self._world = world
        self._keys = keys  # of members and of meters, these as `name/meter`
        self._sequences: Counter[str] = Counter()

    @property
    def genesis(self) -> Genesis:
        return self._world.genesis

    def wait_for(self, period: int, part: float = 0.1) -> None:
        """Until that part of a period has passed, and every peer has a block of it, or what it begins is not there."""
        world, period_ms = self._world, self.genesis.params.ledger.period_ms
        world.run_for(max(0, self.genesis.time_ms + round((period + part) * period_ms) - world.now_ms))
        chains = [peer.node.chain for peer in world.peers.values() if peer.node is not None]
        world.run_until(lambda: all(chain.head.header.period >= period for chain in chains), limit_ms=period_ms)

    def order(self, name: str, side: Side, period: int, price_uyuan_per_kwh: int, volume_wh: int) -> None:
        intention = TradeIntention(
            side=side,
            gate=period,
            price_uyuan_per_kwh=price_uyuan_per_kwh,
            volume_wh=volume_wh,
        )
        self.send(name, name, "intention", *intention.to_payload())

    def deal(
        self, seller: str, buyer: str, period: int, volume_wh: int, *, orders: int = 1, concession_uyuan: int = 0
    ) -> None:
        """Both sides of `orders` trades of that volume each; the highest concession per kWh is matched first."""
        for _ in range(orders):
            self.order(seller, Side.OFFER, period, _PRICE_UYUAN_PER_KWH - concession_uyuan, volume_wh)
            self.order(buyer, Side.BID, period, _PRICE_UYUAN_PER_KWH + concession_uyuan, volume_wh)

    def read(self, name: str, period: int, *, consumed_wh: int = 0, produced_wh: int = 0) -> None:
        """A member's meter, once the period is over."""
        assert self._world.now_ms >= compute_times(period, self.genesis.params, self.genesis.time_ms).delivery_end_ms
        self.send(name, f"{name}/meter", "reading", period, consumed_wh, produced_wh)

    def send(self, node: str, account: str, kind: str, *payload: Value) -> None:
        transaction = make_transaction(
            self._keys[account],
            chain_id=self._world.chain_id,
            sequence=self._sequences[account],
            expiry_height=_LIFETIME_BLOCKS,
            kind=kind,
            payload=payload,
        )
        self._sequences[account] += 1
        outcomes = self._world.submit(node, transaction)
        assert outcomes == (None,), (account, kind, outcomes)

    def account(self, name: str) -> Account:
        """As the first peer has it."""
        state = next(peer.node for peer in self._world.peers.values() if peer.node is not None).chain.head.state
        return get_account(Overlay(state), self._keys[name].address)
