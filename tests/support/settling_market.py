"""A small market in which several blocks, or several steps of one, settle a period."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ledger.accounts import Account, get_account
from ledger.codec import Value
from ledger.overlay import Overlay
from ledger.params import ConsensusParams, MarketParams
from ledger.signatures import SigningKey
from ledger.state import State
from ledger.transaction import make_transaction
from market.trading.period_settlement import is_settling
from market.trading.settlement_record import PeriodSettlement, get_settlement
from node.proofs.store_audit import audit_store
from simulation.world.networks import make_network
from simulation.world.world import World

PERIOD = 3
NAMES = ("n0", "n1", "n2", "n3")
ORDERS = 16  # of each member: half of them buy, half of them sell
SMALLEST = 64  # units of work a pass: four trades settled
GATE_MS, DELIVERED_MS, SETTLED_MS = 20_000, 81_000, 100_000  # after genesis


class SettlingMarket:
    """Four members with as many trades as several blocks settle, or passes of a block.

    `passes` are those of a block, each of the smallest share of work that there may be; `options` are the world's.
    """

    def __init__(self, *, consensus: ConsensusParams | None = None, passes: int = 1, **options: Any) -> None:
        market = MarketParams(work_per_block=passes * SMALLEST, passes_per_block=passes, over_delivery_ppm=250_000)
        self.network = make_network(NAMES, market=market, consensus=consensus)
        self.world = World(self.network.genesis, self.network.keys, **options)

    def order(self) -> None:
        """Have every member place its orders."""
        self.world.run_for(2_000)
        for index, name in enumerate(NAMES):
            buys = index % 2 == 0
            prices = [500_000 + 3 * number if buys else 480_000 - 5 * number for number in range(ORDERS)]
            orders = [(int(not buys), PERIOD, price, 3_000 + 100 * index + price % 97) for price in prices]
            self.submit(name, self.network.keys[name], "intention", orders)

    def deliver(self) -> None:
        """Go on to where the period is about to be settled."""
        self.run_to(DELIVERED_MS)
        for index, name in enumerate(NAMES):
            self.submit(name, self.network.devices[name], "reading", [(PERIOD, 50_000 + index, 47_000 - index)])
        self.run_to(SETTLED_MS)

    def submit(self, name: str, key: SigningKey, kind: str, payloads: list[tuple[Value, ...]]) -> None:
        transactions = [
            make_transaction(
                key, chain_id=self.world.chain_id, sequence=number, expiry_height=5_000, kind=kind, payload=payload
            )
            for number, payload in enumerate(payloads)
        ]
        assert self.world.submit(name, *transactions) == (None,) * len(transactions)

    @property
    def elapsed_ms(self) -> int:
        return self.world.now_ms - self.network.genesis.time_ms

    def run_to(self, elapsed_ms: int) -> None:
        self.world.run_for(elapsed_ms - self.elapsed_ms)

    def run_until(self, condition: Callable[[], bool], *, limit_ms: int = 60_000) -> None:
        self.world.run_until(condition, limit_ms=limit_ms)

    def state(self, name: str) -> State:
        return self.world.node(name).chain.head.state

    def is_half_settled(self, name: str) -> bool:
        return is_settling(Overlay(self.state(name)), PERIOD)

    def is_settled(self) -> bool:
        return all(get_settlement(Overlay(self.state(name)), PERIOD) is not None for name in NAMES)

    def list_damage(self, name: str) -> list[Any]:
        """The damage of a store: the rows of the state, and those that undo it, must lead to what headers say."""
        return audit_store(self.network.genesis, self.world.peers[name].store).damage

    def outcome(self, name: str) -> tuple[PeriodSettlement | None, list[Account]]:
        """All that has come of the period, to the µ¥ and micro-point."""
        view, keys = Overlay(self.state(name)), (*self.network.keys.values(), self.network.grid)
        return get_settlement(view, PERIOD), [get_account(view, key.address) for key in keys]
