"""The energy that an agreed price may move: as much as was agreed, and the market's allowance for more of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.params import Area, Line, MarketParams, SchedulingParams
from market.scheduling.feeder import Feeder, LinePlan, ListedTrade, check_executability, compute_flows, derive_quotas
from market.settlement import allow_over_delivery, settle_trade, settle_with_grid
from market.trading.views import get_settlement

PERIOD = 10
KWH = 1_000
YUAN = 1_000_000
RETAIL, FEED_IN, WHEELING = 615_000, 410_000, 20_000
A_QUARTER = 250_000
ROWS = ("carol", "paul", "grid")

# Table 2 of text 000, our figures: price, consumption and output in kWh; what buyer, seller and grid company have of it
TABLE_2 = [
    (550_000, 220, 200, 126.3, 110.0, 16.3),
    (560_000, 200, 200, 116.0, 112.0, 4.0),
    (540_000, 180, 200, 100.8, 105.4, -4.6),
    (540_000, 250, 250, 140.0, 135.0, 5.0),
    (560_000, 180, 180, 104.4, 100.8, 3.6),
    (550_000, 190, 190, 108.3, 104.5, 3.8),
    (540_000, 240, 220, 135.5, 118.8, 16.7),
]


def deliver(market, *, price, agreed, consumed, produced):
    """carol buys from paul; what each has gained, and the grid company, in µ¥."""
    before = {name: market.account(name).balance_uyuan for name in ROWS}
    assert market.bid("carol", price=price, volume=agreed) == ""
    assert market.offer("paul", price=price, volume=agreed) == ""
    market.go("gate")
    market.certify()
    market.go("delivery_end")
    assert market.read("carol", consumed=consumed) == ""
    assert market.read("paul", produced=produced) == ""
    market.go("settle")
    assert market.reserved() == 0
    return [market.account(name).balance_uyuan - before[name] for name in ROWS]


@pytest.mark.parametrize("over_delivery", ["unlimited", A_QUARTER])
@pytest.mark.parametrize("row", TABLE_2, ids=lambda row: f"{row[1]} of {row[2]}")
def test_every_row_of_table_2_comes_out_under_an_allowance_of_a_quarter(make_market, row, over_delivery):
    price, consumed, produced, *yuan = row
    market = make_market(over_delivery_ppm=over_delivery)
    gains = deliver(market, price=price, agreed=200 * KWH, consumed=consumed * KWH, produced=produced * KWH)
    assert gains == [round(part * YUAN) for part in (-yuan[0], yuan[1], yuan[2])]


def test_one_agreed_watt_hour_does_not_price_seventy_kilowatt_hours(make_market):
    # two accomplices agree on 1 Wh at 50 yuan/kWh, and 70 kWh are metered
    trade = {"price": 50 * YUAN, "agreed": 1, "consumed": 70 * KWH, "produced": 70 * KWH}
    carol, paul, _ = deliver(make_market(), **trade)
    assert (carol, paul) == (-70 * (50 * YUAN + WHEELING), 3_500 * YUAN)  # as Table 2 has it, without a limit
    market = make_market(over_delivery_ppm=A_QUARTER)
    carol, paul, grid = deliver(market, **trade)
    assert (carol, paul, grid) == (
        -43_099_405,
        28_749_590,
        14_349_815,
    )  # 1 Wh at 50 yuan/kWh, 69.999 kWh at the tariffs
    [row] = get_settlement(market.state, PERIOD).trades
    assert row.traded_wh == 1


def test_beyond_the_allowance_both_sides_settle_with_the_grid_company(make_market):
    market = make_market(over_delivery_ppm=A_QUARTER)
    gains = deliver(market, price=500_000, agreed=100 * KWH, consumed=130 * KWH, produced=140 * KWH)
    pays, receives = 125 * (500_000 + WHEELING) + 5 * RETAIL, 125 * 500_000 + 15 * FEED_IN
    assert gains == [-pays, receives, pays - receives]


def test_a_buyer_within_the_allowance_pays_out_of_what_it_set_aside(make_market):
    market = make_market(over_delivery_ppm=A_QUARTER)
    money = market.account("carol").balance_uyuan
    assert market.bid("carol", price=500_000, volume=100 * KWH) == ""
    assert market.offer("paul", price=500_000, volume=100 * KWH) == ""
    market.go("gate")
    assert market.account("carol").reserved_uyuan == 125 * 520_000
    market.certify()
    market.go("delivery_end")
    market.read("carol", consumed=125 * KWH)
    market.read("paul", produced=125 * KWH)
    left = market.account("carol").balance_uyuan
    market.go("settle")
    assert (market.account("carol").balance_uyuan, market.reserved()) == (left, 0)
    assert left == money - 125 * 520_000


def test_chains_of_one_network_agree_on_the_allowance_and_on_what_meters_may_say(make_market):
    from ledger.genesis import Genesis
    from ledger.params import ChainParams

    market = make_market(over_delivery_ppm=A_QUARTER)
    grid = SchedulingParams(
        areas=(Area(name="a", wheeling_uyuan_per_kwh=0),), lines=(Line(name="l", area="a", capacity_wh=1),)
    )
    for field, value in (("over_delivery_ppm", 1), ("plausible_ppm", 1), ("correction_ppm", 1)):
        terms = {"over_delivery_ppm": A_QUARTER, field: value}
        du1 = ChainParams(
            name="DU1", kind="scheduling", ledger=market.params.ledger, scheduling=grid, market=MarketParams(**terms)
        )
        jy1 = market.params.model_copy(
            update={"market": MarketParams(over_delivery_ppm=A_QUARTER, settle_ppm=2_500_000)}
        )
        with pytest.raises(ValueError, match="differ in over_delivery_ppm, plausible_ppm or correction_ppm"):
            Genesis(params=jy1, siblings=(du1,), time_ms=0, members=market.members)


# --- whoever agrees on what, and whatever is metered ---------------------------------------------

volumes = st.integers(1, 10**7)
energies = st.integers(0, 10**8)
prices = st.integers(1, 10**8)


@given(price=prices, agreed=volumes, consumed=energies, produced=energies, allowance=st.integers(0, 10**6))
def test_nobody_gains_more_than_the_price_of_what_was_agreed_with_the_allowance(
    price, agreed, consumed, produced, allowance
):
    """Beside what the grid company's tariffs give each of them, money moves for so many Wh and no more."""
    limit_wh = allow_over_delivery(agreed, allowance)
    tariffs = {"retail_uyuan_per_kwh": RETAIL, "feed_in_uyuan_per_kwh": FEED_IN}
    legs = settle_trade(
        price_uyuan_per_kwh=price,
        wheeling_uyuan_per_kwh=WHEELING,
        consumption_wh=consumed,
        output_wh=produced,
        limit_wh=limit_wh,
        **tariffs,
    )
    alone = settle_with_grid(consumption_wh=consumed, output_wh=produced, **tariffs)
    assert legs.buyer_pays_uyuan == legs.seller_receives_uyuan + legs.grid_receives_uyuan
    assert legs.traded_wh == min(consumed, produced, limit_wh) <= agreed + agreed * allowance // 10**6
    gain = legs.seller_receives_uyuan - alone.seller_receives_uyuan
    loss = legs.buyer_pays_uyuan - alone.buyer_pays_uyuan
    assert abs(gain - legs.traded_wh * (price - FEED_IN) / 1000) <= 1
    assert abs(loss - legs.traded_wh * (price + WHEELING - RETAIL) / 1000) <= 1
    # both together gain at the grid company what wheeling leaves between retail and feed-in, for what they agreed on
    assert gain - loss <= limit_wh * (RETAIL - FEED_IN - WHEELING) / 1000 + 2


