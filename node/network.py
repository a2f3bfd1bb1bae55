"""A network of nodes on this machine: chain parameters from a file, a genesis, keys, and a directory per node.

Layout of a network directory, described by its `network.json`:

    genesis.json                what its chains grow from
    keys/NAME.pem, passphrase   players without a node, their meters, the grid company, the dispatcher
    nodes/NAME/                 node.toml, key.pem, passphrase, data/, node.log, node.pid
"""

from __future__ import annotations

import json
import secrets
import socket
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from consensus import seal
from consensus.credit_target import compute_weight
from consensus.poca import check_params
from ledger.errors import BadConfigFile, BadParameters, BusyDirectory, NoNetwork, NoSuchChain, UnusableDirectory
from ledger.genesis import ALL_CHAINS, Genesis, GenesisMember
from ledger.hashing import tagged_hash
from ledger.params import ChainParams
from ledger.signatures import SigningKey, generate_key
from market.profile import Player, Profile, parse_profile
from node.clock import now_ms
from node.config import save_genesis, section_at
from node.keystore import save_key, save_passphrase

MAX_NODES = 10
CORE_SHARE_PPM = 100_000  # of one core per node: ten nodes take one core
GRID = "grid"
DISPATCH = "dispatch"
GENESIS_FILE = "genesis.json"
POSITION = "feeder-1"  # where all players of a profile are, where no scheduling chain has lines
PACKAGED = ("recommended", "paper")  # sets of parameters that come with the package
_HOST = "127.0.0.1"
_PPM = 1_000_000
_SHORTEST_INTERVAL_MS = 200
_BLOCKS_PER_PERIOD = 24  # a message takes a checkpoint and its certificate from one chain to the next
_HOUSE_BALANCE_UYUAN = 5_000_000_000
_MEASURED_NONCES = 20_000
_MEASURED_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEntry:
    """A node of the network; `directory` is relative to the network's."""

    name: str
    directory: str
    key: str  # hex
    peer_url: str
    api_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerEntry:
    """A market player: its key and its meter's, relative to the network's directory, and the node it talks to."""

    name: str
    role: str
    node: str
    key_file: str
    passphrase_file: str
    meter: str
    meter_key_file: str
    meter_passphrase_file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherEntry:
    """Who plans the grid on the scheduling chain; its files are relative to the network's directory."""

    name: str
    key_file: str
    passphrase_file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What `network.json` says; `kinds` are those of the `chains`, one by one."""

    directory: Path
    chains: tuple[str, ...]
    kinds: tuple[str, ...]
    genesis: str
    nodes: tuple[NodeEntry, ...]
    players: tuple[PlayerEntry, ...]
    dispatcher: DispatcherEntry | None = None

    @property
    def chain(self) -> str:
        """The trading chain's name."""
        name = self.find_chain("trading")
        assert name is not None, "a genesis without a trading chain does not load"
        return name

    def find_chain(self, kind: str) -> str | None:
        """The name of the network's chain of a kind."""
        return dict(zip(self.kinds, self.chains, strict=True)).get(kind)

    @property
    def genesis_path(self) -> Path:
        return self.directory / self.genesis

    def directory_of(self, node: NodeEntry) -> Path:
        return self.directory / node.directory


# --- chain parameters ----------------------------------------------------------------------------


def load_chain_params(path: Path) -> ChainParams:
    """Chain parameters from a TOML file. Raises `BadParameters`, naming the file, the key and the nearest one known."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadParameters(detail=f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadParameters(detail=f"{path}: {error}") from error
    try:
        params = ChainParams.model_validate(_to_tuples(document))
    except ValidationError as error:
        raise BadParameters(detail=f"{path}: {_explain(error)}") from error
    check_params(params)
    return params


def _to_tuples(value: Any) -> Any:
    """TOML's lists as the tuples that frozen parameters hold."""
    match value:
        case dict():
            return {key: _to_tuples(item) for key, item in value.items()}
        case list():
            return tuple(map(_to_tuples, value))
    return value


