"""A small market with an originator, investors and pools, and what must hold of all pools in every state."""

from __future__ import annotations

from ledger.accounts import get_account
from ledger.execution import Execution
from ledger.genesis import GenesisMember
from market.assets.lots import get_holders
from market.assets.series import get_series, walk_series
from market.pool_life import Status
from market.pool_records import (
    MEZZANINE,
    NOTE,
    SENIOR,
    Plant,
    Pool,
    Terms,
    get_agenda,
    get_plant,
    get_plants,
    get_pool,
    get_pot,
    get_terms,
    notes_key,
)
from market.pools import Pledge, get_note, sign_pledge
from tests.support.asset_lab import AssetMarket
from tests.support.keys import address, key_of
from tests.support.market_lab import BALANCE_UYUAN, GENESIS_MS, PERIOD_MS, TRADERS

INVESTORS = ("fund", "trust")
ROLES = {"seller": "originator", "second": "originator", "fund": "investor", "trust": "investor", "north": "bank"}
YUAN = 10**6
TERMS = Terms(
    senior_uyuan=60 * YUAN,
    mezz_uyuan=30 * YUAN,
    fee_ppm=0,
    sen_ppm=0,
    mez_ppm=0,
    reserve_ppm=100_000,
    default_trigger_ppm=300_000,
    sched_uyuan=10 * YUAN,
    share_ppm=1_000_000,
    start=5,
    every=3,
    dates=6,
    min_age=0,
    min_credit_upt=0,
    min_availability_ppm=0,
)


