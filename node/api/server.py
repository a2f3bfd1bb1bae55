"""The JSON API of a node: every path, what it answers, and how an error looks from outside.

Reads are answered between the steps of a chain, in its thread, from what is on disk. What arrives is bounded in bytes,
rate and time, and what is answered in the time that it takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any, NamedTuple, Protocol, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ledger.codec import Value, decode, expect_bytes, expect_list
from ledger.errors import (
    AlreadyKnown,
    GridmeritError,
    Malformed,
    PoolFull,
    Rejected,
    SequenceTaken,
    SequenceTooLow,
    StoreError,
    TooLarge,
    VerificationFailed,
)
from ledger.hashing import Address, parse_address, show_address
from ledger.transaction import Transaction
from market.errors import UnknownTrade
from market.trading.sessions import Session
from node.api.allowed_hosts import check_host
from node.api.readers import Readers
from node.chain.node import ChainNode
from node.chain.rates import Accounts, TokenBucket
from node.config import NodeConfig, describe_network
from node.driver.outages import Outage
from node.driver.subscribers import Subscription
from node.errors import (
    BadRequest,
    ChainOut,
    ForeignHost,
    ForeignOrigin,
    InboxFull,
    NodeStopping,
    NotFound,
    RateLimited,
    Refused,
    SlowSubscriber,
    TooManySubscribers,
    TooSlow,
    UnknownChainName,
    UnknownPath,
    WrongMethod,
)
from node.proofs.documents import describe_proof, prove_account, prove_trade, prove_transaction
from node.queries.answers import (
    BlockSummary,
    ChainOutage,
    CreditInfo,
    DiskStatus,
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
from node.queries.chain import ChainQueries, parse_hash, show_text, show_value
from node.queries.exact import show_exact
from node.queries.metrics import CONTENT_TYPE, render_metrics
from node.queries.state import StateCount
from node.system.clock import now_ms, steady_ms
from node.system.logs import get_logger
from node.system.turns import describe_turns

T = TypeVar("T")
MAX_BLOCKS = 1_000  # summaries in one answer
MAX_SUBMITTED = 1_024  # transactions in one request
_CHUNK = 50  # block summaries between two steps of the chain
MAX_STREAMS = 256  # of events, of all chains
_MAX_CLIENTS = 4_096  # addresses whose rate is remembered
_BODY_TIMEOUT_S = 10.0
_SOCKET_BYTES = 262_144  # of events on their way to one reader
_KEEPALIVE_S = 10.0
_JSON = "application/json"
_SAFE_METHODS = ("GET", "HEAD")
_OK, _MIXED = 200, 207


class HostView(Protocol):
    """A hosted chain as the API needs it; its node may be read by asking, its genesis and parameters at any time."""

    @property
    def name(self) -> str: ...
    @property
    def node(self) -> ChainNode: ...
    async def ask(self, question: Callable[[ChainNode], T]) -> T: ...
    async def submit(self, transactions: list[Transaction]) -> tuple[GridmeritError | None, ...]: ...
    def offer_relay(self, raw: bytes) -> None: ...
    def subscribe(self) -> Subscription: ...


class RuntimeView(Protocol):
    """The API's view of the node's runtime. Peer and sealing views are dataclasses."""

    @property
    def config(self) -> NodeConfig: ...
    @property
    def chains(self) -> Mapping[str, HostView]: ...
    @property
    def outages(self) -> Mapping[str, Outage]: ...
    @property
    def member(self) -> str | None: ...
    @property
    def address(self) -> Address | None: ...
    @property
    def uptime_ms(self) -> int: ...
    def peer_views(self) -> Sequence[Any]: ...
    def clock_view(self) -> Any | None: ...
    def disk_views(self) -> tuple[DiskStatus, ...]: ...
    def sealing_view(self) -> Any: ...
    def certificate_view(self) -> Any | None: ...


class Question(NamedTuple):
    """A question to a chain, by a request at a time, and the answer's type where the value does not say it."""

    ask: Callable[[ChainQueries, web.Request, int], object]
    kind: Any = None


