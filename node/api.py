"""The JSON API of a node: every path, what it answers, and how an error looks from outside.

Reads are answered between the steps of a chain, from what is on disk. What arrives is bounded in bytes, rate and time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from aiohttp import ClientConnectionResetError, web
from aiohttp.typedefs import Handler

from ledger.codec import decode, expect_bytes, expect_list
from ledger.errors import (
    AlreadyKnown,
    BadRequest,
    ForeignOrigin,
    GridmeritError,
    InboxFull,
    Malformed,
    NotFound,
    PoolFull,
    RateLimited,
    Refused,
    Rejected,
    SequenceTaken,
    SequenceTooLow,
    SlowSubscriber,
    StoreError,
    TooLarge,
    TooManySubscribers,
    TooSlow,
    UnknownChainName,
    UnknownPath,
    UnknownTrade,
    VerificationFailed,
    WrongMethod,
)
from ledger.hashing import Address, parse_address, show_address
from ledger.overlay import Event
from ledger.transaction import Transaction
from node.answers import (
    BlockSummary,
    CreditInfo,
    MemberInfo,
    NodeStatus,
    RelayAccepted,
    RelayInfo,
    RelaysInfo,
    RemoteFault,
    SubmitAnswer,
    SubmitOutcome,
    to_json,
)
from node.clock import now_ms, steady_ms
from node.config import NodeConfig, describe_network
from node.core import ChainNode
from node.logs import get_logger
from node.metrics import CONTENT_TYPE, render_metrics
from node.proofs import describe_proof, prove_account, prove_trade, prove_transaction
from node.queries import ChainQueries, describe_event, parse_hash, show_value
from node.rates import TokenBucket

MAX_BLOCKS = 1_000  # summaries in one answer
MAX_SUBMITTED = 1_024  # transactions in one request
_CHUNK = 50  # block summaries between two turns of the event loop
_MAX_CLIENTS = 4_096  # addresses whose rate is remembered
_BODY_TIMEOUT_S = 10.0
_WRITE_TIMEOUT_S = 30.0
_KEEPALIVE_S = 10.0
_JSON = "application/json"
_SAFE_METHODS = ("GET", "HEAD")


class HostView(Protocol):
    """What the API needs of a hosted chain; `settled` is held while a step changes it."""

    @property
    def name(self) -> str: ...
    @property
    def node(self) -> ChainNode: ...
    @property
    def settled(self) -> asyncio.Lock: ...
    async def submit(self, transactions: list[Transaction]) -> tuple[GridmeritError | None, ...]: ...
    def offer_relay(self, raw: bytes) -> None: ...
    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]: ...


class RuntimeView(Protocol):
    """What the API needs of the node's runtime. Peer and sealing views are dataclasses."""

    @property
    def config(self) -> NodeConfig: ...
    @property
    def chains(self) -> Mapping[str, HostView]: ...
    @property
    def member(self) -> str | None: ...
    @property
    def address(self) -> Address | None: ...
    @property
    def uptime_ms(self) -> int: ...
    def peer_views(self) -> Sequence[Any]: ...
    def clock_view(self) -> Any | None: ...
    def sealing_view(self) -> Any: ...
    def certificate_view(self) -> Any | None: ...


class Question(NamedTuple):
    """What a chain is asked, by a request at a time, and the answer's type where the value does not say it."""

    ask: Callable[[ChainQueries, web.Request, int], object]
    kind: Any = None


