"""Everything said between peers that changes no ledger: what peers have, requests to them, and answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from consensus.quorum import QuorumCertificate
from ledger.block import Block, Header, compute_tx_root
from ledger.chain import BlockNode, Chain
from ledger.mempool import Mempool
from ledger.transaction import Transaction
from node.chain import messages as wire
from node.chain.downloads import Downloads
from node.chain.events import Action, Broadcast, PeerId, PenalisePeer, Send
from node.chain.progress import BlockReceived, Reaction
from node.chain.serving import Serving
from node.chain.skeleton import NO_CLAIM, Claim
from node.chain.sync import MAX_SKELETON, Sync
from node.chain.trusted_block import TrustedBranch
from node.errors import BlockPruned

_FETCH_TIMEOUT_MS = 2_000
_MAX_WANTED_TRANSACTIONS = 20_000
_MAX_WANTED_BLOCKS = 256
_MAX_TRANSACTIONS_PER_PEER = 2_048
_MAX_REPLY_BYTES = 4_000_000
_MAX_PUSHED_BYTES = 1_000_000
PASS_ON_AFTER_MS = 100  # by then most of what came in one after the other makes one announcement


class Gossip:
    """The peers of one chain instance as far as downloads go. Bounded by its fetchers and the skeleton's limit.

    `is_known` says whether a block needs no download: it is in the tree, put off or condemned.
    """

    def __init__(
        self,
        chain: Chain,
        mempool: Mempool,
        *,
        stall_beats: int,
        is_known: Callable[[bytes], bool],
        trusted_branch: TrustedBranch,
    ) -> None:
        self.peers: dict[PeerId, wire.Status | None] = {}
        self.serving = Serving()
        self._chain = chain
        self._mempool = mempool
        self._is_known = is_known
        self._trusted_branch = trusted_branch
        self._turn = 0
        self._to_pass_on: dict[bytes, PeerId] = {}  # transactions that came from a peer, to be announced to the others
        self._unfollowable: set[PeerId] = set()  # peers on a branch that forks off below what is settled here
        self._retracted: set[PeerId] = set()  # peers that dropped bodies from under a skeleton of theirs
        self._transactions = Downloads(
            timeout_ms=_FETCH_TIMEOUT_MS,
            max_wanted=_MAX_WANTED_TRANSACTIONS,
            max_offered=_MAX_TRANSACTIONS_PER_PEER,
            max_per_peer=_MAX_TRANSACTIONS_PER_PEER,
        )
        self._bodies = Downloads(
            timeout_ms=_FETCH_TIMEOUT_MS,
            max_wanted=_MAX_WANTED_BLOCKS,
            max_offered=_MAX_WANTED_BLOCKS // 2,
            max_per_peer=wire.MAX_BLOCKS,
        )
        self.sync = Sync(chain, self._bodies, stall_beats=stall_beats)

    @property
    def is_syncing(self) -> bool:
        """True while the node is too far behind to seal or vote: so it is until it has come to its anchor."""
        return self.sync.is_held or self.sync.is_far_behind or self._trusted_branch.is_awaited

    # --- peers -----------------------------------------------------------------------------------

    def connected(self, peer: PeerId) -> list[Action]:
        self.peers[peer] = None
        offers = announce_transactions(transaction.id for transaction in self._mempool)
        return [Send(peer=peer, message=self.status()), *(Send(peer=peer, message=offer) for offer in offers)]

    def lost(self, peer: PeerId) -> None:
        self.peers.pop(peer, None)
        self._unfollowable.discard(peer)
        self._retracted.discard(peer)
        self._transactions.lost(peer)
        self._bodies.lost(peer)
        self.sync.lost(peer)

    def note_status(self, peer: PeerId, status: wire.Status) -> None:
        """Remember where a peer stands; one that has learnt of a certificate is no stray any more.

        A peer may come to hold older bodies than before. One that has dropped them from under a skeleton of its does
        not get them back while it is connected: it could have us follow it, and begin anew, again and again.
        """
        before = self.peers.get(peer)
        if peer in self._retracted and before is not None and before.bodies_from > status.bodies_from:
            status = replace(status, bodies_from=before.bodies_from)
        self.peers[peer] = status
        if before is None or before.final_height != status.final_height:
            self._unfollowable.discard(peer)
        skeleton = self.sync.skeleton
        if skeleton is not None and skeleton.source == peer and self.lacks_body(peer, skeleton.first):
            self._retracted.add(peer)
            self.avoid(peer)

    def disbelieve(self, peer: PeerId) -> None:
        """Forget where a peer said that it stands: it has shown all that it has, and that was less."""
        if peer in self.peers:
            self.peers[peer] = None

    def status(self) -> wire.Status:
        head = self._chain.head
        return wire.Status(
            head=head.hash,
            height=head.height,
            work=head.work.to_bytes(40, "big"),
            final_height=self._chain.final_height,
            bodies_from=self._chain.bodies_from,
        )

    def get_usage(self) -> dict[str, tuple[int, int]]:
        """Number of things wanted, and the most there may be, by what they are."""
        return {
            "wanted transactions": (len(self._transactions), _MAX_WANTED_TRANSACTIONS),
            "wanted blocks": (len(self._bodies), _MAX_WANTED_BLOCKS),
            "headers to catch up": (0 if self.sync.skeleton is None else len(self.sync.skeleton), MAX_SKELETON),
        }

    # --- passing on ------------------------------------------------------------------------------

    def pass_on(self, peer: PeerId, ids: Iterable[bytes]) -> bool:
        """Note what a peer has brought; whether a `flush` is due `PASS_ON_AFTER_MS` later that was not before."""
        was_empty = not self._to_pass_on
        self._to_pass_on.update((identity, peer) for identity in ids)
        return was_empty and bool(self._to_pass_on)

    def flush(self) -> list[Action]:
        """Announce what peers have brought and is pending still, to each of the others."""
        sources: dict[PeerId, list[bytes]] = {}
        for identity, peer in self._to_pass_on.items():
            if identity in self._mempool:
                sources.setdefault(peer, []).append(identity)
        self._to_pass_on.clear()
        return [action for peer, ids in sources.items() for action in broadcast_transactions(ids, but=peer)]

    # --- wanting ---------------------------------------------------------------------------------

    def want_transactions(self, peer: PeerId, ids: Iterable[bytes]) -> None:
        for identity in ids:
            if identity not in self._mempool:
                self._transactions.offer(identity, peer)

    def want_block(self, peer: PeerId, block_hash: bytes) -> None:
        self._bodies.offer(block_hash, peer)

    def is_wanted(self, block_hash: bytes) -> bool:
        return block_hash in self._bodies

    def took_transaction(self, identity: bytes) -> bool:
        """Note that a transaction arrived, asked for or not; whether it is news."""
        self._transactions.arrived(identity)
        return identity not in self._mempool

    def took_block(self, block_hash: bytes) -> bool:
        """Note that a block arrived; whether it had been asked for."""
        return self._bodies.arrived(block_hash)

    def take_announced(self, peer: PeerId, message: wire.NewBlock, header: Header, now_ms: int) -> Reaction:
        """Put an announced block together from pending transactions, or get it whole."""
        known = [self._mempool.get(identity) for identity in message.ids]
        transactions = tuple(transaction for transaction in known if transaction is not None)
        if len(transactions) == len(known) and compute_tx_root(transactions) == header.tx_root:
            return [BlockReceived(Block(header=header, transactions=transactions), peer)]
        self.want_block(peer, header.hash)
        return self.fetch(now_ms)

    def fetch(self, now_ms: int) -> list[Action]:
        """Ask for what is wanted and not on its way."""
        actions: list[Action] = []
        for peer, ids in self._transactions.requests(now_ms).items():
            for part in _parts(ids, wire.MAX_ITEMS):
                actions.append(Send(peer=peer, message=wire.GetTransactions(ids=part)))
        for peer, ids in self._bodies.requests(now_ms).items():
            for part in _parts(ids, wire.MAX_BLOCKS):
                actions.append(Send(peer=peer, message=wire.GetBlocks(ids=part)))
        return actions

    # --- catching up -----------------------------------------------------------------------------

    def ask_headers(self, peer: PeerId, now_ms: int) -> list[Action]:
        """Ask a peer for headers from where our chain and its may part, unless such a request is open."""
        if not self.sync.may_ask(peer, now_ms, claim=self._claim_of(peer)):
            return []
        self.sync.begin_round(peer)
        return [Send(peer=peer, message=wire.GetHeaders(locator=self._chain.locator()))]

    def ask_more_headers(self, peer: PeerId, after: tuple[bytes, ...], now_ms: int) -> list[Action]:
        """Ask a peer to go on after a header of its own."""
        if not after or not self.sync.may_ask(peer, now_ms, claim=self._claim_of(peer), goes_on=True):
            return []
        return [Send(peer=peer, message=wire.GetHeaders(locator=after))]

    def is_stray(self, peer: PeerId, header: Header) -> bool:
        """Return True if a peer's branch forks off below what is settled: it cannot be followed, so leave it alone."""
        forked_at = self._chain.fork_height(header.parent)
        if forked_at is None or forked_at >= self._trusted_branch.settled_height:
            return False
        self.sync.lost(peer)
        self._unfollowable.add(peer)
        return True

    def lacks_body(self, peer: PeerId, header: Header | None) -> bool:
        """Return True if a peer says that it has pruned the body of a block."""
        status = self.peers.get(peer)
        return header is not None and status is not None and header.height < status.bodies_from

    def avoid(self, peer: PeerId) -> None:
        """Leave alone a peer with a branch that has turned out to be wrong, and drop what it has made us look for."""
        if self.sync.skeleton is not None and self.sync.skeleton.source == peer:
            self.sync.reset()
        self.sync.lost(peer)
        self._unfollowable.add(peer)

    def want_bodies(self, now_ms: int) -> list[Action]:
        """Want the next bodies of the skeleton, and ask for what is wanted."""
        said = {peer: status for peer, status in self.peers.items() if status is not None}
        self.sync.want_bodies({peer: range(one.bodies_from, one.height + 1) for peer, one in said.items()})
        return self.fetch(now_ms)

    def ask_one_ahead(self, now_ms: int) -> list[Action]:
        """Ask a peer that says it is ahead for its headers, in turn.

        One that claims much and answers nothing must not be asked again and again.
        """
        if not self.sync.may_look(now_ms):
            return []
        ahead = [peer for peer in self._list_ahead() if not self._is_past(self.peers[peer])]
        if not ahead:
            return []
        self._turn += 1
        return self.ask_headers(ahead[self._turn % len(ahead)], now_ms)

    def find_gap(self) -> int | None:
        """The lowest height from which any peer that is ahead has bodies, where none has the next one of this chain.

        No peer can bring such a node up: an archive node must, or a snapshot.
        """
        ahead = [status for peer in self._list_ahead() if (status := self.peers[peer]) is not None]
        if not ahead or not all(map(self._is_past, ahead)):
            return None
        return min(status.bodies_from for status in ahead)

    def _list_ahead(self) -> list[PeerId]:
        followable = (one for one in self.peers.items() if one[0] not in self._unfollowable)
        return [peer for peer, status in followable if self._is_ahead(status)]

    def _is_past(self, status: wire.Status | None) -> bool:
        """True where a peer has pruned what would come next on this chain."""
        return status is not None and status.bodies_from > self._chain.head.height + 1

    def _claim_of(self, peer: PeerId) -> Claim:
        status = self.peers.get(peer)
        return NO_CLAIM if status is None else Claim(work=_work_of(status), final_height=status.final_height)

    def _is_ahead(self, status: wire.Status | None) -> bool:
        """True of a peer with a better head, once it knows what is final here: it might leave its head for that."""
        if status is None or status.final_height < self._chain.final_height:
            return False
        is_heavier = _work_of(status) > self._chain.head.work
        return (is_heavier or self._trusted_branch.may_be_at(status.height)) and not self._is_known(status.head)

    # --- answering -------------------------------------------------------------------------------

    def give_transactions(self, peer: PeerId, ids: tuple[bytes, ...], now_ms: int) -> list[Action]:
        """Raises `ServedTooMuch`, as all that answer do."""
        self.serving.check(peer, now_ms)
        found = _take_fitting(item.raw for item in map(self._mempool.get, ids) if item is not None)
        self._charge(peer, now_ms, len(ids), found)
        return [Send(peer=peer, message=wire.Transactions(raw=found))] if found else []

    def give_headers(
        self, peer: PeerId, heights: range, certificate: bytes, now_ms: int, *, looked_up: int
    ) -> list[Action]:
        """Canonical headers and what proves them; `looked_up` rows have been read in order to know which."""
        headers = self._chain.get_raw_headers(heights)
        self._charge(peer, now_ms, looked_up + len(headers), (*headers, certificate))
        return [Send(peer=peer, message=wire.Headers(raw=headers, certificate=certificate))]

    def give_blocks(self, peer: PeerId, ids: tuple[bytes, ...], now_ms: int) -> list[Action]:
        """Answer with what is held; a peer that asks for what has been pruned is told from where on it may ask."""
        self.serving.check(peer, now_ms)
        held = [(identity, self._chain.get_raw_block(identity)) for identity in ids]
        found = _take_fitting(raw for _, raw in held)
        self._charge(peer, now_ms, 2 * len(ids), found)  # its record says where it stands
        given: list[Action] = [Send(peer=peer, message=wire.Blocks(raw=found))] if found else []
        missing = [self._chain.get_header(identity) for identity, raw in held if raw is None]
        pruned = [header.height for header in missing if header is not None and self._chain.is_pruned(header.height)]
        if not pruned:
            return given
        refusal = BlockPruned(height=min(pruned), bodies_from=self._chain.bodies_from)
        return [*given, Send(peer=peer, message=self.status()), PenalisePeer(peer=peer, error=refusal)]

    def give_signed(self, peer: PeerId, ballots: tuple[bytes, ...], now_ms: int) -> list[Action]:
        """Answer with this node's position, and the ballots it holds under the peer's key."""
        here = self.status()
        self._charge(peer, now_ms, len(ballots), ballots)
        signed = wire.Signed(head=here.head, work=here.work, final_height=here.final_height, raw=ballots)
        return [Send(peer=peer, message=signed)]

    def give_certificates(self, peer: PeerId, certificates: Iterable[QuorumCertificate], now_ms: int) -> list[Action]:
        raw = tuple(certificate.raw for certificate in certificates)
        self._charge(peer, now_ms, len(raw), raw)
        return [Send(peer=peer, message=wire.Certificate(raw=item)) for item in raw]

    def give_records(
        self, peer: PeerId, answer: wire.TradeRecords | None, now_ms: int, *, looked_up: int
    ) -> list[Action]:
        """Answer with what stands behind a period's result, where it is known; it took `looked_up` rows to collect."""
        parts = [] if answer is None else [answer.certificate, answer.results]
        parts += [] if answer is None else [part for leaf, path in answer.records for part in (leaf, *path)]
        self._charge(peer, now_ms, looked_up, parts)
        return [] if answer is None else [Send(peer=peer, message=answer)]

    def _charge(self, peer: PeerId, now_ms: int, rows: int, found: Collection[bytes]) -> None:
        self.serving.charge(peer, now_ms, rows=rows, size_bytes=sum(map(len, found)))


