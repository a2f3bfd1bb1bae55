"""The JSON API over real sockets: what it answers, and what it says of every kind of mistake."""

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from consensus.relays import Relay
from ledger.codec import decode, encode
from ledger.errors import GridmeritError, Malformed, StoreFailed
from node.api.server import RateLimiter, build_api, get_http_status
from node.config import NetworkDocument
from node.driver.outages import make_outage
from node.errors import InboxFull, NodeStopping, NotFound, RateLimited
from node.proofs.documents import verify_document
from tests.support.patience import PATIENCE_S

PERIOD = 4


@asynccontextmanager
async def serving(make_runtime, *worlds, **limits):
    """A function that asks the node which serves these worlds."""
    async with make_runtime(*worlds, **limits).serve() as url, aiohttp.ClientSession(url) as session:

        async def ask(path, *, method="GET", status=200, **options):
            async with session.request(method, path, **options) as response:
                assert response.content_type == "application/json", await response.text()
                raw = await response.read()
                assert response.status == status, raw
                return json.loads(raw)

        ask.session = session
        yield ask


@pytest.fixture
async def ask(story, make_runtime):
    """Asks the node with the finished story."""
    async with serving(make_runtime, story[0]) as ask:
        yield ask


@pytest.fixture
async def ask_young(world, make_runtime):
    """Asks the node of `world`."""
    async with serving(make_runtime, world) as ask:
        yield ask


# --- answers -------------------------------------------------------------------------------------------------


async def test_the_node_says_who_it_is(story, ask):
    status = await ask("/v1/status")
    assert status["member"] == "grid"
    assert status["address"] == "0x" + story[0].keys["grid"].address.hex()
    assert status["uptime_ms"] == story[0].now_ms - story[0].genesis.time_ms
    assert [chain["chain"] for chain in status["chains"]] == ["jy1"]
    assert status["peers"][0]["name"] == "dispatch-1"
    assert len(status["peers"][0]["key"]) == 64
    assert status["sealing"] == {"native": False, "path": "hashlib", "rate_per_s": 1_000}


async def test_numbers_are_numbers_and_big_ones_hexadecimal(story, ask):
    status = await ask("/v1/jy1/status")
    head = story[0].node.chain.head
    assert status["height"] == head.height
    assert status["work"] == hex(head.work)
    assert status["head"] == head.hash.hex()
    block = await ask("/v1/jy1/block/head")
    assert block["n_diff"] == hex(head.header.n_diff)


async def test_the_genesis_document_makes_the_chain(story, ask):
    document = NetworkDocument.model_validate_json(json.dumps(await ask("/v1/jy1/genesis")))
    assert document.open("jy1") == story[0].genesis


@pytest.mark.parametrize(
    ("path", "check"),
    [
        ("block/0", lambda block: block["height"] == 0 and block["final"]),
        ("account/homes-2", lambda account: account["credit_upt"] == 100_000_000),
        ("members", lambda members: len(members) == 8),
        ("credit", lambda rows: sum(row["share_ppm"] or 0 for row in rows) == 1_000_000),
        ("certificate/4", lambda certificate: certificate["quorum"] == 3),
        ("market/periods", lambda answer: answer["periods"][0]["phase"] == "metering"),
        ("market/book?period=4", lambda book: book["bids"] == []),
        ("market/trades?period=4", lambda answer: answer["trades"][0]["volume_wh"] == 10_000),
        ("market/settlement?period=4", lambda answer: len(answer["trades"]) == 2),
    ],
)
async def test_every_question_has_an_answer(ask, path, check):
    assert check(await ask(f"/v1/jy1/{path}"))


async def test_blocks_in_a_range(story, ask):
    height = story[0].node.chain.head.height
    blocks = await ask("/v1/jy1/blocks", params={"from": 5, "to": 7})
    assert [block["height"] for block in blocks] == [5, 6, 7]
    blocks = await ask("/v1/jy1/blocks", params={"from": 0, "to": height + 100})
    assert [block["height"] for block in blocks] == list(range(height + 1))
    assert await ask("/v1/jy1/blocks?from=5000&to=5001") == []


async def test_a_transaction_is_found_by_its_id(story, ask):
    identity = story[1]["refused"].id.hex()
    found = await ask(f"/v1/jy1/tx/{identity}")
    assert (found["status"], found["code"], found["final"]) == ("included", "InsufficientBalance", True)


