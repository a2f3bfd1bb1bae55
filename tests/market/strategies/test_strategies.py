"""The strategies that are built in, and what becomes of an answer: by properties."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import BadStrategyAnswer, StrategyFailed
from market.game import ants, best_response
from market.orders import Side
from market.strategies.built_in import BUILT_IN
from market.strategies.game import Ants, BestResponse, make_hour
from market.strategies.storage import Flow, Storage
from market.strategies.storage_arbitrage import StorageArbitrage
from market.strategies.strategy import Cancel, Quote, Strategy, ask, describe_class_fault
from market.strategies.view import Depth, OwnOrder, OwnTrade, Tariffs
from tests.support.player_views import DAY, TARIFFS, Fixed, make_view

energies = st.integers(0, 100_000)
views = st.builds(
    lambda generation_wh, load_wh, place, earlier, charge_wh: make_view(
        generation_wh=generation_wh,
        load_wh=load_wh,
        place=place,
        earlier=earlier,
        storage=StorageArbitrage.storage._replace(charge_wh=charge_wh),
    ),
    energies,
    energies,
    st.integers(0, 9),
    st.sampled_from([(), DAY[:3], DAY]),
    st.integers(0, 80_000),
)


def _volume(quotes: list[Quote], side: Side) -> int:
    return sum(quote.volume_wh for quote in quotes if quote.side == side)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_same_view_and_the_same_numbers_give_the_same_answer(name: str) -> None:
    view = make_view(generation_wh=50_000, earlier=DAY, storage=StorageArbitrage.storage)
    assert ask(BUILT_IN[name](), view, Random(1)) == ask(BUILT_IN[name](), view, Random(1)) != ()


@pytest.mark.parametrize("name", ["truthful", "zero-intelligence", "storage-arbitrage"])
@given(view=views, seed=st.integers(0, 2**32))
@settings(max_examples=40)
def test_nobody_quotes_worse_than_the_grid_company(name: str, view, seed: int) -> None:
    for act in ask(BUILT_IN[name](), view, Random(seed)):
        assert isinstance(act, Quote)
        assert TARIFFS.feed_in_uyuan_per_kwh <= act.price_uyuan_per_kwh <= TARIFFS.ceiling_uyuan_per_kwh
        assert act.side == (Side.OFFER if view.surplus_wh or act.side == Side.OFFER else Side.BID)


@pytest.mark.parametrize("name", ["truthful", "zero-intelligence"])
@given(view=views)
@settings(max_examples=20)
def test_the_whole_forecast_is_ordered_on_its_side(name: str, view) -> None:
    quotes = ask(BUILT_IN[name](), view, Random(1))
    assert _volume(quotes, Side.BID) == view.shortage_wh
    assert _volume(quotes, Side.OFFER) == view.surplus_wh


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("wheeling", [190_000, 204_999, 205_000, 300_000])
def test_where_tariffs_leave_no_room_nothing_is_quoted_beyond_them(name: str, wheeling: int) -> None:
    tariffs = Tariffs(615_000, 410_000, wheeling)
    wild = tuple(outcome._replace(price_uyuan_per_kwh=10**5 + 5 * 10**6 * (outcome.period % 2)) for outcome in DAY)
    view = make_view(tariffs=tariffs, earlier=wild, storage=StorageArbitrage.storage)
    for act in ask(BUILT_IN[name](), view, Random(1)):
        assert tariffs.feed_in_uyuan_per_kwh <= act.price_uyuan_per_kwh <= tariffs.ceiling_uyuan_per_kwh


def test_zero_intelligence_draws_from_the_whole_span() -> None:
    prices = [ask(BUILT_IN["zero-intelligence"](), make_view(), Random(seed))[0][1] for seed in range(300)]
    assert min(prices) < 412_000
    assert max(prices) > 593_000


# --- the game --------------------------------------------------------------------------------------


@pytest.mark.parametrize("earlier", [(), DAY], ids=["no past", "a day"])
@pytest.mark.parametrize("generation_wh", [0, 50_000, 500_000])
def test_the_game_s_price_is_asked_and_bid(generation_wh: int, earlier) -> None:
    view = make_view(generation_wh=generation_wh, earlier=earlier)
    hour, asks = make_hour(view), 0 if generation_wh else 1
    expected = round(best_response.solve(hour).g_to_u[asks] * 1_000_000)
    (quote,) = ask(BestResponse(), view, Random(1))
    assert quote == Quote(Side.OFFER if generation_wh else Side.BID, expected, abs(generation_wh - 30_000))


def test_ants_find_what_best_response_does() -> None:
    view = make_view(generation_wh=50_000, earlier=DAY)
    (quote,) = ask(BUILT_IN["ants"](), view, Random(7))
    assert quote.price_uyuan_per_kwh == round(
        ants.solve(make_hour(view), seed=Random(7).getrandbits(32)).g_to_u[0] * 1_000_000
    )
    assert abs(quote.price_uyuan_per_kwh - ask(BestResponse(), view, Random(1))[0].price_uyuan_per_kwh) <= 2


def test_a_game_that_does_not_settle_is_answered_truthfully() -> None:
    class Unsettled(BestResponse):
        def solve(self, hour, random):
            return None

    view = make_view(earlier=DAY)
    assert ask(Unsettled(), view, Random(1)) == ask(BUILT_IN["truthful"](), view, Random(1))


def test_ants_whose_prices_somebody_would_change_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ants that take no step."""
    view, solve = make_view(generation_wh=50_000, earlier=DAY), ants.solve
    monkeypatch.setattr(ants, "solve", lambda hour, *, seed: solve(hour, seed=seed, iterations=0))
    after_seed = Random(7)
    after_seed.getrandbits(32)  # which the ants have had
    assert ask(Ants(), view, Random(7)) == ask(BUILT_IN["truthful"](), view, after_seed)