@settings(max_examples=40, deadline=None)
@given(
    splits=st.lists(st.integers(1, 40 * KWH), min_size=1, max_size=6),
    price=st.sampled_from([300_000, 500_000, 635_000, 50 * YUAN]),
    metered=st.tuples(st.integers(0, 480 * KWH), st.integers(0, 480 * KWH)),
)
def test_no_split_into_trades_moves_more_than_one_trade_would(make_market, splits, price, metered):
    market = make_market(over_delivery_ppm=A_QUARTER, capacity_wh=400 * KWH)
    money, held = market.money(), sum(splits)
    gains = {name: -market.account(name).balance_uyuan for name in ROWS}
    orders = [(name, "intention", market.intention(name, side, price, volume))
              for volume in splits for name, side in (("carol", 0), ("paul", 1))]  # fmt: skip
    if any(receipt.code for receipt in market.make_block(*orders).receipts):
        return  # more than carol can set aside
    market.go("gate")
    market.certify()
    market.go("delivery_end")
    assert market.read("carol", consumed=metered[0]) == market.read("paul", produced=metered[1]) == ""
    market.go("settle")
    assert (market.money(), market.reserved()) == (money, 0)
    for name in ROWS:
        gains[name] += market.account(name).balance_uyuan
    most_wh = min(*metered, allow_over_delivery(held, A_QUARTER))
    tariff = (metered[1] * FEED_IN + 500) // 1000
    assert gains["paul"] - tariff <= most_wh * max(0, price - FEED_IN) / 1000 + len(splits)


# --- the grid ------------------------------------------------------------------------------------

LINES = SchedulingParams(
    areas=(Area(name="a", wheeling_uyuan_per_kwh=0),),
    lines=(
        Line(name="main", area="a", capacity_wh=100_001),
        Line(name="lane", upstream="main", area="a", capacity_wh=50_000),
        Line(name="hill", area="a", capacity_wh=70_003),
    ),
)


def test_a_line_with_an_allowance_takes_agreements_for_four_fifths_of_it():
    feeder = Feeder(LINES, A_QUARTER)
    assert feeder.capacity_wh == {"main": 80_000, "lane": 40_000, "hill": 56_002}
    quotas = derive_quotas(feeder, {"lane": LinePlan("lane", 45_000, 30_000)})
    assert [(quota.demand_wh, quota.supply_wh) for quota in quotas] == [(0, 0), (40_000, 30_000), (0, 0)]
    [cut] = check_executability(feeder, [ListedTrade(0, "hill", "lane", 45_000)])
    assert (cut.accepted_wh, cut.line) == (40_000, "lane")


@given(
    trades=st.lists(
        st.tuples(*[st.sampled_from(["main", "lane", "hill"])] * 2, st.integers(1, 60_000)), min_size=1, max_size=12
    ),
    allowance=st.integers(0, 10**6),
)
def test_what_is_accepted_can_be_carried_with_all_of_the_allowance_on_top(trades, allowance):
    listed = [ListedTrade(index, *trade) for index, trade in enumerate(trades)]
    cuts = {cut.trade_index: cut.accepted_wh for cut in check_executability(Feeder(LINES, allowance), listed)}
    most = [
        trade._replace(volume_wh=allow_over_delivery(cuts.get(trade.trade_index, trade.volume_wh), allowance))
        for trade in listed
    ]
    plain = Feeder(LINES)
    for hop, flow_wh in compute_flows(plain, most).items():
        assert flow_wh <= plain.capacity_wh[hop.line]
