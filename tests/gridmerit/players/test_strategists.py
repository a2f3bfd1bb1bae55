"""Players with strategies in a live network: what they are shown of it, their meters, and the command's errors."""

from __future__ import annotations

from pathlib import Path
from random import Random
from threading import Event
from types import SimpleNamespace as Some
from typing import Any

import pytest

from gridmerit.main import run
from gridmerit.network.compose import choose_params
from gridmerit.network.layout import Network
from gridmerit.network.make import new_network
from gridmerit.network.parameters import load_packaged_profile
from gridmerit.players import Cancel, Quote, Side, Strategy
from gridmerit.players.batteries import Battery, load_battery, save_battery
from gridmerit.players.plans import make_draws, plan_orders
from gridmerit.players.round_the_clock import Listeners, Rounds
from gridmerit.players.strategists import Answers, Desk, PublicRecord
from ledger.errors import UnreadableFile
from ledger.genesis import Genesis
from market.strategies.built_in import BUILT_IN
from market.strategies.storage import Storage
from market.strategies.strategy import ask
from market.strategies.view import Depth, Outcome, OwnOrder, OwnTrade
from market.trading.sessions import Session
from node.api.client import Client
from node.config import load_genesis
from node.queries.answers import LineQuotaInfo, QuotaInfo
from simulation.errors import StrategyOverdue
from tests.support.patience import PATIENCE_S

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


def _trades(
    period: int,
    *rows: tuple[str, str, int, int],
    status: str = "accepted",
    cut: tuple[int, ...] = (),
    session: Session = Session.DAY_AHEAD,
) -> Any:
    """A gate's answer, as far as it is read: buyer, seller, price, volume."""
    trades = [
        Some(index=index, buyer_name=buyer, seller_name=seller, price_uyuan_per_kwh=price, volume_wh=volume_wh)
        for index, (buyer, seller, price, volume_wh) in enumerate(rows)
    ]
    curtailments = [Some(index=index, accepted_wh=accepted_wh) for index, accepted_wh in enumerate(cut)]
    return Some(
        period=period, session=session.title, trades=trades, gate=Some(status=status), curtailments=curtailments
    )


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
        book=Some(best_bid=510_000, best_ask=450_000, bids=(other, order), offers=(ask_,), target=None),
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


def test_a_committed_target_is_shown(genesis: Genesis) -> None:
    target = Some(g_to_u_uyuan_per_kwh=512_000, g_to_c_uyuan_per_kwh=1, c_to_u_uyuan_per_kwh=2, c_to_g_uyuan_per_kwh=3)
    book = Some(best_bid=None, best_ask=None, bids=(), offers=(), target=target)
    view = _show(_make_desk(genesis, "homes-1", BUILT_IN["truthful"]()), genesis, book=book)
    assert view.target_uyuan_per_kwh == 512_000


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
    assert (view.earlier, view.bid_limit_wh) == ((), 0)
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


# --- one that does not answer -----------------------------------------------------------------------


class Slow(Strategy):
    def answer(self, view: Any, random: Random) -> list[Quote | Cancel]:
        self.asked = getattr(self, "asked", 0) + 1
        ENOUGH.wait(PATIENCE_S)
        return []


ENOUGH = Event()


async def test_who_does_not_answer_in_time_is_named_and_holds_up_nobody_else(genesis: Genesis) -> None:
    slow, other = _make_desk(genesis, "homes-1", Slow()), _make_desk(genesis, "pv-101", BUILT_IN["truthful"]())
    view = _show(other, genesis)
    for _ in range(2):  # the second waits behind the first, and is not asked any more
        with pytest.raises(StrategyOverdue) as caught:
            await slow.ask(_show(slow, genesis), Random(1), within_s=0.05)
        text = "homes-1 has no orders in period 30: its strategy Slow did not answer within 0.05 s"
        assert str(caught.value) == text
    assert await other.ask(view, Random(1), within_s=PATIENCE_S) == ask(other.strategy, view, Random(1))
    slow.close()
    ENOUGH.set()
    assert slow.strategy.asked == 1


# --- the battery -----------------------------------------------------------------------------------


class Stored(Strategy):
    looks_back = 0
    storage = Storage(capacity_wh=50_000, power_wh=10_000, efficiency_ppm=500_000)

    def answer(self, view: Any, random: Random) -> list[Quote | Cancel]:
        return []


def test_a_battery_keeps_a_home_at_what_it_bought(genesis: Genesis) -> None:
    desk = _make_desk(genesis, "homes-1", Stored())
    assert desk.meter(1, 8_000, _trades(1, ("homes-1", "pv-101", 1, 12_000))) == 12_000
    assert (desk.storage.charge_wh, desk.battery.metered) == (2_000, 1)
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
    assert (desk.storage, desk.battery.metered) == (Stored.storage, 0)


