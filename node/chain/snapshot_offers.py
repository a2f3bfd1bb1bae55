"""Offers of snapshots: what peers say that they hand out, and what must hold of it before any of it is fetched.

The members' handovers since the genesis prove who certifies a block, and their certificate proves its header. What no
certificate covers is the work of its branch under proof of credit assessment: that is taken from so many of those
members that one of them at least is honest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from consensus.engine import Engine
from consensus.errors import WrongVoters
from consensus.quorum import QuorumCertificate, max_faulty
from consensus.relays import Relay
from consensus.set_changes import MAX_HANDOVERS, CertifyingSets
from consensus.timestamps import MEDIAN_SPAN
from ledger.block import Header, read_header
from ledger.chain import Ancestor, BlockNode
from ledger.codec import decode, encode, expect_array, expect_bytes, split
from ledger.errors import WrongChain
from ledger.genesis import Genesis
from ledger.state import State
from node.chain import messages as wire
from node.chain.events import PeerId
from node.chain.header_proofs import read_header_proof
from node.chain.instance import Instance
from node.errors import BrokenHeaders

_MAX_HANDOVER_BYTES = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A certified block whose state can be had, and the headers that lead up to it."""

    headers: tuple[Header, ...]  # in their order, the block's own the last
    certificate: QuorumCertificate
    work: int

    @property
    def header(self) -> Header:
        return self.headers[-1]

    @property
    def height(self) -> int:
        return self.header.height

    def has(self, block_hash: bytes) -> bool:
        """True where one of the headers is that block's."""
        return any(header.hash == block_hash for header in self.headers)

    @property
    def content(self) -> tuple[bytes, int]:
        """Block and work: what peers agree on or not."""
        return self.header.hash, self.work

    def to_bytes(self, handovers: Iterable[Relay]) -> bytes:
        """The offer as it is kept, with the handovers that it was judged by."""
        headers = encode(tuple(header.raw for header in self.headers))
        relays = encode(tuple(relay.to_bytes() for relay in handovers))
        return encode((headers, self.certificate.raw, self.work.to_bytes(40, "big"), relays))


def read_kept(raw: bytes, genesis: Genesis) -> tuple[Offer, tuple[Relay, ...]]:
    """An offer that was kept, and its handovers. Raises as `read_offer` and `read_handovers` do."""
    headers, certificate, work, handovers = expect_array(split(raw, "offer", max_items=4), 4, "offer")
    message = wire.Snapshot(
        headers=split(expect_bytes(headers, "headers"), "headers", max_items=wire.MAX_OFFERED_HEADERS),
        certificate=expect_bytes(certificate, "certificate"),
        work=expect_bytes(work, "work", size=40),
    )
    relays = split(expect_bytes(handovers, "handovers"), "handovers", max_items=MAX_HANDOVERS)
    return read_offer(message, genesis), read_handovers(relays)


def read_offer(message: wire.Snapshot, genesis: Genesis) -> Offer:
    """An offer whose headers lead to its block; nothing is known of the certificate yet.

    Raises `BrokenHeaders`, `UnprovenHeaders`, `WrongChain`, and the `Malformed` family.
    """
    headers = tuple(read_header(raw) for raw in message.headers)
    for parent, child in pairwise(headers):
        if child.parent != parent.hash or child.height != parent.height + 1:
            raise BrokenHeaders(detail=f"no link at height {child.height}")
    first = headers[0].height if headers else 0
    needed = max(MEDIAN_SPAN, genesis.params.consensus.diversity_window) + 2
    if first < 1 or (first > 1 and len(headers) < needed):
        raise BrokenHeaders(detail=f"{len(headers)} headers come with a snapshot, and {needed} are needed")
    if headers[-1].chain_id != genesis.chain_id:
        raise WrongChain(expected=genesis.chain_id.hex()[:16], actual=headers[-1].chain_id.hex()[:16])
    certificate = read_header_proof(headers, message.certificate)
    return Offer(headers=headers, certificate=certificate, work=int.from_bytes(message.work, "big"))


def read_handovers(raw: Iterable[bytes]) -> tuple[Relay, ...]:
    """Raises the `Malformed` family or `DuplicateSigner`."""
    return tuple(Relay.from_value(decode(item, max_bytes=_MAX_HANDOVER_BYTES)) for item in raw)


