"""The client against a real API, and against servers that misbehave."""

import asyncio
import gc
import re
import socket
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gridmerit.commands.open_periods import find_last_settlement, find_last_trades
from gridmerit.main import run
from gridmerit.players.agents import Sender
from gridmerit.players.round_the_clock import _describe_settlement
from ledger.hashing import show_address
from node.api import client as client_module
from node.api.client import Client
from node.errors import (
    BadAnswer,
    InboxFull,
    RemoteFailed,
    RemoteNotFound,
    RemoteRejected,
    SlowSubscriber,
    TimedOut,
    Unreachable,
)
from node.proofs.documents import verify_document
from node.queries.answers import AccountInfo, BlockDetail, BlockSummary, ChainStatus, from_json, to_json
from node.system.clock import now_ms
from tests.support.keys import key_of

PERIOD = 4


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(client_module, "_RETRY_PAUSES_S", (0.0, 0.0))


@pytest.fixture
async def reader(story, make_runtime):
    """A client of the node with the finished story."""
    async with make_runtime(story[0]).serve() as url, Client(url, "jy1") as client:
        yield client


@pytest.fixture
def runtime(world, make_runtime):
    return make_runtime(world)


@pytest.fixture
async def client(runtime):
    """A client of the node of `world`."""
    async with runtime.serve() as url, Client(url, "jy1") as client:
        yield client


