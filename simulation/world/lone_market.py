"""A trading chain's contracts without a network, block by block: what a market does where nobody fails or lies.

Every block is executed as a node executes it, and every gate gets its certificate with the next one. For scenarios
about what players earn, which need many periods.
"""

from __future__ import annotations

from collections import Counter

from ledger.accounts import Account, get_account
from ledger.checkpoints import Checkpoint, mark_certified
from ledger.codec import Value
from ledger.contract import BlockContext, Contracts
from ledger.execution import compute_period, execute_body
from ledger.genesis import build_state
from ledger.overlay import Overlay
from ledger.state import State
from ledger.transaction import make_transaction
from market.trading.contract import market_handlers, market_hooks, market_next_due
from simulation.world.networks import SmallNetwork

_LIFETIME_BLOCKS = 100


class LoneMarket:
    """The chain's state, and the way to add to it. Refusals assert: a script knows the rules."""

    def __init__(self, network: SmallNetwork) -> None:
        self.genesis = network.genesis
        self.state: State = build_state(network.genesis)
        self.now_ms = network.genesis.time_ms
        meters = {f"{name}/meter": key for name, key in network.devices.items()}
        self._keys = {**network.keys, **meters, "grid": network.grid}
        self._contracts = Contracts(
            handlers=market_handlers(frozenset(), network.genesis.params.market.clearing_rule),
            hooks=market_hooks(),
            next_due=market_next_due(),
        )
        self._producer = network.grid.address
        self._sequences: Counter[str] = Counter()
        self._height = 0
        self._period = 0

    def go_to(self, period: int) -> None:
        """The first block of a period, which closes what is due, and one that finds the gate certified."""
        self.now_ms = self.genesis.time_ms + period * self.genesis.params.ledger.period_ms
        self.make_block()
        view = Overlay(self.state)
        mark_certified(view, Checkpoint(slot=self._height, height=self._height))
        view.commit()
        self.state = view.finish()[0]
        self.make_block()

    def make_block(self, *calls: tuple[str, str, tuple[Value, ...]]) -> None:
        """A block of transactions (account, kind, payload); accounts are names, `name/meter` of meters, and `grid`."""
        context = self._make_context()
        transactions = []
        for account, kind, payload in calls:
            transaction = make_transaction(
                self._keys[account],
                chain_id=context.chain_id,
                sequence=self._sequences[account],
                expiry_height=context.height + _LIFETIME_BLOCKS,
                kind=kind,
                payload=payload,
            )
            self._sequences[account] += 1
            transactions.append(transaction)
        execution = execute_body(self.state, context, transactions, self._contracts)
        refused = [
            (call, receipt.code) for call, receipt in zip(calls, execution.receipts, strict=True) if receipt.code
        ]
        assert not refused, refused
        self.state, self._height, self._period = execution.state, context.height, context.period

    def account(self, name: str) -> Account:
        return get_account(Overlay(self.state), self._keys[name].address)

    def _make_context(self) -> BlockContext:
        params, genesis = self.genesis.params, self.genesis
        period = compute_period(
            self.now_ms,
            genesis_time_ms=genesis.time_ms,
            period_ms=params.ledger.period_ms,
            parent_period=self._period,
        )
        return BlockContext(
            params=params,
            chain_id=genesis.chain_id,
            genesis_time_ms=genesis.time_ms,
            height=self._height + 1,
            parent=self._height.to_bytes(32, "big"),
            producer=self._producer,
            timestamp_ms=self.now_ms,
            period=period,
            is_first_of_period=period > self._period,
        )
