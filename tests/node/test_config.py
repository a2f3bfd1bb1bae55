"""node.toml and genesis files: what is read, what is written, and how a mistake is told."""

import tomllib
from pathlib import Path

import pytest

from ledger.errors import BadConfigFile, ConfigError, UnreadableFile, UnwritableFile
from ledger.genesis import Genesis, GenesisMember
from ledger.params import ChainParams
from ledger.signatures import SigningKey
from node.config import ListenAddress, load_config, load_genesis, save_config, save_genesis

KEYS = [SigningKey(bytes([number]) * 32).public_key.hex() for number in (1, 2)]
MINIMAL = """
data_dir = "data"
peer_listen = "127.0.0.1:9100"
api_listen = "127.0.0.1:9200"
[[chains]]
genesis = "genesis.json"
"""
FULL = f"""
data_dir = "data"
key_file = "key.pem"
passphrase_file = "/etc/gridmerit/passphrase"
peer_listen = "0.0.0.0:9100"
api_listen = "[::1]:9200"
log_level = "debug"

[[chains]]
genesis = "genesis-jy1.json"

[[chains]]
genesis = "../shared/genesis-lh1.json"

[[peers]]
name = "m2"
url = "http://127.0.0.1:9101/"
key = "{KEYS[0]}"

[[peers]]
name = "m3"
url = "http://127.0.0.1:9102"
key = "0x{KEYS[1]}"

[sealing]
threads = 2
core_share_ppm = 500000

[limits]
mempool_transactions = 100
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="node.toml"):
        file = tmp_path / name
        file.write_text(text)
        return file

    return write


def problem_of(write, text):
    """What a user is told of a file, without the file's name."""
    file = write(text)
    with pytest.raises(BadConfigFile) as caught:
        load_config(file)
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith(f"{file}: ")
    return str(caught.value).removeprefix(f"{file}: ")


def test_paths_start_at_the_file(write, tmp_path):
    config = load_config(write(FULL))
    assert config.data_dir == tmp_path / "data"
    assert config.key_file == tmp_path / "key.pem"
    assert config.passphrase_file == Path("/etc/gridmerit/passphrase")
    assert [chain.genesis for chain in config.chains] == [
        tmp_path / "genesis-jy1.json",
        tmp_path / "../shared/genesis-lh1.json",
    ]


def test_addresses_and_keys_are_parsed(write):
    config = load_config(write(FULL))
    assert config.peer_listen == ListenAddress("0.0.0.0", 9100)
    assert config.api_listen == ListenAddress("::1", 9200)
    assert config.api_listen.url == "http://[::1]:9200"
    assert [peer.key.hex() for peer in config.peers] == KEYS
    assert [peer.url for peer in config.peers] == ["http://127.0.0.1:9101", "http://127.0.0.1:9102"]


def test_what_is_left_out_has_a_default(write):
    config = load_config(write(MINIMAL))
    assert config.key_file is None
    assert config.peers == ()
    assert config.log_level == "info"
    assert (config.sealing.threads, config.sealing.core_share_ppm) == (1, 100_000)
    assert config.limits.mempool_transactions == 20_000


@pytest.mark.parametrize("text", [MINIMAL, FULL])
def test_a_saved_config_reads_back_the_same(write, tmp_path, text):
    config = load_config(write(text))
    save_config(config, tmp_path / "copy.toml")
    assert load_config(tmp_path / "copy.toml") == config


def test_a_saved_config_can_move_with_its_directory(write, tmp_path):
    save_config(load_config(write(MINIMAL)), tmp_path / "copy.toml")
    values = tomllib.loads((tmp_path / "copy.toml").read_text())
    assert values["data_dir"] == "data"
    assert values["chains"] == [{"genesis": "genesis.json"}]


def test_odd_characters_in_paths_survive(write, tmp_path):
    config = load_config(write(MINIMAL)).model_copy(update={"data_dir": tmp_path / 'a "b" \\ c\té'})
    save_config(config, tmp_path / "copy.toml")
    assert load_config(tmp_path / "copy.toml") == config


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("peeers = 1\n" + MINIMAL, "unknown key peeers; did you mean peers?"),
        (MINIMAL + "[sealing]\nthread = 2", "unknown key sealing.thread; did you mean threads?"),
        (
            MINIMAL + "[sealing]\nzzz = 2",
            "unknown key sealing.zzz; known here: threads, core_share_ppm",
        ),
        (MINIMAL + 'extra = "x"', "unknown key chains[0].extra; known here: genesis"),
        (MINIMAL.replace('data_dir = "data"', ""), "data_dir is missing"),
        (MINIMAL.replace('"data"', '""'), "data_dir: have '', want a path as text"),
        (MINIMAL.replace('"data"', "7"), "data_dir: have 7, want a path as text"),
        (
            MINIMAL.replace("127.0.0.1:9100", "localhost"),
            "peer_listen: have 'localhost', want host:port, for example \"127.0.0.1:9200\"",
        ),
        (
            MINIMAL.replace("127.0.0.1:9100", "h:70000"),
            "peer_listen: have 'h:70000', want host:port, for example \"127.0.0.1:9200\"",
        ),
        (MINIMAL + "[sealing]\nthreads = -1", "sealing.threads: have -1, want greater than or equal to 0"),
        (MINIMAL + '[sealing]\nthreads = "2"', "sealing.threads: have '2', want a valid integer"),
        (
            'log_level = "loud"' + MINIMAL,
            "log_level: have 'loud', want 'debug', 'info', 'warning' or 'error'",
        ),
        (
            'key_file = "key.pem"' + MINIMAL,
            "key_file and passphrase_file come together: neither, or both",
        ),
        (
            FULL.replace("http://127.0.0.1:9101/", "127.0.0.1:9101"),
            "peers[0].url: have '127.0.0.1:9101', want a URL, for example \"http://127.0.0.1:9100\"",
        ),
        (FULL.replace('"m3"', '"m2"'), "two of the peers share a name"),
        (FULL.replace(KEYS[1], KEYS[0]), "two of the peers share a key"),
        ("data_dir = ", "not TOML: Invalid value (at end of document)"),
    ],
)
def test_a_mistake_is_told_in_one_line(write, text, problem):
    assert problem_of(write, text) == problem


