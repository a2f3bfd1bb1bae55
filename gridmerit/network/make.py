"""A network of nodes on this machine: chain parameters from a file, a genesis, keys, and a directory per node.

Layout of a network directory, described by its `network.json` (where a node listens, by its own node.toml):

    genesis.json                what its chains grow from
    authority/                  key-1.pem admits and revokes members; ca-key.pem, ca.pem: for certificates; passphrase
    keys/NAME.pem, passphrase   players without a node, their meters, the grid company, the dispatcher
    nodes/NAME/                 node.toml, key.pem, tls-key.pem, tls.pem, ca.pem, passphrase, data/, node.log, node.pid
"""

from __future__ import annotations

import json
import socket
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import ValidationError

from consensus import seal
from consensus.errors import (
    BadParameters,
)
from consensus.poca.credit_target import compute_weight
from consensus.poca.engine import check_params
from gridmerit.errors import (
    BusyDirectory,
    NoNetwork,
    NoSuchNode,
    UnusableDirectory,
)
from ledger.errors import (
    GridmeritError,
)
from ledger.genesis import ALL_CHAINS, Authority, Genesis, GenesisMember
from ledger.hashing import tagged_hash
from ledger.params import ChainParams, ConsensusParams, MarketParams
from ledger.signatures import SigningKey, generate_key
from market.profile import Player, Profile, parse_profile
from market.trading.clearing_rules import get_rule
from node.config import ANY_HOST, ListenAddress, load_config, save_genesis, section_at
from node.credentials.certificates import DAY_MS, LEAF_DAYS, Subject, issue, make_ca
from node.credentials.keystore import generate_passphrase, save_key, save_passphrase
from node.errors import (
    BadConfigFile,
    NoSuchChain,
)
from node.system.clock import now_ms

