"""The commands that look across three chains, asked of a real API whose chains run in virtual time.

In the delivery period n0, on line s, sold to n2 and n3 behind line a, which could not carry it all:

    substation ─┬─ s    n0
                └─ a    n1 ─┬─ b    n2
                            └─ c    n3
"""

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gridmerit.commands.credit import render_report
from gridmerit.commands.hosted import choose_chain
from gridmerit.commands.payloads import lay_out
from gridmerit.errors import AmbiguousChain, NotEnoughCredit
from gridmerit.main import run
from ledger.chain import Chain
from ledger.params import Area, Line, MarketParams, SchedulingParams
from ledger.store import LevelStore
from ledger.transaction import make_transaction
from market.credit.assets import get_coins
from node.api.server import build_api
from node.chain import state_kinds
from node.chain.state_kinds import UNKNOWN
from node.config import ChainConfig, Limits, ListenAddress, NodeConfig, load_chains, save_config, save_genesis
from node.credentials.keystore import save_key, save_passphrase
from node.queries import state as node_state
from node.queries.answers import CreditReport, ViolationCounts, ViolationInfo
from node.queries.chain import ChainQueries
from simulation.world.networks import make_network
from simulation.world.world import open_worlds

PERIOD, PERIOD_MS = 5, 24_000
MARKET = MarketParams(
    open_ppm=4_000_000,
    gate_ppm=2_000_000,
    deadline_ppm=0,
    settle_ppm=3_000_000,
    income_and_cost="kept",
    recorded_violations=2,
    tolerance_ppm=100_000,
)
SCHEDULING = SchedulingParams(
    quota_ppm=4_000_000,
    verdict_ppm=500_000,
    meter_ppm=1_500_000,
    areas=(Area(name="hills", wheeling_uyuan_per_kwh=25_000),),
    lines=(
        Line(name="s", area="hills", capacity_wh=500_000),
        Line(name="a", area="hills", capacity_wh=150_000),
        Line(name="b", upstream="a", area="hills", capacity_wh=100_000),
        Line(name="c", upstream="a", area="hills", capacity_wh=100_000),
    ),
)
PLAN = (("s", 0, 400_000), ("b", 100_000, 0), ("c", 100_000, 0))
ORDERS = (("n0", 1, "s", 500_000, 200_000), ("n2", 0, "b", 520_000, 100_000), ("n3", 0, "c", 510_000, 100_000))


class Story:
    """Three worlds on four peers; what happens after the story happens through the API."""

    def __init__(self):
        self.network = make_network(scheduling=SCHEDULING, market=MARKET, period_ms=PERIOD_MS)
        self.worlds = open_worlds(self.network.genesis, self.network.keys, seed=1)
        keys, devices = self.network.keys, self.network.devices
        self.run_until(PERIOD - 5)
        self.send("DU1", self.network.dispatcher, "plan", PERIOD, PLAN)
        self.run_until(PERIOD - 3)
        for name, side, _, price, volume_wh in ORDERS:
            self.send("JY1", keys[name], "intention", side, PERIOD, price, volume_wh)
        self.run_until(PERIOD + 1.05)
        for name, consumed_wh, produced_wh in (("n0", 0, 120_000), ("n2", 100_000, 0), ("n3", 40_000, 0)):
            self.send("DU1", devices[name], "reading", PERIOD, consumed_wh, produced_wh)
        self.run_until(PERIOD + 3.5)

    @property
    def now_ms(self):
        return self.worlds["JY1"].now_ms

    def run_until(self, period):
        self.worlds["JY1"].run_for(self.network.genesis.time_ms + int(period * PERIOD_MS) - self.now_ms)

    def node(self, chain):
        return self.worlds[chain].node("n0")

    def send(self, chain, key, kind, *payload):
        world = self.worlds[chain]
        sequence = ChainQueries(self.node(chain)).get_account("0x" + key.address.hex()).next_sequence
        transaction = make_transaction(
            key, chain_id=world.chain_id, sequence=sequence, expiry_height=9_000, kind=kind, payload=payload
        )
        assert world.submit("n0", transaction) == (None,)


class Host:
    """A chain of a world as the API sees a hosted one; time passes when a transaction comes in."""

    def __init__(self, name, world):
        self.name, self.world = name, world

    @property
    def node(self):
        return self.world.node("n0")

    async def ask(self, question):
        return question(self.node)

    async def submit(self, transactions):
        outcomes = self.world.submit("n0", *transactions)
        self.world.run_until(lambda: not len(self.node.mempool), limit_ms=60_000)
        return outcomes


@dataclass
class Sealing:
    native: bool
    path: str
    rate_per_s: int


