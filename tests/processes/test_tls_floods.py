"""Honest peers go on while others do their worst at the same port: silent connections, and far too much to say."""

import asyncio
import itertools
import resource
import socket
from collections import Counter

import aiohttp
import pytest

from gridmerit.network.layout import Host
from gridmerit.network.make import new_network
from gridmerit.network.parameters import load_packaged_profile, scale_params
from gridmerit.network.processes import start_node, stop_network
from ledger.hashing import address_of, show_address
from ledger.params import ChainParams
from ledger.transaction import make_transaction
from node.api.client import Client
from node.chain.messages import (
    MAX_BATCH_MESSAGES,
    SESSION_BYTES,
    GetHeaders,
    GetTransactions,
    TransactionIds,
    seal_batch,
)
from node.config import load_config, load_genesis
from node.credentials.certificates import name_of_key
from node.credentials.keystore import load_key, load_passphrase
from node.credentials.tls import make_client_context
from node.errors import Unreachable
from node.peer.reputation import PeerLimits
from tests.support.local_network import PEER_HEAD
from tests.support.loop_clock import running_clock
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.live

SILENT = 2_000
WITHIN_S = 10.0
FLOOD_FACTOR = 10
STEPS = 40
PER_STEP, STEP_S = 5, 0.1  # fifty transfers a second
FLOODS = (
    TransactionIds(ids=(bytes(32),)),
    GetTransactions(ids=(bytes(32),) * 16),
    GetHeaders(locator=(bytes(32),)),
)
SEALING = ("pv-101", "wind-122")
FLOODERS = ("homes-1", "homes-2", "homes-3")  # a member for each, for who has flooded is banned
GRACE_BLOCKS = 10  # a transfer is in one of these; counted in blocks, for a busy machine makes those late as well


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3 * SILENT), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def open_silent(number, port, *, is_half_open):
    """One connection from an address of its own, that says nothing or half of a greeting."""
    plain = socket.socket()
    plain.setblocking(False)
    plain.bind((f"127.1.{number // 250}.{1 + number % 250}", 0))
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    if is_half_open:
        await asyncio.get_running_loop().sock_sendall(plain, b"\x16\x03\x01\x02\x00\x01\x00")
    return plain


@pytest.fixture
async def clock():
    async with running_clock() as clock:
        yield clock


async def live_silently(number, port, clock, *, is_half_open):
    """The life of such a connection, in seconds of the loop."""
    loop = asyncio.get_running_loop()
    begin_s = clock.elapsed_s
    plain = await open_silent(number, port, is_half_open=is_half_open)
    try:
        while await loop.sock_recv(plain, 4_096):
            pass
    except OSError:
        pass
    finally:
        plain.close()
    return clock.elapsed_s - begin_s


@pytest.mark.quiet
@pytest.mark.parametrize(
    ("is_spread", "is_half_open"), [(True, True), (False, False)], ids=["half open, of many hosts", "silent, of one"]
)
async def test_two_thousand_connections_that_say_nothing_are_closed_while_honest_peers_go_on(
    make_local, many_files, clock, is_spread, is_half_open
):
    local = make_local(3)
    async with local.running() as nodes:
        await local.until(lambda: all(view.connected for node in nodes for view in node.peer_views()))
        reached = min(map(local.height, nodes))
        port = nodes[0].peer_port
        async with asyncio.TaskGroup() as group:
            lives = []
            for number in range(SILENT):
                host = number if is_spread else 0
                lives.append(group.create_task(live_silently(host, port, clock, is_half_open=is_half_open)))
                if number % 100 == 99:
                    await asyncio.sleep(0.01)
        assert max(life.result() for life in lives) < WITHIN_S
        assert all(view.connected for node in nodes for view in node.peer_views())
        await local.until(lambda: min(map(local.height, nodes)) >= reached + 5)


async def test_a_peer_that_has_shown_its_certificate_and_says_nothing_is_closed(make_local, clock):
    local = make_local(2, seals=False)
    async with local.running(0) as [node]:
        tls = node._tls.client
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", node.peer_port, ssl=tls, server_hostname=name_of_key(local.keys[0].public_key)
        )
        begin_s = clock.elapsed_s
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        assert clock.elapsed_s - begin_s < WITHIN_S
        writer.close()


# --- a peer that says far too much -----------------------------------------------------------------


