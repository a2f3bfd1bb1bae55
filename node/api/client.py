"""A typed asyncio client of one node's JSON API, for the CLI, agents and notebooks.

Only reads are retried. What the node refuses is raised under the node's own error code.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, TypeVar

import aiohttp

from ledger.codec import Value, encode
from ledger.errors import GridmeritError
from ledger.genesis import Genesis
from ledger.hashing import show_address
from ledger.signatures import SigningKey
from ledger.transaction import Transaction, make_transaction
from market.trading.sessions import Session
from node.api.numbering import Numbering
from node.config import NetworkDocument
from node.errors import BadAnswer, RemoteFailed, RemoteNotFound, RemoteRejected, SlowSubscriber, TimedOut, Unreachable
from node.queries.answers import (
    AccountInfo,
    AssetsInfo,
    BillInfo,
    BlockDetail,
    BlockSummary,
    BookInfo,
    CertificateInfo,
    ChainStatus,
    CreditInfo,
    CreditReport,
    DigestsInfo,
    EndingInfo,
    MarketPeriods,
    MemberInfo,
    NodeStatus,
    PositionsInfo,
    ProgrammesInfo,
    QuotaInfo,
    RawBlock,
    RawCertificate,
    RelayAccepted,
    RelayInfo,
    RelaysInfo,
    RemoteFault,
    SchedulingInfo,
    SettlementInfo,
    StateInfo,
    SubmitAnswer,
    TradesInfo,
    TransactionStatus,
    TreasuryInfo,
    from_json,
)
from node.system.addresses import add_brackets_to_url

_T = TypeVar("_T")

MAX_ANSWER_BYTES = 64_000_000
_ANSWERED = frozenset({200, 202})
_RETRY_STATUS = frozenset({429, 502, 503, 504})
_RETRY_PAUSES_S = (0.1, 0.4)
_SILENCE_S = 30.0  # a node sends an empty line long before that
_STALE_SEQUENCE = frozenset({"SequenceTooLow", "SequenceTaken"})  # the node holds nothing: another number may be tried
_NUMBERS_TRIED = 5


class Client:
    """One chain as one node sees it. Use as `async with Client(url, "jy1") as client`.

    Every method raises `Unreachable`, `RemoteNotFound`, `RemoteRejected`, `RemoteFailed` or `BadAnswer`. A member is
    referred to by name, by address ("0x…") or by the 20 bytes of it. Clients of several nodes that send with one key
    share a `numbering`: nodes do not number for each other, and of two transactions with one sequence one is executed.
    """

    def __init__(self, url: str, chain: str, *, timeout_s: float = 10.0, numbering: Numbering | None = None) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")
        self.chain = chain
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._chain_id: bytes | None = None
        self.numbering = numbering or Numbering()

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(timeout=self._timeout, auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()
        self._session = None

    # --- the node and the chain --------------------------------------------------------------------

    async def node_status(self) -> NodeStatus:
        return await self._get(NodeStatus, "/v1/status")

    async def status(self) -> ChainStatus:
        return await self._get(ChainStatus, self._path("status"))

    async def genesis(self) -> Genesis:
        """The chain's genesis, as the node has it: compare its `chain_id` with one you trust."""
        document = await self._get(NetworkDocument, self._path("genesis"))
        try:
            return document.open(self.chain)
        except (StopIteration, ValueError) as error:
            raise BadAnswer(url=self.url, detail=f"its genesis does not hold {self.chain}: {error}") from None

    async def block(self, ref: int | str = "head") -> BlockDetail:
        """A block by height, by hash or "head"."""
        return await self._get(BlockDetail, self._path("block", ref))

    async def blocks(self, start: int, end: int) -> tuple[BlockSummary, ...]:
        """Summaries of the blocks at heights `start` … `end` inclusive, at most 1000, as far as they exist."""
        query = {"from": start, "to": end}
        return await self._get(tuple[BlockSummary, ...], self._path("blocks"), query)

    async def state(self) -> StateInfo:
        """The entries that the chain keeps, by kind, beside how many there may be."""
        return await self._get(StateInfo, self._path("state"))

    async def raw_block(self, height: int) -> RawBlock:
        """A block and its outcomes in bytes: believe nothing of it that its header does not say."""
        return await self._get(RawBlock, self._path("raw", "block", height))

    async def raw_certificate(self, slot: int) -> RawCertificate:
        return await self._get(RawCertificate, self._path("raw", "certificate", slot))

    async def certificate(self, slot: int) -> CertificateInfo:
        return await self._get(CertificateInfo, self._path("certificate", slot))

    # --- the grid and the credit index ---------------------------------------------------------------

    async def quota(self, period: int, session: Session = Session.DAY_AHEAD) -> QuotaInfo:
        """The quota of each line; on the trading chain, beside a scheduling chain."""
        return await self._get(QuotaInfo, self._path("market", "quota"), {"period": period, **_name_session(session)})

    async def scheduling(self, period: int, session: Session = Session.DAY_AHEAD) -> SchedulingInfo:
        """Plan, quotas, verdict and contracts of a period; on the scheduling chain."""
        return await self._get(SchedulingInfo, self._path("scheduling", period), _name_session(session))

    async def digests(self, period: int) -> DigestsInfo:
        """The credit chain's digests of the other chains' blocks of a period."""
        return await self._get(DigestsInfo, self._path("digests", period))

    async def credit_report(self, ref: str | bytes) -> CreditReport:
        """A member's credit and its violations; on the credit chain."""
        return await self._get(CreditReport, self._path("credit", "report", _show_ref(ref)))

    async def assets(self, ref: str | bytes) -> AssetsInfo:
        """A member's credit assets; on the credit chain."""
        return await self._get(AssetsInfo, self._path("assets", _show_ref(ref)))

    # --- members -------------------------------------------------------------------------------------

    async def account(self, ref: str | bytes) -> AccountInfo:
        return await self._get(AccountInfo, self._path("account", _show_ref(ref)))

    async def member(self, ref: str | bytes) -> MemberInfo:
        """A member and its credential, also one that is to be, or has gone."""
        return await self._get(MemberInfo, self._path("member", _show_ref(ref)))

    async def members(self) -> tuple[MemberInfo, ...]:
        return await self._get(tuple[MemberInfo, ...], self._path("members"))

    async def credit(self) -> tuple[CreditInfo, ...]:
        return await self._get(tuple[CreditInfo, ...], self._path("credit"))

    async def treasury(self) -> TreasuryInfo:
        """Bookings of banks, standing orders, and whose money does not last; on a chain with an economy."""
        return await self._get(TreasuryInfo, self._path("treasury"))

    async def programmes(self) -> ProgrammesInfo:
        """The subsidies of a chain with an economy, and what is left of each budget."""
        return await self._get(ProgrammesInfo, self._path("programmes"))

    async def bill(self, period: int, ref: str | bytes) -> BillInfo:
        """The payment of a member for energy of a period, and how it is split. Raises `RemoteNotFound`."""
        return await self._get(BillInfo, self._path("bill", period, _show_ref(ref)))

    # --- the market ----------------------------------------------------------------------------------

    async def periods(self) -> MarketPeriods:
        return await self._get(MarketPeriods, self._path("market/periods"))

    async def book(self, period: int, session: Session = Session.DAY_AHEAD) -> BookInfo:
        """The book of a period, in one of the sessions where that is traded twice."""
        return await self._get(BookInfo, self._path("market/book"), {"period": period, **_name_session(session)})

    async def trades(self, period: int, session: Session = Session.DAY_AHEAD) -> TradesInfo:
        return await self._get(TradesInfo, self._path("market/trades"), {"period": period, **_name_session(session)})

    async def positions(self, period: int) -> PositionsInfo:
        return await self._get(PositionsInfo, self._path("market/positions"), {"period": period})

    async def settlement(self, period: int) -> SettlementInfo:
        return await self._get(SettlementInfo, self._path("market/settlement"), {"period": period})

    # --- proofs: documents for `node.proofs.verify_document` -------------------------------------------

    async def proof_account(self, ref: str | bytes, *, at_final: bool = False) -> dict[str, Any]:
        """An account after the head block, which is one sealer's word, or after the final one, a quorum's."""
        query = {"at": "final" if at_final else "head"}
        return await self._get(dict[str, Any], self._path("proof/account", _show_ref(ref)), query)

    async def proof_trade(self, period: int, index: int, session: Session = Session.DAY_AHEAD) -> dict[str, Any]:
        return await self._get(dict[str, Any], self._path("proof/trade", period, index), _name_session(session))

    async def proof_transaction(self, transaction_id: str | bytes) -> dict[str, Any]:
        return await self._get(dict[str, Any], self._path("proof/tx", _show_id(transaction_id)))

    # --- transactions ----------------------------------------------------------------------------------

    async def transaction(self, transaction_id: str | bytes) -> TransactionStatus:
        """A transaction's place, or why it will never be executed. Raises `RemoteNotFound` where nothing is known."""
        return await self._get(TransactionStatus, self._path("tx", _show_id(transaction_id)))

    async def wait_for(
        self,
        transaction_id: str | bytes,
        *,
        timeout_s: float = 60.0,
        depth: int = 1,
        final: bool = False,
        poll_s: float = 0.1,
    ) -> TransactionStatus:
        """Wait until `depth` blocks bury a transaction, its own included, and with `final` until its block is final.

        One that was refused in its block has arrived, too: look at `code`. Raises `TimedOut`, and `RemoteRejected` with
        the ending's code, such as "Superseded", where the node knows that no block will hold it.
        """
        identity = _show_id(transaction_id)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    found = await self._find(identity)
                    if found is not None and found.ending is not None:
                        raise _not_executed(identity, found.ending)
                    if found is not None and found.depth >= depth and (found.final or not final):
                        return found
                    await asyncio.sleep(poll_s)
        except TimeoutError:
            what = f"inclusion of transaction {identity} {'in a final block' if final else f'at depth {depth}'}"
            raise TimedOut(what=what, timeout_s=timeout_s) from None

    async def submit(self, transactions: Sequence[Transaction]) -> list[RemoteRejected | None]:
        """Hand over signed transactions; per transaction None (the node has it on disk) or why it was refused.

        The outcomes are in the body, whatever the status: 200, 207, or that of the only one's error.
        """
        body = encode([transaction.raw for transaction in transactions])
        url = self.url + self._path("tx")
        status, raw = await self._exchange("POST", url, body=body)
        try:
            answer = from_json(SubmitAnswer, raw)
        except ValueError as error:
            if status in _ANSWERED:
                raise BadAnswer(url=url, detail=str(error)) from None
            raise _failure(status, raw, url) from None
        if len(answer.outcomes) != len(transactions):
            raise BadAnswer(url=self.url, detail="it has not one outcome for each transaction")
        return [None if outcome.error is None else _rejected(outcome.error) for outcome in answer.outcomes]

    async def send(
        self, key: SigningKey, kind: str, payload: tuple[Value, ...], *, lifetime_blocks: int = 100
    ) -> bytes:
        """Sign a transaction with the sender's next sequence and submit it; its id.

        Raises `RemoteRejected`. Sends of one key wait for each other. Where another program took the sequence
        meanwhile, the node has refused the transaction and holds nothing of it: it is signed anew with a later one.
        """
        sender = (self.chain, key.public_key)
        async with self.numbering.turn(sender):
            for tries_left in reversed(range(_NUMBERS_TRIED)):
                transaction = await self._make_transaction(key, kind, payload, lifetime_blocks)
                (error,) = await self.submit([transaction])
                if error is None or error.code == "SequenceTaken":
                    self.numbering.note(sender, transaction.sequence, transaction.expiry_height)
                if error is None:
                    return transaction.id
                if not tries_left or error.code not in _STALE_SEQUENCE:
                    raise error
        raise AssertionError("the loop returns or raises")

    async def _make_transaction(
        self, key: SigningKey, kind: str, payload: tuple[Value, ...], lifetime_blocks: int
    ) -> Transaction:
        account = await self.account(key.address)
        if self._chain_id is None:
            self._chain_id = bytes.fromhex((await self.status()).chain_id)
        return make_transaction(
            key,
            chain_id=self._chain_id,
            sequence=self.numbering.choose((self.chain, key.public_key), account),
            expiry_height=account.height + lifetime_blocks,
            kind=kind,
            payload=payload,
        )

    async def _find(self, transaction_id: str) -> TransactionStatus | None:
        try:
            return await self.transaction(transaction_id)
        except RemoteNotFound:
            return None

    # --- between chains --------------------------------------------------------------------------------

    async def relays(self, destination: str) -> tuple[RelayInfo, ...]:
        """The messages that the chain has certified for another one of its network, by that one's name."""
        return (await self._get(RelaysInfo, self._path("relays"), {"to": destination})).relays

    async def offer_relay(self, raw: bytes) -> None:
        """Bring the chain a relay from another one. It is judged later: what it changes shows in the events."""
        await self._request(RelayAccepted, "POST", self._path("relay"), body=raw)

    # --- events ------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Stream the events of the chain from now on, each with its name under "event"; first comes "subscribed".

        Ends after "closed", where the node stops. Raises `SlowSubscriber` where events are lost because this reader is
        too slow, and `Unreachable` when the connection breaks, or the stream ends without saying why.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout.total, sock_read=_SILENCE_S)
        url = self.url + self._path("events")
        try:
            async with self._open.get(url, timeout=timeout) as response:
                if response.status != 200:
                    raise _failure(response.status, await self._read(response), url)
                async for line in response.content:
                    if line.strip():
                        event = from_json(dict[str, Any], line)
                        if event.get("event") == "dropped":
                            raise SlowSubscriber(missed=event.get("missed"))
                        yield event
                        if event.get("event") == "closed":
                            return
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unreachable(self.url, error) from None
        except ValueError as error:
            raise BadAnswer(url=url, detail=str(error)) from None
        raise Unreachable(url=self.url, detail="the stream of events was cut off")

    # --- one request -------------------------------------------------------------------------------------

    def _path(self, *parts: str | int) -> str:
        return "/".join(("/v1", self.chain, *map(str, parts)))

    @property
    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use the client within `async with`"
        return self._session

    async def _get(self, kind: type[_T], path: str, query: Mapping[str, int | str] | None = None) -> _T:
        for pause_s in (*_RETRY_PAUSES_S, None):
            try:
                return await self._request(kind, "GET", path, query=query)
            except (Unreachable, RemoteFailed) as error:
                is_passing = isinstance(error, Unreachable) or error.values.get("status") in _RETRY_STATUS
                if pause_s is None or not is_passing:
                    raise
            await asyncio.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    async def _request(
        self,
        kind: type[_T],
        method: str,
        path: str,
        *,
        query: Mapping[str, int | str] | None = None,
        body: bytes | None = None,
    ) -> _T:
        url = self.url + path
        status, raw = await self._exchange(method, url, query=query, body=body)
        if status not in _ANSWERED:
            raise _failure(status, raw, url)
        try:
            return from_json(kind, raw)
        except ValueError as error:
            raise BadAnswer(url=url, detail=str(error)) from None

    async def _exchange(
        self, method: str, url: str, *, query: Mapping[str, int | str] | None = None, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Status and body of whatever is answered. Raises `Unreachable` or `BadAnswer`."""
        try:
            async with self._open.request(method, url, params=query, data=body, allow_redirects=False) as response:
                return response.status, await self._read(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unreachable(self.url, error) from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise BadAnswer(url=self.url, detail=f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
        return b"".join(parts)


def _failure(status: int, raw: bytes, url: str) -> GridmeritError:
    """The error that an answer other than 200 stands for."""
    try:
        fault = from_json(RemoteFault, raw)
    except ValueError:
        return BadAnswer(url=url, detail=f"HTTP status {status} without our error document")
    if status >= 500 or status == 429:
        values = {**fault.values, "status": status}
        return RemoteFailed(code=fault.error, detail=fault.message, values=values)
    kind = RemoteNotFound if status == 404 else RemoteRejected
    return kind(code=fault.error, detail=fault.message, values=fault.values)


def _rejected(fault: RemoteFault) -> RemoteRejected:
    return RemoteRejected(code=fault.error, detail=fault.message, values=fault.values)


def _not_executed(identity: str, ending: EndingInfo) -> RemoteRejected:
    detail = f"transaction {identity} was acknowledged and cannot be executed any more: {ending}"
    return RemoteRejected(code=ending.code, detail=detail, values={"id": identity, **asdict(ending)})


def _unreachable(url: str, error: Exception) -> Unreachable:
    """In plain words; those of the library are in the value `cause`."""
    right = add_brackets_to_url(url)
    detail = _explain(error) if right is None else f"an IPv6 address goes in brackets, {right}"
    return Unreachable(url=url, detail=detail, cause=str(error) or type(error).__name__)


def _explain(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientConnectorDNSError():
            return "no host of that name is known"
        case aiohttp.ClientSSLError():
            return "no TLS connection came about"
        case aiohttp.ClientConnectorError(errno=errno.ECONNREFUSED):
            return "nothing listens there"
        case aiohttp.ClientConnectorError():
            return "no connection came about"
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return "that is no URL of an API, such as http://127.0.0.1:9200"
        case aiohttp.ClientResponseError():
            return "what listens there does not speak HTTP"
    return "the connection broke off"


def _name_session(session: Session) -> dict[str, int | str]:
    """The part of a query that names a session; nothing of the only one that most markets have."""
    return {} if session == Session.DAY_AHEAD else {"session": session.title}


def _show_ref(ref: str | bytes) -> str:
    return show_address(ref) if isinstance(ref, bytes) else ref


def _show_id(transaction_id: str | bytes) -> str:
    return transaction_id.hex() if isinstance(transaction_id, bytes) else transaction_id
