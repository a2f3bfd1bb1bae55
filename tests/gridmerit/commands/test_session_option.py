"""`--session` of every command that has it: of three chains that trade a period twice, and of one that does not."""

import asyncio
import json
from contextlib import closing
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from gridmerit.main import run
from node.config import save_genesis
from node.credentials.keystore import save_key, save_passphrase
from simulation.world.networks import make_network
from simulation.world.world import open_worlds
from tests.simulation.world.test_sessions import KWH, MARKET, PERIOD, Twice
from tests.simulation.world.test_three_chains import RESTING

from .test_grid import Node, running_loop

INTRADAY = ("--session", "intraday")


class Served:
    """A network that trades each period twice, one that does not, and the first one's keys."""

    def __init__(self, market, loop, home, twice, once):
        self.market, self.loop, self.home, self.twice, self.once = market, loop, home, twice, once

    def run_until(self, ppm):
        async def pass_time():
            self.market.run_until(PERIOD, ppm)

        asyncio.run_coroutine_threadsafe(pass_time(), self.loop).result()

    def key(self, name):
        return ("--key", str(self.home / f"{name}.pem"), "--passphrase-file", str(self.home / "passphrase"))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """In the middle of the intraday session."""
    home, lone = tmp_path_factory.mktemp("keys"), make_network(names=("n0",))
    market = Twice(first=PERIOD, last=PERIOD, market=MARKET, consensus=RESTING)
    market.run_until(PERIOD, -2_000_000)
    save_passphrase(home / "passphrase", b"only for tests")
    for name, key in market.network.keys.items():
        save_key(home / f"{name}.pem", key, b"only for tests")
    save_genesis(market.network.genesis, home / "genesis.json")
    nodes = Node(market.worlds), Node(open_worlds(lone.genesis, lone.keys))
    with running_loop() as loop:
        started = [asyncio.run_coroutine_threadsafe(node.serve(), loop).result() for node in nodes]
        yield Served(market, loop, home, *(url for url, _ in started))
        for _, runner in started:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()


@pytest.fixture
def ask(served, capsys):
    def call(*args, api=None, text=False):
        code = run([*map(str, args), "--api", api or served.twice, *([] if text else ["--json"])])
        captured = capsys.readouterr()
        return (code, captured.out + captured.err) if text else (code, json.loads(captured.out))

    return call


def fetch(url):
    with closing(urlopen(url)) as answer:
        return json.load(answer)


def test_orders_go_to_the_session_that_is_named(ask, served):
    order = ("--price", "0.3", "--volume", "1", *served.key("n2"))
    code, placed = ask("market", "place", "bid", *order, *INTRADAY)
    assert (code, placed["period"], placed["session"]) == (0, PERIOD, "intraday"), "whose intraday gate is open"
    book = ask("market", "book", "--period", PERIOD, *INTRADAY)[1]["book"]
    assert (book["period"], book["session"]) == (PERIOD, "intraday")
    assert placed["order_id"] in [bid["order_id"] for bid in book["bids"]]
    assert ask("market", "book", *INTRADAY)[1]["book"] == ask("market", "book")[1]["book"] == book
    later = ask("market", "book", "--session", "day-ahead")[1]["book"]
    assert (later["period"] > PERIOD, later["session"]) == (True, "day-ahead")

    code, refused = ask("market", "cancel", placed["order_id"], "--period", PERIOD, *served.key("n2"))
    assert (code, refused["error"]) == (6, "GateClosed"), "the day-ahead one, where none is named"
    cancel = ("market", "cancel", placed["order_id"], "--period", PERIOD, *INTRADAY)
    assert ask(*cancel, *served.key("n2"))[0] == 0
    code, refused = ask(*cancel, *served.key("n2"), text=True)
    assert (code, f"is not on the book of period {PERIOD}" in refused) == (6, True), "and not of a gate's number"
    code, placed = ask("market", "place", "offer", "--period", PERIOD, *INTRADAY, *order)
    assert code == 0, "n2 may sell what it has bought day-ahead"
    cancel = ("market", "cancel", placed["order_id"], "--period", PERIOD, *INTRADAY)
    assert ask(*cancel, *served.key("n2"))[0] == 0