def get_packaged_params(name: str = "recommended", chain: str = "jy1") -> Path:
    """The file of one chain in a parameter set that comes with the package: `recommended` or `paper`."""
    return Path(str(resources.files("configs") / name / f"{chain}.toml"))


def load_params_set(source: str | Path = "recommended") -> tuple[ChainParams, ...]:
    """The chains of a network, by name: a set that comes with the package, a directory of TOML files, or one file.

    Raises `BadParameters`.
    """
    path = get_packaged_params(str(source)).parent if str(source) in PACKAGED else Path(source)
    if not path.is_dir():
        return (load_chain_params(path),)
    files = sorted(path.glob("*.toml"))
    if not files:
        raise BadParameters(detail=f"{path} has no TOML file, one per chain is wanted")
    return tuple(sorted((load_chain_params(file) for file in files), key=lambda params: params.name))


def choose_chains(params: Sequence[ChainParams], names: Sequence[str], source: str) -> tuple[ChainParams, ...]:
    """Some chains of a set from `source`. Raises `NoSuchChain`."""
    known = [item.name for item in params]
    for name in names:
        if name not in known:
            raise NoSuchChain(file=source, name=name, known=", ".join(known))
    return tuple(item for item in params if item.name in names)


def load_packaged_profile() -> Profile:
    """The day of ten players that comes with the package."""
    text = (resources.files("configs") / "profiles" / "rts_gmlc_day.csv").read_text(encoding="utf-8")
    return parse_profile(text)


