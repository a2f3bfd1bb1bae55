"""One node process: opens the configured chains, and connects them with peers, clients, disks, clocks and the sealer.

`start` until everything listens, `run_until_signal` until told to stop or something fails, `stop` in the reverse order.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from ledger.errors import GridmeritError, StoreError, StoreLocked
from ledger.genesis import Genesis
from ledger.hashing import address_of
from ledger.mempool import MempoolLimits
from node.api.server import build_api
from node.chain.events import Event, ForwardRelay, PeerId, PeerLost, SealFound
from node.chain.messages import Message
from node.chain.trusted_block import TrustedBlock
from node.config import NodeConfig, load_chains
from node.credentials.certificates import DAY_MS, WARNING_DAYS
from node.credentials.identity import load_identity
from node.credentials.keystore import load_passphrase
from node.credentials.tls import PeerTls, get_peer_certificate
from node.driver.chain_driver import ChainDriver, Policy
from node.driver.outages import Outage, make_outage
from node.driver.seal_search import Sealer, SealingView
from node.driver.signing_file import is_locked
from node.driver.subscribers import Subscribers
from node.errors import AddressInUse, BadCertificate, InboxFull, NodeStopping, NotDisposable
from node.peer.active_members import Membership
from node.peer.authentication import Authenticator
from node.peer.connections import Links, PeerView
from node.peer.discovery import Neighbours
from node.peer.peer_clocks import ClockView, PeerClocks
from node.peer.reputation import PeerBook
from node.peer.server import PeerServer
from node.queries.answers import DiskStatus
from node.system.clock import ChainClock, now_ms, steady_ms
from node.system.descriptors import count_open, first_reserved, get_limit, make_socket_factory, share_out
from node.system.http_listener import MAX_AT_ONCE, MAX_CONNECTIONS, MAX_SILENT, Listener
from node.system.logs import LimitedLog, RepeatedLog, get_logger, log_event
from node.system.ports import Ports, take_ports
from node.system.tasks import Tasks

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WATCH_S = 0.25  # between two looks at the last final heights; a member that has gone is cut off within it
_REFRESH_S = 2.0  # between two looks at the certificate's file
_CLOCK_S = 1.0  # between two looks at the clock
_LEAST_OFF_MS = 1_000  # by which a clock may be off without a word, however short the blocks
_REMIND_MS = 600_000  # that the clock is off


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateView:
    """The status of the certificate that this node shows to its peers."""

    serial: int
    not_before_ms: int
    not_after_ms: int
    days_left: int


class Runtime:
    """A node. Opening raises the `ConfigError` family, `StoreLocked` or `AddressInUse`, before it has opened a chain.

    A chain whose store fails, at opening or later, is out and the others run; only where all are does the node end,
    with that error. `chains` that run by name, in the order of the configuration, and `outages` likewise. `member` and
    `address` are None for an observer. Where its owner `is_sure` that nothing was signed with its key elsewhere, it
    signs without asking others (`node.chain.signing`). A `policy` is an attack on the trading chain: no configuration
    asks for it, and on a network that is not disposable it raises.
    """

    def __init__(self, config: NodeConfig, *, is_sure: bool = False, policy: Policy | None = None) -> None:
        self.config = config
        self._is_sure = is_sure
        self._policy = policy
        self._started_ms = steady_ms()
        self.failure: BaseException | None = None
        self._log = get_logger()
        self._fault_log = RepeatedLog(LimitedLog(self._log))
        self._identity = load_identity(config)
        key = self._identity.member_key
        self.public_key = self._identity.peer_key.public_key
        self.address = key.address if key else None
        self._book = PeerBook(peer.key for peer in config.peers)
        self._ended = asyncio.Event()
        self._is_stopped = False
        self._tasks = Tasks(self.fail)
        self._sealer = Sealer(
            threads=config.sealing.threads if key else 0,
            core_share_ppm=config.sealing.core_share_ppm,
            on_found=self._on_found,
            on_failure=self._on_sealer_failure,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._members: dict[str, Membership] = {}
        self._gone: set[tuple[str, PeerId]] = set()  # members that have left a chain, as far as they could still talk
        self._warned_ms: int | None = None  # when the log last said that the certificate ends
        self._clock_warned_ms: int | None = None  # when it last said that the clock is off; None while it is not
        self._listeners: list[Listener] = []
        self.chains: dict[str, ChainDriver] = {}
        self.outages: dict[str, Outage] = {}
        self._hosts: dict[bytes, ChainDriver] = {}  # those in `chains` by chain id
        self._failed_hosts: list[ChainDriver] = []
        documents = load_chains(config)
        if policy is not None and not documents[0].disposable:
            raise NotDisposable(chain=documents[0].params.name)
        self.member = _find_member(documents, self.public_key) if key else None
        self._network = documents[0].network_id
        self._tls = self._open_tls()
        self._ports = self._take_ports(documents)
        self._open_chains(documents)
        self._clocks = PeerClocks(_compute_clock_limit_ms(documents))
        self._make_peer_side()

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Answer, drive the chains and look for peers.

        Raises `TooFewDescriptors`; then everything is closed again.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._listen()
        except BaseException:
            await self.stop()
            raise
        self._sealer.start()
        for host in self.chains.values():
            self._tasks.start(self._drive(host), name=f"chain {host.name}")
        self._neighbours.start(self.peer_port)
        self._tasks.start(self._watch_members(), name="members")
        self._tasks.start(self._watch_clock(), name="clock")
        if self._tls is not None:
            self._tasks.start(self._watch_certificate(self._tls), name="certificate")
        log_event(
            self._log,
            logging.INFO,
            "node-started",
            member=self.member,
            key=self.public_key,
            peer_port=self.peer_port,
            api_port=self.api_port,
            chains=" ".join(self.chains),
            out=" ".join(self.outages) or None,
        )

    async def run_until_signal(self, *, on_hangup: Callable[[], None] = lambda: None) -> int | None:
        """Run until SIGINT or SIGTERM, which is returned, or until `stop` or a failure, which is raised; then stop.

        SIGHUP calls `on_hangup`, and has the node `reload`.
        """
        loop = asyncio.get_running_loop()
        received: list[int] = []

        def on_signal(number: int) -> None:
            received.append(number)
            self._ended.set()

        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, on_signal, number)

        def on_sighup() -> None:
            on_hangup()
            self._tasks.start(self.reload(), name="reload")

        loop.add_signal_handler(signal.SIGHUP, on_sighup)
        try:
            await self._ended.wait()
        finally:
            for number in (*_STOP_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)
            await self.stop()
        if self.failure is not None:
            raise self.failure
        return received[0] if received else None

    async def reload(self) -> None:
        """Read certificates and keys of TLS anew, the authority's too, and have every peer prove itself again.

        Where they cannot be used, the log says so, and those at work stay.
        """
        if self._tls is None or self._is_stopped:
            return
        try:
            self._tls.reload()
        except GridmeritError as error:
            log_event(self._log, logging.ERROR, "certificate-unusable", error=error.code, detail=str(error))
            return
        self._listeners[0].secure_with(self._tls.server)
        await self._links.close_all_connections()
        self._warned_ms = None
        log_event(self._log, logging.INFO, "certificates-reloaded", serial=self._tls.certificate.serial)

    async def stop(self) -> None:
        """Stop listening, finish the steps at work, and close the stores. Calling it again does nothing."""
        self._ended.set()
        if self._is_stopped:
            return
        self._is_stopped = True
        for host in self.chains.values():
            host.end_subscriptions()
        for listener in self._listeners:
            await listener.stop()
        self._listeners.clear()
        self._ports.close()
        for host in self.chains.values():
            await host.stop()
        await self._tasks.stop()
        for host in self._failed_hosts:
            host.close()
        self._sealer.close()
        await self._links.close_all_connections()
        await self._neighbours.save()

    def fail(self, error: BaseException) -> None:
        """Something that must not be survived: end the process, and say why."""
        if self.failure is None:
            self.failure = error
            fields = {"error": error.code} if isinstance(error, GridmeritError) else {}
            self._log.critical("node-failed", exc_info=error, extra={"fields": {**fields, "detail": str(error)}})
        self._ended.set()

    # --- views -----------------------------------------------------------------------------------

    @property
    def peer_port(self) -> int:
        return self._listeners[0].port

    @property
    def api_port(self) -> int:
        return self._listeners[1].port

    @property
    def uptime_ms(self) -> int:
        """Since the node was opened."""
        return steady_ms() - self._started_ms

    def peer_views(self) -> list[PeerView]:
        return self._links.views()

    def clock_view(self) -> ClockView | None:
        """This node's clock beside its peers'; None where none of them has been heard of late."""
        return self._clocks.compare(now_ms(), steady_ms=steady_ms())

    def disk_views(self) -> tuple[DiskStatus, ...]:
        """The writes of each chain, and the time that they take."""
        return tuple(host.disk_view() for host in self.chains.values())

    def sealing_view(self) -> SealingView:
        return self._sealer.view()

    def certificate_view(self) -> CertificateView | None:
        """None where peers are insecure."""
        if self._tls is None:
            return None
        certificate = self._tls.certificate
        return CertificateView(
            serial=certificate.serial,
            not_before_ms=certificate.not_before_ms,
            not_after_ms=certificate.not_after_ms,
            days_left=certificate.days_left(now_ms()),
        )

    # --- what a chain wants done (`node.host.Outside`) -------------------------------------------

    def send(self, chain: ChainDriver, peer: PeerId, message: Message) -> None:
        self._links.send(chain.name, peer, message)

    def broadcast(self, chain: ChainDriver, message: Message, but: PeerId | None) -> None:
        self._links.broadcast(chain.name, message, but)

    def penalise(self, chain: ChainDriver, peer: PeerId, error: GridmeritError) -> None:
        if peer not in self._book:
            return
        name = self._neighbours.name_of(peer)
        self._fault_log.event(
            (chain.name, name, error.code),
            logging.WARNING if error.penalty else logging.INFO,
            "peer-fault",
            steady_ms(),
            on=chain.name,
            peer=name,
            error=error.code,
            detail=str(error),
            points=error.penalty,
        )
        if self._book.penalise(peer, error.penalty, steady_ms()):
            left_ms = self._book.get_standing(peer, steady_ms()).ban_left_ms
            log_event(self._log, logging.WARNING, "peer-banned", peer=name, for_ms=left_ms)
            for host in self.chains.values():
                host.forget(peer)
                if (outbox := self._links.find(host.name, peer)) is not None:
                    outbox.disconnect()

    def start_job(self, chain: str, *, job: int, root: bytes, target: int, nonces_per_s: int) -> None:
        self._sealer.start_job(chain, job=job, root=root, target=target, nonces_per_s=nonces_per_s)

    def stop_job(self, chain: str) -> None:
        self._sealer.stop_job(chain)

    def deliver(self, message: ForwardRelay) -> None:
        """A relay for a chain that may live here; one that cannot wait is dropped, for it will be offered again."""
        for host in self.chains.values():
            if host.chain_id == message.chain_id:
                with suppress(InboxFull, NodeStopping):
                    host.take_relay(message.name, message.raw)

    # --- inside ----------------------------------------------------------------------------------

    def _take_ports(self, documents: Sequence[Genesis]) -> Ports:
        """Both ports, or neither. Raises `AddressInUse`, or `StoreLocked` where this node is what has them."""
        try:
            return take_ports(peer_listen=self.config.peer_listen, api_listen=self.config.api_listen)
        except AddressInUse:
            for genesis in documents:
                name = genesis.params.name
                directory = self.config.data_dir / name
                if is_locked(directory):
                    raise StoreLocked(path=directory).of(chain=name, path=directory) from None
            raise

    def _open_chains(self, documents: Sequence[Genesis]) -> None:
        """Open all chains that can be. Raises what the first failed with where none can; then nothing stays open."""
        try:
            for genesis, chain in zip(documents, self.config.chains, strict=True):
                self._open_chain(genesis, chain.anchor)
            if not self.chains:
                raise next(iter(self.outages.values())).error
        except BaseException:
            for host in self.chains.values():
                host.close()
            self._ports.close()
            raise

    def _make_peer_side(self) -> None:
        """Make what sends to peers, and what finds them, on the chains that are open."""
        self._authenticator = Authenticator(self._network, self._members, {peer.key for peer in self.config.peers})
        self._first_reserved = first_reserved(get_limit(), chains=len(self.chains))
        self._links = Links(
            key=self._identity.peer_key,
            chains=self.chains,
            book=self._book,
            tls=self._tls,
            tasks=self._tasks,
            max_waiting_bytes=self.config.limits.peer_queue_bytes,
            may_talk=self._may_talk,
            has_ended=lambda chain, peer: (chain, peer) in self._gone,
            greet=lambda peer: self._neighbours.greet(peer),
            check=self._authenticator.check_reached,
            make_socket=make_socket_factory(self._first_reserved),
        )
        self._neighbours = Neighbours(
            self.config,
            key=self._identity.peer_key,
            network=self._network,
            chains=self.chains,
            members=self._members,
            book=self._book,
            links=self._links,
            on_fault=self.penalise,
        )

    def _open_chain(self, genesis: Genesis, anchor: TrustedBlock | None) -> None:
        name = genesis.params.name
        directory = self.config.data_dir / name
        try:
            host = self._open_host(genesis, directory, anchor)
        except StoreLocked as error:
            raise error.of(chain=name, path=directory) from None
        except StoreError as error:
            self._note_outage(genesis, error)
            return
        self.chains[name] = self._hosts[host.chain_id] = host
        self._members[name] = host.members

    def _open_host(self, genesis: Genesis, directory: Path, anchor: TrustedBlock | None) -> ChainDriver:
        limits = self.config.limits
        return ChainDriver(
            genesis,
            directory,
            key=self._identity.member_key,
            outside=self,
            mempool_limits=MempoolLimits(
                max_count=limits.mempool_transactions,
                max_bytes=limits.mempool_bytes,
                max_per_sender=limits.mempool_per_sender,
            ),
            subscribers=Subscribers(
                max_subscribers=limits.api_subscribers,
                max_bytes=limits.event_backlog_bytes,
                market=genesis.params.market,
            ),
            anchor=anchor,
            is_sure=self._is_sure,
            snapshot_distance=self.config.sync.snapshot_distance or None,
            keep=self.config.storage.keep,
            policy=self._policy if genesis.params.kind == "trading" else None,
        )

    # --- chains that fail ------------------------------------------------------------------------

    async def _drive(self, host: ChainDriver) -> None:
        try:
            await host.run()
        except StoreError as error:
            await self._take_out(host, error)

    async def _take_out(self, host: ChainDriver, error: StoreError) -> None:
        """Stop one chain, and nothing else; the process ends where it was the last."""
        if self.chains.get(host.name) is not host or host in self._failed_hosts:
            return
        self._failed_hosts.append(host)
        self._note_outage(host.node.genesis, error)
        if len(self.chains) == 1:
            self.fail(error)
            return
        del self.chains[host.name], self._members[host.name], self._hosts[host.chain_id]
        self._links.drop_chain(host.name)
        await host.stop()

    def _note_outage(self, genesis: Genesis, error: StoreError) -> None:
        name = genesis.params.name
        outage = make_outage(genesis, self.config.data_dir / name, error, now_ms())
        self.outages[name] = outage
        fields = {"error": error.code, "path": outage.path, "detail": str(error), "remedy": outage.remedy}
        log_event(get_logger(name), logging.CRITICAL, "chain-out", **fields)

    def _open_tls(self) -> PeerTls | None:
        config = self.config
        if config.tls is None:
            return None
        assert config.passphrase_file is not None, "the configuration has been checked"
        passphrase = load_passphrase(config.passphrase_file)
        return PeerTls(config.tls, passphrase, key=self.public_key, network=self._network)

    async def _listen(self) -> None:
        shares = share_out(get_limit(), chains=len(self.chains), peers=len(self.config.peers), opened=count_open())
        peer_server = PeerServer(
            self._hosts,
            receiver=self.public_key,
            book=self._book,
            clock=steady_ms,
            is_peer=lambda chain, peer: self._neighbours.takes_part(chain.name, peer),
            identify=self._identify,
            on_heard=self._on_heard,
            on_anew=self._on_anew,
            on_time=lambda peer, sent_ms, at_ms: self._clocks.note(peer, sent_ms=sent_ms, steady_ms=at_ms),
            on_contacts=self._neighbours.take,
            on_fault=self.penalise,
        )
        tls = None if self._tls is None else self._tls.server
        api = build_api(self, max_streams=min(shares.clients.talking, MAX_CONNECTIONS) // 2)
        for app, sockets, context, share in (
            (peer_server.build_app(), self._ports.peers, tls, shares.peers),
            (api, self._ports.api, None, shares.clients),
        ):
            listener = Listener(
                app,
                sockets,
                tls=context,
                max_descriptor=self._first_reserved - 1,
                max_connections=min(share.talking, MAX_CONNECTIONS),
                max_silent=min(share.silent, MAX_SILENT),
                max_at_once=min(share.at_once, MAX_AT_ONCE),
            )
            self._listeners.append(listener)
            await listener.start()

    def _may_talk(self, chain: str, peer: PeerId) -> bool:
        return not self._book.is_banned(peer, steady_ms()) and (chain, peer) not in self._gone

    def _identify(self, chain: ChainDriver, request: web.Request) -> PeerId | None:
        """The member that a connection proves, None where peers are insecure. Raises `CertificateRefused`."""
        if self._tls is None:
            return None
        member = self._authenticator.find_active(chain.name, request.transport)
        self._book.add(member)
        return member

    # --- members that have gone, and this node's own certificate -----------------------------------

    async def _watch_members(self) -> None:
        """Cut off members that a chain's last final block has revoked or let go."""
        seen: dict[str, bytes] = {}
        while True:
            finals = {name: host.node.chain.final_hash for name, host in self.chains.items()}
            for name, host in tuple(self.chains.items()):
                if seen.get(name) != finals.get(name):
                    await self._cut_off_the_gone(host)
            if seen != finals:
                with suppress(StoreError):  # the next look finds which chain's
                    self._neighbours.look_again()
                    seen = finals
            await self._neighbours.save()
            await asyncio.sleep(_WATCH_S)

    async def _cut_off_the_gone(self, host: ChainDriver) -> None:
        try:
            for peer in self._book:
                await self._note_standing(host, peer, has_ended=host.members.has_ended(address_of(peer)))
        except StoreError as error:
            await self._take_out(host, error)

    async def _note_standing(self, host: ChainDriver, peer: PeerId, *, has_ended: bool) -> None:
        if has_ended == ((host.name, peer) in self._gone):
            return
        if not has_ended:
            self._gone.discard((host.name, peer))
            return
        self._gone.add((host.name, peer))
        log_event(get_logger(host.name), logging.WARNING, "member-gone", peer=self._neighbours.name_of(peer))
        host.forget(peer)
        host.post(PeerLost(peer=peer))
        if (outbox := self._links.find(host.name, peer)) is not None:
            outbox.disconnect()
        if self._tls is None:
            return
        for transport in self._listeners[0].connections:
            with suppress(BadCertificate):
                certificate = get_peer_certificate(transport)
                if certificate is not None and certificate.key == peer:
                    transport.abort()
        await self._links.close_connections(peer)

    async def _watch_certificate(self, tls: PeerTls) -> None:
        """Take up a certificate that is replaced, and warn of one that ends."""
        while True:
            try:
                if tls.refresh():
                    certificate = tls.certificate
                    until = certificate.not_after_ms
                    log_event(self._log, logging.INFO, "certificate-renewed", serial=certificate.serial, until_ms=until)
                    self._warned_ms = None
            except GridmeritError as error:
                log_event(self._log, logging.ERROR, "certificate-unusable", error=error.code, detail=str(error))
            self._warn_of_end(tls)
            await asyncio.sleep(_REFRESH_S)

    async def _watch_clock(self) -> None:
        """Say when the clock has been set, and when it is not as the peers' are."""
        clock = ChainClock()
        while True:
            before_ms = clock.ahead_ms
            if (ahead_ms := clock.find_step()) is not None:
                log_event(self._log, logging.WARNING, "clock-set", by_ms=ahead_ms - before_ms)
            if (view := self.clock_view()) is not None:
                self._tell_clock(view)
            await asyncio.sleep(_CLOCK_S)

    def _tell_clock(self, view: ClockView) -> None:
        now, warned_ms = steady_ms(), self._clock_warned_ms
        if view.is_off and (warned_ms is None or now - warned_ms >= _REMIND_MS):
            self._clock_warned_ms = now
            log_event(self._log, logging.WARNING, "clock-off", ahead_ms=view.offset_ms, peers=view.peers)
        elif not view.is_off and warned_ms is not None:
            self._clock_warned_ms = None
            log_event(self._log, logging.WARNING, "clock-right", ahead_ms=view.offset_ms, peers=view.peers)

    def _warn_of_end(self, tls: PeerTls) -> None:
        now, certificate = steady_ms(), tls.certificate
        days = certificate.days_left(now_ms())
        if days < WARNING_DAYS and (self._warned_ms is None or now - self._warned_ms >= DAY_MS):
            self._warned_ms = now
            level = logging.WARNING if days >= 0 else logging.ERROR
            log_event(self._log, level, "certificate-ends", days_left=days, until_ms=certificate.not_after_ms)

    def _on_heard(self, chain: ChainDriver, peer: PeerId) -> None:
        if (outbox := self._links.find(chain.name, peer)) is not None and not outbox.is_connected:
            self._neighbours.on_heard(peer)
            outbox.on_heard()

    def _on_anew(self, chain: ChainDriver, peer: PeerId) -> None:
        if (outbox := self._links.find(chain.name, peer)) is not None:
            outbox.on_anew()

    def _on_found(self, chain: str, job: int, nonce: int) -> None:
        """In the sealing thread."""
        self._call_in_loop(lambda: self._post(chain, SealFound(job=job, nonce=nonce)))

    def _post(self, chain: str, event: Event) -> None:
        if (host := self.chains.get(chain)) is not None:
            host.post(event)

    def _on_sealer_failure(self, error: BaseException) -> None:
        """In the sealing thread."""
        self._call_in_loop(lambda: self.fail(error))

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            self._loop.call_soon_threadsafe(call)


def _compute_clock_limit_ms(documents: Sequence[Genesis]) -> int:
    """Half of how far ahead of the clock a block may be, on the strictest chain."""
    return max(_LEAST_OFF_MS, min(genesis.params.consensus.max_ahead_ms for genesis in documents) // 2)


def _find_member(documents: Sequence[Genesis], key: bytes) -> str | None:
    for genesis in documents:
        for member in genesis.members:
            if member.key == key:
                return member.name
    return None