class Node:
    """A node that hosts some of the worlds."""

    def __init__(self, worlds):
        self.chains = {name: Host(name, world) for name, world in worlds.items()}
        listen = ListenAddress("127.0.0.1", 0)
        self.config = NodeConfig(
            data_dir=Path("unused"),
            peer_listen=listen,
            api_listen=listen,
            chains=(ChainConfig(genesis=Path("unused")),),
            limits=Limits(api_burst=1_000_000),  # the limit is on a clock that stands still
        )
        self.member, self.address, self.uptime_ms, self.outages = "n0", None, 0, {}

    def peer_views(self):
        return []

    def clock_view(self):
        return None

    def disk_views(self):
        return ()

    def sealing_view(self):
        return Sealing(native=True, path="native", rate_per_s=1_000)

    def certificate_view(self):
        return None

    async def serve(self):
        clock = next(iter(self.chains.values())).world
        runner = web.AppRunner(build_api(self, clock=lambda: clock.now_ms), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}", runner


@dataclass
class Served:
    story: Story
    loop: asyncio.AbstractEventLoop
    dispatch: str  # hosts all three chains
    household: str  # hosts JY1 of the same network
    alone: str  # hosts JY1, all that its network has
    centre: str  # hosts DU1 and LH1 of the first network
    scorer: str  # hosts LH1 of it
    home: Path

    def run_until(self, period):
        async def pass_time():
            self.story.run_until(period)

        asyncio.run_coroutine_threadsafe(pass_time(), self.loop).result()

    def key(self, name):
        return ("--key", self.home / f"{name}.pem", "--passphrase-file", self.home / "passphrase")


@contextmanager
def running_loop():
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    story, home = Story(), tmp_path_factory.mktemp("keys")
    save_passphrase(home / "passphrase", b"only for tests")
    for name, key in {**story.network.keys, "dispatch": story.network.dispatcher}.items():
        save_key(home / f"{name}.pem", key, b"only for tests")
    save_genesis(story.network.genesis, home / "genesis.json")
    lone = make_network(names=("n0",))
    nodes = (
        Node(story.worlds),
        Node({"JY1": story.worlds["JY1"]}),
        Node(open_worlds(lone.genesis, lone.keys)),
        Node({name: story.worlds[name] for name in ("DU1", "LH1")}),
        Node({"LH1": story.worlds["LH1"]}),
    )
    with running_loop() as loop:
        started = [asyncio.run_coroutine_threadsafe(node.serve(), loop).result() for node in nodes]
        yield Served(story, loop, *(url for url, _ in started), home)
        for _, runner in started:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()


@pytest.fixture
def ask(served, capsys):
    """Runs a command on a node, the one with three chains unless told: exit code and what it printed, JSON parsed."""

    def call(*args, api=None, text=False):
        code = run([*map(str, args), "--api", api or served.dispatch, *([] if text else ["--json"])])
        captured = capsys.readouterr()
        return (code, captured.out + captured.err) if text else (code, json.loads(captured.out))

    return call


def cells(text, first):
    """The cells of the one table row that begins so."""
    (row,) = [line for line in text.splitlines() if re.match(rf"{first}\s\s", line)]
    return re.split(r"\s{2,}", row.strip())


# --- the grid --------------------------------------------------------------------------------------


def test_the_grid_of_a_period_is_one_document(ask):
    code, found = ask("grid", PERIOD)
    assert (code, found["chain"], found["period"]) == (0, "DU1", PERIOD)
    assert {row["line"]: (row["load_wh"], row["output_wh"]) for row in found["plan"]} == {
        "s": (0, 400_000),
        "b": (100_000, 0),
        "c": (100_000, 0),
    }
    assert [(row["line"], row["demand_wh"], row["supply_wh"]) for row in found["quotas"]] == [
        ("s", 0, 400_000),
        ("a", 0, 0),
        ("b", 100_000, 0),
        ("c", 100_000, 0),
    ]
    assert found["curtailments"] == [{"index": 1, "accepted_wh": 50_000, "line": "a"}]
    assert [(row["buyer_name"], row["accepted_wh"], row["consumption_wh"]) for row in found["contracts"]] == [
        ("n2", 100_000, 100_000),
        ("n3", 50_000, 40_000),
    ]
    assert (found["power"]["contracts"], found["power"]["energy_wh"]) == (2, 150_000)
    assert len(found["actual"]["root"]) == 64


