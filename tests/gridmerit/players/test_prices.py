"""Prices of orders that earn a remark: feed-in 0.41 and retail 0.615 yuan per kWh, wheeling by area or for all."""

from __future__ import annotations

import pytest

from gridmerit.players.prices import find_wheeling, remark_on_price
from ledger.genesis import Genesis, GenesisMember
from ledger.params import Area, ChainParams, Line, MarketParams, SchedulingParams
from ledger.signatures import SigningKey
from market.orders import Side

MARKET = MarketParams(feed_in_uyuan_per_kwh=410_000, retail_uyuan_per_kwh=615_000, wheeling_uyuan_per_kwh=20_000)
GRID = SchedulingParams(
    areas=(Area(name="wide", wheeling_uyuan_per_kwh=25_000), Area(name="narrow", wheeling_uyuan_per_kwh=30_000)),
    lines=(
        Line(name="main", area="wide", capacity_wh=50_000),
        Line(name="lane", upstream="main", area="narrow", capacity_wh=4_000),
    ),
)


def _make_genesis(*siblings: ChainParams) -> Genesis:
    member = GenesisMember(name="grid", role="grid-operator", key=SigningKey(b"g" * 32).public_key, seals=True)
    return Genesis(params=ChainParams(name="jy1", market=MARKET), time_ms=0, members=(member,), siblings=siblings)


ALONE = _make_genesis()
BESIDE = _make_genesis(ChainParams(name="du1", kind="scheduling", scheduling=GRID))


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("price_uyuan", [410_000, 500_000, 595_000])
def test_a_price_from_feed_in_to_retail_is_fine(side: Side, price_uyuan: int) -> None:
    assert remark_on_price(ALONE, side, "", price_uyuan) is None


@pytest.mark.parametrize(
    ("side", "price_uyuan", "remark"),
    [
        (Side.BID, 595_001, "0.595001 yuan per kWh and 0.02 for wheeling are above the retail price of 0.615: "
                            "the grid company sells for less"),
        (Side.OFFER, 70_000_000, "70.00 yuan per kWh and 0.02 for wheeling are above the retail price of 0.615: "
                                 "nobody needs to buy at that"),
        (Side.BID, 409_999, "0.409999 yuan per kWh is below the feed-in price of 0.41: nobody needs to sell at that"),
        (Side.OFFER, 1, "0.000001 yuan per kWh is below the feed-in price of 0.41: the grid company pays more"),
    ],
)  # fmt: skip
def test_a_price_outside_of_it_is_remarked_upon(side: Side, price_uyuan: int, remark: str) -> None:
    assert remark_on_price(ALONE, side, "", price_uyuan) == remark


def test_beside_a_scheduling_chain_wheeling_is_the_buyers_areas() -> None:
    assert [find_wheeling(BESIDE, Side.BID, line) for line in ("main", "lane", "elsewhere")] == [25_000, 30_000, 25_000]
    assert find_wheeling(BESIDE, Side.OFFER, "lane") == 25_000, "the buyer may be where it is cheapest"
    assert remark_on_price(BESIDE, Side.BID, "lane", 590_000) is not None
    assert remark_on_price(BESIDE, Side.OFFER, "lane", 590_000) is None