MAX_NODES = 10
PORTS_APART = 100  # of a node's port for peers and that of its API
CORE_SHARE_PPM = 100_000  # of one core per node: ten nodes take one core
GRID = "grid"
DISPATCH = "dispatch"
GENESIS_FILE = "genesis.json"
AUTHORITY_DIRECTORY = "authority"
AUTHORITY_KEY, CA_KEY_FILE, CA_FILE = "key-1.pem", "ca-key.pem", "ca.pem"
TLS_KEY_FILE, CERTIFICATE_FILE = "tls-key.pem", "tls.pem"
POSITION = "feeder-1"  # where all players of a profile are, where no scheduling chain has lines
PACKAGED = ("recommended", "paper", "bft")  # sets of parameters that come with the package
_HOST = "127.0.0.1"
_PPM = 1_000_000
_SHORTEST_INTERVAL_MS = 200
_SHORTEST_VIEW_MS = 1_000
_WINDOW_INTERVALS = 8
_BLOCKS_PER_PERIOD = 24  # a message takes a checkpoint and its certificate from one chain to the next
_HOUSE_BALANCE_UYUAN = 5_000_000_000
_MEASURED_NONCES = 20_000
_MEASURED_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A member that runs a node, and the chains it hosts and seals."""

    name: str
    chains: tuple[str, ...] = (ALL_CHAINS,)

    def hosts(self, chain: str) -> bool:
        return chain in self.chains or ALL_CHAINS in self.chains


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEntry:
    """A node of the network; `directory` is relative to the network's.

    The URLs are where it listens by its own node.toml, as it is when the network is loaded.
    """

    name: str
    directory: str
    key: str  # hex
    peer_url: str
    api_url: str
    chains: tuple[str, ...] = ()  # empty: all of the network's

    def hosts(self, chain: str) -> bool:
        return not self.chains or chain in self.chains


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

    def choose_nodes(self, names: Sequence[str]) -> tuple[NodeEntry, ...]:
        """The nodes of these names, all where there is none. Raises `NoSuchNode`."""
        known = {node.name: node for node in self.nodes}
        for name in names:
            if name not in known:
                raise NoSuchNode(name=name, directory=self.directory, known=", ".join(known))
        return tuple(known[name] for name in names) if names else self.nodes

    def key_file_of(self, member: str) -> str:
        """Where a member's key is, relative to the network's directory."""
        home = next((node.directory for node in self.nodes if node.name == member), None)
        return f"keys/{member}.pem" if home is None else f"{home}/key.pem"


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
    """The file of one chain in a parameter set that comes with the package: one of `PACKAGED`."""
    return Path(str(resources.files("configs") / name / f"{chain}.toml"))


def load_params_set(source: str | Path = "recommended") -> tuple[ChainParams, ...]:
    """The chains of a network, by name: a set that comes with the package, a directory of TOML files, or one file.

    Raises `BadParameters`.
    """
    path = get_packaged_params(str(source)).parent if str(source) in PACKAGED else Path(source)
    if not path.exists():
        raise BadParameters(detail=f"{source} is neither a file nor a directory, nor one of {', '.join(PACKAGED)}")
    if not path.is_dir():
        return (load_chain_params(path),)
    files = sorted(path.glob("*.toml"))
    if not files:
        raise BadParameters(detail=f"{path} has no TOML file, one per chain is wanted")
    return tuple(sorted((load_chain_params(file) for file in files), key=lambda params: params.name))


def load_engine_params(engine: str | None) -> tuple[ChainParams, ...]:
    """The recommended chains, or such as all agree by one engine: the set `bft`, or DU1 by the same rules as LH1."""
    if engine == "pbft":
        return load_params_set("bft")
    chains = load_params_set()
    if engine is None:
        return chains
    rules = next(chain.consensus for chain in chains if chain.kind == "credit")
    return tuple(
        chain if chain.consensus.engine == engine else chain.model_copy(update={"consensus": rules}) for chain in chains
    )


def choose_chains(params: Sequence[ChainParams], names: Sequence[str], source: str) -> tuple[ChainParams, ...]:
    """Some chains of a set from `source`. Raises `NoSuchChain`."""
    known = [item.name for item in params]
    for name in names:
        if name not in known:
            raise NoSuchChain(file=source, name=name, known=", ".join(known))
    return tuple(item for item in params if item.name in names)


def choose_market(
    params: Sequence[ChainParams], *, rule: str | None, natural_factor_ppm: int | None
) -> tuple[ChainParams, ...]:
    """The same chains with another rule on the trading chain, and another α of Eq. (12) wherever deliveries are scored.

    Raises `UnknownRule`.
    """
    if rule is not None:
        get_rule(rule)
    changed = []
    for chain in params:
        changes: dict[str, object] = {}
        if rule is not None and chain.kind == "trading":
            changes["clearing_rule"] = rule
        if natural_factor_ppm is not None and chain.kind != "scheduling":
            changes["natural_factor_ppm"] = natural_factor_ppm
        changed.append(chain.model_copy(update={"market": chain.market.model_copy(update=changes)}))
    return tuple(changed)


def load_packaged_profile() -> Profile:
    """The day of ten players that comes with the package."""
    text = (resources.files("configs") / "profiles" / "rts_gmlc_day.csv").read_text(encoding="utf-8")
    return parse_profile(text)


def scale_params(params: ChainParams, period_ms: int) -> ChainParams:
    """The same chain with another period: at least two dozen blocks in it where they can be that fast.

    Everything in ppm of a period scales with it by itself, and under PBFT the wait for an empty block and the timeouts
    of views with the interval. Where orders are taken for a share of the period alone, it stays long enough for a few
    blocks. Raises `BadParameters`.
    """
    consensus = params.consensus
    interval_ms = min(consensus.block_interval_ms, max(_SHORTEST_INTERVAL_MS, period_ms // _BLOCKS_PER_PERIOD))
    if period_ms < 4 * interval_ms:
        raise BadParameters(detail=f"a period of {period_ms} ms is too short, at least {4 * interval_ms} ms are needed")
    ahead_ms = min(consensus.max_ahead_ms, consensus.relief_after * interval_ms // 4)
    return params.model_copy(
        update={
            "ledger": params.ledger.model_copy(update={"period_ms": period_ms}),
            "market": params.market.model_copy(update=scale_window(params.market, period_ms, interval_ms)),
            "consensus": consensus.model_copy(
                update={
                    "block_interval_ms": interval_ms,
                    "max_ahead_ms": ahead_ms,
                    **_scale_views(consensus, interval_ms),
                }
            ),
        }
    )


def scale_window(market: MarketParams, period_ms: int, interval_ms: int) -> dict[str, int]:
    """How long orders are taken, where that is a share of the period.

    Blocks come by chance: of eight intervals one in three thousand brings none, of two and a half one in twelve.
    """
    if not market.intention_ppm:
        return {}
    least_ppm = -(-_WINDOW_INTERVALS * interval_ms * _PPM // period_ms)
    return {"intention_ppm": min(_PPM, max(market.intention_ppm, least_ppm))}


def _scale_views(consensus: ConsensusParams, interval_ms: int) -> dict[str, int]:
    """A view's timeout never gets so short that one message on a busy machine would end it."""
    if consensus.engine != "pbft":
        return {}
    base_ms = consensus.block_interval_ms
    timeout_ms = max(
        min(consensus.view_timeout_ms, _SHORTEST_VIEW_MS), consensus.view_timeout_ms * interval_ms // base_ms
    )
    return {
        "empty_after_ms": -(-consensus.empty_after_ms * interval_ms // base_ms),
        "view_timeout_ms": timeout_ms,
        "view_timeout_max_ms": max(timeout_ms, consensus.view_timeout_max_ms * interval_ms // base_ms),
    }


def measure_nonces_per_s() -> int:
    """How many nonces one thread of this machine tries per second, measured for a fifth of a second."""
    tried, begin = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - begin) < _MEASURED_S:
        seal.search(bytes(32), 0, start=tried, count=_MEASURED_NONCES)
        tried += _MEASURED_NONCES
    return max(1, int(tried / elapsed_s))


def calibrate(
    params: Sequence[ChainParams], *, sealers: int, nonces_per_s: int, stake_uyuan: int = 0
) -> tuple[ChainParams, ...]:
    """The chains of one network with an N_diff each at which their blocks come at the interval from the start.

    All of them are sealed by the same `sealers` members, whose search of so many nonces per second serves each chain
    that is searched for in turn, and whose balances on the trading chain sum to `stake_uyuan`. Under PBFT there is
    nothing to search. Raises `BadParameters`.
    """
    share = _share_search(params, nonces_per_s)
    return tuple(_calibrate_one(chain, sealers=sealers, share=share, stake_uyuan=stake_uyuan) for chain in params)


def _share_search(params: Sequence[ChainParams], nonces_per_s: int) -> int:
    """The nonces per second that a member tries for each of the chains on which there is a search."""
    searched = [item.consensus for item in params if item.consensus.engine == "poca"]
    return nonces_per_s // max(1, sum(consensus.eligibility != "stake" for consensus in searched))


def _calibrate_one(params: ChainParams, *, sealers: int, share: int, stake_uyuan: int) -> ChainParams:
    if params.consensus.engine != "poca":
        return params
    n_diff = compute_n_diff(params, sealers=sealers, nonces_per_s=share, stake_uyuan=stake_uyuan)
    return _with_n_diff(params, n_diff)


def _with_n_diff(params: ChainParams, n_diff: int) -> ChainParams:
    return params.model_copy(update={"consensus": params.consensus.model_copy(update={"n_diff_initial": n_diff})})


def compute_n_diff(params: ChainParams, *, sealers: int, nonces_per_s: int, stake_uyuan: int = 0) -> int:
    """The N_diff at which `sealers` members with the initial credit, so fast each, find a block per interval.

    From Eq. (10): sealers · rate · interval · N_diff · e^{C/τ} / 2^256 = 1, kept within the chain's bounds. Under
    `work` without e^{C/τ}; under `stake`, Eq. (9), each ms is one try of each member: interval · N_diff · Σ balance /
    2^256 = 1. Raises `BadParameters` where one of these two is out of the chain's bounds, or nobody has a balance.
    """
    consensus = params.consensus
    if consensus.eligibility == "stake":
        attempts = stake_uyuan * consensus.block_interval_ms if params.kind == "trading" else 0
        if not attempts:
            raise BadParameters(
                detail=f'eligibility "stake" on {params.name}: no sealing member has a balance there, and none could '
                "ever seal; money is on the trading chain alone"
            )
    else:
        attempts = max(1, sealers * nonces_per_s * consensus.block_interval_ms // 1_000)
    n_diff = 2**256 // attempts
    if consensus.eligibility == "poca":
        n_diff = (n_diff << 64) // compute_weight(params.market.initial_credit_upt, consensus.tau_upt)
    elif n_diff > consensus.n_diff_max:
        raise BadParameters(
            detail=f'eligibility "{consensus.eligibility}" on {params.name}: a block per interval takes an N_diff of '
            f"about 2^{n_diff.bit_length() - 1}, n_diff_max is {consensus.n_diff_max:#x}"
        )
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
    directory: Path,
    *,
    nodes: int | Sequence[Host],
    params: Sequence[ChainParams],
    profile: Profile,
    seed: int | None = None,
    core_share_ppm: int = CORE_SHARE_PPM,
    disposable: bool = False,
    base_port: int = 0,
) -> Network:
    """Write a network's genesis, keys and node directories.

    The profile's producers come first, then its consumers; the first `nodes` of them host and seal all chains, the
    others are clients. Or those do that `nodes` lists, which may be the grid company and the dispatcher, too. A
    scheduling chain has a dispatcher, and its lines are where the players are. With a `seed` all keys follow from it,
    so that two networks have the same members: for rehearsals only. A `disposable` one may be attacked. Nodes listen
    for peers on `base_port` and those after it, and for users on those `PORTS_APART` above; 0 takes ports that are free
    now. Raises `BusyDirectory`, `UnusableDirectory`, `BadParameters` or a `ConfigError` of the key files.
    """
    for chain in params:
        check_params(chain)
    players = sorted(profile.players, key=lambda player: player.role != "producer")
    hosts = choose_hosts(nodes, [player.name for player in players])
    sealing = {host.name: host for host in hosts}
    meters = {player.name: f"meter-{player.name}" for player in players}
    scheduling = next((chain for chain in params if chain.kind == "scheduling"), None)
    others = [GRID] if scheduling is None else [GRID, DISPATCH]
    keys = {name: _make_key(name, seed) for name in (*meters, *meters.values(), *others)}
    tls_keys = {name: _make_key(f"tls-{name}", seed) for name in sealing}
    authority = AuthorityKeys(_make_key("authority-1", seed), _make_key("authority-ca", seed))

    rate = measure_nonces_per_s() * core_share_ppm // _PPM
    positions = deal_positions(scheduling, list(meters))
    members = _make_members(profile, keys, sealing, positions, tls_keys)
    genesis = _make_genesis(_calibrate_for(params, members, nonces_per_s=rate), members, authority, disposable)

    claim_directory(directory)
    save_genesis(genesis, directory / GENESIS_FILE)
    chains = sorted(genesis.chains, key=lambda chain: chain.kind != "trading")  # a node's first is what commands mean
    entries = _make_node_entries(hosts, keys, [chain.name for chain in chains], base_port)
    ca_pem = write_authority(directory / AUTHORITY_DIRECTORY, authority)
    for entry in entries:
        hosted = [chain.name for chain in chains if entry.hosts(chain.name)]
        passphrase = _write_node(directory, entry, keys[entry.name], hosted, entries, core_share_ppm)
        home = directory / entry.directory
        write_tls(home, passphrase, genesis, entry.name, tls_keys[entry.name], ca_pem, authority.ca)
    shared = _write_shared_keys(directory, {name: key for name, key in keys.items() if name not in sealing})
    network = Network(
        directory=directory,
        chains=tuple(chain.name for chain in chains),
        kinds=tuple(chain.kind for chain in chains),
        genesis=GENESIS_FILE,
        nodes=entries,
        players=_make_player_entries(players, [entry.name for entry in entries], meters, shared),
        dispatcher=None if scheduling is None else _make_dispatcher_entry(sealing, shared),
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
            nodes=tuple(
                _locate(directory, NodeEntry(**{**entry, "chains": tuple(entry.get("chains", ()))}))
                for entry in document["nodes"]
            ),
            players=tuple(PlayerEntry(**entry) for entry in document["players"]),
            dispatcher=None if dispatcher is None else DispatcherEntry(**dispatcher),
        )
    except (KeyError, TypeError):
        problem = "another version of gridmerit made this network; make a new one: gridmerit net new DIR"
        raise BadConfigFile(file=str(file), problems=problem) from None


def _locate(directory: Path, entry: NodeEntry) -> NodeEntry:
    """Where the node listens by its node.toml; one that is not here, or cannot be read, leaves what was when it was
    made."""
    try:
        config = load_config(directory / entry.directory / "node.toml")
    except GridmeritError:
        return entry
    return replace(
        entry,
        peer_url=config.advertise or _move(entry.peer_url, config.peer_listen),
        api_url=_move(entry.api_url, config.api_listen),
    )


def _move(url: str, listen: ListenAddress) -> str:
    """The URL at the address that is listened on, as far as that names one."""
    parts = urlsplit(url)
    host = listen._replace(host=parts.hostname or _HOST) if listen.host in ANY_HOST else listen
    return url if listen.port == 0 else f"{parts.scheme}://{host}"


def deal_positions(scheduling: ChainParams | None, players: Sequence[str]) -> dict[str, str]:
    """Where each player is: dealt over the feeder's lines in order, or all in one place without a scheduling chain."""
    lines = [line.name for line in scheduling.scheduling.lines] if scheduling is not None else [POSITION]
    return {player: lines[index % len(lines)] for index, player in enumerate(players)}


def choose_hosts(nodes: int | Sequence[Host], players: Sequence[str]) -> tuple[Host, ...]:
    """Who runs a node: the first `nodes` players with all chains, or those that are named."""
    if isinstance(nodes, int):
        assert 1 <= nodes <= min(MAX_NODES, len(players)), nodes
        return tuple(Host(name=name) for name in players[:nodes])
    assert {host.name for host in nodes} <= {*players, GRID, DISPATCH}, nodes
    return tuple(nodes)


def _calibrate_for(
    params: Sequence[ChainParams], members: Sequence[GenesisMember], *, nonces_per_s: int
) -> list[ChainParams]:
    """As `calibrate`, by who seals each chain."""
    share = _share_search(params, nonces_per_s)
    calibrated = []
    for chain in params:
        sealing = [member for member in members if member.seals_on(chain.name)]
        stake_uyuan = sum(member.balance_uyuan for member in sealing)
        calibrated.append(_calibrate_one(chain, sealers=len(sealing), share=share, stake_uyuan=stake_uyuan))
    return calibrated


def _make_dispatcher_entry(sealing: Mapping[str, Host], shared_passphrase: str) -> DispatcherEntry:
    if DISPATCH not in sealing:
        return DispatcherEntry(name=DISPATCH, key_file=f"keys/{DISPATCH}.pem", passphrase_file=shared_passphrase)
    home = f"nodes/{DISPATCH}"
    return DispatcherEntry(name=DISPATCH, key_file=f"{home}/key.pem", passphrase_file=f"{home}/passphrase")


class AuthorityKeys(NamedTuple):
    """The weak centre of a new network: its key for acts on the chains, and the one that issues certificates."""

    act: SigningKey
    ca: SigningKey


def _make_genesis(
    params: Sequence[ChainParams], members: tuple[GenesisMember, ...], authority: AuthorityKeys, disposable: bool
) -> Genesis:
    """The trading chain's genesis. Raises `BadParameters` where the chains do not fit together."""
    first, *others = sorted(params, key=lambda chain: chain.kind != "trading")
    try:
        return Genesis(
            params=first,
            time_ms=now_ms(),
            members=members,
            siblings=tuple(others),
            authority=Authority(keys=(authority.act.public_key,)),
            disposable=disposable,
        )
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
    profile: Profile,
    keys: dict[str, SigningKey],
    sealing: Mapping[str, Host],
    positions: dict[str, str],
    tls_keys: Mapping[str, SigningKey],
) -> tuple[GenesisMember, ...]:
    seals = {name: host.chains for name, host in sealing.items()}
    members = [
        GenesisMember(name=GRID, role="grid-operator", key=keys[GRID].public_key, seals=seals.get(GRID, ())),
    ]
    if DISPATCH in keys:
        key = keys[DISPATCH].public_key
        members.append(GenesisMember(name=DISPATCH, role="dispatcher", key=key, seals=seals.get(DISPATCH, ())))
    for player in profile.players:
        member = GenesisMember(
            name=player.name,
            role="producer" if player.role == "producer" else "consumer",
            key=keys[player.name].public_key,
            seals=seals.get(player.name, ()),
            balance_uyuan=_HOUSE_BALANCE_UYUAN,
            capacity_wh=compute_capacity_wh(profile, player.name),
            position=positions[player.name],
            renewable_ppm=get_renewable_ppm(player),
            stability_ppm=compute_stability_ppm(profile, player),
        )
        meter = GenesisMember(
            name=f"meter-{player.name}",
            role="device",
            key=keys[f"meter-{player.name}"].public_key,
            owner=player.name,
        )
        members += [member, meter]
    return tuple(
        member.model_copy(update={"tls_key": tls_keys[member.name].public_key}) if member.name in tls_keys else member
        for member in members
    )