def test_the_grid_as_text(ask):
    code, text = ask("grid", PERIOD, text=True)
    assert code == 0
    assert text.startswith("period 5 on DU1\n")
    assert cells(text, "s") == ["s", "0.000", "400.000", "0.000", "400.000", "0.025000"]
    assert cells(text, "a") == ["a", "–", "–", "0.000", "0.000", "0.025000"]
    assert "verdict: 1 trade curtailed, the others are accepted whole" in text
    assert "    1  n0      n3           50.000  a\n" in text
    assert "       1  n0      n3     0.505000        50.000    40.000    40.000\n" in text
    assert re.search(r"power-transaction block   height \d+, 2 contracts, 150.000 kWh\n +root [0-9a-f]{64}", text)


def test_the_grid_s_period_is_the_open_one_or_the_newest_planned(ask, served):
    assert ask("grid")[1]["period"] == PERIOD, "nothing is planned for the two that are open"
    plan = ("tx", "send", "plan", 20, "s=0:300.5", "c=20:0")
    code, sent = ask(*plan, *served.key("dispatch"))
    assert (code, sent["chain"], sent["code"]) == (0, "DU1", "")
    found = ask("grid")[1]
    assert (found["period"], found["quotas"], found["curtailments"]) == (20, [], None)
    assert {row["line"]: (row["load_wh"], row["output_wh"]) for row in found["plan"]} == {
        "s": (0, 300_500),
        "c": (20_000, 0),
    }
    text = ask("grid", text=True)[1]
    assert "no quotas yet" in text
    assert "verdict: none yet" in text
    assert "power-transaction block   not yet" in text
    assert ask("tx", "send", "plan", 13, "s=0:300", *served.key("dispatch"))[0] == 0
    served.run_until(9.6)
    found = ask("grid")[1]
    assert (found["period"], [row["supply_wh"] for row in found["quotas"]]) == (13, [300_000, 0, 0, 0])
    assert ask("market", "quota")[1]["period"] == 13, "of those that are open"


def test_5_a_period_that_nobody_planned(ask):
    code, found = ask("grid", 4)
    assert (code, found["error"]) == (5, "NoSchedule")
    assert ask("grid", PERIOD, "--chain", "JY1")[1]["error"] == "WrongKind"
    assert ask("grid", "--chain", "JY1")[1]["error"] == "WrongKind", "not that no period is planned"


@pytest.mark.parametrize(
    ("args", "missing"),
    [
        (("grid",), "scheduling chain DU1"),
        (("credit", "digests", PERIOD), "credit chain LH1"),
        (("credit", "assets", "n0"), "credit chain LH1"),
    ],
)
def test_5_a_household_s_node_says_what_it_hosts_and_what_to_do(ask, served, args, missing):
    code, text = ask(*args, api=served.household, text=True)
    assert (code, len(text.splitlines())) == (5, 1)
    assert f"this node hosts JY1 (trading), not the {missing}: ask one that does, with --node DIR or --api URL" in text
    code, text = ask(*args, api=served.alone, text=True)
    assert (code, len(text.splitlines())) == (5, 1)
    assert f"this network has no {missing[:-4]}, only JY1 (trading)" in text


@pytest.mark.parametrize(
    "args", [("block", "show"), ("account", "show", "n0"), ("member", "list"), ("proof", "get", "account", "n0")]
)
def test_2_a_node_of_several_chains_without_the_trading_chain_asks_which_is_meant(ask, served, args):
    code, text = ask(*args, api=served.centre, text=True)
    assert code == 2
    assert text.splitlines() == [
        "error[AmbiguousChain] this node hosts DU1 (scheduling), LH1 (credit): which of them is meant?",
        "  try: the same with --chain NAME",
    ]
    (code, named), (_, only) = ask(*args, "--chain", "LH1", api=served.centre), ask(*args, api=served.scorer)
    assert code == 0
    if args[0] == "account":
        assert only.pop("credit_index")["chain"] == "LH1"
        assert named.pop("credit_index") is None, "what is asked of one chain is told of that chain alone"
    assert named == only, "where there is one chain, it is meant"


def test_credit_is_that_of_the_credit_chain_or_else_of_the_trading_chain(ask, served):
    assert ask("credit", "show", api=served.centre) == ask("credit", "show", "--chain", "LH1")
    assert ask("credit", "show", api=served.household) == ask("credit", "show", "--chain", "JY1")


def test_5_a_trade_is_proved_and_compared_by_the_trading_chain_alone(ask, served):
    for args in (("proof", "get", "trade", PERIOD, 0), ("market", "compare", "--period", PERIOD)):
        assert ask(*args, api=served.scorer)[1]["error"] == "KindNotHosted"


def test_2_a_node_of_two_networks_has_two_trading_chains():
    hosted = {"jy1": "trading", "east": "trading", "lh1": "credit"}
    assert choose_chain(hosted, "credit", "trading") == "lh1"
    assert choose_chain(hosted, "scheduling") is None
    with pytest.raises(AmbiguousChain, match=r"this node hosts jy1 \(trading\), east \(trading\): which"):
        choose_chain(hosted, "scheduling", "trading")