_QUESTIONS: dict[str, Question] = {
    "status": Question(lambda chain, request, now: chain.get_status(now)),
    "block/{ref}": Question(lambda chain, request, now: chain.get_block(request.match_info["ref"])),
    "tx/{id}": Question(lambda chain, request, now: chain.get_transaction(request.match_info["id"])),
    "account/{ref}": Question(lambda chain, request, now: chain.get_account(request.match_info["ref"])),
    "member/{ref}": Question(lambda chain, request, now: chain.get_member(request.match_info["ref"])),
    "members": Question(lambda chain, request, now: chain.get_members(), tuple[MemberInfo, ...]),
    "credit": Question(lambda chain, request, now: chain.get_credit(), tuple[CreditInfo, ...]),
    "certificate/{slot}": Question(lambda chain, request, now: chain.get_certificate(_in_path(request, "slot"))),
    "market/periods": Question(lambda chain, request, now: chain.get_periods(now)),
    "market/book": Question(lambda chain, request, now: chain.get_book(_in_query(request, "period"))),
    "market/trades": Question(lambda chain, request, now: chain.get_trades(_in_query(request, "period"))),
    "market/settlement": Question(lambda chain, request, now: chain.get_settlement(_in_query(request, "period"))),
    "market/quota": Question(lambda chain, request, now: chain.grid.get_quota(_in_query(request, "period"))),
    "scheduling/{period}": Question(lambda chain, request, now: chain.grid.get_scheduling(_in_path(request, "period"))),
    "digests/{period}": Question(lambda chain, request, now: chain.index.get_digests(_in_path(request, "period"))),
    "assets/{ref}": Question(lambda chain, request, now: chain.index.get_assets(request.match_info["ref"])),
}


def build_api(runtime: RuntimeView, *, clock: Callable[[], int] = now_ms) -> web.Application:
    """The application that serves a node's API; `clock` gives ms since the epoch."""
    api = Api(runtime, clock)
    limits = runtime.config.limits
    limiter = RateLimiter(per_s=limits.api_requests_per_s, burst=limits.api_burst, clock=steady_ms)
    middlewares = [answer_errors, refuse_foreign_pages, limiter.middleware]
    app = web.Application(client_max_size=limits.api_body_bytes, middlewares=middlewares)
    app.router.add_get("/v1/status", api.get_status)
    app.router.add_get("/metrics", api.get_metrics)
    for path, question in _QUESTIONS.items():
        app.router.add_get("/v1/{chain}/" + path, api.make_handler(question))
    app.router.add_get("/v1/{chain}/genesis", api.get_genesis)
    app.router.add_get("/v1/{chain}/blocks", api.get_blocks)
    app.router.add_post("/v1/{chain}/tx", api.submit)
    app.router.add_post("/v1/{chain}/relay", api.offer_relay)
    app.router.add_get("/v1/{chain}/relays", api.get_relays)
    app.router.add_get("/v1/{chain}/proof/account/{ref}", api.prove_account)
    app.router.add_get("/v1/{chain}/proof/trade/{period}/{index}", api.prove_trade)
    app.router.add_get("/v1/{chain}/proof/tx/{id}", api.prove_transaction)
    app.router.add_get("/v1/{chain}/events", api.stream_events, allow_head=False)
    return app