_QUESTIONS: dict[str, Question] = {
    "status": Question(lambda chain, request, now: chain.get_status(now)),
    "block/{ref}": Question(lambda chain, request, now: chain.get_block(request.match_info["ref"])),
    "raw/block/{ref}": Question(lambda chain, request, now: chain.get_raw_block(request.match_info["ref"])),
    "raw/certificate/{slot}": Question(
        lambda chain, request, now: chain.get_raw_certificate(_in_path(request, "slot"))
    ),
    "tx/{id}": Question(lambda chain, request, now: chain.get_transaction(request.match_info["id"])),
    "account/{ref}": Question(lambda chain, request, now: chain.get_account(request.match_info["ref"])),
    "member/{ref}": Question(lambda chain, request, now: chain.get_member(request.match_info["ref"])),
    "members": Question(lambda chain, request, now: chain.get_members(), tuple[MemberInfo, ...]),
    "credit": Question(lambda chain, request, now: chain.get_credit(), tuple[CreditInfo, ...]),
    "treasury": Question(lambda chain, request, now: chain.treasury.get_treasury()),
    "programmes": Question(lambda chain, request, now: chain.economy.get_programmes()),
    "bill/{period}/{ref}": Question(
        lambda chain, request, now: chain.economy.get_bill(_in_path(request, "period"), request.match_info["ref"])
    ),
    "certificate/{slot}": Question(lambda chain, request, now: chain.get_certificate(_in_path(request, "slot"))),
    "market/periods": Question(lambda chain, request, now: chain.get_periods(now)),
    "market/book": Question(lambda chain, request, now: chain.get_book(_find_gate(chain, request))),
    "market/trades": Question(lambda chain, request, now: chain.get_trades(_find_gate(chain, request))),
    "market/settlement": Question(lambda chain, request, now: chain.get_settlement(_in_query(request, "period"))),
    "market/positions": Question(
        lambda chain, request, now: chain.positions.get_positions(_in_query(request, "period"))
    ),
    "market/quota": Question(lambda chain, request, now: chain.grid.get_quota(_find_gate(chain, request))),
    "scheduling/{period}": Question(
        lambda chain, request, now: chain.grid.get_scheduling(_in_session(chain, request, _in_path(request, "period")))
    ),
    "digests/{period}": Question(lambda chain, request, now: chain.index.get_digests(_in_path(request, "period"))),
    "credit/report/{ref}": Question(lambda chain, request, now: chain.index.get_report(request.match_info["ref"])),
    "assets/{ref}": Question(lambda chain, request, now: chain.index.get_assets(request.match_info["ref"])),
}