def test_the_game_counts_with_what_the_others_trade_or_with_the_book() -> None:
    own = OwnTrade(24, Side.OFFER, 500_000, 24_000)  # a thousand a gate
    view = make_view(generation_wh=50_000, earlier=DAY, own_trades=(own,), offers=Depth(450_000, 7))
    usual_wh = sum(outcome.volume_wh for outcome in DAY) // 24
    assert make_hour(view).surplus_wh == (20_000, *[(usual_wh - 1_000) // 4] * 4)
    assert make_hour(view).user_load_wh == (usual_wh,)
    deep = make_view(generation_wh=50_000, earlier=DAY, bids=Depth(500_000, 10**6), offers=Depth(450_000, 10**6))
    assert make_hour(deep).surplus_wh == (20_000, *[250_000] * 4)
    assert make_hour(deep).user_load_wh == (10**6,)


# --- the battery -----------------------------------------------------------------------------------


@given(
    capacity_wh=st.integers(0, 10**6),
    power_wh=st.integers(0, 10**6),
    efficiency_ppm=st.integers(1, 10**6),
    excesses_wh=st.lists(st.integers(-(10**6), 10**6), max_size=20),
)
def test_no_watt_hour_appears_or_vanishes(capacity_wh, power_wh, efficiency_ppm, excesses_wh) -> None:
    storage = Storage(capacity_wh, power_wh, efficiency_ppm)
    for excess_wh in excesses_wh:
        after, flow = storage.balance(excess_wh)
        assert after.charge_wh - storage.charge_wh == flow.drawn_wh - flow.given_wh - flow.lost_wh
        assert 0 <= after.charge_wh <= capacity_wh
        assert max(flow.drawn_wh, flow.given_wh) <= min(power_wh, abs(excess_wh))
        assert not (flow.drawn_wh and flow.given_wh)
        assert flow.lost_wh == flow.drawn_wh - flow.drawn_wh * efficiency_ppm // 10**6
        storage = after


def test_a_battery_loses_what_its_efficiency_says() -> None:
    full, flow = Storage(9_000, 20_000, 900_000).balance(15_000)
    assert (full.charge_wh, flow) == (9_000, Flow(drawn_wh=10_000, lost_wh=1_000))
    assert full.balance(-20_000) == (Storage(9_000, 20_000, 900_000), Flow(given_wh=9_000))


@given(view=views)
@settings(max_examples=40)
def test_a_battery_buys_cheap_and_sells_dear_and_only_what_it_can(view) -> None:
    quotes = ask(StorageArbitrage(), view, Random(1))
    plain = ask(BUILT_IN["truthful"](), view, Random(1))
    if len(view.earlier) < 4:
        assert quotes == plain
        return
    bids, offers = _volume(quotes, Side.BID), _volume(quotes, Side.OFFER)
    assert not (bids and offers), "no meter counts both"
    assert bids <= view.shortage_wh + view.storage.room_wh
    assert offers <= view.surplus_wh + view.storage.supply_wh
    by_price = {quote.price_uyuan_per_kwh: quote.volume_wh for quote in quotes}
    if bids:
        assert by_price.get(459_000, 0) == view.storage.room_wh
    elif offers:
        assert by_price.get(539_000, 0) >= view.storage.supply_wh


def test_a_battery_is_left_out_where_the_loss_eats_the_difference() -> None:
    flat = tuple(outcome._replace(price_uyuan_per_kwh=500_000) for outcome in DAY)
    view = make_view(earlier=flat, storage=StorageArbitrage.storage)
    assert ask(StorageArbitrage(), view, Random(1)) == ask(BUILT_IN["truthful"](), view, Random(1))


# --- what becomes of an answer -------------------------------------------------------------------------


def test_an_answer_is_cut_to_what_the_player_may_trade() -> None:
    own = OwnOrder(7, Side.BID, 500_000, 300)
    view = make_view(bid_limit_wh=1_000, offer_limit_wh=0, own_orders=(own,))
    wanted = [Quote(Side.BID, 5, 600), Quote(Side.OFFER, 5, 9), Quote(Side.BID, 6, 600), Quote(Side.BID, 7, 1)]
    assert ask(Fixed(wanted), view, Random(1)) == (Quote(Side.BID, 5, 600), Quote(Side.BID, 6, 100))
    taken_back = ask(Fixed([*wanted, Cancel(7)]), view, Random(1))
    assert taken_back == (Quote(Side.BID, 5, 600), Quote(Side.BID, 6, 400), Cancel(7))
    assert ask(Fixed(iter([])), view, Random(1)) == ()


@pytest.mark.parametrize("fault", [ZeroDivisionError("division by zero"), SystemExit(3)])
def test_a_strategy_that_raises_is_named_with_what_it_raised(fault: BaseException) -> None:
    with pytest.raises(StrategyFailed) as caught:
        ask(Fixed(fault), make_view(), Random(1))
    text = f"homes-1 has no orders in period 25: its strategy Fixed raised {type(fault).__name__}: {fault}"
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (None, "None instead of a list"),
        (7, "7 instead of a list"),
        ([Quote(Side.BID, 5, 5)] * 17, "more than 16 orders and cancels"),
        (["buy"], "'buy', want a Quote or a Cancel"),
        ([(0, 5, 5)], "(0, 5, 5), want a Quote or a Cancel"),
        ([Quote(0, 5, 5)], "0 for a side, want Side.BID or Side.OFFER"),
        ([Quote(Side.BID, 0, 5)], "0 for a price, want whole µ¥ per kWh from 1 to 100000000"),
        ([Quote(Side.BID, 10**8 + 1, 5)], "100000001 for a price, want whole µ¥ per kWh from 1 to 100000000"),
        ([Quote(Side.BID, 0.5, 5)], "0.5 for a price, want whole µ¥ per kWh from 1 to 100000000"),
        ([Quote(Side.BID, True, 5)], "True for a price, want whole µ¥ per kWh from 1 to 100000000"),
        ([Quote(Side.BID, 5, -1)], "-1 for a volume, want whole Wh"),
        ([Quote(Side.BID, 5, float("nan"))], "nan for a volume, want whole Wh"),
        ([Cancel(3)], "a cancel of 3, which is no order of this player on the book"),
    ],
)
def test_nonsense_is_named(answer: object, detail: str) -> None:
    with pytest.raises(BadStrategyAnswer) as caught:
        ask(Fixed(answer), make_view(), Random(1))
    assert str(caught.value) == f"homes-1 has no orders in period 25: its strategy Fixed answered {detail}"


def test_settings_that_make_no_sense_are_named() -> None:
    def fault_of(**attributes: object) -> str:
        return describe_class_fault(type("Odd", (Fixed,), attributes))

    assert [describe_class_fault(kind) for kind in BUILT_IN.values()] == [""] * 5
    assert describe_class_fault(type("Mute", (Strategy,), {})) == "it has no method `answer`"
    assert fault_of(looks_back=-1) == "looks_back is -1, want a whole number from 0 to 168"
    assert fault_of(looks=5) == "looks is 5, want a whole number from 1 to 4"
    assert fault_of(storage=(1, 2)) == "storage is (1, 2), want a Storage in whole Wh"
    assert "want a Storage in whole Wh" in fault_of(storage=Storage(1.5, 1, 1))
    assert "want an efficiency of 1 to 1000000 ppm" in fault_of(storage=Storage(1, 1, 0))
    assert "and no charge yet" in fault_of(storage=Storage(1, 1, 1, charge_wh=1)), "nobody is given energy"
