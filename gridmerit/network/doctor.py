"""The checks of `gridmerit doctor`, each with what to do when it fails. Changes nothing that a node would not."""

from __future__ import annotations

import errno
import socket
import ssl
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal, NamedTuple

import aiohttp

from consensus import seal
from gridmerit.network.calibration import measure_nonces_per_s
from gridmerit.network.silences import find_exclusion, find_silence
from gridmerit.text import format_count
from ledger import state
from ledger.errors import GridmeritError, StoreError, StoreLocked
from ledger.genesis import Genesis
from ledger.hashing import show_address
from ledger.signatures import SigningKey
from ledger.store import LevelStore
from node.api.client import Client
from node.chain.node import ChainNode
from node.chain.trusted_block import TrustedBlock
from node.config import NodeConfig, PeerConfig, load_chains, load_config
from node.credentials.certificates import WARNING_DAYS, name_of_key
from node.credentials.keystore import load_key, load_passphrase
from node.credentials.tls import PeerTls, make_client_context
from node.driver.outages import make_outage
from node.driver.signing_file import SigningFile, is_locked
from node.errors import UnknownAccount, Unreachable
from node.peer.peer_clocks import find_offset
from node.queries.answers import MemberInfo
from node.queries.chain import ChainQueries
from node.system.addresses import ListenAddress
from node.system.clock import now_ms

_OLDEST_PYTHON = (3, 11)
_PEER_TIMEOUT_S = 2.0
_OURSELVES = "this node"
_SILENT = "this node, which does not answer in time"
_DATE_RESOLUTION_MS = 1_500  # a Date header has whole seconds


class Finding(NamedTuple):
    """The outcome of one check."""

    what: str
    verdict: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""


class _Membership(NamedTuple):
    """One chain's record of the member with this key."""

    chain: str
    member: MemberInfo


async def examine(directory: Path | None) -> list[Finding]:
    """All checks of this machine, and of the node directory where one is given."""
    findings = [_check_python(), _check_search(), *_check_state_tree()]
    if directory is None:
        findings.append(Finding("node", "ok", "none given, so only this machine was checked", ""))
        return findings
    try:
        config = load_config(directory / "node.toml")
        documents = load_chains(config)
    except GridmeritError as error:
        remedy = "mend the file, or make another directory: gridmerit init DIR --genesis FILE"
        return [*findings, Finding("configuration", "fail", str(error), remedy)]
    names = ", ".join(genesis.params.name for genesis in documents)
    findings.append(Finding("configuration", "ok", f"{directory / 'node.toml'}, chains {names}"))
    key, problem = _load_key(config)
    holder = await _find_holder(config, documents, key)
    chains = [
        _check_chain(config, genesis, key, chain.anchor)
        for genesis, chain in zip(documents, config.chains, strict=True)
    ]
    found = [member for _, member in chains if member is not None]
    if holder == _OURSELVES and key is not None:
        found = await _ask_who_we_are(config, documents, key)
    findings += [
        problem or _check_membership(documents, key, found),
        _check_certificate(config, documents, key),
        _check_port("peer port", config.peer_listen, holder),
        _check_port("API port", config.api_listen, holder),
        *(finding for finding, _ in chains),
    ]
    places: dict[str, str] = {}
    if holder == _OURSELVES:
        findings += await _check_running(config)
        places = await _ask_where_peers_are(config)
    context = _open_client_context(config)
    peers = [await _check_peer(peer, places.get(peer.key.hex(), peer.url), documents, context) for peer in config.peers]
    findings.append(_check_clock(documents, [offset_ms for _, offset_ms in peers if offset_ms is not None]))
    findings += [finding for finding, _ in peers]
    if not config.peers:
        findings.append(Finding("peers", "warn", "none configured", "add [[peers]] to node.toml"))
    if config.tls is not None and config.advertised_url(config.peer_listen.port) is None:
        detail = f"peer_listen = {config.peer_listen} names no address: members that join later cannot find this node"
        findings.append(Finding("advertise", "warn", detail, 'add advertise = "https://host:port" to node.toml'))
    return findings


# --- this machine --------------------------------------------------------------------------------


def _check_python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return Finding("python", "fail", version, "install Python 3.11 or newer")
    return Finding("python", "ok", version)


def _check_search() -> Finding:
    rate = measure_nonces_per_s()
    detail = f"{rate:,} nonces/s per core on the path {seal.active_path()!r}"
    if not seal.NATIVE:
        return Finding("nonce search", "warn", detail, "build the native module: python setup.py build_ext --inplace")
    return Finding("nonce search", "ok", detail)