def test_5_a_chain_that_the_node_does_not_have(ask, served):
    code, text = ask("block", "show", "--chain", "JY9", text=True)
    assert code == 5
    assert "error[UnknownChainName]" in text
    assert "try: gridmerit status, which lists the node's chains" in text


def test_5_transactions_need_the_chain_that_takes_them(ask, served):
    for kind, values in (("plan", (20, "s=0:1")), ("reading", (20, 1, 1)), ("coin-transfer", ("ab", "n1=1"))):
        code, found = ask("tx", "send", kind, *values, *served.key("dispatch"), api=served.household)
        assert (code, found["error"]) == (5, "KindNotHosted")
    code, found = ask("tx", "send", "reading", 20, 1, 1, *served.key("n0"), api=served.alone)
    assert (code, found["error"]) == (6, "NotADevice"), "a chain that trades alone takes readings in"


# --- plans -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("20",), "plan takes PERIOD LINE=LOAD_KWH:OUTPUT_KWH"),
        (("20", "s"), "'s' is not LINE=LOAD_KWH:OUTPUT_KWH, such as hill-1=70:800"),
        (("20", "s=4"), "'s=4' is not LINE=LOAD_KWH:OUTPUT_KWH"),
        (("20", "s=x:1"), "'x' is not a number: want an amount of kWh"),
        (("soon", "s=1:1"), "'soon' is not a whole number"),
        (("20", "t=1:1"), "there is no line 't', DU1 has s, a, b, c"),
    ],
)
def test_2_a_plan_that_is_none(ask, served, values, message):
    code, text = ask("tx", "send", "plan", *values, *served.key("dispatch"), text=True)
    assert code == 2
    assert message in text


def test_6_a_plan_by_someone_else_or_too_late(ask, served):
    assert ask("tx", "send", "plan", 20, "s=1:1", *served.key("n0"))[1]["error"] == "NotADispatcher"
    assert ask("tx", "send", "plan", PERIOD, "s=1:1", *served.key("dispatch"))[1]["error"] == "PlanTooLate"


def test_a_plan_in_json_is_taken_too(ask, served):
    assert ask("tx", "send", "plan", 21, '[["s", 0, 1]]', *served.key("dispatch"))[1]["code"] == ""
    assert ask("grid", 21)[1]["plan"] == [{"line": "s", "load_wh": 0, "output_wh": 1}]


# --- the market ------------------------------------------------------------------------------------


def test_quotas_are_those_of_the_scheduling_chain(ask, served):
    code, found = ask("market", "quota", PERIOD)
    assert code == 0
    assert found["lines"] == sorted(ask("grid", PERIOD)[1]["quotas"], key=lambda quota: quota["line"])
    assert ask("market", "quota", PERIOD, api=served.household)[1] == found
    assert cells(ask("market", "quota", PERIOD, text=True)[1], "c") == ["c", "100.000", "0.000", "0.025000"]
    assert ask("market", "quota", 4)[1]["error"] == "NoQuotas"
    assert ask("market", "quota", 4, api=served.alone)[1]["error"] == "KindMissing"


def test_trades_show_what_was_accepted_of_them(ask, served):
    code, found = ask("market", "trades", "--period", PERIOD)
    assert (code, found["curtailments"]) == (0, [{"index": 1, "accepted_wh": 50_000, "line": "a"}])
    assert [trade["volume_wh"] for trade in found["trades"]] == [100_000, 100_000]
    text = ask("market", "trades", "--period", PERIOD, text=True)[1]
    assert "period 5: 2 trades, settled, gate block" in text
    assert cells(text, "    0") == ["0", "n0", "n2", "100.000", "0.510000"]
    assert cells(text, "    1") == ["1", "n0", "n3", "100.000", "0.505000", "50.000", "a"]


def test_a_household_s_node_knows_what_was_accepted(ask, served):
    same = ("market", "trades", "--period", PERIOD)
    assert ask(*same, api=served.household)[1]["curtailments"] == ask(*same)[1]["curtailments"]


def test_every_word_for_a_gate_is_explained(capsys):
    from market.trading.gates import STATUSES

    assert run(["market", "trades", "--help"]) == 0
    words = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")}
    assert set(STATUSES) <= words


# --- credit ----------------------------------------------------------------------------------------


