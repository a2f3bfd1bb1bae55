"""The node owner's choices: `node.toml`, and reading and writing genesis files.

What all peers of a chain must agree on is `ledger.params.ChainParams`; a genesis file holds all chains of a network.
Unknown keys fail; paths start at the file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
)
from pydantic import model_validator as check_model

from ledger.errors import InvalidKey, UnwritableFile
from ledger.genesis import Authority, Genesis, GenesisMember
from ledger.params import ChainParams, HexBytes, Natural, Positive, Ppm, Section
from ledger.signatures import check_public_key
from node.chain.pruning import ALL, Keep, parse_keep
from node.chain.trusted_block import TrustedBlock, parse_anchor
from node.errors import BadConfigFile, BadContact, ChainNotNamed, NoSuchChain
from node.peer.records import check_url
from node.system.addresses import ANY_HOST, ListenAddress, add_brackets_to_url, parse_listen
from node.system.files import read_text

_MAX_CONFIG_BYTES = 1_000_000
_MAX_GENESIS_BYTES = 64_000_000
_TLS_FILES = ("certificate", "key_file", "ca")
_BASE = "base"  # validation context: the directory that relative paths start from


def _read_listen(value: object) -> object:
    return parse_listen(value) if isinstance(value, str) else value


def _resolve(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("a path as text")
    base: Path = (info.context or {}).get(_BASE, Path())
    return base / value


def _check_url(value: str) -> str:
    if not value.startswith(("http://", "https://")) or len(value) < 10:
        raise ValueError('a URL, for example "https://127.0.0.1:9100"')
    if (right := add_brackets_to_url(value)) is not None:
        raise ValueError(f'an IPv6 address in brackets, "{right}"')
    return value.rstrip("/")


def _check_key(value: bytes) -> bytes:
    try:
        check_public_key(value)
    except InvalidKey as error:
        raise ValueError(f"an Ed25519 public key as 64 hexadecimal digits ({error})") from None
    return value


def _read_anchor(value: object) -> object:
    return parse_anchor(value) if isinstance(value, str) else value


def _read_keep(value: object) -> object:
    return parse_keep(value) if isinstance(value, str) else value


def _to_tuple(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("a list")
    return tuple(value)


AnchorText = Annotated[TrustedBlock, BeforeValidator(_read_anchor), PlainSerializer(str)]
KeepText = Annotated[Keep, BeforeValidator(_read_keep), PlainSerializer(str)]
Listen = Annotated[ListenAddress, BeforeValidator(_read_listen)]
FilePath = Annotated[Path, BeforeValidator(_resolve)]
Url = Annotated[str, AfterValidator(_check_url)]
PublicKey = Annotated[HexBytes, AfterValidator(_check_key)]
HostName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ChainConfig(_Settings):
    """One chain that the node takes part in; `name` may be left out where the genesis holds one alone.

    `anchor` is HEIGHT:HASH of a final block, from a node that one trusts: a chain without it is not followed.
    """

    genesis: FilePath
    name: Name | None = None
    anchor: AnchorText | None = None


class PeerConfig(_Settings):
    """Another node: where it listens for peers, and the key its messages must be signed with.

    `chains` names those it takes part in; left out, it is every chain of this node.
    """

    name: Name
    url: Url
    key: PublicKey
    chains: Annotated[tuple[Name, ...], BeforeValidator(_to_tuple), Field(min_length=1)] | None = None

    def hosts(self, chain: str) -> bool:
        return self.chains is None or chain in self.chains


class SealingConfig(_Settings):
    """The share of this machine that goes into the nonce search: `threads`, each busy for this share of its time."""

    threads: Annotated[int, Field(ge=0, le=256)] = 1
    core_share_ppm: Ppm = 100_000


class SyncConfig(_Settings):
    """The way of a fresh node to its chains: by a snapshot where its peers are so many blocks ahead, else by replay.

    By a snapshot, too, where no peer has kept the blocks that come next.

    With a distance of 0 it replays whatever there is, and so holds every block: an archive.
    """

    snapshot_distance: Natural = 2_000


class Limits(_Settings):
    """Bounds on what others may cost this node."""

    mempool_transactions: Positive = 20_000
    mempool_bytes: Positive = 16_000_000
    mempool_per_sender: Positive = 1_024
    api_requests_per_s: Positive = 1_000  # per client address
    api_burst: Positive = 4_000
    api_body_bytes: Positive = 2_000_000
    api_subscribers: Positive = 64  # event streams per chain
    event_backlog_bytes: Positive = 8_000_000  # encoded events per chain that wait for their readers
    peer_queue_bytes: Positive = 32_000_000  # messages that may wait for one peer
    log_file_bytes: Positive = 10_000_000  # of node.log, which a new one follows
    log_files: Positive = 5  # old ones that are kept


class StorageConfig(_Settings):
    """The past of a chain that stays on disk: `keep` is "all", as an archive node does, "96 periods" or "20 GB".

    The bytes are those of blocks and receipts, a chain. Headers and certificates stay in any case, and the blocks of
    periods that are not over for good.
    """

    keep: KeepText = ALL


class TlsConfig(_Settings):
    """The certificate that a node shows to its peers, and the authority whose certificates it takes from them.

    The key file is encrypted with the passphrase of the member's own key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    certificate: FilePath = Path("tls.pem")
    key_file: FilePath = Path("tls-key.pem")
    ca: FilePath = Path("ca.pem")


