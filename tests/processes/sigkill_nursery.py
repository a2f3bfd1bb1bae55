"""Forks node processes for test_sigkill.py, so that a start costs no imports: `start` on stdin, process ids on stdout.

Each child runs one node, submits transactions as fast as they are acknowledged, and writes down what leaves it: every
acknowledgement, every own block announced and every own vote, one line each, written before it is sent.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from pathlib import Path

from consensus.quorum import Vote
from ledger.accounts import get_account
from ledger.block import Header
from ledger.codec import decode
from ledger.hashing import address_of
from ledger.overlay import Overlay
from ledger.transaction import make_transaction
from node.chain.messages import NewBlock, TradeResult, Votes
from node.chain.node import ChainNode
from node.config import load_config
from node.credentials.identity import load_identity
from node.runtime import Runtime

EXPIRY_BLOCKS = 5_000
IN_FLIGHT = 8
MOST_PENDING = 200  # more would only keep a busy machine from building a block on a head before the next comes


class Diary:
    """Lines that a SIGKILL cannot take back."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, *words: object) -> None:
        os.write(self._descriptor, (" ".join(map(str, words)) + "\n").encode())


class WatchedRuntime(Runtime):
    """A runtime whose broadcasts are written down."""

    diary: Diary

    def broadcast(self, chain, message, but):
        match message:
            case NewBlock(header=raw):
                header = Header.from_value(decode(raw, max_bytes=10_000))
                if header.producer == self.public_key:
                    self.diary.note("block", header.parent.hex(), header.hash.hex())
            case Votes(raw=votes) | TradeResult(raw=votes):
                for raw in votes:
                    vote = Vote.from_value(decode(raw, max_bytes=10_000))
                    if vote.signer == self.public_key:
                        self.diary.note("vote", vote.statement.slot, vote.statement.digest().hex())
        super().broadcast(chain, message, but)


async def submit_for_ever(runtime, key, diary):
    host = runtime.chains["jy1"]
    receiver = next(member.key for member in host.node.genesis.members if member.key != key.public_key)
    while True:
        transactions = await host.ask(lambda node: make_transfers(node, key, receiver))
        outcomes = await host.submit(transactions) if transactions else ()
        for transaction, error in zip(transactions, outcomes, strict=True):
            if error is None:
                diary.note("acknowledged", transaction.id.hex())
        await asyncio.sleep(0.005)


def make_transfers(node: ChainNode, key, receiver):
    if len(node.mempool) > MOST_PENDING:
        return []
    spent = get_account(Overlay(node.chain.head.state), key.address).sequence
    first = node.mempool.next_sequence(key.address, spent)
    return [
        make_transaction(
            key,
            chain_id=node.chain_id,
            sequence=sequence,
            expiry_height=node.chain.head.height + EXPIRY_BLOCKS,
            kind="transfer",
            payload=(address_of(receiver), 1),
        )
        for sequence in range(first, first + IN_FLIGHT)
    ]


async def live(config_file: Path, diary: Diary) -> None:
    config = load_config(config_file)
    runtime = WatchedRuntime(config)
    runtime.diary = diary
    await runtime.start()
    diary.note("started")
    submitting = asyncio.ensure_future(submit_for_ever(runtime, load_identity(config).member_key, diary))
    submitting.add_done_callback(lambda task: runtime.fail(task.exception() or AssertionError("ended")))
    await runtime.run_until_signal()


def main(config_file: Path, diary_file: Path) -> None:
    for line in sys.stdin:
        assert line == "start\n"
        child = os.fork()
        if child == 0:
            diary = Diary(diary_file)
            try:
                asyncio.run(live(config_file, diary))
            except Exception as error:
                diary.note("failed", type(error).__name__, str(error).replace("\n", " "))
                traceback.print_exc()
            os._exit(1)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
