"""The paper's numbers computed anew: Table 2, Figs 3 and 4, and a day in both modes that can be followed by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.poca.credit_target import compute_shares
from gridmerit.demo.recompute import compute_band as compute_float_band
from ledger.params import ChainParams, MarketParams, MatchingWeights
from market.orders import Order, Side
from market.profile import Profile, parse_profile
from market.trading.matching_weight import WeightedOrder
from simulation.paper.credit import CreditCurve, reproduce_figure_3, reproduce_table_2
from simulation.paper.day import AgreedTrade, PlayerOrder, clear_hour, compute_lag, deliver, run_centrally, run_day
from simulation.paper.matching import match_day
from simulation.paper.network import BLOCKS_PER_PERIOD, run_chain_day
from simulation.paper.reproduce import Comparison, check_day, check_races, compare
from simulation.paper.sealing import PLAYERS, Race, run_race, spread_credits
from simulation.theory.binomial import compute_band, compute_binomial, compute_chance_of_none

POINT = 1_000_000
YUAN = 1_000_000
PARAMS = ChainParams(name="jy1")


# --- binomial ------------------------------------------------------------------------------------


def test_the_binomial_distribution_is_exact() -> None:
    assert compute_binomial(3, Fraction(1, 3)) == [Fraction(count, 27) for count in (8, 12, 6, 1)]
    assert compute_chance_of_none(3, Fraction(1, 3)) == Fraction(8, 27)


@given(st.integers(0, 60), st.fractions(0, 1))
def test_probabilities_sum_to_one_and_the_band_leaves_out_no_more_than_it_may(trials: int, chance: Fraction) -> None:
    probabilities = compute_binomial(trials, chance)
    assert sum(probabilities) == 1
    low, high = compute_band(trials, chance)
    assert sum(probabilities[:low]) <= Fraction(1, 40) < sum(probabilities[: low + 1])
    assert sum(probabilities[high + 1 :]) <= Fraction(1, 40) < sum(probabilities[high:])


@pytest.mark.parametrize("percent", [3, 17, 50, 83])
def test_the_band_is_the_one_that_the_demo_reports(percent: int) -> None:
    assert compute_band(50, Fraction(percent, 100)) == compute_float_band([percent / 100] * 50)


# --- Table 2 and Fig. 3 --------------------------------------------------------------------------


def test_table_2_deviates_in_five_cells() -> None:
    deviations = {
        (row.test.number, cell.column): (cell.ours, cell.printed)
        for row in reproduce_table_2()
        for cell in row.deviations
    }
    assert deviations == {
        (6, "seller's credit"): (95 * POINT, 90 * POINT),
        (7, "buyer pays"): (135_500_000, 135_900_000),
        (7, "grid receives"): (16_700_000, 17_100_000),
        (7, "buyer's credit"): (100 * POINT, 90 * POINT),
        (7, "seller's credit"): (100 * POINT, 85 * POINT),
    }


def test_the_paper_charges_wheeling_on_all_consumption_in_row_7_and_not_in_row_1() -> None:
    rows = {row.test.number: row for row in reproduce_table_2()}
    assert rows[7].pays_with_all_wheeled_uyuan == rows[7].test.buyer_pays_uyuan
    assert rows[1].pays_with_all_wheeled_uyuan == rows[1].test.buyer_pays_uyuan + 400_000


def test_every_row_s_legs_sum_to_zero_ours_and_the_paper_s() -> None:
    for row in reproduce_table_2():
        pays, receives, grid = row.cells[:3]
        assert pays.ours == receives.ours + grid.ours
        assert pays.printed == receives.printed + grid.printed


def _curves(basis: str) -> list[CreditCurve]:
    return [curve for curve in reproduce_figure_3() if curve.basis == basis]


def test_figure_3_is_the_running_mean_of_the_scores() -> None:
    plain, tenth, *rest = _curves("ours")
    assert plain.scores_upt == (100 * POINT,) * 4 + (90 * POINT, 95 * POINT, 100 * POINT)
    assert plain.credits_upt[4:] == (98 * POINT, 97_500_000, 97_857_143)
    assert tenth.scores_upt[4:] == (99 * POINT, 100 * POINT, 100 * POINT)
    assert all(set(curve.credits_upt) == {100 * POINT} for curve in rest)


@pytest.mark.parametrize("basis", ["ours", "printed"])
def test_a_larger_natural_factor_never_lowers_the_credit_and_only_the_cap_keeps_it_at_100(basis: str) -> None:
    curves = _curves(basis)
    assert [curve.natural_factor_ppm for curve in curves] == [0, 100_000, 200_000, 300_000]
    for lower, higher in pairwise(curves):
        assert all(low <= high for low, high in zip(lower.credits_upt, higher.credits_upt, strict=True))
    assert curves[-1].uncapped > 100 >= curves[-1].credits_upt[-1] / POINT


# --- matching ------------------------------------------------------------------------------------


def test_a_day_by_weight_serves_merit_first_and_may_gain_less() -> None:
    # One offer of 10 kWh, two bids: the dearer from a small house, the heavier from a large one with more credit.
    offer = _candidate(0, Side.OFFER, 400_000, capacity_wh=10_000)
    dear = _candidate(1, Side.BID, 560_000, capacity_wh=1_000)
    heavy = _candidate(2, Side.BID, 500_000, capacity_wh=10_000, credit_upt=100 * POINT)
    matched = match_day([[offer, dear, heavy], [], [dear]], MatchingWeights())
    assert matched.by_price == ("price-time", 1, 10_000, 1_600_000)
    assert matched.by_weight == ("credit-weighted", 1, 10_000, 1_000_000)
    assert (matched.hours, matched.alike) == (1, 0), "an hour in which nobody trades is no hour in which all do alike"
    assert match_day([[offer, heavy]], MatchingWeights()).alike == 1


def _candidate(place: int, side: Side, price: int, *, capacity_wh: int, credit_upt: int = 90 * POINT) -> WeightedOrder:
    order = Order(place, bytes([place]) * 20, side, price, 10_000, place)
    return WeightedOrder(order, credit_upt, capacity_wh, 0, "feeder-1", 0)


# --- Fig. 4 --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def race() -> Race:
    return run_race(PARAMS, 10 * POINT, 5, blocks=20)


def test_credits_are_spread_evenly_with_both_ends() -> None:
    assert spread_credits(3) == [90 * POINT, 95 * POINT, 100 * POINT]
    steps = spread_credits(10)
    assert {high - low for low, high in pairwise(steps)} <= {1_111_111, 1_111_112}


def test_the_paper_s_formula_gives_the_best_of_ten_two_thirds() -> None:
    shares = compute_shares(spread_credits(10), POINT)
    assert Fraction(67, 100) < shares[-1] < Fraction(68, 100)


def test_ten_nodes_earn_their_credits_and_seal_the_blocks_that_are_counted(race: Race) -> None:
    assert [racer.name for racer in race.racers] == list(PLAYERS)
    assert [racer.credit_upt for racer in race.racers] == spread_credits(10)
    assert sum(racer.sealed for racer in race.racers) == race.blocks == 20
    assert sum(racer.share for racer in race.racers) == 1
    assert race.refused == 0
    assert all(check.passed for check in check_races([race]))


def test_a_refused_header_fails_the_check(race: Race) -> None:
    assert [check.passed for check in check_races([replace(race, refused=1)])] == [False, True]


def test_one_seed_one_race(race: Race) -> None:
    assert run_race(PARAMS, 10 * POINT, 5, blocks=20) == race


# --- the day -------------------------------------------------------------------------------------

# sun sells 10 kWh an hour, which anna (0.56) and bert (0.54) want 6 kWh each of; it makes 8, anna uses 6, bert 3.


def _make_profile(hours: int) -> Profile:
    lines = ["hour,player,role,forecast_wh,actual_wh"]
    for hour in range(hours):
        at = f"2020-07-15T{hour:02d}:00:00Z"
        lines += [
            f"{at},sun,producer,10000,8000",
            f"{at},anna,consumer,6000,6000",
            f"{at},bert,consumer,6000,3000",
        ]
    return parse_profile("\n".join(lines))


def _make_orders(hours: int) -> list[PlayerOrder]:
    return [
        order
        for hour in range(hours)
        for order in (
            PlayerOrder("sun", hour, Side.OFFER, 500_000, 10_000),
            PlayerOrder("anna", hour, Side.BID, 560_000, 6_000),
            PlayerOrder("bert", hour, Side.BID, 540_000, 6_000),
        )
    ]


def test_an_hour_is_cleared_by_price_and_metered_in_proportion() -> None:
    profile = _make_profile(1)
    trades = clear_hour(profile, _make_orders(1))
    assert trades == [AgreedTrade("anna", "sun", 530_000, 6_000), AgreedTrade("bert", "sun", 520_000, 4_000)]
    delivered = deliver(profile, 0, trades)
    assert [(trade.consumption_wh, trade.output_wh) for trade in delivered] == [(6_000, 4_800), (3_000, 3_200)]
    assert [trade.shortfalls_wh for trade in delivered] == [(0, 1_200), (1_000, 800)]


def test_a_day_counts_every_short_delivery() -> None:
    day = run_day(_make_profile(2), _make_orders(2), PARAMS.market)
    assert (len(day.trades), day.deliveries, day.breaches, day.serious_breaches) == (4, 8, 6, 6)
    assert (day.agreed_wh, day.traded_wh, day.short_wh) == (20_000, 15_600, 6_000)
    assert day.short_ppm == 150_000
    assert day.short_wh_by_hour() == [3_000, 3_000]
    assert day.credits_upt == {"sun": 80 * POINT, "anna": 100 * POINT, "bert": 75 * POINT}


def test_players_respond_to_their_credit_only_when_asked_and_only_once_it_is_known() -> None:
    market, hours = MarketParams(), 7  # orders 3 periods before delivery, settled 2 after it began
    profile, orders = _make_profile(hours), _make_orders(hours)
    plain = run_day(profile, orders, market)
    shaded = run_day(profile, orders, market, shade=True)
    assert {trade.agreed_wh for trade in plain.trades} == {6_000, 4_000}
    assert [trade for trade in shaded.trades if trade.hour < 5] == [trade for trade in plain.trades if trade.hour < 5]
    later = [(trade.buyer, trade.agreed_wh) for trade in shaded.trades if trade.hour >= 5]
    assert later == [("anna", 6_000), ("bert", 2_000)] * 2  # sun offers 80 %, bert bids 75 % of 6 kWh
    assert shaded.breaches == 3 * 5


def test_a_later_settlement_makes_credit_known_later() -> None:
    assert compute_lag(MarketParams()) == 5
    assert compute_lag(MarketParams(settle_ppm=2_500_000)) == 6


def test_the_central_mode_settles_at_the_end_of_the_day() -> None:
    mode = run_centrally(_make_profile(3), _make_orders(3))
    assert mode.settled_after_hours == (2, 1, 0)
    assert (mode.orders, mode.confirmations, mode.readings, mode.invoices) == (9, 9, 9, 3)
    assert mode.messages == 30


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(PARAMS, _make_profile(2), _make_orders(2), 3, lambda stage: None)


def test_nodes_clear_and_score_the_day_as_the_plain_functions_do(comparison: Comparison) -> None:
    assert [check for check in check_day(comparison) if not check.passed] == []
    assert comparison.on_chain.trades == comparison.central.trades
    assert comparison.on_chain.credits_upt == comparison.central.credits_upt


def test_every_hour_s_way_through_the_chain_is_timed_and_every_message_counted(comparison: Comparison) -> None:
    chain = comparison.chain
    assert len(chain.certified_after_ms) == len(chain.settled_late_ms) == len(chain.final_late_ms) == 2
    assert min(*chain.certified_after_ms, *chain.settled_late_ms) > 0
    assert all(final > settled for final, settled in zip(chain.final_late_ms, chain.settled_late_ms, strict=True))
    assert chain.due_after_ppm == 1_000_000
    # Two peers are told of every transaction and given it; each tells the other one too, with what else came just then.
    transactions = 6 + 6
    assert chain.messages["Transactions"] == 2 * transactions
    assert transactions <= chain.messages["TransactionIds"] <= 2 * transactions
    assert chain.message_bytes > 100 * chain.message_count


def test_members_vote_on_the_checkpoint_of_every_slot(comparison: Comparison) -> None:
    chain = comparison.chain
    assert chain.checkpoints_per_period == 4
    slots = chain.checkpoints_per_period * chain.blocks // BLOCKS_PER_PERIOD
    # Three members' votes, each told by every node to the two others when it is news; some are said again.
    assert 0.8 * slots * 3 * 3 * 2 < chain.messages["Votes"] < 2 * slots * 3 * 3 * 2
    assert chain.messages["Certificate"] < chain.messages["Votes"]


def test_a_market_whose_gates_fall_between_checkpoints_is_not_timed() -> None:
    between = PARAMS.model_copy(update={"market": MarketParams(gate_ppm=1_900_000)})
    with pytest.raises(AssertionError, match="slots"):
        run_chain_day(between, _make_profile(1), _make_orders(1), 1)


def test_messages_that_come_with_blocks_and_with_time_grow_with_the_hour(comparison: Comparison) -> None:
    messages = {"Votes": 7, "Certificate": 2, "NewBlock": 10, "Status": 100}
    chain = replace(comparison.chain, messages=messages, period_ms=60_000)
    assert chain.interval_ms == 5_000
    assert chain.project_messages(60_000, 5_000) == 119
    assert chain.project_messages(600_000, 10_000) == 9 + 50 + 1_000


def test_a_chain_that_clears_otherwise_fails_the_check(comparison: Comparison) -> None:
    fewer = replace(comparison.on_chain, trades=comparison.on_chain.trades[1:])
    wrong = replace(comparison, on_chain=fewer, chain=replace(comparison.chain, void_hours=(0,)))
    assert [check.name for check in check_day(wrong) if not check.passed] == [
        "every hour was certified and settled",
        "the chain cleared what the operator did",
    ]