@asynccontextmanager
async def serving(answer):
    """A server that answers every request with what `answer(request)` gives."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# --- reading -------------------------------------------------------------------------------------------------


async def test_what_the_node_answers_arrives_typed(story, reader):
    world = story[0]
    status = await reader.status()
    assert isinstance(status, ChainStatus)
    assert (status.height, status.work) == (world.node.chain.head.height, world.node.chain.head.work)
    assert status.forks.reorgs == 0
    node = await reader.node_status()
    assert node.chains == (status,)
    assert node.peers[0]["name"] == "dispatch-1"
    assert await reader.genesis() == world.genesis


async def test_a_relay_is_fetched_from_one_chain_and_brought_to_another(neighbours, make_runtime):
    credit, heard = neighbours[1], []
    credit.on_publish.append(heard.append)
    async with (
        make_runtime(*neighbours).serve() as url,
        Client(url, "jy1") as source,
        Client(url, "lh1") as destination,
    ):
        assert (await destination.genesis()).params.name == "lh1"
        assert (await destination.status()).kind == "credit"
        for relay in await source.relays("lh1"):
            await destination.offer_relay(bytes.fromhex(relay.raw))
        with pytest.raises(RemoteRejected, match="another chain of this network: jy1"):
            await destination.relays("lh1")
        with pytest.raises(RemoteRejected) as caught:
            await destination.offer_relay(b"\xc1")
        assert caught.value.code == "NonCanonical"
    credit.run_until(1)
    assert ("relayed", "jy1", "delivered") in [event[:3] for event in heard]


async def test_blocks(story, reader):
    head = await reader.block()
    assert isinstance(head, BlockDetail)
    assert head == await reader.block(head.height) == await reader.block(head.hash)
    assert head.n_diff == story[0].node.chain.head.header.n_diff
    blocks = await reader.blocks(3, 5)
    assert [block.height for block in blocks] == [3, 4, 5]
    assert isinstance(blocks[0], BlockSummary)


async def test_members_and_credit(story, reader):
    account = await reader.account("homes-2")
    assert isinstance(account, AccountInfo)
    assert account == await reader.account(account.address) == await reader.account(bytes.fromhex(account.address[2:]))
    assert [member.name for member in await reader.members()][:2] == ["grid", "dispatch-1"]
    assert sum(row.share_ppm or 0 for row in await reader.credit()) == 1_000_000


async def test_the_market(reader):
    assert (await reader.periods()).periods[0].phase == "metering"
    assert (await reader.book(PERIOD)).bids == ()
    trades = await reader.trades(PERIOD)
    assert (trades.gate.status, trades.trades[0].buyer_name) == ("settled", "homes-2")
    assert (await reader.settlement(PERIOD)).trades[0].index == 0
    assert (await reader.certificate(PERIOD)).quorum == 3


async def test_proofs(story, reader):
    world, said = story
    documents = [
        await reader.proof_trade(PERIOD, 0),
        await reader.proof_account("pv-101", at_final=True),
        await reader.proof_transaction(said["bid"].id),
    ]
    verdicts = [verify_document(document, world.genesis) for document in documents]
    assert [verdict.kind for verdict in verdicts] == ["trade", "account", "transaction"]
    assert all(verdict.is_final for verdict in verdicts)
    assert not verify_document(await reader.proof_account("pv-101"), world.genesis).is_final


async def test_a_url_may_lack_its_scheme(story, make_runtime):
    async with make_runtime(story[0]).serve() as url, Client(url.removeprefix("http://") + "/", "jy1") as client:
        assert (await client.status()).chain == "jy1"


def test_answers_survive_their_trip_through_json(story):
    from node.queries.chain import ChainQueries

    ask = ChainQueries(story[0].node)
    for value in (ask.get_status(0), ask.get_block("11"), ask.get_account("homes-2"), ask.get_periods(story[0].now_ms)):
        again = from_json(type(value), to_json(value))
        assert to_json(again) == to_json(value)
        assert again == value or isinstance(value, BlockDetail)  # there payloads have turned into lists inside


async def test_the_last_period_with_trades_is_found_however_long_it_is_over(reader):
    periods = await reader.periods()
    assert periods.closed[-1:] == (PERIOD,)
    assert PERIOD not in {entry.period for entry in periods.periods}
    assert (await find_last_trades(reader)).period == PERIOD
    settlement = await find_last_settlement(reader)
    assert settlement.period == PERIOD
    assert re.fullmatch(r"2 trades settled, \d+\.\d+ yuan paid", _describe_settlement(settlement))


# --- mistakes ------------------------------------------------------------------------------------------------


async def test_what_is_not_there_is_not_found(reader):
    with pytest.raises(RemoteNotFound) as caught:
        await reader.account("nobody")
    assert (caught.value.code, caught.value.exit_code) == ("UnknownAccount", 5)
    assert str(caught.value) == "no member has the address or name 'nobody'"
    assert caught.value.values == {"ref": "nobody"}


async def test_a_chain_the_node_has_not(story, make_runtime):
    async with make_runtime(story[0]).serve() as url, Client(url, "lh1") as client:
        with pytest.raises(RemoteNotFound) as caught:
            await client.status()
        assert caught.value.code == "UnknownChainName"


async def test_a_request_that_is_refused(reader):
    with pytest.raises(RemoteRejected) as caught:
        await reader.blocks(0, 5_000)
    assert (caught.value.code, caught.value.exit_code) == ("BadRequest", 6)


async def test_nobody_listens():
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{placeholder.getsockname()[1]}"
        async with Client(url, "jy1") as client:
            with pytest.raises(Unreachable, match=f"no answer from {url}") as caught:
                await client.status()
            assert caught.value.exit_code == 4
            with pytest.raises(Unreachable):
                async for _ in client.events():
                    pass


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("http://127.0.0.1:99999", "that is no URL of an API, such as http://127.0.0.1:9200"),
        ("http://::1:9200", "an IPv6 address goes in brackets, http://[::1]:9200"),
        ("ftp://127.0.0.1", "that is no URL of an API, such as http://127.0.0.1:9200"),
    ],
)
async def test_what_cannot_be_reached_is_said_in_plain_words(url, detail):
    async with Client(url, "jy1") as client:
        with pytest.raises(Unreachable) as caught:
            await client.status()
    assert str(caught.value) == f"no answer from {url}: {detail}"


@pytest.mark.parametrize(
    ("reply", "detail"),
    [(b"SSH-2.0-OpenSSH\r\n\r\n", "what listens there does not speak HTTP"), (b"", "the connection broke off")],
)
async def test_what_answers_otherwise_is_said_in_plain_words(reply, detail):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Client(url, "jy1") as client:
            with pytest.raises(Unreachable, match=detail) as caught:
                await client.status()
    assert caught.value.values["cause"]


async def test_nobody_answers():
    async def hang(request):
        await asyncio.sleep(30)

    async with serving(hang) as url, Client(url, "jy1", timeout_s=0.05) as client:
        with pytest.raises(Unreachable, match="no answer in time"):
            await client.status()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>", 200),
        (b"{}", 200),
        (b'{"chain": 7}', 200),
        (b"[" * 1_000, 200),
        (b"\xff", 200),
        (b"moved", 302),
        (b"<h1>Not Found</h1>", 404),
        (b'{"error": "x"}', 500),
    ],
)
async def test_somebody_else_answers(body, status):
    async def answer(request):
        return web.Response(body=body, status=status)

    async with serving(answer) as url, Client(url, "jy1") as client:
        with pytest.raises(BadAnswer) as caught:
            await client.status()
        assert len(str(caught.value)) < 500


async def test_an_answer_without_end(monkeypatch):
    monkeypatch.setattr(client_module, "MAX_ANSWER_BYTES", 1_000)

    async def answer(request):
        return web.Response(body=b"x" * 2_000)

    async with serving(answer) as url, Client(url, "jy1") as client:
        with pytest.raises(BadAnswer, match="larger than 1000 bytes"):
            await client.status()


class Failing:
    """Answers the first `count` requests with an error, and then with nothing to remark."""

    def __init__(self, count, status, good):
        self.left, self.status, self.good, self.requests = count, status, good, 0

    async def answer(self, request):
        self.requests += 1
        if self.left:
            self.left -= 1
            fault = {"error": "NodeStopping", "message": "the node is stopping", "values": {}}
            return web.json_response(fault, status=self.status)
        return web.Response(body=self.good)


@pytest.mark.parametrize("status", [429, 503])
async def test_reads_are_tried_again(status):
    failing = Failing(2, status, b"[]")
    async with serving(failing.answer) as url, Client(url, "jy1") as client:
        assert await client.members() == ()
    assert failing.requests == 3


async def test_reads_are_not_tried_for_ever():
    failing = Failing(9, 503, b"[]")
    async with serving(failing.answer) as url, Client(url, "jy1") as client:
        with pytest.raises(RemoteFailed) as caught:
            await client.members()
    assert (caught.value.code, caught.value.exit_code) == ("NodeStopping", 4)
    assert failing.requests == 3


async def test_a_bug_of_the_node_is_not_asked_for_twice():
    failing = Failing(9, 500, b"[]")
    async with serving(failing.answer) as url, Client(url, "jy1") as client:
        with pytest.raises(RemoteFailed):
            await client.members()
    assert failing.requests == 1


async def test_writes_are_never_tried_again(world):
    failing = Failing(1, 503, b'{"outcomes": []}')
    async with serving(failing.answer) as url, Client(url, "jy1") as client:
        with pytest.raises(RemoteFailed):
            await client.submit([world.make("homes-2", "transfer", world.keys["grid"].address, 5)])
    assert failing.requests == 1


async def test_an_outcome_must_not_be_missing(world):
    failing = Failing(0, 200, b'{"outcomes": []}')
    async with serving(failing.answer) as url, Client(url, "jy1") as client:
        with pytest.raises(BadAnswer):
            await client.submit([world.make("homes-2", "transfer", world.keys["grid"].address, 5)])


# --- writing ---------------------------------------------------------------------------------------------------


@pytest.fixture
def homes(world):
    return key_of("homes-2")


async def test_outcomes_come_in_order(world, client):
    grid = world.keys["grid"].address
    transactions = [world.make("homes-2", "transfer", grid, 5), world.make("pv-101", "transfer", grid, 10**12)]
    good, poor = await client.submit(transactions)
    assert good is None
    assert isinstance(poor, RemoteRejected)
    assert (poor.code, poor.values["want_uyuan"]) == ("InsufficientBalance", str(10**12))
    (alone,) = await client.submit(transactions[1:])
    assert (alone.code, str(alone)) == (poor.code, "have 100.00 yuan, need 1,000,000.00 yuan")


async def test_send_signs_with_the_next_sequence(world, client, homes):
    grid = world.keys["grid"].address
    for sequence in range(3):
        identity = await client.send(homes, "transfer", (grid, 5))
        assert world.node.mempool.get(identity).sequence == sequence
    world.make_block()
    assert (await client.account("homes-2")).sequence == 3
    assert (await client.transaction(identity)).code == ""


async def test_sends_of_one_key_wait_for_each_other(world, client, homes):
    grid = world.keys["grid"].address
    identities = await asyncio.gather(*(client.send(homes, "transfer", (grid, amount)) for amount in range(1, 9)))
    assert sorted(world.node.mempool.get(identity).sequence for identity in identities) == list(range(8))


async def test_send_yields_to_whoever_took_its_sequence(world, runtime, client, homes):
    host, grid = runtime.chains["jy1"], world.keys["grid"].address
    submit, rivals = host.submit, [world.make("homes-2", "transfer", grid, 1)]

    async def submit_behind_a_rival(transactions):
        if rivals:
            assert await submit([rivals.pop()]) == (None,)
        return await submit(transactions)

    host.submit = submit_behind_a_rival
    identity = await client.send(homes, "transfer", (grid, 5))
    assert world.node.mempool.get(identity).sequence == 1


async def test_send_gives_up_on_a_rival_who_is_always_first(world, runtime, client, homes):
    host, grid = runtime.chains["jy1"], world.keys["grid"].address
    submit = host.submit

    async def submit_behind_a_rival(transactions):
        await submit([world.make("homes-2", "transfer", grid, 1)])
        return await submit(transactions)

    host.submit = submit_behind_a_rival
    with pytest.raises(RemoteRejected) as caught:
        await client.send(homes, "transfer", (grid, 5))
    assert caught.value.code == "SequenceTaken"
    assert len(world.node.mempool) == 5


async def test_send_raises_the_nodes_own_error(world, client, homes):
    with pytest.raises(RemoteRejected) as caught:
        await client.send(homes, "transfer", (world.keys["grid"].address, 10**12))
    assert (caught.value.code, caught.value.exit_code) == ("InsufficientBalance", 6)
    with pytest.raises(RemoteRejected) as caught:
        await client.send(homes, "oracle", ())
    assert caught.value.code == "UnknownKind"


async def test_send_by_a_stranger(world, client):
    with pytest.raises(RemoteNotFound) as caught:
        await client.send(key_of("stranger"), "transfer", (world.keys["grid"].address, 5))
    assert caught.value.values == {"ref": show_address(key_of("stranger").address)}


async def test_wait_for_a_depth(world, client, homes):
    identity = await client.send(homes, "transfer", (world.keys["grid"].address, 5))
    waiting = asyncio.gather(client.wait_for(identity, poll_s=0.001), client.wait_for(identity, depth=3, poll_s=0.001))
    for _ in range(3):
        await asyncio.sleep(0.01)
        world.make_block()
    first, third = await waiting
    assert (first.height, first.code) == (third.height, third.code) == (1, "")
    assert first.depth >= 1
    assert third.depth >= 3


async def test_wait_for_what_was_superseded(make_world, make_runtime):
    world = make_world(2)
    mine, theirs = world.supersede()
    async with make_runtime(world).serve() as url, Client(url, "jy1") as client:
        with pytest.raises(RemoteRejected) as caught:
            await client.wait_for(mine.id, timeout_s=10)
    assert (caught.value.code, caught.value.exit_code, caught.value.values["by"]) == ("Superseded", 6, theirs.id.hex())
    assert f"superseded by {theirs.id.hex()} in block 1" in str(caught.value)


async def test_the_command_says_by_which(make_world, make_runtime, capsys):
    world = make_world(2)
    mine, theirs = world.supersede()
    async with make_runtime(world).serve() as url:
        where = ["--api", url, "--chain", "jy1"]
        assert await asyncio.to_thread(run, ["tx", "show", mine.id.hex(), *where]) == 0
        assert f"superseded by {theirs.id.hex()} in block 1" in capsys.readouterr().out
        assert await asyncio.to_thread(run, ["tx", "wait", mine.id.hex(), *where]) == 6
        assert f"error[Superseded] transaction {mine.id.hex()} was acknowledged" in capsys.readouterr().err


async def test_the_commands_find_the_chain_of_a_transaction(neighbours, make_runtime, capsys, caplog):
    """On whichever of the node's chains it is; and say on which they looked where it is on none."""
    credit = neighbours[1]
    sent = credit.send("pv-101", "exit")
    credit.make_block()
    async with make_runtime(*neighbours).serve() as url:
        for command in ("show", "wait"):
            assert await asyncio.to_thread(run, ["tx", command, sent.id.hex(), "--api", url]) == 0
            assert capsys.readouterr().out.startswith("chain           lh1\n")
            assert await asyncio.to_thread(run, ["tx", command, "zz", "--api", url]) == 6
        capsys.readouterr()
        assert await asyncio.to_thread(run, ["tx", "show", "ab" * 32, "--api", url]) == 5
        assert "is neither on jy1, lh1 nor pending there" in capsys.readouterr().err
        assert await asyncio.to_thread(run, ["tx", "wait", "ab" * 32, "--timeout", "0.1", "--api", url]) == 8
    gc.collect()
    assert "never retrieved" not in caplog.text, "of the chains on which nothing was found"


