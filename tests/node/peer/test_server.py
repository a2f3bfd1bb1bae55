"""All that arrives at the peer port gets its named answer; the node stays up and its state stays the same.

Only n0 runs, and searches no seal. The test speaks for n1, with its key, and for strangers.
"""

import asyncio
import re

import aiohttp
import pytest

from gridmerit.commands.status import render
from ledger.codec import encode
from ledger.signatures import SigningKey
from node.api.client import Client
from node.chain.messages import (
    MAX_BATCH_BYTES,
    MAX_BATCH_MESSAGES,
    MAX_ITEMS,
    SESSION_BYTES,
    Contacts,
    GetHeaders,
    NewBlock,
    TransactionIds,
    message_to_bytes,
)
from node.peer import connections
from node.peer.wire_version import HEADER, OURS, WireVersion, check_version
from tests.support.local_network import PEER_HEAD
from tests.support.patience import PATIENCE_S

STRANGER = SigningKey(b"\x77" * 32)


class Speaker:
    """Posts to n0."""

    def __init__(self, local, runtime, session):
        self.local, self.runtime, self.session = local, runtime, session
        self.batches = local.batches(1)
        self.seal, self.seal_body = self.batches.seal, self.batches.seal_body
        self.chain_id = local.genesis.chain_id

    async def post(self, body, *, path=None, headers=PEER_HEAD):
        """Status and error code of the answer; what it says beyond that stays in `answer`."""
        url = f"http://127.0.0.1:{self.runtime.peer_port}{path or '/p2p/' + self.chain_id.hex()}"
        async with self.session.post(url, data=body, headers=headers) as answer:
            self.answer = {} if answer.status == 204 else await answer.json()
            return answer.status, self.answer.get("error")

    async def greet(self):
        """Learn the receiver's session, as every sender does once."""
        assert await self.post(self.seal()) == (409, "OutOfStep")
        self.batches.go_on(self.answer["values"])

    @property
    def standing(self):
        return self.runtime.peer_views()[0]


@pytest.fixture
async def speaker(make_local):
    local = make_local(2, seals=False, secure=False)
    async with local.running(0) as [runtime], aiohttp.ClientSession() as session:
        before = local.host(runtime).node.chain.head.state.root
        speaker = Speaker(local, runtime, session)
        await speaker.greet()
        yield speaker
        if speaker.standing.banned_until_ms is None:
            async with asyncio.timeout(PATIENCE_S):
                while (answer := await speaker.post(speaker.seal())) == (429, "RateLimited"):  # noqa: ASYNC110 - it must wait
                    await asyncio.sleep(0.05)
            assert answer == (204, None)
        assert local.host(runtime).node.chain.head.state.root == before


async def test_a_batch_is_accepted_and_an_empty_one_says_hello(speaker):
    assert await speaker.post(speaker.seal()) == (204, None)
    assert await speaker.post(speaker.seal(TransactionIds(ids=(bytes(32),)))) == (204, None)


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\x00", b"garbage" * 100, b"\x97\xc4\x20", b"\x91" * 5_000, b"\xdf\xff\xff\xff\xff" * 99, b"{}" * 30],
)
async def test_garbage_is_refused_and_held_against_nobody(speaker, garbage):
    assert await speaker.post(garbage) == (400, "WrongShape")
    assert speaker.standing.score == 0


async def test_garbage_in_the_name_of_a_peer_is_not_held_against_it(speaker):
    body = b"\x97\xc4\x20" + speaker.local.keys[1].public_key + b"\xff" * 500
    assert await speaker.post(body) == (400, "WrongShape")
    assert speaker.standing.score == 0


async def test_a_stranger_is_refused_though_its_signature_is_good(speaker):
    assert await speaker.post(speaker.seal(key=STRANGER)) == (403, "NotAPeer")


async def test_a_batch_with_a_false_signature_is_refused_and_held_against_nobody(speaker):
    body = bytearray(speaker.seal(GetHeaders(locator=(bytes(32),))))
    body[-1] ^= 1
    status, error = await speaker.post(bytes(body))
    assert (status, error) == (401, "InvalidSignature")
    assert speaker.standing.score == 0


