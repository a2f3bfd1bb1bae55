"""A chain of large blocks, and a node that has none of them."""

from __future__ import annotations

from itertools import count
from random import Random

from ledger.chain import BlockNode
from ledger.params import ConsensusParams
from ledger.store import MemoryStore
from ledger.transaction import Transaction, make_transaction
from node.chain import messages as wire
from node.chain.events import Action, Event, MessageReceived, PeerConnected, Persist, Send, Started
from node.chain.node import ChainNode
from simulation.world.networks import make_network
from simulation.world.world import World

PBFT = ConsensusParams(engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=1_000)
_PERIOD_MS, _FOR_PERIOD = 60_000, 3
_PER_REQUEST = 250
PEER, ASKER = b"p" * 32, b"a" * 32  # as the two know each other


class FarAhead:
    """A node whose chain has taken so many transactions at a time: the first ones in a block, the rest in the next."""

    def __init__(self, sizes: tuple[int, ...], kind: str = "transfer") -> None:
        network = make_network(consensus=PBFT, period_ms=_PERIOD_MS)
        self.genesis = network.genesis.model_copy(update={"disposable": True})
        self._keys, self._kind = network.keys, kind
        self._sequences = {name: count() for name in network.keys}
        self._random = Random(1)
        world = World(self.genesis, network.keys, seed=1, sealing="drawn")
        world.run_for(500)
        for size in sizes:
            self._add_block(world, size)
        world.run_until(lambda: len(world.heads()) == 1, limit_ms=10_000)
        self.now_ms = world.now_ms
        chain = world.node("n0").chain
        self._blocks = {entry.height: entry for entry in chain.ancestors(chain.head) if isinstance(entry, BlockNode)}
        self.node = ChainNode(self.genesis, world.peers["n0"].store)
        self.node.step(Started(), self.now_ms)
        self.node.step(PeerConnected(peer=ASKER), self.now_ms)
        self.height = self.node.chain.head.height

    def entry(self, height: int) -> BlockNode:
        """The block at a height, with what it has changed."""
        return self._blocks[height]

    def answer(self, message: wire.Message) -> list[wire.Message]:
        """The messages that the node gives to one that asks."""
        actions = self.node.step(MessageReceived(peer=ASKER, message=message), self.now_ms)
        return [action.message for action in actions if isinstance(action, Send)]

    def greet(self) -> wire.Status:
        head = self.node.chain.head
        final = self.node.chain.final_height
        work = head.work.to_bytes(40, "big")
        return wire.Status(head=head.hash, height=head.height, work=work, final_height=final, bodies_from=1)

    def _add_block(self, world: World, size: int) -> None:
        """Have the world make blocks until one has taken what is pending."""
        for name in self._keys:
            mine = [self._make(name) for _ in range(size // len(self._keys))]
            for start in range(0, len(mine), _PER_REQUEST):
                said = world.submit(name, *mine[start : start + _PER_REQUEST])
                assert set(said) == {None}
        node = world.node("n0")
        world.run_until(lambda: not len(node.mempool), limit_ms=20_000)

    def _make(self, name: str) -> Transaction:
        if self._kind == "transfer":
            payload: tuple[object, ...] = (self._keys["n0"].address, 1)
        else:
            payload = (self._random.randrange(2), _FOR_PERIOD, 400_000 + self._random.randrange(100_000), 1_000)
        return make_transaction(
            self._keys[name],
            chain_id=self.genesis.open("JY1").chain_id,
            sequence=next(self._sequences[name]),
            expiry_height=1_000,
            kind=self._kind,
            payload=payload,  # type: ignore[arg-type]
        )


class Behind:
    """A node that lacks all of them; its steps are taken one by one."""

    def __init__(self, ahead: FarAhead) -> None:
        self.ahead = ahead
        self._store = MemoryStore()
        self.node = ChainNode(ahead.genesis, self._store)
        for event in (Started(), PeerConnected(peer=PEER)):
            self.step(event)

    def step(self, event: Event) -> list[Action]:
        """The actions of one step, its writes done."""
        actions = self.node.step(event, self.ahead.now_ms)
        for action in actions:
            if isinstance(action, Persist):
                self._store.write(action.changes)
        return actions

    def hear(self, *messages: wire.Message) -> list[wire.Message]:
        """Hear them one after the other; what is asked in return."""
        actions = [action for one in messages for action in self.step(MessageReceived(peer=PEER, message=one))]
        return [action.message for action in actions if isinstance(action, Send)]

    def fetch_bodies(self) -> wire.Blocks:
        """Have all bodies at hand but for the first one, without which none can be imported, and that one."""
        [headers] = [ask for ask in self.hear(self.ahead.greet()) if isinstance(ask, wire.GetHeaders)]
        asked = [ask for ask in self.hear(*self.ahead.answer(headers)) if isinstance(ask, wire.GetBlocks)]
        answers = [answer for ask in asked for answer in self.ahead.answer(ask)]
        given = [raw for answer in answers if isinstance(answer, wire.Blocks) for raw in answer.raw]
        first, *others = (wire.Blocks(raw=(raw,)) for raw in given)
        self.hear(*others)
        return first
