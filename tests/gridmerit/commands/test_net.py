"""`gridmerit net` on single nodes of a network: up, restart, down, logs, ports, and nodes started by hand."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gridmerit.commands.target import resolve_target
from gridmerit.main import run
from gridmerit.network.layout import load_network
from gridmerit.network.make import find_free_ports, new_network
from gridmerit.network.parameters import load_packaged_profile, scale_params
from gridmerit.network.processes import find_pid
from ledger.params import ChainParams
from node.config import load_config
from tests.support.patience import PATIENCE_S, until

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[3]


def gridmerit(*words: object, cwd: Path, output: Path) -> subprocess.Popen[bytes]:
    """The command as a user starts it, from a directory, its output in a file."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with output.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "gridmerit", *map(str, words)],
            cwd=cwd,
            env=environment,
            stdout=file,
            stderr=file,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
        )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("commands") / "net"
    params = [scale_params(ChainParams(name="jy1"), 60_000)]
    new_network(home, nodes=2, params=params, profile=load_packaged_profile(), seed=3)
    try:
        yield home
    finally:
        run(["net", "down", str(home)])


@pytest.fixture
def ask(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., object]:
    """A verb of `gridmerit net` with --json, whose exit code must be 0: the one document it prints."""

    def call(verb: str, *names: str) -> object:
        assert run(["net", verb, str(home), *names, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return call


def pids(home: Path) -> list[int | None]:
    network = load_network(home)
    return [find_pid(network, node) for node in network.nodes]


def test_nodes_are_started_restarted_and_stopped_one_by_one(home: Path, ask: Callable[..., object]) -> None:
    assert ask("up", "wind-122") == {"started": ["wind-122"], "already_running": [], "out": []}
    first, second = pids(home)
    assert (first, second is None) == (None, False)
    assert ask("up") == {"started": ["pv-101"], "already_running": ["wind-122"], "out": []}
    first, _ = pids(home)
    assert ask("restart", "wind-122") == {"started": ["wind-122"], "already_running": [], "out": []}
    assert pids(home)[0] == first
    assert pids(home)[1] not in (None, second)
    assert ask("down", "pv-101") == {"pv-101": "stopped"}
    assert [pid is None for pid in pids(home)] == [True, False]
    assert ask("down") == {"pv-101": "not running", "wind-122": "stopped"}


def test_a_node_started_by_hand_is_seen_left_alone_and_stopped(
    home: Path, ask: Callable[..., object], tmp_path: Path
) -> None:
    node = gridmerit("start", "wind-122", cwd=home / "nodes", output=tmp_path / "out")  # a path that says little
    try:
        until(lambda: pids(home)[1] == node.pid)
        assert ask("up") == {"started": ["pv-101"], "already_running": ["wind-122"], "out": []}
        assert [(state["name"], state["pid"]) for state in ask("status")] == [
            ("pv-101", pids(home)[0]),
            ("wind-122", node.pid),
        ]
        second = gridmerit("start", "wind-122", cwd=home / "nodes", output=tmp_path / "second")
        assert second.wait(PATIENCE_S) == 9
        assert "error[StoreLocked]" in (tmp_path / "second").read_text()
        assert pids(home)[1] == node.pid
        assert ask("down")["wind-122"] == "stopped"
        assert node.wait(PATIENCE_S) == 0
    finally:
        node.kill()


def test_a_number_that_another_process_has_been_given_is_no_node(home: Path) -> None:
    (home / "nodes" / "pv-101" / "node.pid").write_text(f"{os.getpid()}\n")
    assert pids(home)[0] is None


def test_ports_changed_in_node_toml_are_found_by_all(home: Path, ask: Callable[..., object]) -> None:
    ask("up")
    ask("down", "pv-101")
    file = home / "nodes" / "pv-101" / "node.toml"
    before, text = load_config(file), file.read_text()
    for old, port in zip((before.peer_listen, before.api_listen), find_free_ports(2), strict=True):
        text = text.replace(f'"{old}"', f'"127.0.0.1:{port}"')
    file.write_text(text)
    after = load_config(file)
    assert after.peer_listen != before.peer_listen
    assert after.api_listen != before.api_listen
    assert ask("up")["started"] == ["pv-101"]
    assert [(state["problem"], len(state["status"]["peers"])) for state in ask("status")] == [(None, 1), (None, 1)]
    assert resolve_target(home, None, None).url == after.api_listen.url
    ask("down")


def test_logs_are_followed_through_a_full_file(home: Path, ask: Callable[..., object], tmp_path: Path) -> None:
    directory = home / "nodes" / "pv-101"
    file, log = directory / "node.toml", directory / "node.log"
    text = file.read_text()
    ask("up")
    ask("down", "pv-101")
    talkative = text.replace('log_level = "info"', 'log_level = "debug"')
    file.write_text(talkative + "\n[limits]\nlog_file_bytes = 1_000\nlog_files = 2\n")
    (directory / "node.log").write_text("an earlier line\n")
    follower = gridmerit("net", "logs", "-f", "-n", "1", home, "pv-101", cwd=tmp_path, output=tmp_path / "followed")
    try:
        until(lambda: "an earlier line" in (tmp_path / "followed").read_text())
        ask("up", "pv-101")
        until(lambda: (directory / "node.log.2").exists())
        assert not (directory / "node.log.3").exists()
        ask("down")
        last = log.read_text().splitlines()[-1]
        until(lambda: last in (tmp_path / "followed").read_text())
    finally:
        file.write_text(text)
        follower.send_signal(signal.SIGINT)
        assert follower.wait(PATIENCE_S) == 130
    assert all((directory / name).stat().st_size < 3_000 for name in ("node.log", "node.log.1", "node.log.2"))
    followed = (tmp_path / "followed").read_text().splitlines()
    events = [json.loads(line)["event"] for line in followed if line.startswith('{"ts"')]
    assert "node-started" in events


def test_no_line_is_lost_between_two_files(home: Path, tmp_path: Path) -> None:
    log = home / "nodes" / "wind-122" / "node.log"
    log.write_text("line 0\n")
    followed = tmp_path / "followed"
    follower = gridmerit("net", "logs", "-f", "-n", "1", home, "wind-122", cwd=tmp_path, output=followed)
    try:
        for number in range(1, 9, 2):
            until(lambda: f"line {number - 1}\n" in followed.read_text())  # noqa: B023
            with log.open("a") as file:
                file.write(f"line {number}\n")
            log.rename(log.with_name("node.log.1"))  # before it can have been read
            log.write_text(f"line {number + 1}\n")
        until(lambda: "line 8\n" in followed.read_text())
    finally:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(PATIENCE_S) == 130
    assert [line for line in followed.read_text().splitlines() if line.startswith("line")] == [
        f"line {number}" for number in range(9)
    ]


def test_a_hangup_has_the_log_go_on_in_a_new_file_at_the_level_of_node_toml(home: Path, tmp_path: Path) -> None:
    directory = home / "nodes" / "pv-101"
    file, log, moved = directory / "node.toml", tmp_path / "any.log", tmp_path / "any.log.1"
    text = file.read_text()
    node = gridmerit("start", directory, cwd=tmp_path, output=log)
    try:
        until(lambda: "API at" in log.read_text())  # said once signals are handled
        log.rename(moved)
        file.write_text(text.replace('log_level = "info"', 'log_level = "warning"'))
        node.send_signal(signal.SIGHUP)
        until(lambda: log.exists() and '"log_level": "warning"' in log.read_text())
        before = moved.read_text()
        file.write_text(text.replace('log_level = "info"', 'log_level = "loud"'))
        node.send_signal(signal.SIGHUP)
        until(lambda: "log-level-kept" in log.read_text())
        file.write_text(text)
        node.send_signal(signal.SIGTERM)
        assert node.wait(PATIENCE_S) == 0
        assert moved.read_text() == before
        events = read_events(log)
        since = [line["event"] for line in events].index("log-level")  # after what other threads said
        others = events[since + 1 :]
        assert {line["level"] for line in others} == {"warning"}
        [kept] = [line for line in others if line["event"] == "log-level-kept"]
        assert "log_level: have 'loud', want 'debug', 'info', 'warning' or 'error'" in str(kept["detail"])
    finally:
        file.write_text(text)
        node.kill()


def read_events(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


@pytest.mark.parametrize("setting", ["peer_listen", "api_listen"])
def test_a_port_that_another_has_is_named_and_nothing_runs_or_is_written(
    home: Path, setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = home / "nodes" / "wind-122"
    taken, written = getattr(load_config(directory / "node.toml"), setting), read_data(directory)
    with socket.create_server(taken):
        assert run(["net", "up", str(home)]) == 4
    said = capsys.readouterr().err
    assert said.startswith("error[NodeFailed] node wind-122 ")
    assert f"error[AddressInUse] cannot listen on {taken}, which is {setting} in node.toml" in said
    assert "stopped again: pv-101" in said
    assert pids(home) == [None, None]
    assert read_data(directory) == written


def read_data(directory: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in (directory / "data").rglob("*") if file.is_file()}


def test_the_last_lines_go_back_to_the_file_before(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = home / "nodes" / "wind-122"
    (directory / "node.log.1").write_text("a\nb\nc\n")
    (directory / "node.log").write_text("d\n")
    assert run(["net", "logs", "-n", "3", str(home), "wind-122"]) == 0
    assert capsys.readouterr().out == "b\nc\nd\n"
    assert run(["net", "logs", "-n", "1", str(home), "wind-122", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"node": "wind-122", "lines": ["d"]}
