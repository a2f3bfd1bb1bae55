"""A member with two cores: one that all know, and a secret one that seals on a branch of its own.

The open core is the honest node: it follows the public chain, relays and answers, and never lies. The secret core has
the same key and no peers but its `audience`. What passes from one to the other is the attack: `adopt` brings the public
chain to the secret core, `release` brings secret blocks to the public. So a withheld block is in no status, no answer
and no announcement, because the core that speaks does not have it.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import ClassVar

from ledger.chain import Ancestor, BlockNode
from ledger.codec import encode
from ledger.store import MemoryStore
from node.chain import messages as wire
from node.chain.events import (
    Action,
    Broadcast,
    ClockSet,
    Event,
    MessageReceived,
    PeerConnected,
    PeerId,
    PeerLost,
    PenalisePeer,
    Persist,
    SealFound,
    Send,
    SetTimer,
    Started,
    StartSealing,
    StopSealing,
    TimerFired,
)
from node.chain.node import ChainNode
from simulation.attacks.policy import Policy

_SECRET = "secret/"  # before the names of the secret core's timers
_REQUESTS = (wire.GetHeaders, wire.GetBlocks, wire.GetTransactions)


class PrivateChainAttacker(Policy):
    """All hash power goes to the secret core. Without a subclass's hooks this is an honest member, block by block."""

    relays_blocks: ClassVar[bool] = True  # whether it passes on what others seal, to the good of their branch

    def __init__(self, node: ChainNode, random: Random) -> None:
        super().__init__(node, random)
        assert node.key is not None, "an observer has nothing to withhold"
        self.key = node.key
        self.me: PeerId = node.key.public_key  # what each core knows the other as
        self.audience: frozenset[PeerId] = frozenset()  # peers that talk with the secret core and not with the open one
        self._store = MemoryStore()
        self.secret = ChainNode(node.genesis, self._store, key=node.key, is_sure=True, engine=node.engine)

    # --- what an attack decides ------------------------------------------------------------------

    def on_public_block(self, now_ms: int) -> list[Action]:
        """The public head has moved, and not by our own release."""
        return self.adopt(now_ms)

    def on_secret_block(self, now_ms: int) -> list[Action]:
        """The secret head has moved, and not by adopting."""
        return self.release(now_ms)

    # --- the port --------------------------------------------------------------------------------

    def step(self, event: Event, now_ms: int) -> list[Action]:
        match event:
            case Started():
                connect = PeerConnected(peer=self.me)
                return [
                    *self._openly(event, now_ms),
                    *self._hidden(event, now_ms),
                    *self._hidden(connect, now_ms),
                    *self.adopt(now_ms),
                ]
            case ClockSet():
                return [*self._openly(event, now_ms), *self._secretly(event, now_ms)]
            case SealFound() | TimerFired(name="reseal"):  # the open core seals nothing, so this timer is the other's
                return self._secretly(event, now_ms)
            case TimerFired(name=name) if name.startswith(_SECRET):
                return self._secretly(TimerFired(name=name.removeprefix(_SECRET)), now_ms)
            case MessageReceived(peer=peer, message=wire.Votes() | wire.TradeResult() | wire.Certificate()) if (
                peer in self.audience
            ):
                return []  # they could lead the secret core back to the public chain
            case MessageReceived(peer=peer) | PeerConnected(peer=peer) | PeerLost(peer=peer) if peer in self.audience:
                return self._secretly(event, now_ms)
        before = self.public_head.hash
        actions = self._openly(event, now_ms)
        if self.public_head.hash != before:
            actions += self.on_public_block(now_ms)
        return actions

    # --- the two branches ------------------------------------------------------------------------

    @property
    def public_head(self) -> BlockNode:
        return self.node.chain.head

    @property
    def secret_head(self) -> BlockNode:
        return self.secret.chain.head

    @property
    def lead(self) -> int:
        """Blocks by which the secret branch is longer than the public one."""
        return self.secret_head.height - self.public_head.height

    def withheld(self) -> list[Ancestor]:
        """Blocks of the secret branch that the public has not been shown, from the bottom."""
        entries = []
        for entry in self.secret.chain.ancestors(self.secret_head):
            if self.node.chain.get_header(entry.hash) is not None:
                break
            entries.append(entry)
        return entries[::-1]

    def adopt(self, now_ms: int) -> list[Action]:
        """Show the secret core the public chain; it leaves its own branch where that has less work."""
        head = self.public_head
        if self.secret.chain.get_header(head.hash) is not None:
            return []
        if self.secret.chain.is_recent(head.header.parent):
            return self._tell(self.secret, announce(self.node, head), now_ms)
        return self._tell(self.secret, get_status(self.node), now_ms)

    def release(self, now_ms: int, *, up_to: int | None = None) -> list[Action]:
        """Announce withheld blocks up to a height, by default all of them."""
        actions: list[Action] = []
        for entry in self.withheld():
            if up_to is not None and entry.height > up_to:
                break
            shown = announce(self.secret, entry)
            told = self._tell(self.node, shown, now_ms)
            actions += [action for action in told if not _is_announcement(action)]
            actions += self._say_openly(Broadcast(message=shown))
        return actions

    def turn_to(self, peers: Iterable[PeerId], now_ms: int) -> list[Action]:
        """From now on the secret core talks with these peers, and the open one is silent to them."""
        actions: list[Action] = []
        for peer in peers:
            actions += self._openly(PeerLost(peer=peer), now_ms)
            self.audience |= {peer}
            actions += self._hidden(PeerConnected(peer=peer), now_ms)
        return actions

    # --- the two cores ---------------------------------------------------------------------------

    def _tell(self, core: ChainNode, message: wire.Message, now_ms: int) -> list[Action]:
        """Give one core a message from the other."""
        return self._drive(core, MessageReceived(peer=self.me, message=message), now_ms)

    def _drive(self, core: ChainNode, event: Event, now_ms: int) -> list[Action]:
        """A step of one core, and those that follow where the other answers what it asks for."""
        is_secret = core is self.secret
        other = self.node if is_secret else self.secret
        actions: list[Action] = []
        waiting = [event]
        while waiting:
            said = core.step(waiting.pop(0), now_ms)
            actions += self._keep_secret(said) if is_secret else self._keep_open(said)
            for action in said:
                if isinstance(action, Send) and action.peer == self.me and isinstance(action.message, _REQUESTS):
                    answers = other.step(MessageReceived(peer=self.me, message=action.message), now_ms)
                    told = [answer.message for answer in answers if isinstance(answer, Send)]
                    waiting += [MessageReceived(peer=self.me, message=message) for message in told]
        return actions

    def _openly(self, event: Event, now_ms: int) -> list[Action]:
        return self._drive(self.node, event, now_ms)

    def _hidden(self, event: Event, now_ms: int) -> list[Action]:
        return self._drive(self.secret, event, now_ms)

    def _secretly(self, event: Event, now_ms: int) -> list[Action]:
        """A step of the secret core, and what the attack makes of a block that it found or was given."""
        before = self.secret_head.hash
        actions = self._hidden(event, now_ms)
        if self.secret_head.hash != before:
            actions += self.on_secret_block(now_ms)
        return actions

    def _keep_open(self, actions: Iterable[Action]) -> list[Action]:
        """Filter the open core's actions: it seals nothing, and says nothing to peers of the secret one."""
        kept: list[Action] = []
        for action in actions:
            match action:
                case StartSealing() | StopSealing() | SetTimer(name="reseal"):
                    pass
                case Send(peer=peer) | PenalisePeer(peer=peer) if peer == self.me or peer in self.audience:
                    pass
                case Broadcast(message=wire.NewBlock()) if not self.relays_blocks:
                    pass
                case Broadcast():
                    kept += self._say_openly(action)
                case _:
                    kept.append(action)
        return kept

    def _say_openly(self, action: Broadcast) -> list[Action]:
        """Tell all but the audience of the secret core."""
        if not self.audience:
            return [action]
        others = [peer for peer in self.node.peers if peer != action.but and peer not in self.audience]
        return [Send(peer=peer, message=action.message) for peer in others]

    def _keep_secret(self, actions: Iterable[Action]) -> list[Action]:
        """Of what the secret core does: it alone seals, its store is here, and only its audience hears it."""
        kept: list[Action] = []
        for action in actions:
            match action:
                case Persist(changes=changes):
                    self._store.write(changes)
                case StartSealing() | StopSealing() | SetTimer(name="reseal"):
                    kept.append(action)
                case SetTimer(name=name, at_ms=at_ms):
                    kept.append(SetTimer(name=_SECRET + name, at_ms=at_ms))
                case Send(peer=peer) if peer in self.audience:
                    kept.append(action)
                case Broadcast(message=message, but=but):
                    kept += [Send(peer=peer, message=message) for peer in sorted(self.audience) if peer != but]
        return kept


def _is_announcement(action: Action) -> bool:
    return isinstance(action, Broadcast | Send) and isinstance(action.message, wire.NewBlock)


def announce(core: ChainNode, entry: Ancestor) -> wire.NewBlock:
    """A core's announcement of a block that it has."""
    block = core.chain.get_block(entry.hash)
    assert block is not None
    ids = tuple(transaction.id for transaction in block.transactions)
    return wire.NewBlock(header=encode(block.header.to_value()), ids=ids)


def get_status(core: ChainNode) -> wire.Status:
    """A core's status, in its own words."""
    head = core.chain.head
    work = head.work.to_bytes(40, "big")
    return wire.Status(head=head.hash, height=head.height, work=work, final_height=core.chain.final_height)
