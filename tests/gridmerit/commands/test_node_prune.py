"""`gridmerit node prune` and `compact` on a stopped node's directory."""

import json
from contextlib import closing
from random import Random

import pytest

from gridmerit import main as cli
from ledger.chain import Chain
from ledger.store import LevelStore
from node.config import ChainConfig, ListenAddress, NodeConfig, load_chains, load_config, save_config, save_genesis
from tests.support.ledger_lab import Lab

HEIGHT, PADDING = 240, 4_000


@pytest.fixture
def home(tmp_path):
    """A node's directory whose chain has 240 blocks, one in each period, the last but two final."""
    lab = Lab(ledger={"period_ms": 15_000})
    for number in range(HEIGHT):
        at = lab.chain.head.header.timestamp_ms + 15_000
        write = lab.sign("anna", "write", b"k", Random(number).randbytes(PADDING), sequence=number)
        lab.extend(write, timestamp_ms=at)
    lab.store.write(lab.chain.finalise(lab.chain.get(lab.chain.hash_at(HEIGHT - 2))))
    home = tmp_path / "node"
    home.mkdir()
    save_genesis(lab.genesis, home / "genesis.json")
    here = ListenAddress("127.0.0.1", 0)
    chains = (ChainConfig(genesis=home / "genesis.json"),)
    config = NodeConfig(data_dir=home / "data", peer_listen=here, api_listen=here, chains=chains)
    save_config(config, home / "node.toml")
    with closing(LevelStore(directory_of(home) / "ledger")) as store:
        store.write(list(lab.store.scan(b"")))
    return home


def directory_of(home):
    return home / "data" / "lab"


def ask(capsys, *arguments):
    code = cli.run([*map(str, arguments), "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out), printed.err


def get_bodies_from(home):
    (genesis,) = load_chains(load_config(home / "node.toml"))
    with closing(LevelStore(directory_of(home) / "ledger")) as store:
        return Chain(genesis, store).bodies_from


def test_a_dry_run_says_what_pruning_then_does(home, capsys):
    code, [planned], _ = ask(capsys, "node", "prune", home, "--keep", "12 periods", "--dry-run")
    assert code == 0
    assert get_bodies_from(home) == planned["was_from_height"] == 1
    code, [done], _ = ask(capsys, "node", "prune", home, "--keep", "12 periods")
    assert code == 0
    assert get_bodies_from(home) == done["bodies_from_height"] == planned["bodies_from_height"] > 1
    assert done["bodies_from_height"] <= HEIGHT - 128
    assert done["bytes_after"] < done["bytes_before"]
    code, [again], _ = ask(capsys, "node", "prune", home, "--keep", "12 periods")
    assert again["bodies_from_height"] == again["was_from_height"] == done["bodies_from_height"]


def test_without_keep_the_nodes_own_setting_counts(home, capsys):
    _, [found], _ = ask(capsys, "node", "prune", home)
    assert (found["keep"], found["bodies_from_height"]) == ("all", 1)
    file = home / "node.toml"
    file.write_text(file.read_text() + '\n[storage]\nkeep = "12 periods"\n')
    _, [found], _ = ask(capsys, "node", "prune", home)
    assert found["keep"] == "12 periods"
    assert found["bodies_from_height"] > 1


def test_what_a_companion_holds_stays(home, capsys):
    holds = directory_of(home) / "holds"
    holds.mkdir()
    (holds / "archive").write_text("7\n")
    _, [found], _ = ask(capsys, "node", "prune", home, "--keep", "12 periods")
    assert found["bodies_from_height"] == 7
    (holds / "archive").write_text("no height")
    code, document, text = ask(capsys, "node", "prune", home, "--keep", "12 periods")
    assert (code, document["error"]) == (3, "BadHold")
    assert "try: the companion that wrote it; without the file nothing is held" in text


def test_compaction_gives_space_back_and_changes_nothing_else(home, capsys):
    with closing(LevelStore(directory_of(home) / "ledger")) as store:
        store.write([(b"x%d" % number, Random(number).randbytes(PADDING)) for number in range(500)])
        store.write([(b"x%d" % number, None) for number in range(500)])
        before = dict(store.scan(b""))
    code, [found], _ = ask(capsys, "node", "compact", home)
    assert code == 0
    assert found["bytes_after"] < found["bytes_before"] - 400 * PADDING
    with closing(LevelStore(directory_of(home) / "ledger")) as store:
        assert dict(store.scan(b"")) == before


@pytest.mark.parametrize("verb", ["prune", "compact"])
def test_a_running_node_is_left_alone(home, capsys, verb):
    with closing(LevelStore(directory_of(home) / "ledger")):
        code, document, _ = ask(capsys, "node", verb, home)
    assert (code, document["error"]) == (9, "StoreLocked")


def test_another_directory_and_another_choice_are_named(tmp_path, capsys, home):
    assert cli.run(["node", "prune", str(tmp_path)]) == 3
    assert "error[NotANode]" in capsys.readouterr().err
    assert cli.run(["node", "prune", str(home), "--keep", "a year"]) == 2
    assert "--keep 'a year': want \"all\", a number of periods" in capsys.readouterr().err
