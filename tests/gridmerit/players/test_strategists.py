"""Players with strategies in a live network: what they are shown of it, their meters, and the command's errors."""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import SimpleNamespace as Some
from typing import Any

import pytest

from gridmerit.main import run
from gridmerit.network.compose import choose_params
from gridmerit.network.layout import Network
from gridmerit.network.make import new_network
from gridmerit.network.parameters import load_packaged_profile
from gridmerit.players import Cancel, Quote, Side, Strategy
from gridmerit.players.plans import make_draws, plan_orders
from gridmerit.players.strategists import Answers, Desk, PublicRecord
from ledger.genesis import Genesis
from market.strategies.built_in import BUILT_IN
from market.strategies.storage import Storage
from market.strategies.strategy import ask
from market.strategies.view import Depth, Outcome, OwnOrder, OwnTrade
from market.trading.sessions import Session
from node.config import load_genesis
from node.queries.answers import LineQuotaInfo, QuotaInfo

PROFILE = load_packaged_profile()
WHEELING = 30_000


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    home = tmp_path_factory.mktemp("strategists") / "network"
    return new_network(home, nodes=1, params=choose_params(60_000), profile=PROFILE, seed=1)


@pytest.fixture(scope="module")
def genesis(network: Network) -> Genesis:
    return load_genesis(network.genesis_path)


def _make_desk(genesis: Genesis, name: str, strategy: Strategy, record: Any = None) -> Desk:
    member = next(member for member in genesis.members if member.name == name)
    return Desk(member=member, strategy=strategy, record=record, profile=PROFILE, started_ms=0)


def _quota(genesis: Genesis, demand_wh: int = 10**9, supply_wh: int = 10**9) -> QuotaInfo:
    lines = {member.position for member in genesis.members}
    rows = tuple(
        LineQuotaInfo(line=line, demand_wh=demand_wh, supply_wh=supply_wh, wheeling_uyuan_per_kwh=0) for line in lines
    )
    return QuotaInfo(period=30, lines=rows, complete_ms=1, orders_until_ms=2)


def _trades(period: int, *rows: tuple[str, str, int, int], status: str = "accepted", cut: tuple[int, ...] = ()) -> Any:
    """A gate's answer, as far as it is read: buyer, seller, price, volume."""
    trades = [
        Some(index=index, buyer_name=buyer, seller_name=seller, price_uyuan_per_kwh=price, volume_wh=volume_wh)
        for index, (buyer, seller, price, volume_wh) in enumerate(rows)
    ]
    curtailments = [Some(index=index, accepted_wh=accepted_wh) for index, accepted_wh in enumerate(cut)]
    return Some(period=period, trades=trades, gate=Some(status=status), curtailments=curtailments)


def _show(desk: Desk, genesis: Genesis, **answers: Any) -> Any:
    plain = {"quota": _quota(genesis), "book": None, "account": None, "earlier": []}
    return desk.make_view(genesis, 30, WHEELING, Answers(**{**plain, **answers}))


@pytest.mark.parametrize("name", ["homes-1", "pv-101", "wind-122"])
def test_truthful_orders_what_players_without_a_strategy_do(genesis: Genesis, name: str) -> None:
    desk = _make_desk(genesis, name, BUILT_IN["truthful"]())
    for hour in range(24):
        view = desk.make_view(
            genesis, hour, WHEELING, Answers(quota=_quota(genesis), book=None, account=None, earlier=[])
        )
        plan = plan_orders(PROFILE, name, 5, genesis.params.market, 24, wheeling_uyuan_per_kwh=WHEELING)
        expected = [(order.side, order.price_uyuan_per_kwh, order.volume_wh) for order in plan if order.hour == hour]
        assert list(ask(desk.strategy, view, make_draws(5, name, hour))) == expected


