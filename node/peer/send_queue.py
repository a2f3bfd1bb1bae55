"""The messages waiting to be sent to one peer on one chain, and the task that sends them in signed batches.

A queue is bounded: when it is full the oldest announcements go first, for a later one or a request makes up for them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import partial
from random import Random
from typing import NamedTuple

import aiohttp

from ledger.signatures import SigningKey
from node.chain.events import PeerId
from node.chain.messages import (
    MAX_BATCH_BYTES,
    MAX_BATCH_MESSAGES,
    MAX_ITEMS,
    SESSION_BYTES,
    Evidence,
    Message,
    NewBlock,
    Status,
    TradeResult,
    TransactionIds,
    Transactions,
    Votes,
    seal_batch,
)
from node.errors import MembershipEnded
from node.system.logs import log_event

_MAX_SEALED_BYTES = 64_000  # of a batch in the event loop; a larger one is sealed beside it
_ENVELOPE_BYTES = 512  # of a batch around its messages, generously
_ITEM_BYTES = 9  # msgpack head of a string or an integer, at most
_ANNOUNCEMENTS = (Transactions, TransactionIds, NewBlock, Status, Votes, TradeResult, Evidence)
_PATIENT = (Transactions, TransactionIds)  # a request costs more than what it carries of these
_PATIENCE_S = 0.025
_FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 50, 2_000
LONGEST_ENDED_PAUSE_MS = 300_000  # between two tries to reach one that says that this node's member has gone
_CONNECT_TIMEOUT_S, _POST_TIMEOUT_S = 2.0, 15.0
_MAX_ANSWER_BYTES = 4_096
_TRY_LATER = frozenset({408, 429, 503})
_OUT_OF_STEP = 409
_HIGHEST_NUMBER = 2**62


class OutQueue:
    """Messages in order, bounded by count and bytes."""

    def __init__(self, *, max_messages: int = 4_096, max_bytes: int = 32_000_000) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[Message, int]] = deque()
        self.size_bytes = 0
        self.taken_bytes = 0  # of the batch that was taken last
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message) -> None:
        """Queue a message, merged with the one before where that says the same kind of thing."""
        if isinstance(message, Status):
            self._remove_statuses()
        merged = _merge(self._waiting[-1][0], message) if self._waiting else None
        if merged is not None:
            self.size_bytes -= self._waiting.pop()[1]
            message = merged
        size = measure(message)
        if size > MAX_BATCH_BYTES - _ENVELOPE_BYTES:
            self.dropped += 1  # no peer would accept it
            return
        self._waiting.append((message, size))
        self.size_bytes += size
        while len(self._waiting) > self._max_messages or self.size_bytes > self._max_bytes:
            self._drop_one()

    def take(self) -> tuple[Message, ...]:
        """The next batch, empty when nothing waits."""
        batch: list[Message] = []
        room = MAX_BATCH_BYTES - _ENVELOPE_BYTES
        while self._waiting and len(batch) < MAX_BATCH_MESSAGES and self._waiting[0][1] <= room:
            message, size = self._waiting.popleft()
            self.size_bytes -= size
            room -= size
            batch.append(message)
        self.taken_bytes = MAX_BATCH_BYTES - _ENVELOPE_BYTES - room
        return tuple(batch)

    def clear(self) -> None:
        self._waiting.clear()
        self.size_bytes = 0

    def _remove_statuses(self) -> None:
        for index, (message, size) in enumerate(self._waiting):
            if isinstance(message, Status):
                del self._waiting[index]
                self.size_bytes -= size
                return

    def _drop_one(self) -> None:
        announcements = (i for i, (message, _) in enumerate(self._waiting) if isinstance(message, _ANNOUNCEMENTS))
        index = next(announcements, 0)
        self.size_bytes -= self._waiting[index][1]
        del self._waiting[index]
        self.dropped += 1


def measure(message: Message) -> int:
    """An upper bound of the encoded size in bytes."""
    return _ITEM_BYTES + sum(_measure(getattr(message, item.name)) for item in fields(message))


def _measure(value: object) -> int:
    match value:
        case tuple():
            return _ITEM_BYTES + sum(map(_measure, value))
        case bytes():
            return _ITEM_BYTES + len(value)
        case str():
            return _ITEM_BYTES + 4 * len(value)
    return _ITEM_BYTES


def _merge(earlier: Message, later: Message) -> Message | None:
    match earlier, later:
        case TransactionIds(ids=first), TransactionIds(ids=second) if len(first) + len(second) <= MAX_ITEMS:
            return TransactionIds(ids=first + second)
        case Votes(raw=first), Votes(raw=second) if len(first) + len(second) <= MAX_ITEMS:
            return Votes(raw=first + second)
        case TradeResult(results=one, raw=first), TradeResult(results=other, raw=second) if (
            one == other and len(first) + len(second) <= MAX_ITEMS
        ):
            return TradeResult(results=one, raw=first + second)
    return None


class _Outcome(Enum):
    DELIVERED = "delivered"
    TRY_LATER = "try later"
    OUT_OF_STEP = "out of step"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """The session that the receiver has told, and the number of the last batch in it."""

    session: bytes
    number: int


def _read_step(text: bytes) -> _Step | None:
    """The step to go on with, from the answer to a sender that is out of step; None where it is not that."""
    try:
        values = json.loads(text)["values"]
        session, last = bytes.fromhex(values["session"]), values["last"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if len(session) != SESSION_BYTES or type(last) is not int or not 0 <= last <= _HIGHEST_NUMBER:
        return None
    return _Step(session=session, number=last)


class Refusal(NamedTuple):
    """A refusal, by which a peer answers and listens to nothing: the error that it names, and its words."""

    error: str
    detail: str

    @property
    def is_ending(self) -> bool:
        """True if it says that this node's member has been revoked or has left."""
        return self.error == MembershipEnded.__name__


