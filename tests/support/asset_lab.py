"""A small market with the economy on it, and the identities of its assets, checked whenever they are asked for."""

from __future__ import annotations

from collections import Counter

from ledger.overlay import Overlay
from market.assets.lots import get_holders, get_lots
from market.assets.series import DAY, Series, due_key, get_series, walk_series
from market.claim_records import CLAIM, get_promised_wh, get_served, walk_claims
from market.trading.views import closed_periods
from tests.support.market_lab import PERIOD, TRADERS, Market

MEMBERS = ("grid", *TRADERS)


class AssetMarket(Market):
    """A market whose chain has the economy; asset acts go into a block each, as orders do."""

    def __init__(self, **options: object) -> None:
        super().__init__(economy=1, **options)  # type: ignore[arg-type]

    @property
    def view(self) -> Overlay:
        return Overlay(self.state)

    def claim(self, producer: str, to: str, wh: int, period: int = PERIOD) -> str:
        return self.submit(producer, "asset-issue", (CLAIM, self.address(to), wh, (period,)))

    def move(self, asset_class: str, sender: str, to: str, amount: int, series: int = 0) -> str:
        return self.submit(sender, "asset-move", (asset_class, self.address(to), amount, series))

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
        for period in range(self.period + 10 * DAY):
            found.update(walk_claims(self.view, period))
            found.update(walk_series(self.view, due_key(period)))
        return found

    def check_assets(self) -> None:
        """Assert what holds of assets in every state."""
        held: Counter[int] = Counter()
        for name in MEMBERS:
            for asset_class in (CLAIM,):
                held.update(self.held(asset_class, name))
        for number, series in self.all_series().items():
            assert series.issued == series.live + series.spent + series.expired, (number, series)
            assert min(series[4:8]) >= 0, (number, series)
            assert held[number] == series.live, (number, series, held[number])
            if series.asset_class == CLAIM:
                self._check_claim(number, series)

    def _check_claim(self, number: int, series: Series) -> None:
        period = series.attributes[0]
        assert isinstance(period, int)
        assert sum(wh for _, wh in get_holders(self.view, number)) == series.live
        assert get_promised_wh(self.view, period, series.issuer) == series.live
        rows = get_served(self.view, number)
        ended = sum(row.redeemed_wh + row.short_wh + row.cancelled_wh for row in rows)
        assert not rows or series.live == 0
        assert ended <= series.spent

    def settled(self, period: int = PERIOD) -> bool:
        return period in closed_periods(self.state)