def test_a_weak_peer_key_is_refused(write):
    problem = problem_of(write, FULL.replace(KEYS[0], "00" * 32))
    assert problem.startswith("peers[0].key: have ")
    assert "want an Ed25519 public key as 64 hexadecimal digits" in problem
    assert "a point of small order" in problem


def test_several_mistakes_are_told_together(write):
    problem = problem_of(write, "nonsense = 1\n" + MINIMAL + "[sealing]\nthreads = -1")
    first, *lines = problem.split("\n")
    assert first == ""
    assert [line.split(":")[0].split(";")[0] for line in lines] == ["  sealing.threads", "  unknown key nonsense"]


def test_a_node_without_chains_is_refused(write):
    text = 'data_dir = "d"\npeer_listen = "h:1"\napi_listen = "h:2"\nchains = []'
    assert problem_of(write, text) == "chains: have none, want at least 1"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UnreadableFile, match=r"cannot read .*absent.toml: No such file"):
        load_config(tmp_path / "absent.toml")
    with pytest.raises(UnreadableFile, match="directory"):
        load_config(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'data_dir = "\xe9"')
    with pytest.raises(UnreadableFile, match="not UTF-8"):
        load_config(tmp_path / "latin.toml")
    (tmp_path / "huge.toml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(UnreadableFile, match="larger than 1000000 bytes"):
        load_config(tmp_path / "huge.toml")


# --- genesis ---------------------------------------------------------------------------------------------


@pytest.fixture
def genesis():
    members = (
        GenesisMember(name="grid", role="grid-operator", key=bytes.fromhex(KEYS[0]), seals=True),
        GenesisMember(name="homes-2", role="consumer", key=bytes.fromhex(KEYS[1]), balance_uyuan=5_000_000),
    )
    return Genesis(params=ChainParams(name="jy1"), time_ms=1_700_000_000_000, members=members)


def test_a_saved_genesis_makes_the_same_chain(genesis, tmp_path):
    save_genesis(genesis, tmp_path / "genesis.json")
    again = load_genesis(tmp_path / "genesis.json")
    assert again == genesis
    assert again.chain_id == genesis.chain_id


def test_a_genesis_file_is_for_people(genesis, tmp_path):
    save_genesis(genesis, tmp_path / "genesis.json")
    text = (tmp_path / "genesis.json").read_text()
    assert f'"key": "0x{KEYS[1]}"' in text
    assert '"n_diff_initial": "0x1000000' in text
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"balance_uyuan": 5000000', '"balance_uyuan": -1', "members[1].balance_uyuan: have -1, want greater than"),
        ('"balance_uyuan": 5000000', '"balance": 1', "unknown key members[1].balance; did you mean balance_uyuan?"),
        ('"tau_upt"', '"tau"', "unknown key params.consensus.tau; did you mean tau_upt?"),
        ('"grid-operator"', '"observer"', "exactly one member must have the role grid-operator"),
        ('"seals": true', '"seals": false', "no member has the sealing right"),
        ("0x" + KEYS[0], "0x12", "the key of grid is not 32 bytes"),
        ("0x" + KEYS[0], "0xzz", "members[0].key: have '0xzz', want"),
        ("{", "", "Invalid JSON"),
    ],
)
def test_a_mistake_in_a_genesis_file_is_told(genesis, tmp_path, old, new, problem):
    file = tmp_path / "genesis.json"
    save_genesis(genesis, file)
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(BadConfigFile) as caught:
        load_genesis(file)
    assert problem in str(caught.value)


def test_a_directory_that_is_not_there_is_not_made(genesis, tmp_path):
    with pytest.raises(UnwritableFile):
        save_genesis(genesis, tmp_path / "absent" / "genesis.json")
    with pytest.raises(ConfigError):
        load_genesis(tmp_path / "absent" / "genesis.json")