def build_api(
    runtime: RuntimeView, *, clock: Callable[[], int] = now_ms, max_streams: int = MAX_STREAMS
) -> web.Application:
    """The application that serves a node's API; `clock` gives ms since the epoch.

    No more than `max_streams` connections are streams of events, so that some are left for questions.
    """
    api = Api(runtime, clock, max_streams)
    limits = runtime.config.limits
    limiter = RateLimiter(per_s=limits.api_requests_per_s, burst=limits.api_burst, clock=steady_ms)
    middlewares = [answer_errors, make_host_check(runtime.config), refuse_foreign_pages, limiter.middleware]
    app = web.Application(client_max_size=limits.api_body_bytes, middlewares=middlewares)
    app.router.add_get("/v1/status", api.get_status)
    app.router.add_get("/metrics", api.get_metrics)
    for path, question in _QUESTIONS.items():
        app.router.add_get("/v1/{chain}/" + path, api.make_handler(question))
    app.router.add_get("/v1/{chain}/genesis", api.get_genesis)
    app.router.add_get("/v1/{chain}/blocks", api.get_blocks)
    app.router.add_get("/v1/{chain}/state", api.count_state)
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

    def __init__(self, runtime: RuntimeView, clock: Callable[[], int], max_streams: int) -> None:
        self._max_streams = max_streams
        self._streams = 0
        self._runtime = runtime
        self._clock = clock
        self._readers = Readers(steady_ms)
        self._queries: dict[str, ChainQueries] = {}
        self._documents: dict[str, bytes] = {}  # genesis documents as they are served

    async def get_status(self, request: web.Request) -> web.Response:
        return _answer(to_json(await self._describe_node(request)))

    async def get_metrics(self, request: web.Request) -> web.Response:
        """The same in numbers, for Prometheus."""
        body = render_metrics(await self._describe_node(request), self._clock()).encode()
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": CONTENT_TYPE})

    async def _describe_node(self, request: web.Request) -> NodeStatus:
        runtime, now = self._runtime, self._clock()
        certificate, clock = runtime.certificate_view(), runtime.clock_view()
        chains, member = [], runtime.member
        for host in tuple(runtime.chains.values()):
            try:
                status, name = await self._ask(
                    request, host, lambda chain: (chain.get_status(now), self._find_own(chain))
                )
            except ChainOut:
                continue  # it has failed meanwhile
            chains.append(status)
            member = member or name  # admitted after the genesis
        return NodeStatus(
            version=_get_version(),
            member=member,
            address=None if runtime.address is None else show_address(runtime.address),
            uptime_ms=runtime.uptime_ms,
            chains=tuple(chains),
            peers=tuple(_describe(peer) for peer in runtime.peer_views()),
            sealing=_describe(runtime.sealing_view()),
            outages=tuple(map(_describe_outage, runtime.outages.values())),
            certificate=None if certificate is None else _describe(certificate),
            loop=describe_turns(),
            disks=runtime.disk_views(),
            clock=None if clock is None else _describe(clock),
        )

    def _find_own(self, chain: ChainQueries) -> str | None:
        """The name of this node's member on a chain."""
        address = self._runtime.address
        return None if address is None else chain.members.name_of(address)

    def make_handler(self, question: Question) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            def ask(chain: ChainQueries) -> bytes:
                return to_json(question.ask(chain, request, self._clock()), question.kind)

            return _answer(await self._ask(request, self._host(request), ask))

        return answer

    async def get_genesis(self, request: web.Request) -> web.Response:
        """The network's document, as in a genesis file: the chain's own parameters, and those of its siblings."""
        host = self._host(request)
        if host.name not in self._documents:
            self._documents[host.name] = describe_network(host.node.genesis).model_dump_json().encode()
        return _answer(self._documents[host.name])

    async def get_blocks(self, request: web.Request) -> web.Response:
        """Summaries, a chunk at a time; across chunks a reorg may show, as it would across requests."""
        host = self._host(request)
        first, last = _in_query(request, "from"), _in_query(request, "to")
        if not first <= last < first + MAX_BLOCKS:
            raise BadRequest(what="from, to", have=f"{first}, {last}", want=f"ascending, at most {MAX_BLOCKS} blocks")
        found: list[BlockSummary] = []
        for start in range(first, last + 1, _CHUNK):
            heights = range(start, min(start + _CHUNK, last + 1))
            chunk = await self._ask(request, host, partial(_summarise, heights))
            found += chunk
            if len(chunk) < len(heights):
                break
        return _answer(to_json(tuple(found), tuple[BlockSummary, ...]))

    async def count_state(self, request: web.Request) -> web.Response:
        """Entries of the head's state by kind, counted a chunk at a time."""
        host = self._host(request)
        count = await self._read(request, host, _begin_count)
        while (found := await self._read(request, host, lambda node: count.go_on())) is None:
            pass
        return _answer(to_json(found))

    async def submit(self, request: web.Request) -> web.Response:
        """Signed transactions, as one canonical array of byte strings; the answer has an outcome for each.

        Its status is 200 where all are taken on, that of the error where the only one is refused, and else 207.
        """
        host = self._host(request)
        transactions = _read_transactions(await _read_body(request), host.node)
        outcomes = await host.submit(transactions)
        answer = SubmitAnswer(outcomes=tuple(map(_describe_outcome, transactions, outcomes)))
        status = _choose_status([outcome.status for outcome in answer.outcomes])
        return _answer(to_json(answer), status=status, **_retry_later(status))

    # --- between chains ------------------------------------------------------------------------------

    async def offer_relay(self, request: web.Request) -> web.Response:
        """Take in a relay's bytes, from any sender: it is its own proof, and the chain judges it in its next steps."""
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
        return _answer(await self._read(request, host, partial(_list_relays, genesis.chain_id_of(name))))

    # --- proofs --------------------------------------------------------------------------------------

    async def prove_account(self, request: web.Request) -> web.Response:
        """`?at=final` asks for the state after the final block instead of the head. Any address has a proof."""
        host = self._host(request)
        ref, at = request.match_info["ref"], request.query.get("at", "head")
        if at not in ("head", "final"):
            raise BadRequest(what="at", have=at[:50], want="head or final")

        def prove(node: ChainNode) -> bytes:
            address = parse_address(ref) if ref.startswith("0x") else self._query(host).members.find(ref)
            return to_json(describe_proof(prove_account(node, address, at_final=at == "final"), node))

        return _answer(await self._read(request, host, prove))

    async def prove_trade(self, request: web.Request) -> web.Response:
        host = self._host(request)
        period, index = _in_path(request, "period"), _in_path(request, "index")
        gate = _in_session(self._query(host), request, period)
        prove = partial(prove_trade, gate=gate, index=index)
        return _answer(await self._read(request, host, lambda node: to_json(describe_proof(prove(node), node))))

    async def prove_transaction(self, request: web.Request) -> web.Response:
        host = self._host(request)
        identity = parse_hash(request.match_info["id"], "transaction id")
        prove = partial(prove_transaction, transaction_id=identity)
        return _answer(await self._read(request, host, lambda node: to_json(describe_proof(prove(node), node))))

    # --- events --------------------------------------------------------------------------------------

    async def stream_events(self, request: web.Request) -> web.StreamResponse:
        """One JSON object per line, as they are committed; an empty line now and then while nothing happens.

        The last line says why it is the last: "closed" or "dropped". A stream that ends otherwise has been cut off.
        """
        host = self._host(request)
        async with self._count_stream(), host.subscribe() as events:
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", **_HEADERS})
            await response.prepare(request)
            _bound_socket(request)
            with suppress(ConnectionError):
                await response.write(_line(event="subscribed", chain=host.name))
                await response.write(await _relay(events, response))
        return response

    # --- inside --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _count_stream(self) -> AsyncIterator[None]:
        """Raises `TooManySubscribers`."""
        if self._streams >= self._max_streams:
            raise TooManySubscribers(limit=self._max_streams)
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def _host(self, request: web.Request) -> HostView:
        """Raises `ChainOut` or `UnknownChainName`."""
        name, runtime = request.match_info["chain"], self._runtime
        host = runtime.chains.get(name)
        if host is not None:
            return host
        if name in runtime.outages:
            raise runtime.outages[name].to_refusal()
        raise UnknownChainName(name=name[:50], known=", ".join(runtime.chains))

    async def _ask(self, request: web.Request, host: HostView, question: Callable[[ChainQueries], T]) -> T:
        """The client's question, in its turn. Raises as the question does, or `RateLimited`."""
        return await self._read(request, host, lambda node: question(self._query(host)))

    async def _read(self, request: web.Request, host: HostView, question: Callable[[ChainNode], T]) -> T:
        """The same of the node. Raises `ChainOut`, too, where the chain's store has failed it meanwhile."""
        try:
            return await self._readers.ask(request.remote or "", host, question)
        except NodeStopping:
            if (outage := self._runtime.outages.get(host.name)) is not None:
                raise outage.to_refusal() from None
            raise

    def _query(self, host: HostView) -> ChainQueries:
        """In the chain's thread."""
        query = self._queries.get(host.name)
        if query is None or query.node is not host.node:  # which begins anew where its disk has taken nothing
            query = self._queries[host.name] = ChainQueries(host.node)
        return query