def _check_state_tree() -> list[Finding]:
    """A word only where it is not native: then a node takes more memory and time, and is right all the same."""
    if state.NATIVE:
        return []
    detail = "in Python: a million entries take 800 MB, and ten seconds at every start"
    return [Finding("state tree", "warn", detail, "build the native module: python setup.py build_ext --inplace")]


# --- the node directory --------------------------------------------------------------------------


def _load_key(config: NodeConfig) -> tuple[SigningKey | None, Finding | None]:
    """The member's key, or what is wrong with it; neither for an observer."""
    if config.key_file is None or config.passphrase_file is None:
        return None, None
    try:
        return load_key(config.key_file, load_passphrase(config.passphrase_file)), None
    except GridmeritError as error:
        remedy = error.values.get("remedy", "gridmerit key show FILE --passphrase-file FILE")
        return None, Finding("key", "fail", str(error), str(remedy))


async def _ask_who_we_are(config: NodeConfig, documents: Sequence[Genesis], key: SigningKey) -> list[_Membership]:
    """Ask the running node's chains for its member's record."""
    found = []
    for genesis in documents:
        name = genesis.params.name
        with suppress(GridmeritError):
            async with Client(config.api_listen.url, name, timeout_s=_PEER_TIMEOUT_S) as client:
                found.append(_Membership(name, await client.member(key.address)))
    return found


async def _ask_where_peers_are(config: NodeConfig) -> dict[str, str]:
    """Ask the running node where it reaches its peers, which may have moved, by their keys in hex."""
    with suppress(GridmeritError):
        async with Client(config.api_listen.url, "", timeout_s=_PEER_TIMEOUT_S) as client:
            return {peer["key"]: peer["url"] for peer in (await client.node_status()).peers}
    return {}


def _check_membership(documents: Sequence[Genesis], key: SigningKey | None, found: Sequence[_Membership]) -> Finding:
    """Check the membership of the key's holder: by the chains at their heads, or else by the genesis."""
    if key is None:
        return Finding("key", "ok", "none: an observer, it seals and signs nothing")
    founder = next((one for genesis in documents for one in genesis.members if one.key == key.public_key), None)
    if not found and founder is None:
        remedy = "have the key admitted: gridmerit member apply; or run as an observer: remove key_file"
        detail = f"{key.public_key.hex()} is no founding member, and no chain here knows of its admission"
        return Finding("key", "warn", detail, remedy)
    if not found:
        assert founder is not None
        sealed = [genesis.params.name for genesis in documents if key.public_key in genesis.sealers]
        return Finding("key", "ok", _describe_member(founder.name, founder.role, sealed))
    sealed = [chain for chain, member in found if member.seals and member.status == "active"]
    detail = _describe_member(found[0].member.name, found[0].member.role, sealed)
    ended = [f"{member.status} on {chain}" for chain, member in found if member.status != "active"]
    if ended:
        return Finding("key", "warn", f"{detail}; {', '.join(ended)}", "ask the network's authority")
    return Finding("key", "ok", detail)


def _describe_member(name: str, role: str, sealed: Sequence[str]) -> str:
    rights = f"may seal on {', '.join(sealed)}" if sealed else "may not seal"
    return f"{name} ({role}, {rights}), file mode 0600"


def _check_certificate(config: NodeConfig, documents: Sequence[Genesis], key: SigningKey | None) -> Finding:
    """Check that peers will take this node's certificate, and for how long."""
    if config.tls is None:
        remedy = "" if not config.peers else "have the network's authority issue a certificate, and add [tls]"
        verdict: Literal["ok", "warn"] = "warn" if config.peers else "ok"
        return Finding("certificate", verdict, "none: what peers send is signed, but everybody can read it", remedy)
    if key is None or config.passphrase_file is None:
        return Finding("certificate", "fail", "the member's key cannot be opened", "see the finding on the key")
    if not config.tls.certificate.exists():
        remedy = "apply to the network's authority: gridmerit member apply; then put the certificate in place"
        return Finding("certificate", "warn", f"{config.tls.certificate} is not there yet, no peer will listen", remedy)
    renewal = "have the authority issue another: gridmerit member renew; then put it in place, no restart is needed"
    try:
        passphrase = load_passphrase(config.passphrase_file)
        network = documents[0].network_id
        certificate = PeerTls(config.tls, passphrase, key=key.public_key, network=network).certificate
    except GridmeritError as error:
        return Finding("certificate", "fail", str(error), renewal)
    days, begins_in = certificate.days_left(now_ms()), certificate.not_before_ms - now_ms()
    if begins_in > 0:
        return Finding("certificate", "fail", f"it begins in {begins_in // 1_000} s", "set this machine's clock (NTP)")
    if days < 0:
        return Finding("certificate", "fail", f"it ended {-days} days ago", renewal)
    detail = f"{certificate.member}'s, serial {certificate.serial}, ends in {days} days"
    if days < WARNING_DAYS:
        return Finding("certificate", "warn", detail, renewal)
    return Finding("certificate", "ok", detail)


