"""Joining by a snapshot: a fresh node takes the state of a final block, chunk by chunk from several peers.

Peers are asked what they hand out (`node.chain.snapshot_offers`). With an anchor, headers must lead from it to the
block that is chosen. Then its chunks are fetched in parallel, each is checked under the block's state root as it comes
and kept as a row, and once they cover every path the chain is taken up from there, in one batch: a crash before leaves
what had come, and a crash after a chain. Until then the node follows nobody; where nothing comes of it, it replays the
chain. Time is counted in ticks, so that a node that slept itself blames nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from consensus.quorum import QuorumCertificate
from consensus.relays import Relay
from ledger import rows
from ledger.block import Header, read_header
from ledger.chain import WINDOW, Ancestor, BlockNode, Changes
from ledger.codec import decode, encode
from ledger.errors import GridmeritError, InvalidProof, StoreCorrupt
from ledger.state import State
from ledger.state_chunks import (
    ALL_PATHS,
    CHUNK_BYTES,
    MAX_CHUNK_LEAVES,
    Prefix,
    StateChunk,
    check_chunk,
    find_gaps,
    find_rest,
    read_items,
    read_prefix,
)
from ledger.store import as_stored
from node.chain import messages as wire
from node.chain.events import Action, PeerId, Persist, Publish, Send, SetTimer
from node.chain.gossip import Gossip
from node.chain.instance import Instance
from node.chain.progress import CatchUp, Reaction, SnapshotHere, Step
from node.chain.snapshot_offers import Offer, Offers, read_kept, weigh, with_state
from node.chain.trusted_block import TrustedBlock, TrustedBranch
from node.errors import BrokenHeaders, OffAnchor

JOIN = "join"
BEGUN, ENDED, TAKEN = "snapshot-begun", "snapshot-ended", "snapshot-taken"
_TICK_MS = 100  # a peer is asked for one chunk at a time, and for no more than one in a tick: its share is bounded
_ROUND_TICKS, _LEAST_TICKS, _MAX_ROUNDS = 50, 10, 6  # of asking what there is
_TIMEOUT_TICKS, _IDLE_TICKS = 50, 150  # for one answer; without any chunk, after which the offer is given up
_MAX_PEERS = 16  # asked at one time
_MAX_FAILURES = 3  # answers in a row that did not come
_MAX_SHORT = 4  # answers, less the good ones, that told next to nothing
_SHORT_BYTES = CHUNK_BYTES // 64
MAX_WANTED = 8_192
_MAX_CHUNK_BYTES = 4_000_000
_DEPTH_BYTES = 2


class _Open(NamedTuple):
    """A chunk that a peer has been asked for."""

    prefix: Prefix
    until_tick: int


@dataclass(slots=True)
class _Trail:
    """The headers of one peer, from the anchor up to the first that came with the offer; what is asked for next."""

    peer: PeerId
    tip: TrustedBlock
    until_tick: int


class Taken(NamedTuple):
    """All that a chain is taken up from, and the rows that go with it."""

    below: tuple[Ancestor, ...]
    base: BlockNode
    certificate: QuorumCertificate
    handovers: tuple[Relay, ...]
    changes: Changes


class SnapshotJoin:
    """The way of one fresh node to a state that it has not computed.

    `distance` is the number of blocks by which peers must be ahead, None for a node that replays whatever there is.
    """

    def __init__(
        self, instance: Instance, gossip: Gossip, trusted_branch: TrustedBranch, *, distance: int | None
    ) -> None:
        self._instance = instance
        self._chain = instance.chain
        self._gossip = gossip
        self._trusted_branch = trusted_branch
        self._distance = distance
        self._is_over = distance is None
        self._is_asking = False
        self._tick = 0
        self._round = 0
        self._offers = Offers(instance)
        self._refused: set[bytes] = set()  # blocks that nothing came of
        self._target: Offer | None = None
        self._trail: _Trail | None = None
        self._is_linked = False  # whether the target has been shown to stand on the anchor
        self._tried: set[PeerId] = set()  # asked to show it
        self._wanted: list[Prefix] = []
        self._open: dict[PeerId, _Open] = {}
        self._last_tick = 0  # at which something came
        self._failures: Counter[PeerId] = Counter()
        self._short: Counter[PeerId] = Counter()
        self._dropped: set[PeerId] = set()

    @property
    def is_active(self) -> bool:
        return self._is_asking or self._target is not None

    def get_usage(self) -> dict[str, tuple[int, int]]:
        return {"wanted chunks": (len(self._wanted) + len(self._open), MAX_WANTED + _MAX_PEERS)}

    # --- beginning and ending --------------------------------------------------------------------

    def load(self, now_ms: int) -> list[Action]:
        """Go on where an earlier run was interrupted. Raises `StoreCorrupt`. Cause: the start."""
        raw = self._instance.store.get(rows.SNAPSHOT)
        if raw is None:
            return []
        with as_stored("a snapshot that is being taken"):
            offer, self._offers.handovers = read_kept(raw, self._instance.genesis)
            covered = [_read_key(key) for key, _ in self._instance.store.scan(rows.CHUNK)]
        if self._is_over or not self._is_fresh or offer.height <= self._chain.head.height:
            return [Persist(changes=self._list_cleared())]
        self._target, self._wanted = offer, list(find_gaps(covered))
        self._gossip.sync.hold()
        return [SetTimer(name=JOIN, at_ms=now_ms + _TICK_MS)]

    def on_status(self, now_ms: int) -> list[Action]:
        """Begin where this node is fresh and a peer is far ahead. Cause: a peer says where it stands."""
        if self._is_over or self.is_active or not self._is_fresh or not self._list_ahead():
            return []
        self._is_asking = True
        self._gossip.sync.hold()
        return [SetTimer(name=JOIN, at_ms=now_ms)]

    def on_lost(self, peer: PeerId) -> None:
        """Cause: a peer is not connected any more."""
        self._offers.lost(peer)
        self._put_back(peer)
        self._failures.pop(peer, None)
        if self.awaits_headers(peer):
            self._trail = None

    def on_tick(self, now_ms: int) -> Reaction:
        """Ask for what is to come next. Cause: a timer."""
        if not self.is_active:
            return []
        self._tick += 1
        if self._target is None:
            reaction = self._look_for_offers()
        elif self._tick - self._last_tick > _IDLE_TICKS:
            reaction = self._give_up(self._target)
        elif self._needs_trail(self._target):
            reaction = self._follow_trail(self._target)
        else:
            reaction = self._ask_for_chunks(self._target)
        return [*reaction, SetTimer(name=JOIN, at_ms=now_ms + _TICK_MS)] if self.is_active else reaction

    def take(self) -> Taken | None:
        """The chain's new ground, from the chunks on disk; None where this release does not know its rules.

        Raises `StoreCorrupt` where the chunks are not what had come. Cause: they cover every path.
        """
        offer = self._target
        assert offer is not None, "its chunks have come"
        chunks = [raw for _, raw in self._instance.store.scan(rows.CHUNK)]
        state = State.from_items(item for raw in chunks for item in read_leaves(raw))
        if state.root != offer.header.state_root:
            raise StoreCorrupt(detail=f"the chunks of a snapshot do not make the state of block {offer.height}")
        if not self._instance.rules.is_known_at(state, offer.height):
            return None
        entries = weigh(offer, self._instance.engine)
        assert entries is not None, "it was looked at before"
        changes, anchor = self._list_cleared(), self._trusted_branch.anchor
        if anchor is not None and anchor.height < offer.height:
            changes.append((rows.height_key(anchor.height), anchor.block_hash))
        self._end()
        return Taken(
            below=entries[:-1],
            base=with_state(entries[-1], state),
            certificate=offer.certificate,
            handovers=self._offers.handovers,
            changes=changes,
        )

    def replay(self) -> Reaction:
        """Join by no snapshot: replay the chain, as far as its rules are known. Cause: nothing came of any."""
        cleared = Persist(changes=self._list_cleared())
        self._end()
        return [cleared, Publish(event=(ENDED, 0, b"")), CatchUp()]

    @property
    def _is_fresh(self) -> bool:
        is_low = self._chain.bodies_from == 1 and self._chain.head.height < WINDOW
        return is_low and not self._instance.is_halted

    def _end(self) -> None:
        self._is_over, self._is_asking, self._target, self._trail = True, False, None, None
        self._wanted, self._open = [], {}
        self._offers.clear()
        self._gossip.sync.go_on()

    def _give_up(self, offer: Offer) -> Reaction:
        """Look for another offer: nothing comes of this one any more."""
        self._refused.add(offer.header.hash)
        self._target, self._trail, self._is_asking = None, None, True
        self._wanted, self._open = [], {}
        self._offers.clear()
        return [Persist(changes=self._list_cleared()), Publish(event=(ENDED, offer.height, offer.header.hash))]

    def _list_cleared(self) -> Changes:
        """The deletion of all rows that are kept of a snapshot."""
        return [*((key, None) for key, _ in self._instance.store.scan(rows.CHUNK)), (rows.SNAPSHOT, None)]

    # --- offers ----------------------------------------------------------------------------------

    def _look_for_offers(self) -> Reaction:
        """Ask all that are ahead, every few seconds, and choose once they have had time to answer."""
        tick = (self._tick - 1) % _ROUND_TICKS
        if tick == 0:
            self._round += 1
            if self._round > _MAX_ROUNDS:
                return self.replay()
            return [self._ask_for_offers(peer) for peer in self._list_ahead()]
        anchor = self._trusted_branch.anchor
        least = self._chain.head.height + 1 if anchor is None else max(self._chain.head.height + 1, anchor.height)
        offer = self._offers.choose(self._refused, least) if tick >= _LEAST_TICKS else None
        return [] if offer is None else self._begin(offer)

    def _ask_for_offers(self, peer: PeerId) -> Action:
        return Send(peer=peer, message=wire.GetSnapshot(known=len(self._offers.handovers)))

    def on_snapshot(self, peer: PeerId, message: wire.Snapshot) -> list[Action]:
        """Cause: a peer offers a snapshot. Raises what is wrong with it."""
        if not self._is_asking or peer not in self._gossip.peers:
            return []
        goes_on = self._offers.take(peer, message)
        return [self._ask_for_offers(peer)] if goes_on else []

    def _begin(self, offer: Offer) -> Reaction:
        self._target, self._is_asking, self._is_linked = offer, False, False
        self._wanted, self._last_tick = [ALL_PATHS], self._tick
        self._failures.clear()
        self._tried.clear()
        raw = offer.to_bytes(self._offers.handovers)
        kept = Persist(changes=[*self._list_cleared(), (rows.SNAPSHOT, raw)])
        return [kept, Publish(event=(BEGUN, offer.height, offer.header.hash))]

    def _list_ahead(self) -> list[PeerId]:
        """The peers that say they are so far ahead that a snapshot is worth its while, or that nothing else helps."""
        assert self._distance is not None, "else it was over before it began"
        least = self._chain.head.height + (self._distance if self._gossip.find_gap() is None else 0)
        return [peer for peer, status in self._gossip.peers.items() if status and status.height > least][:_MAX_PEERS]

    # --- from the anchor to the block --------------------------------------------------------------

    def _needs_trail(self, offer: Offer) -> bool:
        """Tell if it is still to be shown that the block stands on the anchor."""
        anchor = self._trusted_branch.anchor
        self._is_linked = self._is_linked or anchor is None or offer.has(anchor.block_hash)
        return not self._is_linked

    def _follow_trail(self, offer: Offer) -> Reaction:
        """Ask one peer after the other for the headers from the anchor on."""
        anchor, trail = self._trusted_branch.anchor, self._trail
        assert anchor is not None, "there is a trail to follow"
        if anchor.height >= offer.headers[0].height:
            return self._give_up(offer)
        if trail is not None and self._tick < trail.until_tick:
            return []
        peer = next((peer for peer in self._list_able(offer) if peer not in self._tried), None)
        if peer is None:
            return []
        self._tried.add(peer)
        self._trail = _Trail(peer, anchor, self._tick + _TIMEOUT_TICKS)
        return [self._ask_on(self._trail)]

    def _ask_on(self, trail: _Trail) -> Action:
        return Send(peer=trail.peer, message=wire.GetHeaders(locator=(trail.tip.block_hash,)))

    def awaits_headers(self, peer: PeerId) -> bool:
        """True where headers of that peer are to show that a snapshot stands on the anchor."""
        return self._target is not None and self._trail is not None and self._trail.peer == peer

    def on_headers(self, peer: PeerId, message: wire.Headers) -> list[Action]:
        """Cause: a peer gives the headers above the anchor. Raises `BrokenHeaders`, or `OffAnchor` where they end."""
        trail, offer = self._trail, self._target
        assert trail is not None, "they are awaited"
        assert offer is not None, "they are awaited"
        self._trail = None
        if not message.raw:
            anchor = str(self._trusted_branch.anchor)
            raise OffAnchor(height=offer.height, actual=offer.header.hash.hex()[:16], anchor=anchor)
        for raw in message.raw:
            trail.tip = _step_up(trail.tip, read_header(raw))
            if trail.tip.height == offer.headers[0].height:
                break
        self._trail, self._last_tick, trail.until_tick = trail, self._tick, self._tick + _TIMEOUT_TICKS
        if trail.tip.height < offer.headers[0].height:
            return [self._ask_on(trail)]
        self._trail, self._is_linked = None, offer.has(trail.tip.block_hash)
        if not self._is_linked:
            raise BrokenHeaders(detail="they do not lead from the anchor to the block of the snapshot")
        return []

    # --- chunks ----------------------------------------------------------------------------------

    def _ask_for_chunks(self, offer: Offer) -> Reaction:
        """Ask each peer that is free for one more chunk, the widest first; take up the chain when none is left."""
        for peer in [peer for peer, asked in self._open.items() if self._tick >= asked.until_tick]:
            self._put_back(peer)
            self._failures[peer] += 1
        if not self._wanted and not self._open:
            return [SnapshotHere()]
        reaction: list[Step] = []
        for peer in self._list_sources(offer):
            if not self._wanted:
                break
            prefix = min(self._wanted)
            self._wanted.remove(prefix)
            self._open[peer] = _Open(prefix, self._tick + _TIMEOUT_TICKS)
            asked = wire.GetChunk(block_hash=offer.header.hash, depth=prefix.depth, path=prefix.path)
            reaction.append(Send(peer=peer, message=asked))
        return reaction

    def _list_sources(self, offer: Offer) -> list[PeerId]:
        """The peers to ask now: those that have nothing open, first who answers best, then who has made the offer."""
        able = self._list_able(offer)
        fewest = min((self._failures[peer] for peer in able), default=0)
        limit = max(fewest, _MAX_FAILURES - 1)  # where none answers they are asked in turn, for all may come back
        free = [peer for peer in able if peer not in self._open and self._failures[peer] <= limit]
        free.sort(key=lambda peer: (self._failures[peer], not self._offers.has(peer, offer)))
        return free[: _MAX_PEERS - len(self._open)]

    def _list_able(self, offer: Offer) -> list[PeerId]:
        """The peers that are as high as the block, and have not lied."""
        return [
            peer
            for peer, status in self._gossip.peers.items()
            if status is not None and status.height >= offer.height and peer not in self._dropped
        ]

    def on_chunk(self, peer: PeerId, message: wire.Chunk) -> list[Action]:
        """Check a chunk and keep it. Cause: a peer gives it. Raises what is wrong with it."""
        offer, asked = self._target, self._open.get(peer)
        if offer is None or asked is None or message.block_hash != offer.header.hash:
            return []
        self._put_back(peer)
        try:
            chunk = read_chunk(message.raw)
            if not asked.prefix.contains(chunk.prefix):
                raise InvalidProof(detail="a chunk of another place than was asked for")
            check_chunk(offer.header.state_root, chunk)
        except GridmeritError:
            self._dropped.add(peer)
            raise
        rest = find_rest(asked.prefix, chunk.prefix)
        if len(self._wanted) + len(rest) > MAX_WANTED or self._is_idle_talk(peer, chunk, is_narrower=bool(rest)):
            return []
        self._wanted.remove(asked.prefix)
        self._wanted += rest
        self._last_tick = self._tick
        self._failures.pop(peer, None)
        return [Persist(changes=[(_key_of(chunk.prefix), encode(chunk.items))])]

    def _is_idle_talk(self, peer: PeerId, chunk: StateChunk, *, is_narrower: bool) -> bool:
        """Tell if a peer cuts ever narrower chunks in which there is nothing: then it is asked no more."""
        is_short = is_narrower and chunk.size_bytes < _SHORT_BYTES
        self._short[peer] = max(0, self._short[peer] + (1 if is_short else -1))
        if self._short[peer] > _MAX_SHORT:
            self._dropped.add(peer)
        return peer in self._dropped

    def _put_back(self, peer: PeerId) -> None:
        """Want again what a peer was asked for."""
        asked = self._open.pop(peer, None)
        if asked is not None:
            self._wanted.append(asked.prefix)


def _step_up(tip: TrustedBlock, header: Header) -> TrustedBlock:
    if header.parent != tip.block_hash or header.height != tip.height + 1:
        raise BrokenHeaders(detail=f"no link at height {header.height}")
    return TrustedBlock(header.height, header.hash)


# --- rows --------------------------------------------------------------------------------------------


def _key_of(prefix: Prefix) -> bytes:
    return rows.CHUNK + prefix.depth.to_bytes(_DEPTH_BYTES, "big") + prefix.path


def _read_key(key: bytes) -> Prefix:
    return read_prefix(int.from_bytes(key[1 : 1 + _DEPTH_BYTES], "big"), key[1 + _DEPTH_BYTES :])


def read_leaves(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The leaves of a chunk that is kept. Raises `StoreCorrupt`."""
    with as_stored("a chunk"):
        return iter(read_items(decode(raw, max_bytes=_MAX_CHUNK_BYTES, max_items=3 * MAX_CHUNK_LEAVES + 1)))


def read_chunk(raw: bytes) -> StateChunk:
    """Raises the `Malformed` family."""
    value = decode(raw, max_bytes=_MAX_CHUNK_BYTES, max_items=3 * MAX_CHUNK_LEAVES + 1_024)
    return StateChunk.from_value(value)
