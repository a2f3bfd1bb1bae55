"""Nothing that arrives keeps the event loop for more than 100 ms: CPU time of its thread, so that others' load is none.

n0 runs with 600 blocks of its own, and the test speaks for n1. Whatever is sent is made and sent in other threads.
"""

import asyncio
import json
import logging
from http.client import HTTPConnection
from time import thread_time

import pytest

from consensus.seal import search
from ledger.store import LevelStore
from node.chain.events import Persist, PersistSigningRecord, SealFound, Started, StartSealing, TimerFired
from node.chain.messages import MAX_BATCH_MESSAGES, MAX_ITEMS, GetHeaders, GetTransactions, Status, TransactionIds
from node.chain.node import ChainNode
from node.chain.progress import RESEAL
from node.driver.signing_file import SigningFile
from tests.support.local_network import PEER_HEAD
from tests.support.patience import PATIENCE_S

BLOCKS = 600
STEP_MS = 1_000
LONGEST_S = 0.1
BATCHES = 5


def write_blocks(local):
    """Give n0 a chain, as it would have come to be in virtual time."""
    directory = local.configs[0].data_dir / "jy1"
    directory.mkdir(parents=True)
    guard_file, store = SigningFile(directory, local.genesis.chain_id), LevelStore(directory / "ledger")
    record = guard_file.load(ledger_exists=False)
    node = ChainNode(local.genesis, store, key=local.keys[0], signing_record=record, is_sure=True)
    now = local.genesis.time_ms

    def step(event):
        nonlocal record
        found = None
        for action in node.step(event, now):
            match action:
                case Persist(changes=changes):
                    store.write(changes, sync=False)
                case PersistSigningRecord():
                    record = action.record
                case StartSealing():
                    found = action
        return found

    step(Started())
    while node.chain.head.height < BLOCKS:
        now += STEP_MS
        job = step(TimerFired(name=RESEAL))
        step(SealFound(job=job.job, nonce=search(job.root, job.target, count=10**9)))
    guard_file.save(record)
    guard_file.close()
    store.close()


@pytest.fixture
async def local(make_local):
    local = make_local(2, seals=False, secure=False, age_ms=(BLOCKS + 60) * STEP_MS)
    await asyncio.to_thread(write_blocks, local)
    return local


class LoopWatch:
    """Spins in the event loop; `longest_s` is the most CPU time that all else took between two of its turns."""

    def __init__(self):
        self.longest_s = 0.0

    async def run(self):
        last = thread_time()
        while True:
            await asyncio.sleep(0)
            now = thread_time()
            self.longest_s = max(self.longest_s, now - last)
            last = now


class Speaker:
    """Speaks for n1 to n0, in other threads."""

    def __init__(self, local, runtime):
        self._local, self._runtime = local, runtime
        self._batches = local.batches(1)
        self.seal, self.seal_body = self._batches.seal, self._batches.seal_body

    async def greet(self):
        """Learn the receiver's session, as every sender does once."""
        status, answer = await self._post(self.seal())
        assert status == 409
        self._batches.go_on(json.loads(answer)["values"])

    async def post(self, body):
        """The status of the answer."""
        return (await self._post(body))[0]

    async def get(self, path):
        return (await asyncio.to_thread(request, self._runtime.api_port, "GET", path, None))[0]

    async def _post(self, body):
        path = f"/p2p/{self._local.genesis.chain_id.hex()}"
        return await asyncio.to_thread(request, self._runtime.peer_port, "POST", path, body)


def request(port, method, path, body):
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, headers=PEER_HEAD)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("kind", ["headers", "transactions"])
async def test_an_observer_that_asks_for_much_keeps_nobody_waiting_and_is_scored(local, caplog, kind):
    watch = LoopWatch()
    async with local.running(0) as [runtime]:
        speaker = Speaker(local, runtime)
        await speaker.greet()
        genesis = local.host(runtime).node.chain.hash_at(0)
        ask = {"headers": GetHeaders(locator=(genesis,)), "transactions": GetTransactions(ids=(bytes(32),) * MAX_ITEMS)}
        batches = [await asyncio.to_thread(speaker.seal, *[ask[kind]] * MAX_BATCH_MESSAGES) for _ in range(BATCHES)]
        with caplog.at_level(logging.WARNING, logger="gridmerit"):
            watching = asyncio.ensure_future(watch.run())
            answers = [await speaker.post(batch) for batch in batches]
            assert await speaker.get("/v1/status") == 200
            await local.until(lambda: runtime.peer_views()[0].banned_until_ms is not None)
            watching.cancel()
    assert set(answers) <= {204, 403}
    faults = {record.fields["error"] for record in caplog.records if record.getMessage() == "peer-fault"}
    assert faults == {"ServedTooMuch"}
    assert watch.longest_s < LONGEST_S


async def test_eight_megabytes_of_anything_keep_nobody_waiting(local):
    watch = LoopWatch()
    async with local.running(0) as [runtime]:
        speaker = Speaker(local, runtime)
        await speaker.greet()
        ids = TransactionIds(ids=tuple(number.to_bytes(32, "big") for number in range(MAX_ITEMS)))
        status = Status(head=bytes(32), height=0, work=bytes(40), final_height=0)
        batches = await asyncio.to_thread(
            lambda: [
                speaker.seal(*[ids] * MAX_BATCH_MESSAGES),
                speaker.seal(*[status] * MAX_BATCH_MESSAGES),
                speaker.seal_body(b"\xdd" + (7_900_000).to_bytes(4, "big") + b"\xc0" * 7_900_000),
            ]
        )
        watching = asyncio.ensure_future(watch.run())
        answers = [await speaker.post(batch) for batch in batches]
        assert await speaker.get("/v1/status") == 200
        watching.cancel()
    assert answers == [204, 204, 413]
    assert watch.longest_s < LONGEST_S


async def test_reading_page_after_page_keeps_nobody_waiting(local):
    watch = LoopWatch()
    async with local.running(0) as [runtime]:
        speaker = Speaker(local, runtime)
        pages = [f"/v1/jy1/blocks?from=0&to={BLOCKS}", "/v1/jy1/members", "/v1/jy1/proof/account/n0", "/v1/jy1/genesis"]
        watching = asyncio.ensure_future(watch.run())
        answers = await asyncio.gather(*[speaker.get(page) for page in pages * 4])
        watching.cancel()
    assert set(answers) == {200}
    assert watch.longest_s < LONGEST_S