async def test_a_batch_for_somebody_else_is_refused(speaker):
    assert await speaker.post(speaker.seal(receiver=STRANGER.public_key)) == (400, "NotForUs")


async def test_a_batch_of_another_chain_is_refused(speaker):
    assert await speaker.post(speaker.seal(chain_id=b"\x01" * 32)) == (401, "InvalidSignature")
    assert await speaker.post(speaker.seal(), path="/p2p/" + "01" * 32) == (404, "ChainNotHosted")
    assert await speaker.post(speaker.seal(), path="/p2p/xyz") == (404, "ChainNotHosted")


async def test_a_batch_sent_twice_is_refused_the_second_time_and_held_against_nobody(speaker):
    body = speaker.seal()
    assert await speaker.post(body) == (204, None)
    assert await speaker.post(body) == (409, "OutOfStep")
    assert speaker.standing.score == 0


async def test_a_large_batch_sent_twice_at_once_is_taken_once(speaker):
    """Both are opened beside the event loop, and neither has been taken when the other's number is looked at."""
    body = speaker.seal(*[TransactionIds(ids=(bytes(32),) * MAX_ITEMS)] * 200)
    answers = await asyncio.gather(speaker.post(body), speaker.post(body))
    assert sorted(answers, key=str) == [(204, None), (409, "OutOfStep")]


async def test_a_sender_that_has_started_anew_is_told_how_to_go_on(speaker):
    """Its clock does not matter: there is none in it."""
    assert await speaker.post(speaker.seal(number=77)) == (204, None)
    speaker.batches.session = bytes(SESSION_BYTES)
    await speaker.greet()
    assert speaker.batches.number == 77


async def test_what_was_overheard_is_good_for_nothing_once_the_receiver_has_started_anew(make_local):
    local = make_local(2, seals=False, secure=False)
    overheard = []
    for _ in range(2):
        async with local.running(0) as [runtime], aiohttp.ClientSession() as session:
            speaker = Speaker(local, runtime, session)
            assert [await speaker.post(body) for body in overheard] == [(409, "OutOfStep")] * len(overheard)
            assert speaker.standing.score == 0
            await speaker.greet()
            overheard += [speaker.seal(), speaker.seal(GetHeaders(locator=(bytes(32),)))]
            assert [await speaker.post(body) for body in overheard[-2:]] == [(204, None)] * 2
            assert [await speaker.post(body) for body in overheard] == [(409, "OutOfStep")] * len(overheard)
            assert speaker.standing.score == 0


async def test_a_batch_that_is_too_large_is_refused_unread(speaker):
    assert await speaker.post(bytes(MAX_BATCH_BYTES + 1)) == (413, "TooLarge")


async def test_a_batch_must_say_how_long_it_is(speaker):
    async def chunks():
        yield speaker.seal()

    assert await speaker.post(chunks()) == (411, "LengthUnknown")


async def test_a_compressed_body_is_refused_unread(speaker):
    for encoding in ("gzip", "deflate", "br"):
        headers = {**PEER_HEAD, "Content-Encoding": encoding}
        assert await speaker.post(bytes(1_000_000), headers=headers) == (415, "CompressedBody")


async def test_messages_that_break_the_rules_cost_their_signer_points(speaker):
    raw = speaker.seal(TransactionIds(ids=(b"too short",)))
    assert await speaker.post(raw) == (400, "WrongShape")
    assert 45 <= speaker.standing.score <= 50


async def test_unknown_messages_cost_their_signer_points(speaker):
    assert await speaker.post(speaker.seal_body(encode((b"\x63",)))) == (400, "UnknownMessage")
    assert 45 <= speaker.standing.score <= 50


async def test_too_many_messages_in_a_batch_cost_their_signer_points(speaker):
    hello = message_to_bytes(GetHeaders(locator=()))
    assert await speaker.post(speaker.seal_body(encode((hello,) * (MAX_BATCH_MESSAGES + 1)))) == (413, "TooLarge")
    assert 45 <= speaker.standing.score <= 50


async def test_a_fault_that_only_the_chain_can_see_costs_points_too(speaker):
    assert await speaker.post(speaker.seal(NewBlock(header=b"no header", ids=()))) == (204, None)
    await speaker.local.until(lambda: speaker.standing.score > 0)