def test_questions_are_of_the_session_that_is_named(ask, served, tmp_path):
    served.run_until(3_500_000)
    volumes = {}
    for args in ((), ("--session", "day-ahead"), INTRADAY):
        found = ask("market", "trades", "--period", PERIOD, *args)[1]
        volumes[args] = found["period"], found["session"], sum(trade["volume_wh"] for trade in found["trades"])
    day_ahead, intraday = (PERIOD, "day-ahead", 150 * KWH), (PERIOD, "intraday", 40 * KWH)
    assert list(volumes.values()) == [day_ahead, day_ahead, intraday]
    assert ask("market", "trades", *INTRADAY, text=True)[1].startswith(f"period {PERIOD}, intraday")
    assert ask("market", "trades", "--session", "day-ahead")[1]["session"] == "day-ahead"
    assert ask("market", "trades")[1]["session"] == "intraday", "the newest"

    lines = {row["line"]: row["demand_wh"] for row in ask("market", "quota", PERIOD, *INTRADAY)[1]["lines"]}
    assert lines == {"a": 500 * KWH, "b": 0, "c": 250 * KWH}, "what the day-ahead trades left"
    code, found = ask("grid", PERIOD, *INTRADAY)
    assert (code, found["session"], found["power"]["energy_wh"]) == (0, "intraday", 40 * KWH)
    assert ask("grid", *INTRADAY)[1]["session"] == "intraday"

    document = tmp_path / "trade.json"
    assert ask("proof", "get", "trade", PERIOD, 0, *INTRADAY, "-o", document)[0] == 0
    assert run(["proof", "verify", str(document), "--genesis", str(served.home / "genesis.json"), "--json"]) == 0
    told = json.loads(document.read_text())
    assert (told["period"], told["session"], told["volume_wh"]) == (PERIOD, "intraday", 40 * KWH)
    code, refused = ask("proof", "get", "trade", PERIOD, 9, *INTRADAY, text=True)
    assert (code, f"period {PERIOD} has 1 trades" in refused) == (5, True)

    settlement, bill = ask("market", "settlement")[1], ask("account", "bill", "n2")[1]
    assert [row["session"] for row in settlement["trades"]] == ["day-ahead", "intraday"]
    assert [line["session"] for line in bill["lines"]] == ["day-ahead", "intraday", "real-time"]
    power = [row["session"] for row in ask("credit", "digests", PERIOD)[1]["digests"] if row["kind"] == "power"]
    assert power == ["day-ahead", "intraday"]


def test_a_session_that_there_is_not_is_refused_by_name(ask, served):
    for command in (
        ("market", "book"),
        ("market", "trades", "--period", PERIOD),
        ("market", "quota", PERIOD),
        ("grid", PERIOD),
        ("proof", "get", "trade", PERIOD, 0),
    ):
        code, text = ask(*command, "--session", "tomorrow", text=True)
        assert (code, "'day-ahead', 'intraday'" in text) == (2, True), command
    code, text = ask("proof", "get", "account", "n0", *INTRADAY, text=True)
    assert (code, "--session is for the proof of a trade" in text) == (2, True)
    with pytest.raises(HTTPError) as caught:
        fetch(f"{served.twice}/v1/JY1/market/book?period={PERIOD}&session=tomorrow")
    assert caught.value.code == 400
    assert "day-ahead or intraday" in json.load(caught.value)["message"]


def test_a_market_that_trades_each_period_once_has_no_intraday_session(ask, served):
    key, once = served.key("n0"), served.once
    order = ("--price", "0.5", "--volume", "1")
    for command in (
        ("market", "book"),
        ("market", "book", "--period", 3),
        ("market", "place", "bid", *order, *key),
        ("market", "place", "bid", "--period", 3, *order, *key),
        ("market", "cancel", 0, "--period", 3, *key),
        ("market", "quota"),
        ("market", "quota", 3),
        ("market", "trades"),
        ("market", "trades", "--period", 3),
        ("authority", "countersign", 3, "--authority", served.home, *key),
        ("proof", "get", "trade", 3, 0),
    ):
        code, text = ask(*command, *INTRADAY, api=once, text=True)
        assert code == 5, (command, text)
        assert "this market trades each period once, there is no intraday session" in text
        assert "the same without --session" in text
    assert ask("market", "book", "--session", "day-ahead", api=once)[0] == 0, "the only one has this name too"
    with pytest.raises(HTTPError) as caught:
        fetch(f"{once}/v1/JY1/market/trades?period=3&session=intraday")
    assert (caught.value.code, json.load(caught.value)["error"]) == (404, "NoSession")
