"""The validator-set changes of one chain: small proofs, one per change, from each certifying set to the next.

Those that certify now cannot prove it to a reader that knows only their predecessors, whose signatures must be kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from consensus.quorum import QuorumCertificate
from consensus.relays import Relay, make_relays
from ledger.chain import BlockNode, Changes
from ledger.codec import decode
from ledger.genesis import Genesis
from ledger.outbox import get_entries
from ledger.overlay import Overlay
from ledger.sealers import SEALERS
from ledger.store import KeyValue, as_stored
from node.chain.events import Action, ForwardRelay

_ROW = b"K"
_MAX_BYTES = 2_000_000
_MAX_SHOWN = 8  # certificates that a peer which lags behind is shown at once


class SetChanges:
    """All that this node knows, in their order."""

    def __init__(self, genesis: Genesis, store: KeyValue) -> None:
        self._siblings = [genesis.chain_id_of(sibling.name) for sibling in genesis.siblings]
        rows = sorted(store.scan(_ROW))
        with as_stored("a change of voters"):
            self._relays = {key: Relay.from_value(decode(raw, max_bytes=_MAX_BYTES)) for key, raw in rows}

    @property
    def all(self) -> tuple[Relay, ...]:
        return tuple(self._relays[key] for key in sorted(self._relays))

    @property
    def heights(self) -> frozenset[int]:
        """Heights of the blocks after which others certify."""
        return frozenset(relay.header.height for relay in self._relays.values())

    def keep(self, certificate: QuorumCertificate, checkpoint: BlockNode) -> Changes:
        """Rows that keep the proof of the set that certifies after this checkpoint, where it changes."""
        height = checkpoint.height
        if not any(
            entry.kind == SEALERS and entry.height == height for entry in get_entries(Overlay(checkpoint.state))
        ):
            return []  # a change is certified by the certificate of the very block that announces it
        fresh = [
            relay
            for relay in make_relays(certificate, checkpoint.header, checkpoint.state, above_height=height - 1)
            if relay.kind == SEALERS
        ]
        return self.adopt(fresh)

    def adopt(self, handovers: Iterable[Relay]) -> Changes:
        """Rows that keep the proofs of changes, which have been verified."""
        fresh = {_key_of(relay): relay for relay in handovers}
        self._relays |= fresh
        return [(key, relay.to_bytes()) for key, relay in fresh.items()]

    def repeat(self) -> list[Action]:
        """Send the other chains the proofs of all set changes again."""
        return [
            ForwardRelay(chain_id=chain_id, name=relay.name, raw=relay.to_bytes())
            for relay in self.all
            for chain_id in self._siblings
        ]

    def certificates_above(self, height: int) -> list[QuorumCertificate]:
        """The first few above a final height, for a peer that is there: without them it cannot judge what follows."""
        found = {relay.header.hash: relay.certificate for relay in self.all if relay.header.height > height}
        return list(found.values())[:_MAX_SHOWN]


def _key_of(relay: Relay) -> bytes:
    return _ROW + relay.number.to_bytes(8, "big") + relay.part.to_bytes(4, "big")
