"""Liars that need no node of their own: members with real credentials, and anybody at all at the API's door.

`LIARS` by name: `python -m tests.processes.liars NAME DIR` does its worst to the first node of the network in DIR until
it is terminated, and then says how it was answered. Beside them those who must follow the chain, and so run a node.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from gridmerit.network.layout import Network, load_network
from node.api.client import Client
from node.chain.messages import (
    MAX_BATCH_BYTES,
    MAX_BATCH_MESSAGES,
    MAX_BLOCKS,
    MAX_ITEMS,
    GetBlocks,
    GetHeaders,
    GetTransactions,
    Message,
    Relay,
    Transactions,
)
from node.config import load_config, load_genesis
from node.credentials.certificates import name_of_key
from node.credentials.keystore import load_key, load_passphrase
from node.credentials.tls import make_client_context, make_server_context
from node.peer.send_queue import Outbox, OutQueue, Remote
from node.system.clock import now_ms
from node.system.http_listener import Listener
from node.system.logs import get_logger
from node.system.ports import take_port
from tests.processes.stage import CHAIN, Program, Stage, run_script
from tests.support.local_network import PEER_HEAD

READY = "ready"  # its first line
ELSEWHERE = "127.0.0.2"  # another host than that of honest clients
_CONVICTED_WITHIN_S = 30.0
_LINES = 5  # batches under way; as they overtake each other, some come too late for their numbers
_ARRAY32 = b"\xdd"


# --- a member ------------------------------------------------------------------------------------


class Always(OutQueue):
    """In the place of a node's queue to a peer: the next batch is always there."""

    def __init__(self, batches: Sequence[Sequence[Message]]):
        super().__init__()
        self._turn = cycle(tuple(batch) for batch in batches)

    def __len__(self) -> int:
        return 1

    def put(self, message: Message) -> None:
        """There is enough."""

    def clear(self) -> None:
        """It cannot be."""

    def take(self) -> tuple[Message, ...]:
        return next(self._turn)


async def flood(network: Network, *batches: Sequence[Message]) -> Counter[str]:
    """Send these batches over and over from the liar's seat to the first honest node, some of them at a time.

    Who comes to the liar's own port is heard out.
    """
    *_, seat = network.nodes
    config = load_config(network.directory_of(seat) / "node.toml")
    assert config.passphrase_file is not None
    assert config.key_file is not None
    assert config.tls is not None
    passphrase = load_passphrase(config.passphrase_file)
    target, answers = network.nodes[0], Counter[str]()

    async def hear_out(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=204)

    async def count(_: object, __: object, params: aiohttp.TraceRequestEndParams) -> None:
        answers[str(params.response.status)] += 1

    app = web.Application(client_max_size=2 * MAX_BATCH_BYTES)
    app.router.add_post("/p2p/{chain}", hear_out)
    tls = make_server_context(config.tls, passphrase)
    listener = Listener(app, take_port(config.peer_listen, "peer_listen"), tls=tls)
    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(count)
    await listener.start()
    connector = aiohttp.TCPConnector(ssl=make_client_context(config.tls, passphrase))
    try:
        async with aiohttp.ClientSession(connector=connector, headers=PEER_HEAD, trace_configs=[trace]) as session:
            key, queue = bytes.fromhex(target.key), Always(batches)
            async with asyncio.TaskGroup() as group:
                for _ in range(_LINES):
                    outbox = Outbox(
                        Remote(name=target.name, key=key, url=target.peer_url, tls_name=name_of_key(key)),
                        key=load_key(config.key_file, passphrase),
                        chain_id=load_genesis(network.genesis_path).chain_id,
                        session=lambda: session,
                        queue=queue,
                        clock=now_ms,
                        may_talk=lambda: True,
                        on_connected=lambda: None,
                        on_lost=lambda: None,
                        jitter=Random(0),
                        log=get_logger("liar"),
                        longest_pause_ms=100,
                    )
                    outbox.send(GetTransactions(ids=()))  # it goes on by itself from now on
                    group.create_task(outbox.run())
    except asyncio.CancelledError:
        pass
    finally:
        await listener.stop()
    return answers