class Offers:
    """The offers of each peer that hold, and the handovers by which they were judged."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._of: dict[PeerId, dict[bytes, Offer]] = {}
        self.handovers: tuple[Relay, ...] = ()

    def take(self, peer: PeerId, message: wire.Snapshot) -> bool:
        """Note a peer's offer; whether it leads on: there may be more handovers than one message holds.

        Raises what is wrong with it.
        """
        own = self._instance
        offer = read_offer(message, own.genesis)
        if offer.headers[0].height == 1 and offer.headers[0].parent != own.chain.hash_at(0):
            raise BrokenHeaders(detail="they do not lead to the genesis block")
        newest = self.handovers[-1].number if self.handovers else -1
        fresh = tuple(relay for relay in read_handovers(message.handovers) if relay.number > newest)
        sets = CertifyingSets(own.genesis, (*self.handovers, *fresh))
        self.handovers += fresh
        try:
            sets.check_certificate(offer.certificate)
        except WrongVoters:
            return bool(fresh)
        if weigh(offer, own.engine) is not None:
            self._of.setdefault(peer, {})[offer.header.hash] = offer
        return False

    def lost(self, peer: PeerId) -> None:
        self._of.pop(peer, None)

    def clear(self) -> None:
        self._of.clear()

    def choose(self, refused: Iterable[bytes], least_height: int) -> Offer | None:
        """The offer that most peers make, then the highest, of those that enough members stand behind."""
        groups: dict[tuple[bytes, int], list[PeerId]] = {}
        offers: dict[tuple[bytes, int], Offer] = {}
        for peer, of_peer in self._of.items():
            for offer in of_peer.values():
                if offer.header.hash not in refused and offer.height >= least_height:
                    groups.setdefault(offer.content, []).append(peer)
                    offers.setdefault(offer.content, offer)
        sound = [content for content, peers in groups.items() if self._is_borne_out(offers[content], peers)]
        best = max(sound, key=lambda content: (len(groups[content]), offers[content].height, content), default=None)
        return None if best is None else offers[best]

    def has(self, peer: PeerId, offer: Offer) -> bool:
        """True where a peer makes that offer."""
        return offer.header.hash in self._of.get(peer, {})

    def _is_borne_out(self, offer: Offer, peers: list[PeerId]) -> bool:
        """Tell if the work is what the header tells, or where it does not, if enough members say so."""
        own = self._instance
        work = own.engine.find_work(offer.header)
        if work is not None:
            return offer.work == work
        sealers = CertifyingSets(own.genesis, self.handovers).get_voters(offer.certificate.statement.slot).sealers
        others = [sealer for sealer in sealers if not own.is_own(sealer)]
        needed = min(max_faulty(len(sealers)) + 1, len(others))
        return sum(peer in others for peer in peers) >= needed


# --- what the headers tell ---------------------------------------------------------------------------


def weigh(offer: Offer, engine: Engine) -> tuple[Ancestor, ...] | None:
    """The offered headers as entries without their states, each with its work, and the last with its base N_diff.

    None where the headers do not tell it: a block that came so late that its N_diff was cut off.
    """
    work, entries = offer.work, list[Ancestor]()
    for header in reversed(offer.headers):
        entries.append(Ancestor(header=header, work=work, base_n_diff=header.n_diff))
        work -= engine.work_of(header)
    entries.reverse()
    is_possible = work == 0 if offer.headers[0].height == 1 else work > 0
    if not is_possible or len(entries) == 1:
        return None
    base = engine.find_base(offer.header, entries[-2], _Entries(entries))
    return None if base is None else (*entries[:-1], Ancestor(header=offer.header, work=offer.work, base_n_diff=base))


def with_state(entry: Ancestor, state: State) -> BlockNode:
    return BlockNode(
        header=entry.header, work=entry.work, base_n_diff=entry.base_n_diff, state=state, undo={}, arrival=0
    )


class _Entries:
    """Headers as `consensus.engine.Ancestry`, as far down as they go."""

    def __init__(self, entries: list[Ancestor]) -> None:
        self._entries = {entry.hash: entry for entry in entries}

    def ancestors(self, entry: Ancestor) -> Iterator[Ancestor]:
        """The entry, its parent, and so on to the first of the headers."""
        found: Ancestor | None = entry
        while found is not None:
            yield found
            found = self._entries.get(found.header.parent)
