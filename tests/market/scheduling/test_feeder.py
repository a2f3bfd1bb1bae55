"""The radial feeder: paths, what can be carried, and quotas.

The feeder of the vectors, with capacities in kWh; members are at the far ends of the lines:

    substation ──north 100── ──mill 50──
              │             └──farm 40── ──barn 20──
              └──south 80──
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.params import Area, Line, SchedulingParams
from market.scheduling.feeder import (
    Direction,
    Feeder,
    LinePlan,
    LineQuota,
    ListedTrade,
    check_executability,
    compute_flows,
    derive_quotas,
)
from market.trading.trades import Curtailment

KWH = 1_000
UP, DOWN = Direction.UP, Direction.DOWN

PARAMS = SchedulingParams(
    areas=(Area(name="hill", wheeling_uyuan_per_kwh=20_000), Area(name="vale", wheeling_uyuan_per_kwh=35_000)),
    lines=(
        Line(name="north", area="hill", capacity_wh=100 * KWH),
        Line(name="mill", upstream="north", area="hill", capacity_wh=50 * KWH),
        Line(name="farm", upstream="north", area="vale", capacity_wh=40 * KWH),
        Line(name="barn", upstream="farm", area="vale", capacity_wh=20 * KWH),
        Line(name="south", area="vale", capacity_wh=80 * KWH),
    ),
)
FEEDER = Feeder(PARAMS)


def listed(*trades: tuple[str, str, int]) -> list[ListedTrade]:
    """Trades (seller's line, buyer's line, kWh), numbered from 0."""
    return [ListedTrade(index, seller, buyer, kwh * KWH) for index, (seller, buyer, kwh) in enumerate(trades)]


@pytest.mark.parametrize(
    ("seller", "buyer", "hops"),
    [
        ("barn", "barn", ()),
        ("barn", "farm", (("barn", UP),)),
        ("north", "barn", (("farm", DOWN), ("barn", DOWN))),
        ("barn", "mill", (("barn", UP), ("farm", UP), ("mill", DOWN))),
        ("south", "north", (("south", UP), ("north", DOWN))),
        ("south", "barn", (("south", UP), ("north", DOWN), ("farm", DOWN), ("barn", DOWN))),
    ],
)
def test_a_path_goes_up_to_the_common_bus_and_down_again(seller, buyer, hops):
    assert FEEDER.path(seller, buyer) == hops
    assert FEEDER.path(buyer, seller) == tuple((line, Direction(1 - way)) for line, way in reversed(hops))


def test_what_the_lines_can_carry_is_left_alone():
    assert check_executability(FEEDER, []) == []
    assert check_executability(FEEDER, listed(("barn", "mill", 20), ("south", "mill", 30), ("mill", "south", 50))) == []


def test_the_latest_trade_over_an_overloaded_line_is_cut_first():
    # barn carries 20: the last trade goes whole, then one before it gives 5; the one by another way is not touched
    trades = listed(("barn", "mill", 12), ("barn", "south", 8), ("south", "north", 30), ("farm", "barn", 9))
    assert check_executability(FEEDER, trades) == []
    trades = listed(("barn", "mill", 12), ("barn", "south", 13), ("south", "north", 30), ("barn", "farm", 7))
    assert check_executability(FEEDER, trades) == [Curtailment(1, 8 * KWH, "barn"), Curtailment(3, 0, "barn")]


def test_a_trade_is_cut_by_the_largest_excess_on_its_path():
    # mill down: 30 + 40 = 70, 20 over; farm up: 45, 5 over
    trades = listed(("south", "mill", 30), ("farm", "north", 5), ("farm", "mill", 40))
    assert check_executability(FEEDER, trades) == [Curtailment(2, 20 * KWH, "mill")]


def test_of_equal_excesses_the_first_line_by_name_is_the_reason():
    trades = listed(("north", "mill", 10), ("farm", "mill", 45))  # mill: 55 of 50, farm: 45 of 40
    assert check_executability(FEEDER, trades) == [Curtailment(1, 40 * KWH, "farm")]


def test_flows_against_each_other_are_not_netted():
    # 60 up and 60 down would net to nothing; but if one of them is not delivered, mill carries the other
    trades = listed(("mill", "south", 60), ("south", "mill", 60))
    assert check_executability(FEEDER, trades) == [Curtailment(0, 50 * KWH, "mill"), Curtailment(1, 50 * KWH, "mill")]


def test_neighbours_on_one_bus_use_no_line():
    assert check_executability(FEEDER, listed(("barn", "barn", 1_000))) == []


def test_a_trade_of_a_member_on_no_line_is_cut_whole_and_loads_nothing():
    trades = listed(("barn", "mill", 20), ("barn", "moon", 20), ("", "barn", 20), ("moon", "mars", 1))
    assert check_executability(FEEDER, trades) == [
        Curtailment(1, 0, "moon"),
        Curtailment(2, 0, ""),
        Curtailment(3, 0, "moon"),
    ]


def test_a_trade_keeps_its_own_index_wherever_it_stands():
    trades = [ListedTrade(7, "barn", "farm", 15 * KWH), ListedTrade(3, "barn", "farm", 15 * KWH)]
    assert check_executability(FEEDER, trades) == [Curtailment(3, 5 * KWH, "barn")]


def test_quotas_are_what_is_planned_and_what_the_line_carries():
    planned = {
        "barn": LinePlan("barn", 5 * KWH, 30 * KWH),
        "mill": LinePlan("mill", 90 * KWH, 50 * KWH),
    }
    assert derive_quotas(FEEDER, planned) == [
        LineQuota("north", 0, 0, 20_000),
        LineQuota("mill", 50 * KWH, 50 * KWH, 20_000),
        LineQuota("farm", 0, 0, 35_000),
        LineQuota("barn", 5 * KWH, 20 * KWH, 35_000),
        LineQuota("south", 0, 0, 35_000),
    ]


# --- whatever the feeder and the list ----------------------------------------------------------------


@st.composite
def feeders(draw) -> Feeder:
    lines: list[Line] = []
    for number in range(draw(st.integers(1, 8))):
        upstream = draw(st.sampled_from(["", *(line.name for line in lines)]))
        capacity_wh = draw(st.integers(1, 60))
        lines.append(Line(name=f"line-{number}", upstream=upstream, area="all", capacity_wh=capacity_wh))
    areas = (Area(name="all", wheeling_uyuan_per_kwh=1),)
    return Feeder(SchedulingParams(areas=areas, lines=tuple(lines)))


@st.composite
def cases(draw) -> tuple[Feeder, list[ListedTrade]]:
    feeder = draw(feeders())
    positions = st.sampled_from([*feeder.lines, "nowhere"])
    rows = draw(st.lists(st.tuples(positions, positions, st.integers(1, 50)), max_size=14))
    return feeder, [ListedTrade(index, *row) for index, row in enumerate(rows)]


def accepted_by(trades: list[ListedTrade], curtailments: list[Curtailment]) -> list[ListedTrade]:
    volumes_wh = {cut.trade_index: cut.accepted_wh for cut in curtailments}
    cut = [trade._replace(volume_wh=volumes_wh.get(trade.trade_index, trade.volume_wh)) for trade in trades]
    return [trade for trade in cut if trade.volume_wh]


def overloads(feeder: Feeder, trades: list[ListedTrade]) -> dict[str, int]:
    flows = compute_flows(feeder, trades).items()
    return {hop.line: wh - feeder.capacity_wh[hop.line] for hop, wh in flows if wh > feeder.capacity_wh[hop.line]}


@given(case=cases(), data=st.data())
def test_whatever_part_of_the_accepted_list_is_delivered_can_be_carried(case, data):
    feeder, trades = case
    accepted = accepted_by(trades, check_executability(feeder, trades))
    assert overloads(feeder, accepted) == {}
    delivered = [trade._replace(volume_wh=data.draw(st.integers(0, trade.volume_wh))) for trade in accepted]
    assert overloads(feeder, delivered) == {}


@given(case=cases())
def test_no_trade_is_cut_by_more_than_what_is_agreed_before_it_requires(case):
    """Restore one Wh of a cut trade, without anything that is later on the list: its reason is overloaded."""
    feeder, trades = case
    curtailments = check_executability(feeder, trades)
    carriable = [trade for trade in trades if trade.seller_line in feeder and trade.buyer_line in feeder]
    for cut in curtailments:
        if cut.line not in feeder:
            assert cut.accepted_wh == 0
            continue
        earlier = [trade for trade in carriable if trade.trade_index < cut.trade_index]
        restored = trades[cut.trade_index]._replace(volume_wh=cut.accepted_wh + 1)
        assert cut.line in overloads(feeder, [*earlier, restored])


@given(case=cases())
def test_restoring_a_watt_hour_of_the_earliest_cut_overloads_its_line(case):
    feeder, trades = case
    curtailments = check_executability(feeder, trades)
    first = next((cut for cut in curtailments if cut.line in feeder), None)
    if first is None:
        return
    restored = [cut._replace(accepted_wh=cut.accepted_wh + (cut == first)) for cut in curtailments]
    assert first.line in overloads(feeder, accepted_by(trades, restored))


@given(case=cases())
def test_curtailments_are_real_in_order_and_final(case):
    feeder, trades = case
    curtailments = check_executability(feeder, trades)
    assert [cut.trade_index for cut in curtailments] == sorted({cut.trade_index for cut in curtailments})
    assert all(0 <= cut.accepted_wh < trades[cut.trade_index].volume_wh for cut in curtailments)
    assert check_executability(feeder, accepted_by(trades, curtailments)) == []


@given(case=cases())
def test_a_trade_is_cut_for_those_before_it_and_never_for_a_later_one(case):
    feeder, trades = case
    curtailments = check_executability(feeder, trades)
    for count in range(len(trades)):
        assert check_executability(feeder, trades[:count]) == [cut for cut in curtailments if cut.trade_index < count]


def test_a_check_that_nets_counter_flows_would_be_caught():
    """The planted bug: what netting lets pass overloads a line once one of the two is not delivered."""
    netted_away = listed(("mill", "south", 60), ("south", "mill", 60))
    assert overloads(FEEDER, netted_away[:1]) == {"mill": 10 * KWH}