async def test_proofs_hold_offline(story, ask):
    world, said = story
    paths = [
        "proof/account/homes-2",
        "proof/account/homes-2?at=final",
        "proof/account/0x" + "00" * 20,
        "proof/trade/4/0",
        f"proof/tx/{said['bid'].id.hex()}",
    ]
    verdicts = [verify_document(await ask(f"/v1/jy1/{path}"), world.genesis) for path in paths]
    assert [verdict.is_final for verdict in verdicts] == [False, True, False, True, True]


async def test_several_chains_under_their_names(make_world, make_runtime):
    async with serving(make_runtime, make_world(1), make_world(1, "lh1")) as ask:
        assert [chain["chain"] for chain in (await ask("/v1/status"))["chains"]] == ["jy1", "lh1"]
        ids = {(await ask(f"/v1/{chain}/status"))["chain_id"] for chain in ("jy1", "lh1")}
        assert len(ids) == 2


async def test_answers_are_compact_uncached_and_not_for_other_origins(ask):
    async with ask.session.get("/v1/jy1/status", headers={"Origin": "https://elsewhere.example"}) as response:
        assert b": " not in await response.read()
        assert response.headers["Cache-Control"] == "no-store"
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


# --- between chains ------------------------------------------------------------------------------------------


@pytest.fixture
async def ask_neighbours(neighbours, make_runtime):
    async with serving(make_runtime, *neighbours) as ask:
        yield ask


async def test_anybody_may_carry_a_relay_from_one_chain_to_another(neighbours, ask_neighbours):
    credit, heard = neighbours[1], []
    credit.on_publish.append(heard.append)
    [relay] = (await ask_neighbours("/v1/jy1/relays?to=lh1"))["relays"]
    assert (relay["kind"], relay["number"], relay["part"]) == ("delivered", PERIOD, 0)
    for period in (1, 2):  # twice does nothing more
        body = bytes.fromhex(relay["raw"])
        assert await ask_neighbours("/v1/lh1/relay", method="POST", data=body, status=202) == {"accepted": True}
        credit.run_until(period)
    relayed = [event[1:4] for event in heard if event[0] == "relayed"]
    assert relayed == [("jy1", "delivered", PERIOD)]
    assert (await ask_neighbours("/v1/lh1/account/homes-2"))["score_count"] == 2


async def test_a_chain_without_siblings_has_nothing_to_relay(ask):
    fault = await ask("/v1/jy1/relays?to=lh1", status=400)
    assert (fault["error"], fault["values"]["want"]) == ("BadRequest", "nothing: this network has one chain")


@pytest.mark.parametrize("query", ["", "?to=", "?to=jy1", "?to=du1", "?to=" + "x" * 500])
async def test_relays_go_to_another_chain_of_the_network(ask_neighbours, query):
    fault = await ask_neighbours(f"/v1/jy1/relays{query}", status=400)
    assert (fault["error"], fault["values"]["want"]) == ("BadRequest", "another chain of this network: lh1")


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "NonCanonical"),
        (b"\xc1", 400, "NonCanonical"),
        (encode((1, 2)) + b"x", 400, "NonCanonical"),
        (encode(b"x" * 20_000), 413, "TooLarge"),
        (b"x" * 3_000_000, 413, "TooLarge"),
    ],
)
async def test_what_is_no_relay_is_refused_at_the_door(ask_neighbours, body, status, error):
    fault = await ask_neighbours("/v1/jy1/relay", method="POST", data=body, status=status)
    assert fault["error"] == error


async def test_a_forged_relay_changes_nothing(neighbours, ask_neighbours):
    credit, heard = neighbours[1], []
    credit.on_publish.append(heard.append)
    [relay] = (await ask_neighbours("/v1/jy1/relays?to=lh1"))["relays"]
    genuine = Relay.from_value(decode(bytes.fromhex(relay["raw"]), max_bytes=100_000))
    for body in (replace(genuine, number=PERIOD + 1).to_bytes(), encode(("no", "relay"))):
        await ask_neighbours("/v1/lh1/relay", method="POST", data=body, status=202)
    credit.run_until(1)
    assert not [event for event in heard if event[0] == "relayed"]