class Api:
    """The handlers."""

    def __init__(self, runtime: RuntimeView, clock: Callable[[], int]) -> None:
        self._runtime = runtime
        self._clock = clock
        self._queries: dict[str, ChainQueries] = {}

    async def get_status(self, request: web.Request) -> web.Response:
        return _answer(to_json(await self._describe_node(self._clock())))

    async def get_metrics(self, request: web.Request) -> web.Response:
        """The same in numbers, for Prometheus."""
        now = self._clock()
        body = render_metrics(await self._describe_node(now), now).encode()
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": CONTENT_TYPE})

    async def _describe_node(self, now: int) -> NodeStatus:
        runtime = self._runtime
        certificate, clock = runtime.certificate_view(), runtime.clock_view()
        chains, member = [], runtime.member
        for host in runtime.chains.values():
            async with host.settled:
                chains.append(self._query(host).get_status(now))
                if member is None and runtime.address is not None:  # admitted after the genesis
                    member = self._query(host).members.name_of(runtime.address)
        return NodeStatus(
            version=_get_version(),
            member=member,
            address=None if runtime.address is None else show_address(runtime.address),
            uptime_ms=runtime.uptime_ms,
            chains=tuple(chains),
            peers=tuple(_describe(peer) for peer in runtime.peer_views()),
            sealing=_describe(runtime.sealing_view()),
            certificate=None if certificate is None else _describe(certificate),
            clock=None if clock is None else _describe(clock),
        )

    def make_handler(self, question: Question) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            host = self._host(request)
            async with host.settled:
                value = question.ask(self._query(host), request, self._clock())
            return _answer(to_json(value, question.kind))

        return answer

    async def get_genesis(self, request: web.Request) -> web.Response:
        """The network's document, as in a genesis file: the chain's own parameters, and those of its siblings."""
        return _answer(describe_network(self._host(request).node.genesis).model_dump_json().encode())

    async def get_blocks(self, request: web.Request) -> web.Response:
        """Summaries, a chunk at a time; across chunks a reorg may show, as it would across requests."""
        host = self._host(request)
        first, last = _in_query(request, "from"), _in_query(request, "to")
        if not first <= last < first + MAX_BLOCKS:
            raise BadRequest(what="from, to", have=f"{first}, {last}", want=f"ascending, at most {MAX_BLOCKS} blocks")
        found: list[BlockSummary] = []
        for start in range(first, last + 1, _CHUNK):
            async with host.settled:
                query = self._query(host)
                chunk = [query.get_summary(height) for height in range(start, min(start + _CHUNK, last + 1))]
            found += [summary for summary in chunk if summary is not None]
            if None in chunk:
                break
            await asyncio.sleep(0)
        return _answer(to_json(tuple(found), tuple[BlockSummary, ...]))

    async def submit(self, request: web.Request) -> web.Response:
        """Signed transactions, as one canonical array of byte strings."""
        host = self._host(request)
        transactions = _read_transactions(await _read_body(request), host.node)
        outcomes = await host.submit(transactions)
        answer = SubmitAnswer(
            outcomes=tuple(
                SubmitOutcome(id=transaction.id.hex(), error=None if error is None else _describe_error(error))
                for transaction, error in zip(transactions, outcomes, strict=True)
            )
        )
        return _answer(to_json(answer))

    # --- between chains ------------------------------------------------------------------------------

    async def offer_relay(self, request: web.Request) -> web.Response:
        """A relay's bytes, from anybody: it is its own proof, and the chain judges it in its next steps."""
        host = self._host(request)
        raw, limit = await _read_body(request), host.node.params.ledger.max_transaction_bytes
        if len(raw) > limit:
            raise TooLarge(what="relay", actual=len(raw), limit=limit)
        decode(raw, max_bytes=limit)
        host.offer_relay(raw)
        return _answer(to_json(RelayAccepted(accepted=True)), status=202)

    async def get_relays(self, request: web.Request) -> web.Response:
        """`?to=` names another chain of the network: what this one has certified for it, ready to be posted there."""
        host = self._host(request)
        genesis, name = host.node.genesis, request.query.get("to", "")
        known = [sibling.name for sibling in genesis.siblings]
        if name not in known:
            raise BadRequest(what="to", have=name[:50], want=_name_siblings(known))
        async with host.settled:
            found = host.node.get_relays(genesis.chain_id_of(name))
        relays = tuple(
            RelayInfo(kind=kind, number=number, part=part, raw=raw.hex()) for kind, number, part, raw in found
        )
        return _answer(to_json(RelaysInfo(relays=relays)))

    # --- proofs --------------------------------------------------------------------------------------

    async def prove_account(self, request: web.Request) -> web.Response:
        """`?at=final` asks for the state after the final block instead of the head. Any address has a proof."""
        host = self._host(request)
        ref, at = request.match_info["ref"], request.query.get("at", "head")
        if at not in ("head", "final"):
            raise BadRequest(what="at", have=at[:50], want="head or final")
        address = parse_address(ref) if ref.startswith("0x") else self._query(host).members.find(ref)
        async with host.settled:
            document = describe_proof(prove_account(host.node, address, at_final=at == "final"), host.node)
        return _answer(to_json(document))

    async def prove_trade(self, request: web.Request) -> web.Response:
        host = self._host(request)
        period, index = _in_path(request, "period"), _in_path(request, "index")
        async with host.settled:
            document = describe_proof(prove_trade(host.node, period, index), host.node)
        return _answer(to_json(document))

    async def prove_transaction(self, request: web.Request) -> web.Response:
        host = self._host(request)
        identity = parse_hash(request.match_info["id"], "transaction id")
        async with host.settled:
            document = describe_proof(prove_transaction(host.node, identity), host.node)
        return _answer(to_json(document))

    # --- events --------------------------------------------------------------------------------------

    async def stream_events(self, request: web.Request) -> web.StreamResponse:
        """One JSON object per line, as they are committed; an empty line now and then while nothing happens."""
        host = self._host(request)
        async with host.subscribe() as events:
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", **_HEADERS})
            await response.prepare(request)
            with suppress(ClientConnectionResetError, ConnectionResetError, TimeoutError):
                await _write_line(response, {"event": "subscribed", "chain": host.name})
                await _relay(events, response)
        return response

    # --- inside --------------------------------------------------------------------------------------

    def _host(self, request: web.Request) -> HostView:
        name = request.match_info["chain"]
        host = self._runtime.chains.get(name)
        if host is None:
            raise UnknownChainName(name=name[:50], known=", ".join(self._runtime.chains))
        return host

    def _query(self, host: HostView) -> ChainQueries:
        query = self._queries.get(host.name)
        if query is None:
            query = self._queries[host.name] = ChainQueries(host.node)
        return query


