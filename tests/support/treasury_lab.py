"""A trading chain with two banks, by its contracts, driven block by block; its money is counted after each."""

from __future__ import annotations

from ledger.accounts import Account, get_account
from ledger.codec import Value
from ledger.genesis import Authority, Genesis, GenesisMember
from ledger.membership import sign_act
from ledger.overlay import Event, Overlay
from ledger.params import Area, ChainParams, LedgerParams, Line, MarketParams, SchedulingParams
from market.treasury import Booked, get_booked
from node.chain.state_kinds import KindCount, count_kinds
from simulation.world.contract_chains import ContractChain
from tests.support.keys import address, key_of

PERIOD_MS = 1_000
GENESIS_MS = 1_700_000_000_000
YUAN = 10**6
FOUNDING_UYUAN = 100 * YUAN
MARKET = MarketParams(economy=1, income_and_cost="kept")
ROLES = {
    "grid": "grid-operator",
    "dispatch": "dispatcher",
    "carol": "consumer",
    "rosa": "prosumer",
    "paul": "producer",
    "audit": "auditor",
    "north": "bank",
    "south": "bank",
    "seller": "originator",
    "fund": "investor",
}
NOT_TAKEN = "not taken into a block"
PAID_IN = ("carol", "rosa", "paul")  # with money from the genesis
GRID = SchedulingParams(
    areas=(Area(name="all", wheeling_uyuan_per_kwh=20_000),), lines=(Line(name="feeder-1", area="all", capacity_wh=1),)
)


def make_genesis(
    *, market: MarketParams = MARKET, siblings: bool = False, other: MarketParams | None = None
) -> Genesis:
    """`other` are the market's parameters of the chains beside the trading chain."""
    members = [
        GenesisMember(
            name=name,
            role=role,  # type: ignore[arg-type]
            key=key_of(name).public_key,
            seals=name == "grid",
            balance_uyuan=FOUNDING_UYUAN if name in PAID_IN else 0,
            capacity_wh=10**6,
            position="feeder-1",
        )
        for name, role in ROLES.items()
    ]
    meters = [
        GenesisMember(name=f"meter-{name}", role="device", key=key_of(f"meter-{name}").public_key, owner=name)
        for name in PAID_IN
    ]
    ledger, beside = LedgerParams(period_ms=PERIOD_MS), other or market
    chains = (
        ChainParams(name="DU1", kind="scheduling", ledger=ledger, market=beside, scheduling=GRID),
        ChainParams(name="LH1", kind="credit", ledger=ledger, market=beside),
    )
    return Genesis(
        params=ChainParams(name="JY1", ledger=ledger, market=market),
        time_ms=GENESIS_MS,
        members=(*members, *meters),
        siblings=chains if siblings else (),
        authority=Authority(keys=(key_of("chair").public_key,)),
    )


class TreasuryLab:
    """Every block checks the identity of money; `submit` has a block of its own for each transaction."""

    address = staticmethod(address)

    def __init__(self, **market: object) -> None:
        self.genesis = make_genesis(market=MARKET.model_copy(update=market))
        self.chain = ContractChain(self.genesis, key_of("grid"), [key_of("grid")])
        self.roles = {member.name: member.role for member in self.genesis.members}
        self.addresses = {address(name): name for name in self.roles}
        self.period = 0
        self.founding_uyuan = sum(member.balance_uyuan for member in self.genesis.members)

    def submit(self, sender: str, kind: str, *payload: Value) -> str:
        """The code that the transaction is refused with, empty where it took effect; refused, it moves nothing.

        `NOT_TAKEN` of a sender who has left.
        """
        before, sequence = self.money(), self.account(sender).sequence
        self.chain.send(key_of(sender), kind, *payload)
        self.make_block()
        is_taken = self.account(sender).sequence > sequence
        code = self.chain.receipts[-1].code if is_taken else NOT_TAKEN
        if code:
            assert self.money() == before
        return code

    def make_block(self) -> None:
        self.chain.make_block(GENESIS_MS + self.period * PERIOD_MS + 1)
        self.check_money()

    def go_to(self, period: int) -> list[tuple[Value, ...]]:
        """The first block of a period, and the events of it."""
        self.period = period
        self.make_block()
        return list(self.events)

    def revoke(self, name: str) -> str:
        serial = self.genesis.serial_of(name)
        return self.submit(
            "grid", "revoke", *sign_act(self.genesis.network_id, ("revoke", serial, "enough"), [key_of("chair")])
        )

    # --- reading ---------------------------------------------------------------------------------

    @property
    def events(self) -> tuple[Event, ...]:
        """Those of the last block that are the market's."""
        return tuple(event for event in self.chain.events if event[0] != "certified")

    @property
    def view(self) -> Overlay:
        return self.chain.view

    def account(self, name: str) -> Account:
        return get_account(self.view, address(name))

    def balance(self, name: str) -> int:
        return self.account(name).balance_uyuan

    def booked(self) -> Booked:
        return get_booked(self.view)

    def money(self) -> dict[str, int]:
        """Balance and reserve of every member together."""
        accounts = {name: self.account(name) for name in self.roles}
        return {name: account.balance_uyuan + account.reserved_uyuan for name, account in accounts.items()}

    def check_money(self) -> None:
        booked = self.booked()
        assert sum(self.money().values()) == self.founding_uyuan + booked.deposited_uyuan - booked.withdrawn_uyuan

    def count(self) -> tuple[KindCount, ...]:
        return count_kinds(self.genesis, self.chain.state)
