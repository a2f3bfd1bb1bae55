"""A small market on a chain, driven block by block: `make_market()` gives each test its own, alone or beside others."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ledger.accounts import Account, account_key, account_to_value, get_account, put_account
from ledger.checkpoints import Checkpoint, mark_certified
from ledger.codec import Value, encode
from ledger.contract import BlockContext, Contracts
from ledger.errors import GridmeritError
from ledger.execution import Execution, compute_period, execute_body, select_transactions
from ledger.genesis import Authority, Genesis, GenesisMember, build_state
from ledger.inbox import InboundMessage, receive
from ledger.outbox import get_entries, outbox_key
from ledger.overlay import Event, Overlay
from ledger.params import ChainParams, LedgerParams, MarketParams
from ledger.state import State
from ledger.transaction import Transaction, make_transaction
from market.economy import economy_handlers, economy_hooks
from market.orders import Side
from market.trading.contract import TradeIntention, market_handlers, market_hooks, market_routes
from market.trading.gates import Gate, get_gate
from market.trading.period import PeriodTimes, compute_times
from tests.support.keys import address, key_of

PERIOD = 10  # the delivery period that tests trade in unless they say otherwise
PERIOD_MS = 1_000
GENESIS_MS = 1_700_000_000_000
CAPACITY_WH = 400_000
BALANCE_UYUAN = 1_000_000_000

TRADERS = {
    "carol": "consumer",
    "chen": "consumer",
    "paul": "producer",
    "pia": "producer",
    "rosa": "prosumer",
}
CHAIRS = ("chair-1", "chair-2", "chair-3")  # whose keys are the authority's
WIDE_WH = 10**9  # a line quota that is never in the way


def make_contracts(siblings: frozenset[str], params: MarketParams) -> Contracts:
    """The market's and the economy's, and `relay`: a message of another chain whose proof has been checked."""
    return Contracts(
        handlers={**market_handlers(siblings, params.clearing_rule), **economy_handlers(params)},
        producer_handlers={"relay": _process_relay},
        hooks=(*market_hooks(), *economy_hooks(params)),
    )


def _process_relay(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """Do what the relay contract does once certificate, header and state proof are in order."""
    chain, source, kind, number, part, parts, rows = transaction.payload
    is_complete = receive(view, chain, kind, number, part, parts)
    delivery = InboundMessage(
        source=chain,
        kind=kind,
        number=number,
        part=part,
        parts=parts,
        rows=rows,
        is_complete=is_complete,
        block_hash=bytes(32),
        height=1,
    )
    market_routes()[source, kind](view, block, delivery)


def _founders(
    capacity_wh: int, positions: Mapping[str, str], registered: Mapping[str, Mapping[str, int]]
) -> tuple[GenesisMember, ...]:
    grid = GenesisMember(name="grid", role="grid-operator", key=key_of("grid").public_key, seals=True)
    traders = [
        GenesisMember(
            name=name,
            role=role,
            key=key_of(name).public_key,
            balance_uyuan=BALANCE_UYUAN,
            capacity_wh=capacity_wh,
            position=positions.get(name, "feeder-1"),
        ).model_copy(update=registered.get(name, {}))
        for name, role in TRADERS.items()
    ]
    meters = [
        GenesisMember(name=f"meter-{name}", role="device", key=key_of(f"meter-{name}").public_key, owner=name)
        for name in TRADERS
    ]
    return (grid, *traders, *meters)


class Market:
    """One chain whose only contract is the market; whatever is submitted goes into a block at `now_ms`."""

    def __init__(
        self,
        *,
        siblings: frozenset[str] = frozenset(),
        capacity_wh: int = CAPACITY_WH,
        positions: Mapping[str, str] = MappingProxyType({}),
        registered: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
        areas: Mapping[str, str] = MappingProxyType({}),
        others: tuple[GenesisMember, ...] = (),
        **market: int | str,
    ) -> None:
        self.siblings, self.positions, self.areas = siblings, positions, areas
        self.params = ChainParams(name="JY1", ledger=LedgerParams(period_ms=PERIOD_MS), market=MarketParams(**market))
        self.contracts = make_contracts(siblings, self.params.market)
        authority = Authority(threshold=2, keys=tuple(key_of(name).public_key for name in CHAIRS))
        self.members = (*_founders(capacity_wh, positions, registered), *others)
        self.genesis = genesis = Genesis(
            params=self.params, time_ms=GENESIS_MS, members=self.members, authority=authority
        )
        self.network_id = genesis.network_id
        self.chain_id = genesis.chain_id
        self.state: State = build_state(genesis)
        self.height = 0
        self.period = 0
        self.now_ms = self.times().open_ms

    address = staticmethod(address)

    # --- time ------------------------------------------------------------------------------------

    def times(self, period: int = PERIOD) -> PeriodTimes:
        return compute_times(period, self.params, GENESIS_MS)

    def go(self, instant: str, period: int = PERIOD, *, late_ms: int = 0) -> tuple[Event, ...]:
        """Make an empty block at "open", "gate", "deadline", "delivery_end" or "settle"; its events."""
        self.now_ms = getattr(self.times(period), f"{instant}_ms") + late_ms
        return self.make_block().events

    # --- writing ---------------------------------------------------------------------------------

    def make_block(self, *calls: tuple[str, str, tuple[object, ...]]) -> Execution:
        """A block of transactions (sender, kind, payload) at `now_ms`."""
        context = self._next_context()
        spent: dict[str, int] = {}
        transactions = []
        for sender, kind, payload in calls:
            sequence = self.account(sender).sequence + spent.get(sender, 0) if kind != "relay" else 0
            spent[sender] = spent.get(sender, 0) + 1
            transactions.append(
                make_transaction(
                    key_of(sender),
                    chain_id=self.chain_id,
                    sequence=sequence,
                    expiry_height=context.height,
                    kind=kind,
                    payload=payload,  # type: ignore[arg-type]
                )
            )
        execution = execute_body(self.state, context, transactions, self.contracts)
        self.state, self.period, self.height = execution.state, context.period, context.height
        return execution

    def _next_context(self) -> BlockContext:
        period = compute_period(self.now_ms, genesis_time_ms=GENESIS_MS, period_ms=PERIOD_MS, parent_period=self.period)
        return BlockContext(
            params=self.params,
            chain_id=self.chain_id,
            genesis_time_ms=GENESIS_MS,
            height=self.height + 1,
            parent=self.height.to_bytes(32, "big"),
            producer=address("grid"),
            timestamp_ms=self.now_ms,
            period=period,
            is_first_of_period=period > self.period,
            siblings=self.siblings,
            areas=self.areas,
        )

    def submit(self, sender: str, kind: str, payload: tuple[object, ...]) -> str:
        """The receipt's error code, empty where the transaction took effect.

        A refused transaction must leave nothing behind but its sender's next sequence.
        """
        self.make_block()  # what the hooks have to do at this time, and
        self.make_block()  # what they leave to the block after it, is not the transaction's doing
        before = self.account(sender)
        execution = self.make_block((sender, kind, payload))
        code = execution.receipts[0].code
        if code:
            spent = encode(account_to_value(before._replace(sequence=before.sequence + 1)))
            assert execution.delta.changes == {account_key(address(sender)): spent}
            assert execution.events == ()
        return code

    def bid(self, sender: str, *, price: int, volume: int, **fields: object) -> str:
        return self.submit(sender, "intention", self.intention(sender, Side.BID, price, volume, **fields))

    def offer(self, sender: str, *, price: int, volume: int, **fields: object) -> str:
        return self.submit(sender, "intention", self.intention(sender, Side.OFFER, price, volume, **fields))

    def cancel(self, sender: str, order_id: int, period: int = PERIOD) -> str:
        return self.submit(sender, "cancel", (period, order_id))

    def read(self, owner: str, *, consumed: int = 0, produced: int = 0, period: int = PERIOD) -> str:
        return self.submit(f"meter-{owner}", "reading", (period, consumed, produced))

    def register(self, owner: str, *, consumed: int = 0, produced: int = 0, period: int = PERIOD) -> str:
        return self.submit(f"meter-{owner}", "register", (period, consumed, produced))

    def go_on(self) -> tuple[Event, ...]:
        """The first block of the next period, at which what was corrected is settled; its events."""
        self.now_ms = GENESIS_MS + (self.period + 1) * PERIOD_MS
        return self.make_block().events

    def certify(self) -> None:
        """Certify this height as the certificate contract does once enough members have signed; a block."""
        view = Overlay(self.state)
        mark_certified(view, Checkpoint(slot=self.height, height=self.height))
        self._keep(view)
        self.make_block()

    # --- other chains ----------------------------------------------------------------------------

    def relay(
        self,
        kind: str,
        *rows: Value,
        number: int = PERIOD,
        part: int = 0,
        parts: int = 1,
        source: str = "scheduling",
        chain: str = "DU1",
    ) -> str:
        """A block with one part of another chain's message: the code of the error it is refused with, or nothing.

        A relay that is refused must leave nothing behind: a block it was tried for is the block without it.
        """
        self.make_block()  # as in `submit`
        self.make_block()
        payload = (chain, source, kind, number, part, parts, rows)
        try:
            self.relayed = self.make_block(("grid", "relay", payload)).events
        except GridmeritError as error:
            context = self._next_context()
            transaction = make_transaction(
                key_of("grid"),
                chain_id=self.chain_id,
                sequence=0,
                expiry_height=context.height,
                kind="relay",
                payload=payload,
            )
            arguments = self.state, context, [transaction], self.contracts
            taken, execution = select_transactions(*arguments, max_bytes=self.params.ledger.max_block_bytes)
            assert taken == ()
            assert execution.delta.changes == {}
            assert execution.events == ()
            return error.code
        return ""

    def quota(self, *rows: Value, number: int = PERIOD) -> str:
        """The whole quota of a period; without rows one that is never in the way."""
        lines = sorted({"feeder-1", *self.positions.values()})
        return self.relay("quota", *(rows or [(line, WIDE_WH, WIDE_WH, 20_000) for line in lines]), number=number)

    def verdict(self, *rows: Value, number: int = PERIOD) -> str:
        return self.relay("verdict", *rows, number=number)

    def metered(self, *rows: tuple[str, int, int], number: int = PERIOD) -> str:
        """A whole period's readings by member's name."""
        return self.relay("metered", *[(address(name), *read) for name, *read in rows], number=number)

    def corrected(self, *rows: tuple[str, int, int, int], number: int, period: int = PERIOD) -> str:
        """Readings that changed after the period was metered, by member's name, each with its revision."""
        return self.relay("corrected", *[(period, address(name), *read) for name, *read in rows], number=number)

    def posted(self, kind: str, number: int = PERIOD) -> list[Value] | None:
        """The rows of a message in the outbox, None where there is none."""
        view = Overlay(self.state)
        for entry in reversed(get_entries(view)):  # the latest share of a message knows of all its parts
            if (entry.kind, entry.number) == (kind, number):
                parts = [view.get(outbox_key(kind, number, part)) for part in range(entry.parts)]
                return [row for _, rows in parts for row in rows]
        return None

    def penalise(self, name: str, penalty_upt: int) -> None:
        """Take credit from a member as the evidence contract does where it equivocated."""
        view = Overlay(self.state)
        put_account(view, address(name), self.account(name)._replace(penalty_upt=penalty_upt))
        self._keep(view)

    def _keep(self, view: Overlay) -> None:
        view.commit()
        self.state = view.finish()[0]

    def intention(
        self, sender: str, side: Side, price: int, volume: int, *, period: int = PERIOD, **fields: object
    ) -> tuple[object, ...]:
        """The payload of a TradeIntention, but for `fields`."""
        whole = TradeIntention(
            side=side,
            gate=period,
            price_uyuan_per_kwh=price,
            volume_wh=volume,
        )
        return whole._replace(**fields).to_payload()  # type: ignore[arg-type]

    # --- reading ---------------------------------------------------------------------------------

    def account(self, name: str) -> Account:
        return get_account(Overlay(self.state), address(name))

    def gate(self, period: int = PERIOD) -> Gate | None:
        return get_gate(Overlay(self.state), period)

    def money(self) -> int:
        """All the money there is, reserved or not, in µ¥."""
        return sum(account.balance_uyuan + account.reserved_uyuan for account in self._accounts())

    def reserved(self) -> int:
        """All the money set aside, in µ¥."""
        return sum(account.reserved_uyuan for account in self._accounts())

    def _accounts(self) -> list[Account]:
        return [self.account(name) for name in ("grid", *TRADERS, *(f"meter-{name}" for name in TRADERS))]
