"""A new network of nodes on this machine: a genesis, keys and certificates, and a directory per node."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from consensus.poca.engine import check_params
from gridmerit.network.calibration import calibrate_for, measure_nonces_per_s
from gridmerit.network.founders import (
    DISPATCH,
    GRID,
    AuthorityKeys,
    choose_hosts,
    deal_positions,
    make_genesis,
    make_members,
)
from gridmerit.network.layout import (
    AUTHORITY_DIRECTORY,
    AUTHORITY_KEY,
    CA_FILE,
    CA_KEY_FILE,
    CERTIFICATE_FILE,
    CORE_SHARE_PPM,
    GENESIS_FILE,
    NODE_FILE,
    TLS_KEY_FILE,
    DispatcherEntry,
    Host,
    Network,
    NodeEntry,
    PlayerEntry,
    claim_directory,
    make_passphrase,
    render_node_toml,
    save_network,
)
from ledger.genesis import Genesis
from ledger.hashing import tagged_hash
from ledger.params import ChainParams
from ledger.signatures import SigningKey, generate_key
from market.profile import Player, Profile
from node.config import save_genesis
from node.credentials.certificates import DAY_MS, LEAF_DAYS, Subject, issue, make_ca
from node.credentials.keystore import save_key
from node.system.clock import now_ms

PORTS_APART = 100  # of a node's port for peers and that of its API
_HOST = "127.0.0.1"
_PPM = 1_000_000


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
    members = make_members(profile, keys, sealing, positions, tls_keys)
    genesis = make_genesis(calibrate_for(params, members, nonces_per_s=rate), members, authority, disposable)

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
    save_network(network)
    return network


def _make_dispatcher_entry(sealing: Mapping[str, Host], shared_passphrase: str) -> DispatcherEntry:
    if DISPATCH not in sealing:
        return DispatcherEntry(name=DISPATCH, key_file=f"keys/{DISPATCH}.pem", passphrase_file=shared_passphrase)
    home = f"nodes/{DISPATCH}"
    return DispatcherEntry(name=DISPATCH, key_file=f"{home}/key.pem", passphrase_file=f"{home}/passphrase")


def _make_key(name: str, seed: int | None) -> SigningKey:
    if seed is None:
        return generate_key()
    return SigningKey(tagged_hash("gridmerit/rehearsal-key", str(seed).encode(), b"/", name.encode()))


def _make_player_entries(
    players: Sequence[Player], nodes: Sequence[str], meters: Mapping[str, str], shared_passphrase: str
) -> tuple[PlayerEntry, ...]:
    """The players: one that runs a node talks to it, the others are dealt over the nodes as clients."""
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
    """Ports of this machine that nobody listens on now, and that the system gives nobody else for about a minute.

    The listener ends a connection to each, so that the port waits out TIME_WAIT: whoever asks the system for any free
    port gets another one, and who asks for this very port can listen on it.
    """
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server((_HOST, 0))) for _ in range(count)]
        for listener in listeners:
            with socket.create_connection(listener.getsockname()):
                listener.accept()[0].close()
        return [listener.getsockname()[1] for listener in listeners]


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
    (home / NODE_FILE).write_text(text, encoding="utf-8")
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