async def test_relays_that_cannot_wait_are_told_to_come_again(neighbours, make_runtime):
    runtime = make_runtime(*neighbours)

    def offer_relay(raw):
        raise InboxFull(waiting=256, what="relays")

    runtime.chains["jy1"].offer_relay = offer_relay
    async with (
        runtime.serve() as url,
        aiohttp.ClientSession(url) as session,
        session.post("/v1/jy1/relay", data=encode((1,))) as response,
    ):
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert (await response.json())["error"] == "InboxFull"


# --- submitting ----------------------------------------------------------------------------------------------


def pack(*transactions):
    return encode([transaction.raw for transaction in transactions])


async def test_each_submitted_transaction_has_its_outcome(world, ask_young):
    good = world.make("homes-2", "transfer", world.keys["grid"].address, 5)
    poor = world.make("pv-101", "transfer", world.keys["grid"].address, 10**12)
    answer = await ask_young("/v1/jy1/tx", method="POST", data=pack(good, poor), status=207)
    assert answer["outcomes"][0] == {"id": good.id.hex(), "status": 200, "error": None}
    assert answer["outcomes"][1] == {
        "id": poor.id.hex(),
        "status": 422,
        "error": {
            "error": "InsufficientBalance",
            "message": "have 100.00 yuan, need 1,000,000.00 yuan",
            "values": {"have_uyuan": "100000000", "want_uyuan": "1000000000000"},
        },
    }
    assert (await ask_young(f"/v1/jy1/tx/{good.id.hex()}"))["status"] == "pending"


async def test_the_status_of_a_single_transaction_is_that_of_its_error(world, ask_young):
    grid = world.keys["grid"].address
    poor, first = world.make("pv-101", "transfer", grid, 10**12), world.make("homes-2", "transfer", grid, 5)
    world.sequences["homes-2"] -= 1
    rival = world.make("homes-2", "transfer", grid, 6)
    cases = ((poor, 422, "InsufficientBalance"), (first, 200, None), (rival, 409, "SequenceTaken"))
    for transaction, status, code in cases:
        answer = await ask_young("/v1/jy1/tx", method="POST", data=pack(transaction), status=status)
        (outcome,) = answer["outcomes"]
        assert (outcome["id"], outcome["status"]) == (transaction.id.hex(), status)
        assert (outcome["error"] or {}).get("error") == code


async def test_of_many_all_refused_each_has_a_status_of_its_own(world, ask_young):
    poor = world.make("pv-101", "transfer", world.keys["grid"].address, 10**12)
    answer = await ask_young("/v1/jy1/tx", method="POST", data=pack(poor, poor), status=207)
    assert [outcome["status"] for outcome in answer["outcomes"]] == [422, 422]


async def test_submitting_twice_is_fine(world, ask_young):
    transaction = world.make("homes-2", "transfer", world.keys["grid"].address, 5)
    for _ in range(2):
        answer = await ask_young("/v1/jy1/tx", method="POST", data=pack(transaction))
        assert answer["outcomes"] == [{"id": transaction.id.hex(), "status": 200, "error": None}]


async def test_submitting_nothing(ask_young):
    assert await ask_young("/v1/jy1/tx", method="POST", data=pack()) == {"outcomes": []}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "NonCanonical"),
        (b"{}", "NonCanonical"),
        (b"\x80", "NonCanonical"),
        (encode(7), "WrongShape"),
        (encode([7]), "WrongShape"),
        (encode([b"junk"]), "NonCanonical"),
        (encode([encode((1, 2))]), "WrongShape"),
        (b"\xdc\x00\x00", "NonCanonical"),
        (b"\x91" * 20 + b"\x00", "TooDeep"),
    ],
)
async def test_a_body_that_means_nothing(ask_young, body, code):
    answer = await ask_young("/v1/jy1/tx", method="POST", data=body, status=400)
    assert answer["error"] == code


async def test_too_much_at_once(world, make_runtime):
    async with serving(make_runtime, world, api_body_bytes=10_000) as ask:
        transaction = world.make("homes-2", "transfer", world.keys["grid"].address, 5)
        too_many_bytes = encode([b"x" * 10_000])
        too_many = encode([b""] * 1_025)
        for body in (too_many_bytes, too_many):
            answer = await ask("/v1/jy1/tx", method="POST", data=body, status=413)
            assert answer["error"] == "TooLarge"
        assert (await ask("/v1/jy1/tx", method="POST", data=pack(transaction)))["outcomes"][0]["error"] is None


