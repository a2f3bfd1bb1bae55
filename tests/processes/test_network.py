"""`gridmerit net` and the commands that talk to a node, on a network of two real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from consensus.errors import BadParameters
from consensus.poca.credit_target import compute_shares, compute_target
from gridmerit.main import run
from gridmerit.network.calibration import calibrate, compute_n_diff
from gridmerit.network.layout import load_network
from gridmerit.network.make import find_free_ports, new_network
from gridmerit.network.parameters import (
    PACKAGED,
    choose_chains,
    get_packaged_params,
    load_chain_params,
    load_packaged_profile,
    load_params_set,
    scale_params,
)
from gridmerit.network.processes import find_pid, start_node
from ledger.params import ChainParams
from node.config import load_chains, load_config, load_genesis, load_network_document
from node.credentials.keystore import load_key, load_passphrase
from node.errors import BadConfigFile, NoSuchChain
from tests.support.patience import until

pytestmark = pytest.mark.live

Ask = Callable[..., tuple[int, object]]

PROFILE = load_packaged_profile()
_FINE = ("ok", "syncing", "waits")  # whoever has just missed a block fetches it, or has just started and waits to sign
PERIOD_MS = 20_000  # long enough for an order to be placed, cancelled and looked at before its gate


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of three nodes that is never started."""
    home = tmp_path_factory.mktemp("files") / "net"
    new_network(home, nodes=3, params=[ChainParams(name="jy1")], profile=PROFILE, seed=5)
    return home


