"""Worlds in which one member says whatever it likes and reads of the disk fail, and what each step of the others keeps.

    python -m tests.node.chain.hostile_world --seeds 1000 --jobs 2

The liar repeats what was said, changes it somewhere inside, and signs what it should not, to any peer in any order,
while peers crash, lose touch and have wrong clocks. Of every step of an honest peer is checked that

- it raises nothing but a `StoreError` where a read of its disk fails, and raises that: nobody is blamed for it;
- nothing is signed, proposed or acknowledged before it is on disk;
- it ends after so many consequences;
- no honest peer is blamed for what costs many points.

The invariants of every world hold beside, and in the end the chain goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import count
from random import Random

from consensus.contracts import DOUBLE_VOTE
from consensus.pbft.messages import (
    PrePrepare,
    build_certificate,
    build_prepared,
    decode_message,
    encode_message,
    sign_pre_prepare,
    sign_prepare,
    sign_view_change,
)
from consensus.quorum import QuorumCertificate, Statement, read_vote, sign_statement
from ledger import rows
from ledger.block import Block, read_header
from ledger.chain import BlockNode
from ledger.codec import Value, decode, encode
from ledger.errors import GridmeritError, StoreError, StoreFailed
from ledger.params import ConsensusParams
from ledger.steps import take_all
from ledger.store import MemoryStore
from ledger.transaction import make_transaction
from node.chain import messages as wire
from node.chain.candidate import build_candidate
from node.chain.events import (
    Action,
    Broadcast,
    Event,
    PenalisePeer,
    RelayOffered,
    Send,
    Started,
)
from node.chain.node import ChainNode
from simulation.attacks.policy import Policy
from simulation.world.invariants import Invariants
from simulation.world.links import Links, Uniform
from simulation.world.networks import make_network
from simulation.world.peer import Peer
from simulation.world.world import World

ENGINES = {
    "poca": None,
    "pbft": ConsensusParams(
        engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=1_000, view_timeout_ms=1_000
    ),
}
LIAR = "n3"
MAX_CONSEQUENCES = 5_000  # of one step; honest ones have some hundreds
MAX_BLAME = 25  # points that an honest peer may be given: it was cut off, or has left the head that it spoke of
MAX_BYTES = 20_000_000
KEPT_MESSAGES, KEPT_BLOCKS = 400, 30


class StepBroken(AssertionError):
    """A step that does what none may."""


# --- a disk that fails, and a world that looks at every step ---------------------------------------


class FlakyStore(MemoryStore):
    """Fails at one read of a step to come, where it is told to; writes are the world's to fail (`World.set_disk`)."""

    def __init__(self) -> None:
        super().__init__()
        self.reads_left: int | None = None
        self.is_in_step = self.has_failed = False

    def get(self, key: bytes) -> bytes | None:
        self._read()
        return super().get(key)

    def scan(self, prefix: bytes):
        self._read()
        return super().scan(prefix)

    def __contains__(self, key: bytes) -> bool:
        return key in self._entries

    def _read(self) -> None:
        if self.is_in_step and self.reads_left is not None:
            self.reads_left -= 1
            if self.reads_left <= 0:
                self.reads_left, self.has_failed = None, True
                raise StoreFailed(detail="a planted fault")