def test_the_battery_is_shown_as_it_will_be(genesis: Genesis) -> None:
    desk = _make_desk(genesis, "homes-1", Stored())
    forecast = PROFILE.readings["homes-1", PROFILE.hours_ms[29 % 24]].forecast_wh
    under_way = _trades(29, ("homes-1", "pv-101", 1, forecast + 4_000))
    assert _show(desk, genesis, under_way=[under_way]).storage.charge_wh == 2_000
    desk.battery = Battery(metered=29)
    assert _show(desk, genesis, under_way=[under_way]).storage.charge_wh == 0


def test_the_battery_is_foreseen_by_what_is_held_after_the_last_gate(genesis: Genesis) -> None:
    desk = _make_desk(genesis, "homes-1", Stored())
    reading = PROFILE.readings["homes-1", PROFILE.hours_ms[29 % 24]]
    fresh_wh = (reading.forecast_wh + reading.actual_wh) // 2
    assert fresh_wh != reading.forecast_wh
    day_ahead = _trades(29, ("homes-1", "pv-101", 1, reading.forecast_wh))
    bought = ("homes-1", "pv-101", 1, max(0, fresh_wh - reading.forecast_wh) + 4_000)
    sold = ("homes-2", "homes-1", 1, max(0, reading.forecast_wh - fresh_wh))
    change = _trades(29, bought, sold, session=Session.INTRADAY)
    assert _show(desk, genesis, under_way=[day_ahead]).storage.charge_wh == 0
    assert _show(desk, genesis, under_way=[day_ahead, change]).storage.charge_wh == 2_000
    void = _trades(29, bought, sold, session=Session.INTRADAY, status="void")
    excess_wh = min(max(0, reading.forecast_wh - fresh_wh), 10_000)
    assert _show(desk, genesis, under_way=[day_ahead, void]).storage.charge_wh == excess_wh // 2
    alone = _trades(29, ("homes-1", "pv-101", 1, fresh_wh + 6_000), session=Session.INTRADAY)
    assert _show(desk, genesis, under_way=[alone]).storage.charge_wh == 3_000, "the first gate had no orders"


def test_what_has_been_read_is_read_alike_and_the_battery_does_not_go_back(genesis: Genesis) -> None:
    desk, kept = _make_desk(genesis, "homes-1", Stored()), list[Battery]()
    desk.keep = kept.append
    buys = ("homes-1", "pv-101", 1, 12_000)
    assert [desk.meter(period, 8_000, _trades(period, buys)) for period in (5, 7)] == [12_000, 12_000]
    assert [desk.meter(period, 1_000, _trades(period, buys)) for period in (5, 6, 7)] == [12_000, 1_000, 12_000]
    assert kept == [Battery(2_000, 5, ((5, 12_000),)), Battery(4_000, 7, ((5, 12_000), (7, 12_000)))]
    assert desk.battery == kept[-1]
    for period in range(8, 20):
        desk.meter(period, 0, _trades(period))
    assert [period for period, _ in desk.battery.readings] == list(range(12, 20)), "no more than may be on its way"


def test_a_new_start_goes_on_with_the_battery_as_it_was_left(
    network: Network, genesis: Genesis, tmp_path: Path
) -> None:
    def start() -> Desk:
        clients = {
            chain: {node.name: Client(node.api_url, chain) for node in network.nodes} for chain in network.chains
        }
        listeners = Listeners(on_taken=print, on_progress=print, on_alive=print)
        rounds = Rounds(
            genesis,
            PROFILE,
            [],
            clients,
            seed=1,
            listeners=listeners,
            strategies={"homes-1": Stored(), "homes-2": BUILT_IN["truthful"]()},
            batteries=tmp_path / "batteries",
        )
        return rounds._desks["homes-1"]

    first = start()
    assert first.storage == Stored.storage
    first.meter(3, 8_000, _trades(3, ("homes-1", "pv-101", 1, 12_000)))
    again = start()
    assert again.storage.charge_wh == 2_000
    assert again.meter(3, 8_000, None) == 12_000, "it may not have been sent"
    assert again.meter(4, 8_000, _trades(4, ("homes-1", "pv-101", 1, 7_000))) == 7_000
    assert start().storage.charge_wh == 1_000
    assert [file.name for file in (tmp_path / "batteries").iterdir()] == ["homes-1.json"]


def test_a_battery_of_another_chain_is_none_and_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file, battery = tmp_path / "homes-1.json", Battery(99, 3, ((3, 5),))
    save_battery(file, b"here", battery)
    assert load_battery(file, b"here") == battery
    assert load_battery(file, b"else") == load_battery(tmp_path / "none.json", b"here") == Battery()
    for bad in (
        file.read_text()[:-9],
        "[]",
        file.read_text().replace("99", "-9"),
        file.read_text().replace("99", "1e9"),
    ):
        file.write_text(bad)
        with pytest.raises(UnreadableFile, match=r"cannot read .*homes-1.json"):
            load_battery(file, b"here")
        save_battery(file, b"here", battery)


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
