"""node.toml and genesis files: what is read, what is written, and how a mistake is told."""

import tomllib
from pathlib import Path

import pytest

from ledger.errors import ConfigError, UnreadableFile, UnwritableFile
from ledger.genesis import Genesis, GenesisMember
from ledger.params import ChainParams, LedgerParams
from ledger.signatures import SigningKey
from node.chain.trusted_block import TrustedBlock
from node.config import (
    ListenAddress,
    describe_network,
    load_chains,
    load_config,
    load_genesis,
    load_network_document,
    save_config,
    save_genesis,
)
from node.errors import BadConfigFile, ChainNotNamed, NoSuchChain

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

[tls]
certificate = "shown/tls.pem"

[[chains]]
genesis = "genesis.json"
name = "jy1"

[[chains]]
genesis = "../shared/genesis.json"

[[peers]]
name = "m2"
url = "https://127.0.0.1:9101/"
key = "{KEYS[0]}"

[[peers]]
name = "m3"
url = "https://127.0.0.1:9102"
key = "0x{KEYS[1]}"
chains = ["jy1"]

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
    """The problem that a user is told of a file, without the file's name."""
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
        tmp_path / "genesis.json",
        tmp_path / "../shared/genesis.json",
    ]
    assert [chain.name for chain in config.chains] == ["jy1", None]
    assert config.tls is not None
    files = (config.tls.certificate, config.tls.key_file, config.tls.ca)
    assert files == (tmp_path / "shown/tls.pem", tmp_path / "tls-key.pem", tmp_path / "ca.pem")


def test_addresses_and_keys_are_parsed(write):
    config = load_config(write(FULL))
    assert config.peer_listen == ListenAddress("0.0.0.0", 9100)
    assert config.api_listen == ListenAddress("::1", 9200)
    assert config.api_listen.url == "http://[::1]:9200"
    assert [peer.key.hex() for peer in config.peers] == KEYS
    assert [peer.url for peer in config.peers] == ["https://127.0.0.1:9101", "https://127.0.0.1:9102"]


def test_the_mark_that_some_editors_begin_a_file_with_is_read_over(write):
    file = write("")
    file.write_text(FULL, encoding="utf-8-sig")
    assert load_config(file) == load_config(write(FULL))


def test_a_peer_takes_part_in_every_chain_unless_it_says_which(write):
    everywhere, trader = load_config(write(FULL)).peers
    assert (everywhere.hosts("jy1"), everywhere.hosts("lh1")) == (True, True)
    assert (trader.hosts("jy1"), trader.hosts("lh1")) == (True, False)


@pytest.mark.parametrize("keep", ["all", "96 periods", "20 GB"])
def test_what_is_kept_is_written_as_it_is_read(write, tmp_path, keep):
    config = load_config(write(MINIMAL + f'\n[storage]\nkeep = "{keep}"\n'))
    assert str(config.storage.keep) == keep
    save_config(config, tmp_path / "again.toml")
    assert load_config(tmp_path / "again.toml") == config


def test_another_choice_of_what_to_keep_is_refused(write):
    problem = problem_of(write, MINIMAL + '\n[storage]\nkeep = "a year"\n')
    wanted = '"all", a number of periods such as "96 periods", or of bytes such as "20 GB"'
    assert problem == f"storage.keep: have 'a year', want {wanted}"


def test_what_is_left_out_has_a_default(write):
    config = load_config(write(MINIMAL))
    assert config.key_file is None
    assert config.peers == ()
    assert config.log_level == "info"
    assert (config.sealing.threads, config.sealing.core_share_ppm) == (1, 100_000)
    assert config.sync.snapshot_distance == 2_000
    assert config.limits.mempool_transactions == 20_000


@pytest.mark.parametrize("text", [MINIMAL, FULL])
def test_a_saved_config_reads_back_the_same(write, tmp_path, text):
    config = load_config(write(text))
    save_config(config, tmp_path / "copy.toml")
    assert load_config(tmp_path / "copy.toml") == config


