"""The scenario `strategies`: players meet under the market's contracts, and what they earn adds up."""

from __future__ import annotations

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from ledger.accounts import get_account
from ledger.errors import UnreadableFile
from ledger.overlay import Overlay
from market.errors import BadStrategyAnswer, NotSettled, StrategyFailed
from market.game import best_response
from market.game.target import Expected, compute_target
from market.strategies.built_in import BUILT_IN
from market.strategies.strategy import ask
from market.trading.times import compute_times
from market.trading.views import get_target
from simulation import seclusion
from simulation.errors import (
    BadSetting,
    MissingExtra,
    NotAStrategy,
    StrategyNotLoaded,
    StrategyOverdue,
    UnknownStrategy,
)
from simulation.experiments.estimates import make_estimates
from simulation.experiments.scenario import load_scenario, parse_settings
from simulation.experiments.sweep import make_sweep
from simulation.scenarios.strategies import STRATEGIES, StrategiesWorld, _Trial
from simulation.seclusion import open_strategy
from simulation.strategies import load_strategy
from simulation.world.networks import INITIAL_BALANCE_UYUAN
from tests.support.patience import PATIENCE_S, until
from tests.support.player_views import make_view

MINE = """
from gridmerit.players import Cancel, Quote, Side, Strategy

class Mine(Strategy):
    def answer(self, view, random):
        if not view.surplus_wh:
            return [Quote(Side.BID, view.tariffs.ceiling_uyuan_per_kwh, view.shortage_wh)]
        return [Quote(Side.OFFER, view.offers.best_uyuan_per_kwh or 500_000, view.surplus_wh)]

class Patient(Strategy):
    looks = 2
    def answer(self, view, random):
        if view.shortage_wh:
            return [] if view.own_orders else [Quote(Side.BID, 590_000, view.shortage_wh)]
        if view.own_orders:
            best = view.bids.best_uyuan_per_kwh
            return [Cancel(view.own_orders[0].order_id), Quote(Side.OFFER, best, view.surplus_wh)]
        return [Quote(Side.OFFER, 594_000, view.surplus_wh)]

class Aims(Strategy):
    def answer(self, view, random):
        side = Side.OFFER if view.surplus_wh else Side.BID
        return [Quote(side, view.target_uyuan_per_kwh, view.surplus_wh or view.shortage_wh)]

class Raises(Strategy):
    def answer(self, view, random):
        return 1 // view.place - 1 // 0

class Nonsense(Strategy):
    def answer(self, view, random):
        return ["buy"]

class Sleeps(Strategy):
    def answer(self, view, random):
        import time
        time.sleep(1_000_000)

class Loops(Strategy):
    def answer(self, view, random):
        try:
            while True: pass
        finally:
            return self.answer(view, random)

class Holds(Strategy):
    def answer(self, view, random):
        return 9 ** 9 ** 9  # in C: no other thread of its process goes on

class Quits(Strategy):
    def answer(self, view, random):
        import os
        os._exit(7)

class Endless(Strategy):
    def answer(self, view, random):
        while True: yield Quote(Side.BID, 500_000, 1)

class Unmade(Strategy):
    def __init__(self, wanted): pass
    answer = Mine.answer

class Mute(Strategy): pass

class Hasty(Mine):
    looks = 9

answer = 42
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return file


def run(seed: int = 1, **given: object) -> dict:
    scenario = load_scenario("strategies")
    return dict(scenario.run(parse_settings(scenario, given), seed).row)


def test_a_trial_follows_from_its_seed() -> None:
    mix = "truthful+zero-intelligence+storage-arbitrage"
    first, again, other = (run(seed, mix=mix, players=6, periods=4) for seed in (1, 1, 2))
    assert first == again != other


def test_what_players_gain_is_what_their_accounts_on_chain_say() -> None:
    settings = StrategiesWorld(mix="truthful+storage-arbitrage", players=6, periods=5)
    trial = _Trial(settings, 1)
    for period in range(2 + settings.periods + 2):
        trial.play(period)
    state = Overlay(trial._market.state)
    for player in trial._players:
        account = get_account(state, trial._network.keys[player.name].address)
        earned = player.account.income_uyuan - player.account.cost_uyuan
        assert account.balance_uyuan == INITIAL_BALANCE_UYUAN + earned
        assert earned != 0
    assert any(player.storage.charge_wh for player in trial._players if player.storage)
    row = trial.make_row()
    assert row["welfare_uyuan"] * settings.periods == sum(player.account.gain_uyuan for player in trial._players)


def test_metrics_are_those_of_the_strategies_that_play() -> None:
    settings = {"mix": ["truthful", "truthful+zero-intelligence"], "players": [4], "periods": [3]}
    sweep = make_sweep(STRATEGIES, settings, reps=2, seed=1)
    rows = [
        STRATEGIES.run(parse_settings(STRATEGIES, sweep.points[task.point]), task.seed).row for task in sweep.tasks()
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns["point"] = [task.point for task in sweep.tasks()]
    found = make_estimates(STRATEGIES, sweep, columns)
    names = {point: [each.metric.name for each in found if each.point == point] for point in (0, 1)}
    market = ["welfare per period", "mean price", "traded, of what could be"]
    truthful, zero = ([f"{name}: {what}" for what in ("gain", "income", "cost")] for name in list(BUILT_IN)[:2])
    assert names == {0: [*market, *truthful], 1: [*market, *truthful, *zero]}


@pytest.mark.parametrize("rule", ["uniform-price", "pay-as-bid", "credit-weighted", "knn"])
def test_they_meet_under_every_rule(rule: str) -> None:
    row = run(mix="truthful", players=4, periods=2, rule=rule, error_ppm=0)
    assert 410_000 < row["price"] < 595_000
    assert row["gain/truthful"] > 0


def test_the_target_is_committed_before_the_book_opens_seen_and_traded_at(mine: Path) -> None:
    settings = StrategiesWorld(mix=f"{mine}:Aims", players=4, periods=1, rule="knn")
    trial, period = _Trial(settings, 1), settings.first_period
    trial.play(0)
    nets_wh = [energy.generation_wh - energy.load_wh for player in trial._players for energy in player.energy]
    expected = Expected(sum(max(0, net) for net in nets_wh), tuple(-net for net in nets_wh if net < 0))
    params = trial._network.genesis.params
    prices = compute_target(expected, params.market, best_response.solve)
    assert expected.surplus_wh
    assert get_target(trial._market.state, period).prices == prices
    assert trial._market.now_ms < compute_times(period, params, trial._network.genesis.time_ms).open_ms
    for later in range(1, period + 3):
        trial.play(later)
    assert trial.make_row()["price"] == prices.g_to_u


def test_a_period_whose_game_does_not_settle_has_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(hour: object) -> None:
        raise NotSettled(index=0, sweeps=1, step=0.1, regret=0.1)

    monkeypatch.setattr(best_response, "solve", fail)
    assert run(mix="truthful", players=4, periods=1, rule="knn")["price"] > 0


def test_the_game_is_played(mine: Path) -> None:
    row = run(mix="best-response+ants", players=4, periods=1)
    assert row["cost/best-response"] + row["income/best-response"] > 0


# --- one's own -------------------------------------------------------------------------------------


def test_a_strategy_in_a_file_plays_and_is_counted_as_one_s_own(mine: Path) -> None:
    row = run(mix=f"truthful+{mine}:Mine", players=4, periods=3)
    assert row["cost/own"] + row["income/own"] > 0
    assert row["gain/own"] != 0


def test_who_looks_twice_sees_the_whole_book_and_may_take_an_order_back(mine: Path) -> None:
    row = run(mix=f"{mine}:Patient", players=4, periods=2, error_ppm=0)
    assert row["price"] == 590_000, "what was asked at first is off the book"
    assert row["traded"] == 1


def test_a_strategy_of_an_installed_package_is_found_by_its_name(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_too.py").write_text(MINE)
    facts = tmp_path / "mine-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[gridmerit.strategies]\nmine = mine_too:Mine\nbroken = mine_too:Nowhere\ngone = no_such_module:Mine\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert type(load_strategy("mine")).__name__ == "Mine"
    with pytest.raises(
        UnknownStrategy, match=r"no strategy is called other; there are: truthful, .*, broken, gone, mine"
    ):
        load_strategy("other")
    for name in ("broken", "gone"):
        with pytest.raises(NotAStrategy, match=f"{name} is no strategy that can play: (Attribute|ModuleNotFound)Error"):
            load_strategy(name)


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("answer", "42 is no class derived from gridmerit.players.Strategy"),
        ("Path", "has no Path"),
        ("Quote", "is no class derived from gridmerit.players.Strategy"),
        ("Mute", "it has no method `answer`"),
        ("Hasty", "looks is 9, want a whole number from 1 to 4"),
        ("Unmade", "TypeError: Unmade.__init__() missing 1 required positional argument: 'wanted'"),
    ],
)
def test_what_is_no_strategy_is_named(mine: Path, name: str, detail: str) -> None:
    with pytest.raises(NotAStrategy) as caught:
        load_strategy(f"{mine}:{name}")
    assert str(caught.value).startswith(f"{mine}:{name} is no strategy that can play: ")
    assert str(caught.value).endswith(detail)


@pytest.mark.parametrize("text", ["1 / 0", "import sys; sys.exit(3)", "class Mine(:"])
def test_a_file_that_fails_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(NotAStrategy, match=r"bad.py:Mine is no strategy that can play: (ZeroDiv|System|Syntax)"):
        load_strategy(f"{file}:Mine")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"none.py"):
        load_strategy(f"{tmp_path / 'none.py'}:Mine")


def test_without_numpy_the_game_is_not_played(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [each for each in sys.modules if each.startswith("market.game.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("market.game.best_response", raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtra, match="strategy best-response needs numpy, which is not installed"):
        load_strategy("best-response")
    assert load_strategy("truthful") is not None


def test_a_mix_that_cannot_play_is_a_bad_setting(mine: Path) -> None:
    with pytest.raises(
        BadSetting, match=r"scenario strategies, setting mix: no strategy is called truthfull; there are"
    ):
        run(mix="truthful+truthfull")
    with pytest.raises(StrategyFailed, match=r"p. has no orders in period 2: its strategy Raises raised ZeroDivision"):
        run(mix=f"{mine}:Raises", players=2, periods=1)
    with pytest.raises(BadStrategyAnswer, match=r"its strategy Nonsense answered 'buy', want a Quote or a Cancel"):
        run(mix=f"{mine}:Nonsense", players=2, periods=1)


@pytest.mark.parametrize("name", ["Sleeps", "Loops", "Holds"])
def test_one_that_never_returns_is_ended_and_named(mine: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(seclusion, "ANSWER_WITHIN_S", 0.5)
    with pytest.raises(StrategyOverdue) as caught:
        run(mix=f"{mine}:{name}", players=2, periods=1)
    assert re.fullmatch(
        rf"p. has no orders in period 2: its strategy {name} did not answer within 0.5 s", str(caught.value)
    )


@pytest.mark.parametrize("text", ["while True: pass", "import threading; threading.Event().wait()"])
def test_a_file_that_never_ends_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(seclusion, "LOAD_WITHIN_S", 0.5)
    file = tmp_path / "endless.py"
    file.write_text(text)
    with pytest.raises(StrategyNotLoaded) as caught:
        open_strategy(f"{file}:Mine")
    assert str(caught.value).endswith(
        "endless.py:Mine is no strategy that can play: running its file did not end within 0.5 s"
    )
    with pytest.raises(BadSetting, match=r"setting mix: .*running its file did not end within 0.5 s"):
        run(mix=f"truthful+{file}:Mine")


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import os; os._exit(3)", "an end of its process, exit code 3"),
        ("Mine = 3", "3 is no class derived from gridmerit.players.Strategy"),
    ],
)
def test_a_file_that_fails_in_its_process_is_named_as_it_is_here(tmp_path: Path, text: str, detail: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(NotAStrategy) as caught:
        open_strategy(f"{file}:Mine")
    assert str(caught.value) == f"{file}:Mine is no strategy that can play: {detail}"


def test_one_that_fails_is_asked_again_in_a_new_process(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy, view = open_strategy(f"{mine}:Quits"), make_view()
    for _ in range(2):
        with pytest.raises(StrategyFailed, match="its strategy Quits raised an end of its process, exit code 7"):
            ask(strategy, view, Random(1))
    with pytest.raises(BadStrategyAnswer, match="its strategy Endless answered more than 16 orders"):
        ask(open_strategy(f"{mine}:Endless"), view, Random(1))


def test_one_s_own_answers_from_its_process_as_it_does_here(mine: Path) -> None:
    strategy, view = open_strategy(f"{mine}:Patient"), make_view()
    assert (strategy.looks, strategy.looks_back, type(strategy).__name__) == (2, 24, "Patient")
    answers = [ask(one, view, Random(1)) for one in (strategy, load_strategy(f"{mine}:Patient"))]
    assert answers[0] == answers[1] != ()


def test_nobody_is_left_when_a_strategy_is_not_needed_any_more(mine: Path) -> None:
    strategy = open_strategy(f"{mine}:Patient")
    ask(strategy, make_view(), Random(1))
    process = strategy._cell._process
    assert process.is_alive()
    del strategy
    process.join(PATIENCE_S)
    assert process.exitcode == -signal.SIGKILL


def test_one_is_ended_while_it_is_asked(tmp_path: Path) -> None:
    asked, file = tmp_path / "asked", tmp_path / "slow.py"
    file.write_text(f"""
from pathlib import Path
from gridmerit.players import Strategy

class Slow(Strategy):
    def answer(self, view, random):
        Path({str(asked)!r}).touch()
        while True:
            pass
""")
    strategy = open_strategy(f"{file}:Slow")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, strategy, make_view(), Random(1))
        until(asked.exists)
        strategy.close()
        with pytest.raises(StrategyFailed, match="its strategy Slow raised its process was ended"):
            answer.result(PATIENCE_S)
