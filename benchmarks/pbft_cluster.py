"""Whole nodes under PBFT in virtual time: transfers per second of work, and what one block takes in messages.

A committee of 4 and one of 7, of which f may crash; the baseline is the committee of 4 with all there. What is
measured is the work of all the peers together in one process: signatures, execution, agreement, encoding.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter

from benchmarks.table import Row, print_table
from ledger.chain import Chain
from ledger.params import ConsensusParams
from ledger.signatures import SigningKey
from ledger.transaction import Transaction, make_transaction
from node.chain.events import Action, Broadcast, Send
from simulation.world.networks import make_network
from simulation.world.world import Peer, World

PARAMS = ConsensusParams(
    engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=0, view_timeout_ms=2_000
)


class CountingWorld(World):
    """A world that counts the messages on their way, each to each receiver."""

    messages = 0

    def _perform(self, peer: Peer, action: Action) -> None:
        if isinstance(action, Send):
            self.messages += 1
        elif isinstance(action, Broadcast):
            self.messages += len(self.peers) - 1
        super()._perform(peer, action)


def run(quick: bool = False) -> list[Row]:
    """Committed transfers per second, and messages per block, by size of the committee."""
    batches, size = (2, 20) if quick else (10, 100)
    cases = [("4 of 4", 4, 0), ("3 of 4", 4, 1), ("7 of 7", 7, 0), ("5 of 7", 7, 2)]
    measured = [(name, *_measure(n, crashed, batches, size)) for name, n, crashed in cases]
    _, base_rate, base_messages = measured[0]
    rows = [
        Row(name=f"pbft cluster {name}", value=rate, unit="transfers/s", baseline="4 of 4", ratio=rate / base_rate)
        for name, rate, _ in measured
    ]
    return rows + [
        Row(
            name=f"pbft cluster {name}",
            value=messages,
            unit="messages/block",
            baseline="4 of 4",
            ratio=base_messages / messages,
        )
        for name, _, messages in measured
    ]


def _measure(n: int, crashed: int, batches: int, size: int) -> tuple[float, float]:
    """Transfers per second of real time, and messages per block."""
    network = make_network([f"n{number}" for number in range(n)], consensus=PARAMS)
    world = CountingWorld(network.genesis, network.keys)
    world.run_for(100)
    for number in range(crashed):
        world.crash(f"n{n - 1 - number}")
    key = network.keys["n0"]
    pending = [
        [_transfer(world, key, network.grid.address, turn * size + number) for number in range(size)]
        for turn in range(batches)
    ]
    chain, world.messages, begin = world.node("n0").chain, 0, perf_counter()
    for batch in pending:
        world.submit("n0", *batch)
        world.run_until(partial(_has, chain, batch[-1]), limit_ms=60_000)
    elapsed_s = perf_counter() - begin
    return batches * size / elapsed_s, world.messages / chain.head.height


def _has(chain: Chain, transaction: Transaction) -> bool:
    return chain.find_transaction(transaction.id) is not None


def _transfer(world: World, key: SigningKey, to: bytes, sequence: int) -> Transaction:
    return make_transaction(
        key,
        chain_id=world.chain_id,
        sequence=sequence,
        expiry_height=5_000,
        kind="transfer",
        payload=(to, 1),
    )


if __name__ == "__main__":
    print_table(run())