def test_a_strategy_is_shown_its_own_affairs_and_what_is_public(genesis: Genesis) -> None:
    desk = _make_desk(genesis, "homes-1", BUILT_IN["best-response"]())
    order = Some(order_id=4, owner_name="homes-1", price_uyuan_per_kwh=500_000, volume_wh=70)
    other = Some(order_id=5, owner_name="homes-2", price_uyuan_per_kwh=510_000, volume_wh=30)
    ask_ = Some(order_id=6, owner_name="pv-101", price_uyuan_per_kwh=450_000, volume_wh=40)
    rows = [("homes-1", "pv-101", 500_000, 30), ("homes-2", "pv-101", 400_000, 10)]
    view = _show(
        desk,
        genesis,
        book=Some(best_bid=510_000, best_ask=450_000, bids=(other, order), offers=(ask_,)),
        account=Some(balance_uyuan=7, credit_upt=8),
        earlier=[_trades(28), _trades(29, *rows)],
        quota=_quota(genesis, demand_wh=9, supply_wh=9),
    )
    forecast = PROFILE.readings["homes-1", PROFILE.hours_ms[30 % 24]].forecast_wh
    assert (view.generation_wh, view.load_wh, view.place, view.players) == (0, forecast, 2, 10)
    assert (view.bid_limit_wh, view.offer_limit_wh) == (9, 0), "a consumer sells nothing"
    assert (view.balance_uyuan, view.credit_upt, view.target_uyuan_per_kwh) == (7, 8, None)
    assert (view.bids, view.offers) == (Depth(510_000, 100), Depth(450_000, 40))
    assert view.earlier == (Outcome(28, None, 0), Outcome(29, 475_000, 40))
    assert view.own_trades == (OwnTrade(29, Side.BID, 500_000, 30),)
    assert view.own_orders == (OwnOrder(4, Side.BID, 500_000, 70),)
    assert view.tariffs == (615_000, 410_000, WHEELING)


def test_intraday_a_player_sees_what_it_holds_and_is_left_with_the_change(genesis: Genesis) -> None:
    reading = PROFILE.readings["homes-1", PROFILE.hours_ms[30 % 24]]
    fresh_wh = (reading.forecast_wh + reading.actual_wh) // 2
    desk = _make_desk(genesis, "homes-1", BUILT_IN["truthful"]())

    def look(position_wh: int) -> Any:
        answers = Answers(quota=_quota(genesis), book=None, account=None, earlier=[], position_wh=position_wh)
        return desk.make_view(genesis, 30, WHEELING, answers, Session.INTRADAY)

    held = look(fresh_wh - 70)
    assert (held.load_wh, held.position_wh, held.shortage_wh, held.surplus_wh) == (fresh_wh, fresh_wh - 70, 70, 0)
    assert held.bid_limit_wh == desk.member.capacity_wh - held.position_wh
    too_much = look(fresh_wh + 70)
    assert (too_much.shortage_wh, too_much.surplus_wh, too_much.offer_limit_wh) == (0, 70, fresh_wh + 70)
    [sold] = ask(desk.strategy, too_much, make_draws(5, "homes-1", 30))
    assert isinstance(sold, Quote)
    assert (sold.side, sold.volume_wh) == (Side.OFFER, 70)
    [bought] = ask(desk.strategy, held, make_draws(5, "homes-1", 30))
    assert isinstance(bought, Quote)
    assert (bought.side, bought.volume_wh) == (Side.BID, 70)
    assert list(ask(desk.strategy, look(fresh_wh), make_draws(5, "homes-1", 30))) == [], "nothing has changed"


def test_who_looks_back_on_nothing_is_shown_nothing(genesis: Genesis) -> None:
    desk = _make_desk(genesis, "pv-101", BUILT_IN["truthful"]())
    view = _show(desk, genesis, earlier=[_trades(29)])
    assert (desk.look_back, view.earlier, view.bid_limit_wh) == (0, (), 0)
    assert _show(_make_desk(genesis, "pv-101", BUILT_IN["ants"]()), genesis).offer_limit_wh > 0


async def test_earlier_gates_are_asked_for_once_and_given_up_when_their_delivery_has_begun() -> None:
    asked, known = list[int](), {26: _trades(26), 28: _trades(28)}

    async def ask_trades(period: int) -> Any:
        asked.append(period)
        return known.get(period)

    record = PublicRecord(ask_trades, lambda period: period < 28)
    assert [each.period for each in await record.get_earlier(30, 5)] == [26, 28]
    assert asked == [25, 26, 27, 28, 29]
    known[29] = _trades(29)
    known[25] = _trades(25)
    assert [each.period for each in await record.get_earlier(30, 5)] == [26, 28, 29]
    assert asked == [25, 26, 27, 28, 29, 29]
    assert await record.get_earlier(1, 5) == []


