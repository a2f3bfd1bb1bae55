"""Last look: a sealer that dates a block before the gate, sends it after, and has seen the whole book by then.

It offers at its cost early on, as any member would. Once the gate has passed and no block is dated after it, it goes on
searching for a block dated 1 ms before the gate, in which its offer is replaced by the one that earns most against the
orders it sees. What it placed before stands where it does not find that block in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from pydantic import Field

from ledger.accounts import get_account
from ledger.codec import Value
from ledger.overlay import Overlay
from ledger.transaction import Transaction, make_transaction
from market.orders import Order, Side, Trade
from market.settlement import WH_PER_KWH
from market.trading.clearing_rules import ClearingContext, get_rule
from market.trading.contract import TradeIntention
from market.trading.ties import make_lottery
from market.trading.times import compute_times
from market.trading.views import get_book
from node.chain.events import Action, Broadcast, Event, SetTimer, StartSealing, TimerFired, TransactionsSubmitted
from node.chain.node import ChainNode
from simulation.attacks.policy import Policy
from simulation.experiments.scenario import Settings

_RESEAL = "reseal"
_EARLY_PPM = 500_000  # of a period before the gate: when it places the offer that any member would
_EXPIRY_BLOCKS = 1_000


class LastLookSettings(Settings):
    """Settings of the attack: the volume it sells, its cost, and how long after the gate it still sends."""

    hold_ms: int = Field(default=2_500, ge=0, description="how long after the gate it still seals a block dated before")
    cost: int = Field(default=410_000, ge=1, description="what a kWh is worth to it otherwise, micro-yuan")
    volume_wh: int = Field(default=100_000, ge=1, description="what it sells in each period, Wh")


class LastLook(Policy):
    """One offer a period, and another in its place when it has seen all."""

    def __init__(self, node: ChainNode, random: Random, settings: LastLookSettings | None = None) -> None:
        super().__init__(node, random)
        assert node.key is not None, "only a member's orders are taken in"
        self.key = node.key
        self.settings = settings or LastLookSettings()
        self._offered = -1  # the last period it placed an early offer for
        self._looked_on = b""  # the head on which it has replaced it

    def step(self, event: Event, now_ms: int) -> list[Action]:
        actions = self.node.step(event, now_ms)
        actions += self._offer_early(now_ms)
        if event != TimerFired(name=_RESEAL) and not any(isinstance(action, StartSealing) for action in actions):
            return actions
        gate_ms = self._find_gate(now_ms)
        if gate_ms is None:
            return actions
        kept = [action for action in actions if not isinstance(action, StartSealing)]
        return [*kept, *self._look(gate_ms, now_ms), *self._propose(gate_ms, now_ms)]

    def _period_of(self, now_ms: int) -> int:
        """The delivery period with the next gate."""
        params, since_ms = self.node.params, now_ms - self.node.genesis.time_ms
        gate_ms = params.market.gate_ppm * params.ledger.period_ms // 1_000_000
        return (since_ms + gate_ms) // params.ledger.period_ms + 1

    def _gate_ms(self, period: int) -> int:
        return compute_times(period, self.node.params, self.node.genesis.time_ms).gate_ms

    def _find_gate(self, now_ms: int) -> int | None:
        """The gate that has just passed, while no block is dated after it and it may still send one dated before."""
        gate_ms = self._gate_ms(self._period_of(now_ms) - 1)
        head = self.node.chain.head.header
        is_time = gate_ms <= now_ms <= gate_ms + self.settings.hold_ms and head.timestamp_ms < gate_ms - 1
        return gate_ms if is_time else None

    # --- its orders ------------------------------------------------------------------------------

    def _offer_early(self, now_ms: int) -> list[Action]:
        period = self._period_of(now_ms)
        early_ms = self.node.params.ledger.period_ms * _EARLY_PPM // 1_000_000
        if period <= self._offered or not self._gate_ms(period) - early_ms <= now_ms < self._gate_ms(period):
            return []
        self._offered = period
        return self._submit([self._intend(period, self.settings.cost)], now_ms, expiry=_EXPIRY_BLOCKS)

    def _look(self, gate_ms: int, now_ms: int) -> list[Action]:
        """Replace the offer in its own next block alone: no other node hears of it, and if it is late it is void."""
        head = self.node.chain.head
        if head.hash == self._looked_on:
            return []
        self._looked_on = head.hash
        period = self._period_of(now_ms) - 1
        own = [order for order in get_book(head.state, period) if order.owner == self.key.address]
        if not own:
            return []
        asked = find_best_price(self.node, self.settings, self._see(period), period)
        replaced: list[tuple[str, tuple[Value, ...]]] = [("cancel", (period, order.order_id)) for order in own]
        said = self._submit([*replaced, self._intend(period, asked)], now_ms, expiry=1, date_ms=gate_ms - 1)
        return [action for action in said if not isinstance(action, Broadcast)]

    def _see(self, period: int) -> list[Order]:
        """The others' orders: those on the book, then those that wait for a block."""
        view = Overlay(self.node.chain.head.state)
        book = [order for order in get_book(self.node.chain.head.state, period) if order.owner != self.key.address]
        place = max((order.order_id for order in book), default=0) + 1
        for transaction in self.node.mempool.candidates(lambda sender: get_account(view, sender).sequence):
            if transaction.kind == "intention" and transaction.sender != self.key.address:
                found = TradeIntention.from_payload(transaction.payload)
                if found.gate == period:
                    price, volume_wh = found.price_uyuan_per_kwh, found.volume_wh
                    book.append(Order(place, transaction.sender, found.side, price, volume_wh, place))
                    place += 1
        return book

    def _intend(self, period: int, price: int) -> tuple[str, tuple[Value, ...]]:
        intention = TradeIntention(
            side=Side.OFFER,
            gate=period,
            price_uyuan_per_kwh=price,
            volume_wh=self.settings.volume_wh,
        )
        return "intention", intention.to_payload()

    def _submit(
        self, acts: Sequence[tuple[str, tuple[Value, ...]]], now_ms: int, *, expiry: int, date_ms: int | None = None
    ) -> list[Action]:
        head = self.node.chain.head
        sequence = get_account(Overlay(head.state), self.key.address).sequence
        transactions: list[Transaction] = [
            make_transaction(
                self.key,
                chain_id=self.node.chain_id,
                sequence=sequence + place,
                expiry_height=head.height + expiry,
                kind=kind,
                payload=payload,
            )
            for place, (kind, payload) in enumerate(acts)
        ]
        at_ms = now_ms if date_ms is None else date_ms
        return self.node.step(TransactionsSubmitted(transactions=tuple(transactions)), at_ms)

    # --- its block -------------------------------------------------------------------------------

    def _propose(self, gate_ms: int, now_ms: int) -> list[Action]:
        """A fresh candidate dated 1 ms before the gate; timers run by the right clock."""
        skew_ms = gate_ms - 1 - now_ms
        actions = self.node.step(TimerFired(name=_RESEAL), now_ms + skew_ms)
        return [
            SetTimer(name=action.name, at_ms=action.at_ms - skew_ms) if isinstance(action, SetTimer) else action
            for action in actions
        ]