async def test_items_are_counted_before_they_are_read(ask_young):
    """One is junk: had it been looked at, it would have been named instead."""
    for junk in (encode([0] * 100_000), b"\xdd\x00\x01\x00\x00" + b"\xc1" * 65_536, encode([[0] * 900] * 100)):
        answer = await ask_young("/v1/jy1/tx", method="POST", data=junk, status=413)
        assert answer["values"] == {"what": "transactions", "actual": "over 1024", "limit": "1024"}


async def test_a_transaction_larger_than_the_chain_allows(world, ask_young):
    too_long = encode([b"x" * (world.genesis.params.ledger.max_transaction_bytes + 1)])
    answer = await ask_young("/v1/jy1/tx", method="POST", data=too_long, status=413)
    assert answer["values"]["what"] == "transaction"


async def test_too_much_without_saying_how_much(world, make_runtime):
    async def endless():
        for _ in range(100):
            yield b"x" * 1_000

    async with serving(make_runtime, world, api_body_bytes=10_000) as ask:
        answer = await ask("/v1/jy1/tx", method="POST", data=endless(), status=413)
        assert answer["error"] == "TooLarge"


async def test_a_node_that_stops_says_so(world, make_runtime):
    runtime = make_runtime(world)

    async def refuse(transactions):
        raise NodeStopping

    runtime.chains["jy1"].submit = refuse
    async with (
        runtime.serve() as url,
        aiohttp.ClientSession(url) as session,
        session.post("/v1/jy1/tx", data=pack()) as response,
    ):
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert (await response.json())["error"] == "NodeStopping"


# --- mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/", 404, "UnknownPath"),
        ("/v1", 404, "UnknownPath"),
        ("/v1/jy1/nonsense", 404, "UnknownPath"),
        ("/v1/jy1/status/", 404, "UnknownPath"),
        ("/v1/lh1/status", 404, "UnknownChainName"),
        ("/v1/jy1/block/9999", 404, "UnknownBlock"),
        ("/v1/jy1/block/tail", 400, "BadRequest"),
        ("/v1/jy1/block/" + "ab" * 32, 404, "UnknownBlock"),
        ("/v1/jy1/blocks", 400, "BadRequest"),
        ("/v1/jy1/blocks?from=1", 400, "BadRequest"),
        ("/v1/jy1/blocks?from=2&to=1", 400, "BadRequest"),
        ("/v1/jy1/blocks?from=0&to=1000", 400, "BadRequest"),
        ("/v1/jy1/blocks?from=-1&to=1", 400, "BadRequest"),
        ("/v1/jy1/blocks?from=0&to=" + "9" * 40, 400, "BadRequest"),
        ("/v1/jy1/tx/" + "00" * 32, 404, "UnknownTransaction"),
        ("/v1/jy1/tx/00", 400, "BadRequest"),
        ("/v1/jy1/account/nobody", 404, "UnknownAccount"),
        ("/v1/jy1/account/0x12", 400, "BadRequest"),
        ("/v1/jy1/certificate/99", 404, "NoCertificate"),
        ("/v1/jy1/certificate/x", 400, "BadRequest"),
        ("/v1/jy1/market/book", 400, "BadRequest"),
        ("/v1/jy1/market/book?period=1e3", 400, "BadRequest"),
        ("/v1/jy1/market/trades?period=5", 404, "NoTrades"),
        ("/v1/jy1/market/settlement?period=5", 404, "NoSettlement"),
        ("/v1/jy1/proof/account/nobody", 404, "UnknownAccount"),
        ("/v1/jy1/proof/account/0x12", 400, "WrongShape"),
        ("/v1/jy1/proof/account/homes-2?at=noon", 400, "BadRequest"),
        ("/v1/jy1/proof/trade/4/9", 404, "UnknownTrade"),
        ("/v1/jy1/proof/trade/4/x", 400, "BadRequest"),
        ("/v1/jy1/proof/trade/999999999999999999/0", 404, "UnknownTrade"),
        ("/v1/jy1/proof/tx/" + "00" * 32, 404, "UnknownTransaction"),
    ],
)
async def test_a_mistake_is_named(ask, path, status, code):
    answer = await ask(path, status=status)
    assert set(answer) == {"error", "message", "values"}
    assert answer["error"] == code
    assert answer["message"]
    assert "\n" not in answer["message"]


