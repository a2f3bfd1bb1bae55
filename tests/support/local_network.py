"""Real nodes on 127.0.0.1 for tests of the I/O side: `make_local(n)` writes their files, they run in the process."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest

from gridmerit import main as cli
from gridmerit.network.calibration import calibrate, measure_nonces_per_s
from gridmerit.network.make import find_free_ports
from ledger.codec import Value, encode
from ledger.genesis import Authority, Genesis, GenesisMember
from ledger.params import Area, ChainParams, ConsensusParams, LedgerParams, Line, SchedulingParams
from ledger.signatures import SigningKey, signing_digest
from ledger.transaction import Transaction, make_transaction
from node.chain.messages import SESSION_BYTES, Message, seal_batch
from node.config import NodeConfig, save_genesis
from node.credentials.certificates import DAY_MS, Subject, issue, make_ca
from node.credentials.keystore import save_key, save_passphrase
from node.driver.chain_driver import ChainDriver
from node.peer.wire_version import HEADER, OURS
from node.runtime import Runtime
from node.system.addresses import ListenAddress
from node.system.clock import now_ms
from tests.support.patience import PATIENCE_S

CHAIN = "jy1"
SIBLINGS = {
    "du1": ChainParams(
        name="du1",
        kind="scheduling",
        scheduling=SchedulingParams(
            areas=(Area(name="hills", wheeling_uyuan_per_kwh=20_000),),
            lines=(Line(name="feeder-1", area="hills", capacity_wh=1_000_000),),
        ),
    ),
    "lh1": ChainParams(name="lh1", kind="credit"),
}
CORE_SHARE_PPM = 50_000
PEER_HEAD = {HEADER: str(OURS)}  # of every request of a real peer
PASSPHRASE = b"0" * 64  # as if generated, so that opening a key costs little


class Batches:
    """The batches of one sender to one node on one chain, numbered within the session that the node has told."""

    def __init__(self, key: SigningKey, *, receiver: bytes, chain_id: bytes) -> None:
        self._key, self._receiver, self._chain_id = key, receiver, chain_id
        self.session, self.number = bytes(SESSION_BYTES), 0

    def seal(
        self,
        *messages: Message,
        key: SigningKey | None = None,
        receiver: bytes | None = None,
        chain_id: bytes | None = None,
        session: bytes | None = None,
        number: int | None = None,
    ) -> bytes:
        """The next batch, in its place or with another key, receiver, chain, session or number."""
        self.number += 1
        return seal_batch(
            key or self._key,
            chain_id=chain_id or self._chain_id,
            receiver=receiver or self._receiver,
            session=session or self.session,
            number=self.number if number is None else number,
            sent_ms=0,
            messages=messages,
        )

    def seal_body(self, body: bytes) -> bytes:
        """A batch that is well signed, whatever it says."""
        self.number += 1
        signed = (self._key.public_key, self._receiver, self.session, self.number.to_bytes(8, "big"), bytes(8), body)
        return encode((*signed, self._key.sign(signing_digest("batch", self._chain_id, encode(signed)))))

    def go_on(self, values: Mapping[str, Any]) -> None:
        """Go on as the answer to a batch that was out of step says, which every sender hears once."""
        self.session, self.number = bytes.fromhex(values["session"]), values["last"]


@dataclass(frozen=True, kw_only=True)
class LocalNetwork:
    """The files of n sealing nodes n0, n1, … that know each other; `genesis` is the trading chain's.

    They speak TLS with certificates by `ca_key`, unless they are insecure; `authority` admits and revokes.
    """

    genesis: Genesis
    keys: tuple[SigningKey, ...]
    configs: tuple[NodeConfig, ...]
    authority: SigningKey
    ca_key: SigningKey
    ca_pem: bytes
    tls_keys: tuple[SigningKey, ...]
    _running: list[Runtime] = field(default_factory=list, compare=False)

    def subject(self, index: int, **changes: Any) -> Subject:
        """The subject of a node's certificate."""
        member = self.genesis.members[index]
        facts = {"member": member.name, "key": member.key, "role": member.role, "network": self.genesis.network_id}
        return Subject(**{**facts, **changes})

    def certify(self, index: int, *, from_days: int = -1, to_days: int = 365, **changes: Any) -> bytes:
        """A certificate for a node's keys, with these facts changed, valid from and to so many days from now."""
        return issue(
            self.ca_pem,
            self.ca_key,
            self.subject(index, **changes),
            tls_key=self.tls_keys[index].public_key,
            serial=index + 1,
            not_before_ms=now_ms() + from_days * DAY_MS,
            not_after_ms=now_ms() + to_days * DAY_MS,
        )

    @asynccontextmanager
    async def running(self, *indexes: int, is_sure: bool | None = None) -> AsyncIterator[list[Runtime]]:
        """These nodes (all where none is named) in this process; none of them may fail.

        Some of a network's nodes are sure of their records, unless it is said otherwise: they may be too few to ask.
        """
        sure = bool(indexes) if is_sure is None else is_sure
        async with AsyncExitStack() as stack:
            runtimes = []
            for index in indexes or range(len(self.configs)):
                runtime = Runtime(self.configs[index], is_sure=sure)
                stack.push_async_callback(runtime.stop)
                await runtime.start()
                runtimes.append(runtime)
                self._running.append(runtime)
                stack.callback(self._running.remove, runtime)
            yield runtimes
            assert [runtime.failure for runtime in runtimes] == [None] * len(runtimes)

    def transfer(self, sequence: int, *, sender: int = 0, receiver: int = 1) -> Transaction:
        """One µ¥ from one member to another."""
        return self.transaction(sender, sequence, "transfer", self.keys[receiver].address, 1)

    def transaction(self, sender: int, sequence: int, kind: str, *payload: Value, chain: str = CHAIN) -> Transaction:
        return make_transaction(
            self.keys[sender],
            chain_id=self.genesis.chain_id_of(chain),
            sequence=sequence,
            expiry_height=9_000,
            kind=kind,
            payload=payload,
        )

    def batches(self, sender: int | SigningKey, receiver: int = 0) -> Batches:
        """Those of a node, or of a key, to a node on the trading chain."""
        key = self.keys[sender] if isinstance(sender, int) else sender
        return Batches(key, receiver=self.keys[receiver].public_key, chain_id=self.genesis.chain_id)

    @staticmethod
    def host(runtime: Runtime, chain: str = CHAIN) -> ChainDriver:
        return runtime.chains[chain]

    def head(self, runtime: Runtime, chain: str = CHAIN) -> bytes:
        return self.host(runtime, chain).node.chain.head.hash

    def height(self, runtime: Runtime, chain: str = CHAIN) -> int:
        return self.host(runtime, chain).node.chain.head.height

    async def events(self, runtime: Runtime, chain: str = CHAIN) -> AsyncIterator[dict[str, Any]]:
        """The events of a node's chain from now on, as its readers are told."""
        async with self.host(runtime, chain).subscribe() as events:
            while lines := await events.take():
                for line in lines.splitlines():
                    yield json.loads(line)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition, which looks at the running nodes between their steps."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self._look(condition):  # noqa: ASYNC110 - about state whose changes nobody announces
                await asyncio.sleep(0.005)

    async def _look(self, condition: Callable[[], object]) -> object:
        async with AsyncExitStack() as stack:
            for runtime in self._running:
                for host in list(runtime.chains.values()):
                    await stack.enter_async_context(host._thread.settled)
            return condition()