def test_sealing_members_are_players_producers_first(files: Path) -> None:
    genesis = load_genesis(files / "genesis.json")
    assert [member.name for member in genesis.members if member.seals_on("jy1")] == ["pv-101", "wind-122", "homes-1"]
    roles = {member.name: member.role for member in genesis.members}
    assert roles["grid"] == "grid-operator"
    assert roles["meter-homes-8"] == "device"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two nodes and three chains that is never started."""
    home = tmp_path_factory.mktemp("three") / "net"
    params = [scale_params(chain, 60_000) for chain in load_params_set()]
    new_network(home, nodes=2, params=params, profile=PROFILE, seed=5)
    return home


def test_one_genesis_file_holds_all_chains(three: Path) -> None:
    document = load_network_document(three / "genesis.json")
    assert document.names == ("du1", "jy1", "lh1")
    chains = [load_genesis(three / "genesis.json", name) for name in document.names]
    assert len({genesis.chain_id for genesis in chains}) == 3
    assert len({genesis.sealers for genesis in chains}) == 1, "every node seals all of them"
    network = load_network(three)
    assert (network.chain, network.chains) == ("jy1", ("jy1", "du1", "lh1"))
    assert [network.find_chain(kind) for kind in ("scheduling", "credit", "other")] == ["du1", "lh1", None]


def test_every_node_hosts_all_chains_the_trading_chain_first(three: Path) -> None:
    for node in load_network(three).nodes:
        config = load_config(three / node.directory / "node.toml")
        assert [genesis.params.name for genesis in load_chains(config)] == ["jy1", "du1", "lh1"]
        assert [peer.chains for peer in config.peers] == [None]


def test_players_are_dealt_over_the_lines_of_the_feeder(three: Path, files: Path) -> None:
    lines = [line.name for line in load_genesis(three / "genesis.json", "du1").params.scheduling.lines]
    positions = {member.name: member.position for member in load_genesis(three / "genesis.json").members}
    players = ["pv-101", "wind-122", *(f"homes-{number}" for number in range(1, 9))]
    assert [positions[name] for name in players] == [*lines, *lines][:10]
    assert positions["meter-homes-1"] == positions["grid"] == positions["dispatch"] == ""
    alone = load_genesis(files / "genesis.json").members
    assert {member.position for member in alone if member.name in players} == {"feeder-1"}


def test_a_scheduling_chain_has_a_dispatcher(three: Path, files: Path) -> None:
    dispatcher = load_network(three).dispatcher
    assert dispatcher is not None
    key = load_key(three / dispatcher.key_file, load_passphrase(three / dispatcher.passphrase_file))
    members = {member.name: member for member in load_genesis(three / "genesis.json").members}
    assert (members["dispatch"].role, members["dispatch"].key) == ("dispatcher", key.public_key)
    assert not members["dispatch"].seals
    assert load_network(files).dispatcher is None


def test_chains_that_do_not_fit_leave_no_directory(tmp_path: Path) -> None:
    du1, jy1, _ = load_params_set()
    with pytest.raises(BadParameters, match="the chains differ in period_ms"):
        new_network(tmp_path / "net", nodes=1, params=[scale_params(du1, 60_000), jy1], profile=PROFILE)
    with pytest.raises(BadParameters, match="no chain is of the kind trading"):
        new_network(tmp_path / "net", nodes=1, params=[du1], profile=PROFILE)
    assert not (tmp_path / "net").exists()


def test_the_network_of_another_version_is_told(tmp_path: Path) -> None:
    (tmp_path / "network.json").write_text(
        '{"chain": "jy1", "genesis": "genesis-jy1.json", "nodes": [], "players": []}'
    )
    with pytest.raises(BadConfigFile, match="another version of gridmerit made this network"):
        load_network(tmp_path)


def test_every_node_knows_all_others(files: Path) -> None:
    network = load_network(files)
    keys = {node.name: node.key for node in network.nodes}
    for node in network.nodes:
        config = load_config(files / node.directory / "node.toml")
        assert {peer.name: peer.key.hex() for peer in config.peers} == {
            name: key for name, key in keys.items() if name != node.name
        }
        assert config.key_file is not None
        assert config.passphrase_file is not None
        assert load_key(config.key_file, load_passphrase(config.passphrase_file)).public_key.hex() == node.key


def test_secrets_are_for_their_owner_alone(files: Path) -> None:
    public = ("tls.pem", "ca.pem")
    secrets = [
        file
        for file in files.rglob("*")
        if (file.suffix == ".pem" and file.name not in public) or file.name == "passphrase"
    ]
    keys = 21 + 3 + 2  # one per member, a TLS key per node, two of the authority
    assert len(secrets) == keys + 5  # a passphrase per node, one of the authority, one shared by the rest
    assert {file.stat().st_mode & 0o777 for file in secrets} == {0o600}


def test_capacity_holds_every_reading(files: Path) -> None:
    capacities = {member.name: member.capacity_wh for member in load_genesis(files / "genesis.json").members}
    for (name, _), reading in PROFILE.readings.items():
        assert max(reading) <= capacities[name]


def test_players_are_registered_with_what_the_profile_says_of_their_generation(files: Path) -> None:
    members = {member.name: member for member in load_genesis(files / "genesis.json").members}
    for player in PROFILE.players:
        member, hours = members[player.name], [PROFILE.readings[player.name, hour] for hour in PROFILE.hours_ms]
        if player.role == "consumer":
            assert (member.renewable_ppm, member.stability_ppm) == (0, 0)
            continue
        assert member.renewable_ppm == 1_000_000
        missed = sum(abs(forecast - actual) for forecast, actual in hours)
        assert member.stability_ppm == 1_000_000 - -(-1_000_000 * missed // sum(map(max, hours)))


def test_a_seed_makes_the_same_keys_and_no_seed_new_ones(files: Path, tmp_path: Path) -> None:
    def keys(home: Path) -> list[bytes]:
        return [member.key for member in load_genesis(home / "genesis.json").members]

    for name, seed in (("same", 5), ("other", 6), ("new", None)):
        new_network(tmp_path / name, nodes=1, params=[ChainParams(name="jy1")], profile=PROFILE, seed=seed)
    assert keys(tmp_path / "same") == keys(files)
    assert not set(keys(tmp_path / "other")) & set(keys(files))
    assert not set(keys(tmp_path / "new")) & set(keys(files))


def test_free_ports_differ_and_are_given_to_nobody_else() -> None:
    ports = find_free_ports(20)
    assert len(set(ports)) == 20
    with ExitStack() as stack:
        others = [stack.enter_context(socket.socket()) for _ in range(500)]
        for other in others:
            other.bind(("127.0.0.1", 0))
        assert not {other.getsockname()[1] for other in others} & set(ports)
        for port in ports:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))


# --- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["recommended", "paper"])
def test_n_diff_gives_a_block_per_interval(name: str) -> None:
    params = scale_params(load_chain_params(get_packaged_params(name)), 2_400)
    n_diff = compute_n_diff(params, sealers=4, nonces_per_s=1_000_000)
    target = compute_target(n_diff, params.market.initial_credit_upt, params.consensus.tau_upt)
    tries_per_interval = 4 * 1_000_000 * params.consensus.block_interval_ms // 1_000
    assert compute_shares([params.market.initial_credit_upt] * 4, params.consensus.tau_upt) == [0.25] * 4
    assert target * tries_per_interval / 2**256 == pytest.approx(1, rel=1e-9)


def test_n_diff_stays_within_the_chain_s_bounds() -> None:
    params = load_chain_params(get_packaged_params())
    assert compute_n_diff(params, sealers=1, nonces_per_s=0) == params.consensus.n_diff_max
    assert compute_n_diff(params, sealers=10, nonces_per_s=2**300) == params.consensus.n_diff_min


@pytest.mark.parametrize("name", PACKAGED)
def test_the_chains_of_a_packaged_set_make_a_network(name: str, tmp_path: Path) -> None:
    params = load_params_set(name)
    assert [(chain.name, chain.kind) for chain in params] == [
        ("du1", "scheduling"),
        ("jy1", "trading"),
        ("lh1", "credit"),
    ]
    assert {chain.ledger.max_transaction_bytes for chain in params} == {65_536}, "relays go everywhere"
    engines = [chain.consensus.engine for chain in params]
    expected = {"recommended": ["pbft", "poca", "poca"], "paper": ["poca"] * 3, "bft": ["pbft"] * 3}
    assert engines == expected[name]
    gates_alone = {"gate_tolerance_ms": params[2].consensus.gate_tolerance_ms}
    assert params[1].consensus.model_copy(update=gates_alone) == params[2].consensus
    new_network(tmp_path / "net", nodes=1, params=params, profile=PROFILE)
    clock, market = params[0].scheduling, params[1].market
    slot_ppm = 1_000_000 // params[0].consensus.checkpoints_per_period
    for earlier, later in (
        (clock.quota_ppm, market.open_ppm),  # a quota is there when orders open
        (market.gate_ppm - slot_ppm, clock.verdict_ppm),  # two checkpoints' time for the trade list
        (clock.verdict_ppm - slot_ppm, market.deadline_ppm),  # and two for the verdict
        (market.settle_ppm - clock.meter_ppm, 4 * slot_ppm),  # and four for what was metered
    ):
        assert earlier >= later + (slot_ppm if earlier != 4 * slot_ppm else 0)


@pytest.mark.parametrize(
    ("name", "over_delivery"), [("paper", "unlimited"), ("recommended", 250_000), ("bft", 250_000)]
)
def test_agreed_prices_hold_without_limit_in_the_papers_set_alone(name: str, over_delivery: object) -> None:
    du1, jy1, _ = load_params_set(name)
    assert jy1.market.over_delivery_ppm == du1.market.over_delivery_ppm == over_delivery
    assert (jy1.market.plausible_ppm, jy1.market.correction_ppm) == (1_200_000, 24_000_000)
    dearest = max(area.wheeling_uyuan_per_kwh for area in du1.scheduling.areas)
    highest = 10**8 if name == "paper" else jy1.market.retail_uyuan_per_kwh + dearest
    assert jy1.market.max_price_uyuan_per_kwh == highest


def test_a_set_is_a_name_a_directory_or_a_file(tmp_path: Path) -> None:
    files = get_packaged_params("paper").parent
    assert load_params_set(files) == load_params_set("paper")
    assert load_params_set(files / "jy1.toml") == (load_chain_params(files / "jy1.toml"),)
    with pytest.raises(BadParameters, match="has no TOML file, one per chain is wanted"):
        load_params_set(tmp_path)
    with pytest.raises(
        BadParameters, match="recomended is neither a file nor a directory, nor one of recommended, paper"
    ):
        load_params_set("recomended")


def test_chains_are_chosen_by_name() -> None:
    params = load_params_set()
    assert [chain.name for chain in choose_chains(params, ["lh1", "jy1"], "recommended")] == ["jy1", "lh1"]
    with pytest.raises(NoSuchChain, match="recommended has no chain 'jy2', it has du1, jy1, lh1"):
        choose_chains(params, ["jy1", "jy2"], "recommended")


def test_an_unknown_key_of_a_line_is_told(tmp_path: Path) -> None:
    file = tmp_path / "du1.toml"
    text = get_packaged_params(chain="du1").read_text()
    file.write_text(text.replace("capacity_wh = 925_000", "capacity = 925_000"))
    with pytest.raises(BadParameters, match=r"scheduling\.lines\.1\."):
        load_chain_params(file)
    file.write_text(text + "capactiy_wh = 1\n")
    with pytest.raises(
        BadParameters, match=r"unknown key 'scheduling\.lines\.5\.capactiy_wh', did you mean 'capacity_wh'"
    ):
        load_chain_params(file)


def test_a_node_s_search_is_shared_by_its_chains() -> None:
    params = load_params_set()
    together = calibrate(params, sealers=4, nonces_per_s=3_000_000)
    assert together[0] == params[0], "DU1 agrees on its blocks and searches nothing"
    for chain in together[1:]:
        alone = compute_n_diff(chain, sealers=4, nonces_per_s=1_500_000)
        assert chain.consensus.n_diff_initial == alone, "half of the search for each"


def test_scaling_shortens_blocks_with_the_period() -> None:
    params = load_chain_params(get_packaged_params())
    assert scale_params(params, 3_600_000).consensus.block_interval_ms == params.consensus.block_interval_ms
    assert scale_params(params, 2_400).consensus.block_interval_ms == 200
    assert scale_params(params, 60_000).consensus.block_interval_ms == 2_500
    ChainParams.model_validate(scale_params(params, 2_400).model_dump())
    assert len({scale_params(chain, 2_400).consensus.block_interval_ms for chain in load_params_set()}) == 1
    with pytest.raises(BadParameters):
        scale_params(params, 700)


# --- three chains, one process per node -------------------------------------------------------------


@pytest.fixture(scope="module")
def live_three(three: Path) -> Iterator[Path]:
    """The network of three chains, running."""
    try:
        assert run(["net", "up", str(three)]) == 0
        yield three
    finally:
        run(["net", "down", str(three)])


def test_status_has_a_line_per_node_and_chain(live_three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["net", "status", str(live_three)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    expected = [(name, chain) for name in ("pv-101", "wind-122") for chain in ("jy1", "du1", "lh1")]
    assert [(line[0], line[3]) for line in lines] == expected
    assert [line for line in lines if line[2] not in _FINE or "1/1" not in line] == []
    assert run(["status", "--node", str(live_three)]) == 0
    out = capsys.readouterr().out
    assert [kind for kind in ("jy1, trading", "du1, scheduling", "lh1, credit") if kind not in out] == []


def test_a_plan_goes_to_the_scheduling_chain_unless_another_is_named(
    live_three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(*args: str) -> tuple[int, dict[str, object]]:
        code = run([*args, "--node", str(live_three), "--json"])
        return code, json.loads(capsys.readouterr().out)

    plan = ("tx", "send", "plan", "9", '[["hill-1", 70000, 800000]]')
    code, sent = ask(*plan, "--key", "dispatch")
    assert (code, sent["code"]) == (0, "")
    assert ask("tx", "show", str(sent["id"]), "--chain", "du1")[0] == 0
    assert ask("tx", "show", str(sent["id"]), "--chain", "jy1")[0] == 5
    assert ask("tx", "show", str(sent["id"]))[1]["chain"] == "du1", "where none is named, every chain is asked"
    assert ask("tx", "wait", str(sent["id"]))[1]["chain"] == "du1"
    assert ask("tx", "show", "ab" * 32)[0] == 5
    assert ask("tx", "wait", "ab" * 32, "--timeout", "0.2")[0] == 8
    assert ask(*plan, "--key", "homes-3")[1]["error"] == "NotADispatcher"
    assert ask(*plan, "--key", "dispatch", "--chain", "jy1")[1]["error"] == "UnknownKind"
    assert ask("account", "show", "homes-3")[1]["position"] == "village-3"


def test_doctor_of_a_running_node_with_three_chains(live_three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--node", str(live_three / "nodes" / "pv-101")]) == 0
    out = capsys.readouterr().out
    assert out.count("in use by the running node") == 3
    assert "pv-101 (producer, may seal on jy1, du1, lh1)" in out


# --- processes -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two nodes that run until the module is through."""
    home = tmp_path_factory.mktemp("live") / "net"
    params = scale_params(load_chain_params(get_packaged_params()), PERIOD_MS)
    fast = params.consensus.model_copy(update={"block_interval_ms": 200, "max_ahead_ms": 500})
    new_network(home, nodes=2, params=[params.model_copy(update={"consensus": fast})], profile=PROFILE, seed=1)
    try:
        assert run(["net", "up", str(home)]) == 0
        yield home
    finally:
        run(["net", "down", str(home)])


