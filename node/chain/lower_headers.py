"""The skeleton below a snapshot: the headers down to the genesis block, fetched once a chain has been taken up from it.

Each header names its parent by hash, so whatever leads up to the lowest one held is true, whoever brings it. At the
genesis block it shows, too, whether the work that members gave the snapshot's branch was the sum of its blocks'.
"""

from __future__ import annotations

from ledger.block import read_header
from ledger.chain import Ancestor
from node.chain import messages as wire
from node.chain.events import Action, PeerId, Persist, Publish, Send, SetTimer
from node.chain.gossip import Gossip
from node.chain.instance import Instance
from node.errors import BrokenHeaders

LOWER_HEADERS = "lower-headers"
WORK_DIFFERS = "snapshot-work-differs"
_PACE_MS = 100  # between two requests: it is never urgent
_PATIENCE_BEATS = 2


class LowerHeaders:
    """One request at a time, to one peer as long as it answers, and then to the next."""

    def __init__(self, instance: Instance, gossip: Gossip) -> None:
        self._chain = instance.chain
        self._engine = instance.engine
        self._gossip = gossip
        self._asked: PeerId | None = None
        self._beats = 0  # since it was asked
        self._turn = 0

    def on_beat(self) -> list[Action]:
        """Ask the next peer where the last one does not answer. Cause: a heartbeat."""
        self._beats += 1
        if not self._chain.lowest_height or (self._asked is not None and self._beats < _PATIENCE_BEATS):
            return []
        peers = [peer for peer, status in self._gossip.peers.items() if status is not None]
        if not peers:
            return []
        self._turn += 1
        return self._ask(peers[self._turn % len(peers)])

    def on_timer(self) -> list[Action]:
        """Go on with the peer that has answered. Cause: a timer."""
        return [] if self._asked is None or not self._chain.lowest_height else self._ask(self._asked)

    def on_ancestors(self, peer: PeerId, message: wire.Ancestors, now_ms: int) -> list[Action]:
        """Cause: a peer gives headers. Raises `BrokenHeaders` and the `Malformed` family."""
        if peer != self._asked or not message.raw or not self._chain.lowest_height:
            return []
        self._asked = None
        lowest = self._chain.get_ancestor(self._chain.hash_at(self._chain.lowest_height) or b"")
        assert lowest is not None, "its header is held"
        entries: list[Ancestor] = []
        for raw in reversed(message.raw):
            header = read_header(raw)
            if header.hash != lowest.header.parent or header.height == 0:
                raise BrokenHeaders(detail=f"no link below height {lowest.height}")
            work = lowest.work - self._engine.work_of(lowest.header)
            lowest = Ancestor(header=header, work=work, base_n_diff=header.n_diff)
            entries.append(lowest)
        self._asked, self._beats = peer, 0
        kept = Persist(changes=self._chain.extend_below(entries[::-1]))
        if lowest.height > 1:
            return [kept, SetTimer(name=LOWER_HEADERS, at_ms=now_ms + _PACE_MS)]
        excess = lowest.work - self._engine.work_of(lowest.header)
        return [kept, *([Publish(event=(WORK_DIFFERS, str(excess)))] if excess else [])]

    def _ask(self, peer: PeerId) -> list[Action]:
        self._asked, self._beats = peer, 0
        block_hash = self._chain.hash_at(self._chain.lowest_height)
        assert block_hash is not None, "its header is held"
        return [Send(peer=peer, message=wire.GetAncestors(block_hash=block_hash))]