@cache
def _nonces_per_s() -> int:
    return measure_nonces_per_s()


def make_params(
    count: int,
    *,
    interval_ms: int,
    period_ms: int,
    chains: Sequence[str] = (CHAIN,),
    engine: Literal["poca", "pbft"] = "poca",
) -> tuple[ChainParams, ...]:
    """Chains on which `count` nodes of this machine seal about one block per interval from the start."""
    consensus = ConsensusParams(
        engine=engine,
        block_interval_ms=interval_ms,
        relief_after=100,
        max_ahead_ms=10 * interval_ms,
        checkpoint_depth=1,
        empty_after_ms=interval_ms,
    )
    shared = {"ledger": LedgerParams(period_ms=period_ms), "consensus": consensus}
    params = [SIBLINGS.get(name, ChainParams(name=name)).model_copy(update=shared) for name in chains]
    return calibrate(params, sealers=count, nonces_per_s=_nonces_per_s() * CORE_SHARE_PPM // 1_000_000)


def write_local(
    directory: Path,
    count: int,
    *,
    interval_ms: int = 100,
    period_ms: int = 3_600_000,
    seals: bool = True,
    siblings: Sequence[str] = (),
    secure: bool = True,
    age_ms: int = 1_000,
    engine: Literal["poca", "pbft"] = "poca",
    host: str = "127.0.0.1",
) -> LocalNetwork:
    """Write genesis, key and passphrase files. Without `seals` the nodes search no nonces; `secure` means TLS.

    The genesis is `age_ms` old.

    All nodes host the trading chain and its `siblings`, any of "du1" and "lh1".
    """
    keys = tuple(SigningKey(bytes([index + 1]) * 32) for index in range(count))
    tls_keys = tuple(SigningKey(bytes([index + 101]) * 32) for index in range(count))
    authority, ca_key = SigningKey(b"\xa1" * 32), SigningKey(b"\xca" * 32)
    chains = (CHAIN, *siblings)
    params, *others = make_params(count, interval_ms=interval_ms, period_ms=period_ms, chains=chains, engine=engine)
    genesis = Genesis(
        params=params,
        siblings=tuple(others),
        time_ms=now_ms() - age_ms,
        members=tuple(
            _make_member(index, key, tls_key if secure else None)
            for index, (key, tls_key) in enumerate(zip(keys, tls_keys, strict=True))
        ),
        authority=Authority(keys=(authority.public_key,)),
    )
    save_genesis(genesis, directory / "genesis.json")
    save_passphrase(directory / "passphrase", PASSPHRASE)
    ca_pem = make_ca(ca_key, not_before_ms=now_ms() - 400 * DAY_MS)
    (directory / "ca.pem").write_bytes(ca_pem)
    for index in range(count):
        save_key(directory / f"n{index}.pem", keys[index], PASSPHRASE)
        save_key(directory / f"n{index}-tls-key.pem", tls_keys[index], PASSPHRASE)
    local = LocalNetwork(
        genesis=genesis,
        keys=keys,
        configs=_make_configs(directory, genesis, seals=seals, secure=secure, host=host),
        authority=authority,
        ca_key=ca_key,
        ca_pem=ca_pem,
        tls_keys=tls_keys,
    )
    for index in range(count):
        (directory / f"n{index}-tls.pem").write_bytes(local.certify(index))
    return local


def _make_member(index: int, key: SigningKey, tls_key: SigningKey | None) -> GenesisMember:
    return GenesisMember(
        name=f"n{index}",
        role="grid-operator" if index == 0 else "prosumer",
        key=key.public_key,
        tls_key=b"" if tls_key is None else tls_key.public_key,
        seals=True,
        balance_uyuan=10_000_000,
        capacity_wh=1_000,
        position="feeder-1",
    )


def _make_configs(directory: Path, genesis: Genesis, *, seals: bool, secure: bool, host: str) -> tuple[NodeConfig, ...]:
    """One for each member, on ports of the host that are free, with all others as its peers."""
    names = [member.name for member in genesis.members]
    ports = find_free_ports(2 * len(names))
    peer_ports, api_ports = ports[: len(names)], ports[len(names) :]
    scheme = "https" if secure else "http"
    peers = [
        {"name": member.name, "url": f"{scheme}://{ListenAddress(host, port)}", "key": member.key.hex()}
        for member, port in zip(genesis.members, peer_ports, strict=True)
    ]
    configs = []
    for name, peer_port, api_port in zip(names, peer_ports, api_ports, strict=True):
        tls = {
            "certificate": directory / f"{name}-tls.pem",
            "key_file": directory / f"{name}-tls-key.pem",
            "ca": directory / "ca.pem",
        }
        settings: dict[str, Any] = {
            "data_dir": directory / name,
            "key_file": directory / f"{name}.pem",
            "passphrase_file": directory / "passphrase",
            "peer_listen": str(ListenAddress(host, peer_port)),
            "api_listen": str(ListenAddress(host, api_port)),
            "chains": [
                {"genesis": directory / "genesis.json", "name": chain.name}
                for chain in (genesis.params, *genesis.siblings)
            ],
            "peers": [peer for peer in peers if peer["name"] != name],
            "sealing": {"threads": 1 if seals else 0, "core_share_ppm": CORE_SHARE_PPM},
            **({"tls": tls} if secure else {"insecure_peers": True}),
        }
        configs.append(NodeConfig.model_validate(settings))
    return tuple(configs)


def choose_loopback() -> str:
    """`::1`, or 127.0.0.1 on a machine that has no IPv6."""
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return "::1"
    return "127.0.0.1"


@pytest.fixture
def make_local(tmp_path: Path) -> Callable[..., LocalNetwork]:
    def make(count: int, **options: Any) -> LocalNetwork:
        return write_local(tmp_path, count, **options)

    return make


@pytest.fixture
def gridmerit(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process: exit code, stdout, stderr."""

    def call(*args: object) -> tuple[int, str, str]:
        code = cli.run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