def test_an_anchor_is_a_height_and_a_hash(write, tmp_path):
    config = load_config(write(MINIMAL + f'anchor = "12:{"ab" * 32}"'))
    assert config.chains[0].anchor == TrustedBlock(12, b"\xab" * 32)
    save_config(config, tmp_path / "copy.toml")
    assert load_config(tmp_path / "copy.toml") == config


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        f"0:{'ab' * 32}",
        f"-1:{'ab' * 32}",
        f"x:{'ab' * 32}",
        "12:abcd",
        f"12:{'zz' * 32}",
        f"{2**63}:{'ab' * 32}",
    ],
)
def test_a_bad_anchor_is_told_with_what_is_wanted(write, text):
    problem = problem_of(write, MINIMAL + f'anchor = "{text}"')
    assert "chains[0].anchor: have " in problem
    assert "want HEIGHT:HASH" in problem
    assert "chains[0].anchor: have 5" in problem_of(write, MINIMAL + "anchor = 5")


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
        (MINIMAL + 'extra = "x"', "unknown key chains[0].extra; known here: genesis, name, anchor"),
        (MINIMAL.replace('data_dir = "data"', ""), "data_dir is missing"),
        (MINIMAL.replace('"data"', '""'), "data_dir: have '', want a path as text"),
        (MINIMAL.replace('"data"', "7"), "data_dir: have 7, want a path as text"),
        (
            MINIMAL.replace("127.0.0.1:9100", "localhost"),
            "peer_listen: have 'localhost', want host:port, for example \"127.0.0.1:9200\"",
        ),
        (
            MINIMAL.replace("127.0.0.1:9100", "h:70000"),
            "peer_listen: have 'h:70000', want a port from 0 to 65535",
        ),
        (
            MINIMAL.replace("127.0.0.1:9100", "h:" + "9" * 5_000),
            f"peer_listen: have 'h:{'9' * 54}…, want a port from 0 to 65535",
        ),
        (
            MINIMAL.replace("127.0.0.1:9100", "h:"),
            "peer_listen: have 'h:', want host:port, for example \"127.0.0.1:9200\"",
        ),
        (
            MINIMAL.replace("127.0.0.1:9200", "::1"),
            "api_listen: have '::1', want an IPv6 address in brackets, \"[::1]:9200\"",
        ),
        (
            FULL.replace("127.0.0.1:9102", "2001:db8::1:9102"),
            "peers[1].url: have 'https://2001:db8::1:9102', want an IPv6 address in brackets, "
            '"https://[2001:db8::1]:9102"',
        ),
        (
            'advertise = "https://::1:9100"' + MINIMAL,
            "advertise: have 'https://::1:9100', want an IPv6 address in brackets, \"https://[::1]:9100\"",
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
            FULL.replace("https://127.0.0.1:9101/", "127.0.0.1:9101"),
            "peers[0].url: have '127.0.0.1:9101', want a URL, for example \"https://127.0.0.1:9100\"",
        ),
        (FULL.replace('chains = ["jy1"]', "chains = []"), "peers[1].chains: have none, want at least 1"),
        (FULL.replace('chains = ["jy1"]', 'chains = "jy1"'), "peers[1].chains: have 'jy1', want a list"),
        (FULL.replace('chains = ["jy1"]', 'chain = "jy1"'), "unknown key peers[1].chain; did you mean chains?"),
        (MINIMAL + "name = 7", "chains[0].name: have 7, want a valid string"),
        (FULL.replace('"m3"', '"m2"'), "two of the peers share a name"),
        (FULL.replace(KEYS[1], KEYS[0]), "two of the peers share a key"),
        (
            FULL.replace('[tls]\ncertificate = "shown/tls.pem"\n', ""),
            "peers speak TLS: want a table [tls], or else insecure_peers = true",
        ),
        ("insecure_peers = true" + FULL, "either a table [tls] or insecure_peers = true, not both"),
        (
            FULL.replace("https://127.0.0.1:9102", "http://127.0.0.1:9102"),
            "the url of the peer m3 must begin with https://",
        ),
        (MINIMAL + "[tls]", "peers speak TLS with members only: [tls] wants a key_file"),
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
def members():
    return (
        GenesisMember(name="grid", role="grid-operator", key=bytes.fromhex(KEYS[0]), seals=("*",)),
        GenesisMember(name="homes-2", role="consumer", key=bytes.fromhex(KEYS[1]), balance_uyuan=5_000_000),
    )


@pytest.fixture
def genesis(members):
    """Of a trading chain alone."""
    return Genesis(params=ChainParams(name="jy1"), time_ms=1_700_000_000_000, members=members)


@pytest.fixture
def trading(members):
    """Of a trading chain with a credit chain beside it."""
    credit = ChainParams(name="lh1", kind="credit")
    return Genesis(params=ChainParams(name="jy1"), time_ms=1_700_000_000_000, members=members, siblings=(credit,))


