"""The peer port: `POST /p2p/<chain id in hex>` takes one signed batch from a peer.

With TLS the connection's certificate must be that of the batch's signer, who must be an active member of the chain at
its last final height: every request is asked anew. Answers 204 once the batch waits in the chain's inbox, or
`{"error", "message", "values"}` with a fitting status; 409 tells a sender that is out of step how to go on, 426 one of
another version of the protocol that it will not be understood.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping

from aiohttp import web

from ledger.errors import GridmeritError, Malformed, TooLarge, VerificationFailed, WrongShape
from node.chain.events import PeerId
from node.chain.messages import MAX_BATCH_BYTES, SESSION_BYTES, Batch, Contacts, begins_anew, is_next, open_batch
from node.driver.chain_driver import ChainDriver
from node.errors import (
    CertificateRefused,
    ChainNotHosted,
    InboxFull,
    LengthUnknown,
    NodeStopping,
    NotAPeer,
    OtherChainsPeer,
    OtherWireVersion,
    OutOfStep,
    PeerBanned,
    RateLimited,
    SignerMismatch,
    TooSlow,
)
from node.peer.reputation import PeerBook
from node.peer.wire_version import HEADER, OURS, check_version
from node.system.logs import LimitedLog, RepeatedLog, get_logger

_READ_TIMEOUT_MS = 10_000
_MAX_OPENED_BYTES = 64_000  # of a batch in the event loop; a larger one is opened beside it
_MAX_READING_BYTES = 8 * MAX_BATCH_BYTES  # of bodies being received or opened at one moment
_MAX_REMOTE_BYTES = 4 * MAX_BATCH_BYTES  # of those from one host
_HEAD = b"\x97\xc4\x20"  # how every batch begins: an array of seven, a byte string of 32
_HEAD_BYTES = len(_HEAD) + 32
_STATUS: tuple[tuple[type[GridmeritError], int], ...] = (
    (CertificateRefused, 403),
    (NotAPeer, 403),
    (PeerBanned, 403),
    (ChainNotHosted, 404),
    (TooSlow, 408),
    (OutOfStep, 409),
    (LengthUnknown, 411),
    (TooLarge, 413),
    (OtherWireVersion, 426),
    (RateLimited, 429),
    (InboxFull, 503),
    (NodeStopping, 503),
    (Malformed, 400),
    (VerificationFailed, 401),
)


class PeerServer:
    """Lets in what peers sign, at the rate they are allowed, and nothing else."""

    def __init__(
        self,
        hosts: Mapping[bytes, ChainDriver],
        *,
        receiver: PeerId,
        book: PeerBook,
        clock: Callable[[], int],
        is_peer: Callable[[ChainDriver, PeerId], bool],
        identify: Callable[[ChainDriver, web.Request], PeerId | None],
        on_heard: Callable[[ChainDriver, PeerId], None],
        on_anew: Callable[[ChainDriver, PeerId], None],
        on_time: Callable[[PeerId, int, int], None],
        on_contacts: Callable[[ChainDriver, PeerId, tuple[bytes, ...]], None],
        on_fault: Callable[[ChainDriver, PeerId, GridmeritError], None],
    ) -> None:
        """`hosts` by chain id; `clock` is a steady one in ms; `is_peer` is True for peers that take part in a chain.

        `identify` gives the key of the active member that a connection proves, None where peers are insecure, and
        raises `CertificateRefused` for any other.
        `on_heard`, `on_contacts` and `on_fault` tell of what is proven to come from the peer, `on_time` what its clock
        showed and when, by `clock`, that came. `on_anew` tells of a peer, proven by its connection, that has been heard
        before and has started anew since.
        """
        self._hosts = hosts
        self._receiver = receiver
        self._book = book
        self._clock = clock
        self._is_peer = is_peer
        self._identify = identify
        self._on_heard = on_heard
        self._on_anew = on_anew
        self._on_time = on_time
        self._on_contacts = on_contacts
        self._on_fault = on_fault
        self._session = secrets.token_bytes(SESSION_BYTES)  # what was overheard in an earlier run of ours is of another
        self._last: dict[tuple[bytes, PeerId], int] = {}
        self._reading: Counter[str] = Counter()  # bytes, by remote host
        self._log = RepeatedLog(LimitedLog(get_logger()))

    def build_app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BATCH_BYTES)
        app.router.add_post("/p2p/{chain}", self._on_post)
        return app

    async def _on_post(self, request: web.Request) -> web.Response:
        try:
            await self._accept(request)
        except GridmeritError as error:
            self._log.event(
                (error.code, request.remote or "", str(error.values.get("member", ""))),
                logging.DEBUG if isinstance(error, OutOfStep) else logging.INFO,  # it is how every connection begins
                "batch-refused",
                self._clock(),
                error=error.code,
                detail=str(error),
                remote=request.remote,
            )
            return _refusal(error)
        return web.Response(status=204)

    async def _accept(self, request: web.Request) -> None:
        arrived_ms = self._clock()
        is_newer = check_version(request.headers.get(HEADER)) > OURS
        host = self._find_host(request.match_info["chain"])
        proven = self._identify(host, request)
        size = request.content_length
        if size is None:
            raise LengthUnknown
        if size > MAX_BATCH_BYTES:
            raise TooLarge(what="batch", actual=size, limit=MAX_BATCH_BYTES)
        if proven is not None:  # then there is no need to read it to know which peer's share it takes
            self._book.check(proven, self._clock())
            self._book.check_messages(proven, self._clock())
            self._book.charge_bytes(proven, size, self._clock())
        remote = request.remote or ""
        self._reserve(remote, size)
        try:
            raw = await self._read_in_time(request, size, proven)
            await self._take(host, raw, arrived_ms, is_charged=proven is not None, is_newer=is_newer)
        finally:
            self._reading[remote] -= size
            if not self._reading[remote]:
                del self._reading[remote]

    def _reserve(self, remote: str, size: int) -> None:
        """Raises `InboxFull` where too much is being received already."""
        for waiting, limit in ((self._reading[remote], _MAX_REMOTE_BYTES), (self._reading.total(), _MAX_READING_BYTES)):
            if waiting + size > limit:
                raise InboxFull(waiting=waiting, what="bytes")
        self._reading[remote] += size

    def _find_host(self, text: str) -> ChainDriver:
        try:
            host = self._hosts.get(bytes.fromhex(text))
        except ValueError:
            host = None
        if host is None:
            raise ChainNotHosted(chain=text[:64])
        return host

    async def _read_in_time(self, request: web.Request, size: int, proven: PeerId | None) -> bytes:
        try:
            async with asyncio.timeout(_READ_TIMEOUT_MS / 1_000):
                return await self._read(request, size, proven)
        except TimeoutError:
            raise TooSlow(what="the batch", limit_ms=_READ_TIMEOUT_MS) from None

    async def _read(self, request: web.Request, size: int, proven: PeerId | None) -> bytes:
        """The body, once its head names a peer that may talk to us, and that the connection is of."""
        if size < _HEAD_BYTES:
            raise WrongShape(what="batch", detail=f"{size} bytes are too few")
        try:
            head = await request.content.readexactly(_HEAD_BYTES)
            if not head.startswith(_HEAD):
                raise WrongShape(what="batch", detail="it does not begin like one")
            signer = head[len(_HEAD) :]
            if proven is not None and signer != proven:
                raise SignerMismatch(certificate=proven.hex()[:16], signer=signer.hex()[:16])
            self._book.check(signer, self._clock())
            self._book.check_messages(signer, self._clock())
            return head + await request.content.readexactly(size - _HEAD_BYTES)
        except asyncio.IncompleteReadError:
            raise WrongShape(what="batch", detail="the body ends early") from None

    async def _take(self, host: ChainDriver, raw: bytes, arrived_ms: int, *, is_charged: bool, is_newer: bool) -> None:
        proven: list[PeerId] = []
        try:
            if len(raw) <= _MAX_OPENED_BYTES:
                batch = self._open(host, raw, proven, is_newer)
            else:
                batch = await asyncio.to_thread(self._open, host, raw, proven, is_newer)
                self._check_number(host, batch)  # another may have been opened meanwhile
        except OutOfStep as error:
            if is_charged and error.values["last"] and begins_anew(raw):
                self._on_anew(host, proven[0])
            raise  # an overheard batch can be sent again: without TLS it says nothing about the peer
        except GridmeritError as error:
            if proven:
                self._on_fault(host, proven[0], error)
            raise
        if not self._is_peer(host, batch.sender):
            raise OtherChainsPeer(key=batch.sender.hex()[:16], chain=host.name)
        now_ms = self._clock()
        if not is_charged:
            self._book.charge_bytes(batch.sender, len(raw), now_ms)
        contacts = tuple(raw for message in batch.messages if isinstance(message, Contacts) for raw in message.raw)
        self._book.charge_messages(batch.sender, len(batch.messages) + len(contacts), now_ms)
        messages = tuple(message for message in batch.messages if not isinstance(message, Contacts))
        host.receive(batch.sender, messages, len(raw))
        self._last[host.chain_id, batch.sender] = batch.number
        self._on_time(batch.sender, batch.sent_ms, arrived_ms)
        self._on_heard(host, batch.sender)
        if contacts:
            self._on_contacts(host, batch.sender, contacts)

    def _open(self, host: ChainDriver, raw: bytes, proven: list[PeerId], is_newer: bool) -> Batch:
        def last_number(sender: PeerId) -> int:
            proven.append(sender)  # asked for once the signature has been checked
            return self._get_last(host, sender)

        return open_batch(
            raw,
            chain_id=host.chain_id,
            receiver=self._receiver,
            session=self._session,
            last_number=last_number,
            is_newer=is_newer,
        )

    def _get_last(self, host: ChainDriver, sender: PeerId) -> int:
        return self._last.get((host.chain_id, sender), 0)

    def _check_number(self, host: ChainDriver, batch: Batch) -> None:
        """Raises `OutOfStep`."""
        last = self._get_last(host, batch.sender)
        if not is_next(batch.number, last):
            raise OutOfStep(number=batch.number, last=last, session=self._session.hex())


def _refusal(error: GridmeritError) -> web.Response:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 400)
    values = {name: value if isinstance(value, int) else str(value) for name, value in error.values.items()}
    response = web.json_response({"error": error.code, "message": str(error), "values": values}, status=status)
    if status in (411, 413, 408, 403, 426):
        response.force_close()  # the body has not been read
    return response
