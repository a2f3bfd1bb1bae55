"""The strategy `storage-arbitrage`: a small battery charges in cheap hours, and sells in dear ones."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import ClassVar

from market.orders import Side
from market.strategies.storage import Storage
from market.strategies.strategy import Act, Quote
from market.strategies.truthful import Truthful, draw_worth
from market.strategies.view import View

_LEAST_PRICES = 4  # before that nobody knows what is cheap
_PPM = 1_000_000


class StorageArbitrage(Truthful):
    """As `truthful` for what the battery has no part in; the rest is priced by the quartiles of earlier prices.

    A quarter of them is below `cheap`, a quarter above `dear`. A kWh held is worth `dear`: who lacks energy buys it
    below that and else takes it from the battery, and more below `cheap`; who has energy sells what it could keep for
    no less than that is worth after the loss, and what it holds for `dear`. Where the loss eats the difference, the
    battery is left out. It orders on one side alone, for no meter counts both.
    """

    looks_back: ClassVar[int] = 24
    storage: ClassVar[Storage | None] = Storage(capacity_wh=80_000, power_wh=20_000, efficiency_ppm=900_000)

    def answer(self, view: View, random: Random) -> Sequence[Act]:
        prices, storage, tariffs = sorted(view.prices), view.storage, view.tariffs
        has_room = tariffs.feed_in_uyuan_per_kwh < tariffs.ceiling_uyuan_per_kwh
        if storage is None or len(prices) < _LEAST_PRICES or not has_room:
            return super().answer(view, random)
        cheap, dear = prices[len(prices) // 4], prices[-1 - len(prices) // 4]
        worth = dear * storage.efficiency_ppm // _PPM  # of a kWh that is yet to be drawn
        if cheap + tariffs.wheeling_uyuan_per_kwh >= worth:
            return super().answer(view, random)
        is_seller = view.surplus_wh > 0 or (not view.shortage_wh and 2 * storage.charge_wh > storage.capacity_wh)
        side = Side.OFFER if is_seller else Side.BID
        plain = tariffs.clamp(draw_worth(random, side, tariffs, place=view.place, players=view.players))
        if is_seller:
            kept_wh = min(view.surplus_wh, storage.room_wh)
            return [
                Quote(side, plain, view.surplus_wh - kept_wh),
                Quote(side, tariffs.clamp(worth), kept_wh),
                Quote(side, tariffs.clamp(dear), storage.supply_wh),
            ]
        covered_wh = min(view.shortage_wh, storage.supply_wh)
        return [
            Quote(side, plain, view.shortage_wh - covered_wh),
            Quote(side, tariffs.clamp(dear - tariffs.wheeling_uyuan_per_kwh), covered_wh),
            Quote(side, tariffs.clamp(cheap), storage.room_wh),
        ]