async def test_wait_for_a_final_block(world, client, homes):
    identity = await client.send(homes, "transfer", (world.keys["grid"].address, 5))
    waiting = asyncio.ensure_future(client.wait_for(identity, final=True, poll_s=0.001))
    while not waiting.done():
        world.make_block()
        await asyncio.sleep(0.005)
    found = await waiting
    assert found.final
    assert world.node.chain.final_height >= found.height
    with pytest.raises(TimedOut, match="in a final block"):
        await client.wait_for(bytes(32), timeout_s=0.05, poll_s=0.01, final=True)


async def test_clients_of_two_nodes_that_share_a_numbering_do_not_collide(make_world, make_runtime, homes):
    one, other = make_world(1), make_world(1)  # two nodes that have not heard of each other's transactions yet
    payload = (one.keys["grid"].address, 5)
    async with make_runtime(one).serve() as url, make_runtime(other).serve() as other_url, Client(url, "jy1") as first:
        async with Client(other_url, "jy1", numbering=first.numbering) as second:
            for client in (first, second, second, first):
                await client.send(homes, "transfer", payload)
        assert [tx.sequence for tx in (*one.node.mempool, *other.node.mempool)] == [0, 3, 1, 2]
        async with Client(other_url, "jy1") as stranger:
            identity = await stranger.send(homes, "transfer", payload)
        assert other.node.mempool.get(identity).sequence == 0, "numbers of its own"