def scale_params(params: ChainParams, period_ms: int) -> ChainParams:
    """The same chain with another period: at least two dozen blocks in it where they can be that fast.

    Everything in ppm of a period scales with it by itself. Raises `BadParameters`.
    """
    consensus = params.consensus
    interval_ms = min(consensus.block_interval_ms, max(_SHORTEST_INTERVAL_MS, period_ms // _BLOCKS_PER_PERIOD))
    if period_ms < 4 * interval_ms:
        raise BadParameters(detail=f"a period of {period_ms} ms is too short, at least {4 * interval_ms} ms are needed")
    ahead_ms = min(consensus.max_ahead_ms, consensus.relief_after * interval_ms // 4)
    return params.model_copy(
        update={
            "ledger": params.ledger.model_copy(update={"period_ms": period_ms}),
            "consensus": consensus.model_copy(update={"block_interval_ms": interval_ms, "max_ahead_ms": ahead_ms}),
        }
    )


def measure_nonces_per_s() -> int:
    """How many nonces one thread of this machine tries per second, measured for a fifth of a second."""
    tried, begin = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - begin) < _MEASURED_S:
        seal.search(bytes(32), 0, start=tried, count=_MEASURED_NONCES)
        tried += _MEASURED_NONCES
    return max(1, int(tried / elapsed_s))


def calibrate(params: Sequence[ChainParams], *, sealers: int, nonces_per_s: int) -> tuple[ChainParams, ...]:
    """The chains of one network with an N_diff each at which their blocks come at the interval from the start.

    All of them are sealed by the same `sealers` members, whose search of so many nonces per second serves each chain in
    turn.
    """
    share = nonces_per_s // len(params)
    return tuple(_with_n_diff(chain, compute_n_diff(chain, sealers=sealers, nonces_per_s=share)) for chain in params)


def _with_n_diff(params: ChainParams, n_diff: int) -> ChainParams:
    return params.model_copy(update={"consensus": params.consensus.model_copy(update={"n_diff_initial": n_diff})})


def compute_n_diff(params: ChainParams, *, sealers: int, nonces_per_s: int) -> int:
    """The N_diff at which `sealers` members with the initial credit, so fast each, find a block per interval.

    From Eq. (10): sealers · rate · interval · N_diff · e^{C/τ} / 2^256 = 1, kept within the chain's bounds.
    """
    consensus = params.consensus
    attempts = max(1, sealers * nonces_per_s * consensus.block_interval_ms // 1_000)
    n_diff = 2**256 // attempts
    if consensus.eligibility == "poca":
        n_diff = (n_diff << 64) // compute_weight(params.market.initial_credit_upt, consensus.tau_upt)
    return max(consensus.n_diff_min, min(consensus.n_diff_max, n_diff))


def _explain(error: ValidationError) -> str:
    """The first thing wrong, in words."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']}" if where else first["msg"]
    *section, key = first["loc"]
    near = get_close_matches(str(key), section_at(tuple(section), ChainParams).model_fields, n=1)
    return f"unknown key {where!r}" + (f", did you mean {near[0]!r}?" if near else "")


# --- making a network ----------------------------------------------------------------------------


def new_network(
    directory: Path, *, nodes: int, params: Sequence[ChainParams], profile: Profile, seed: int | None = None
) -> Network:
    """Write a network's genesis, keys and node directories.

    The profile's producers come first, then its consumers; the first `nodes` of them host and seal all chains, the
    others are clients. A scheduling chain has a dispatcher, and its lines are where the players are. With a `seed` all
    keys follow from it, so that two networks have the same members: for rehearsals only. Raises `BusyDirectory`,
    `UnusableDirectory`, `BadParameters` or a `ConfigError` of the key files.
    """
    for chain in params:
        check_params(chain)
    players = sorted(profile.players, key=lambda player: player.role != "producer")
    assert 1 <= nodes <= min(MAX_NODES, len(players)), nodes
    sealing = [player.name for player in players[:nodes]]
    meters = {player.name: f"meter-{player.name}" for player in players}
    scheduling = next((chain for chain in params if chain.kind == "scheduling"), None)
    others = [GRID] if scheduling is None else [GRID, DISPATCH]
    keys = {name: _make_key(name, seed) for name in (*meters, *meters.values(), *others)}

    rate = measure_nonces_per_s() * CORE_SHARE_PPM // _PPM
    positions = deal_positions(scheduling, list(meters))
    members = _make_members(profile, keys, sealing, positions)
    genesis = _make_genesis(calibrate(params, sealers=nodes, nonces_per_s=rate), members)

    claim_directory(directory)
    save_genesis(genesis, directory / GENESIS_FILE)
    chains = sorted(genesis.chains, key=lambda chain: chain.kind != "trading")  # a node's first is what commands mean
    entries = _make_node_entries(sealing, keys)
    for entry in entries:
        _write_node(directory, entry, keys[entry.name], [chain.name for chain in chains], entries)
    shared = _write_shared_keys(directory, {name: key for name, key in keys.items() if name not in sealing})
    network = Network(
        directory=directory,
        chains=tuple(chain.name for chain in chains),
        kinds=tuple(chain.kind for chain in chains),
        genesis=GENESIS_FILE,
        nodes=entries,
        players=_make_player_entries(players, [entry.name for entry in entries], meters, shared),
        dispatcher=None
        if scheduling is None
        else DispatcherEntry(name=DISPATCH, key_file=f"keys/{DISPATCH}.pem", passphrase_file=shared),
    )
    _save_network(network)
    return network


def load_network(directory: Path) -> Network:
    """Read what `new_network` wrote. Raises `NoNetwork` or `BadConfigFile`."""
    file = directory / "network.json"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise NoNetwork(directory=directory) from None
    except ValueError as error:
        raise BadConfigFile(file=str(file), problems=f"not a JSON document: {error}") from None
    try:
        dispatcher = document["dispatcher"]
        return Network(
            directory=directory,
            chains=tuple(document["chains"]),
            kinds=tuple(document["kinds"]),
            genesis=document["genesis"],
            nodes=tuple(NodeEntry(**entry) for entry in document["nodes"]),
            players=tuple(PlayerEntry(**entry) for entry in document["players"]),
            dispatcher=None if dispatcher is None else DispatcherEntry(**dispatcher),
        )
    except (KeyError, TypeError):
        problem = "another version of gridmerit made this network; make a new one: gridmerit net new DIR"
        raise BadConfigFile(file=str(file), problems=problem) from None


def deal_positions(scheduling: ChainParams | None, players: Sequence[str]) -> dict[str, str]:
    """Where each player is: dealt over the feeder's lines in order, or all in one place without a scheduling chain."""
    lines = [line.name for line in scheduling.scheduling.lines] if scheduling is not None else [POSITION]
    return {player: lines[index % len(lines)] for index, player in enumerate(players)}


def _make_genesis(params: Sequence[ChainParams], members: tuple[GenesisMember, ...]) -> Genesis:
    """The trading chain's genesis. Raises `BadParameters` where the chains do not fit together."""
    first, *others = sorted(params, key=lambda chain: chain.kind != "trading")
    try:
        return Genesis(params=first, time_ms=now_ms(), members=members, siblings=tuple(others))
    except ValidationError as error:
        raise BadParameters(detail=error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _save_network(network: Network) -> None:
    document = {key: value for key, value in asdict(network).items() if key != "directory"}
    (network.directory / "network.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _make_key(name: str, seed: int | None) -> SigningKey:
    if seed is None:
        return generate_key()
    return SigningKey(tagged_hash("gridmerit/rehearsal-key", str(seed).encode(), b"/", name.encode()))


def _make_members(
    profile: Profile, keys: dict[str, SigningKey], sealing: Sequence[str], positions: dict[str, str]
) -> tuple[GenesisMember, ...]:
    members = [GenesisMember(name=GRID, role="grid-operator", key=keys[GRID].public_key)]
    if DISPATCH in keys:
        members.append(GenesisMember(name=DISPATCH, role="dispatcher", key=keys[DISPATCH].public_key))
    for player in profile.players:
        member = GenesisMember(
            name=player.name,
            role="producer" if player.role == "producer" else "consumer",
            key=keys[player.name].public_key,
            seals=(ALL_CHAINS,) if player.name in sealing else (),
            balance_uyuan=_HOUSE_BALANCE_UYUAN,
            capacity_wh=compute_capacity_wh(profile, player.name),
            position=positions[player.name],
        )
        meter = GenesisMember(
            name=f"meter-{player.name}",
            role="device",
            key=keys[f"meter-{player.name}"].public_key,
            owner=player.name,
        )
        members += [member, meter]
    return tuple(members)


def compute_capacity_wh(profile: Profile, player: str) -> int:
    """What a player is registered with: its largest hour, forecast or actual, rounded up to 10 kWh."""
    largest_wh = max(max(profile.readings[player, hour]) for hour in profile.hours_ms)
    return -(-largest_wh // 10_000) * 10_000


def _make_player_entries(
    players: Sequence[Player], nodes: Sequence[str], meters: Mapping[str, str], shared_passphrase: str
) -> tuple[PlayerEntry, ...]:
    """The first players run the nodes; the others are dealt over them as clients."""
    return tuple(
        PlayerEntry(
            name=player.name,
            role=player.role,
            node=nodes[index % len(nodes)],
            key_file=f"nodes/{player.name}/key.pem" if index < len(nodes) else f"keys/{player.name}.pem",
            passphrase_file=f"nodes/{player.name}/passphrase" if index < len(nodes) else shared_passphrase,
            meter=meters[player.name],
            meter_key_file=f"keys/{meters[player.name]}.pem",
            meter_passphrase_file=shared_passphrase,
        )
        for index, player in enumerate(players)
    )


def _make_node_entries(names: Sequence[str], keys: dict[str, SigningKey]) -> tuple[NodeEntry, ...]:
    ports = find_free_ports(2 * len(names))
    return tuple(
        NodeEntry(
            name=name,
            directory=f"nodes/{name}",
            key=keys[name].public_key.hex(),
            peer_url=f"http://{_HOST}:{peer_port}",
            api_url=f"http://{_HOST}:{api_port}",
        )
        for name, peer_port, api_port in zip(names, ports[::2], ports[1::2], strict=True)
    )


def find_free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on now; another process may still take one before it is used."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind((_HOST, 0))
        return [item.getsockname()[1] for item in sockets]


# --- files ---------------------------------------------------------------------------------------


def claim_directory(directory: Path) -> None:
    """Make a directory, or take an empty one. Raises `BusyDirectory` or `UnusableDirectory`."""
    make_directory(directory)
    try:
        is_busy = any(directory.iterdir())
    except OSError as error:
        raise UnusableDirectory(directory=str(directory), detail=error.strerror or str(error)) from None
    if is_busy:
        raise BusyDirectory(directory=directory)


def make_directory(directory: Path) -> None:
    """Make a directory and its parents where they are missing. Raises `UnusableDirectory`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        obstacle = next((path for path in (directory, *directory.parents) if path.exists()), directory)
        if not obstacle.is_dir():
            detail = f"{obstacle} is a file"
        elif isinstance(error, FileNotFoundError):
            detail = f"nothing can be made in {obstacle}"
        else:
            detail = f"{error.strerror or error} in {obstacle}"
        raise UnusableDirectory(directory=str(directory), detail=detail) from None


def make_passphrase(path: Path) -> bytes:
    """Make up a passphrase and write it to a private file. Raises `UnwritableFile`."""
    passphrase = secrets.token_hex(16).encode()
    save_passphrase(path, passphrase)
    return passphrase


def render_node_toml(
    *,
    genesis: str,
    chains: Sequence[str],
    peer_listen: str,
    api_listen: str,
    peers: Sequence[tuple[str, str, str]],
    has_key: bool = True,
    core_share_ppm: int = CORE_SHARE_PPM,
) -> str:
    """The text of a `node.toml`; `chains` by name, `peers` as (name, URL, public key in hex)."""
    keys = ['key_file = "key.pem"', 'passphrase_file = "passphrase"'] if has_key else ["# an observer: no key_file"]
    blocks = [
        "# One node. Paths are relative to this file; unknown keys fail. `gridmerit doctor` checks it.",
        'data_dir = "data"',
        *keys,
        f'peer_listen = "{peer_listen}"     # other nodes',
        f'api_listen = "{api_listen}"      # this machine\'s users: whoever reaches it may query and submit',
        'log_level = "info"',
    ]
    for chain in chains:
        blocks += ["", "[[chains]]", f'genesis = "{genesis}"', f'name = "{chain}"']
    blocks += [
        "",
        "[sealing]",
        "threads = 1",
        f"core_share_ppm = {core_share_ppm}    # of each thread's core",
    ]
    for name, url, key in peers:
        blocks += ["", "[[peers]]", f'name = "{name}"', f'url = "{url}"', f'key = "{key}"']
    return "\n".join(blocks) + "\n"


def _write_node(
    directory: Path, entry: NodeEntry, key: SigningKey, chains: Sequence[str], entries: Sequence[NodeEntry]
) -> None:
    home = directory / entry.directory
    home.mkdir(parents=True)
    save_key(home / "key.pem", key, make_passphrase(home / "passphrase"))
    text = render_node_toml(
        genesis=f"../../{GENESIS_FILE}",
        chains=chains,
        peer_listen=entry.peer_url.removeprefix("http://"),
        api_listen=entry.api_url.removeprefix("http://"),
        peers=[(other.name, other.peer_url, other.key) for other in entries if other != entry],
    )
    (home / "node.toml").write_text(text, encoding="utf-8")


def _write_shared_keys(directory: Path, keys: dict[str, SigningKey]) -> str:
    """Keys of everybody without a node, under one passphrase; its file relative to the network's directory."""
    home = directory / "keys"
    home.mkdir(mode=0o700)
    passphrase = make_passphrase(home / "passphrase")
    for name, key in keys.items():
        save_key(home / f"{name}.pem", key, passphrase)
    return "keys/passphrase"
