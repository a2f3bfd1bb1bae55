"""A chain of one member, driven by the real driver on a real directory; what it tells the world, it marks in the trace.

    python -m tests.torn.scenario DIRECTORY LIVES [FAIL_AT HOW]

`LIVES` times it is opened, pays and seals, and is closed. With FAIL_AT its so-manieth operation on the disk fails, by
the error number HOW or, where that is 0, half done; then it is opened again like after any failure.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from consensus.seal import search
from ledger.accounts import get_account
from ledger.errors import GridmeritError, StoreError, StoreReadOnly
from ledger.genesis import Genesis
from ledger.mempool import MempoolLimits
from ledger.overlay import Overlay
from ledger.params import ConsensusParams
from ledger.signatures import SigningKey
from ledger.transaction import Transaction, make_transaction
from node.chain.events import ForwardRelay, PeerId, SealFound, StartSealing
from node.chain.messages import Message
from node.driver.chain_driver import ChainDriver
from node.driver.subscribers import Subscribers
from node.errors import NodeStopping
from simulation.world.networks import SmallNetwork, make_network

BLOCKS = 4  # in one life
_EASIEST = 2**256 - 1
_ENDS_S = 20.0


@cache
def make_solo() -> SmallNetwork:
    """A network of one member that seals at once."""
    consensus = ConsensusParams(
        eligibility="work",
        n_diff_initial=_EASIEST,
        n_diff_min=_EASIEST,
        n_diff_max=_EASIEST,
        block_interval_ms=1_000,
    )
    return make_network(("solo",), period_ms=3_600_000, consensus=consensus)


def open_driver(genesis: Genesis, key: SigningKey, directory: Path, outside: Outside) -> ChainDriver:
    """Raises the `StoreError` family."""
    return ChainDriver(
        genesis,
        directory,
        key=key,
        outside=outside,
        mempool_limits=MempoolLimits(),
        subscribers=Subscribers(max_subscribers=1, max_bytes=1_000),
        is_sure=True,
    )


def mark(**values: object) -> None:
    """Put what others know from now on into the trace."""
    ctypes.CDLL(None).shim_mark(json.dumps(values).encode())


class Outside:
    """All beyond the chain: whatever it says is marked, where anybody marks it; seals are found when asked for."""

    def __init__(self, *, is_marked: bool = False) -> None:
        self._is_marked = is_marked
        self._job: StartSealing | None = None

    def seal(self, chain: ChainDriver) -> None:
        """Find the seal that is searched for, if any."""
        if (job := self._job) is not None:
            self._job = None
            nonce = search(job.root, job.target, count=1 << 20)
            assert nonce is not None
            chain.post(SealFound(job=job.job, nonce=nonce))

    def send(self, chain: ChainDriver, peer: PeerId, message: Message) -> None:
        self._mark(chain)

    def broadcast(self, chain: ChainDriver, message: Message, but: PeerId | None) -> None:
        self._mark(chain)

    def start_job(self, chain: str, *, job: int, root: bytes, target: int) -> None:
        self._job = StartSealing(job=job, root=root, target=target)

    def stop_job(self, chain: str) -> None:
        self._job = None

    def penalise(self, chain: ChainDriver, peer: PeerId, error: GridmeritError) -> None:
        raise AssertionError(error)

    def deliver(self, message: ForwardRelay) -> None:
        pass

    def _mark(self, chain: ChainDriver) -> None:
        if self._is_marked:
            head, record = chain.node.chain.head, chain.node.signing_record
            mark(height=head.height, hash=head.hash.hex(), signed=record.height)


def make_payment(network: SmallNetwork, chain: ChainDriver) -> Transaction:
    """The next payment, by what the chain has and waits for."""
    node, payer = chain.node, network.keys["solo"]
    spent = get_account(Overlay(node.chain.head.state), payer.address).sequence
    return make_transaction(
        payer,
        chain_id=network.genesis.chain_id,
        sequence=node.mempool.next_sequence(payer.address, spent),
        expiry_height=9_000,
        kind="transfer",
        payload=(network.grid.address, 1),
    )


async def live(network: SmallNetwork, directory: Path) -> None:
    """Open, pay and seal, close. Raises `StoreError` where the disk fails."""
    outside = Outside(is_marked=True)
    chain = open_driver(network.genesis, network.keys["solo"], directory, outside)
    running = asyncio.ensure_future(chain.run())
    try:
        goal = chain.node.chain.head.height + BLOCKS
        async with asyncio.timeout(_ENDS_S):
            while chain.node.chain.head.height < goal and not running.done():
                with suppress(StoreReadOnly, NodeStopping):
                    payment = make_payment(network, chain)
                    if await chain.submit([payment]) == (None,):
                        mark(acknowledged=payment.id.hex())
                outside.seal(chain)
                await asyncio.sleep(0.01)
    finally:
        await chain.stop()
        await asyncio.wait([running], timeout=1)
        running.cancel()
    if running.done() and not running.cancelled() and (error := running.exception()) is not None:
        raise error


async def _main(directory: Path, lives: int, fail_at: int, how: int) -> None:
    if fail_at:
        ctypes.CDLL(None).shim_fail(ctypes.c_long(fail_at), ctypes.c_long(how))
    for _ in range(lives):
        try:
            await live(make_solo(), directory)
        except StoreError as error:
            mark(failed=type(error).__name__)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), *(int(word) for word in (*sys.argv[2:], "0", "0")[:3])))