class NodeConfig(_Settings):
    """One node's settings. A node without a key follows its chains as an observer.

    Peers speak mutual TLS, unless they are insecure: plain HTTP is for rehearsals, where no other is on the wire.
    `advertise` is the URL at which other members' nodes reach this one; left out, it is that of `peer_listen`.
    `api_hosts` are names of the DNS under which the API is asked for, such as that of a proxy; addresses, localhost and
    names without a dot need no leave.
    """

    data_dir: FilePath
    key_file: FilePath | None = None
    passphrase_file: FilePath | None = None
    peer_listen: Listen
    advertise: Url | None = None
    api_listen: Listen
    api_hosts: Annotated[tuple[HostName, ...], BeforeValidator(_to_tuple)] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    insecure_peers: bool = False
    tls: TlsConfig | None = None
    chains: Annotated[tuple[ChainConfig, ...], BeforeValidator(_to_tuple), Field(min_length=1)]
    peers: Annotated[tuple[PeerConfig, ...], BeforeValidator(_to_tuple)] = ()
    sealing: SealingConfig = SealingConfig()
    sync: SyncConfig = SyncConfig()
    limits: Limits = Limits()
    storage: StorageConfig = StorageConfig()

    def advertised_url(self, port: int) -> str | None:
        """The URL at which others reach this node's `port` for peers; None where that is not known."""
        if self.advertise is not None or self.peer_listen.host in ANY_HOST:
            return self.advertise
        return f"https://{self.peer_listen._replace(port=port)}"

    @check_model(mode="after")
    def _check(self) -> NodeConfig:
        if (self.key_file is None) != (self.passphrase_file is None):
            raise ValueError("key_file and passphrase_file come together: neither, or both")
        self._check_tls()
        for what in ("name", "url", "key"):
            values = [getattr(peer, what) for peer in self.peers]
            if len(set(values)) < len(values):
                raise ValueError(f"two of the peers share a {what}")
        return self

    def _check_tls(self) -> None:
        if self.peers and self.tls is None and not self.insecure_peers:
            raise ValueError("peers speak TLS: want a table [tls], or else insecure_peers = true")
        if self.tls is not None and self.insecure_peers:
            raise ValueError("either a table [tls] or insecure_peers = true, not both")
        if self.tls is not None and self.key_file is None:
            raise ValueError("peers speak TLS with members only: [tls] wants a key_file")
        if self.advertise is not None:
            try:
                check_url(self.advertise)
            except BadContact:
                raise ValueError("advertise: want https://host:port, and nothing behind it") from None
        scheme = "http" if self.tls is None else "https"
        for peer in self.peers:
            if not peer.url.startswith(f"{scheme}://"):
                raise ValueError(f"the url of the peer {peer.name} must begin with {scheme}://")