def _open_client_context(config: NodeConfig) -> ssl.SSLContext | None:
    if config.tls is None or config.passphrase_file is None:
        return None
    try:
        return make_client_context(config.tls, load_passphrase(config.passphrase_file))
    except GridmeritError:
        return None  # a finding of its own


async def _find_holder(config: NodeConfig, documents: Sequence[Genesis], key: SigningKey | None) -> str:
    """Find, in words, what answers at the API's address.

    `_OURSELVES` where the key and the lock say that it is this node, `_SILENT` where the lock alone can say it.
    """
    is_running = any(is_locked(config.data_dir / genesis.params.name) for genesis in documents)
    try:
        async with Client(config.api_listen.url, "", timeout_s=_PEER_TIMEOUT_S) as client:
            status = await client.node_status()
    except Unreachable:
        return _SILENT if is_running else "another program"
    except GridmeritError:
        return "another program"
    address = None if key is None else show_address(key.address)
    is_unknown = key is None and config.key_file is not None  # the key cannot be opened: the lock alone must tell
    if (is_unknown or status.address == address) and is_running:
        return _OURSELVES
    return f"another node ({status.member or status.address or 'an observer'})"


def _check_port(what: str, address: ListenAddress, holder: str) -> Finding:
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return Finding(what, "fail", f"{address}: {error.strerror}", "choose another address in node.toml")
            if holder == _OURSELVES:
                return Finding(what, "ok", f"{address} is held by this node, which is running")
            if holder == _SILENT:
                remedy = "the same a moment later; what keeps it or this machine busy, gridmerit net logs may tell"
                return Finding(what, "warn", f"{address} is held by {holder}", remedy)
            remedy = "stop what listens there, or choose another address in node.toml"
            return Finding(what, "fail", f"{address} is held by {holder}", remedy)
    return Finding(what, "ok", f"{address} is free")


def _check_chain(
    config: NodeConfig, genesis: Genesis, key: SigningKey | None, anchor: TrustedBlock | None
) -> tuple[Finding, _Membership | None]:
    """Open guard and store as a node does: that checks the head's state root and what this key has signed.

    Beside the finding, what the chain knows of the key's holder.
    """
    name = genesis.params.name
    directory = config.data_dir / name
    what = f"store of {name}"
    if not (directory / "ledger").is_dir():
        return Finding(what, "ok", f"{directory} is made at the first start"), None
    try:
        with SigningFile(directory, genesis.chain_id) as guard, closing(LevelStore(directory / "ledger")) as store:
            record = guard.load(ledger_exists=True)
            node = ChainNode(genesis, store, key=key, signing_record=record, anchor=anchor)
            head, member = node.chain.head, None
            assert head.state.root == head.header.state_root, "opening a chain checks the state root"
            if key is not None:
                with suppress(UnknownAccount):
                    member = _Membership(name, ChainQueries(node).get_member(show_address(key.address)))
    except StoreLocked:
        return Finding(what, "ok", "in use by the running node; stop it to have the store checked"), None
    except GridmeritError as error:
        if not isinstance(error, StoreError):
            return Finding(what, "fail", f"{error.code}: {error}"), None
        outage = make_outage(genesis, directory, error, now_ms())
        return Finding(what, "fail", f"{error.code}: {error}", outage.remedy), None
    detail = f"head {head.height} ({head.hash.hex()[:12]}…), its state root matches, guard file at {record.height}"
    return Finding(what, "ok", detail), member


