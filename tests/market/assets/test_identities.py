"""Seeded sequences of all that may be done with assets, beside a market that goes on: every identity in every block."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from ledger.accounts import account_key, account_to_value
from ledger.codec import encode
from ledger.execution import Execution, execute_body
from ledger.params import Incentive, VoucherParams
from market.claim_records import CLAIM, get_promised_wh, get_served
from market.metering import get_readings
from market.orders import Side
from market.trading.book import get_standing_wh
from market.trading.views import get_settlement
from market.vouchers import VOUCHER
from tests.support.asset_lab import MEMBERS, AssetMarket
from tests.support.market_lab import CAPACITY_WH, GENESIS_MS, PERIOD_MS, TRADERS

PRODUCERS = ("paul", "pia", "rosa")
TERMS = VoucherParams(
    price_uyuan=1_000,
    purposes=("ev",),
    validity_days=1,
    vouchers_per_block=2,
    incentives=(Incentive(source="new", vouchers_per_kwh=5, purpose="ev", validity_days=1),),
)
STEPS = 400


class Play(AssetMarket):
    """A market in which somebody does something at random, and after every block of which all identities hold."""

    def __init__(self, seed: int) -> None:
        super().__init__(vouchers=TERMS, registered={"paul": {"renewable_ppm": 500_000}})
        self.random = Random(seed)
        self.seen: Counter[str] = Counter()  # events, and what became of claims
        self.codes: Counter[str] = Counter()
        for source in TRADERS:
            self.hand_over(source, "grid", 10_000_000)
        self.total_uyuan = self.all_money()
        self.consistent = 0  # periods whose energy has been added up

    def make_block(self, *calls: tuple[str, str, tuple[object, ...]]) -> Execution:
        execution = super().make_block(*calls)
        self.check_assets()
        self.check_promises()
        assert not hasattr(self, "total_uyuan") or self.all_money() == self.total_uyuan
        for name, *values in execution.events:
            self.seen[str(name)] += 1
            if name == "claim-served":
                ends = zip(("redeemed", "short", "cancelled"), values[4:7], strict=True)
                self.seen.update(f"claim {end}" for end, wh in ends if wh)
        return execution

    def submit(self, sender: str, kind: str, payload: tuple[object, ...]) -> str:
        """As a market does it, but for what every block of these does: it rewards its producer."""
        before, state = self.account(sender), self.state
        empty = execute_body(state, self._next_context(), [], self.contracts)
        execution = self.make_block((sender, kind, payload))
        code = execution.receipts[0].code
        if code:
            spent = encode(account_to_value(before._replace(sequence=before.sequence + 1)))
            assert execution.delta.changes == {**empty.delta.changes, account_key(self.address(sender)): spent}
            assert execution.events == empty.events
        self.codes[code] += 1
        return code

    # --- acts ------------------------------------------------------------------------------------

    def step(self) -> None:
        acts = [self.claim_some, self.pass_on, self.sell_some, self.take_some_back, self.issue_some, self.pay_with_some]
        acts += [self.renew_some, self.fill_a_pot, self.order, self.order, self.cancel_some, self.begin_period]
        self.random.choice(acts)()

    def any_of(self, asset_class: str) -> tuple[str, int, int]:
        """A member, a series and an amount: mostly of what is held, now and then of anything."""
        held = [(name, *item) for name in MEMBERS for item in self.held(asset_class, name).items()]
        if not held or self.random.randrange(8) == 0:
            return self.random.choice(MEMBERS), self.random.randrange(1, 40), self.random.randrange(1, 100)
        name, series, amount = self.random.choice(held)
        part = self.random.choice([amount, amount + 1, self.random.randint(1, amount)])
        return name, series, part

    def claim_some(self) -> None:
        wh = self.random.choice([1, 700, 50_000, CAPACITY_WH // 2, CAPACITY_WH])
        producer, period = self.random.choice(PRODUCERS), self.period + self.random.randrange(1, 6)
        self.claim(producer, self.random.choice([*TRADERS, producer]), wh, period)

    def pass_on(self) -> None:
        asset_class = self.random.choice([CLAIM, VOUCHER])
        name, series, amount = self.any_of(asset_class)
        self.move(asset_class, name, self.random.choice(MEMBERS), amount, series * self.random.randrange(2))

    def sell_some(self) -> None:
        asset_class = self.random.choice([CLAIM, VOUCHER])
        name, series, amount = self.any_of(asset_class)
        buyer, price_uyuan = self.random.choice(list(TRADERS)), self.random.choice([0, 1_000, 10**6, 10**10])
        sale = self.agree(asset_class, name, buyer, amount, series, price_uyuan)
        self.sell(asset_class, name, buyer, amount, series, sale)

    def take_some_back(self) -> None:
        name, series, amount = self.any_of(CLAIM)
        self.take_back(self.random.choice([name, *PRODUCERS]), amount, series)

    def issue_some(self) -> None:
        issuer, purpose = self.random.choice(["grid", "grid", "rosa"]), self.random.choice(["any", "bill", "ev"])
        amount = self.random.choice([1, 999, 10**5])
        self.issue(issuer, self.random.choice(MEMBERS), amount, purpose, self.random.randrange(1, 3))

    def pay_with_some(self) -> None:
        name, series, amount = self.any_of(VOUCHER)
        purpose, payee = self.random.choice(["any", "bill", "ev"]), self.random.choice([name, *MEMBERS])
        self.redeem(name, payee, amount, purpose, series * self.random.randrange(2))

    def renew_some(self) -> None:
        name, series, _ = self.any_of(VOUCHER)
        self.renew(name, series)

    def fill_a_pot(self) -> None:
        pot = self.random.choice(["incentives", "block-rewards"])
        self.fund(self.random.choice(list(TRADERS)), pot, self.random.randrange(1, 50_000))

    def order(self) -> None:
        price, wh = self.random.randrange(440_000, 460_000), self.random.choice([1, 20_000, CAPACITY_WH // 2])
        period = self.period + 3
        if self.random.randrange(2):
            self.offer(self.random.choice(PRODUCERS), price=price, volume=wh, period=period)
        else:
            self.bid(self.random.choice(["carol", "chen", "rosa"]), price=price, volume=wh, period=period)

    def cancel_some(self) -> None:
        self.cancel(self.random.choice(list(TRADERS)), self.random.randrange(6), self.period + 3)

    def begin_period(self) -> None:
        """A gate closes, trades are certified, meters of the last period are read; seldom some days pass at once."""
        if self.random.randrange(20) == 0:
            self.pass_days(self.random.randrange(1, 4))
        self.now_ms = GENESIS_MS + (self.period + 1) * PERIOD_MS
        self.make_block()
        self.certify()
        silent = self.random.choice([(), (), ("paul",), ("carol", "rosa"), tuple(TRADERS)])
        for name, role in TRADERS.items():
            if name not in silent:
                energy = self.random.choice([(0, 0), (50_000, 50_000), (700, CAPACITY_WH), (CAPACITY_WH, 60_000)])
                produced = 0 if role == "consumer" else energy[1]
                assert self.read(name, consumed=energy[0], produced=produced, period=self.period - 1) == ""
        for period in range(max(0, self.period - 4), self.period):
            self.check_energy(period)

    # --- what holds --------------------------------------------------------------------------------

    def check_promises(self) -> None:
        """No kWh is promised twice: not by claims, not by orders, not by both."""
        for period in range(self.period, self.period + 7):
            for name in PRODUCERS:
                producer = self.address(name)
                offered_wh = get_standing_wh(self.view, period, producer, Side.OFFER)
                assert offered_wh + get_promised_wh(self.view, period, producer) <= CAPACITY_WH

    def check_energy(self, period: int) -> None:
        """No kWh is delivered twice: what is settled beside claims is what was metered, less what they account for."""
        settlement, readings = get_settlement(self.state, period), get_readings(self.view, period)
        if settlement is None or not readings:
            return
        rows = [row for number, _ in self.claims_of(period) for row in get_served(self.view, number)]
        heard = {reading.owner: reading for reading in readings}
        for row in rows:
            assert row.producer in heard or not row.redeemed_wh
        for producer, reading in heard.items():
            assert sum(row.redeemed_wh for row in rows if row.producer == producer) <= reading.produced_wh
        parties = {owner for row in settlement.trades for owner in (row.buyer, row.seller)}
        if parties | {row.holder for row in rows if row.redeemed_wh} <= set(heard):
            settled_wh = sum(row.consumption_wh - row.output_wh for row in (*settlement.trades, *settlement.grid))
            assert settled_wh == sum(reading.consumed_wh - reading.produced_wh for reading in readings)
            self.consistent += bool(rows and settlement.trades)


@pytest.fixture(scope="module")
def plays() -> list[Play]:
    """Markets in which a lot has happened."""
    found = []
    for seed in range(6):
        play = Play(seed)
        for _ in range(STEPS):
            play.step()
        found.append(play)
    return found


def test_all_identities_hold_whatever_happens(plays):
    """Asserted by `Play.make_block` after every block; here, that what they are about has happened."""
    seen = sum((play.seen for play in plays), Counter())
    rare = {name: count for name, count in seen.items() if count < 5}
    assert {
        *("asset-issued", "asset-moved", "asset-sold", "asset-spent", "asset-renewed", "asset-expired"),
        *("claim-served", "claim redeemed", "claim short", "claim cancelled"),
        *("voucher-paid", "incentive", "block-reward", "funded"),
        *("trade", "settlement", "grid-settlement", "imputed", "order", "cancelled"),
    } <= set(seen) - set(rare), rare
    assert sum(play.consistent for play in plays) > 10


def test_each_refusal_has_happened(plays):
    codes = sum((play.codes for play in plays), Counter())
    assert {
        *("AlreadyRenewed", "ClaimFrozen", "InsufficientBalance", "NotBacked", "NotPayable", "NotRedeemable"),
        *("NothingToRenew", "OverCapacity", "OverQuota", "RoleNotAllowed", "TooFewLots", "UnknownSeries"),
    } <= set(codes), codes
