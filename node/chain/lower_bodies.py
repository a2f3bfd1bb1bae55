"""The bodies below a snapshot: blocks and their receipts, fetched downwards once a chain has been taken up from it.

As far down as the owner's choice of what to keep goes, and as peers have them. A body is what its header says: its
transactions and receipts stand under the roots there. What no header tells is not fetched: the states of those blocks,
and what undid them. Where a node stopped, its store says; what the next request asks for follows from that.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.block import Block, Header
from ledger.codec import decode, encode, expect_list, expect_str
from ledger.execution import Receipt, check_receipt_root, check_tx_root, compute_receipt_root
from node.chain import messages as wire
from node.chain.catching_up import STEP_BYTES
from node.chain.events import Action, PeerId, Persist, Send, SetTimer
from node.chain.gossip import Gossip
from node.chain.importer import Importer
from node.chain.instance import Instance
from node.chain.pruning import Pruner
from node.errors import BlockPruned, BrokenHeaders

LOWER_BODIES = "lower-bodies"
_PACE_MS = 100  # between two requests: it is never urgent
_PATIENCE_BEATS = 2
_MAX_CODES_BYTES = 1_000_000


class LowerBodies:
    """One request at a time, to one peer as long as it answers, and then to the next that says it has the next body."""

    def __init__(self, instance: Instance, gossip: Gossip, importer: Importer, pruner: Pruner) -> None:
        self._chain = instance.chain
        self._gossip = gossip
        self._importer = importer
        self._pruner = pruner
        self._asked: PeerId | None = None
        self._beats = 0  # since it was asked
        self._turn = 0

    # --- asking ----------------------------------------------------------------------------------

    def on_beat(self) -> list[Action]:
        """Ask the next peer where the last one does not answer. Cause: a heartbeat."""
        self._beats += 1
        if self._asked is not None and self._beats < _PATIENCE_BEATS:
            return []
        self._asked, height = None, self._find_next()
        said = self._gossip.peers.items()
        peers = [peer for peer, one in said if height and one is not None and one.bodies_from <= height <= one.height]
        if not peers:
            return []
        self._turn += 1
        return self._ask(peers[self._turn % len(peers)])

    def on_timer(self) -> list[Action]:
        """Go on with the peer that has answered. Cause: a timer."""
        return [] if self._asked is None or not self._find_next() else self._ask(self._asked)

    def _ask(self, peer: PeerId) -> list[Action]:
        self._asked, self._beats = peer, 0
        block_hash = self._header_at(self._chain.bodies_from - 1).hash
        return [Send(peer=peer, message=wire.GetBodies(block_hash=block_hash))]

    def _find_next(self) -> int:
        """The height of the body that is wanted next; 0 for none, or while headers and newer blocks come first."""
        height = self._chain.bodies_from - 1
        is_held = max(1, self._chain.lowest_height) <= height <= self._chain.taken_from
        if self._gossip.is_syncing or not is_held or not self._pruner.wants(height):
            return 0
        return height

    # --- answers ---------------------------------------------------------------------------------

    def on_bodies(self, peer: PeerId, message: wire.Bodies, now_ms: int) -> list[Action]:
        """Keep bodies that their headers bear out, a step's worth. Cause: a peer gives them.

        Raises `BrokenHeaders`, `WrongTransactionRoot`, `WrongReceiptRoot` and the `Malformed` family.
        """
        if peer != self._asked or not message.raw or not self._find_next():
            return []
        self._asked, bodies, room = None, list[tuple[Block, Sequence[Receipt]]](), STEP_BYTES
        wanted = range(self._chain.bodies_from - 1, max(1, self._chain.lowest_height) - 1, -1)
        for height, raw, codes in zip(wanted, message.raw[::2], message.raw[1::2], strict=False):
            room -= len(raw) + len(codes)
            if bodies and (room < 0 or not self._pruner.wants(height)):
                break
            bodies.append(self._check(self._header_at(height), raw, codes))
        self._asked, self._beats = peer, 0
        kept = Persist(changes=self._chain.extend_bodies(bodies))
        return [kept, SetTimer(name=LOWER_BODIES, at_ms=now_ms + _PACE_MS)]

    def _check(self, header: Header, raw: bytes, raw_codes: bytes) -> tuple[Block, Sequence[Receipt]]:
        block = self._importer.read_block(raw)
        if block.header != header:
            raise BrokenHeaders(detail=f"another block in the place of that at height {header.height}")
        check_tx_root(header, block.transactions)
        count = len(block.transactions)
        value = decode(raw_codes, max_bytes=_MAX_CODES_BYTES, max_items=count + 1)
        receipts = [  # where codes are missing, receipts are, and their root is another one
            Receipt(transaction_id=transaction.id, code=expect_str(code, "code"))
            for transaction, code in zip(block.transactions, expect_list(value, "codes", max_items=count), strict=False)
        ]
        check_receipt_root(header, compute_receipt_root(receipts))
        return block, receipts

    def _header_at(self, height: int) -> Header:
        header = self._chain.get_header(self._chain.hash_at(height) or b"")
        assert header is not None, "headers are held down to there"
        return header

    # --- answering -------------------------------------------------------------------------------

    def give(self, peer: PeerId, block_hash: bytes, now_ms: int) -> list[Action]:
        """A block and those below it, a step's worth. Raises `ServedTooMuch`, `BlockPruned` where none is held.

        Cause: a peer that has joined by a snapshot fetches what it keeps.
        """
        self._gossip.serving.check(peer, now_ms)
        self._gossip.serving.charge(peer, now_ms, rows=1, size_bytes=0)
        header = self._chain.get_header(block_hash)
        if header is None or not self._chain.is_canonical(header):
            return []
        if self._chain.is_pruned(header.height):
            raise BlockPruned(height=header.height, bodies_from=self._chain.bodies_from)
        found, room, end = list[bytes](), STEP_BYTES, max(self._chain.bodies_from, header.height + 1 - wire.MAX_BLOCKS)
        for height in range(header.height, end - 1, -1):
            block_hash = self._chain.hash_at(height) or b""
            raw, receipts = self._chain.get_raw_block(block_hash), self._chain.get_receipts(block_hash)
            if raw is None or receipts is None:
                break
            codes = encode(tuple(receipt.code for receipt in receipts))
            room -= len(raw) + len(codes)
            if found and room < 0:
                break
            found += [raw, codes]
        self._gossip.serving.charge(peer, now_ms, rows=2 * len(found), size_bytes=sum(map(len, found)))
        return [Send(peer=peer, message=wire.Bodies(raw=tuple(found)))] if found else []
