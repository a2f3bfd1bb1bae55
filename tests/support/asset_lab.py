"""A small market with the economy on it, and the identities of its assets, checked whenever they are asked for."""

from __future__ import annotations

from collections import Counter

from ledger.accounts import get_account, pay
from ledger.codec import Value
from ledger.errors import GridmeritError
from ledger.overlay import Event, Overlay
from ledger.transaction import make_transaction
from market.assets.lots import get_holders, get_lots
from market.assets.purchase import Purchase, sign_purchase
from market.assets.series import DAY, Series, due_key, end_of_day, get_series, walk_series
from market.claim_records import CLAIM, get_promised_wh, get_served, walk_claims
from market.claims import CLAIMED_AHEAD
from market.pots import PUBLIC_POTS
from market.trading.views import closed_periods
from market.vouchers import VOUCHER, get_backing, get_live
from tests.support.keys import key_of
from tests.support.market_lab import GENESIS_MS, PERIOD, PERIOD_MS, TRADERS, Market

MEMBERS = ("grid", *TRADERS)
RETAINED = 48  # periods


class AssetMarket(Market):
    """A market whose chain has the economy; asset acts go into a block each, as orders do."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{"economy": 1, "retained_periods": RETAINED, **options})  # type: ignore[arg-type]

    @property
    def view(self) -> Overlay:
        return Overlay(self.state)

    def claim(self, producer: str, to: str, wh: int, period: int = PERIOD) -> str:
        return self.submit(producer, "asset-issue", (CLAIM, self.address(to), wh, (period,)))

    def move(self, asset_class: str, sender: str, to: str, amount: int, series: int = 0) -> str:
        return self.submit(sender, "asset-move", (asset_class, self.address(to), amount, series, None))

    def agree(
        self, asset_class: str, seller: str, buyer: str, amount: int, series: int, price_uyuan: int
    ) -> tuple[Value, ...]:
        """The sale that a buyer signs for the seller's next transaction."""
        terms = asset_class, series, amount, self.address(buyer), price_uyuan, self.address(seller)
        purchase = Purchase(*terms, sequence=self.account(seller).sequence)
        return sign_purchase(key_of(buyer), self.chain_id, purchase)

    def sell(self, asset_class: str, seller: str, buyer: str, amount: int, series: int, sale: tuple[Value, ...]) -> str:
        return self.submit(seller, "asset-move", (asset_class, self.address(buyer), amount, series, sale))

    def take_back(self, producer: str, wh: int, series: int) -> str:
        return self.submit(producer, "asset-redeem", (CLAIM, wh, series, None))

    def held(self, asset_class: str, name: str) -> dict[int, int]:
        """The amount of each series that a member holds."""
        return {
            series: amount for _, series, amount in get_lots(self.view, asset_class, self.address(name), self.period)
        }

    def series(self, number: int) -> Series:
        series = get_series(self.view, number)
        assert series is not None, number
        return series

    def all_series(self) -> dict[int, Series]:
        """Every series that the state has, found by the chains that lead to them."""
        found = {}
        view, today = self.view, end_of_day(self.period)
        for period in range(max(0, self.period - 2 * RETAINED), self.period + CLAIMED_AHEAD + 1):
            found.update(walk_claims(view, period))
        for day in range(max(0, today - 2 * RETAINED), today + 40 * DAY, DAY):
            found.update(walk_series(view, due_key(day)))
        return found

    def claims_of(self, period: int) -> list[tuple[int, Series]]:
        return list(walk_claims(self.view, period))

    def check_assets(self) -> None:
        """Assert what holds of assets in every state."""
        held: Counter[int] = Counter()
        for name in MEMBERS:
            for asset_class in (CLAIM, VOUCHER):
                held.update(self.held(asset_class, name))
        live: Counter[bytes] = Counter()
        for number, series in self.all_series().items():
            assert series.issued == series.live + series.spent + series.expired, (number, series)
            assert min(series[4:8]) >= 0, (number, series)
            assert held.pop(number, 0) == series.live, (number, series)
            if series.asset_class == CLAIM:
                self._check_claim(number, series)
            else:
                live[series.issuer] += series.live
        assert not held, held
        for issuer in [self.address(name) for name in MEMBERS] + list(PUBLIC_POTS.values()):
            backing = get_account(self.view, get_backing(issuer)).balance_uyuan
            price = self.params.market.vouchers.price_uyuan
            assert get_live(self.view, issuer) == live[issuer]
            assert live[issuer] * price <= backing, (issuer, live, backing)
            assert live[issuer] or not backing, (issuer, backing)

    def _check_claim(self, number: int, series: Series) -> None:
        period = series.attributes[0]
        assert isinstance(period, int)
        assert sum(wh for _, wh in get_holders(self.view, number)) == series.live
        assert get_promised_wh(self.view, period, series.issuer) == series.live
        rows = get_served(self.view, number)
        taken_back_wh = series.spent - sum(row.redeemed_wh + row.short_wh + row.cancelled_wh for row in rows)
        assert taken_back_wh >= 0
        assert not rows or series.live == 0

    def settled(self, period: int = PERIOD) -> bool:
        return period in closed_periods(self.state)

    def hand_over(self, source: str, destination: str, amount_uyuan: int) -> None:
        """Move money between accounts, as a transfer does."""
        view = self.view
        pay(view, self.address(source), self.address(destination), amount_uyuan)
        self._keep(view)

    # --- vouchers --------------------------------------------------------------------------------

    def issue(self, issuer: str, to: str, amount: int, purpose: str = "any", days: int = 1) -> str:
        return self.submit(issuer, "asset-issue", (VOUCHER, self.address(to), amount, (purpose, days)))

    def redeem(self, holder: str, payee: str, amount: int, purpose: str = "any", series: int = 0) -> str:
        return self.submit(holder, "asset-redeem", (VOUCHER, amount, series, (purpose, self.address(payee))))

    def renew(self, holder: str, series: int) -> str:
        return self.submit(holder, "asset-renew", (VOUCHER, series))

    def fund(self, sender: str, pot: str, amount_uyuan: int) -> str:
        return self.submit(sender, "fund", (pot, amount_uyuan))

    def all_money(self) -> int:
        """The money of members and of pots, in µ¥."""
        return sum(get_account(self.view, pot).balance_uyuan for pot in self.pots()) + self.money()

    def pots(self) -> list[bytes]:
        issuers = [*map(self.address, MEMBERS), *PUBLIC_POTS.values()]
        return [*PUBLIC_POTS.values(), *map(get_backing, issuers)]

    def pass_days(self, days: int) -> tuple[Event, ...]:
        """The first block of a later day of periods; its events."""
        self.now_ms = GENESIS_MS + (end_of_day(self.period + 1) + (days - 1) * DAY) * PERIOD_MS
        return self.make_block().events

    # --- refusals --------------------------------------------------------------------------------

    def refuse(self, sender: str, kind: str, payload: tuple[Value, ...]) -> str:
        """The text of the error that a transaction is refused with."""
        block = self._next_context()
        transaction = make_transaction(
            key_of(sender), chain_id=self.chain_id, sequence=0, expiry_height=block.height, kind=kind, payload=payload
        )
        try:
            self.contracts.handlers[kind](self.view, block, transaction)
        except GridmeritError as error:
            return f"{error.code}: {error}"
        return ""
