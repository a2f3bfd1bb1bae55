"""Relays on one chain instance: which messages of this chain to carry where, and which from others wait for a block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from consensus.errors import WrongVoters
from consensus.quorum import QuorumCertificate
from consensus.relays import RELAY, Relay, RelayName, accept_relay, is_stale, is_wanted, make_relays
from ledger.chain import BlockNode
from ledger.codec import Value, decode
from ledger.contract import BlockContext
from ledger.errors import GridmeritError, Rejected, StoreError
from ledger.genesis import Genesis
from ledger.inbox import Routes
from ledger.overlay import Overlay
from ledger.sealers import SEALERS
from ledger.state import State
from node.chain import messages as wire
from node.chain.contracts import routes_of
from node.chain.events import Action, Broadcast, ForwardRelay, PeerId, SetTimer
from node.chain.finality import MAX_FINAL_DEPTH, Finality
from node.chain.gossip import Gossip
from node.chain.instance import Instance
from node.chain.progress import Reaction, WorkPending

_MAX_WAITING = 512
_KEPT_BLOCKS = 32  # how long a relay is at hand: a reorg may take off the block that held it


REPEAT = "repeat"
_MAX_RELAY_BYTES = 2_000_000


class Relays:
    """Messages between this chain and the others of the network, in both directions."""

    def __init__(self, instance: Instance, finality: Finality, gossip: Gossip) -> None:
        self.waiting = Waiting(routes_of(instance.params.kind))
        self._outgoing = Outgoing(instance.genesis)
        self._instance = instance
        self._finality = finality
        self._gossip = gossip

    def on_offered(self, raw: bytes, now_ms: int) -> Reaction:
        """Cause: somebody brings a relay, nobody in particular."""
        try:
            return self.on_relay(raw, None, now_ms)
        except StoreError:
            raise
        except GridmeritError:
            return []

    def on_relay(self, raw: bytes, peer: PeerId | None, now_ms: int) -> Reaction:
        """Keep a relay for the next block and pass it on, where it would take effect. Raises what is wrong with it.

        Causes: a peer passes it on, another chain of this node has it.
        """
        relay = Relay.from_value(decode(raw, max_bytes=_MAX_RELAY_BYTES))
        try:
            is_news = self.waiting.add(relay, self._instance.chain.head, self._instance.make_next_context(now_ms))
        except (Rejected, WrongVoters):
            return []  # too early or too late for it here, or the source's members have changed
        return [Broadcast(message=wire.Relay(raw=raw), but=peer), WorkPending()] if is_news else []

    def repeat(self, now_ms: int) -> list[Action]:
        """Offer other chains all they may still lack: they may have been down when it was news. Cause: a timer."""
        if not self._instance.genesis.siblings:
            return []
        again_ms = min(60_000, max(500, self._instance.params.ledger.period_ms // 2))
        again = SetTimer(name=REPEAT, at_ms=now_ms + again_ms)
        return [again, *self._finality.set_changes.repeat(), *self.deliver_above(0)]

    def deliver_above(self, height: int) -> list[Action]:
        """The relays of the final block for other chains, of what was posted above a height."""
        chain, certificate = self._instance.chain, self._finality.final_certificate
        is_deep = chain.head.height - chain.final_height > MAX_FINAL_DEPTH  # its state would be rebuilt
        checkpoint = None if certificate is None or is_deep else chain.get(chain.final_hash)
        if certificate is None or checkpoint is None or self._gossip.is_syncing:
            return []
        if not height:
            return self._outgoing.deliver_all(certificate, checkpoint)
        return self._outgoing.deliver(certificate, checkpoint, above_height=height)

    def list_for(self, destination: bytes) -> list[tuple[str, int, int, bytes]]:
        """(kind, number, part, bytes) of every relay that this node can make for another chain."""
        return [
            (*action.name[1:], action.raw)
            for action in self.deliver_above(0)
            if isinstance(action, ForwardRelay) and action.chain_id == destination
        ]


class Outgoing:
    """The messages of this chain to the others."""

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
        """True where a message is neither in a state nor at hand with a proof that still counts."""
        view = Overlay(state)
        return not self._is_at_hand(name, view) and is_wanted(view, name, self._routes)

    def _is_at_hand(self, name: RelayName, view: Overlay) -> bool:
        kept = self._relays.get(name)
        return kept is not None and not is_stale(view, kept[0])

    def drop(self, names: Iterable[RelayName]) -> None:
        """Forget relays that cannot take effect any more; they may be offered again."""
        for name in names:
            self._relays.pop(name, None)

    def has_acceptable(self, head: BlockNode, context: BlockContext) -> bool:
        """True where one would take effect in the next block; those that would not any more are forgotten."""
        view = Overlay(head.state)
        for name, (relay, _) in list(self._relays.items()):
            if not is_wanted(view, name, self._routes):
                continue
            try:
                accept_relay(Overlay(head.state), context, relay, self._routes)
            except StoreError:
                raise
            except GridmeritError:
                self.drop([name])
            else:
                return True
        return False

    def on_head(self, height: int) -> None:
        """Forget what has been at hand for long. Cause: the head has moved."""
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
