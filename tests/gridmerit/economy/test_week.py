"""A day of the economy in virtual time: what it comes to, and that each check sees what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gridmerit.economy.cast import BUDGET_UYUAN, POOL, VOUCHERS, Cast, make_cast
from gridmerit.economy.checks import run_checks
from gridmerit.economy.fast import PERIOD_MS, FastWeek
from gridmerit.economy.identities import find_breaches
from gridmerit.economy.plot import draw_figures, sum_sources, sum_uses
from gridmerit.economy.report import make_report
from gridmerit.economy.week import Week
from gridmerit.network.parameters import load_packaged_week
from gridmerit.paper.layout import render_text
from ledger.accounts import get_account, put_account
from ledger.genesis import build_state
from ledger.overlay import Overlay
from ledger.state import State
from market.assets.lots import held_key
from market.assets.series import Series, put_series
from market.vouchers import VOUCHER

PROFILE = load_packaged_week()
HOME = "homes-1"


@pytest.fixture(scope="module")
def cast() -> Cast:
    return make_cast(PROFILE, PERIOD_MS)


@pytest.fixture(scope="module")
def day(cast: Cast) -> Week:
    return FastWeek(cast, days=1, seed=1, on_day=lambda _: None).run()


def find_failed(week: Week) -> list[str]:
    return [check.name for check in run_checks(week, PROFILE, 24) if not check.passed]


def test_everything_holds_of_a_day(day: Week) -> None:
    assert find_failed(day) == []
    assert len(day.hours) == 24
    assert {"asset-sold", "claim-served", "incentive", "block-reward", "voucher-paid", "topped-up"} <= day.events.keys()


def test_the_same_seed_plays_the_same_day_and_another_one_another(cast: Cast, day: Week) -> None:
    def play(seed: int) -> Week:
        return FastWeek(cast, days=1, seed=seed, on_day=lambda _: None).run()

    assert play(1) == day
    assert play(2).hours != day.hours


def test_sources_are_what_homes_used_and_uses_are_what_plants_made(day: Week) -> None:
    for hour in day.hours:
        actual = {name: PROFILE.readings[name, hour.hour_ms].actual_wh for name, _ in day.players}
        assert sum(sum_sources(hour, day).values()) == sum(actual[home] for home in day.homes)
        assert sum(sum_uses(hour, day).values()) == sum(actual[plant] for plant in day.plants)


def test_each_check_sees_what_is_wrong(day: Week) -> None:
    (account,) = day.days
    hour = day.hours[0]
    trades = (hour.trades[0]._replace(output_wh=hour.trades[0].output_wh + 1), *hour.trades[1:])
    wrong = {
        "identities": replace(day, breaches=("block 7: one",)),
        "every hour settled": replace(day, hours=day.hours[1:]),
        "every transaction took effect": replace(day, refused={"TooFewLots": 1}),
        "energy adds up": replace(day, hours=(replace(hour, trades=trades), *day.hours[1:])),
        "claims add up": replace(day, sales=(day.sales[0]._replace(volume_wh=1), *day.sales[1:])),
        "bills are what was paid": replace(day, costs_uyuan={**day.costs_uyuan, HOME: 1}),
        "subsidies keep to the budget": replace(day, days=(replace(account, budget_left_uyuan=BUDGET_UYUAN),)),
        "the pool adds up": replace(day, days=(replace(account, pool=POOL),)),
        "nobody runs dry": replace(day, lowest_uyuan={HOME: -1}),
    }
    assert {name: name in find_failed(week) for name, week in wrong.items()} == dict.fromkeys(wrong, True)
    assert list(wrong) == [check.name for check in run_checks(day, PROFILE, 24)]


def plant(cast: Cast, fault: str) -> State:
    """A genesis state with one fault in it."""
    view, home = Overlay(build_state(cast.genesis)), cast.keys[HOME].address
    match fault:
        case "money":
            put_account(view, home, get_account(view, home).pay(1))
        case "counters":
            put_series(view, 1, Series(VOUCHER, home, ("any", 0), 48, issued=5, live=0, spent=4))
        case "held":
            view.put(held_key(VOUCHER, home), ((48, 1, 5),))
        case "backing":
            put_series(view, 1, Series(VOUCHER, home, ("any", 0), 48, issued=5, live=5))
            view.put(held_key(VOUCHER, home), ((48, 1, 5),))
    view.commit()
    return view.finish()[0]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("none", ""),
        ("money", "accounts hold 41499999999 µ¥, and genesis and banks gave 41500000000"),
        ("counters", "series 1: issued 5, live 0, spent 4, expired 0"),
        ("held", "series 1: 5 are held of what was never issued"),
        ("backing", "5 vouchers of"),
    ],
)
def test_a_breach_of_each_identity_is_seen(cast: Cast, fault: str, said: str) -> None:
    state = plant(cast, fault)
    founding_uyuan, price_uyuan = cast.founding_uyuan, VOUCHERS.price_uyuan
    breaches = find_breaches(state, 1, founding_uyuan=founding_uyuan, price_uyuan=price_uyuan)
    assert len(breaches) == (fault != "none")
    assert said in "".join(breaches)


def test_the_page_shows_every_picture_it_has(day: Week) -> None:
    figures = draw_figures(day)
    report = make_report(day, run_checks(day, PROFILE, 24), figures)
    shown = {block.file for part in report.parts for block in part.blocks if hasattr(block, "file")}
    assert shown == {name for name, _, _ in figures}
    assert all(png.startswith(b"\x89PNG") for _, _, png in figures)
    assert "1,200.00 yuan pays 0.03 for each green kWh" in " ".join(render_text(report).split())