# --- the battery -----------------------------------------------------------------------------------


class Stored(Strategy):
    looks_back = 0
    storage = Storage(capacity_wh=50_000, power_wh=10_000, efficiency_ppm=500_000)

    def answer(self, view: Any, random: Random) -> list[Quote | Cancel]:
        return []


def test_a_battery_keeps_a_home_at_what_it_bought(genesis: Genesis) -> None:
    desk = _make_desk(genesis, "homes-1", Stored())
    assert desk.meter(1, 8_000, _trades(1, ("homes-1", "pv-101", 1, 12_000))) == 12_000
    assert (desk.storage.charge_wh, desk.metered) == (2_000, 1)
    assert desk.meter(2, 8_000, _trades(2, ("homes-1", "pv-101", 1, 7_500))) == 7_500
    assert desk.meter(3, 8_000, _trades(3)) == 8_000 - 1_500
    assert desk.storage.charge_wh == 0
    room_wh = desk.member.capacity_wh - 8_000
    assert desk.meter(4, 8_000 + room_wh, _trades(4, ("homes-1", "pv-101", 1, 10**6))) == 8_000 + room_wh, "no more"


def test_a_battery_keeps_a_plant_at_what_it_sold(genesis: Genesis) -> None:
    desk = _make_desk(genesis, "pv-101", Stored())
    assert desk.meter(1, 8_000, _trades(1, ("homes-1", "pv-101", 1, 3_000))) == 3_000
    assert desk.storage.charge_wh == 2_500
    assert desk.meter(2, 0, _trades(2, ("homes-1", "pv-101", 1, 2_000))) == 2_000
    assert desk.meter(3, 100, _trades(3, ("homes-1", "pv-101", 1, 9_000), cut=(200,))) == 200
    assert desk.meter(4, 100, _trades(4, ("homes-1", "pv-101", 1, 9_000), status="void")) == 0, "all of it is kept"
    assert desk.storage.charge_wh == 450


def test_without_a_word_on_the_trades_the_battery_stands_still(genesis: Genesis) -> None:
    desk = _make_desk(genesis, "homes-1", Stored())
    assert desk.meter(1, 8_000, None) == 8_000
    assert (desk.storage, desk.metered) == (Stored.storage, 0)


def test_the_battery_is_shown_as_it_will_be(genesis: Genesis) -> None:
    desk = _make_desk(genesis, "homes-1", Stored())
    forecast = PROFILE.readings["homes-1", PROFILE.hours_ms[29 % 24]].forecast_wh
    under_way = _trades(29, ("homes-1", "pv-101", 1, forecast + 4_000))
    assert _show(desk, genesis, earlier=[under_way]).storage.charge_wh == 2_000
    desk.metered = 29
    assert _show(desk, genesis, earlier=[under_way]).storage.charge_wh == 0


# --- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "said", "remedy"),
    [
        ("homes-1", 2, "--strategy: want NAME=STRATEGY, have homes-1", "try: gridmerit agents --help"),
        ("=truthful", 2, "want NAME=STRATEGY", "--help"),
        (
            "homes-99=truthful",
            3,
            "error[NotAPlayer] homes-99 places no orders here; who does: homes-1",
            "try: --strategy",
        ),
        ("homes-1=clever", 3, "error[UnknownStrategy] no strategy is called clever", "docs/strategies.md"),
        ("homes-1=none.py:Mine", 3, "error[UnreadableFile]", "none.py"),
        ("homes-1=FILE:Mine", 3, "error[NotAStrategy]", "try: docs/strategies.md"),
    ],
)
def test_a_strategy_that_cannot_be_had_is_told(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, code: int, said: str, remedy: str
) -> None:
    (tmp_path / "mine.py").write_text("Mine = 7\n")
    arguments = ["agents", str(network.directory), "--strategy", text.replace("FILE", str(tmp_path / "mine.py"))]
    assert run(arguments) == code
    err = capsys.readouterr().err
    assert said in err
    assert remedy in err


def test_a_player_has_one_strategy(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    twice = ["--strategy", "homes-1=truthful", "--strategy", "homes-1=ants"]
    assert run(["agents", str(network.directory), *twice]) == 2
    assert "--strategy: homes-1 has two" in capsys.readouterr().err
