"""Containers: the file at the root is what the command writes, and no service gets more than it should."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from gridmerit.main import run
from gridmerit.network.compose import (
    COMPOSE_FILE,
    Cluster,
    choose_cluster,
    choose_params,
    list_volumes,
    provision,
    render_compose,
    save_compose,
)
from gridmerit.network.layout import load_network
from gridmerit.network.parameters import load_engine_params, load_packaged_profile, load_params_set
from ledger.errors import UnwritableFile
from node.config import load_chains, load_config, load_genesis
from node.credentials.keystore import load_key, load_passphrase
from node.errors import BadConfigFile

ROOT = Path(__file__).resolve().parents[3]
PROFILE = load_packaged_profile()
CLUSTER = choose_cluster(PROFILE, organisations=4, players=3)
ATTACKED = choose_cluster(PROFILE, organisations=4, players=3, attacked=True)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("volumes")
    assert provision(root, CLUSTER, params=choose_params(60_000), profile=PROFILE)
    return root


def _files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


# --- the file ------------------------------------------------------------------------------------


def test_the_file_at_the_root_is_what_the_command_writes(tmp_path: Path) -> None:
    assert run(["net", "new", str(tmp_path / "c"), "--compose", "--nodes", "4", "--players", "3"]) == 0
    written = (tmp_path / "c" / COMPOSE_FILE).read_text(encoding="utf-8")
    assert written == (ROOT / COMPOSE_FILE).read_text(encoding="utf-8")


def test_four_organisations_host_all_chains_and_three_players_one() -> None:
    assert CLUSTER.organisations == ("dispatch", "grid", "pv-101", "wind-122")
    assert [host.chains for host in CLUSTER.hosts] == [("*",)] * 4 + [("jy1",)] * 3


def _split(text: str) -> dict[str, str]:
    """The text of each service, by its name."""
    return dict(re.findall(r"^  ([a-z0-9-]+):(?:  #.*)?\n((?:    .*\n)+)", text, re.MULTILINE))


@pytest.mark.parametrize("cluster", [CLUSTER, ATTACKED, choose_cluster(PROFILE, organisations=10, players=0)])
def test_a_service_mounts_its_own_volume_and_what_is_public(cluster: Cluster) -> None:
    services = _split(render_compose(cluster))
    for name in cluster.names:
        assert set(re.findall(r"- ([a-z0-9-]+):/gridmerit/", services[name])) == {name, "public"}
    assert set(re.findall(r"- ([a-z0-9-]+):/gridmerit/", services["agents"])) == {"agents"}


def test_the_profile_attack_adds_one_service_and_changes_none() -> None:
    without, services = _split(render_compose(CLUSTER)), _split(render_compose(ATTACKED))
    attacker = services.pop("homes-4")
    assert "profiles: [attack]" in attacker
    assert 'restart: "no"' in attacker
    assert "profiles" not in "".join(services.values())
    assert services.pop("init") != without.pop("init"), "which makes the attacker's keys where it is asked to"
    assert services == without
    assert "homes-4" not in services["agents"], "they wait for nobody who may not be there"


def test_nobody_is_left_to_attack_where_every_member_is_honest() -> None:
    cluster = choose_cluster(PROFILE, organisations=10, players=2, attacked=True)
    assert cluster.attacker is None
    assert "attack" not in render_compose(cluster).replace("attacked", "")


@pytest.mark.parametrize("engine", ["poca", "pbft"])
def test_the_engine_reaches_the_init_service(engine: str, tmp_path: Path) -> None:
    words = ["net", "new", str(tmp_path), "--compose", "--nodes", "5", "--engine", engine]
    assert run(words) == 0
    text = (tmp_path / COMPOSE_FILE).read_text(encoding="utf-8")
    assert f"gridmerit net new DIR --compose --nodes 5 --engine {engine}`" in text
    assert f'"--nodes", "5", "--engine", "{engine}", "--period-ms"' in _split(text)["init"]


def test_what_a_compose_file_cannot_have_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--disposable"], ["--seed", "1"], ["--chains", "jy1"]):
        assert run(["net", "new", str(tmp_path), "--compose", *words]) == 2
        assert "--compose goes with --nodes, --players, --set," in capsys.readouterr().err
    assert run(["net", "new", str(tmp_path), "--compose", "--set", str(ROOT / "configs" / "paper")]) == 2
    assert "--compose takes a packaged set of parameters, one of recommended, paper, bft" in capsys.readouterr().err
    assert run(["net", "new", str(tmp_path), "--compose", "--rule", "merit"]) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_set_its_rule_and_alpha_reach_the_init_service_which_makes_a_network_of_them(tmp_path: Path) -> None:
    choices = ["--set", "paper", "--rule", "pay-as-bid", "--alpha", "0.15"]
    assert run(["net", "new", str(tmp_path), "--compose", "--nodes", "2", *choices]) == 0
    text = (tmp_path / COMPOSE_FILE).read_text(encoding="utf-8")
    assert ", ".join(f'"{word}"' for word in choices) in _split(text)["init"]
    assert f"--compose --nodes 2 {' '.join(choices)}`" in text
    words = ["net", "provision", str(tmp_path / "volumes"), "--nodes", "2", "--period-ms", "60000", *choices]
    assert run(words) == 0
    market = load_genesis(tmp_path / "volumes" / "public" / "genesis.json").params.market
    assert (market.clearing_rule, market.natural_factor_ppm) == ("pay-as-bid", 150_000)
    assert market.intention_ppm > 0, "which the paper's set alone has"


def test_orders_are_taken_long_enough_for_some_blocks_on_the_demo_s_clock() -> None:
    _, trading, _ = choose_params(8_000, load_params_set("paper"))
    assert trading.market.intention_ppm == 1_000_000, "eight blocks are a period"


def test_no_port_is_published_and_no_address_is_fixed() -> None:
    text = render_compose(CLUSTER)
    assert "internal: true" in text
    assert "ports:" not in text
    assert re.findall(r"\d+\.\d+\.\d+\.\d+", text) == []


def test_the_image_has_a_directory_for_every_volume() -> None:
    largest = choose_cluster(PROFILE, organisations=10, players=2)
    assert set(largest.volumes) <= set(list_volumes())


def test_a_compose_file_is_not_overwritten(tmp_path: Path) -> None:
    save_compose(tmp_path, "mine")
    with pytest.raises(UnwritableFile):
        save_compose(tmp_path, "other")
    assert (tmp_path / COMPOSE_FILE).read_text(encoding="utf-8") == "mine"


# --- the volumes ---------------------------------------------------------------------------------


def test_every_node_can_start_from_its_volume_and_the_public_one(volumes: Path) -> None:
    for name in CLUSTER.names:
        config = load_config(volumes / name / "node.toml")
        chains = {genesis.params.name for genesis in load_chains(config)}
        assert chains == ({"jy1", "du1", "lh1"} if name in CLUSTER.organisations else {"jy1"})
        assert config.key_file is not None
        assert config.passphrase_file is not None
        key = load_key(config.key_file, load_passphrase(config.passphrase_file))
        member = next(item for item in load_genesis(volumes / "public/genesis.json").members if item.name == name)
        assert member.key == key.public_key
        assert member.seals == (("*",) if name in CLUSTER.organisations else ("jy1",))


def test_services_know_each_other_by_name(volumes: Path) -> None:
    document = tomllib.loads((volumes / "grid" / "node.toml").read_text(encoding="utf-8"))
    assert document["peer_listen"] == "0.0.0.0:9100"
    assert document["api_listen"] == "0.0.0.0:9200"
    urls = {peer["name"]: peer["url"].partition("://")[2] for peer in document["peers"]}
    assert urls == {name: f"{name}:9100" for name in CLUSTER.names if name != "grid"}
    only = {peer["name"]: peer.get("chains") for peer in document["peers"]}
    assert only == {name: ["jy1"] if name in CLUSTER.players else None for name in urls}


def test_nobody_holds_the_key_of_another_node(volumes: Path) -> None:
    for name in CLUSTER.names:
        keys = {path.read_bytes() for path in (volumes / name).rglob("*.pem") if path.stat().st_mode & 0o077 == 0}
        for other in CLUSTER.names:
            if other != name:
                assert not keys & {path.read_bytes() for path in (volumes / other).rglob("*key.pem")}


def test_what_is_public_holds_no_secret(volumes: Path) -> None:
    assert "genesis.json" in _files(volumes / "public")
    for name in _files(volumes / "public"):
        assert b"PRIVATE" not in (volumes / "public" / name).read_bytes()


def test_every_secret_is_for_its_owner_alone(volumes: Path) -> None:
    for path in volumes.rglob("*"):
        if path.is_file() and (path.name == "passphrase" or b"PRIVATE" in path.read_bytes()):
            assert path.stat().st_mode & 0o077 == 0, path


def test_the_agents_have_a_network_to_play_in(volumes: Path) -> None:
    network = load_network(volumes / "agents")
    assert [node.api_url for node in network.nodes] == [f"http://{name}:9200" for name in CLUSTER.names]
    assert len(network.players) == 10
    for player in network.players:
        load_key(network.directory / player.key_file, load_passphrase(network.directory / player.passphrase_file))
    assert load_genesis(network.genesis_path) == load_genesis(volumes / "public/genesis.json")


# --- once ----------------------------------------------------------------------------------------


def test_a_second_run_changes_nothing(volumes: Path) -> None:
    before = {path: path.read_bytes() for path in volumes.rglob("*") if path.is_file()}
    assert not provision(volumes, CLUSTER, params=choose_params(60_000), profile=PROFILE)
    assert before == {path: path.read_bytes() for path in volumes.rglob("*") if path.is_file()}


def test_what_an_interrupted_run_left_is_made_anew(tmp_path: Path) -> None:
    cluster = choose_cluster(PROFILE, organisations=2, players=0)
    (tmp_path / "dispatch").mkdir()
    (tmp_path / "dispatch" / "key.pem").write_text("half a key")
    assert provision(tmp_path, cluster, params=choose_params(60_000), profile=PROFILE)
    assert "half" not in (tmp_path / "dispatch" / "key.pem").read_text(encoding="utf-8")


def test_a_lost_volume_is_named_and_not_filled_with_a_key_of_nobody(tmp_path: Path) -> None:
    cluster = choose_cluster(PROFILE, organisations=2, players=0)
    provision(tmp_path, cluster, params=choose_params(60_000), profile=PROFILE)
    (tmp_path / "grid" / "node.toml").unlink()
    with pytest.raises(BadConfigFile, match="volume of grid is empty"):
        provision(tmp_path, cluster, params=choose_params(60_000), profile=PROFILE)


def test_a_short_period_has_the_clock_of_the_demo() -> None:
    slow, fast = ({chain.kind: chain for chain in choose_params(period_ms)} for period_ms in (60_000, 8_000))
    assert fast["scheduling"].scheduling.quota_ppm > slow["scheduling"].scheduling.quota_ppm
    assert {chain.ledger.period_ms for chain in fast.values()} == {8_000}


@pytest.mark.parametrize("period_ms", [8_000, 60_000])
@pytest.mark.parametrize("engine", ["poca", "pbft"])
def test_an_engine_is_that_of_every_chain(engine: str, period_ms: int) -> None:
    chains = choose_params(period_ms, load_engine_params(engine))
    assert {chain.name for chain in chains} == {"du1", "jy1", "lh1"}
    assert {chain.consensus.engine for chain in chains} == {engine}


def test_a_network_of_another_engine_is_made(tmp_path: Path) -> None:
    arguments = ["net", "provision", str(tmp_path), "--nodes", "2", "--period-ms", "60000", "--engine", "poca"]
    assert run(arguments) == 0
    engines = {chain.consensus.engine for chain in load_genesis(tmp_path / "public" / "genesis.json").chains}
    assert engines == {"poca"}


def test_only_a_network_with_an_attacker_is_disposable(volumes: Path, tmp_path: Path) -> None:
    assert not load_genesis(volumes / "public" / "genesis.json").disposable
    arguments = ["net", "provision", str(tmp_path), "--nodes", "2", "--period-ms", "60000"]
    assert run([*arguments, "--attack", "charm"]) == 3, "there is none of that name"
    assert run([*arguments, "--attack", "spam"]) == 0
    assert load_genesis(tmp_path / "public" / "genesis.json").disposable
    assert load_config(tmp_path / "pv-101" / "node.toml").tls is not None
    assert run([*arguments, "--attack", ""]) == 0, "the attacker may stay away"


def test_a_network_made_without_an_attacker_gets_none_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["net", "provision", str(tmp_path), "--nodes", "2", "--period-ms", "60000"]
    assert run([*arguments, "--attack", ""]) == 0
    assert run([*arguments, "--attack", "spam"]) == 3
    assert "the volume of pv-101 is empty; remove all of them" in capsys.readouterr().err


def test_provision_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["net", "provision", str(tmp_path), "--nodes", "1", "--period-ms", "60000", "--json"]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["made"]
    assert run(arguments) == 0
    assert not json.loads(capsys.readouterr().out)["made"]


def test_one_argument_pins_every_stage_of_the_image_that_comes_from_elsewhere():
    lines = [line.split() for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()]
    assert {words[1] for words in lines if words[:1] == ["FROM"]} == {"${BASE}"}
    (base,) = [words[1] for words in lines if words[:1] == ["ARG"] and words[1].startswith("BASE=")]
    assert re.fullmatch(r"BASE=[\w.:/-]+@sha256:[0-9a-f]{64}", base), "a tag may be moved"