async def _hashes(network: Network) -> list[bytes]:
    """Of the latest blocks, the fullest ones first."""
    async with Client(network.nodes[0].api_url, CHAIN) as client:
        head = (await client.status()).height
        blocks = await client.blocks(max(1, head - 999), head)
    return [bytes.fromhex(block.hash) for block in sorted(blocks, key=lambda block: -block.tx_count)]


async def ask_headers(network: Network) -> Counter[str]:
    """256 questions for the headers from the genesis on, in every batch of 11 kB."""
    async with Client(network.nodes[0].api_url, CHAIN) as client:
        genesis = bytes.fromhex((await client.block(0)).hash)
    return await flood(network, [GetHeaders(locator=(genesis,))] * MAX_BATCH_MESSAGES)


async def ask_blocks(network: Network) -> Counter[str]:
    """The sixteen fullest blocks, 256 times a batch."""
    hashes = await _hashes(network)
    return await flood(network, [GetBlocks(ids=tuple(hashes[:MAX_BLOCKS]))] * MAX_BATCH_MESSAGES)


async def ask_transactions(network: Network) -> Counter[str]:
    """512 transactions that nobody has, 256 times a batch, which is 4 MB."""
    ids = tuple(number.to_bytes(32, "big") for number in range(MAX_ITEMS))
    return await flood(network, [GetTransactions(ids=ids)] * MAX_BATCH_MESSAGES)


async def send_relays(network: Network) -> Counter[str]:
    """Relays of 1.9 MB each that take apart slowly and carry nothing."""
    raw = _small_items(1_900_000)
    return await flood(network, *([Relay(raw=raw[:-1] + bytes([number]))] * 4 for number in range(8)))