def test_credit_is_what_stands_on_the_credit_chain(ask, served):
    by_name = {entry["name"]: entry for entry in ask("credit", "show")[1]}
    # n0 made 120 of 150 kWh, spread over its two trades; n3 used 40 of 50.
    assert {name: entry["score_count"] for name, entry in by_name.items()} == {"n0": 2, "n1": 0, "n2": 1, "n3": 1}
    assert by_name["n3"]["credit_upt"] == 80_000_000
    assert {entry["score_count"] for entry in ask("credit", "show", "--chain", "JY1")[1]} == {0}
    assert ask("credit", "show", "n3", api=served.household)[1][0]["credit_upt"] == 80_000_000, "its snapshot came"


def test_an_account_shows_the_credit_of_the_credit_chain(ask, served):
    code, found = ask("account", "show", "n3")
    assert (code, found["credit_index"]["chain"], found["credit_index"]["score_count"]) == (0, "LH1", 1)
    assert 0 == int(found["credit_index"]["balance_uyuan"]) < int(found["balance_uyuan"]), "money is on JY1 alone"
    assert (
        "80.000 points from 1 delivery score on LH1; 80.000 on the trading chain"
        in ask("account", "show", "n3", text=True)[1]
    )
    assert "at genesis" in ask("account", "show", "n3", "--chain", "LH1", text=True)[1]
    assert ask("account", "show", "n3", api=served.household)[1]["credit_index"] is None


def test_an_account_has_two_columns_and_a_bill_has_a_periods_part_of_them(ask):
    columns = {}
    for name in ("grid", "n0", "n1", "n2", "n3"):
        account, bill = ask("account", "show", name)[1], ask("account", "bill", name, "--period", PERIOD)[1]
        columns[name] = int(account["income_uyuan"]), int(account["cost_uyuan"])
        assert columns[name] == (int(bill["income_uyuan"]), int(bill["cost_uyuan"])), "one period is settled so far"
        for column in ("income_uyuan", "cost_uyuan"):
            assert int(bill[column]) == sum(int(line[column]) for line in bill["lines"])
    assert sum(income for income, _ in columns.values()) == sum(cost for _, cost in columns.values()) > 0
    assert columns["n1"] == (0, 0)
    assert {line["what"] for line in ask("account", "bill", "grid")[1]["lines"]} >= {"carried"}
    text = ask("account", "show", "n0", text=True)[1]
    assert re.search(r"income +\d[\d.]* yuan for what it sold\n", text)
    assert re.search(r"besides +1,000\.00 yuan paid in", text)
    text = ask("account", "bill", "n0", text=True)[1]
    assert text.startswith(f"period {PERIOD}, n0, in yuan: income less cost ")
    assert cells(text, "in all")[1:] == cells(text, "in all")[-2:], "the sums of both columns"
    assert ask("account", "bill", "n1", text=True)[1] == f"period {PERIOD}: n1 was paid nothing, and has paid nothing\n"
    assert ask("account", "bill", "nobody")[1]["error"] == "UnknownAccount"
    assert ask("account", "bill", "n0", "--period", 4)[1]["error"] == "NoSettlement"
    assert ask("account", "show", "n0", "--chain", "LH1")[1]["income_uyuan"] is None


def test_a_credit_report_says_what_was_done_otherwise_than_agreed(ask, served):
    # n0 made 120 of the 150 kWh of its two trades, n3 used 40 of 50, and n2 all of its 100.
    code, found = ask("credit", "report", "n3")
    assert (code, found["name"], found["credit_upt"], found["listed"]) == (0, "n3", 80_000_000, 2)
    assert found["counts"] == {"over_delivery": 0, "under_delivery": 1, "missing_reading": 0, "second_target": 0}
    (violation,) = found["newest"]
    assert (violation["period"], violation["side"], violation["kind"]) == (PERIOD, "bid", "under-delivery")
    assert (violation["agreed_wh"], violation["metered_wh"]) == (50_000, 40_000)
    assert (violation["corrected"], violation["withdrawn"]) == (False, False)
    lh1 = served.story.node("LH1").chain
    assert lh1.get_header(lh1.hash_at(violation["height"])).timestamp_ms == violation["time_ms"]
    assert ask("credit", "report", "n0")[1]["counts"]["under_delivery"] == 2

    text = ask("credit", "report", "n3", text=True)[1]
    assert text.startswith("n3: 80.000 points from 1 delivery score\nviolations, at a tolerance of 10.00 %: ")
    assert cells(text, "     5")[2:7] == ["buyer", "under-delivery", "50.000", "40.000", "-20.00 %"]
    text = ask("credit", "report", "n1", text=True)[1]
    assert "\nno violations: all it delivered was within 10.00 % of what was agreed, and metered\n" in text
    assert ask("credit", "report", "nobody")[1]["error"] == "UnknownAccount"
    assert ask("credit", "report", "n3", api=served.household)[1]["error"] == "KindNotHosted"
    assert ask("credit", "report", "n3", api=served.alone)[1]["error"] == "KindMissing"
    assert ask("credit", "report", "n3", "--chain", "JY1")[1]["error"] == "WrongKind"