class HostileWorld(World):
    """Looks at each step of the honest; what they say is kept for the liar to use."""

    def __init__(self, genesis, keys, *, seed: int, fail_reads: bool) -> None:
        self.chance = Random(seed)
        self.fail_reads = fail_reads
        self.said: list[wire.Message] = []
        self.blame: Counter[tuple[str, str]] = Counter()
        self.failures = 0
        self._is_pbft = genesis.params.consensus.engine == "pbft"
        self._heard: set[tuple[str, int]] = set()  # lives that have begun
        links = Links(latency=Uniform(5, 80), loss_ppm=20_000, duplicate_ppm=20_000)
        super().__init__(genesis, keys, seed=seed, links=links, sealing="drawn", policies={LIAR: Policy})

    def start(self, name: str, **options) -> None:
        peer = self.peers[name]
        if not isinstance(peer.store, FlakyStore):
            peer.store = FlakyStore()
        super().start(name, **options)
        limit_consequences(peer.node)

    def start_again(self, name: str) -> None:
        if not self.is_up(name):
            self.start(name)

    def _step(self, peer: Peer, event: Event, mark: bytes | None = None) -> None:
        life, store = (peer.name, peer.life), peer.store
        if peer.node is None or not (life in self._heard or isinstance(event, Started)):
            return  # a driver hands over nothing before
        self._heard.add(life)
        if self.fail_reads and peer.name != LIAR and self.chance.random() < 0.03:
            store.reads_left = self.chance.randrange(1, 4)
        store.is_in_step, store.has_failed = True, False
        try:
            super()._step(peer, event, mark)
        except StoreError as error:
            if not store.has_failed:
                raise StepBroken(f"{error} though no read failed, at {event}") from error
            self.failures += 1
            self.crash(peer.name)
            self.at(self.now_ms + 700, lambda: self.start_again(peer.name))
            return
        finally:
            store.is_in_step = False
        if store.has_failed:
            raise StepBroken(f"a failed read was passed over at {event}")

    def _perform(self, peer: Peer, action: Action) -> None:
        if peer.name != LIAR:
            self._check(peer, action)
        super()._perform(peer, action)

    def _check(self, peer: Peer, action: Action) -> None:
        match action:
            case PenalisePeer(peer=culprit, error=error):
                name = self._by_id[culprit].name
                self.blame[name, error.code] += 1
                if isinstance(error, StoreError) or (name != LIAR and error.penalty > MAX_BLAME):
                    raise StepBroken(f"{peer.name} blames {name}: {error!r}")
            case Broadcast(message=message) | Send(message=message):
                self._check_said(peer, message)
                self.keep(message)

    def _check_said(self, peer: Peer, message: wire.Message) -> None:
        key, record = peer.key.public_key, peer.signing_record
        match message:
            case wire.NewBlock(header=raw) if (header := read_header(raw)).producer == key:
                is_canonical = peer.store.get(rows.height_key(header.height)) == header.hash
                is_stored = is_canonical or b"P" + header.hash in peer.store
                if not is_stored or not (self._is_pbft or record.knows_seal(header)):
                    raise StepBroken(f"{peer.name} shows block {header.height} before it is on disk")
            case wire.Votes(raw=raws) | wire.TradeResult(raw=raws):
                for vote in [vote for vote in map(read_vote, raws) if vote.signer == key]:
                    if not (record.agreement.knows(vote) if self._is_pbft else record.knows_statement(vote.statement)):
                        raise StepBroken(f"{peer.name} votes before it is on record: {vote.statement}")
            case wire.Agreement(raw=raw):
                ballot = decode_message(raw)
                ballot = ballot.prepare if isinstance(ballot, PrePrepare) else ballot
                is_own = not isinstance(ballot, QuorumCertificate) and ballot.signer == key
                if is_own and not record.agreement.knows(ballot):
                    raise StepBroken(f"{peer.name} says what is not on record: {ballot}")

    def submit(self, name: str, *transactions):
        outcomes, store = super().submit(name, *transactions), self.peers[name].store
        for transaction, outcome in zip(transactions, outcomes, strict=False):
            is_stored = any(kind + transaction.id in store for kind in (b"m", b"t"))
            if outcome is None and self.is_up(name) and not is_stored:
                raise StepBroken(f"{name} acknowledges what is not on disk")
        return outcomes

    def keep(self, message: wire.Message) -> None:
        if len(self.said) < KEPT_MESSAGES:
            self.said.append(message)
        else:
            self.said[self.chance.randrange(KEPT_MESSAGES)] = message


def limit_consequences(node: ChainNode) -> None:
    """Have a step fail that does not end."""
    settle, see_to, left = node._settle, node._see_to, [0]

    def settle_counted(reaction, now_ms):
        left[0] = MAX_CONSEQUENCES
        return settle(reaction, now_ms)

    def see_to_counted(consequence, now_ms):
        left[0] -= 1
        if left[0] < 0:
            raise StepBroken(f"more than {MAX_CONSEQUENCES} consequences, the last {type(consequence).__name__}")
        return see_to(consequence, now_ms)

    node._settle, node._see_to = settle_counted, see_to_counted


# --- the liar ---------------------------------------------------------------------------------------