def test_a_saved_genesis_makes_the_same_chain(genesis, tmp_path):
    save_genesis(genesis, tmp_path / "genesis.json")
    again = load_genesis(tmp_path / "genesis.json")
    assert again == genesis
    assert again.chain_id == genesis.chain_id


def test_one_file_makes_every_chain_of_a_network(trading, tmp_path):
    file = tmp_path / "genesis.json"
    save_genesis(trading, file)
    assert load_network_document(file).names == ("jy1", "lh1")
    assert load_genesis(file) == load_genesis(file, "jy1") == trading, "the trading chain where none is named"
    credit = load_genesis(file, "lh1")
    assert (credit.params.name, [sibling.name for sibling in credit.siblings]) == ("lh1", ["jy1"])
    assert credit.chain_id == trading.chain_id_of("lh1") != trading.chain_id
    save_genesis(credit, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == file.read_text(), "it does not matter which chain it is saved from"


def test_an_unknown_chain_is_told_with_those_that_are_there(trading, tmp_path):
    save_genesis(trading, tmp_path / "genesis.json")
    with pytest.raises(NoSuchChain, match=r"genesis\.json has no chain 'jy2', it has jy1, lh1") as caught:
        load_genesis(tmp_path / "genesis.json", "jy2")
    assert caught.value.exit_code == 3


def test_a_node_names_the_chains_of_a_file_with_several(trading, genesis, write, tmp_path):
    save_genesis(trading, tmp_path / "genesis.json")
    with pytest.raises(ChainNotNamed, match=r"genesis\.json holds several chains, jy1, lh1: say which one"):
        load_chains(load_config(write(MINIMAL)))
    with pytest.raises(NoSuchChain):
        load_chains(load_config(write(MINIMAL + 'name = "du1"')))
    with pytest.raises(BadConfigFile, match="two chains are called jy1"):
        load_chains(load_config(write(MINIMAL + 'name = "jy1"\n[[chains]]\ngenesis = "genesis.json"\nname = "jy1"')))
    both = MINIMAL + 'name = "lh1"\n[[chains]]\ngenesis = "genesis.json"\nname = "jy1"'
    assert [chain.params.name for chain in load_chains(load_config(write(both)))] == ["lh1", "jy1"]
    save_genesis(genesis, tmp_path / "genesis.json")
    assert load_chains(load_config(write(MINIMAL))) == (genesis,)


def test_chains_that_do_not_fit_together_are_refused(trading, tmp_path):
    document = describe_network(trading)
    jy1, lh1 = document.chains

    def problem_of(*chains):
        changed = document.model_copy(update={"chains": chains})
        (tmp_path / "genesis.json").write_text(changed.model_dump_json())
        with pytest.raises(BadConfigFile) as caught:
            load_genesis(tmp_path / "genesis.json")
        return str(caught.value).partition(": ")[2]

    faster = lh1.model_copy(update={"ledger": LedgerParams(period_ms=1_000)})
    assert problem_of(jy1, faster) == "the chains differ in period_ms or initial_credit_upt"
    assert problem_of(jy1, jy1) == "two chains share a name or a kind"
    assert problem_of(lh1) == "no chain is of the kind trading"
    assert problem_of() == "chains: have none, want at least 1"


def test_a_genesis_file_is_for_people(genesis, tmp_path):
    save_genesis(genesis, tmp_path / "genesis.json")
    text = (tmp_path / "genesis.json").read_text()
    assert f'"key": "0x{KEYS[1]}"' in text
    assert '"n_diff_initial": "0x1000000' in text
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"balance_uyuan": "5000000"', '"balance_uyuan": -1', "members[1].balance_uyuan: have -1, want greater than"),
        ('"balance_uyuan": "5000000"', '"balance": 1', "unknown key members[1].balance; did you mean balance_uyuan?"),
        ('"tau_upt"', '"tau"', "unknown key chains[0].consensus.tau; did you mean tau_upt?"),
        ('"time_ms"', '"time"', "unknown key time; did you mean time_ms?"),
        ('"chains"', '"params"', "unknown key params; known here: time_ms, chains, members"),
        ('"grid-operator"', '"observer"', "exactly one member must have the role grid-operator"),
        ('"*"', "", "no member has the sealing right"),
        ('"*"', '"du1"', "no member has the sealing right on jy1"),
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