def test_a_credit_report_marks_what_a_correction_has_changed_and_says_where_none_is_kept():
    second = ViolationInfo(
        period=7,
        index=None,
        side=None,
        kind="second-target",
        agreed_wh=None,
        metered_wh=None,
        height=12,
        time_ms=1_800_000_000_000,
        corrected=False,
        withdrawn=False,
    )
    delivery = {"index": 3, "side": "offer", "agreed_wh": 50_000, "corrected": True}
    newest = (
        second,
        replace(second, period=6, kind="missing-reading", metered_wh=52_000, withdrawn=True, **delivery),
        replace(second, period=6, kind="over-delivery", metered_wh=60_000, **delivery),
        replace(second, period=5, kind="missing-reading", **{**delivery, "corrected": False}),
    )
    report = CreditReport(
        height=20,
        address="0x00",
        name="homes-1",
        credit_upt=61_500_000,
        score_count=24,
        penalty_upt=20_000_000,
        tolerance_ppm=100_000,
        listed=16,
        counts=ViolationCounts(over_delivery=1, under_delivery=0, missing_reading=1_204, second_target=1),
        newest=newest,
    )
    assert render_report(report).splitlines()[:3] == [
        "homes-1: 61.500 points from 24 delivery scores, 20.000 points of penalties taken off",
        "violations, at a tolerance of 10.00 %: "
        "over-delivery 1, under-delivery 0, missing-reading 1,204, second-target 1",
        "",
    ]
    lines = [re.split(r"\s{2,}", line.strip()) for line in render_report(report).splitlines()[5:]]
    assert lines[0][:8] == ["7", "–", "–", "second-target", "–", "–", "–", "12"]
    assert lines[1][4:7] + lines[1][-1:] == ["50.000", "52.000", "+4.00 %", "withdrawn"]
    assert lines[2][4:7] + lines[2][-1:] == ["50.000", "60.000", "+20.00 %", "corrected"]
    assert lines[3][4:7] == ["50.000", "–", "–"]
    assert render_report(replace(report, listed=0, newest=())).splitlines()[1] == (
        "this chain records no violations: recorded_violations among its parameters is 0"
    )


def test_digests_of_the_other_chains_blocks(ask):
    code, found = ask("credit", "digests", PERIOD)
    assert code == 0
    assert [(row["source"], row["kind"]) for row in found["digests"]] == [
        ("DU1", "power"),
        ("DU1", "actual"),
        ("JY1", "delivered"),
    ]
    text = ask("credit", "digests", PERIOD, text=True)[1]
    assert all(row["digest"] in text and row["block"] in text for row in found["digests"])
    assert "nothing of period 4 is recorded" in ask("credit", "digests", 4, text=True)[1]


def test_assets_are_coins_of_value_padding_credit_and_colour(ask):
    code, found = ask("credit", "assets", "n3")
    (coin,) = found["newest"]
    assert (code, found["coins"], coin["credit_upt"]) == (0, 1, 80_000_000)
    assert int(coin["value_sat"]) - int(coin["padding_sat"]) == coin["credit_upt"]
    text = ask("credit", "assets", "n3", text=True)[1]
    assert text.startswith("n3: 1 coin, 80.000000 points\n")
    assert cells(text, coin["transaction"][:16] + ":0")[1:] == ["80,000,000", "0", "80.000000", coin["colour"][:12]]
    assert max(map(len, text.splitlines())) <= 100
    assert ask("credit", "assets", "n1", text=True)[1] == "n1: 0 coins, 0.000000 points\n"
    assert ask("credit", "assets", "nobody")[1]["error"] == "UnknownAccount"