def _read_refusal(text: bytes) -> Refusal:
    """Read the refusal in an answer; the server that answers may be no peer."""
    try:
        answer = json.loads(text)
        return Refusal(str(answer["error"])[:64], str(answer["message"])[:200])
    except (ValueError, LookupError, TypeError, RecursionError):
        return Refusal("", text.decode(errors="replace")[:200])


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """The destination of a chain's batches for one peer; with TLS, its certificate must carry `tls_name`."""

    name: str
    key: PeerId
    url: str
    tls_name: str | None = None


class Outbox:
    """Sends one chain's messages to one peer; tells when the peer is reached and when it is lost."""

    def __init__(
        self,
        remote: Remote,
        *,
        key: SigningKey,
        chain_id: bytes,
        session: Callable[[], aiohttp.ClientSession],
        queue: OutQueue,
        clock: Callable[[], int],
        may_talk: Callable[[], bool],
        on_connected: Callable[[], None],
        on_lost: Callable[[], None],
        jitter: Random,
        log: logging.Logger,
        longest_pause_ms: int = LONGEST_PAUSE_MS,
    ) -> None:
        self.remote = remote
        self.queue = queue
        self.is_connected = False
        self.refusal: Refusal | None = None  # the peer's last word, while it does not listen
        self._key = key
        self._chain_id = chain_id
        self._path = f"/p2p/{chain_id.hex()}"
        self._urls = deque([remote.url])
        self._session = session  # asked for each time: it is closed when the peer has gone
        self._clock = clock
        self._may_talk = may_talk
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._jitter = jitter
        self._longest_pause_ms = longest_pause_ms
        self._log = log
        self._ready = asyncio.Event()
        self._patience: asyncio.TimerHandle | None = None
        self._heard = asyncio.Event()
        self._is_in_doubt = False
        self._step = _Step(session=bytes(SESSION_BYTES), number=0)
        self._failure = ""  # of the last attempt, so that only news is logged

    @property
    def url(self) -> str:
        """The URL at which the peer was reached last, or is looked for next."""
        return self._urls[0]

    def announce(self, message: Message) -> None:
        """Queue a message if the peer is there; one that is not is told all it needs when it is."""
        if self.is_connected:
            self.send(message)

    def send(self, message: Message) -> None:
        """Queue a message. One for a peer not reached yet goes out as soon as it is, unless that fails once more.

        Transactions wait a little for more of them, or for something that does not wait.
        """
        self.queue.put(message)
        if not isinstance(message, _PATIENT):
            self._ready.set()
        elif self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(_PATIENCE_S, self._ready.set)

    def look_also_at(self, url: str) -> None:
        """Look for the peer there, too, in turns with where it was to be, while it is not reached."""
        if url not in self._urls:
            self._urls = deque([self._urls[0], url] if self.is_connected else [url, self.remote.url])
            self.on_heard()

    def on_heard(self) -> None:
        """The peer has reached us: it is worth trying again what did not work before."""
        if not self.is_connected:
            self._heard.set()

    def on_anew(self) -> None:
        """The peer says that it has started anew: an empty batch tells if it is still where it was reached."""
        if self.is_connected:
            self._is_in_doubt = True
            self._ready.set()

    async def run(self) -> None:
        pause_ms = _FIRST_PAUSE_MS
        batch: tuple[Message, ...] = ()
        while True:
            match await self._post(batch):
                case _Outcome.DELIVERED:
                    pause_ms = _FIRST_PAUSE_MS
                    self._connect()
                    batch = await self._next_batch()
                    continue
                case _Outcome.FAILED:
                    self._disconnect()
                    self._urls.rotate()
                    batch = ()
            await self._pause(pause_ms * self._jitter.uniform(0.5, 1))
            is_ended = self.refusal is not None and self.refusal.is_ending
            pause_ms = min(2 * pause_ms, LONGEST_ENDED_PAUSE_MS if is_ended else self._longest_pause_ms)

    def disconnect(self) -> None:
        """Take the peer for lost, as when it has just been banned."""
        self._disconnect()
        self._ready.set()

    async def _next_batch(self) -> tuple[Message, ...]:
        while self.is_connected and not self._is_in_doubt and not (self.queue and self._ready.is_set()):
            self._ready.clear()
            await self._ready.wait()
        self._is_in_doubt = False
        batch = self.queue.take()
        if self.queue:
            return batch
        self._ready.clear()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        return batch

    async def _pause(self, duration_ms: float) -> None:
        await asyncio.sleep(min(duration_ms, _FIRST_PAUSE_MS) / 1_000)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, duration_ms - _FIRST_PAUSE_MS) / 1_000):
                await self._heard.wait()
        self._heard.clear()

    def _connect(self) -> None:
        if self.is_connected or not self._may_talk():
            return
        self.is_connected = True
        self._heard.clear()
        self._failure = ""
        log_event(self._log, logging.INFO, "peer-connected", peer=self.remote.name)
        self._on_connected()

    def _disconnect(self) -> None:
        self.queue.clear()
        if not self.is_connected:
            return
        self.is_connected = False
        log_event(self._log, logging.INFO, "peer-lost", peer=self.remote.name, reason=self._failure)
        self._on_lost()

    async def _post(self, batch: tuple[Message, ...]) -> _Outcome:
        if not self._may_talk():
            return self._note("banned here")
        outcome = await self._post_once(batch)
        if outcome is _Outcome.OUT_OF_STEP:  # one of the two has started anew: by now it is known how to go on
            outcome = await self._post_once(batch)
        return _Outcome.FAILED if outcome is _Outcome.OUT_OF_STEP else outcome

    async def _post_once(self, batch: tuple[Message, ...]) -> _Outcome:
        self._step = replace(self._step, number=self._step.number + 1)
        seal = partial(
            seal_batch,
            self._key,
            chain_id=self._chain_id,
            receiver=self.remote.key,
            session=self._step.session,
            number=self._step.number,
            sent_ms=self._clock(),
            messages=batch,
        )
        is_small = not batch or self.queue.taken_bytes <= _MAX_SEALED_BYTES
        raw = seal() if is_small else await asyncio.to_thread(seal)
        timeout = aiohttp.ClientTimeout(total=_POST_TIMEOUT_S, sock_connect=_CONNECT_TIMEOUT_S)
        try:
            async with self._session().post(
                self._urls[0] + self._path,
                data=raw,
                timeout=timeout,
                allow_redirects=False,
                server_hostname=self.remote.tls_name,
            ) as answer:
                if answer.status == 204:
                    self.refusal = None
                    return _Outcome.DELIVERED
                text = await answer.content.read(_MAX_ANSWER_BYTES)
                if answer.status == _OUT_OF_STEP and (step := _read_step(text)) is not None:
                    self._step = step
                    return _Outcome.OUT_OF_STEP
                if answer.status in _TRY_LATER:
                    return _Outcome.TRY_LATER
                return self._note_refusal(answer.status, text)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return self._note(str(error) or type(error).__name__)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._note("the session was closed")  # aiohttp cancels the lookup of its host

    def _note(self, reason: str) -> _Outcome:
        if reason != self._failure:
            self._failure = reason
            log_event(self._log, logging.DEBUG, "peer-unreached", peer=self.remote.name, reason=reason)
        return _Outcome.FAILED

    def _note_refusal(self, status: int, text: bytes) -> _Outcome:
        """A peer that answers, and listens to nothing: its reason is the owner's to know, once."""
        self.refusal = _read_refusal(text)
        reason = f"{status} {self.refusal.error}"
        if reason != self._failure:
            self._failure = reason
            fields = {"peer": self.remote.name, "reason": reason, "detail": self.refusal.detail}
            log_event(self._log, logging.WARNING, "peer-refuses", **fields)
        return _Outcome.FAILED
