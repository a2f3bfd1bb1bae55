"""The node's connections to peers: a send queue for every peer on every chain that both host.

Peers come and go while the node runs; those of the configuration are there from the start.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from ledger.errors import GridmeritError
from ledger.signatures import SigningKey
from node.chain.events import PeerConnected, PeerId, PeerLost
from node.chain.messages import Message
from node.config import PeerConfig
from node.credentials.certificates import name_of_key
from node.credentials.tls import PeerTls
from node.driver.chain_driver import ChainDriver
from node.peer.reputation import PeerBook
from node.peer.send_queue import LONGEST_PAUSE_MS, Outbox, OutQueue, Remote
from node.peer.wire_version import HEADER, OURS
from node.system.clock import now_ms, steady_ms
from node.system.logs import get_logger
from node.system.tasks import Tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerView:
    """A peer's view for the status; height and head are those it last claimed, on the first chain where it did.

    `url` is where it was reached last, or is looked for next. `chains` are those that both nodes take part in; it is
    connected where it is reached on all of them.
    """

    name: str
    key: bytes
    url: str
    chains: tuple[str, ...]
    connected: bool
    score: int
    banned_until_ms: int | None
    height: int | None
    head: bytes | None
    waiting_bytes: int
    dropped_messages: int
    has_ended: bool = False  # its member has been revoked or has left: this node does not talk to it
    refusal: str | None = None  # where it answers and does not listen, the error that it names
    refusal_detail: str | None = None


Check: TypeAlias = Callable[[asyncio.BaseTransport | None], None]
MakeSocket: TypeAlias = Callable[[Any], socket.socket]


class _Connector(aiohttp.TCPConnector):
    """A connector that hands out no connection, be it new or not, before its other end has been checked."""

    def __init__(self, context: ssl.SSLContext, check: Check, make_socket: MakeSocket) -> None:
        super().__init__(limit=0, ssl=context, socket_factory=make_socket)
        self._check_other_end = check

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own
    ) -> Connection:
        """Raises `aiohttp.ClientConnectionError` where the check fails."""
        connection = await super().connect(req, traces, timeout)
        try:
            self._check_other_end(connection.transport)
        except GridmeritError as error:
            connection.close()
            raise aiohttp.ClientConnectionError(f"{error.code}: {error}") from None
        return connection


class Links:
    """The outgoing side of the peer port."""

    def __init__(
        self,
        *,
        key: SigningKey,
        chains: Mapping[str, ChainDriver],
        book: PeerBook,
        tls: PeerTls | None,
        tasks: Tasks,
        max_waiting_bytes: int,
        may_talk: Callable[[str, PeerId], bool],
        has_ended: Callable[[str, PeerId], bool],
        greet: Callable[[PeerId], Message | None],
        check: Check,
        make_socket: MakeSocket,
    ) -> None:
        """`chains` by name; `may_talk` and `has_ended` are asked for each peer on each of them.

        `greet` says what a peer is told first when it is reached on the first chain of all. With TLS, `check` raises
        unless the node at a connection's other end may be sent to.
        """
        self._key = key
        self._chains = chains
        self._book = book
        self._tls = tls
        self._tasks = tasks
        self._max_waiting_bytes = max_waiting_bytes
        self._may_talk = may_talk
        self._has_ended = has_ended
        self._greet = greet
        self._check = check
        self._make_socket = make_socket
        self._jitter = Random(key.public_key + now_ms().to_bytes(8, "big"))
        self._peers: dict[PeerId, PeerConfig] = {}
        self._outboxes: dict[tuple[str, PeerId], tuple[Outbox, asyncio.Task[None]]] = {}
        self._sessions: dict[PeerId, aiohttp.ClientSession] = {}

    # --- peers -----------------------------------------------------------------------------------

    def connect(self, peer: PeerConfig, *, longest_pause_ms: int = LONGEST_PAUSE_MS) -> None:
        """Send to a peer from now on, and go on trying to reach it; one that has moved is looked for at its new URL."""
        self.disconnect(peer.key)
        self._peers[peer.key] = peer
        for host in self._chains.values():
            if peer.hosts(host.name):
                outbox = self._make_outbox(host, peer, longest_pause_ms)
                task = self._tasks.start(outbox.run(), name=f"outbox {host.name} {peer.name}")
                self._outboxes[host.name, peer.key] = outbox, task

    def look_also_at(self, key: PeerId, url: str) -> None:
        """Look for a peer at another URL, too, where it is not reached at its own."""
        for name in self._chains:
            if (outbox := self.find(name, key)) is not None:
                outbox.look_also_at(url)

    def disconnect(self, key: PeerId) -> None:
        """Send nothing to a peer any more."""
        for name in self._chains:
            if (found := self._outboxes.pop((name, key), None)) is not None:
                outbox, task = found
                outbox.disconnect()
                task.cancel()
        self._peers.pop(key, None)

    def drop_chain(self, name: str) -> None:
        """Send nothing on a chain any more."""
        for chain, key in tuple(self._outboxes):
            if chain == name:
                outbox, task = self._outboxes.pop((chain, key))
                outbox.disconnect()
                task.cancel()

    def view(self, peer: PeerConfig) -> PeerView:
        """The state of a peer, whether or not it has been connected yet."""
        shared = tuple(name for name in self._chains if peer.hosts(name))
        outboxes = [outbox for name in shared if (outbox := self.find(name, peer.key)) is not None]
        standing = self._book.get_standing(peer.key, steady_ms())
        claims = (host.node.peers.get(peer.key) for host in self._chains.values())
        status = next((claim for claim in claims if claim is not None), None)
        refusal = next((outbox.refusal for outbox in outboxes if outbox.refusal is not None), None)
        return PeerView(
            name=peer.name,
            key=peer.key,
            url=outboxes[0].url if outboxes else peer.url,
            chains=shared,
            connected=bool(outboxes) and all(outbox.is_connected for outbox in outboxes),
            score=standing.score,
            banned_until_ms=None if standing.ban_left_ms is None else now_ms() + standing.ban_left_ms,
            height=status.height if status else None,
            head=status.head if status else None,
            waiting_bytes=sum(outbox.queue.size_bytes for outbox in outboxes),
            dropped_messages=sum(outbox.queue.dropped for outbox in outboxes),
            has_ended=any(self._has_ended(name, peer.key) for name in shared),
            refusal=refusal and refusal.error,
            refusal_detail=refusal and refusal.detail,
        )

    def views(self) -> list[PeerView]:
        return [self.view(peer) for peer in self._peers.values()]

    # --- messages --------------------------------------------------------------------------------

    def find(self, chain: str, key: PeerId) -> Outbox | None:
        found = self._outboxes.get((chain, key))
        return None if found is None else found[0]

    def send(self, chain: str, key: PeerId, message: Message) -> None:
        """Nothing where the peer is not known to take part in that chain."""
        if (outbox := self.find(chain, key)) is not None:
            outbox.send(message)

    def broadcast(self, chain: str, message: Message, but: PeerId | None) -> None:
        """To every peer that is reached on a chain."""
        for key in self._peers:
            outbox = self.find(chain, key)
            if key != but and outbox is not None:
                outbox.announce(message)

    def tell_all(self, message: Message, but: PeerId | None) -> None:
        """To every peer that is reached, on one chain or another."""
        for key in self._peers:
            outboxes = (self.find(name, key) for name in self._chains)
            outbox = next((one for one in outboxes if one is not None and one.is_connected), None)
            if key != but and outbox is not None:
                outbox.send(message)

    # --- connections -----------------------------------------------------------------------------

    async def close_connections(self, key: PeerId) -> None:
        """Close those to a peer; where it is still to be sent to, others are opened."""
        if (session := self._sessions.pop(key, None)) is not None:
            await session.close()

    async def close_all_connections(self) -> None:
        for key in tuple(self._sessions):
            await self.close_connections(key)

    # --- inside ----------------------------------------------------------------------------------

    def _make_outbox(self, host: ChainDriver, peer: PeerConfig, longest_pause_ms: int) -> Outbox:
        key = peer.key
        return Outbox(
            Remote(name=peer.name, key=key, url=peer.url, tls_name=None if self._tls is None else name_of_key(key)),
            key=self._key,
            chain_id=host.chain_id,
            session=lambda: self._get_session(key),
            queue=OutQueue(max_bytes=self._max_waiting_bytes),
            clock=now_ms,
            may_talk=lambda: self._may_talk(host.name, key),
            on_connected=lambda: self._on_connected(host, key),
            on_lost=lambda: host.post(PeerLost(peer=key)),
            jitter=self._jitter,
            longest_pause_ms=longest_pause_ms,
            log=get_logger(host.name),
        )

    def _on_connected(self, host: ChainDriver, key: PeerId) -> None:
        host.post(PeerConnected(peer=key))
        outboxes = [outbox for name in self._chains if (outbox := self.find(name, key)) is not None]
        if sum(outbox.is_connected for outbox in outboxes) == 1 and (greeting := self._greet(key)) is not None:
            self.send(host.name, key, greeting)

    def _get_session(self, key: PeerId) -> aiohttp.ClientSession:
        """One per peer, so that all connections to it can be closed."""
        session = self._sessions.get(key)
        if session is None:
            tls = self._tls
            session = self._sessions[key] = aiohttp.ClientSession(
                connector=(
                    aiohttp.TCPConnector(limit=0, socket_factory=self._make_socket)
                    if tls is None
                    else _Connector(tls.client, self._check, self._make_socket)
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Content-Type": "application/msgpack", HEADER: str(OURS)},
                auto_decompress=False,
            )
        return session