@pytest.fixture
def ask(live: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """A command with --node and --json: exit code and the one document it prints."""

    def call(*args: object) -> tuple[int, object]:
        code = run([*(str(arg) for arg in args), "--node", str(live), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


def test_up_is_idempotent(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pids = [find_pid(load_network(live), node) for node in load_network(live).nodes]
    assert run(["net", "up", str(live), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "started": [],
        "already_running": ["pv-101", "wind-122"],
        "out": [],
    }
    assert [find_pid(load_network(live), node) for node in load_network(live).nodes] == pids


def test_status_has_a_line_per_node(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["net", "status", str(live)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["pv-101", "wind-122"]
    assert [line for line in lines[2:] if line.split()[2] not in _FINE or "1/1" not in line] == []


def test_a_transfer_takes_effect(ask: Ask) -> None:
    _, before = ask("account", "show", "homes-3")
    code, outcome = ask("tx", "send", "transfer", "homes-3", "12.50", "--key", "homes-1")
    assert code == 0
    assert outcome["code"] == ""
    assert ask("tx", "wait", outcome["id"], "--depth", "2")[0] == 0
    height = ask("tx", "show", outcome["id"])[1]["height"]  # where it stays: a reorg may have moved it
    _, after = ask("account", "show", "homes-3")
    assert int(after["balance_uyuan"]) - int(before["balance_uyuan"]) == 12_500_000
    _, block = ask("block", "show", height)
    assert outcome["id"] in [transaction["id"] for transaction in block["transactions"]]


def test_an_order_is_placed_seen_and_cancelled(ask: Ask) -> None:
    code, placed = ask("market", "place", "bid", "--price", "0.52", "--volume", "12.5", "--key", "homes-4")
    assert code == 0
    until(lambda: ask("market", "book", "--period", placed["period"])[1]["book"]["bids"])  # a reorg may undo it
    book = ask("market", "book", "--period", placed["period"])[1]["book"]
    assert [(order["owner_name"], order["volume_wh"]) for order in book["bids"]] == [("homes-4", 12_500)]
    code, compared = ask("market", "compare", "--period", book["period"])
    assert (code, compared["bids"], compared["wanted_wh"], compared["chain_rule"]) == (0, 1, 12_500, "price-time")
    assert placed["order_id"] == book["bids"][0]["order_id"]
    cancel = ("market", "cancel", placed["order_id"], "--period", book["period"], "--key", "homes-4")
    assert ask(*cancel)[0] == 0
    until(lambda: ask("market", "book", "--period", book["period"])[1]["book"]["bids"] == [])  # a reorg may undo it
    assert ask("market", "compare", "--period", book["period"])[0] == 5


def test_shares_follow_from_credits(ask: Ask) -> None:
    _, entries = ask("credit", "show")
    assert [entry["share_ppm"] for entry in entries if entry["share_ppm"] is not None] == [500_000, 500_000]
    assert ask("credit", "show", "homes-2")[1][0]["name"] == "homes-2"


def test_a_proof_travels_as_a_file(ask: Ask, live: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, genesis = tmp_path / "proof.json", live / "genesis.json"
    assert ask("proof", "get", "account", "wind-122", "-o", file)[0] == 0
    assert run(["proof", "verify", str(file), "--genesis", str(genesis)]) == 0
    assert "wind-122" in capsys.readouterr().out
    document = json.loads(file.read_text())
    document["account"]["balance_uyuan"] += "0"
    file.write_text(json.dumps(document))
    assert run(["proof", "verify", str(file), "--genesis", str(genesis)]) == 7


def test_5_not_found(ask: Ask) -> None:
    code, document = ask("account", "show", "nobody")
    assert (code, document["error"]) == (5, "UnknownAccount")
    assert ask("tx", "show", "ab" * 32)[0] == 5


def test_6_rejected_by_the_rules(ask: Ask) -> None:
    code, document = ask("tx", "send", "transfer", "homes-3", "1000000", "--key", "homes-1")
    assert (code, document["error"]) == (6, "InsufficientBalance")
    code, document = ask("market", "place", "offer", "--price", "0.5", "--volume", "1", "--key", "homes-1")
    assert (code, document["error"]) == (6, "SideNotAllowed")


def test_8_timeout(ask: Ask) -> None:
    code, document = ask("tx", "wait", "ab" * 32, "--timeout", "0.2")
    assert (code, document["error"]) == (8, "TimedOut")


def test_doctor_of_a_running_node(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--node", str(live / "nodes" / "pv-101")]) == 0
    out = capsys.readouterr().out
    assert "in use by the running node" in out
    assert "ok    peer wind-122" in out
    assert out.count("is held by this node, which is running") == 2


def test_doctor_looks_for_peers_where_the_running_node_reaches_them(
    live: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = live / "nodes" / "pv-101" / "node.toml"
    text = config.read_text()
    url = load_network(live).nodes[1].peer_url
    config.write_text(text.replace(url, "https://127.0.0.1:1"))
    try:
        assert run(["doctor", "--node", str(config.parent)]) == 0
    finally:
        config.write_text(text)
    assert f"ok    peer wind-122: {url} answers" in capsys.readouterr().out


def test_doctor_of_a_running_node_that_does_not_answer(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = load_network(live)
    pid = find_pid(network, network.nodes[0])
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert run(["doctor", "--node", str(live / "nodes" / "pv-101")]) == 0
    finally:
        os.kill(pid, signal.SIGCONT)
    assert capsys.readouterr().out.count("is held by this node, which does not answer in time") == 2


def test_doctor_of_a_node_whose_ports_another_holds(
    live: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "twin"
    shutil.copytree(live / "nodes" / "pv-101", home, ignore=shutil.ignore_patterns("data"))
    config = home / "node.toml"
    genesis = live / "genesis.json"
    config.write_text(re.sub(r'genesis = ".*"', f'genesis = "{genesis}"', config.read_text()))
    assert run(["doctor", "--node", str(home)]) == 3
    assert capsys.readouterr().out.count("is held by another node (pv-101)") == 2


def test_a_node_that_ended_is_started_again(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = load_network(live)
    pid = find_pid(network, network.nodes[1])
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while find_pid(network, network.nodes[1]) is not None:
        pass
    assert run(["net", "status", str(live)]) == 0
    assert "not running" in capsys.readouterr().out
    assert run(["net", "up", str(live), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["started"] == ["wind-122"]


def test_a_node_that_cannot_start_says_why(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = files / "nodes" / "homes-1" / "node.toml"
    text = config.read_text()
    config.write_text("data_dri = 'x'\n" + text)
    try:
        assert run(["net", "up", str(files)]) == 4
    finally:
        run(["net", "down", str(files)])
        config.write_text(text)
    err = capsys.readouterr().err
    assert "error[NodeFailed] node homes-1 ended before it was healthy" in err
    assert "did you mean data_dir?" in err
    assert "; its log ends: error[BadConfigFile] " in err
    assert f"try: gridmerit doctor --node {files / 'nodes' / 'homes-1'}" in err


@pytest.fixture
def taken(files: Path) -> Iterator[str]:
    """The API address of the last node of `files`, on which something else listens."""
    url = load_network(files).nodes[-1].api_url.removeprefix("http://")
    host, _, port = url.partition(":")
    with socket.create_server((host, int(port))):
        yield url
    run(["net", "down", str(files)])


def test_up_with_a_port_taken_says_what_runs_and_stops_what_it_started(
    files: Path, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    network = load_network(files)
    assert run(["net", "up", str(files)]) == 4
    err = capsys.readouterr().err
    assert "error[NodeFailed] node homes-1 ended before it was healthy" in err
    assert f"cannot listen on {taken}" in err
    assert "stopped again: pv-101, wind-122" in err
    assert [find_pid(network, node) for node in network.nodes] == [None] * 3


def test_up_with_a_port_taken_leaves_alone_what_ran_before(
    files: Path, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    network = load_network(files)
    assert start_node(network, network.nodes[0])
    before = find_pid(network, network.nodes[0])
    assert run(["net", "up", str(files), "--json"]) == 4
    values = json.loads(capsys.readouterr().out)["values"]
    assert (values["name"], values["stopped"], values["running"]) == ("homes-1", "['wind-122']", "['pv-101']")
    assert [find_pid(network, node) for node in network.nodes] == [before, None, None]


def test_up_of_a_node_with_a_damaged_chain_leaves_all_running(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "net"
    params = [scale_params(chain, 60_000) for chain in load_params_set()]
    new_network(home, nodes=2, params=params, profile=PROFILE, seed=5)
    guard = home / "nodes" / "wind-122" / "data" / "lh1" / "guard"
    guard.parent.mkdir(parents=True)
    guard.write_bytes(b"no guard")
    try:
        assert run(["net", "up", str(home), "--json"]) == 4
        [out] = json.loads(capsys.readouterr().out)["out"]
        assert (out["node"], out["chain"], out["error"]) == ("wind-122", "lh1", "GuardCorrupt")
        assert run(["net", "status", str(home)]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
        assert [row[2:5] for row in rows if row[2] == "OUT:"] == [["OUT:", "GuardCorrupt", "lh1"]]
        assert len(rows) == 6
        assert "chain-out" in (guard.parents[2] / "node.log").read_text()
        assert run(["net", "up", str(home)]) == 4
        assert "wind-122 runs without lh1: chain lh1 in " in capsys.readouterr().out
    finally:
        run(["net", "down", str(home)])


def test_down_is_idempotent(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["net", "down", str(files), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out).values()) == {"not running"}
