"""A question to a chain that catches up with large blocks is answered before the next one."""

import asyncio
import threading
from random import Random

import pytest

from ledger.mempool import MempoolLimits
from node.chain import messages as wire
from node.chain.catching_up import CATCH_UP, STEP_BYTES
from node.chain.events import MessageReceived, PeerConnected, TimerFired
from node.driver.chain_driver import ChainDriver
from node.driver.subscribers import Subscribers
from node.system.tasks import Tasks
from simulation.attacks.policy import Policy
from tests.support.far_behind import PEER, FarAhead
from tests.support.lone_driver import Nowhere
from tests.support.patience import PATIENCE_S

SIZES = (1_600,) * 2  # transactions; of each a fourth comes into one block, the rest into the next
ASKED_AT = 1


class OnePeer(Nowhere):
    """The outside of a driver with one peer, which greets it, and gives the next block last: then all are there."""

    def __init__(self, ahead):
        self._ahead = ahead

    def send(self, driver, peer, message):
        greeting = [self._ahead.greet()] if isinstance(message, wire.Status) else []
        for answer in (*greeting, *self._ahead.answer(message)):
            if isinstance(answer, wire.Blocks):
                answer = wire.Blocks(raw=answer.raw[::-1])
            driver.receive(peer, (answer,), 1)


class Gate(Policy):
    """Takes the first step of catching up from a height on only while somebody waits to ask; notes what each reads."""

    def __init__(self, node, ask):
        super().__init__(node, Random(1))
        self._ask = ask
        self.read = []

    def step(self, event, now_ms):
        if isinstance(event, MessageReceived) and isinstance(event.message, wire.Blocks):
            self.read.append(event.message.raw)
        if event == TimerFired(name=CATCH_UP) and self.node.chain.head.height == ASKED_AT:
            self._ask()
        return self.node.step(event, now_ms)


async def test_a_question_that_comes_during_a_step_is_answered_before_the_next_large_block(tmp_path):
    ahead, loop = FarAhead(SIZES), asyncio.get_running_loop()
    answers, waits = [], threading.Event()
    tasks = Tasks(pytest.fail)

    async def ask():
        answers.append(await driver.ask(lambda node: node.chain.head.height))

    async def queue_question():
        tasks.start(ask(), name="question")
        for _ in range(10):
            await asyncio.sleep(0)  # until it stands in line for the chain
        waits.set()

    def wait_for_question():
        if not waits.is_set():
            loop.call_soon_threadsafe(lambda: tasks.start(queue_question(), name="questions"))
            assert waits.wait(PATIENCE_S)

    driver = ChainDriver(
        ahead.genesis,
        tmp_path,
        key=None,
        outside=OnePeer(ahead),
        mempool_limits=MempoolLimits(),
        subscribers=Subscribers(max_subscribers=1, max_bytes=1_000),
        policy=lambda node: Gate(node, wait_for_question),
    )
    tasks.start(driver.run(), name="chain")
    try:
        async with asyncio.timeout(PATIENCE_S):
            driver.post(PeerConnected(peer=PEER))
            while driver.node.chain.head.height < ahead.height:  # noqa: ASYNC110 - another thread's state
                await asyncio.sleep(0.01)
    finally:
        await driver.stop()
        await tasks.stop()
    assert len(ahead.entry(ASKED_AT + 1).block.raw) > STEP_BYTES
    assert answers == [ASKED_AT]
    read = [raw for raws in driver._core.read for raw in raws]
    assert len(read) == ahead.height
    assert all(len(raw) == 1 or sum(map(len, raw)) <= STEP_BYTES for raw in driver._core.read), "one by one"
