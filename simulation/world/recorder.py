"""A record of a world's blocks: found, arrived, became the head, became final, at which peer and when.

A recorder only looks, after each step. It learns of a block that an attacker withholds when it is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from ledger.block import Header
from ledger.chain import BlockNode, Chain
from ledger.codec import decode
from ledger.errors import GridmeritError
from node.chain.events import Action, Event, MessageReceived, SealFound
from node.chain.messages import Blocks, NewBlock
from simulation.attacks.two_faced import PrivateChainAttacker
from simulation.recording import SHAPES, Frame, Recording
from simulation.world.world import World

_MAX_BYTES = 4_000_000
_SHOWN = 4  # bytes of a hash in a film
_MAX_PENDING = 256


class Found(NamedTuple):
    """A block, and when it was first seen anywhere: by its producer, if that is a peer of the world."""

    time_ms: int
    producer: str  # empty for a stranger
    hash: bytes
    parent: bytes
    height: int
    n_diff: int


@dataclass(slots=True)
class _Seen:
    """The things that a peer has been seen to hold."""

    head: BlockNode
    final: bytes
    arrived: dict[bytes, int] = field(default_factory=dict)  # block -> ms
    pending: dict[bytes, None] = field(default_factory=dict)  # heard of, not in its tree yet


class Recorder:
    """Watches a world from now on. What it derives is of all the time since."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._start_ms = world.now_ms
        self._names = {peer.key.public_key: name for name, peer in world.peers.items()}
        self._seen: dict[str, _Seen] = {}
        self._frames: list[Frame] = []
        self.found: dict[bytes, Found] = {}
        self.reorg_depths: list[int] = []  # blocks taken off a peer's chain, one entry for each time and peer
        self.finals: dict[str, list[tuple[int, bytes]]] = {name: [] for name in world.peers}
        for name in world.peers:
            self._look(name)
        world.watch(self._watch)

    # --- derived ---------------------------------------------------------------------------------

    @property
    def arrivals(self) -> dict[bytes, dict[str, int]]:
        """The time at which each block came to each peer's tree, ms of virtual time, by block."""
        times: dict[bytes, dict[str, int]] = {block_hash: {} for block_hash in self.found}
        for name, seen in self._seen.items():
            for block_hash, time_ms in seen.arrived.items():
                times[block_hash][name] = time_ms
        return times

    def canonical(self, name: str) -> list[Found]:
        """The blocks found while recording that a peer's chain now holds, from the bottom."""
        blocks = []
        head = self._seen[name].head.hash
        while (block := self.found.get(head)) is not None:
            blocks.append(block)
            head = block.parent
        return blocks[::-1]

    @property
    def reference(self) -> str:
        """The peer with the chain that counts where one must: the first honest one that is up, else the first."""
        peers = self._world.peers.values()
        honest = [peer.name for peer in peers if peer.node is not None and peer.policy is None]
        return (honest or list(self._world.peers))[0]

    @property
    def stale_count(self) -> int:
        """Blocks found that are not on the reference's chain, those that may yet come to it included."""
        return len(self.found) - len(self.canonical(self.reference))

    @property
    def propagation_ms(self) -> list[int]:
        """For each block and each other peer that it came to, ms from being found."""
        return [
            time_ms - self.found[block_hash].time_ms
            for block_hash, times in self.arrivals.items()
            for name, time_ms in times.items()
            if name != self.found[block_hash].producer
        ]

    @property
    def intervals_ms(self) -> list[int]:
        """Ms between blocks of the reference's chain, as they were found."""
        times = [block.time_ms for block in self.canonical(self.reference)]
        return [later - earlier for earlier, later in pairwise(times)]

    @property
    def targets(self) -> list[tuple[int, int]]:
        """(ms, N_diff) of each block of the reference's chain."""
        return [(block.time_ms, block.n_diff) for block in self.canonical(self.reference)]

    def to_replay(self, *, scenario: str, settings: Mapping[str, int | float | str | bool], seed: int) -> Recording:
        """The film of it."""
        script: list[Frame] = []
        for time_ms, what, detail in self._world.happenings:
            if self._start_ms <= time_ms:
                script.append((time_ms, what, detail) if what in SHAPES else (time_ms, "note", f"{what} {detail}"))
        return Recording(
            scenario=scenario,
            settings=settings,
            seed=seed,
            peers=tuple(self._world.peers),
            start_ms=self._start_ms,
            end_ms=self._world.now_ms,
            frames=tuple(sorted([*self._frames, *script], key=lambda frame: frame[0])),
        )

    # --- looking ---------------------------------------------------------------------------------

    def _watch(self, now_ms: int, name: str, event: Event, actions: Sequence[Action]) -> None:
        if isinstance(event, MessageReceived) and isinstance(event.message, NewBlock | Blocks):
            self._expect(name, event.message)
        self._look(name)
        policy = self._world.peers[name].policy
        if isinstance(policy, PrivateChainAttacker) and isinstance(event, SealFound):
            self._find(policy.secret.chain, policy.secret.chain.head.header)

    def _expect(self, name: str, message: NewBlock | Blocks) -> None:
        pending = self._seen[name].pending
        raws = [message.header] if isinstance(message, NewBlock) else message.raw
        for raw in raws:
            try:
                value = decode(raw, max_bytes=_MAX_BYTES)
                header = Header.from_value(value if isinstance(message, NewBlock) else value[0])  # type: ignore[index]
            except (GridmeritError, TypeError, IndexError):
                continue  # a liar's
            if header.hash not in self._seen[name].arrived and len(pending) < _MAX_PENDING:
                pending[header.hash] = None

    def _look(self, name: str) -> None:
        """Note what is new with a peer."""
        peer = self._world.peers[name]
        if peer.node is None:
            return
        chain = peer.node.chain
        seen = self._seen.get(name)
        if seen is None:
            self._seen[name] = _Seen(head=chain.head, final=chain.final_hash)
            return
        for block_hash in [block_hash for block_hash in seen.pending if chain.is_recent(block_hash)]:
            del seen.pending[block_hash]
            self._arrive(name, seen, chain, chain.get_header(block_hash))
        if chain.head.hash != seen.head.hash:
            self._move(name, seen, chain)
        if chain.final_hash != seen.final:
            seen.final = chain.final_hash
            self.finals[name].append((self._world.now_ms, chain.final_hash))
            self._frames.append((self._world.now_ms, "final", name, _show(chain.final_hash)))

    def _move(self, name: str, seen: _Seen, chain: Chain) -> None:
        """A peer's head has moved; what is new on its branch has come to it, from the bottom."""
        new = []
        for entry in chain.ancestors(chain.head):
            if entry.hash in seen.arrived or entry.height == 0 or entry.hash == seen.head.hash:
                break
            new.append(entry.header)
        for header in reversed(new):
            self._arrive(name, seen, chain, header)
        if not chain.is_canonical(seen.head.header):
            old = chain.get(seen.head.hash)
            if old is not None:
                self.reorg_depths.append(old.height - chain.fork_point(old).height)
        seen.head = chain.head
        self._frames.append((self._world.now_ms, "head", name, _show(chain.head.hash)))

    def _arrive(self, name: str, seen: _Seen, chain: Chain, header: Header | None) -> None:
        if header is None or header.hash in seen.arrived:
            return
        self._find(chain, header)
        seen.arrived[header.hash] = self._world.now_ms
        if header.producer != self._world.peers[name].key.public_key:
            self._frames.append((self._world.now_ms, "arrive", name, _show(header.hash)))

    def _find(self, chain: Chain, header: Header) -> None:
        """Note a block that is seen for the first time, after its parents."""
        new = []
        while header.hash not in self.found and header.height > 0 and header.timestamp_ms >= self._start_ms:
            new.append(header)
            parent = chain.get_header(header.parent)
            if parent is None:
                break
            header = parent
        for each in reversed(new):
            producer = self._names.get(each.producer, "")
            self.found[each.hash] = Found(
                self._world.now_ms, producer, each.hash, each.parent, each.height, each.n_diff
            )
            if producer:
                frame = (self._world.now_ms, "block", producer, _show(each.hash), _show(each.parent), each.height)
                self._frames.append(frame)
                self._frames.append((self._world.now_ms, "target", _show(each.hash), str(each.n_diff)))


def _show(block_hash: bytes) -> str:
    return block_hash[:_SHOWN].hex()
