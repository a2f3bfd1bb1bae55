"""No member gains more at the market than its tariff allows: the judge of that, and that it sees one that does."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmerit.network.founders import GRID
from gridmerit.network.parameters import get_packaged_params, load_chain_params
from market.settlement import allow_over_delivery, settle_trade
from tests.processes.accomplices import METERED_WH, meet_at_any_price, play
from tests.processes.tariff import Agreed, Energy, compute_least, compute_most, judge_gains

TARIFF = load_chain_params(get_packaged_params()).market
KWH, YUAN = 1_000, 1_000_000
RETAIL, FEED_IN, WHEELING = 615_000, 410_000, 20_000
ALLOWANCE = 250_000


def agree(volume_wh: int, price: int) -> list[Agreed]:
    return [Agreed(seller="paul", buyer="carol", price_uyuan_per_kwh=price, volume_wh=volume_wh)]


def flow(consumed_wh: int, produced_wh: int) -> dict[str, Energy]:
    return {"carol": Energy(consumed_wh=consumed_wh), "paul": Energy(produced_wh=produced_wh)}


def settle(
    volume_wh: int, price: int, consumed_wh: int, produced_wh: int, *, is_limited: bool = True
) -> dict[str, int]:
    """The gains of all by a market of these rules."""
    legs = settle_trade(
        price_uyuan_per_kwh=price,
        wheeling_uyuan_per_kwh=WHEELING,
        consumption_wh=consumed_wh,
        output_wh=produced_wh,
        retail_uyuan_per_kwh=RETAIL,
        feed_in_uyuan_per_kwh=FEED_IN,
        limit_wh=allow_over_delivery(volume_wh, ALLOWANCE) if is_limited else None,
    )
    return {"carol": -legs.buyer_pays_uyuan, "paul": legs.seller_receives_uyuan, GRID: legs.grid_receives_uyuan}


# --- the tariff ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agreed_kwh", "price", "consumed_kwh", "produced_kwh", "carol", "paul", "grid"),
    [
        (0, 0, 30, 50, -30 * RETAIL, 50 * FEED_IN, 30 * RETAIL - 50 * FEED_IN),
        (20, 500_000, 20, 20, -20 * 520_000, 20 * 500_000, 20 * WHEELING),
        (20, 500_000, 25, 25, -25 * 520_000, 25 * 500_000, 25 * WHEELING),  # with the allowance
        (20, 500_000, 30, 25, -25 * 520_000 - 5 * RETAIL, 25 * 500_000, 25 * WHEELING + 5 * RETAIL),
        (20, 400_000, 20, 20, -20 * 420_000, 20 * FEED_IN, 20 * WHEELING),  # a seller may stay off a bad price
        (20, 600_000, 20, 20, -20 * RETAIL, 20 * 600_000, 20 * WHEELING),  # and so may a buyer
    ],
)
def test_what_a_tariff_allows(
    agreed_kwh: int, price: int, consumed_kwh: int, produced_kwh: int, carol: int, paul: int, grid: int
) -> None:
    trades = agree(agreed_kwh * KWH, price) if agreed_kwh else []
    flows = flow(consumed_kwh * KWH, produced_kwh * KWH)
    assert compute_most("carol", flows["carol"], trades, TARIFF) == carol
    assert compute_most("paul", flows["paul"], trades, TARIFF) == paul
    assert compute_least(flows, trades, TARIFF) == grid


energies = st.integers(0, 10**8)


@given(volume=st.integers(1, 10**7), price=st.integers(1, 10**8), consumed=energies, produced=energies)
def test_nobody_is_blamed_for_an_honest_settlement(volume: int, price: int, consumed: int, produced: int) -> None:
    gains = settle(volume, price, consumed, produced)
    assert judge_gains(gains, flow(consumed, produced), agree(volume, price), TARIFF) == []


def test_one_watt_hour_that_prices_all_is_seen() -> None:
    gains = settle(1, 50 * YUAN, METERED_WH, METERED_WH, is_limited=False)
    assert judge_gains(gains, flow(METERED_WH, METERED_WH), agree(1, 50 * YUAN), TARIFF) == [
        "paul has gained 3,500.00 yuan, 28.761987 are its tariff's most",
        "the grid company has 1.40 yuan, and 14.349768 are due to it",
    ]


def test_free_energy_is_seen() -> None:
    """A silent buyer that pays nothing, and a consumer's meter that reports 10 times its capacity as output."""
    gains = {"carol": 0, "paul": 20 * FEED_IN, GRID: -20 * FEED_IN}
    assert judge_gains(gains, flow(20 * KWH, 20 * KWH), agree(20 * KWH, 500_000), TARIFF) == [
        "carol has gained 0.00 yuan, -10.40 are its tariff's most",
        "the grid company has -8.20 yuan, and 0.40 are due to it",
    ]
    gains = {"carol": 1_200 * FEED_IN, GRID: -1_200 * FEED_IN}
    assert judge_gains(gains, {}, [], TARIFF) == [
        "carol has gained 492.00 yuan, 0.00 are its tariff's most",
        "the grid company has -492.00 yuan, and 0.00 are due to it",
    ]


@pytest.mark.parametrize("change", [1, -1])
def test_money_that_comes_from_nowhere_or_goes_there_is_seen(change: int) -> None:
    gains = settle(20 * KWH, 500_000, 20 * KWH, 20 * KWH)
    gains[GRID] += change
    shown = "0.000001" if change > 0 else "-0.000001"
    assert judge_gains(gains, flow(20 * KWH, 20 * KWH), agree(20 * KWH, 500_000), TARIFF) == [
        f"{shown} yuan have come from nowhere"
    ]


# --- on a real network -----------------------------------------------------------------------------


@pytest.mark.live
async def test_where_an_agreed_watt_hour_prices_all_the_accomplices_are_seen(tmp_path: Path) -> None:
    """The paper's set has no limit on what is delivered beyond what was agreed, nor on prices."""
    paper = load_chain_params(get_packaged_params("paper")).market
    terms = {name: getattr(paper, name) for name in ("over_delivery_ppm", "max_price_uyuan_per_kwh")}
    trick = partial(play, meet_at_any_price, engine="pbft", honest=1, metered_wh=METERED_WH, terms=terms)
    report = await trick(tmp_path / "net", 5)
    assert report.faults == (
        "pv-101 has gained 3,500.00 yuan, 28.761987 are its tariff's most",
        "the grid company has 1.40 yuan, and 14.349768 are due to it",
    )
