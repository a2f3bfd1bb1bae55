"""Words of a node that does not do all that it should: one that waits for others to sign, one that cannot listen."""

from __future__ import annotations

import asyncio
import json
import re
from io import StringIO
from pathlib import Path
from threading import Event, current_thread, main_thread

import pytest

from gridmerit.main import run
from gridmerit.network.layout import load_network
from gridmerit.network.make import new_network
from gridmerit.network.parameters import load_packaged_profile
from gridmerit.network.processes import get_state, start_node, stop_network
from ledger.params import ChainParams

pytestmark = pytest.mark.live


@pytest.fixture
def lone(tmp_path: Path):
    home = tmp_path / "net"
    network = new_network(home, nodes=2, params=[ChainParams(name="jy1")], profile=load_packaged_profile(), seed=5)
    first = network.nodes[0]
    try:
        start_node(network, first)
        while asyncio.run(get_state(network, first)).status is None:
            pass
        yield home
    finally:
        stop_network(load_network(home))


def test_a_member_alone_says_what_it_waits_for_and_what_to_do(lone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = lone / "nodes" / "pv-101"
    assert run(["status", "--node", str(node)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"signs nothing  until others say .* stop it, then gridmerit start DIR --i-am-sure", out)
    assert re.search(r"wind-122 +no +jy1 +– +0", out)
    assert run(["net", "status", str(lone)]) == 0
    assert "no connection to wind-122, waits to sign" in capsys.readouterr().out
    assert run(["doctor", "--node", str(node)]) == 0
    assert "WARN  signing on jy1: not until others say" in capsys.readouterr().out
    events = [json.loads(line) for line in (node / "node.log").read_text().splitlines() if '"signing-waits"' in line]
    assert [(event["height"], event["silent_until"]) for event in events] == [(0, 0)]


class LazyStream(StringIO):
    """A stream whose line of a chain that is out comes only once others have written, or have kept it waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._others = Event()

    def write(self, text: str) -> int:
        if current_thread() is main_thread():
            self._others.set()
        elif '"chain-out"' in text:
            self._others.wait(1.0)
        return super().write(text)


def test_a_log_ends_with_the_error_that_ended_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = new_network(
        tmp_path / "net", nodes=1, params=[ChainParams(name="jy1")], profile=load_packaged_profile(), seed=5
    )
    home = network.directory_of(network.nodes[0])
    (home / "data" / "jy1").mkdir(parents=True)
    (home / "data" / "jy1" / "guard").write_bytes(b"?")
    stderr = LazyStream()
    monkeypatch.setattr("sys.stderr", stderr)
    assert run(["start", str(home)]) == 7
    lines = stderr.getvalue().splitlines()
    assert any('"chain-out"' in line for line in lines)
    assert [line[:19] for line in lines[-2:]] == ["error[GuardCorrupt]", "  try: restore `gua"]