async def send_wide_batch(network: Network) -> Counter[str]:
    """Batches of 8 MB that are one list of transactions of no bytes, of which there may be 512."""
    return await flood(network, [Transactions(raw=(b"",) * (MAX_BATCH_BYTES // 2 - 1_000))])


async def send_empty_transactions(network: Network) -> Counter[str]:
    """Batches whose every message is as full of transactions of no bytes as it may be."""
    return await flood(network, [Transactions(raw=(b"",) * MAX_ITEMS)] * MAX_BATCH_MESSAGES)


def _small_items(size: int) -> bytes:
    """The bytes of an array of so many zeros."""
    return _ARRAY32 + (size - 5).to_bytes(4, "big") + bytes(size - 5)


# --- anybody -------------------------------------------------------------------------------------


async def _hammer(
    network: Network, requests: Sequence[Callable[[aiohttp.ClientSession], object]], lines: int
) -> Counter[str]:
    """These requests over and over, on so many connections from elsewhere."""
    answers: Counter[str] = Counter()
    turn = cycle(requests)

    async def line(session: aiohttp.ClientSession) -> None:
        while True:
            try:
                async with next(turn)(session) as answer:  # type: ignore[attr-defined]
                    await answer.read()
                    answers[f"{answer.status}"] += 1
                    if answer.status != 200:
                        await asyncio.sleep(0.05)
            except (aiohttp.ClientError, OSError):
                answers["cut off"] += 1
                await asyncio.sleep(0.2)

    connector = aiohttp.TCPConnector(limit=0, local_addr=(ELSEWHERE, 0))
    with suppress(asyncio.CancelledError):
        async with (
            aiohttp.ClientSession(network.nodes[0].api_url, connector=connector) as session,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(lines):
                group.create_task(line(session))
    return answers


async def post_wide_arrays(network: Network) -> Counter[str]:
    """2 MB of numbers to /tx, which takes 1 024 transactions."""
    body = _small_items(2_000_000)
    return await _hammer(network, [lambda session: session.post(f"/v1/{CHAIN}/tx", data=body)], lines=4)


async def ask_pages(network: Network) -> Counter[str]:
    """The longest answers that the API has."""
    paths = [
        "blocks?from=0&to=999",
        "members",
        "block/head",
        "relays?to=du1",
        "market/book?period=1",
        "credit",
        "status",
    ]
    requests = [lambda session, path=path: session.get(f"/v1/{CHAIN}/{path}") for path in paths]
    return await _hammer(network, [*requests, lambda session: session.get("/metrics")], lines=16)


async def send_slow_bodies(network: Network) -> Counter[str]:
    """128 requests of the honest clients' own host whose bodies never come to an end."""
    target = urlsplit(network.nodes[0].api_url)
    assert target.hostname is not None
    assert target.port is not None
    answers: Counter[str] = Counter()
    head = f"POST /v1/{CHAIN}/tx HTTP/1.1\r\nHost: {target.netloc}\r\nContent-Length: 100000\r\n\r\n".encode()

    async def drip() -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(target.hostname, target.port)
                writer.write(head)
                while not reader.at_eof():
                    writer.write(b"\x00")
                    await writer.drain()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.5):
                            if line := await reader.readline():
                                answers[line.decode(errors="replace").split()[1]] += 1
                                break
                writer.close()
            except (OSError, IndexError):
                answers["cut off"] += 1
            await asyncio.sleep(0.1)

    with suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as group:
            for _ in range(128):
                group.create_task(drip())
    return answers


async def read_nothing(network: Network) -> Counter[str]:
    """63 event streams that are opened and never read."""
    target = urlsplit(network.nodes[0].api_url)
    loop = asyncio.get_running_loop()
    answers: Counter[str] = Counter()
    with AsyncExitStackOfSockets() as sockets:
        for _ in range(63):
            plain = sockets.open()
            await loop.sock_connect(plain, (target.hostname, target.port))
            await loop.sock_sendall(plain, f"GET /v1/{CHAIN}/events HTTP/1.1\r\nHost: {target.netloc}\r\n\r\n".encode())
            answers["streams"] += 1
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    return answers


class AsyncExitStackOfSockets:
    """Sockets with little room, closed together."""

    def __enter__(self) -> AsyncExitStackOfSockets:
        self._open: list[socket.socket] = []
        return self

    def open(self) -> socket.socket:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        plain.setblocking(False)
        plain.bind((ELSEWHERE, 0))
        self._open.append(plain)
        return plain

    def __exit__(self, *_: object) -> None:
        for plain in self._open:
            plain.close()


async def read_as_another_site(stage: Stage) -> list[str]:
    """Faults in answers to a page whose name an attacker points here: it must not read anything."""
    problems = []
    async with aiohttp.ClientSession(stage.honest[0].api_url) as session:
        for path in ("/v1/status", f"/v1/{CHAIN}/block/head", "/metrics"):
            async with session.get(path, headers={"Host": "rebound.example"}) as answer:
                if answer.status == 200:
                    problems.append(f"GET {path} for another host is answered")
    return problems


async def ask_for_penalty(stage: Stage) -> list[str]:
    """A fault where the liar has not been convicted of what it signed twice."""
    client = stage.clients[stage.honest[0].name]
    deadline_s = time.monotonic() + _CONVICTED_WITHIN_S
    while time.monotonic() < deadline_s:
        if (await client.account(stage.liar.name)).penalty_upt:
            return []
        await asyncio.sleep(0.5)
    return ["its equivocation was not noticed"]


async def ask_afresh(stage: Stage) -> list[str]:
    """A fault where a new client of the liar's own host is not served."""
    failed = 0
    timeout = aiohttp.ClientTimeout(total=5)
    for _ in range(10):
        async with aiohttp.ClientSession(stage.honest[0].api_url, timeout=timeout) as session:
            try:
                async with session.get(f"/v1/{CHAIN}/status") as answer:
                    failed += answer.status != 200
            except (aiohttp.ClientError, OSError, TimeoutError):
                failed += 1
    return [f"{failed} of 10 new clients were not served"] if failed else []


# --- who there is --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Liar:
    """One liar: what it does, where, and what must come of it.

    It runs a program of its own (`act`), or a node that follows the chain, honestly until it `turns` to another one.
    """

    engine: str = "pbft"
    about: str
    act: Callable[[Network], Coroutine[None, None, Counter[str]]] | None = None
    turns: Program | None = None
    judge: Callable[[Stage], Awaitable[list[str]]] | None = None  # asked while it lies
    seals: bool = False  # its node, under POCA
    is_scored: bool = True  # honest nodes must come to think ill of it
    rate: float = 50.0  # payments a second
    min_height: int = 1


def lie_about(kind: str, *, count: int = 512) -> Program:
    """The laboratory's attack, in a real node."""
    settings = {"kind": kind, "count": count, "every_ms": 500}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return Program(words=("-m", "gridmerit", "attack", "start", "false-head", *words))


LIARS = {
    "headers": Liar(about="asks for all headers, again and again", act=ask_headers, min_height=60),
    "blocks": Liar(about="asks for the fullest blocks, again and again", act=ask_blocks, min_height=20),
    "transactions": Liar(about="asks for what nobody has", act=ask_transactions, is_scored=False),
    "relays": Liar(about="sends relays that take apart slowly", act=send_relays),
    "wide-batches": Liar(about="sends 8 MB of no transactions", act=send_wide_batch),
    "empty-batches": Liar(about="sends messages full of nothing", act=send_empty_transactions),
    "pages": Liar(about="anybody: asks for the longest answers", act=ask_pages, is_scored=False, min_height=60),
    "wide-posts": Liar(about="anybody: posts 2 MB of numbers", act=post_wide_arrays, is_scored=False),
    "slow-bodies": Liar(
        about="anybody, of the clients' own host: sends bodies that never end",
        act=send_slow_bodies,
        judge=ask_afresh,
        is_scored=False,
    ),
    "false-head": Liar(engine="poca", about="claims a head, and makes up headers", turns=lie_about("headers")),
    "false-head-pbft": Liar(about="claims a head, and makes up headers", turns=lie_about("headers")),
    "silence": Liar(
        engine="poca", about="claims a head, and says no more", turns=lie_about("silence", count=64), is_scored=False
    ),
    "orphans": Liar(
        engine="poca", about="tells of blocks on unknown parents", turns=lie_about("parents"), is_scored=False
    ),
    "orphans-pbft": Liar(about="tells of blocks on unknown parents", turns=lie_about("parents"), is_scored=False),
    "certificates": Liar(
        engine="poca", about="certificates by members nobody knows", turns=lie_about("certificates"), is_scored=False
    ),
    "certificates-pbft": Liar(
        about="certificates by members nobody knows", turns=lie_about("certificates"), is_scored=False
    ),
    "dated-ahead": Liar(engine="poca", about="sends blocks ahead of the clock", turns=lie_about("dated-ahead")),
    "proposals": Liar(about="shows hundreds of blocks for one height", turns=lie_about("proposals"), is_scored=False),
    "flushed-watch": Liar(
        engine="poca",
        about="signs twice, and floods the watch in between",
        turns=run_script("flushing_node"),
        judge=ask_for_penalty,
        seals=True,
        is_scored=False,
    ),
    "other-site": Liar(about="a page of another site reads the API", judge=read_as_another_site, is_scored=False),
    "unread-streams": Liar(about="63 streams that nobody reads", act=read_nothing, is_scored=False, rate=400.0),
}


def main(name: str, directory: str) -> None:
    act = LIARS[name].act
    assert act is not None, name
    get_logger().setLevel(logging.CRITICAL)  # being refused is what it is for

    async def lie() -> Counter[str]:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        print(READY, flush=True)
        return await act(load_network(Path(directory)))

    print(json.dumps(asyncio.run(lie())))


if __name__ == "__main__":
    main(*sys.argv[1:])
