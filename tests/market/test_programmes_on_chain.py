"""Programmes on a chain: paid once for each green delivery, in row order, to the last part of the budget."""

from __future__ import annotations

import pytest

from ledger.accounts import account_key, get_account
from market.errors import BudgetNotCovered, NoSuchSource, ProgrammeExists, ProgrammeTooLate, TooManyProgrammes
from market.programme_records import (
    EXHAUSTED,
    MAX_PROGRAMMES,
    OPEN,
    OVER,
    get_left_uyuan,
    get_names,
    get_pot,
    get_programme,
)
from market.trading.period_settlement import REST
from market.trading.work import SUBSIDY
from tests.support.asset_lab import AssetMarket
from tests.support.market_lab import BALANCE_UYUAN, PERIOD

RATES = (("producer", 300_000), ("prosumer", 150_000))  # µ¥ per kWh
GREEN = {"paul": {"renewable_ppm": 1_000_000}, "rosa": {"renewable_ppm": 500_000}}
BUDGET = 100_000_000


class Subsidised(AssetMarket):
    """A market whose grid company has money for programmes; paul's output is green, half of rosa's, none of pia's."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{"registered": GREEN, **options})
        self.hand_over("carol", "grid", BALANCE_UYUAN // 2)
        self.total_uyuan = self.money()

    def open(self, name="green", budget=BUDGET, rates=RATES, first=PERIOD, last=PERIOD, by="grid"):
        return self.submit(by, "programme", (name, budget, rates, first, last))

    def deliver(self, period=PERIOD, **produced):
        """Read meters, and settle the period; its events."""
        self.go("delivery_end", period)
        for name, wh in produced.items():
            assert self.read(name, produced=wh, period=period) == ""
        events = self.go("settle", period)
        for _ in range(20 * (not self.settled(period))):
            events += self.make_block().events
        assert self.settled(period)
        return events

    def programme(self, name="green"):
        found = get_programme(self.view, name)
        assert found is not None
        return found

    def check(self):
        """Budget = left + paid, and no money comes or goes."""
        names = get_names(self.view)
        for name in names:
            programme, left = self.programme(name), get_left_uyuan(self.view, name)
            assert programme.state != OPEN or programme.budget_uyuan == left + programme.paid_uyuan
            assert 0 <= programme.paid_uyuan <= programme.budget_uyuan
            assert programme.state == OPEN or account_key(get_pot(name)) not in dict(self.state.items())
        pots = sum(get_account(self.view, get_pot(name)).balance_uyuan for name in names)
        assert self.money() + pots == self.total_uyuan

    def subsidies(self, events):
        return [tuple(values[2:]) for name, *values in events if name == "subsidy"]


@pytest.fixture
def market():
    return Subsidised()


def test_green_energy_is_paid_for_by_its_source_once(market):
    assert market.open() == ""
    assert market.account("grid").balance_uyuan == BALANCE_UYUAN // 2 - BUDGET
    market.check()
    events = market.deliver(paul=10_005, pia=7_000, rosa=3)
    paul, rosa = market.address("paul"), market.address("rosa")
    assert market.subsidies(events) == [
        (paul, 10_005, 3_001_500, 3_001_500, BUDGET - 3_001_500),
        (rosa, 1, 150, 150, BUDGET - 3_001_650),
    ]
    assert market.programme().paid_uyuan == 3_001_650
    market.check()


def test_a_subsidy_is_beside_what_settlement_pays(market):
    twin = Subsidised()
    assert market.open() == ""
    for each in (market, twin):
        each.deliver(paul=10_000)
    gained = market.account("paul").balance_uyuan - twin.account("paul").balance_uyuan
    assert gained == 3_000_000


def test_the_last_payment_is_in_part_and_the_programme_ends(market):
    assert market.open(budget=4_000_000, last=PERIOD + 5) == ""
    events = market.deliver(pia=9_000, rosa=20_000, paul=50_000)
    assert [row[1:] for row in market.subsidies(events)] == [
        (10_000, 1_500_000, 1_500_000, 2_500_000),
        (50_000, 15_000_000, 2_500_000, 0),
    ]
    assert ("programme-ended", "green", EXHAUSTED, market.address("grid"), 4_000_000, 0) in events
    assert (market.programme().state, market.programme().paid_uyuan) == (EXHAUSTED, 4_000_000)
    assert market.subsidies(market.deliver(PERIOD + 1, paul=50_000)) == []
    market.check()


def test_what_is_left_returns_once_the_last_period_has_been_settled(market):
    assert market.open() == ""
    market.deliver(paul=10_000)
    assert market.programme().state == OPEN
    events = ()
    while market.programme().state == OPEN:
        events = market.go_on()
        market.check()
    assert ("programme-ended", "green", OVER, market.address("grid"), 3_000_000, BUDGET - 3_000_000) in events
    assert market.account("grid").balance_uyuan > BALANCE_UYUAN // 2 - 3_000_000 - 10_000_000
    assert market.subsidies(market.deliver(market.period + 1, paul=10_000)) == []
    market.check()


def test_a_period_that_settles_late_is_paid_for_before_the_programme_is_over(market):
    """Two programmes of one budget line: each pays for its own periods and no others."""
    assert market.open("first", first=PERIOD, last=PERIOD) == ""
    assert market.open("second", first=PERIOD + 1, last=PERIOD + 1) == ""
    market.deliver(paul=10_000)
    market.deliver(PERIOD + 1, paul=20_000)
    assert market.programme("first").paid_uyuan == 3_000_000
    assert market.programme("second").paid_uyuan == 6_000_000
    market.check()


def test_a_programme_that_has_ended_is_forgotten_in_the_end(market):
    assert market.open() == ""
    market.pass_days(5)
    assert market.programme().state == OVER
    market.pass_days(3)
    assert get_names(market.view) == ()
    assert [key for key, _ in market.state.items() if key.startswith(b"programme/")] == []
    market.check()
    assert market.open(first=market.period + 1, last=market.period + 1) == ""
    market.check()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"by": "carol"}, "RoleNotAllowed"),
        ({"by": "paul"}, "RoleNotAllowed"),
        ({"budget": BALANCE_UYUAN // 2 + 1}, "BudgetNotCovered"),
        ({"budget": 0}, "WrongShape"),
        ({"first": PERIOD - 2}, "ProgrammeTooLate"),  # nor with the one that is running
        ({"last": PERIOD - 1}, "WrongShape"),
        ({"last": PERIOD + 366 * 24}, "WrongShape"),
        ({"rates": ()}, "WrongShape"),
        ({"rates": (("producer", 0),)}, "WrongShape"),
        ({"rates": (("producer", 10**8 + 1),)}, "WrongShape"),
        ({"rates": (("producer", 1), ("producer", 2))}, "WrongShape"),
        ({"rates": (("consumer", 1),)}, "NoSuchSource"),
        ({"name": ""}, "WrongShape"),
        ({"name": "a\nb"}, "WrongShape"),
        ({"name": "n" * 33}, "TooLarge"),
    ],
)
def test_what_may_not_be_is_refused_and_nothing_moves(market, change, code):
    market.go("gate")
    assert market.open(**change) == code
    market.check()
    assert get_names(market.view) == ()


def test_a_name_is_taken_once_and_there_is_room_for_so_many(market):
    for number in range(MAX_PROGRAMMES):
        assert market.open(f"p{number}", budget=1) == ""
    assert market.open("p3", budget=1) == "ProgrammeExists"
    assert market.open("another", budget=1) == "TooManyProgrammes"
    market.check()


def test_where_there_is_no_economy_there_are_no_programmes():
    market = AssetMarket(economy=0)
    assert market.submit("grid", "programme", ("green", 1, RATES, PERIOD, PERIOD)) == "UnknownKind"


# --- by shares, and firm -------------------------------------------------------------------------


@pytest.mark.parametrize("work", [64, 100])
def test_by_shares_each_meter_is_paid_for_once(work):
    markets = [Subsidised(work_per_block=limit) for limit in (work, 0)]
    output = {"paul": 10_000, "rosa": 4_000, "pia": 9_000}
    for market in markets:
        for number in range(MAX_PROGRAMMES):
            assert market.open(f"p{number}", budget=BUDGET // MAX_PROGRAMMES) == ""
        market.deliver(**output)
        market.check()
    paid = [[market.programme(name).paid_uyuan for name in get_names(market.view)] for market in markets]
    assert paid == [[3_000_000 + 300_000] * MAX_PROGRAMMES] * 2


def test_the_least_share_of_work_has_room_for_a_meter_that_all_programmes_pay_for():
    assert REST + MAX_PROGRAMMES * SUBSIDY <= 64


def test_where_trades_are_firm_what_was_fed_in_is_paid_for():
    market = Subsidised(intraday_open_ppm=1_500_000, intraday_gate_ppm=1_000_000)
    assert market.open() == ""
    assert [row[1:3] for row in market.subsidies(market.deliver(paul=10_000))] == [(10_000, 3_000_000)]
    market.check()


def test_refusals_say_what_to_do():
    assert str(BudgetNotCovered(programme="sun", budget=2_000_000, have=1_000_000)) == (
        "programme sun is to pay up to 2.00 yuan, and its funder has 1.00 yuan"
    )
    assert str(ProgrammeExists(programme="sun")) == (
        "there is a programme sun; choose another name, or wait until that one is forgotten"
    )
    assert str(ProgrammeTooLate(first=7, next=9)) == (
        "a programme pays for periods to come: it may begin with period 9, not with 7"
    )
    assert str(TooManyProgrammes(limit=12)) == (
        "12 programmes are kept at most; one that has ended is forgotten once its periods are"
    )
    assert str(NoSuchSource(source="wood", known="producer, prosumer")) == (
        "no energy comes from the source 'wood', there are producer, prosumer"
    )