def test_coins_are_passed_on_each_in_its_colour(ask, served):
    coins = ask("credit", "assets", "n0")[1]["newest"]
    names = [coins[0]["transaction"][:12], coins[1]["transaction"][:16] + f":{coins[1]['output']}"]
    total_upt = sum(coin["credit_upt"] for coin in coins)
    assert len(names) == 2
    code, text = ask("tx", "send", "coin-transfer", "", "n1=1", *served.key("n0"), text=True)
    assert (code, "2 of your coins begin with ''" in text) == (2, True)
    paid_upt = coins[0]["credit_upt"] + 5_000_000  # all of one coin, and a part of the other
    payments = (f"n1={paid_upt // 10**6}.{paid_upt % 10**6:06}", "n2=0.01")
    code, text = ask("tx", "send", "coin-transfer", *names, payments[0], "n2=0.009999", *served.key("n0"), text=True)
    assert (code, "the least that moves is 0.01" in text) == (6, True)
    code, sent = ask("tx", "send", "coin-transfer", *names, *payments, *served.key("n0"))
    assert (code, sent["chain"], sent["code"]) == (0, "LH1", "")

    received = ask("credit", "assets", "n1")[1]
    assert (received["coins"], received["credit_upt"]) == (2, paid_upt)
    assert {coin["colour"] for coin in received["newest"]} == {coin["colour"] for coin in coins}
    kept = ask("credit", "assets", "n0")[1]
    assert (kept["coins"], kept["credit_upt"]) == (1, total_upt - paid_upt - 10_000)
    state = served.story.node("LH1").chain.head.state
    least = get_coins(state, served.story.network.keys["n2"].address)[0][1]
    assert (least.credit_upt, least.padding_sat, least.value_sat) == (10_000, 0, 10_000)
    credits = {entry["name"]: entry["credit_upt"] for entry in ask("credit", "show")[1]}
    assert credits["n1"] == 90_000_000, "an asset is passed on, merit is not"


def test_coins_that_cannot_be_passed_on(ask, served):
    send = ("tx", "send", "coin-transfer")
    mine = ask("credit", "assets", "n3")[1]["newest"][0]["transaction"]
    code, text = ask(*send, mine, "n1=80.5", *served.key("n3"), text=True)
    assert code == 6
    assert "the coins hold 80.000 points of credit, 80.500 are to be paid" in text
    code, text = ask(*send, "abc", "n1=1", *served.key("n3"), text=True)
    assert code == 5
    assert "none of n3's 1 newest coins is named abc: gridmerit credit assets n3 lists them" in text
    assert "is named twice" in ask(*send, mine, mine[:9], "n1=1", *served.key("n3"), text=True)[1]
    for payment, why in {
        "n1=0": "is not TO=POINTS",
        "=1": "is not TO=POINTS",
        "n1=x": "'x' is not a number: want an amount of points",
        "n1=0.0000001": "decimals",
    }.items():
        assert why in ask(*send, mine, payment, *served.key("n3"), text=True)[1]
    for values in ((mine,), ("n1=1",), ()):
        code, text = ask(*send, *values, *served.key("n3"), text=True)
        assert (code, "coin-transfer takes COIN … TO=POINTS …" in text) == (2, True)
    assert ask(*send, mine, "nobody=1", *served.key("n3"))[1]["error"] == "UnknownAccount"


AMOUNTS = st.integers(1, 50)


@given(st.lists(st.tuples(st.sampled_from("xyz"), AMOUNTS), min_size=1), st.lists(AMOUNTS))
def test_outputs_conserve_credit_and_never_mix_colours(coins, amounts):
    total = sum(credit for _, credit in coins)
    payments = [(bytes([index]), amount) for index, amount in enumerate(amounts)]
    if sum(amounts) > total:
        with pytest.raises(NotEnoughCredit):
            lay_out(coins, payments, b"me")
        return
    outputs = lay_out(coins, payments, b"me")
    colours = "".join(colour * credit for colour, credit in coins)
    start = 0
    for _, credit in outputs:
        assert len(set(colours[start : start + credit])) == 1
        start += credit
    assert start == total
    for owner, amount in payments:
        assert sum(credit for other, credit in outputs if other == owner) == amount
    assert sum(credit for owner, credit in outputs if owner == b"me") == total - sum(amounts)


# --- orders ----------------------------------------------------------------------------------------


def test_a_price_that_nobody_needs_to_pay_is_warned_of(ask, served):
    place = ("market", "place", "offer", "--volume", "1", *served.key("n0"))
    text = ask(*place, "--price", "70", text=True)[1]
    assert "warning: 70.00 yuan per kWh and 0.025 for wheeling are above the retail price of 0.615" in text
    code, text = ask(*place, "--price", "0.5", text=True)
    assert ("warning" in text, "error[NoQuota]" in text, code) == (False, True, 6)


# --- proofs ----------------------------------------------------------------------------------------