# --- requests --------------------------------------------------------------------------------------------


def _in_path(request: web.Request, name: str) -> int:
    return _parse_natural(name, request.match_info[name])


def _in_query(request: web.Request, name: str) -> int:
    return _parse_natural(name, request.query.get(name, ""))


def _parse_natural(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise BadRequest(what=name, have=text[:50], want="a natural number")
    return int(text)


def _name_siblings(names: Sequence[str]) -> str:
    return f"another chain of this network: {', '.join(names)}" if names else "nothing: this network has one chain"


async def _read_body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise TooSlow(what="sending the request", limit_ms=int(1_000 * _BODY_TIMEOUT_S)) from None


def _read_transactions(body: bytes, node: ChainNode) -> list[Transaction]:
    """Raises the `Malformed` family."""
    limit = node.params.ledger.max_transaction_bytes
    items = expect_list(decode(body, max_bytes=len(body)), "transactions", max_items=MAX_SUBMITTED)
    raw = [expect_bytes(item, "transaction", max_size=limit) for item in items]
    return [Transaction.from_bytes(item, max_bytes=limit) for item in raw]


class RateLimiter:
    """A token bucket per client address; the addresses heard of longest ago are forgotten first."""

    def __init__(self, *, per_s: int, burst: int, clock: Callable[[], int]) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def check(self, client: str) -> None:
        """Raises `RateLimited`."""
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = TokenBucket(self._burst, self._per_s)
            if len(self._buckets) > _MAX_CLIENTS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(client)
        if not bucket.take(1, self._clock()):
            raise RateLimited(what="requests", limit=self._per_s)

    @property
    def middleware(self) -> Any:
        @web.middleware
        async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.check(request.remote or "")
            return await handler(request)

        return limit


@web.middleware
async def refuse_foreign_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A browser says which page a request comes from: none may change anything here but one that came from here.

    The page must have been fetched from an IP address or from localhost: other names may lead anywhere.
    """
    origin = request.headers.get("Origin")
    if origin is not None and request.method not in _SAFE_METHODS and not _is_own(origin, request.host):
        raise ForeignOrigin(origin=origin[:80])
    return await handler(request)


def _is_own(origin: str, host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name != "localhost":
        try:
            ip_address(name)
        except ValueError:
            return False
    return origin == f"http://{host}"


# --- answers ---------------------------------------------------------------------------------------------

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

# The first family that fits decides.
_STATUS: tuple[tuple[type[GridmeritError], int], ...] = (
    (NotFound, 404),
    (UnknownTrade, 404),
    (WrongMethod, 405),
    (TooLarge, 413),
    (Malformed, 400),
    (BadRequest, 400),
    (RateLimited, 429),
    (TooSlow, 408),
    (InboxFull, 503),
    (PoolFull, 503),
    (TooManySubscribers, 503),
    (ForeignOrigin, 403),
    (Refused, 503),
    (StoreError, 503),
    (AlreadyKnown, 409),
    (SequenceTaken, 409),
    (SequenceTooLow, 409),
    (Rejected, 422),
    (VerificationFailed, 422),
)


def get_http_status(error: GridmeritError) -> int:
    """The HTTP status that an error is answered with."""
    return next((status for family, status in _STATUS if isinstance(error, family)), 500)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error becomes a JSON document. A bug is logged with its traceback and told as nothing but a bug."""
    try:
        return await handler(request)
    except GridmeritError as error:
        return _answer_error(error)
    except web.HTTPException as error:
        return _answer_error(_translate(error, request))
    except asyncio.CancelledError:
        raise
    except Exception as error:
        fields = {"method": request.method, "path": request.path}
        get_logger().log(logging.ERROR, "api-bug", exc_info=error, extra={"fields": fields})
        fault = RemoteFault(error="InternalError", message="a bug in this node; its log has the traceback", values={})
        return _answer(to_json(fault), status=500)


def _translate(error: web.HTTPException, request: web.Request) -> GridmeritError:
    """Our name for what aiohttp objects to."""
    match error:
        case web.HTTPRequestEntityTooLarge():
            limit = request.client_max_size
            return TooLarge(what="request", actual=request.content_length or f"over {limit}", limit=limit)
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return WrongMethod(method=request.method, path=request.path[:200], allowed=allowed)
        case web.HTTPNotFound():
            return UnknownPath(method=request.method, path=request.path[:200])
    return BadRequest(what="request", have=f"{request.method} {request.path[:200]}", want=error.reason)


def _answer(body: bytes, *, status: int = 200, **headers: str) -> web.Response:
    return web.Response(body=body, status=status, content_type=_JSON, headers={**_HEADERS, **headers})


def _answer_error(error: GridmeritError) -> web.Response:
    status = get_http_status(error)
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    return _answer(to_json(_describe_error(error)), status=status, **headers)


def _describe_error(error: GridmeritError) -> RemoteFault:
    values = {name: _show_plain(value) for name, value in error.values.items()}
    return RemoteFault(error=error.code, message=str(error), values=values)


def _describe(view: Any) -> dict[str, Any]:
    """A view of the runtime's, which is a dataclass."""
    return {name: _show_plain(value) for name, value in asdict(view).items()}


def _show_plain(value: object) -> object:
    if isinstance(value, tuple | list):
        return [_show_plain(item) for item in value]
    if isinstance(value, bytes | int | str | None):
        return show_value(value)
    return str(value)


def _get_version() -> str:
    try:
        return version("gridmerit")
    except PackageNotFoundError:
        return "source"


# --- the stream of events ----------------------------------------------------------------------------------


async def _relay(events: AsyncIterator[Event], response: web.StreamResponse) -> None:
    """Write events until the node stops or the reader proves too slow; either is said in the last line."""
    while True:
        try:
            async with asyncio.timeout(_KEEPALIVE_S):
                event = await anext(events)
        except TimeoutError:
            await _write(response, b"\n")
        except StopAsyncIteration:
            await _write_line(response, {"event": "closed"})
            return
        except SlowSubscriber as error:
            await _write_line(response, {"event": "dropped", "message": str(error)})
            return
        else:
            await _write_line(response, describe_event(event))


async def _write_line(response: web.StreamResponse, line: dict[str, Any]) -> None:
    await _write(response, to_json(line) + b"\n")


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Raises `TimeoutError` where the reader takes nothing any more."""
    async with asyncio.timeout(_WRITE_TIMEOUT_S):
        await response.write(data)