class NetworkDocument(Section):
    """The content of a genesis file: all chains of a network, and the members, authority and start that they share."""

    time_ms: Natural
    chains: Annotated[tuple[ChainParams, ...], Field(min_length=1)]
    members: Annotated[tuple[GenesisMember, ...], Field(min_length=1, max_length=100_000)]
    authority: Authority = Authority()
    disposable: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The chains' names, in the order of the file."""
        return tuple(chain.name for chain in self.chains)

    def find(self, kind: str) -> str | None:
        """The name of the chain of a kind."""
        return next((chain.name for chain in self.chains if chain.kind == kind), None)

    def open(self, chain: str) -> Genesis:
        """One chain's genesis, by its name. Raises `ValidationError` where the chains do not fit together."""
        params = next(item for item in self.chains if item.name == chain)
        others = tuple(item for item in self.chains if item is not params)
        return Genesis(
            params=params,
            time_ms=self.time_ms,
            members=self.members,
            siblings=others,
            authority=self.authority,
            disposable=self.disposable,
        )


def describe_network(genesis: Genesis) -> NetworkDocument:
    """The document that a chain's genesis and those of its siblings are opened from."""
    return NetworkDocument(
        time_ms=genesis.time_ms,
        chains=genesis.chains,
        members=genesis.members,
        authority=genesis.authority,
        disposable=genesis.disposable,
    )


# --- files ---------------------------------------------------------------------------------------


def load_config(path: str | Path) -> NodeConfig:
    """Read a `node.toml`. Raises `UnreadableFile` or `BadConfigFile`, which names every problem."""
    file = Path(path)
    try:
        values = tomllib.loads(read_text(file, _MAX_CONFIG_BYTES))
    except tomllib.TOMLDecodeError as error:
        raise BadConfigFile(file=str(file), problems=f"not TOML: {error}") from None
    try:
        return NodeConfig.model_validate(values, context={_BASE: file.parent})
    except ValidationError as error:
        raise BadConfigFile(file=str(file), problems=_explain(error, NodeConfig)) from None


def save_config(config: NodeConfig, path: str | Path) -> None:
    """Write a `node.toml`; paths below its directory become relative. Raises `UnwritableFile`."""
    file = Path(path)
    values = config.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    if config.tls is not None:
        values["tls"] = config.tls.model_dump(mode="json")
    for table, names in ((values, ("data_dir", "key_file", "passphrase_file")), (values.get("tls", {}), _TLS_FILES)):
        for name in names:
            if name in table:
                table[name] = _relative(table[name], file.parent)
    for chain in values["chains"]:
        chain["genesis"] = _relative(chain["genesis"], file.parent)
    for name in ("peer_listen", "api_listen"):
        values[name] = str(getattr(config, name))
    _write_text(file, "\n".join(_toml_lines(values)) + "\n")


def load_chains(config: NodeConfig) -> tuple[Genesis, ...]:
    """The genesis of every chain that a node takes part in, in the order of its configuration.

    Raises `UnreadableFile`, `BadConfigFile`, `NoSuchChain` or `ChainNotNamed`.
    """
    documents: dict[Path, NetworkDocument] = {}
    opened: dict[str, Genesis] = {}
    for chain in config.chains:
        file = chain.genesis
        if file not in documents:
            documents[file] = load_network_document(file)
        known = documents[file].names
        if chain.name is None and len(known) > 1:
            raise ChainNotNamed(file=str(file), known=", ".join(known))
        genesis = _open_chain(documents[file], file, chain.name or known[0])
        if genesis.params.name in opened:
            raise BadConfigFile(file="node.toml", problems=f"two chains are called {genesis.params.name}")
        opened[genesis.params.name] = genesis
    return tuple(opened.values())