def compute_capacity_wh(profile: Profile, player: str) -> int:
    """What a player is registered with: its largest hour, forecast or actual, rounded up to 10 kWh."""
    largest_wh = max(max(profile.readings[player, hour]) for hour in profile.hours_ms)
    return -(-largest_wh // 10_000) * 10_000


def get_renewable_ppm(player: Player) -> int:
    """The renewable share of what a player generates: a profile's producers are wind and sun."""
    return _PPM if player.role == "producer" else 0


def compute_stability_ppm(profile: Profile, player: Player) -> int:
    """Generation stability: how much of what a producer forecast or made it did both forecast and make, by the hour."""
    if player.role != "producer":
        return 0
    hours = [profile.readings[player.name, hour_ms] for hour_ms in profile.hours_ms]
    return _PPM * sum(map(min, hours)) // max(1, sum(map(max, hours)))


def _make_player_entries(
    players: Sequence[Player], nodes: Sequence[str], meters: Mapping[str, str], shared_passphrase: str
) -> tuple[PlayerEntry, ...]:
    """Who runs a node talks to it; the others are dealt over the nodes as clients."""
    return tuple(
        PlayerEntry(
            name=player.name,
            role=player.role,
            node=player.name if player.name in nodes else nodes[index % len(nodes)],
            key_file=f"nodes/{player.name}/key.pem" if player.name in nodes else f"keys/{player.name}.pem",
            passphrase_file=f"nodes/{player.name}/passphrase" if player.name in nodes else shared_passphrase,
            meter=meters[player.name],
            meter_key_file=f"keys/{meters[player.name]}.pem",
            meter_passphrase_file=shared_passphrase,
        )
        for index, player in enumerate(players)
    )


def _make_node_entries(
    hosts: Sequence[Host], keys: dict[str, SigningKey], chains: Sequence[str], base_port: int
) -> tuple[NodeEntry, ...]:
    count = len(hosts)
    if base_port:
        ports = [first + index for first in (base_port, base_port + PORTS_APART) for index in range(count)]
    else:
        ports = find_free_ports(2 * count)
    return tuple(
        NodeEntry(
            name=host.name,
            directory=f"nodes/{host.name}",
            key=keys[host.name].public_key.hex(),
            peer_url=f"https://{_HOST}:{peer_port}",
            api_url=f"http://{_HOST}:{api_port}",
            chains=() if all(map(host.hosts, chains)) else tuple(filter(host.hosts, chains)),
        )
        for host, peer_port, api_port in zip(hosts, ports[:count], ports[count:], strict=True)
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
    passphrase = generate_passphrase()
    save_passphrase(path, passphrase)
    return passphrase


def render_node_toml(
    *,
    genesis: str,
    chains: Sequence[str],
    peer_listen: str,
    api_listen: str,
    peers: Sequence[tuple[str, str, str]],
    peer_chains: Mapping[str, Sequence[str]] | None = None,
    has_key: bool = True,
    has_tls: bool = True,
    core_share_ppm: int = CORE_SHARE_PPM,
) -> str:
    """The text of a `node.toml`; `chains` by name, `peers` as (name, URL, public key in hex).

    `peer_chains` says by name what those peers host that do not host all of the node's chains.
    """
    keys = ['key_file = "key.pem"', 'passphrase_file = "passphrase"'] if has_key else ["# an observer: no key_file"]
    blocks = [
        "# One node. Paths are relative to this file; unknown keys fail. `gridmerit doctor` checks it.",
        'data_dir = "data"',
        *keys,
        f'peer_listen = "{peer_listen}"     # other nodes',
        f'api_listen = "{api_listen}"      # this machine\'s users: whoever reaches it may query and submit',
        'log_level = "info"',
    ]
    insecure = [] if has_tls else ["insecure_peers = true    # plain HTTP to other nodes: for rehearsals only"]
    blocks += insecure
    for chain in chains:
        blocks += ["", "[[chains]]", f'genesis = "{genesis}"', f'name = "{chain}"']
    blocks += [
        "",
        "[sealing]",
        "threads = 1",
        f"core_share_ppm = {core_share_ppm}    # of each thread's core",
    ]
    if has_tls:
        blocks += ["", "[tls]    # what this node shows to others; a new certificate is taken up without a restart"]
        blocks += [f'certificate = "{CERTIFICATE_FILE}"', f'key_file = "{TLS_KEY_FILE}"', f'ca = "{CA_FILE}"']
    for name, url, key in peers:
        blocks += ["", "[[peers]]", f'name = "{name}"', f'url = "{url}"', f'key = "{key}"']
        if only := (peer_chains or {}).get(name):
            listed = ", ".join(f'"{chain}"' for chain in only)
            blocks.append(f"chains = [{listed}]")
    return "\n".join(blocks) + "\n"


def _write_node(
    directory: Path,
    entry: NodeEntry,
    key: SigningKey,
    chains: Sequence[str],
    entries: Sequence[NodeEntry],
    core_share_ppm: int,
) -> bytes:
    """Its passphrase."""
    home = directory / entry.directory
    home.mkdir(parents=True)
    passphrase = make_passphrase(home / "passphrase")
    save_key(home / "key.pem", key, passphrase)
    text = render_node_toml(
        genesis=f"../../{GENESIS_FILE}",
        chains=chains,
        peer_listen=entry.peer_url.removeprefix("https://"),
        api_listen=entry.api_url.removeprefix("http://"),
        peers=[(other.name, other.peer_url, other.key) for other in entries if other != entry],
        peer_chains={other.name: other.chains for other in entries},
        core_share_ppm=core_share_ppm,
    )
    (home / "node.toml").write_text(text, encoding="utf-8")
    return passphrase


def write_authority(home: Path, keys: AuthorityKeys) -> bytes:
    """Write the authority's keys under a passphrase of their own, and its certificate, which is returned."""
    home.mkdir(mode=0o700)
    passphrase = make_passphrase(home / "passphrase")
    save_key(home / AUTHORITY_KEY, keys.act, passphrase)
    save_key(home / CA_KEY_FILE, keys.ca, passphrase)
    ca_pem = make_ca(keys.ca, not_before_ms=now_ms() - DAY_MS)
    (home / CA_FILE).write_bytes(ca_pem)
    return ca_pem


def write_tls(
    home: Path,
    passphrase: bytes,
    genesis: Genesis,
    name: str,
    tls_key: SigningKey,
    ca_pem: bytes,
    ca_key: SigningKey,
) -> None:
    """Write a founder's TLS key and certificate, and the authority's certificate, into its node's directory."""
    member = next(member for member in genesis.members if member.name == name)
    begin_ms = now_ms() - DAY_MS  # clocks differ
    certificate = issue(
        ca_pem,
        ca_key,
        Subject(member=name, key=member.key, role=member.role, network=genesis.network_id),
        tls_key=tls_key.public_key,
        serial=genesis.serial_of(name),
        not_before_ms=begin_ms,
        not_after_ms=begin_ms + LEAF_DAYS * DAY_MS,
    )
    save_key(home / TLS_KEY_FILE, tls_key, passphrase)
    (home / CERTIFICATE_FILE).write_bytes(certificate)
    (home / CA_FILE).write_bytes(ca_pem)


def _write_shared_keys(directory: Path, keys: dict[str, SigningKey]) -> str:
    """Keys of everybody without a node, under one passphrase; its file relative to the network's directory."""
    home = directory / "keys"
    home.mkdir(mode=0o700)
    passphrase = make_passphrase(home / "passphrase")
    for name, key in keys.items():
        save_key(home / f"{name}.pem", key, passphrase)
    return "keys/passphrase"
