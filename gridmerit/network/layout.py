"""The directory of a network on this machine, and that of one node: what lies where, and how both are read and claimed.

A network directory, described by its `network.json` (where a node listens, by its own node.toml):

    genesis.json                what its chains grow from
    authority/                  key-1.pem admits and revokes members; ca-key.pem, ca.pem: for certificates; passphrase
    keys/NAME.pem, passphrase   players without a node, their meters, the grid company, the dispatcher
    nodes/NAME/                 node.toml, key.pem, tls-key.pem, tls.pem, ca.pem, passphrase, data/, node.log, node.pid
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from gridmerit.errors import BusyDirectory, NoNetwork, NoSuchNode, NotANode, UnusableDirectory
from gridmerit.text import quote_path
from ledger.errors import GridmeritError
from ledger.genesis import ALL_CHAINS
from node.config import load_config
from node.credentials.keystore import generate_passphrase, save_passphrase
from node.errors import BadConfigFile
from node.system.addresses import ANY_HOST, ListenAddress

NETWORK_FILE, NODE_FILE, GENESIS_FILE = "network.json", "node.toml", "genesis.json"
AUTHORITY_DIRECTORY = "authority"
AUTHORITY_KEY, CA_KEY_FILE, CA_FILE = "key-1.pem", "ca-key.pem", "ca.pem"
TLS_KEY_FILE, CERTIFICATE_FILE = "tls-key.pem", "tls.pem"
_MAX_PORT = 65_535
CORE_SHARE_PPM = 100_000  # of one core per node: ten nodes take one core
_HOST = "127.0.0.1"


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
    """The planner of the grid on the scheduling chain; its files are relative to the network's directory."""

    name: str
    key_file: str
    passphrase_file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The content of `network.json`; `kinds` are those of the `chains`, one by one."""

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
        """The place of a member's key, relative to the network's directory."""
        home = next((node.directory for node in self.nodes if node.name == member), None)
        return f"keys/{member}.pem" if home is None else f"{home}/key.pem"


def is_network(directory: Path) -> bool:
    return (directory / NETWORK_FILE).is_file()


def is_node(directory: Path) -> bool:
    return (directory / NODE_FILE).is_file()


def get_home(path: Path) -> Path:
    """A node's directory, however it was named: by itself or by its node.toml."""
    return path.parent if path.name == NODE_FILE else path


def find_node_file(path: Path) -> Path:
    """The node.toml of a node's directory, however that was named. Raises `NotANode`."""
    file = get_home(path) / NODE_FILE
    if file.is_file():
        return file
    directory = file.parent
    names = [found.parent.name for found in sorted(directory.glob(f"nodes/*/{NODE_FILE}"))]
    if is_network(directory) and names:
        detail, remedy = f"it is a network of {', '.join(names)}", quote_path(directory / "nodes" / names[0])
        raise NotANode(directory=directory, detail=detail, remedy=f"the same with {remedy}")
    raise NotANode(
        directory=directory,
        detail=_tell_lack(directory, NODE_FILE),
        remedy="another directory; gridmerit init DIR --genesis FILE makes one that joins a network",
    )


def _no_network(directory: Path) -> NoNetwork:
    """The error that says what the directory is instead, and what to do."""
    home = next((parent for parent in directory.absolute().parents if is_network(parent)), None)
    if is_node(directory):
        remedy = "gridmerit status --node DIR" if home is None else f"the same with {quote_path(home)}"
        return NoNetwork(directory=directory, detail="it is a node's", remedy=remedy)
    remedy = f"gridmerit net new {quote_path(directory)}, or another directory"
    return NoNetwork(directory=directory, detail=_tell_lack(directory, NETWORK_FILE), remedy=remedy)


def _tell_lack(directory: Path, file: str) -> str:
    return f"it has no {file}" if directory.is_dir() else "there is no such directory"


def load_network(directory: Path) -> Network:
    """Read what `new_network` wrote. Raises `NoNetwork` or `BadConfigFile`."""
    file = directory / NETWORK_FILE
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise _no_network(directory) from None
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
    """The node with the addresses of its node.toml.

    One that is not here, or cannot be read, leaves the addresses of when it was made.
    """
    try:
        config = load_config(directory / entry.directory / NODE_FILE)
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


def save_network(network: Network) -> None:
    document = {key: value for key, value in asdict(network).items() if key != "directory"}
    (network.directory / NETWORK_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def find_next_port(urls: Iterable[str], first: int) -> int:
    """The first port after those of some nodes of this machine, `first` where they are on none."""
    after = max([first, *((urlsplit(url).port or 0) + 1 for url in urls)])
    return after if after <= _MAX_PORT else first


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