def load_genesis(path: str | Path, chain: str | None = None) -> Genesis:
    """Read one chain's genesis out of its network's file; without a name that of the trading chain.

    Raises `UnreadableFile`, `BadConfigFile` or `NoSuchChain`.
    """
    file = Path(path)
    document = load_network_document(file)
    return _open_chain(document, file, chain or document.find("trading") or document.names[0])


def load_network_document(path: str | Path) -> NetworkDocument:
    """Read a genesis file. Raises `UnreadableFile` or `BadConfigFile`."""
    file = Path(path)
    text = read_text(file, _MAX_GENESIS_BYTES)
    try:
        return NetworkDocument.model_validate_json(text)
    except ValidationError as error:
        raise BadConfigFile(file=str(file), problems=_explain(error, NetworkDocument)) from None


def save_genesis(genesis: Genesis, path: str | Path) -> None:
    """Write the genesis file of a chain's whole network, for people to read. Raises `UnwritableFile`."""
    _write_text(Path(path), describe_network(genesis).model_dump_json(indent=2) + "\n")


def _open_chain(document: NetworkDocument, file: Path, name: str) -> Genesis:
    if name not in document.names:
        raise NoSuchChain(file=str(file), name=name, known=", ".join(document.names))
    try:
        return document.open(name)
    except ValidationError as error:
        raise BadConfigFile(file=str(file), problems=_explain(error, Genesis)) from None


def _write_text(file: Path, text: str) -> None:
    """Write all or nothing: a reader of the file meanwhile sees the old one or the new one."""
    draft = file.with_name(file.name + ".new")
    try:
        draft.write_text(text)
        draft.replace(file)
    except OSError as error:
        raise UnwritableFile(file=str(file), detail=error.strerror or str(error)) from None


def _relative(path: str, base: Path) -> str:
    relative = os.path.relpath(path, base)
    return path if relative.startswith("..") else relative


def _toml_lines(values: dict[str, Any], *heading: str) -> Iterator[str]:
    """TOML of nested tables, lists of tables, lists of text, text, integers and booleans: all that a config holds."""
    tables = {key: value for key, value in values.items() if _has_tables(value)}
    for key, value in values.items():
        if key not in tables:
            yield f"{key} = {_show_toml(value)}"
    for key, value in tables.items():
        name = ".".join((*heading, key))
        if isinstance(value, dict):
            yield from ("", f"[{name}]", *_toml_lines(value, *heading, key))
        else:
            for item in value:
                yield from ("", f"[[{name}]]", *_toml_lines(item, *heading, key))


def _has_tables(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))


def _show_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case list():
            return f"[{', '.join(map(_show_toml, value))}]"
    return f'"{_escape(str(value))}"'


def _escape(text: str) -> str:
    return "".join(
        "\\" + char if char in '"\\' else char if char.isprintable() else f"\\U{ord(char):08x}" for char in text
    )


# --- saying what is wrong --------------------------------------------------------------------------

_Model = TypeVar("_Model", bound=BaseModel)


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line per problem: key, what stands there, what is allowed."""
    lines = []
    for problem in error.errors(include_url=False):
        key = _dotted(problem["loc"])
        match problem["type"]:
            case "extra_forbidden":
                lines.append(f"unknown key {key}; {_advise(problem['loc'], model)}")
            case "missing":
                lines.append(f"{key} is missing")
            case "too_short":
                lines.append(f"{key}: have none, want at least {problem['ctx']['min_length']}")
            case _:
                want = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
                lines.append(f"{key}: have {_show(problem['input'])}, want {want}" if key else want)
    return "\n  ".join(["", *lines] if len(lines) > 1 else lines)


def _dotted(location: tuple[int | str, ...]) -> str:
    """`peers[2].url` from ("peers", 2, "url")."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _advise(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """The keys that an unknown one may have meant, or all that are known in its place."""
    known = list(section_at(location[:-1], model).model_fields)
    close = get_close_matches(str(location[-1]), known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def section_at(location: tuple[int | str, ...], model: type[BaseModel]) -> type[BaseModel]:
    """The model that describes the table at a place in the document."""
    for part in location:
        if isinstance(part, int):
            continue
        annotation: Any = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return model