async def test_a_number_whose_transaction_came_to_nothing_is_used_again(world, client, homes):
    payload = (world.keys["grid"].address, 5)
    client.numbering.note(("jy1", homes.public_key), 0, 3)  # sent to a node that lost it
    assert world.node.mempool.get(await client.send(homes, "transfer", payload)).sequence == 1
    while world.node.chain.head.height < 3:
        world.make_block()
    assert world.node.mempool.get(await client.send(homes, "transfer", payload)).sequence == 0


# --- agents --------------------------------------------------------------------------------------------------------


async def test_a_sender_that_got_no_answer_does_not_sign_twice(world, runtime, make_runtime, homes):
    """The first node takes the transaction on, but its answer is lost; by the next try a block holds it."""
    host, backup = runtime.chains["jy1"], make_runtime(world)
    submit = host.submit

    async def take_and_fail(transactions):
        assert await submit(transactions) == (None,)
        world.make_block()
        raise InboxFull(waiting=1, what="transactions")

    host.submit = take_and_fail
    async with runtime.serve() as url, backup.serve() as other, Client(url, "jy1") as one, Client(other, "jy1") as two:
        sender = Sender(homes, [one, two], world.genesis.chain_id)
        payload = (world.keys["grid"].address, 5)
        sent = await sender.send("transfer", payload, until_ms=now_ms() + 10_000)
        assert world.node.chain.find_transaction(sent.id) is not None
        assert not len(world.node.mempool)
        following = await sender.send("transfer", payload, until_ms=now_ms() + 10_000)
        assert (sent.sequence, following.sequence) == (0, 1)