async def test_a_peer_with_a_hundred_points_is_banned(speaker):
    while speaker.standing.banned_until_ms is None:
        assert await speaker.post(speaker.seal_body(encode((b"\x63",)))) == (400, "UnknownMessage")
    assert await speaker.post(speaker.seal()) == (403, "PeerBanned")
    assert speaker.standing.score == 100


async def test_a_peer_that_sends_faster_than_it_is_handled_is_told_to_wait(speaker):
    asks = [GetHeaders(locator=(bytes(32),))] * MAX_BATCH_MESSAGES
    bodies = [speaker.seal(*asks) for _ in range(40)]
    answers = [await speaker.post(body) for body in bodies]
    assert set(answers) <= {(204, None), (429, "RateLimited"), (503, "InboxFull")}
    assert (429, "RateLimited") in answers
    assert speaker.standing.score == 0


async def test_each_record_of_where_a_node_is_counts_as_a_message(speaker):
    assert await speaker.post(speaker.seal(*[Contacts(raw=(b"",) * MAX_ITEMS)] * 12)) == (204, None)
    assert await speaker.post(speaker.seal()) == (429, "RateLimited")


# --- versions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "1.9", "3.0", "2", "2.0.1", "02.0", "2.-1", "", "one", "2.0x", "9" * 100])
async def test_a_peer_of_another_major_version_is_refused_by_name_and_held_against_nobody(speaker, version):
    assert await speaker.post(speaker.seal(), headers={HEADER: version}) == (426, "OtherWireVersion")
    assert speaker.answer["values"]["expected"] == "2.1"
    assert speaker.standing.score == 0


async def test_a_request_that_names_no_version_is_of_the_first_and_refused(speaker):
    assert await speaker.post(speaker.seal(), headers={}) == (426, "OtherWireVersion")
    assert speaker.answer["values"] == {"actual": "1.0", "expected": "2.1"}
    assert speaker.standing.score == 0
    assert check_version("2.1") == OURS
    assert await speaker.post(speaker.seal(), headers={HEADER: "2.0"}) == (204, None)


async def test_of_a_later_minor_version_what_is_not_known_is_left_out(speaker):
    body = encode((b"\x63", message_to_bytes(TransactionIds(ids=(bytes(32),))), b"\x63new"))
    assert await speaker.post(speaker.seal_body(body), headers={HEADER: "2.7"}) == (204, None)
    assert speaker.standing.score == 0
    assert await speaker.post(speaker.seal_body(encode((b"",))), headers={HEADER: "2.7"}) == (400, "WrongShape")
    assert await speaker.post(speaker.seal_body(body), headers={HEADER: "2.0"}) == (400, "UnknownMessage")


async def test_two_nodes_of_different_major_versions_name_the_reason_to_their_owners(make_local, monkeypatch):
    """Both speak as the later version and hear as the earlier one, so each refuses the other."""
    monkeypatch.setattr(connections, "OURS", WireVersion(3, 0))
    local = make_local(2, seals=False)
    async with local.running(0, 1) as runtimes:
        await local.until(lambda: all(runtime.peer_views()[0].refusal for runtime in runtimes))
        views = [runtime.peer_views()[0] for runtime in runtimes]
    assert [(view.refusal, view.connected, view.score) for view in views] == [("OtherWireVersion", False, 0)] * 2
    assert "speaks version '3.0' of the protocol between peers, this node version 2.1" in views[0].refusal_detail


async def test_the_status_names_peers_of_another_version_and_says_what_to_do(make_local, monkeypatch):
    monkeypatch.setattr(connections, "OURS", WireVersion(3, 0))
    local = make_local(2, seals=False)
    async with local.running(0, 1) as [runtime, _]:
        await local.until(lambda: runtime.peer_views()[0].refusal)
        url = f"http://127.0.0.1:{runtime.api_port}"
        async with Client(url, "jy1") as client:
            text = render(await client.node_status(), url)
    refused, remedy = text.splitlines()[-2:]
    assert re.fullmatch(r"refused by n1 +the peer speaks version '3.0' .*, this node version 2.1", refused)
    assert re.fullmatch(r"try +the newest release, on the node that speaks the lower version .*", remedy)