async def _check_running(config: NodeConfig) -> list[Finding]:
    """A warning for each chain on which the running node signs nothing for now, and each period that failed of late."""
    findings: list[Finding] = []
    with suppress(GridmeritError):
        async with Client(config.api_listen.url, "", timeout_s=_PEER_TIMEOUT_S) as client:
            status = await client.node_status()
            if (exclusion := find_exclusion(status)) is not None:
                findings.append(
                    Finding("membership", "warn", f"{exclusion.state}: {exclusion.detail}", exclusion.remedy)
                )
            for chain in status.chains:
                if (silence := find_silence(chain)) is not None:
                    what = f"signing on {chain.chain}"
                    findings.append(Finding(what, "warn", f"not until {silence.until}", silence.remedy))
                for period, gate in ((failed.period, failed.gate) for failed in chain.failed_periods):
                    detail = f"{gate.status}: {gate.detail}"
                    findings.append(Finding(f"period {period} of {chain.chain}", "warn", detail, gate.remedy))
    return findings


def _check_clock(documents: Sequence[Genesis], offsets_ms: Sequence[int]) -> Finding:
    """Check the time against the network's; `offsets_ms` are by how much it is ahead of what peers show."""
    for genesis in documents:
        ahead_ms = genesis.time_ms - now_ms()
        if ahead_ms > genesis.params.consensus.max_ahead_ms:
            detail = f"{ahead_ms // 1_000} s before the genesis of {genesis.params.name}"
            return Finding("clock", "fail", detail, "set this machine's clock (NTP)")
    if not offsets_ms:
        return Finding("clock", "ok", "after the genesis; no peer shows another")
    offset_ms = find_offset(offsets_ms)
    if abs(offset_ms) > min(genesis.params.consensus.max_ahead_ms for genesis in documents):
        side = "ahead of" if offset_ms > 0 else "behind"
        detail = f"about {abs(offset_ms) / 1_000:.0f} s {side} the median of {format_count(len(offsets_ms), 'peer')}"
        return Finding("clock", "fail", detail, "set this machine's clock (NTP)")
    peers = f"{format_count(len(offsets_ms), 'peer')} {'has' if len(offsets_ms) == 1 else 'have'} it"
    return Finding("clock", "ok", f"after the genesis, and as {peers}")


async def _check_peer(
    peer: PeerConfig, url: str, documents: Sequence[Genesis], context: ssl.SSLContext | None
) -> tuple[Finding, int | None]:
    """Check that a peer shares a chain, that its port answers, and that its clock agrees (to the second of its Date).

    Beside the finding, by how much our clock is ahead of it at least, where it shows one.
    """
    what = f"peer {peer.name}"
    names = [genesis.params.name for genesis in documents]
    unknown = [name for name in peer.chains or () if name not in names]
    if len(unknown) == len(peer.chains or ("any",)):
        detail = f"it takes part in {', '.join(unknown)}, this node in {', '.join(names)}: they never talk"
        return Finding(what, "warn", detail, "mend its chains in node.toml, or remove it there"), None
    begin_ms = now_ms()
    try:
        timeout = aiohttp.ClientTimeout(total=_PEER_TIMEOUT_S)
        name = None if context is None else name_of_key(peer.key)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, ssl=context or True, server_hostname=name) as response,
        ):
            date = response.headers.get("Date")
    except aiohttp.ClientSSLError as error:
        detail = f"{url} answers, but TLS fails: {error.os_error.strerror or error}"
        return Finding(what, "warn", detail, "compare its key in node.toml with the peer's own; look at its log"), None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        reason = getattr(error, "os_error", error)
        detail = f"no answer from {url}: {getattr(reason, 'strerror', None) or type(reason).__name__}"
        return Finding(what, "warn", detail, "start it, or mend its url in node.toml"), None
    if date is None:
        return Finding(what, "ok", f"{url} answers"), None
    end_ms = now_ms()
    theirs_ms = int(parsedate_to_datetime(date).timestamp() * 1_000)
    ahead_ms = max(begin_ms - theirs_ms - _DATE_RESOLUTION_MS, 0) or min(end_ms - theirs_ms, 0)
    if abs(ahead_ms) > min(genesis.params.consensus.max_ahead_ms for genesis in documents):
        detail = f"{url} answers, but its clock is about {abs(ahead_ms) / 1_000:.0f} s off ours"
        remedy = "set both clocks (NTP): a clock that is off makes blocks wait or be late"
        return Finding(what, "warn", detail, remedy), ahead_ms
    return Finding(what, "ok", f"{url} answers, its clock agrees to the second"), ahead_ms