def _work_of(status: wire.Status) -> int:
    """The work that a peer says its head has."""
    return int.from_bytes(status.work, "big")


def _take_fitting(items: Iterable[bytes | None]) -> tuple[bytes, ...]:
    """Those that are there, up to the first for which a reply has no room left."""
    found, room = list[bytes](), _MAX_REPLY_BYTES
    for raw in items:
        if raw is None:
            continue
        room -= len(raw)
        if room < 0:
            break
        found.append(raw)
    return tuple(found)


def announce_block(entry: BlockNode) -> wire.NewBlock:
    """The announcement of a block in the tree."""
    assert entry.block is not None
    ids = tuple(transaction.id for transaction in entry.block.transactions)
    return wire.NewBlock(header=entry.header.raw, ids=ids)


def announce_transactions(ids: Iterable[bytes]) -> list[wire.TransactionIds]:
    """Announcements of pending transactions, each within its bound."""
    return [wire.TransactionIds(ids=part) for part in _parts(list(ids), wire.MAX_ITEMS)]


def push_transactions(transactions: Iterable[Transaction]) -> list[Action]:
    """Send transactions themselves to all peers: no other node has them yet, and every one would ask."""
    actions: list[Action] = []
    part: list[bytes] = []
    size = 0
    for transaction in transactions:
        if part and (len(part) == wire.MAX_ITEMS or size + len(transaction.raw) > _MAX_PUSHED_BYTES):
            actions.append(Broadcast(message=wire.Transactions(raw=tuple(part))))
            part, size = [], 0
        part.append(transaction.raw)
        size += len(transaction.raw)
    return [*actions, Broadcast(message=wire.Transactions(raw=tuple(part)))] if part else actions


def broadcast_transactions(ids: Iterable[bytes], but: PeerId | None = None) -> list[Action]:
    """The same, to all peers."""
    return [Broadcast(message=message, but=but) for message in announce_transactions(ids)]


def _parts(ids: list[bytes], size: int) -> list[tuple[bytes, ...]]:
    return [tuple(ids[start : start + size]) for start in range(0, len(ids), size)]
