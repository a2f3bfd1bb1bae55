"""Downloads: each thing is asked of one peer at a time, and of the next source when that one does not answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from node.chain.events import PeerId

_MAX_SOURCES = 8


@dataclass(slots=True)
class _Want:
    first: PeerId  # the peer that spoke of it first: it takes one of that one's places
    sources: list[PeerId] = field(default_factory=list)  # not asked yet
    asked: PeerId | None = None
    deadline_ms: int = 0


class Downloads:
    """Wants, their sources, and the peers that have been asked.

    Bounded in wants, in all and by the peer that spoke of them first, in sources and in load per peer.
    """

    def __init__(self, *, timeout_ms: int, max_wanted: int, max_offered: int, max_per_peer: int) -> None:
        """`max_offered` is how many wants a peer may be the first to speak of, `max_per_peer` what it is asked for."""
        self._timeout_ms = timeout_ms
        self._max_wanted = max_wanted
        self._max_offered = max_offered
        self._max_per_peer = max_per_peer
        self._wants: dict[bytes, _Want] = {}
        self._offered: Counter[PeerId] = Counter()
        self._load: dict[PeerId, int] = {}
        self._failures: Counter[PeerId] = Counter()  # requests in a row that came to nothing

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._wants

    def __len__(self) -> int:
        return len(self._wants)

    def offer(self, identity: bytes, peer: PeerId) -> None:
        """Note that `peer` has something that is wanted."""
        want = self._wants.get(identity)
        if want is None:
            if len(self._wants) >= self._max_wanted or self._offered[peer] >= self._max_offered:
                return
            want = self._wants[identity] = _Want(first=peer)
            self._offered[peer] += 1
        if peer != want.asked and peer not in want.sources and len(want.sources) < _MAX_SOURCES:
            want.sources.append(peer)

    def forget(self, identity: bytes) -> None:
        """Want something no more; that speaks for no peer that was asked for it."""
        if (want := self._wants.get(identity)) is not None:
            self._drop(identity, want)

    def arrived(self, identity: bytes) -> bool:
        """Forget a want; whether it was one."""
        want = self._wants.get(identity)
        if want is None:
            return False
        if want.asked is not None:
            del self._failures[want.asked]
        self._drop(identity, want)
        return True

    def lost(self, peer: PeerId) -> None:
        """Ask nothing more of a peer."""
        for want in self._wants.values():
            if peer in want.sources:
                want.sources.remove(peer)
            if want.asked == peer:
                want.asked = None
        self._load.pop(peer, None)
        del self._failures[peer]

    def requests(self, now_ms: int) -> dict[PeerId, list[bytes]]:
        """Wants to ask for now, by peer. A want that every source has failed is dropped; it may be offered again."""
        asks: dict[PeerId, list[bytes]] = {}
        hopeless = []
        for identity, want in self._wants.items():
            if want.asked is not None and now_ms < want.deadline_ms:
                continue
            if want.asked is not None:
                self._failures[want.asked] += 1
            self._release(want)
            if (peer := self._choose(want.sources)) is not None:
                want.sources.remove(peer)
                want.asked, want.deadline_ms = peer, now_ms + self._timeout_ms
                self._load[peer] = self._load.get(peer, 0) + 1
                asks.setdefault(peer, []).append(identity)
            elif not want.sources:
                hopeless.append(identity)
        for identity in hopeless:
            self._drop(identity, self._wants[identity])
        return asks

    def _choose(self, sources: list[PeerId]) -> PeerId | None:
        """The first that is free of those that answer best.

        While they are busy a thing waits for them, and is not asked of one that withholds.
        """
        fewest = min((self._failures[source] for source in sources), default=0)
        best = (source for source in sources if self._failures[source] == fewest)
        return next((source for source in best if self._load.get(source, 0) < self._max_per_peer), None)

    def _drop(self, identity: bytes, want: _Want) -> None:
        self._release(want)
        del self._wants[identity]
        self._offered[want.first] -= 1
        if not self._offered[want.first]:
            del self._offered[want.first]

    def _release(self, want: _Want) -> None:
        if want.asked is not None:
            self._load[want.asked] = max(0, self._load.get(want.asked, 0) - 1)
            want.asked = None