def test_credit_is_proved_from_the_credit_chain(ask, served, tmp_path, capsys):
    file, genesis = tmp_path / "credit.json", served.home / "genesis.json"
    assert ask("proof", "get", "account", "n3", "--chain", "LH1", "-o", file)[0] == 0
    assert run(["proof", "verify", str(file), "--genesis", str(genesis), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["chain"], verdict["claims"]["account"]["credit_upt"]) == ("LH1", 80_000_000)
    assert run(["proof", "verify", str(file), "--genesis", str(genesis)]) == 0
    text = capsys.readouterr().out
    assert "80 points of credit" in text
    assert "yuan" not in text, "money is on the trading chain"
    document = json.loads(file.read_text())
    document["account"]["credit_upt"] += 1
    file.write_text(json.dumps(document))
    assert run(["proof", "verify", str(file), "--genesis", str(genesis)]) == 7


def test_a_final_proof_is_waited_for(ask, served, tmp_path, capsys):
    head, file = served.story.node("LH1").chain.head, tmp_path / "final.json"
    assert head.height > served.story.node("LH1").chain.final_height, "else there is nothing to wait for"
    asked = ("proof", "get", "account", "n3", "--chain", "LH1", "--final", "-o", file)
    code, found = ask(*asked, "--timeout", 2)
    assert (code, found["error"]) == (8, "TimedOut"), "time stands still here"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(run, [*map(str, asked), "--api", served.dispatch])
        while not waiting.done():
            served.run_until((served.story.now_ms - served.story.network.genesis.time_ms) / PERIOD_MS + 0.25)
    assert waiting.result() == 0
    capsys.readouterr()
    assert run(["proof", "verify", str(file), "--genesis", str(served.home / "genesis.json"), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["final"]
    assert verdict["claims"]["height"] >= head.height


# --- what the chains keep ----------------------------------------------------------------------------


def test_the_state_of_every_chain_is_counted_by_kind_within_its_bounds(ask, served):
    code, found = ask("state", "show")
    assert (code, [state["chain"] for state in found]) == (0, ["DU1", "JY1", "LH1"])
    for state in found:
        node = served.story.node(state["chain"])
        assert (state["height"], state["state_root"]) == (node.chain.head.height, node.chain.head.state.root.hex())
        assert state["entries"] == len(node.chain.head.state) == sum(kind["entries"] for kind in state["kinds"])
        assert [kind["key"] for kind in state["kinds"] if kind["key"] == UNKNOWN or not kind["within"]] == []
    coins = next(kind for kind in found[2]["kinds"] if kind["key"] == "credit/coin/")
    held = [key for key, _ in served.story.node("LH1").chain.head.state.items() if key.startswith(b"credit/coin/")]
    assert (coins["entries"], coins["max_entries"]) == (len(held), 10 * 2 * 2_048)  # of ten members
    assert coins["bound"] == "members × 2 × 2 048"


def test_the_state_as_text_is_a_table_for_each_chain(ask):
    code, text = ask("state", "show", "--chain", "LH1", text=True)
    assert code == 0
    assert re.match(r"LH1, after block \d+: [\d,]+ entries, [\d,]+ bytes; every kind is within its bound\n", text)
    assert cells(text, "credit/coin/")[2:4] == ["40,960", "members × 2 × 2 048"]
    assert cells(text, "ms/")[:4] == ["ms/", "10", "–", "acts"]


def test_a_state_is_counted_in_chunks(ask, monkeypatch):
    whole = ask("state", "show")
    monkeypatch.setattr(node_state, "_AT_ONCE", 7)
    assert ask("state", "show") == whole


def test_a_kind_that_has_passed_its_bound_is_marked(ask, monkeypatch):
    monkeypatch.setattr(state_kinds, "compute_bound", lambda formula, numbers: 3 if "2 048" in formula else 10**6)
    code, text = ask("state", "show", "--chain", "LH1", text=True)
    assert code == 0
    assert "; past its bound: credit/coin/\n" in text
    assert cells(text, "credit/coin/")[-1] == "PASSED"


def test_the_state_of_a_directory_is_read_while_the_node_does_not_run(tmp_path, make_local, gridmerit):
    config = make_local(1).configs[0]
    save_config(config, tmp_path / "node.toml")
    show = ("state", "show", "--offline", "--node", tmp_path, "--json")
    assert json.loads(gridmerit(*show)[1])["error"] == "NeverRun"
    assert not config.data_dir.exists()

    with closing(LevelStore(config.data_dir / "jy1" / "ledger")) as opened:
        chain = Chain(load_chains(config)[0], opened)
        code, out, _ = gridmerit(*show)
        assert (code, json.loads(out)["error"]) == (9, "StoreLocked")
    code, out, _ = gridmerit(*show)
    (found,) = json.loads(out)
    assert (code, found["chain"], found["height"], found["entries"]) == (0, "jy1", 0, len(chain.head.state))
    assert all(kind["within"] for kind in found["kinds"])

    code, out, _ = gridmerit(*show, "--chain", "lh1")
    assert (code, json.loads(out)["error"]) == (3, "NoSuchChain")
    code, out, _ = gridmerit("state", "show", "--offline", "--api", "unused", "--json")
    assert (code, json.loads(out)["error"]) == (3, "NotANode")
