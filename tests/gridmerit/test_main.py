"""The command line without a network: help, errors, exit codes, keys, files. Live nodes are in test_network.py."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

import consensus.errors
import gridmerit as gridmerit_package
import gridmerit.errors
import ledger.errors
import market.errors
import node.errors
import simulation.errors
from consensus.errors import WrongCredit, WrongHeight
from gridmerit import main as cli
from gridmerit.amounts import parse_kwh, parse_points, parse_price, parse_yuan
from gridmerit.commands.open_periods import choose_for_order, choose_open
from gridmerit.commands.status import choose_one
from gridmerit.errors import NoPeriod
from gridmerit.main import COMMANDS
from gridmerit.network.layout import find_next_port, load_network
from gridmerit.network.make import find_free_ports, new_network
from gridmerit.network.parameters import load_chain_params, load_packaged_profile
from gridmerit.output import HINTS, format_error
from gridmerit.tables import table
from gridmerit.text import format_count, format_kwh, format_points, format_scaled, format_span, format_yuan
from ledger.errors import GridmeritError, InsufficientBalance
from ledger.hashing import show_address
from ledger.params import ChainParams
from market.errors import OverQuota, PlanTooLate
from market.trading.sessions import Session
from node.config import load_config
from node.credentials.keystore import load_key, load_passphrase
from node.driver.signing_file import SigningFile
from node.errors import RemoteRejected, UnknownChainName
from node.queries.answers import MarketPeriods, NodeStatus, PeriodInfo
from tests.support.patience import PATIENCE_S

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
ERRORS = (ledger.errors, consensus.errors, market.errors, node.errors, simulation.errors, gridmerit.errors)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    new_network(tmp_path / "net", nodes=1, params=[ChainParams(name="jy1")], profile=load_packaged_profile())
    return tmp_path / "net"


# --- help ----------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    heavy = ["aiohttp", "pydantic", "matplotlib", "cryptography", "plyvel", "nacl"]
    script = (
        f"import sys; from gridmerit.main import run; run(['--help']); print(sorted(set({heavy}) & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert all(name in result.stdout for name in COMMANDS)


def _every_command() -> list[tuple[str, click.Command]]:
    found = []
    context = click.Context(cli.cli)
    for name in COMMANDS:
        command = cli.cli.get_command(context, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {sub}", item) for sub, item in command.commands.items()]
    return found


@pytest.mark.parametrize(("path", "command"), _every_command(), ids=lambda item: item if isinstance(item, str) else "")
def test_every_command_teaches(path: str, command: click.Command) -> None:
    assert command.help
    if isinstance(command, click.Group):
        return
    assert "Example" in command.help, "an example belongs in the help"
    assert f"gridmerit {path}" in command.help
    assert "--json" in {option for parameter in command.params for option in parameter.opts}


def test_the_short_help_is_the_one_of_the_command() -> None:
    for name, command in _every_command():
        if name in COMMANDS:
            assert (command.help or "").splitlines()[0] == COMMANDS[name][1]


def _find_untrue(code: str, hint: str) -> list[str]:
    """Names in a hint that are not there: its error, a command, an option."""
    untrue = [] if any(hasattr(module, code) for module in ERRORS) else [code]
    commands = dict(_every_command())
    for name, rest in re.findall(r"gridmerit ([a-z]+)([^;,.:]*)", hint):
        path = name
        if isinstance(commands.get(name), click.Group) and (sub := re.match(r" ([a-z][a-z-]*)", rest)):
            path = f"{name} {sub[1]}"
        if path not in commands:
            untrue.append(path)
            continue
        known = {"--help", *(option for parameter in commands[path].params for option in parameter.opts)}
        untrue += [option for option in re.findall(r"--[a-z-]+", rest) if option not in known]
    return untrue


NO_COMMANDS = ("ForeignWorker", "RulesUnknown")  # "gridmerit on every worker", "on this node"


def test_what_an_error_says_to_try_can_be_done() -> None:
    untrue = {code: _find_untrue(code, hint) for code, hint in HINTS.items()}
    assert {code: names for code, names in untrue.items() if names and code not in NO_COMMANDS} == {}
    assert all(untrue[code] == ["on"] for code in NO_COMMANDS)


def test_a_hint_that_leads_nowhere_is_seen() -> None:
    assert _find_untrue("NoQuota", "gridmerit grid {period}, or gridmerit net new --nodes 4 DIR") == []
    assert _find_untrue("NoGrid", "gridmerit grids; gridmerit net news; gridmerit net new --node 4") == [
        "NoGrid",
        "grids",
        "net news",
        "--node",
    ]


def test_whoever_names_no_command_gets_the_help(gridmerit: Run) -> None:
    for args in ((), ("net",), ("market",)):
        code, out, err = gridmerit(*args)
        assert (code, err) == (0, "")
        assert out == gridmerit(*args, "--help")[1]


def test_version_is_an_option_too(gridmerit: Run) -> None:
    code, out, err = gridmerit("--version")
    assert (code, err) == (0, "")
    assert out == f"gridmerit {json.loads(gridmerit('version', '--json')[1])['gridmerit']}\n"


def test_the_module_is_the_program(gridmerit: Run) -> None:
    command = [sys.executable, "-m", "gridmerit", "version", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout == gridmerit("version", "--json")[1]


def test_the_client_is_of_the_package_and_imported_when_it_is_asked_for() -> None:
    script = (
        "import sys, gridmerit; print('aiohttp' in sys.modules); from gridmerit import Client; print(Client.__module__)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.split() == ["False", "node.api.client"]
    with pytest.raises(AttributeError, match="module 'gridmerit' has no attribute 'Server'"):
        getattr(gridmerit_package, "Server")  # noqa: B009 - a name that the type checker knows to be missing


def test_every_command_is_there_without_the_extras() -> None:
    """A command that needs one of them says so when it is run."""
    extras = ["numpy", "pyarrow", "matplotlib", "tqdm", "distributed"]
    script = (
        f"import sys; sys.modules |= dict.fromkeys({extras}); from importlib import import_module\n"
        "from gridmerit.main import COMMANDS\n"
        "for module, _ in COMMANDS.values(): import_module(f'gridmerit.commands.{module}')"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


# --- exit codes ----------------------------------------------------------------------------------


def test_0_and_one_json_document(gridmerit: Run) -> None:
    code, out, err = gridmerit("version", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["python"]


def test_1_a_bug_prints_one_line(gridmerit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gridmerit.commands.version._version_of", lambda package: 1 // 0)
    code, out, err = gridmerit("version")
    assert (code, out) == (1, "")
    assert err.startswith("error[Bug] ZeroDivisionError: ")
    assert "Traceback" not in err
    assert "Traceback" in gridmerit("--debug", "version")[2]
    assert "Traceback" in gridmerit("version", "--debug")[2]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nte"], "no command 'nte': did you mean 'net'?"),
        (["net", "statsu", "x"], "no command 'statsu': did you mean 'status'?"),
        (["net", "new"], "Missing argument 'DIRECTORY'"),
        (["demo", "--hours", "25"], "Invalid value for '--hours'"),
        (["tx", "send", "transfer", "homes-1", "1"], "nothing says who signs: --key FILE"),
    ],
)
def test_2_usage(gridmerit: Run, args: list[str], message: str) -> None:
    code, out, err = gridmerit(*args)
    assert (code, out) == (2, "")
    assert err.startswith("error[Usage] ")
    assert message in err
    assert "  try: gridmerit" in err


def test_2_a_day_takes_a_chain_of_each_kind(gridmerit: Run, tmp_path: Path) -> None:
    file = ROOT / "configs" / "paper" / "jy1.toml"
    code, out, err = gridmerit("demo", "--set", file, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert f"--set {file}: the day takes one chain of each kind, trading, scheduling, credit" in err
    assert not (tmp_path / "out").exists()


def test_3_configuration(gridmerit: Run, tmp_path: Path) -> None:
    assert gridmerit("start", tmp_path)[0] == 3
    assert gridmerit("net", "up", tmp_path / "nowhere")[0] == 3
    code, _, err = gridmerit("net", "status", tmp_path)
    assert code == 3
    assert err.splitlines()[1] == f"  try: gridmerit net new {tmp_path}, or another directory"


def test_3_a_directory_of_another_sort_is_told_what_it_is(gridmerit: Run, network: Path, tmp_path: Path) -> None:
    home = network / "nodes" / "pv-101"
    for words in (("start",), ("status", "--node"), ("net", "unit"), ("state", "show", "--offline", "--node")):
        code, _, err = gridmerit(*words, tmp_path / "no where")
        assert (code, "it has no node.toml" in err, "there is no such directory" in err) == (3, False, True)
    for words in (("start",), ("net", "unit"), ("state", "show", "--offline", "--node")):
        assert gridmerit(*words, network)[2].splitlines() == [
            f"error[NotANode] {network} is not a node directory: it is a network of pv-101",
            f"  try: the same with {home}",
        ]
    assert "it has no node.toml" in gridmerit("start", tmp_path)[2]
    assert gridmerit("net", "status", home)[2].splitlines() == [
        f"error[NoNetwork] {home} is not a network: it is a node's",
        f"  try: the same with {network}",
    ]
    assert "there is no such directory" in gridmerit("net", "up", tmp_path / "nowhere")[2]


def test_a_status_is_of_all_chains_or_of_the_one_that_is_named() -> None:
    rows: list[Any] = [SimpleNamespace(chain=name) for name in ("jy1", "du1", "lh1")]
    status = NodeStatus(
        version="1",
        member=None,
        address=None,
        uptime_ms=0,
        chains=tuple(rows[:2]),
        outages=(rows[2],),
        peers=(),
        sealing={},
    )
    assert [(one.chains, one.outages) for one in (choose_one(status, "du1"), choose_one(status, "lh1"))] == [
        ((rows[1],), ()),
        ((), (rows[2],)),
    ]
    with pytest.raises(UnknownChainName, match="no chain 'JY1', it has jy1, du1, lh1"):
        choose_one(status, "JY1")


def test_a_command_to_copy_has_its_paths_quoted(gridmerit: Run, network: Path, tmp_path: Path) -> None:
    home = tmp_path / "my net"
    _, _, err = gridmerit("net", "up", home)
    assert err.splitlines()[1] == f"  try: gridmerit net new '{home}', or another directory"
    _, out, _ = gridmerit("net", "new", home, "--nodes", "1")
    for line in (f"net up '{home}'", f"--key dispatch --node '{home}'"):
        assert line in out
    assert f"try: gridmerit net status '{home}'" in gridmerit("net", "logs", home, "pv-102")[2]
    assert (
        f"gridmerit key list '{home}'" in gridmerit("market", "cancel", 1, "--period=1", "--key=x", "--node", home)[2]
    )


def test_every_hint_is_of_an_error_that_there_is() -> None:
    families, codes = [GridmeritError], set[str]()
    while families:
        family = families.pop()
        codes.add(family.__name__)
        families += family.__subclasses__()
    assert set(HINTS) <= codes


def test_3_an_unknown_chain_parameter_names_the_nearest(gridmerit: Run, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('name = "jy1"\n[consensus]\ntau_upx = 5\n')
    code, _, err = gridmerit("net", "new", tmp_path / "net", "--set", tmp_path / "p.toml")
    assert code == 3
    assert "error[BadParameters]" in err
    assert "unknown key 'consensus.tau_upx', did you mean 'tau_upt'?" in err


def test_3_an_n_diff_without_room_for_credit(gridmerit: Run, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('name = "jy1"\n[consensus]\ntau_upt = 1000000\n')
    code, _, err = gridmerit("net", "new", tmp_path / "net", "--set", tmp_path / "p.toml")
    assert code == 3
    assert "n_diff_max must be at most" in err


def test_3_a_path_that_cannot_be_made(gridmerit: Run, network: Path, tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("text")
    genesis = network / "genesis.json"
    for args in (
        ("net", "new", file / "x"),
        ("init", file / "x", "--genesis", genesis),
        ("key", "new", file / "x.pem"),
        ("demo", "--out", file / "x"),
    ):
        code, _, err = gridmerit(*args)
        assert code == 3
        assert "error[UnusableDirectory]" in err
        assert f"{file} is a file" in err
    code, _, err = gridmerit("net", "new", "/proc/x")
    assert code == 3
    assert " in /proc" in err


def test_4_unreachable_says_what_to_try(gridmerit: Run) -> None:
    code, out, err = gridmerit("status", "--api", "http://127.0.0.1:9")
    assert (code, out) == (4, "")
    assert err.startswith("error[Unreachable] no answer from http://127.0.0.1:9: nothing listens there\n")
    assert "  try: gridmerit net up DIR" in err


def test_an_error_under_json_is_a_document_too(gridmerit: Run) -> None:
    code, out, err = gridmerit("status", "--api", "http://127.0.0.1:9", "--json")
    document = json.loads(out)
    assert code == document["exit_code"] == 4
    assert document["error"] == "Unreachable"
    assert document["values"]["url"] == "http://127.0.0.1:9"
    assert "Cannot connect" in document["values"]["cause"], "the library's own words are for programs"
    assert err.startswith("error[Unreachable]")


def test_7_a_proof_that_proves_nothing(gridmerit: Run, network: Path, tmp_path: Path) -> None:
    (tmp_path / "proof.json").write_text('{"kind": "trade"}')
    code, _, err = gridmerit("proof", "verify", tmp_path / "proof.json", "--genesis", network / "genesis.json")
    assert code == 7
    assert err.startswith("error[InvalidProof]")


def test_2_a_network_is_no_node_to_examine(gridmerit: Run, network: Path) -> None:
    code, _, err = gridmerit("doctor", "--node", str(network))
    assert (code, "name one of its nodes" in err) == (2, True)


def test_9_a_directory_in_use(network: Path) -> None:
    home = network / "nodes" / "pv-101"
    # The lock is per process, so the node that must be refused is another one.
    with SigningFile(home / "data" / "jy1", b"") as _:
        result = _spawn("start", home).communicate(timeout=PATIENCE_S)
    assert "error[StoreLocked]" in result[1]


def test_130_and_0_when_a_node_is_told_to_end(network: Path) -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 0)):
        process = _spawn("start", network / "nodes" / "pv-101", "--json")
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(number)
        document = json.loads(first + process.stdout.read())
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code
        assert document["member"] == "pv-101"


@pytest.mark.parametrize("setting", ["peer_listen", "api_listen"])
def test_4_a_port_in_use_is_named_with_its_setting(network: Path, setting: str) -> None:
    home = network / "nodes" / "pv-101"
    address = getattr(load_config(home / "node.toml"), setting)
    with socket.create_server(address):
        process = _spawn("start", home)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 4
    assert err.splitlines()[-2:] == [
        f"error[AddressInUse] cannot listen on {address}, which is {setting} in node.toml: Address already in use",
        f"  try: stop what listens there, or give {setting} in node.toml another address",
    ]


def _spawn(*args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gridmerit", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


# --- the form of an error --------------------------------------------------------------------------


def test_an_error_has_code_values_and_a_hint() -> None:
    lines = format_error(InsufficientBalance(have_uyuan=1_500_000, want_uyuan=2_000_000)).splitlines()
    assert lines[0] == "error[InsufficientBalance] have 1.50 yuan, need 2.00 yuan"
    assert lines[1:] == ["  try: gridmerit account show NAME"]


def test_who_owes_is_told_so_and_not_by_a_sign() -> None:
    text = str(InsufficientBalance(have_uyuan=-1_544_559_226, want_uyuan=5))
    assert text == "have a debt of 1,544.559226 yuan, need 0.000005 yuan"


def test_energy_and_credit_in_an_error_have_units() -> None:
    error = OverQuota(have=1_000, want=2_500, limit=3_000)
    assert str(error) == "1.000 kWh are on the book and 2.500 kWh more are wanted, the member's quota is 3.000 kWh"
    remote = RemoteRejected(code="OverQuota", detail="full", values={"have": "1000", "want": "2500"})
    assert format_error(remote).splitlines()[1] == "  have 1.000 kWh, want 2.500 kWh"
    assert str(WrongCredit(actual=90_500_000, expected=1)) == (
        "the header claims a credit of 90.5 points, the snapshot has 0.000001 points"
    )


def test_a_moment_in_an_error_is_a_time_of_day() -> None:
    text = format_error(PlanTooLate(period=3, deadline=1_795_187_910_624, now=1_795_187_953_662))
    assert "due before 2026-11-20 15:18:30 UTC, the block is of 2026-11-20 15:19:13 UTC" in text


def test_have_and_want_are_also_called_actual_and_expected() -> None:
    assert format_error(WrongHeight(expected=3, actual=5)).splitlines()[1] == "  have 5, want 3"


# --- units ---------------------------------------------------------------------------------------


def test_amounts_are_exact() -> None:
    assert format_yuan(1_234_567_891) == "1,234.567891"
    assert format_yuan(-87_148_170) == "-87.14817"
    assert format_yuan(0) == "0.00"
    assert format_kwh(59_796) == "59.796"
    assert format_points(91_978_449) == "91.978"
    assert format_scaled(2**70, 6) == "1,180,591,620,717,411.303424"


def test_amounts_are_read_exactly_or_not_at_all() -> None:
    assert parse_yuan("12.5") == 12_500_000
    assert parse_yuan("0.000001") == 1
    assert parse_kwh("59.7960") == 59_796
    assert parse_kwh("100000000") == 10**11
    assert parse_price("000100.000000") == 10**8


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-3", "'-3' is negative: want an amount of kWh, such as 59.796"),
        ("\N{MINUS SIGN}3", "is negative: want an amount of kWh, such as 59.796"),
        ("1e30", "'1e30' has an exponent, which is not taken: want an amount of kWh, such as 59.796"),
        ("1.5E+3", "has an exponent, which is not taken"),
        ("100000000000000000000", "'100000000000000000000' is too large: at most 100,000,000 kWh"),
        ("100000000.001", "is too large: at most 100,000,000 kWh"),
        ("9" * 10_000, f"'{'9' * 40}…' is too large: at most 100,000,000 kWh"),
        ("1.2345", "'1.2345' has more than 3 decimals: want an amount of kWh"),
        ("", "'' is not a number: want an amount of kWh"),
        ("1,5", "'1,5' is not a number"),
        ("\N{ARABIC-INDIC DIGIT THREE}", "is not a number"),
        ("nan", "'nan' is not a number"),
    ],
)
def test_an_amount_that_is_none_is_told_why(text: str, why: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        parse_kwh(text)
    assert why in caught.value.message


def test_money_and_prices_have_bounds_of_their_own() -> None:
    with pytest.raises(click.UsageError, match=r"at most 1,000,000,000,000 yuan$"):
        parse_yuan("1000000000000.000001")
    with pytest.raises(click.UsageError, match="at most 100 yuan per kWh"):
        parse_price("100.01")
    with pytest.raises(click.UsageError, match=r"^'0' is too small: at least 0.000001 yuan$"):
        parse_yuan("0")
    with pytest.raises(click.UsageError, match=r"^'0.00' is too small: at least 0.000001 yuan per kWh$"):
        parse_price("0.00")
    with pytest.raises(click.UsageError, match=r"^'0' is too small: at least 0.001 kWh$"):
        parse_kwh("0", least=1)
    with pytest.raises(click.UsageError, match=r"'1e3' has an exponent.* points"):
        parse_points("1e3")


def test_spans() -> None:
    spans = [850, 12_300, 200_000, 18_120_000, 273_600_000]
    assert [format_span(span) for span in spans] == ["850 ms", "12.3 s", "3 min 20 s", "5 h 02 min", "3 d 4 h"]


def test_one_is_not_plural() -> None:
    assert [format_count(count, "hour") for count in (0, 1, 2)] == ["0 hours", "1 hour", "2 hours"]


def test_a_gate_that_is_too_near_is_left_out() -> None:
    times = {
        "open_ms": 0,
        "deadline_ms": 0,
        "delivery_start_ms": 0,
        "delivery_end_ms": 0,
        "settle_ms": 0,
        "final_ms": 0,
    }
    entry = PeriodInfo(period=4, phase="open", gate_ms=1_500, orders_until_ms=1_500, live=False, gate=None, **times)
    later = replace(entry, period=5, gate_ms=2_500, orders_until_ms=2_500)
    periods = MarketPeriods(time_ms=1_000, periods=(entry, later))
    assert choose_open(periods) == choose_for_order(periods) == (4, Session.DAY_AHEAD)
    assert choose_for_order(periods, at_least_ms=501).period == 5
    with pytest.raises(NoPeriod, match="open to orders"):
        choose_for_order(periods, at_least_ms=1_501)


def test_a_period_that_takes_no_more_orders_is_looked_at_and_not_ordered_for() -> None:
    times = {
        "open_ms": 0,
        "deadline_ms": 0,
        "delivery_start_ms": 0,
        "delivery_end_ms": 0,
        "settle_ms": 0,
        "final_ms": 0,
    }
    over = PeriodInfo(period=4, phase="open", gate_ms=1_500, orders_until_ms=1_000, live=True, gate=None, **times)
    periods = MarketPeriods(time_ms=1_000, periods=(over, replace(over, period=5, orders_until_ms=1_001)))
    assert choose_open(periods).period == 4
    assert choose_for_order(periods).period == 5


def test_a_table_lines_up() -> None:
    assert table(["name", "kWh"], [("a", 1), ("long", 200)]).splitlines() == [
        "name  kWh",
        "────  ───",
        "a       1",
        "long  200",
    ]


# --- keys, node directories, doctor ----------------------------------------------------------------


def test_keys_are_made_shown_listed_and_never_overwritten(gridmerit: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys" / "homes-9.pem"
    made = json.loads(gridmerit("key", "new", file, "--json")[1])
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert json.loads(gridmerit("key", "show", file, "--json")[1]) == made
    assert json.loads(gridmerit("key", "list", tmp_path, "--json")[1]) == [made]
    code, _, err = gridmerit("key", "new", file)
    assert code == 3
    assert "never overwritten" in err


def test_a_list_of_keys_fits_a_terminal(gridmerit: Run, network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(network)
    code, out, _ = gridmerit("key", "list")
    assert (code, "key.pem" in out) == (0, True)
    assert max(map(len, out.splitlines())) <= 100


def test_a_key_that_others_can_read_is_refused(gridmerit: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.pem"
    gridmerit("key", "new", file)
    file.chmod(0o644)
    code, _, err = gridmerit("key", "show", file)
    assert code == 3
    assert "error[KeyFilePermissions]" in err


def test_init_makes_a_directory_that_loads(gridmerit: Run, network: Path, tmp_path: Path) -> None:
    home = tmp_path / "mine"
    args = ("init", home, "--genesis", network / "genesis.json", "--network", network)
    code, out, _ = gridmerit(*args, "--json")
    config = load_config(home / "node.toml")
    assert code == 0
    assert [peer.name for peer in config.peers] == ["pv-101"]
    assert json.loads(out)["public_key"] in gridmerit("key", "show", home / "key.pem")[1]
    assert gridmerit(*args)[0] == 3, "an existing directory is left alone"


def test_a_node_that_joins_a_network_of_this_machine_listens_beside_it(gridmerit: Run, tmp_path: Path) -> None:
    net = tmp_path / "net"
    gridmerit("net", "new", net, "--nodes", "2", "--chains", "jy1")
    gridmerit("init", tmp_path / "mine", "--genesis", net / "genesis.json", "--network", net)
    config = load_config(tmp_path / "mine" / "node.toml")
    assert (str(config.peer_listen), str(config.api_listen)) == ("127.0.0.1:9102", "127.0.0.1:9202")
    gridmerit("init", tmp_path / "alone", "--genesis", net / "genesis.json")
    assert load_config(tmp_path / "alone" / "node.toml").peer_listen.port == 9100
    assert find_next_port(["https://127.0.0.1:65535"], 9100) == 9100


def test_init_on_some_chains_of_a_network(gridmerit: Run, tmp_path: Path) -> None:
    assert gridmerit("net", "new", tmp_path / "net", "--nodes", "1")[0] == 0
    args = ("init", tmp_path / "mine", "--genesis", tmp_path / "net" / "genesis.json", "--network", tmp_path / "net")
    peers, users = find_free_ports(2)
    args += ("--peer-listen", f"127.0.0.1:{peers}", "--api-listen", f"127.0.0.1:{users}")
    code, _, err = gridmerit(*args, "--chains", "jy1,jy2")
    assert (code, "has no chain 'jy2', it has du1, jy1, lh1" in err) == (3, True)
    code, _, err = gridmerit(*args, "--chains", ",")
    assert (code, "names nothing" in err) == (2, True)
    peers, api = (f"127.0.0.1:{port}" for port in find_free_ports(2))
    code, out, _ = gridmerit(*args, "--chains", "lh1, jy1", "--peer-listen", peers, "--api-listen", api)
    assert code == 0
    assert 'chains = ["lh1", "jy1"]' in out, "for its peers, who need not look for it on du1"
    config = load_config(tmp_path / "mine" / "node.toml")
    assert [chain.name for chain in config.chains] == ["lh1", "jy1"]
    code, out, _ = gridmerit("doctor", "--node", tmp_path / "mine")
    assert (code, "chains lh1, jy1" in out) == (0, True)


def test_net_new_with_one_chain_or_three(gridmerit: Run, tmp_path: Path) -> None:
    code, out, _ = gridmerit("net", "new", tmp_path / "one", "--nodes", "1", "--chains", "jy1", "--json")
    document = json.loads(out)
    assert (code, document["chain"], document["chains"], document["dispatcher"]) == (0, "jy1", ["jy1"], None)
    code, out, _ = gridmerit("net", "new", tmp_path / "three", "--nodes", "1", "--period-ms", "60000")
    assert code == 0
    assert "chains   jy1 (trading), du1 (scheduling), lh1 (credit)" in out
    assert "that for period 4 is due 45.0 s after the genesis" in out
    code, _, err = gridmerit("net", "new", tmp_path / "none", "--chains", "jy2")
    assert (code, "recommended has no chain 'jy2', it has du1, jy1, lh1" in err) == (3, True)
    code, _, err = gridmerit("net", "new", tmp_path / "none", "--chains", "du1")
    assert (code, "no chain is of the kind trading" in err) == (3, True)
    assert not (tmp_path / "none").exists()


def test_net_new_chooses_ports_from_one_on_and_prints_accounts_without_their_secrets(
    gridmerit: Run, tmp_path: Path
) -> None:
    code, out, _ = gridmerit("net", "new", tmp_path / "net", "--nodes", "2", "--chains", "jy1", "--json")
    document = json.loads(out)
    assert code == 0
    assert [(node["peer"], node["api"]) for node in document["nodes"]] == [
        ("https://127.0.0.1:9100", "http://127.0.0.1:9200"),
        ("https://127.0.0.1:9101", "http://127.0.0.1:9201"),
    ]
    accounts = {account["name"]: account for account in document["accounts"]}
    assert len(accounts) == 21
    for name, account in accounts.items():
        file = tmp_path / "net" / account["key_file"]
        key = load_key(file, load_passphrase(file.with_name("passphrase")))
        assert account["address"] == show_address(key.address)
        assert key.seed.hex() not in out
        assert account["balance_uyuan"] == ("5000000000" if account["role"] in ("producer", "consumer") else "0"), name

    words = ("--nodes", "1", "--chains", "jy1", "--base-port", "21000")
    code, out, _ = gridmerit("net", "new", tmp_path / "other", *words)
    assert "http://127.0.0.1:21100  https://127.0.0.1:21000" in out
    table = out[out.index("account ") :]
    assert re.search(r"^homes-1 +consumer +5,000\.00  0x[0-9a-f]{40}$", table, re.MULTILINE)
    assert f"keys    {tmp_path}/other/keys/NAME.pem" in table
    assert "meter-homes-1" not in table
    assert max(map(len, table[: table.index("\n\n")].splitlines())) <= 80


def test_a_node_that_a_network_does_not_have_is_told(gridmerit: Run, network: Path) -> None:
    for words in (("up",), ("down",), ("restart",), ("logs",)):
        code, _, err = gridmerit("net", *words, network, "pv-102")
        assert code == 5
        assert f"error[NoSuchNode] the network in {network} has no node 'pv-102', it has pv-101" in err
        assert f"try: gridmerit net status {network}" in err


def test_where_a_node_listens_is_said_by_its_own_node_toml_alone(network: Path) -> None:
    [node] = load_network(network).nodes
    file = network / node.directory / "node.toml"
    text = file.read_text()
    listen = load_config(file)
    file.write_text(
        text.replace(f'"{listen.peer_listen}"', '"0.0.0.0:7001"').replace(f'"{listen.api_listen}"', '"127.0.0.2:7002"')
    )
    [moved] = load_network(network).nodes
    assert (moved.peer_url, moved.api_url) == ("https://127.0.0.1:7001", "http://127.0.0.2:7002")
    file.write_text('advertise = "https://example.org:7003"\n' + file.read_text())
    [advertised] = load_network(network).nodes
    assert advertised.peer_url == "https://example.org:7003"
    file.write_text("data_dri = 1")
    assert load_network(network).nodes == (node,), "as it was made, where the file says nothing"


def test_doctor_warns_of_a_peer_that_shares_no_chain(gridmerit: Run, tmp_path: Path) -> None:
    gridmerit("net", "new", tmp_path / "net", "--nodes", "2", "--chains", "jy1", "--base-port", "0")
    home = tmp_path / "net" / "nodes" / "pv-101"
    text = (home / "node.toml").read_text()
    (home / "node.toml").write_text(text + 'chains = ["lh1"]\n')
    code, out, _ = gridmerit("doctor", "--node", home)
    assert code == 0
    assert "WARN  peer wind-122: it takes part in lh1, this node in jy1: they never talk" in out


def test_init_writes_nothing_where_an_address_is_none(gridmerit: Run, network: Path, tmp_path: Path) -> None:
    home = tmp_path / "mine"
    args = ("init", home, "--genesis", network / "genesis.json")
    for text, want in (("127.0.0.1:70000", "a port from 0 to 65535"), ("9200", "host:port, for example")):
        code, _, err = gridmerit(*args, "--api-listen", text)
        assert code == 2
        assert f"--api-listen {text!r}: want {want}" in err
    assert not home.exists()


def test_init_of_an_observer(gridmerit: Run, network: Path, tmp_path: Path) -> None:
    code, out, _ = gridmerit("init", tmp_path / "eye", "--genesis", network / "genesis.json", "--observer")
    assert code == 0
    assert 'name = "eye"' in out
    assert load_config(tmp_path / "eye" / "node.toml").key_file is None


def test_who_may_sign_in_a_network_includes_meters(gridmerit: Run, network: Path) -> None:
    code, _, err = gridmerit("tx", "send", "reading", "1", "2", "0", "--node", network)
    assert code == 2
    assert "homes-1" in err
    assert "meter-homes-8" in err


def test_net_new_says_when_the_first_gate_comes(gridmerit: Run, tmp_path: Path) -> None:
    code, out, _ = gridmerit("net", "new", tmp_path / "net", "--nodes", "1", "--period-ms", "60000", "--chains", "jy1")
    assert code == 0
    assert "a period lasts 1 min 00 s (--period-ms sets it)\nthe first gate comes 1 min 00 s after the genesis" in out


def test_doctor_finds_what_is_broken(gridmerit: Run, network: Path) -> None:
    home = network / "nodes" / "pv-101"
    code, out, _ = gridmerit("doctor", "--node", home)
    assert code == 0
    assert "FAIL" not in out
    (home / "key.pem").chmod(0o640)
    code, out, _ = gridmerit("doctor", "--node", home, "--json")
    findings = {finding["what"]: finding for finding in json.loads(out)}
    assert code == 3
    assert findings["key"]["verdict"] == "fail"
    assert findings["key"]["remedy"].startswith("chmod 600 ")
    (home / "node.toml").write_text('data_dri = "x"\n')
    code, out, _ = gridmerit("doctor", "--node", home)
    assert code == 3
    assert "did you mean data_dir?" in out


def test_doctor_notices_a_rolled_back_store(gridmerit: Run, network: Path) -> None:
    from consensus.signing_record import SigningRecord
    from node.config import load_genesis

    home = network / "nodes" / "pv-101"
    (home / "data" / "jy1" / "ledger").mkdir(parents=True)
    with SigningFile(home / "data" / "jy1", load_genesis(network / "genesis.json").chain_id) as guard:
        guard.save(SigningRecord(height=7))
    code, out, _ = gridmerit("doctor", "--node", home)
    assert code == 3
    assert "FAIL  store of jy1: RolledBack" in out


# --- the parameter files that come with the package --------------------------------------------------


@pytest.mark.parametrize("chain", ["du1", "jy1", "lh1"])
@pytest.mark.parametrize("name", ["recommended", "paper"])
def test_packaged_parameters_leave_room_for_credit(name: str, chain: str) -> None:
    from consensus.poca.credit_target import compute_n_diff_limit
    from gridmerit.network.parameters import get_packaged_params

    params = load_chain_params(get_packaged_params(name, chain))
    assert params.consensus.n_diff_max <= compute_n_diff_limit(params.consensus.tau_upt)
    assert params.consensus.tau_upt == (1_000_000 if name == "paper" else 10_000_000)