class Flooder:
    """A member that sends batches to one node at many times the rate it may, on connections of its own."""

    def __init__(self, network, index, target):
        home = network.directory_of(network.nodes[index])
        config = load_config(home / "node.toml")
        passphrase = load_passphrase(config.passphrase_file)
        self._key = load_key(config.key_file, passphrase)
        self._context = make_client_context(config.tls, passphrase)
        self._target = network.nodes[target]
        self._genesis = load_genesis(network.genesis_path)
        self._session, self._number = bytes(SESSION_BYTES), 0
        self.answers = Counter()

    def _seal(self, messages):
        self._number += 1
        return seal_batch(
            self._key,
            chain_id=self._genesis.chain_id,
            receiver=bytes.fromhex(self._target.key),
            session=self._session,
            number=self._number,
            sent_ms=0,
            messages=messages,
        )

    async def flood(self, messages):
        """Send at that rate until cancelled."""
        limit = PeerLimits().messages_per_s
        batches_per_s = FLOOD_FACTOR * limit / len(messages)
        url = f"{self._target.peer_url}/p2p/{self._genesis.chain_id.hex()}"
        name = name_of_key(bytes.fromhex(self._target.key))
        loop = asyncio.get_running_loop()
        begin = loop.time()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._context)) as session:

            async def post(body):
                try:
                    async with session.post(url, data=body, headers=PEER_HEAD, server_hostname=name) as answer:
                        self.answers[answer.status] += 1
                except aiohttp.ClientError:
                    self.answers["cut off"] += 1

            async with session.post(url, data=self._seal(()), headers=PEER_HEAD, server_hostname=name) as answer:
                self._session = bytes.fromhex((await answer.json())["values"]["session"])
            async with asyncio.TaskGroup() as group:
                for count in itertools.count():
                    group.create_task(post(self._seal(messages)))
                    await asyncio.sleep(max(0, begin + (count + 1) / batches_per_s - loop.time()))


class Payer:
    """A client that has one transfer after another committed, at a steady pace."""

    def __init__(self, client, key, receiver):
        self._client, self._key, self._receiver = client, key, receiver
        self._ref = show_address(key.address)

    async def pay(self):
        """Send all, and return how many of them the chain took up, a few blocks after the last at most."""
        chain_id = (await self._client.genesis()).chain_id
        status = await self._client.status()
        first = sequence = (await self._client.account(self._ref)).next_sequence  # above what is still on its way
        for _ in range(STEPS):
            transfers = [
                make_transaction(
                    self._key,
                    chain_id=chain_id,
                    sequence=sequence + offset,
                    expiry_height=status.height + 200,
                    kind="transfer",
                    payload=(self._receiver, 1),
                )
                for offset in range(PER_STEP)
            ]
            assert await self._client.submit(transfers) == [None] * PER_STEP
            sequence += PER_STEP
            await asyncio.sleep(STEP_S)
        last_height = (await self._client.status()).height + GRACE_BLOCKS
        async with asyncio.timeout(PATIENCE_S):
            while True:
                height = (await self._client.status()).height
                committed = (await self._client.account(self._ref)).sequence
                if committed == sequence or height >= last_height:
                    return committed - first
                await asyncio.sleep(STEP_S)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Two nodes that seal, and seats that are left to the floods."""
    params = [scale_params(ChainParams(name="jy1"), 4_800)]
    hosts = [*(Host(name=name) for name in SEALING), *(Host(name=name, chains=()) for name in FLOODERS)]
    home = tmp_path_factory.mktemp("floods") / "net"
    network = new_network(home, nodes=hosts, params=params, profile=load_packaged_profile())
    for node in network.nodes[: len(SEALING)]:
        start_node(network, node)
    yield network
    stop_network(network)


@pytest.mark.quiet
@pytest.mark.parametrize(
    ("seat", "message"), [*enumerate(FLOODS, len(SEALING))], ids=[type(message).__name__ for message in FLOODS]
)
async def test_a_flood_at_ten_times_the_limit_leaves_honest_commits_going(network, seat, message):
    player = next(item for item in network.players if item.key_file.startswith("keys/"))
    passphrase = load_passphrase(network.directory / player.passphrase_file)
    key = load_key(network.directory / player.key_file, passphrase)
    flooder = Flooder(network, seat, 0)
    async with Client(network.nodes[0].api_url, "jy1") as client:
        async with asyncio.timeout(PATIENCE_S):
            while not await is_under_way(client):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.1)
        payer = Payer(client, key, address_of(bytes.fromhex(network.nodes[0].key)))
        flood = asyncio.ensure_future(flooder.flood((message,) * MAX_BATCH_MESSAGES))
        async with asyncio.timeout(PATIENCE_S):
            while not flooder.answers:  # noqa: ASYNC110 - as they come
                await asyncio.sleep(STEP_S)
        kept = await payer.pay()
        assert not flood.done()
        flood.cancel()
        await asyncio.wait([flood])
    assert kept == STEPS * PER_STEP, flooder.answers
    refused = flooder.answers[429] + flooder.answers[403]  # for its rate, or banned for what it asked to be served
    assert refused > flooder.answers[204]


async def is_under_way(client):
    try:
        return (await client.status()).height >= 5
    except Unreachable:
        return False