def find_best_price(node: ChainNode, settings: LastLookSettings, others: Sequence[Order], period: int) -> int:
    """The price, in µ¥ per kWh and not below cost, at which its offer earns most against the orders it sees."""
    prices = {order.price_uyuan_per_kwh - (order.side == Side.OFFER) for order in others} | {settings.cost}
    assert node.key is not None
    mine = Order(1 << 40, node.key.address, Side.OFFER, settings.cost, settings.volume_wh, 1 << 40)

    def earn(price: int) -> int:
        book = [*others, mine._replace(price_uyuan_per_kwh=price)]
        return measure_profit(clear(node, book, period), node.key.address if node.key else b"", settings.cost)

    return max(sorted(price for price in prices if price >= settings.cost), key=earn)


def clear(node: ChainNode, book: Sequence[Order], period: int) -> list[Trade]:
    """Clear a book as the chain does; under a rule by merit, as if all had the same."""
    market = node.params.market
    lottery = make_lottery(node.chain_id, period) if market.ties == "pro-rata" else None
    return get_rule(market.clearing_rule)(book, ClearingContext(k_ppm=market.k_ppm, lottery=lottery))


def measure_profit(trades: Sequence[Trade], seller: bytes, cost: int) -> int:
    """A seller's gain above its cost, in µ¥ rounded down."""
    earned = sum(t.volume_wh * (t.price_uyuan_per_kwh - cost) for t in trades if t.seller == seller)
    return earned // WH_PER_KWH