async def test_a_mistake_carries_its_values(ask):
    answer = await ask("/v1/lh1/status", status=404)
    assert answer["values"] == {"name": "lh1", "known": "jy1"}
    answer = await ask("/v1/jy1/blocks?from=x&to=1", status=400)
    assert answer["message"] == "from: have 'x', want a natural number"


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/jy1/status"), ("GET", "/v1/jy1/tx"), ("DELETE", "/v1/status")]
)
async def test_a_method_that_a_path_does_not_answer(ask, method, path):
    answer = await ask(path, method=method, status=405)
    assert answer["error"] == "WrongMethod"


async def test_long_nonsense_is_not_repeated_at_length(ask):
    for path in ("/v1/jy1/block/" + "z" * 3_000, "/v1/" + "z" * 3_000 + "/status", "/" + "z" * 3_000):
        async with ask.session.get(path) as response:
            assert len(await response.read()) < 1_000


async def test_a_bug_costs_one_answer_not_the_node(story, make_runtime, caplog, monkeypatch):
    runtime = make_runtime(story[0])
    async with runtime.serve() as url, aiohttp.ClientSession(url) as session:
        monkeypatch.setattr(type(runtime), "peer_views", lambda self: 1 / 0)
        with caplog.at_level(logging.ERROR, logger="gridmerit"):
            async with session.get("/v1/status") as response:
                assert response.status == 500
                answer = await response.json()
        assert answer["error"] == "InternalError"
        assert "ZeroDivisionError" not in json.dumps(answer)
        assert "ZeroDivisionError" in caplog.text
        async with session.get("/v1/jy1/status") as response:
            assert response.status == 200


def test_nothing_can_be_changed_but_by_what_is_its_own_proof(story, make_runtime):
    """No verb of an operator's is on any network: whoever runs a node has signals and files."""
    routes = build_api(make_runtime(story[0])).router.routes()
    writes = {(route.method, route.resource.canonical) for route in routes if route.method not in ("GET", "HEAD")}
    assert writes == {("POST", "/v1/{chain}/tx"), ("POST", "/v1/{chain}/relay")}


async def test_requests_are_rationed(story, make_runtime):
    runtime = make_runtime(story[0], api_requests_per_s=1, api_burst=3)
    async with runtime.serve() as url, aiohttp.ClientSession(url) as session:
        statuses = []
        for _ in range(5):  # the clock is the world's and stands still
            async with session.get("/v1/jy1/status") as response:
                statuses.append(response.status)
                answer = await response.json()
        assert statuses == [200, 200, 200, 429, 429]
        assert (answer["error"], answer["values"]) == ("RateLimited", {"what": "requests", "limit": "1"})


def test_rations_refill_with_time_and_are_each_clients_own():
    now_ms = 0
    limiter = RateLimiter(per_s=2, burst=2, clock=lambda: now_ms)
    for client in ("a", "b"):
        limiter.check(client)
        limiter.check(client)
        with pytest.raises(RateLimited):
            limiter.check(client)
    now_ms = 500
    limiter.check("a")
    with pytest.raises(RateLimited):
        limiter.check("a")


def test_the_limiter_forgets_the_oldest_clients():
    limiter = RateLimiter(per_s=1, burst=1, clock=lambda: 0)
    limiter.check("first")
    for number in range(5_000):
        limiter.check(str(number))
    limiter.check("first")
    with pytest.raises(RateLimited):
        limiter.check("4999")


def leaves(family):
    children = family.__subclasses__()
    return [family] if not children else [leaf for child in children for leaf in leaves(child)]


