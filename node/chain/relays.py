"""Relays on one chain instance: which messages of this chain to carry where, and which from others wait for a block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from consensus.quorum import QuorumCertificate
from consensus.relays import RELAY, Relay, RelayName, accept_relay, is_stale, is_wanted, make_relays
from ledger.chain import BlockNode
from ledger.codec import Value
from ledger.contract import (
    BlockContext,
)
from ledger.genesis import Genesis
from ledger.inbox import Routes
from ledger.overlay import Overlay
from ledger.sealers import SEALERS
from ledger.state import State
from node.chain.contracts import routes_of
from node.chain.events import Action, ForwardRelay

_MAX_WAITING = 512
_KEPT_BLOCKS = 32  # how long a relay is at hand: a reorg may take off the block that held it


class Outgoing:
    """What this chain has to say to the others."""

    def __init__(self, genesis: Genesis) -> None:
        self._kind = genesis.params.kind
        self._destinations = {
            genesis.chain_id_of(sibling.name): routes_of(sibling.kind) for sibling in genesis.siblings
        }
        self._all: tuple[bytes, list[Action]] = (b"", [])  # of the checkpoint with this hash: told again and again

    def deliver_all(self, certificate: QuorumCertificate, checkpoint: BlockNode) -> list[Action]:
        """All that was posted up to a checkpoint, encoded once for each."""
        if self._all[0] != checkpoint.hash:
            self._all = checkpoint.hash, self.deliver(certificate, checkpoint)
        return self._all[1]

    def deliver(self, certificate: QuorumCertificate, checkpoint: BlockNode, *, above_height: int = 0) -> list[Action]:
        """One action for every message part and chain that takes it in, of what was posted above a height."""
        actions: list[Action] = []
        for relay in make_relays(certificate, checkpoint.header, checkpoint.state, above_height=above_height):
            takers = [chain_id for chain_id, routes in self._destinations.items() if (self._kind, relay.kind) in routes]
            raw = relay.to_bytes() if takers else b""
            actions += [ForwardRelay(chain_id=chain_id, name=relay.name, raw=raw) for chain_id in takers]
        return actions


class Waiting:
    """Relays that have been checked and wait for a block. Bounded, oldest out first."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._relays: dict[RelayName, tuple[Relay, int]] = {}

    def add(self, relay: Relay, head: BlockNode, context: BlockContext) -> bool:
        """Keep a relay that would take effect in the next block; whether it was news.

        Raises what `accept_relay` does.
        """
        view = Overlay(head.state)
        if self._is_at_hand(relay.name, view) or not is_wanted(view, relay.name, self._routes):
            return False
        accept_relay(view, context, relay, self._routes)
        self._relays[relay.name] = (relay, head.height)
        if len(self._relays) > _MAX_WAITING:
            del self._relays[next(iter(self._relays))]
        return True

    def needs_relay(self, name: RelayName, state: State) -> bool:
        """Whether a message is neither in a state nor at hand with a proof that still counts."""
        view = Overlay(state)
        return not self._is_at_hand(name, view) and is_wanted(view, name, self._routes)

    def _is_at_hand(self, name: RelayName, view: Overlay) -> bool:
        kept = self._relays.get(name)
        return kept is not None and not is_stale(view, kept[0])

    def drop(self, names: Iterable[RelayName]) -> None:
        """Forget relays that cannot take effect any more; they may be offered again."""
        for name in names:
            self._relays.pop(name, None)

    def on_head(self, height: int) -> None:
        """Forget what has been at hand for long."""
        old = [name for name, (_, since) in self._relays.items() if since + _KEPT_BLOCKS < height]
        for name in old:
            del self._relays[name]

    def for_the_next_block(self, state: State) -> Iterator[tuple[RelayName, tuple[str, Value]]]:
        """Name, and (kind, payload item) of the producer's transaction, of what is at hand and `state` lacks.

        A change of a chain's members comes last: what the old ones have certified counts no more after it.
        """
        view = Overlay(state)
        for relay, _ in sorted(self._relays.values(), key=lambda item: item[0].kind == SEALERS):
            if is_wanted(view, relay.name, self._routes):
                yield relay.name, (RELAY, relay.to_value())