async def test_wait_for_what_never_comes(client):
    with pytest.raises(TimedOut) as caught:
        await client.wait_for(bytes(32), timeout_s=0.05, poll_s=0.01)
    assert caught.value.exit_code == 8
    assert f"inclusion of transaction {'00' * 32} at depth 1 did not happen within 0.05 s" in str(caught.value)


# --- events ------------------------------------------------------------------------------------------------------


async def test_events_until_the_node_stops(world, runtime, client):
    heard = []
    async for event in client.events():
        heard.append(event)
        if event["event"] == "subscribed":
            world.make_block()
        if event["event"] == "head":
            runtime.chains["jy1"].close()
    assert [event["event"] for event in heard] == ["subscribed", "head", "closed"]


async def test_events_of_a_chain_the_node_has_not(runtime):
    async with runtime.serve() as url, Client(url, "lh1") as client:
        with pytest.raises(RemoteNotFound):
            async for _ in client.events():
                pass


async def test_empty_lines_say_nothing_and_junk_is_named():
    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'\n{"event": "subscribed"}\n\n\nnonsense\n')
        return response

    async with serving(answer) as url, Client(url, "jy1") as client:
        events = client.events()
        assert await anext(events) == {"event": "subscribed"}
        with pytest.raises(BadAnswer):
            await anext(events)


async def test_a_broken_stream_is_told():
    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"event": "subscribed"}\n')
        request.transport.abort()
        return response

    async with serving(answer) as url, Client(url, "jy1") as client:
        with pytest.raises(Unreachable):
            async for _ in client.events():
                pass


async def test_a_reader_that_was_dropped_is_told_so(world, make_runtime):
    runtime = make_runtime(world, event_backlog_bytes=1_000)
    async with runtime.serve() as url, Client(url, "jy1") as client:
        events = client.events()
        assert (await anext(events))["event"] == "subscribed"
        published = []
        world.on_publish.append(published.append)
        for _ in range(10):
            world.make_block()
        with pytest.raises(SlowSubscriber, match="events are lost to this reader") as caught:
            await anext(events)
        assert caught.value.values == {"missed": len(published)}


async def test_a_stream_that_ends_without_a_last_word_was_cut_off():
    async def answer(request):
        return web.Response(body=b'{"event": "subscribed"}\n')

    async with serving(answer) as url, Client(url, "jy1") as client:
        events = client.events()
        assert await anext(events) == {"event": "subscribed"}
        with pytest.raises(Unreachable, match="cut off"):
            await anext(events)