class PoolMarket(AssetMarket):
    """A market whose chain has pools; every block is held to what must hold of them."""

    def __init__(self, **options: object) -> None:
        others = tuple(
            GenesisMember(
                name=name,
                role=role,  # type: ignore[arg-type]
                key=key_of(name).public_key,
                balance_uyuan=BALANCE_UYUAN,
            )
            for name, role in ROLES.items()
        )
        super().__init__(others=others, **options)
        self.now_ms = GENESIS_MS
        self.make_block()
        self.sum_uyuan = self.count_money()

    def make_block(self, *calls: tuple[str, str, tuple[object, ...]]) -> Execution:
        execution = super().make_block(*calls)
        self.check_pools()
        return execution

    def count_money(self) -> int:
        """All balances and reserves that the state has, of members and of pots (µ¥)."""
        keys = [key[2:] for key, _ in self.state.items() if key.startswith(b"a/")]
        accounts = [get_account(self.view, key) for key in keys]
        return sum(account.balance_uyuan + account.reserved_uyuan for account in accounts)

    # --- acts ------------------------------------------------------------------------------------

    def open_pool(self, originator: str = "seller", **changes: int) -> str:
        start = changes.pop("start", self.period + TERMS.start)
        return self.submit(originator, "pool", (tuple(TERMS._replace(start=start, **changes)),))

    def pledge(self, plant: str, value: int, pool: int = 1, *, originator: str = "seller", signer: str = "") -> str:
        terms = pool, address(plant), value, address(originator)
        pledge = Pledge(*terms, sequence=self.account(originator).sequence)
        signature = sign_pledge(key_of(signer or plant), self.chain_id, pledge)
        return self.submit(originator, "pool-admit", (pool, address(plant), value, signature))

    def issue_note(self, tranche: str, amount: int, pool: int = 1, originator: str = "seller", to: str = "") -> str:
        return self.submit(originator, "asset-issue", (NOTE, address(to or originator), amount, (pool, tranche)))

    def sell_note(self, seller: str, buyer: str, note: int, amount: int, price: int) -> str:
        return self.sell(NOTE, seller, buyer, amount, note, self.agree(NOTE, seller, buyer, amount, note, price))

    def fill(self, senior: int = 60 * YUAN, mezz: int = 30 * YUAN, **changes: int) -> int:
        """A pool of two plants whose notes two investors have bought; its number."""
        assert self.open_pool(**changes) == ""
        number = get_agenda(self.view)[-1][1]
        for plant, value in (("paul", 60 * YUAN), ("pia", 30 * YUAN)):
            assert self.pledge(plant, value, number) == ""
        for tranche, amount in ((SENIOR, senior), (MEZZANINE, mezz)):
            if amount:
                assert self.issue_note(tranche, amount, number) == ""
                note, part = self.note(number, tranche), amount // 3
                assert self.sell_note("seller", "fund", note, part, part) == ""
                assert self.sell_note("seller", "trust", note, amount - part, amount - part) == ""
        return number

    def deliver(self, periods: int = 1, **output_wh: int) -> None:
        """Have meters say, of so many periods to come, that plants made so much and the others nothing."""
        for _ in range(periods):
            self.go_on()
            readings = [(f"meter-{name}", (self.period - 1, 0, output_wh.get(name, 0))) for name in TRADERS]
            receipts = self.make_block(*[(meter, "reading", payload) for meter, payload in readings]).receipts
            assert not any(receipt.code for receipt in receipts)

    def pass_to(self, period: int) -> None:
        self.now_ms = GENESIS_MS + period * PERIOD_MS
        self.make_block()

    # --- looking ---------------------------------------------------------------------------------

    def pool(self, number: int = 1) -> Pool:
        pool = get_pool(self.view, number)
        assert pool is not None, number
        return pool

    def plant(self, name: str) -> Plant | None:
        return get_plant(self.view, address(name))

    def note(self, number: int, tranche: str) -> int:
        return get_note(self.view, number, tranche)

    def pot_uyuan(self, number: int = 1) -> int:
        return get_account(self.view, get_pot(number)).balance_uyuan

    def check_pools(self) -> None:
        """Assert what holds of pools in every state."""
        assert not hasattr(self, "sum_uyuan") or self.count_money() == self.sum_uyuan
        view, pledged = self.view, 0
        for _, number in get_agenda(view):
            pool = self.pool(number)
            self._check_notes(number, pool)
            assert pool.collected_uyuan == pool.paid_uyuan + self.pot_uyuan(number), (number, pool)
            assert self.pot_uyuan(number) >= pool.balances.reserve >= 0
            plants = [get_plant(view, plant) for plant in get_plants(view, number)]
            pledged += len(plants)
            assert all(plant is not None and plant.pool == number for plant in plants)
            values = [(plant.value_uyuan, plant.is_defaulted) for plant in plants if plant]
            if pool.status in (Status.REPAID, Status.OVER):
                assert not plants
                assert not self.pot_uyuan(number)
            else:
                assert pool.balances.pool == sum(value for value, _ in values)
                assert pool.balances.default == sum(value for value, is_defaulted in values if is_defaulted)
                assert pool.balances.senior + pool.balances.mezz <= pool.balances.pool
        assert pledged == sum(key.startswith(b"pool/plant/") for key, _ in self.state.items())

    def _check_notes(self, number: int, pool: Pool) -> None:
        view, terms = self.view, get_terms(self.view, number)
        for note, series in walk_series(view, notes_key(number)):
            is_senior = series.attributes[1] == SENIOR
            left = pool.balances.senior if is_senior else pool.balances.mezz
            assert series.issued == series.live + series.spent + series.expired
            assert series.issued - series.spent == left >= 0
            assert series.issued <= (terms.senior_uyuan if is_senior else terms.mezz_uyuan)
            held = {name: self.held(NOTE, name).get(note, 0) for name in ROLES}
            assert sum(held.values()) == series.live
            assert dict(get_holders(view, note)) == {address(name): have for name, have in held.items() if have}

    def outstanding(self, number: int = 1) -> tuple[int, int]:
        """The µ¥ that are owed on the senior and on the mezzanine note, by their series."""
        senior, mezz = (get_series(self.view, self.note(number, tranche)) for tranche in (SENIOR, MEZZANINE))
        assert senior is not None
        assert mezz is not None
        return senior.live, mezz.live
