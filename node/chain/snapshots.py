"""Snapshots that this node hands out: the states of a few final blocks, kept for joining nodes as the chain moves on.

A state shares what has not changed with the states after it, so to keep one costs what changes meanwhile. The first
final block of each period is kept, so that peers hand out the same, until two later ones are.
"""

from __future__ import annotations

from itertools import groupby

from consensus.quorum import QuorumCertificate
from consensus.relays import Relay
from consensus.set_changes import CertifyingSets
from ledger.chain import BlockNode
from ledger.codec import encode
from ledger.errors import BelowHorizon, VerificationFailed
from ledger.state_chunks import Prefix, cut_chunk
from node.chain import messages as wire
from node.chain.events import Action, PeerId, Send
from node.chain.instance import Instance
from node.chain.serving import Serving
from node.chain.set_changes import SetChanges

_KEPT = 2
_MAX_HANDOVER_BYTES = 2_000_000
_MAX_CHUNK_BYTES = 4_000_000


class Snapshots:
    """The states that are kept, and what peers are given of them and of the headers below them."""

    def __init__(self, instance: Instance, serving: Serving, set_changes: SetChanges) -> None:
        self._instance = instance
        self._chain = instance.chain
        self._serving = serving
        self._set_changes = set_changes
        self._kept: list[tuple[BlockNode, QuorumCertificate]] = []

    def on_final(self, certificate: QuorumCertificate | None) -> None:
        """Keep the state of the final block, where it is a period's first. Causes: a final block, the start."""
        final_hash = self._chain.final_hash
        is_its = certificate is not None and certificate.statement.block_hash == final_hash
        final = self._chain.get(final_hash) if is_its and self._chain.is_recent(final_hash) else None
        if certificate is None or final is None:
            return
        if final.height and (not self._kept or final.header.period > self._kept[-1][0].header.period):
            self._kept = [*self._kept, (final, certificate)][-_KEPT:]

    # --- answering -------------------------------------------------------------------------------

    def give_snapshots(self, peer: PeerId, known: int, now_ms: int) -> list[Action]:
        """Offer what is kept, and who has certified this chain since the founders. Raises `ServedTooMuch`.

        Cause: a peer that wants to join asks.
        """
        self._serving.check(peer, now_ms)
        handovers = self._set_changes.all
        offers = [
            wire.Snapshot(
                headers=self._list_headers(block),
                certificate=certificate.raw,
                work=block.work.to_bytes(40, "big"),
                handovers=_take_fitting(handovers[known:]),
            )
            for block, certificate in self._kept
            if self._is_provable(certificate, handovers)
        ]
        for offer in offers:
            parts = (*offer.headers, offer.certificate, *offer.handovers)
            self._serving.charge(peer, now_ms, rows=len(parts), size_bytes=sum(map(len, parts)))
        return [Send(peer=peer, message=offer) for offer in offers]

    def give_chunk(self, peer: PeerId, asked: wire.GetChunk, now_ms: int) -> list[Action]:
        """Cut a chunk of a state that is kept; nothing of another. Raises `ServedTooMuch`. Cause: a peer joins."""
        self._serving.check(peer, now_ms)
        state = next((block.state for block, _ in self._kept if block.hash == asked.block_hash), None)
        if state is None:
            self._serving.charge(peer, now_ms, rows=1, size_bytes=0)
            return []
        chunk = cut_chunk(state, Prefix(asked.depth, asked.path))
        raw = encode(chunk.to_value())
        self._serving.charge(peer, now_ms, rows=len(chunk.items), size_bytes=len(raw))
        fits = len(raw) <= _MAX_CHUNK_BYTES
        return [Send(peer=peer, message=wire.Chunk(block_hash=asked.block_hash, raw=raw))] if fits else []

    def give_ancestors(self, peer: PeerId, block_hash: bytes, now_ms: int) -> list[Action]:
        """The headers right below a block. Raises `ServedTooMuch`, `BelowHorizon` where none is held.

        Cause: a peer that has joined completes its skeleton.
        """
        self._serving.check(peer, now_ms)
        self._serving.charge(peer, now_ms, rows=1, size_bytes=0)
        header = self._chain.get_header(block_hash)
        if header is None or not self._chain.is_canonical(header):
            return []
        lowest = max(1, self._chain.lowest_height)
        if header.height <= lowest:
            raise BelowHorizon(height=header.height - 1, lowest=lowest)
        raw = self._chain.get_raw_headers(range(max(lowest, header.height - wire.MAX_ITEMS), header.height))
        self._serving.charge(peer, now_ms, rows=len(raw), size_bytes=sum(map(len, raw)))
        return [Send(peer=peer, message=wire.Ancestors(raw=raw))]

    # --- inside ----------------------------------------------------------------------------------

    def _list_headers(self, block: BlockNode) -> tuple[bytes, ...]:
        lowest = max(1, self._chain.lowest_height, block.height + 1 - wire.MAX_OFFERED_HEADERS)
        return self._chain.get_raw_headers(range(lowest, block.height + 1))

    def _is_provable(self, certificate: QuorumCertificate, handovers: tuple[Relay, ...]) -> bool:
        """Tell if the handovers lead to those who signed: a node that has caught up may lack one."""
        try:
            CertifyingSets(self._instance.genesis, handovers).check_certificate(certificate)
        except VerificationFailed:
            return False
        return True


def _take_fitting(handovers: tuple[Relay, ...]) -> tuple[bytes, ...]:
    """The first handovers, each with all its parts, for which a message has room."""
    found: list[bytes] = []
    for _, parts in groupby(handovers, key=lambda relay: relay.number):
        raw = [relay.to_bytes() for relay in parts]
        if len(found) + len(raw) > wire.MAX_HANDOVERS or sum(map(len, found + raw)) > _MAX_HANDOVER_BYTES:
            break
        found += raw
    return tuple(found)