class Liar:
    """Makes messages: of what was said, changed at one place or three, or signed with its own key."""

    def __init__(self, world: HostileWorld, network) -> None:
        self._world, self._network = world, network
        self._key = network.keys[LIAR]
        self._random = world.chance
        self._blocks: list[Block] = []
        self._sequence = 0

    def speak(self) -> wire.Message | None:
        """A message; None where what came of it cannot even be read."""
        heard, chance = self._world.said, self._random.random()
        if heard and chance < 0.45:
            return self._change(self._random.choice(heard))
        if heard and chance < 0.6:
            return self._random.choice(heard)
        makers = (
            *(self._vote, self._claim, self._ballot, self._view_change, self._proposal, self._certificate),
            *(self._status, self._signed, self._evidence, self._transaction, self._question),
            *(self._announce, self._announce, self._give_headers, self._give_blocks),
        )
        return self._random.choice(makers)()

    # --- changing what was said ----------------------------------------------------------------------

    def _change(self, message: wire.Message) -> wire.Message | None:
        raw = wire.message_to_bytes(message)
        body: Value = decode(raw[1:], max_bytes=MAX_BYTES)
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            body = self._change_value(body)
        try:
            return wire.message_from_bytes(raw[:1] + encode(body))
        except GridmeritError:
            return None

    def _change_value(self, value: Value) -> Value:
        """The value with one thing in it changed, also within byte strings that hold an array."""
        random = self._random
        match value:
            case tuple() if value and random.random() < 0.85:
                return self._change_array([*value])
            case bytes():
                return self._change_bytes(value)
            case int():
                below, above = max(0, value - 1), min(value + random.randrange(1, 20), 2**64 - 1)
                return random.choice((below, above, 0, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -1))
            case str():
                return random.choice(("", "equivocation", DOUBLE_VOTE, f"{value}x"))
        return random.choice((None, 0, b"", (), bytes(32)))

    def _change_array(self, items: list[Value]) -> Value:
        at, way = self._random.randrange(len(items)), self._random.random()
        if way < 0.82:
            items[at] = self._change_value(items[at])
        elif way < 0.88:
            del items[at]
        elif way < 0.94:
            items.insert(at, self._random.choice(items))
        else:
            items *= self._random.choice((2, 3, 40))
        return tuple(items)

    def _change_bytes(self, raw: bytes) -> Value:
        random = self._random
        if len(raw) > 1 and (0x90 <= raw[0] < 0xA0 or raw[0] == 0xDC) and random.random() < 0.9:
            try:
                return encode(self._change_value(decode(raw, max_bytes=MAX_BYTES)))
            except GridmeritError:
                pass
        if len(raw) == 32 and random.random() < 0.7:
            return self._hash()
        at = random.randrange(len(raw) + 1)
        cut, longer = raw[:at], raw + random.randbytes(random.randrange(1, 40))
        flipped = bytes([raw[at - 1] ^ 1 << random.randrange(8)]) + raw[at:] if at else raw
        return random.choice((cut, longer, raw[: at - 1] + flipped if at else b"", random.randbytes(len(raw))))

    # --- what it signs -------------------------------------------------------------------------------

    def _node(self) -> ChainNode:
        """Some peer's: the liar sees into everybody."""
        names = [name for name in sorted(self._network.keys) if self._world.is_up(name)]
        return self._world.node(self._random.choice(names))

    def _hash(self) -> bytes:
        random, chain = self._random, self._node().chain
        known = [chain.head.hash, chain.final_hash, random.choice([*chain._entries]), random.choice([*chain._entries])]
        keys = [key.public_key for key in self._network.keys.values()]
        return random.choice((bytes(32), random.randbytes(32), self._world.chain_id, *known, *keys))

    def _place(self) -> tuple[int, int]:
        """A height and a view to speak of."""
        random, head = self._random, self._node().chain.head
        return max(0, head.height + random.choice((-2, 0, 1, 1, 1, 2, 3, 9))), random.choice((0, 0, 0, 1, 1, 2, 7, 100))

    def _statement(self) -> Statement:
        random, node = self._random, self._node()
        height, view = self._place()
        due = node._finality.list_due()
        if due and random.random() < 0.6:
            one = random.choice(due)
            return random.choice((one, replace(one, block_hash=self._hash()), replace(one, view=1)))
        result = random.choice((b"", b"", random.randbytes(32)))
        slot = random.choice((height, height, 0, height // 8, 10**6))
        since = random.choice((0, 0, min(1, slot)))
        return Statement(
            chain_id=node.chain_id, slot=slot, view=view, since_slot=since, block_hash=self._hash(), result=result
        )

    def _vote(self) -> wire.Message:
        return wire.Votes(raw=(encode(sign_statement(self._statement(), self._key).to_value()),))

    def _claim(self) -> wire.Message:
        return wire.TradeResult(results=encode(()), raw=self._vote().raw)

    def _ballot(self) -> wire.Message:
        height, view = self._place()
        chain_id = self._world.chain_id
        prepare = sign_prepare(self._key, chain_id, height=height, view=view, block_hash=self._hash())
        vote = sign_statement(self._statement(), self._key)
        return wire.Agreement(raw=encode_message(self._random.choice((prepare, vote))))

    def _view_change(self) -> wire.Message:
        (height, view), chain_id = self._place(), self._world.chain_id
        prepare = sign_prepare(self._key, chain_id, height=height, view=max(0, view - 1), block_hash=self._hash())
        prepared = build_prepared([prepare]) if view and self._random.random() < 0.3 else None
        change = sign_view_change(self._key, chain_id, height=height, view=max(1, view), prepared=prepared)
        return wire.Agreement(raw=encode_message(change))

    def _proposal(self) -> wire.Message:
        height, view = self._place()
        proposal = sign_pre_prepare(
            self._key, self._world.chain_id, height=height, view=view, block_hash=self._hash(), new_view=()
        )
        return wire.Agreement(raw=encode_message(proposal))

    def _certificate(self) -> wire.Message:
        vote = sign_statement(self._statement(), self._key)
        return wire.Certificate(raw=build_certificate([vote]).raw)

    def _evidence(self) -> wire.Message:
        statement = self._statement()
        both = (statement, replace(statement, block_hash=self._random.randbytes(32)))
        votes = sorted((sign_statement(one, self._key) for one in both), key=lambda vote: vote.statement.digest())
        return wire.Evidence(kind=DOUBLE_VOTE, raw=encode(tuple(vote.to_value() for vote in votes)))

    def _status(self) -> wire.Message:
        height, work = self._random.choice((0, self._place()[0], 2**53 - 1)), self._node().chain.head.work
        return wire.Status(
            head=self._hash(),
            height=height,
            work=self._random.choice((0, work + 1, 2**319)).to_bytes(40, "big"),
            final_height=self._random.choice((0, height, 2**63 - 1)),
        )

    def _signed(self) -> wire.Message:
        ballots = [message.raw for message in self._world.said if isinstance(message, wire.Agreement)]
        raw = tuple(self._random.sample(ballots, min(2, len(ballots))))
        return wire.Signed(head=self._hash(), work=bytes(40), final_height=self._place()[0], raw=raw)

    def _transaction(self) -> wire.Message:
        random = self._random
        self._sequence += random.random() < 0.5
        payload = random.choice(([self._network.grid.address, 1], [self._network.grid.address, 2**63], [], [b"", -1]))
        transaction = make_transaction(
            self._key,
            chain_id=self._world.chain_id,
            kind=random.choice(("transfer", "bid", "reading", "certificate", "relay", "exit")),
            payload=payload,
            sequence=random.choice((self._sequence, self._sequence, 0, 10**6)),
            expiry_height=random.choice((self._place()[0] + 5, 1_000, 0)),
        )
        return wire.Transactions(raw=(transaction.raw,))

    def _question(self) -> wire.Message:
        indexes = tuple(self._random.choice((0, 1, 63, 2**40)) for _ in range(self._random.randrange(3)))
        return wire.GetTradeRecords(period=self._random.choice((0, 1, 2, 10**9)), indexes=indexes)

    # --- the blocks that it makes --------------------------------------------------------------------

    def _make_block(self) -> Block | None:
        """A block on the head or anywhere below it, sealed and signed, and more often than not good."""
        random, node = self._random, self._node()
        parent: BlockNode = random.choice((node.chain.head, random.choice([*node.chain._entries.values()])))
        date_ms = random.choice((self._world.now_ms, parent.header.timestamp_ms + random.choice((1, 1_500, 30_000))))
        proposal = node.engine.propose(self._key.public_key, parent, node.chain, date_ms)
        if proposal is None:
            return None
        candidate = take_all(
            build_candidate(
                self._key,
                proposal,
                parent,
                genesis=self._world.genesis,
                rules=node.rules.at(parent.state, parent.height + 1),
                producers=(),
                pending=[*node.mempool][:5],
            )
        )
        header, other = candidate.header, self._hash()
        lies = (
            *({"state_root": other}, {"receipt_root": other}, {"tx_root": other}, {"parent": other}),
            *({"height": self._place()[0]}, {"period": header.period + 1}, {"n_diff": header.n_diff + 1}),
            {"timestamp_ms": header.timestamp_ms + random.choice((-5_000, 1_900, 3_000, 2**62))},
        )
        if random.random() < 0.4:
            header = replace(header, **random.choice(lies))
        block = Block(header=header.sealed(random.getrandbits(16), self._key), transactions=candidate.transactions)
        self._blocks = [*self._blocks[1 - KEPT_BLOCKS :], block]
        return block

    def _announce(self) -> wire.Message | None:
        block = self._make_block()
        if block is None:
            return None
        ids = [transaction.id for transaction in block.transactions]
        ids += [self._random.randbytes(32)] if self._random.random() < 0.3 else []
        return wire.NewBlock(header=block.header.raw, ids=tuple(ids))

    def _give_headers(self) -> wire.Message:
        chosen = self._random.sample(self._blocks, min(3, len(self._blocks)))
        ordered = sorted((block.header for block in chosen), key=lambda header: header.height)
        return wire.Headers(raw=tuple(header.raw for header in ordered))

    def _give_blocks(self) -> wire.Message:
        chosen = self._random.sample(self._blocks, min(3, len(self._blocks)))
        return wire.Blocks(raw=tuple(block.raw for block in chosen))


# --- a life ------------------------------------------------------------------------------------------


def run(engine: str, seed: int, *, rounds: int = 150, fail_reads: bool = True) -> HostileWorld:
    """A world with a liar in it, and some time without its lies after that, in which the chain must go on."""
    network = make_network(consensus=ENGINES[engine])
    world = HostileWorld(network.genesis, network.keys, seed=seed, fail_reads=fail_reads)
    invariants = Invariants(
        [world], command=f"python -m tests.node.chain.hostile_world --engine {engine} --seed {seed}"
    )
    liar, random = Liar(world, network), world.chance
    honest = [name for name in sorted(network.keys) if name != LIAR]
    sequences = {name: count() for name in honest}
    for _ in range(rounds):
        for name in random.choices(honest, k=random.randrange(6)):
            message = liar.speak() if world.is_up(name) else None
            if message is not None:
                world.inject(name, network.keys[LIAR].public_key, message)
        disturb(world, network, sequences)
        world.run_for(random.randrange(20, 600))
    world.fail_reads = False
    calm(world, honest)
    world.run_for(30_000)
    before = {name: world.node(name).chain.final_height for name in honest}
    world.run_until(
        lambda: all(world.node(name).chain.final_height > before[name] for name in honest), limit_ms=300_000
    )
    invariants.check_deeply()
    return world


def disturb(world: HostileWorld, network, sequences) -> None:
    """One thing that befalls an honest peer, or none."""
    random = world.chance
    name, chance = random.choice(sorted(sequences)), random.random()
    if chance < 0.03 and world.is_up(name):
        world.crash(name)
        world.at(world.now_ms + random.randrange(100, 4_000), lambda: world.start_again(name))
    elif chance < 0.05:
        world.set_skew(name, random.choice((-3_000, 3_000, 30_000)))
    elif chance < 0.06:
        world.partition([name], [other for other in network.keys if other != name])
    elif chance < 0.12:
        calm(world, ())
    elif chance < 0.3 and world.is_up(name):
        transfer = make_transaction(
            network.keys[name],
            chain_id=world.chain_id,
            kind="transfer",
            payload=[network.grid.address, 1],
            sequence=next(sequences[name]),
            expiry_height=1_000,
        )
        world.submit(name, transfer)
    elif chance < 0.34 and world.is_up(name):
        world._step(world.peers[name], RelayOffered(raw=random.randbytes(30)))


def calm(world: HostileWorld, down: Sequence[str]) -> None:
    """Right clocks, whole links, and those up that are to be."""
    world.heal()
    for name in world.peers:
        world.set_skew(name, 0)
    for name in down:
        world.start_again(name)


def _run(engine: str, seed: int) -> str:
    try:
        world = run(engine, seed)
    except Exception as error:
        return f"{engine} seed {seed}: {type(error).__name__}: {error}"
    blame = ", ".join(f"{name} {code} {times}" for (name, code), times in sorted(world.blame.items()) if name != LIAR)
    print(f"{engine} seed {seed}: {world.failures} reads failed; blamed beside the liar: {blame or 'none'}")
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=sorted(ENGINES))
    parser.add_argument("--seed", type=int, default=1, help="the first")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    engines = [options.engine] if options.engine else sorted(ENGINES)
    jobs = [(engine, seed) for seed in range(options.seed, options.seed + options.seeds) for engine in engines]
    with ProcessPoolExecutor(options.jobs) as pool:
        broken = [said for said in pool.map(_run, *zip(*jobs, strict=True)) if said]
    print(f"{len(jobs)} worlds, {len(broken)} broken", *broken, sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