def _summarise(heights: range, chain: ChainQueries) -> list[BlockSummary]:
    """Those that there are."""
    found = (chain.get_summary(height) for height in heights)
    return [summary for summary in found if summary is not None]


def _begin_count(node: ChainNode) -> StateCount:
    head = node.chain.head
    return StateCount(node.genesis, head.header, head.state)


def _list_relays(destination: bytes, node: ChainNode) -> bytes:
    found = node.get_relays(destination)
    relays = [RelayInfo(kind=kind, number=number, part=part, raw=raw.hex()) for kind, number, part, raw in found]
    return to_json(RelaysInfo(relays=tuple(relays)))


# --- requests --------------------------------------------------------------------------------------------


def _in_path(request: web.Request, name: str) -> int:
    return _parse_natural(name, request.match_info[name])


def _in_query(request: web.Request, name: str) -> int:
    return _parse_natural(name, request.query.get(name, ""))


def _find_gate(chain: ChainQueries, request: web.Request) -> int:
    """The number of the gate that `?period=` and `?session=` name."""
    return _in_session(chain, request, _in_query(request, "period"))


def _in_session(chain: ChainQueries, request: web.Request, period: int) -> int:
    """The number of a period's gate in the session that `?session=` names, which is the day-ahead one without it."""
    return chain.find_gate(period, request.query.get("session", Session.DAY_AHEAD.title))


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
    value = decode(body, max_bytes=len(body), max_items=MAX_SUBMITTED, what="transactions")
    items = expect_list(value, "transactions", max_items=MAX_SUBMITTED)
    raw = [expect_bytes(item, "transaction", max_size=limit) for item in items]
    return [Transaction.from_bytes(item, max_bytes=limit) for item in raw]