def test_every_error_has_a_fitting_status():
    found = {}
    for leaf in leaves(GridmeritError):
        error = leaf.__new__(leaf)
        found[leaf.__name__] = get_http_status(error)
    assert found["SequenceTooLow"] == found["SequenceTaken"] == found["AlreadyKnown"] == 409
    assert found["OverQuota"] == found["InsufficientBalance"] == found["InvalidSignature"] == 422
    assert found["TooLarge"] == 413
    assert found["RateLimited"] == 429
    assert found["InboxFull"] == found["PoolFull"] == found["TooManySubscribers"] == 503
    assert found["StoreReadOnly"] == found["StoreCorrupt"] == 503
    assert {found[leaf.__name__] for leaf in leaves(NotFound)} == {404}
    assert {found[leaf.__name__] for leaf in leaves(Malformed)} <= {400, 413}


# --- events ------------------------------------------------------------------------------------------------------


async def read_line(response):
    """The next line that says something."""
    async with asyncio.timeout(PATIENCE_S):
        while not (line := (await response.content.readline()).strip()):
            pass
    return json.loads(line)


async def test_events_arrive_as_they_happen(world, make_runtime):
    async with serving(make_runtime, world) as ask, ask.session.get("/v1/jy1/events") as response:
        assert response.content_type == "application/x-ndjson"
        assert await read_line(response) == {"event": "subscribed", "chain": "jy1"}
        world.send("homes-2", "transfer", world.keys["grid"].address, 5)
        world.make_block()
        transfer, head = await read_line(response), await read_line(response)
        assert (transfer["event"], transfer["amount_uyuan"]) == ("transfer", "5")
        assert head["event"] == "head"
        assert (head["height"], head["hash"]) == (1, world.node.chain.head.hash.hex())
        assert next(iter(head)) == "event"


async def test_a_slow_reader_is_told_what_it_missed_and_dropped(world, make_runtime):
    runtime = make_runtime(world, event_backlog_bytes=1_000)
    async with runtime.serve() as url, aiohttp.ClientSession(url) as session:
        async with session.get("/v1/jy1/events") as response:
            assert (await read_line(response))["event"] == "subscribed"
            published = []
            world.on_publish.append(published.append)
            for _ in range(10):  # all between two turns of the event loop
                world.make_block()
            last = await read_line(response)
            assert (last["event"], last["missed"]) == ("dropped", len(published))
            assert f"{len(published)} events are lost" in last["message"]
            assert await response.content.read() == b""
        async with session.get("/v1/jy1/events") as response:
            assert (await read_line(response))["event"] == "subscribed"


async def test_so_many_may_listen_and_no_more(world, make_runtime):
    async with (
        serving(make_runtime, world, api_subscribers=1) as ask,
        ask.session.get("/v1/jy1/events") as response,
    ):
        assert (await read_line(response))["event"] == "subscribed"
        answer = await ask("/v1/jy1/events", status=503)
        assert answer["error"] == "TooManySubscribers"


async def test_who_leaves_makes_room(world, make_runtime):
    async with serving(make_runtime, world, api_subscribers=1) as ask:
        async with ask.session.get("/v1/jy1/events") as response:
            assert (await read_line(response))["event"] == "subscribed"
            response.close()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                world.make_block()  # the broken connection shows when the next event is written
                await asyncio.sleep(0.01)
                async with ask.session.get("/v1/jy1/events") as response:
                    if response.status == 200:
                        break


async def test_the_stream_ends_with_the_node(world, make_runtime):
    runtime = make_runtime(world)
    async with runtime.serve() as url, aiohttp.ClientSession(url) as session, session.get("/v1/jy1/events") as response:
        assert (await read_line(response))["event"] == "subscribed"
        runtime.chains["jy1"].close()
        assert await read_line(response) == {"event": "closed"}
        assert await response.content.read() == b""


async def test_nobody_reads_a_chain_whose_store_failed_while_they_waited(world, make_runtime):
    runtime = make_runtime(world)

    async def fail(question):
        error = StoreFailed(detail="no space left")
        runtime.outages["jy1"] = make_outage(world.genesis, Path("somewhere"), error, 0)
        raise NodeStopping

    runtime.chains["jy1"].ask = fail
    async with runtime.serve() as url, aiohttp.ClientSession() as session:
        for path in ("status", "blocks?from=0&to=0", "proof/account/grid"):
            runtime.outages.clear()
            async with session.get(f"{url}/v1/jy1/{path}") as response:
                assert (response.status, (await response.json())["error"]) == (503, "ChainOut")
