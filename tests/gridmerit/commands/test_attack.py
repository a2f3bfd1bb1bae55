"""`gridmerit attack`: a real network that may be attacked, and all the others, which may not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gridmerit.main import run
from gridmerit.network.layout import load_network
from gridmerit.network.processes import find_pid
from node.chain.node import ChainNode
from node.config import load_config, load_genesis
from node.errors import NotDisposable
from node.runtime import Runtime
from simulation.attacks.registry import load_attack
from simulation.experiments.scenario import SCENARIOS

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Four nodes that nobody minds losing, with the trading chain alone; they do not run."""
    home = tmp_path_factory.mktemp("victims") / "net"
    options = ["--disposable", "--nodes", "4", "--chains", "jy1", "--period-ms", "12000"]
    assert run(["net", "new", str(home), "--base-port", "0", *options]) == 0
    yield home
    run(["net", "down", str(home)])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that is not to be attacked."""
    home = tmp_path_factory.mktemp("real") / "net"
    assert run(["net", "new", str(home), "--nodes", "2", "--chains", "jy1"]) == 0
    return home


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def call(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(map(str, words)))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


# --- what is refused -----------------------------------------------------------------------------


def test_a_network_that_is_not_disposable_is_refused(real: Path, say: Say) -> None:
    code, _, err = say("attack", "equivocation", real)
    assert code == 3
    assert "error[NotDisposable] jy1" in err
    assert "net new --disposable" in err
    assert all(find_pid(load_network(real), node) is None for node in load_network(real).nodes), "nothing was started"


def test_no_node_of_it_runs_an_attack_either(real: Path, say: Say) -> None:
    node = real / "nodes" / "pv-101"
    code, _, err = say("attack", "start", "equivocation", node)
    assert (code, "NotDisposable" in err) == (3, True)
    assert not (node / "data" / "jy1").exists(), "refused before anything is opened"


def test_a_mark_added_later_makes_other_chains_of_it(real: Path, tmp_path: Path) -> None:
    """A real genesis once edited is its editor's alone: its signatures mean nothing to the others."""
    document = json.loads((real / "genesis.json").read_text(encoding="utf-8"))
    assert document["disposable"] is False
    forged = tmp_path / "genesis.json"
    forged.write_text(json.dumps({**document, "disposable": True}), encoding="utf-8")
    before, after = load_genesis(real / "genesis.json"), load_genesis(forged)
    assert (before.disposable, after.disposable) == (False, True)
    assert before.chain_id != after.chain_id
    assert before.network_id != after.network_id


def test_no_configuration_asks_for_an_attack(real: Path, tmp_path: Path, say: Say) -> None:
    for line in ('policy = "equivocation"', 'attack = "equivocation"'):
        text = (real / "nodes" / "pv-101" / "node.toml").read_text(encoding="utf-8")
        (tmp_path / "node.toml").write_text(f"{line}\n{text}", encoding="utf-8")
        code, _, err = say("start", tmp_path)
        assert (code, "BadConfigFile" in err) == (3, True)


def test_the_runtime_refuses_a_policy_on_a_real_chain(real: Path) -> None:
    config = load_config(real / "nodes" / "pv-101" / "node.toml")

    async def open_it() -> None:
        Runtime(config, policy=_refuse)

    with pytest.raises(NotDisposable):
        asyncio.run(open_it())


def test_nor_on_a_node_that_has_no_trading_chain(tmp_path: Path) -> None:
    home = tmp_path / "net"
    assert run(["net", "new", str(home), "--nodes", "1"]) == 0
    config = load_config(next((home / "nodes").iterdir()) / "node.toml")
    alone = config.model_copy(update={"chains": tuple(chain for chain in config.chains if chain.name == "lh1")})

    async def open_it() -> None:
        Runtime(alone, policy=_refuse)

    with pytest.raises(NotDisposable, match="lh1"):
        asyncio.run(open_it())


def _refuse(node: ChainNode) -> ChainNode:
    raise AssertionError("it is not to be asked")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["charm"], 3, "there is no attack charm; there are: double-spend, "),
        (["spam", "--set", "volume=3"], 3, "attack spam, setting volume: "),
        (["spam", "--set", "every_ms=0"], 3, "setting every_ms: Input should be greater than or equal to 1"),
        (["spam", "--node", "homes-9"], 2, "--node homes-9: the network has pv-101, wind-122, homes-1, homes-2"),
        (["spam", "--set", "count"], 2, "'count' is not of the form KEY=VALUE"),
    ],
)
def test_what_is_misspelt_is_told(home: Path, say: Say, words: list[str], code: int, told: str) -> None:
    name, *rest = words
    found, _, err = say("attack", name, home, *rest)
    assert (found, told in err) == (code, True), err


def test_a_network_of_one_has_nobody_to_attack(tmp_path: Path, say: Say) -> None:
    assert say("net", "new", tmp_path / "one", "--disposable", "--nodes", "1", "--chains", "jy1")[0] == 0
    code, _, err = say("attack", "spam", tmp_path / "one")
    assert (code, "NobodyToAttack" in err) == (3, True)


def test_no_network_is_told(tmp_path: Path, say: Say) -> None:
    code, _, err = say("attack", "spam", tmp_path)
    assert (code, "NoNetwork" in err) == (3, True)


# --- what there is -------------------------------------------------------------------------------


def test_every_attack_has_settings_and_says_what_to_expect(say: Say) -> None:
    code, out, _ = say("attack", "list", "--json")
    assert code == 0
    names = [attack["name"] for attack in json.loads(out)]
    assert {"double-spend", "selfish", "equivocation", "spam"} <= set(names)
    for name in names:
        code, out, _ = say("attack", "show", name, "--json")
        shown = json.loads(out)
        assert (code, bool(shown["settings"]), bool(shown["expects"])) == (0, True, True)
        assert load_attack(name).scenario in SCENARIOS


# --- one for real --------------------------------------------------------------------------------


@pytest.mark.live
def test_an_equivocator_is_convicted_by_the_others_and_pays_with_its_credit(home: Path, say: Say) -> None:
    code, out, err = say("attack", "equivocation", home, "--seconds", "10", "--power", "2", "--json")
    assert code == 0, err
    outcome = json.loads(out)
    assert outcome["attacker"] == "homes-2"
    assert [view["node"] for view in outcome["honest"]] == ["pv-101", "wind-122", "homes-1"]
    assert outcome["evidence"] >= 1
    cost_upt = load_genesis(home / "genesis.json").params.consensus.equivocation_cost_upt
    paid_upt = outcome["credit_before_upt"] - outcome["credit_after_upt"]
    assert paid_upt == min(outcome["evidence"] * cost_upt, outcome["credit_before_upt"])
    assert outcome["agree"]
    assert outcome["transfers_included"] > 0
    network = load_network(home)
    assert all(find_pid(network, node) is None for node in network.nodes), "as it found them"