class RateLimiter:
    """A token bucket per client address; the addresses heard of longest ago are forgotten first."""

    def __init__(self, *, per_s: int, burst: int, clock: Callable[[], int]) -> None:
        self._per_s = per_s
        self._clock = clock
        self._buckets: Accounts[str, TokenBucket] = Accounts(lambda: TokenBucket(burst, per_s), limit=_MAX_CLIENTS)

    def check(self, client: str) -> None:
        """Raises `RateLimited`."""
        if not self._buckets.find(client).take(1, self._clock()):
            raise RateLimited(what="requests", limit=self._per_s)

    @property
    def middleware(self) -> Any:
        @web.middleware
        async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.check(request.remote or "")
            return await handler(request)

        return limit


def make_host_check(config: NodeConfig) -> Middleware:
    """No page reads here under a name of its own that it lets lead to this node."""

    @web.middleware
    async def refuse_foreign_hosts(request: web.Request, handler: Handler) -> web.StreamResponse:
        check_host(request.headers.get("Host"), config.api_listen, config.api_hosts)
        return await handler(request)

    return refuse_foreign_hosts


@web.middleware
async def refuse_foreign_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A browser says which page a request comes from: none may change anything here but one that came from here."""
    origin = request.headers.get("Origin")
    if origin is not None and request.method not in _SAFE_METHODS and origin != f"http://{request.host}":
        raise ForeignOrigin(origin=origin[:80])
    return await handler(request)


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
    (ForeignHost, 403),
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
    except (asyncio.CancelledError, ConnectionError):
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
    return _answer(to_json(_describe_error(error)), status=status, **_retry_later(status))


def _retry_later(status: int) -> dict[str, str]:
    return {"Retry-After": "1"} if status in (429, 503) else {}


def _describe_outcome(transaction: Transaction, error: GridmeritError | None) -> SubmitOutcome:
    identity = transaction.id.hex()
    if error is None:
        return SubmitOutcome(id=identity, status=_OK, error=None)
    return SubmitOutcome(id=identity, status=get_http_status(error), error=_describe_error(error))


def _choose_status(statuses: Sequence[int]) -> int:
    """Of one answer for several outcomes."""
    if all(status == _OK for status in statuses):
        return _OK
    return statuses[0] if len(statuses) == 1 else _MIXED


def _describe_error(error: GridmeritError) -> RemoteFault:
    return RemoteFault(error=error.code, message=str(error), values=show_values(error.values))


def show_values(values: Mapping[str, object]) -> dict[str, object]:
    """An error's values; its integers may be any that a peer or client sent."""
    return {name: show_text(_make_plain(value)) for name, value in values.items()}


def _describe_outage(outage: Outage) -> ChainOutage:
    return ChainOutage(
        chain=outage.chain,
        kind=outage.kind,
        error=outage.error.code,
        message=str(outage.error),
        path=str(outage.path),
        remedy=outage.remedy,
        since_ms=outage.since_ms,
    )


def _describe(view: Any) -> dict[str, Any]:
    """A view of the runtime's, which is a dataclass."""
    return {name: show_exact(show_value(_make_plain(value)), name) for name, value in asdict(view).items()}


def _make_plain(value: object) -> Value:
    if isinstance(value, tuple | list):
        return tuple(_make_plain(item) for item in value)
    return value if isinstance(value, bytes | int | str | None) else str(value)


def _get_version() -> str:
    try:
        return version("gridmerit")
    except PackageNotFoundError:
        return "source"


# --- the stream of events ----------------------------------------------------------------------------------


async def _relay(events: Subscription, response: web.StreamResponse) -> bytes:
    """Write events for as long as there are any; the line that says why there are no more.

    A client that reads nothing is waited for here, and nowhere else: its connection has a deadline of the listener's.
    """
    try:
        while True:
            try:
                async with asyncio.timeout(_KEEPALIVE_S):
                    lines = await events.take()
            except TimeoutError:
                lines = b"\n"
            if not lines:
                return _line(event="closed")
            await response.write(lines)
    except SlowSubscriber as error:
        return _line(event="dropped", **error.values, message=str(error))


def _line(**fields: object) -> bytes:
    return to_json(fields) + b"\n"


def _bound_socket(request: web.Request) -> None:
    """The system would keep megabytes for a reader that reads nothing."""
    connection = None if request.transport is None else request.transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(SOL_SOCKET, SO_SNDBUF, _SOCKET_BYTES)
