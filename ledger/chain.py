"""The block tree of one chain: recent blocks in memory with their states, the canonical chain in the store.

Every block is executed on its parent's state when it arrives, on whatever branch, for states share their structure.
The store holds the canonical chain only; moving the head, by one block or by a whole reorg, is one atomic batch.

No state below the final block is ever needed, so what undid it goes with the batch that makes a block final; bodies,
receipts and places of transactions of final blocks may go too (`prune`). Headers and their weights stay. A chain that
was taken up from a block whose state came from elsewhere (`adopt`) is as one that has dropped all that is below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ledger import rows
from ledger.block import Block, Header
from ledger.errors import BelowHorizon, StoreCorrupt
from ledger.execution import Execution, Receipt
from ledger.genesis import Genesis, build_genesis_block, build_state
from ledger.overlay import Delta, Event
from ledger.state import State
from ledger.store import KeyValue
from ledger.store_version import migrate, row_of_new_store

Changes = list[rows.Row]

WINDOW = 128  # blocks below the head whose entries stay in memory
_MAX_UNDO_ROWS = 4_096  # dropped in one batch: finality that has lagged for long leaves the rest to the next
_ALL = rows.Kept(undo=1, bodies=1)  # of the genesis block nothing is dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """A block as the rules for those above it see it: its header, and what its branch weighs."""

    header: Header
    work: int  # of the branch from genesis up to and including this block
    base_n_diff: int  # N_diff without stall relief, from which the next one is computed

    @property
    def hash(self) -> bytes:
        return self.header.hash

    @property
    def height(self) -> int:
        return self.header.height


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockNode(Ancestor):
    """A block in the tree, with the state it leaves behind."""

    state: State
    undo: dict[bytes, bytes | None]  # empty for the final block where it was read from the store
    arrival: int  # order of arrival at this node, 0 for what was read from the store
    block: Block | None = None  # None, like its execution, while only the store holds it
    execution: Execution | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorg:
    """A move of the head: blocks taken off (from the top) and put on (from the bottom), and the batch to persist."""

    removed: tuple[BlockNode, ...]
    added: tuple[BlockNode, ...]
    changes: Changes

    @property
    def events(self) -> tuple[Event, ...]:
        return tuple(event for entry in self.added if entry.execution for event in entry.execution.events)


@dataclass(slots=True)
class TreeCounters:
    """Counts of blocks and forks for reports."""

    side_blocks: int = 0  # that do not extend the head
    reorgs: int = 0
    deepest_reorg: int = 0


class Chain:
    """Block tree with a head and a final block. Opening an empty store writes the genesis block into it.

    A store of an older release is brought to this one's version first, and `StoreTooNew` is raised for a later one's:
    `versions` are the one that it had and the one that it has. Reading raises `StoreCorrupt` where the store
    contradicts itself. Every block in the tree has its ancestors in the tree or, if they are canonical, in the store:
    down to the genesis block, or to the block at `lowest_height` while the headers below it are still to come. It was
    `taken_from` the snapshot of a height, or of none (0).
    """

    def __init__(self, genesis: Genesis, store: KeyValue, *, window: int = WINDOW) -> None:
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self.counters = TreeCounters()
        self._params = genesis.params.ledger
        self._store = store
        self._window = window
        self._entries: dict[bytes, BlockNode] = {}
        self._recent: dict[int, bytes] = {}  # canonical hashes, ahead of the store by what is being persisted
        self._below: dict[bytes, Ancestor] = {}  # recent headers without a state, ahead of the store by as much
        self._arrivals = 0
        if store.get(rows.HEAD) is None and store.get(rows.GENESIS) is None:
            store.write(self._first_batch())
        if store.get(rows.GENESIS) != self.chain_id:
            raise StoreCorrupt(detail="the store belongs to another chain; check the genesis file")
        self.versions = migrate(store)
        self._kept = self._load_kept()
        self.lowest_height = self._load_height(rows.LOWEST)
        self.taken_from = self._load_height(rows.TAKEN)
        self.head = self._load_head()
        self.final_height, self.final_hash = self._load_final()
        self._load_window()

    # --- reading ---------------------------------------------------------------------------------

    def get(self, block_hash: bytes) -> BlockNode | None:
        """The entry of a block on any recent branch, or of any canonical block from the final one on."""
        entry = self._entries.get(block_hash)
        if entry is None and (stored := self._stored(block_hash)) is not None and stored.height >= self.final_height:
            entry = self._extend_down_to(stored)
        return entry

    def hash_at(self, height: int) -> bytes | None:
        """Hash of the canonical block at a height, None below `lowest_height`.

        Raises `StoreCorrupt` where the store has lost it.
        """
        recent = self._recent.get(height)
        if recent is not None or not 0 <= height <= self.head.height:
            return recent
        stored = self._store.get(rows.height_key(height))
        if stored is None and height >= self.lowest_height:
            raise StoreCorrupt(detail=f"block {height} is missing")
        return stored

    def get_block(self, block_hash: bytes) -> Block | None:
        """The block of a hash; None where it is not held. Raises `StoreCorrupt` for another block in its place."""
        entry = self._entries.get(block_hash)
        if entry is not None and entry.block is not None:
            return entry.block
        raw = self._stored_row(rows.block_key, block_hash)
        if raw is None:
            return None
        block = rows.read_block(raw, self._params)
        if block.hash != block_hash:
            raise StoreCorrupt(detail=f"another block in the place of {block_hash.hex()[:16]}")
        return block

    def get_raw_block(self, block_hash: bytes) -> bytes | None:
        """A block's bytes, which are not looked into."""
        entry = self._entries.get(block_hash)
        if entry is not None and entry.block is not None:
            return entry.block.raw
        return self._stored_row(rows.block_key, block_hash)

    def get_ancestor(self, block_hash: bytes) -> Ancestor | None:
        """A block on any recent branch or any canonical one, without its state where that is not in memory."""
        return self._entries.get(block_hash) or self._stored(block_hash)

    def get_header(self, block_hash: bytes) -> Header | None:
        known = self.get_ancestor(block_hash)
        return None if known is None else known.header

    def get_receipts(self, block_hash: bytes) -> tuple[Receipt, ...] | None:
        """Receipts of a canonical block, in the order of its transactions."""
        raw = self._stored_row(rows.receipts_key, block_hash)
        return None if raw is None else rows.read_receipts(raw)

    @property
    def bodies_from(self) -> int:
        """The height from which bodies, receipts and places of transactions are kept; the genesis block's are too."""
        return self._kept.bodies

    @property
    def prunable_below(self) -> int:
        """The height below which blocks are final and deep: no fork, no promise to a client looks for a body there."""
        return min(self.final_height, self.head.height - self._window)

    def is_pruned(self, height: int) -> bool:
        """Return True if the body of the canonical block at a height was here and is no more."""
        return 0 < height < self._kept.bodies

    def find_transaction(self, transaction_id: bytes) -> tuple[bytes, int] | None:
        """Canonical block hash and index of a transaction."""
        raw = self._store.get(rows.TRANSACTION + transaction_id)
        return None if raw is None else rows.read_place(raw)

    def ancestors(self, entry: Ancestor) -> Iterator[Ancestor]:
        """The entry, its parent, and so on to the lowest; without their states those that are not in memory.

        Raises `StoreCorrupt` where the store has lost one.
        """
        yield entry
        while entry.height > self.lowest_height:
            below = self.get_ancestor(entry.header.parent)
            if below is None:
                raise StoreCorrupt(detail=f"block {entry.height - 1} is missing")
            entry = below
            yield entry

    def ancestor_at(self, entry: Ancestor, height: int) -> Ancestor:
        """The block at `height` on the branch that ends in `entry`."""
        for ancestor in self.ancestors(entry):
            if ancestor.height == height:
                return ancestor
        raise AssertionError("height above the entry")

    def fork_point(self, entry: Ancestor) -> Ancestor:
        """The last canonical block on the branch that ends in `entry`."""
        return next(ancestor for ancestor in self.ancestors(entry) if self.is_canonical(ancestor.header))

    @property
    def held_count(self) -> int:
        """Number of blocks, over all branches, that are in memory."""
        return len(self._entries)

    def is_recent(self, block_hash: bytes) -> bool:
        """Return True if the block's state is in memory."""
        return block_hash in self._entries

    def fork_height(self, block_hash: bytes) -> int | None:
        """Height of the last canonical block on the branch that ends in a known block, found without its state."""
        entry = self._entries.get(block_hash)
        if entry is not None:
            return self.fork_point(entry).height
        stored = self._stored(block_hash)
        return None if stored is None else stored.height  # the store holds the canonical chain only

    def locator(self) -> tuple[bytes, ...]:
        """Canonical hashes from the head back to genesis, as far as they are held, ever farther apart."""
        hashes, height, step = [], self.head.height, 1
        while height > 0 and height >= self.lowest_height:
            hashes.append(self._canonical(height))
            if len(hashes) >= 8:
                step *= 2
            height -= step
        return (*hashes, self._canonical(0))

    def heights_after(self, locator: tuple[bytes, ...], limit: int) -> range:
        """Up to `limit` heights on the chain after the first locator hash that is canonical here.

        Raises `BelowHorizon` where they begin below those whose headers are held.
        """
        for block_hash in locator:
            header = self.get_header(block_hash)
            if header is not None and self.is_canonical(header):
                break
        else:
            return range(0)
        if header.height + 1 < self.lowest_height:
            raise BelowHorizon(height=header.height + 1, lowest=self.lowest_height)
        return range(header.height + 1, min(header.height + limit, self.head.height) + 1)

    def get_raw_headers(self, heights: range) -> tuple[bytes, ...]:
        """The bytes of the canonical headers at these heights, none above the head's."""
        return tuple(map(self._raw_header_at, heights))

    def is_canonical(self, header: Header) -> bool:
        return self.hash_at(header.height) == header.hash

    def best_descendant(self, entry: BlockNode, is_better: Callable[[BlockNode, BlockNode], bool]) -> BlockNode:
        """The best block in memory on a branch through `entry`, by the engine's fork choice."""
        best = entry
        for candidate in list(self._entries.values()):  # a copy: walking down may bring more into memory
            if candidate.height <= entry.height or not is_better(candidate, best):
                continue
            if self.ancestor_at(candidate, entry.height).hash == entry.hash:
                best = candidate
        return best

    # --- growing ---------------------------------------------------------------------------------

    def add(self, block: Block, execution: Execution, *, work: int, base_n_diff: int) -> BlockNode:
        """Put an executed block into the tree; the head stays where it is."""
        self._arrivals += 1
        entry = BlockNode(
            header=block.header,
            work=work,
            base_n_diff=base_n_diff,
            state=execution.state,
            undo=dict(execution.delta.undo),
            arrival=self._arrivals,
            block=block,
            execution=execution,
        )
        self._entries[entry.hash] = entry
        if block.header.parent != self.head.hash and self.fork_point(entry).hash != self.head.hash:
            self.counters.side_blocks += 1
        return entry

    def move_head(self, entry: BlockNode) -> Reorg:
        """Make `entry` the head. The returned batch must be persisted before anything else is told of it."""
        left, added = self._paths(self.head, entry)
        removed = tuple(self._with_body(gone) for gone in left)
        changes = self._batch(removed, added)
        if removed:
            self.counters.reorgs += 1
            self.counters.deepest_reorg = max(self.counters.deepest_reorg, len(removed))
        for gone in removed:
            self._entries[gone.hash] = gone
            del self._recent[gone.height]
        for new in added:
            self._recent[new.height] = new.hash
        self.head = entry
        self._forget_deep()
        return Reorg(removed=removed, added=added, changes=changes)

    def finalise(self, entry: BlockNode) -> Changes:
        """Mark a block of the current branch final. The returned batch must be persisted."""
        assert self.is_canonical(entry.header)
        assert entry.height >= self.final_height, "finality does not step back"
        self.final_height, self.final_hash = entry.height, entry.hash
        undo = range(self._kept.undo, min(entry.height + 1, self._kept.undo + _MAX_UNDO_ROWS))
        self._kept = self._kept._replace(undo=max(self._kept.undo, undo.stop))
        dropped: Changes = [(rows.undo_key(height), None) for height in undo]
        return [(rows.FINAL, rows.write_place(entry.hash, entry.height)), *dropped, self._kept_row]

    def prune(self, below: int, *, limit: int) -> Changes:
        """Drop the lowest bodies below a height, block by block, until that is `limit` rows: nothing where it is done.

        Never from `prunable_below` on. The returned batch must be persisted.
        """
        top = min(below, self.prunable_below)
        height, batch = self._kept.bodies, list[rows.Row]()
        while height < top and len(batch) < limit:
            batch += self._rows_of_body(height)
            height += 1
        if not batch:
            return []
        self._kept = self._kept._replace(bodies=height)
        return [*batch, self._kept_row]

    def adopt(self, below: Sequence[Ancestor], base: BlockNode) -> Changes:
        """Take the chain up from a final block whose state came from elsewhere, on the headers right below it.

        What there was before goes, but for the genesis block. The returned batch must be persisted before anything else
        is told of it.
        """
        old, new = self.head.state, base.state
        changes = self._rows_of_all_blocks()
        changes += [(rows.STATE + key, None) for key, _ in old.items() if new.get(key) is None]
        changes += [(rows.STATE + key, value) for key, value in new.items()]
        for entry in (*below, base):
            changes += rows.rows_of_header(entry.header, work=entry.work, base_n_diff=entry.base_n_diff)
        self._entries = {base.hash: base}
        self._below = {entry.hash: entry for entry in below}
        self._recent = {entry.height: entry.hash for entry in (*below, base)}
        self._kept = rows.Kept(undo=base.height + 1, bodies=base.height + 1)
        self.head = base
        self.taken_from = base.height
        changes += [(rows.HEAD, base.hash), (rows.TAKEN, rows.write_height(base.height))]
        return [*changes, self._descend_to(min(self._recent)), *self.finalise(base)]

    def extend_below(self, entries: Sequence[Ancestor]) -> Changes:
        """Take in headers that lead up to the lowest one held, in their order. The batch must be persisted."""
        assert entries[-1].height == self.lowest_height - 1, "without a gap"
        changes: Changes = []
        for entry in entries:
            changes += rows.rows_of_header(entry.header, work=entry.work, base_n_diff=entry.base_n_diff)
        return [*changes, self._descend_to(entries[0].height)]

    def extend_bodies(self, bodies: Sequence[tuple[Block, Sequence[Receipt]]]) -> Changes:
        """Take in bodies and receipts right below the lowest ones held, downwards, as their headers bear them out.

        The batch must be persisted.
        """
        changes: dict[bytes, bytes | None] = {}
        for block, receipts in bodies:
            assert block.hash == self.hash_at(self._kept.bodies - 1), "without a gap"
            self._kept = self._kept._replace(bodies=block.header.height)
            for key, value in rows.rows_of_body(block, receipts):
                if self._store.get(key) is None:  # a transaction may stand in a later block once more
                    changes.setdefault(key, value)
        return [*changes.items(), self._kept_row]

    # --- inside ----------------------------------------------------------------------------------

    def _descend_to(self, height: int) -> rows.Row:
        """Note that headers are held from a height on: all of them where that is the first."""
        self.lowest_height = height if height > 1 else 0
        return rows.LOWEST, rows.write_height(self.lowest_height) if self.lowest_height else None

    def _rows_of_all_blocks(self) -> Changes:
        """The deletion of all that the store has of the blocks of a chain that has dropped none."""
        assert self._kept.bodies == 1, "a chain is taken up from elsewhere once"
        changes: Changes = []
        for height in range(1, self.head.height + 1):
            block = self.get_block(self._canonical(height))
            if block is None:
                raise StoreCorrupt(detail=f"block {height} is missing")
            changes += rows.rows_to_delete(block)
        return changes

    @property
    def _kept_row(self) -> rows.Row:
        return rows.KEPT, rows.write_kept(self._kept)

    def _rows_of_body(self, height: int) -> Changes:
        """The deletion of a canonical block's body, receipts, and places of transactions that point to it."""
        raw = self._store.get(rows.receipts_key(height))
        if raw is None:
            raise StoreCorrupt(detail=f"the receipts of block {height} are missing")
        block_hash, batch = self._canonical(height), list[rows.Row]()
        for receipt in rows.read_receipts(raw):
            place = self.find_transaction(receipt.transaction_id)
            if place is not None and place[0] == block_hash:  # it may stand in a later block once more
                batch.append((rows.TRANSACTION + receipt.transaction_id, None))
        return [*batch, (rows.block_key(height), None), (rows.receipts_key(height), None)]

    def _canonical(self, height: int) -> bytes:
        block_hash = self.hash_at(height)
        assert block_hash is not None, "a height at or below the head"
        return block_hash

    def _raw_header_at(self, height: int) -> bytes:
        recent = self._recent.get(height)
        if recent is not None:
            return (self._entries.get(recent) or self._below[recent]).header.raw
        raw = self._store.get(rows.record_key(height))
        if raw is None:
            raise StoreCorrupt(detail=f"block {height} is missing")
        return rows.read_raw_header(raw)

    def _paths(self, old: BlockNode, new: BlockNode) -> tuple[tuple[BlockNode, ...], tuple[BlockNode, ...]]:
        """Entries to leave, from `old` down, and to enter, up to `new`; their fork point is in neither."""
        removed, added = [], []
        while old.hash != new.hash:
            if old.height >= new.height:
                removed.append(old)
                old = self._parent(old)
            else:
                added.append(new)
                new = self._parent(new)
        return tuple(removed), tuple(reversed(added))

    def _parent(self, entry: BlockNode) -> BlockNode:
        parent = self.get(entry.header.parent)
        assert parent is not None, "no branch leaves the chain below the final block"
        return parent

    def _batch(self, removed: tuple[BlockNode, ...], added: tuple[BlockNode, ...]) -> Changes:
        state: dict[bytes, bytes | None] = {}
        batch: Changes = []
        for entry in removed:
            assert entry.block is not None
            state.update(entry.undo)
            batch += rows.rows_to_delete(entry.block)
        for entry in added:
            assert entry.block is not None
            assert entry.execution is not None
            state.update(entry.execution.delta.changes)
            batch += rows.rows_of_block(entry.block, entry.execution, work=entry.work, base_n_diff=entry.base_n_diff)
        batch += [(rows.STATE + key, value) for key, value in state.items()]
        batch.append((rows.HEAD, added[-1].hash if added else removed[-1].header.parent))
        return batch

    def _with_body(self, entry: BlockNode) -> BlockNode:
        """The entry with what only the store holds of it: its rows are about to go, and the head may come back."""
        if entry.block is not None:
            return entry
        block, receipts = self.get_block(entry.hash), self.get_receipts(entry.hash)
        if block is None or receipts is None:
            raise StoreCorrupt(detail=f"block {entry.height} is missing")
        changes = {key: entry.state.get(key) for key in entry.undo}
        execution = Execution(
            state=entry.state,
            delta=Delta(changes=changes, undo=entry.undo),
            receipts=receipts,
            receipt_root=entry.header.receipt_root,
            events=(),  # told before the restart
        )
        return replace(entry, block=block, execution=execution)

    def _forget_deep(self) -> None:
        """Forget what lies deep below the head: the store has it, or it is an abandoned branch."""
        floor = self.head.height - self._window
        if floor <= 0 or floor not in self._recent:
            return
        if self._store.get(rows.height_key(floor)) != self._recent[floor]:
            return  # its batch is not persisted yet: next time
        kept = self._branches_across(floor)
        for entry in [entry for entry in self._entries.values() if entry.height <= floor]:
            if entry.hash not in kept:
                del self._entries[entry.hash]
        for height in [height for height in self._recent if height <= floor]:
            self._below.pop(self._recent.pop(height), None)

    def _branches_across(self, floor: int) -> set[bytes]:
        """Blocks at or below `floor` that are off the canonical chain and have descendants above it."""
        kept: set[bytes] = set()
        for entry in self._entries.values():
            if entry.height != floor + 1:
                continue
            below = self._entries.get(entry.header.parent)
            while below is not None and below.hash not in kept and not self.is_canonical(below.header):
                kept.add(below.hash)
                below = self._entries.get(below.header.parent)
        return kept

    def _first_batch(self) -> Changes:
        state = build_state(self.genesis)
        block = build_genesis_block(self.genesis, state)
        nothing = Execution(
            state=state,
            delta=Delta(changes={}, undo={}),
            receipts=(),
            receipt_root=block.header.receipt_root,
            events=(),
        )
        batch = rows.rows_of_block(block, nothing, work=0, base_n_diff=block.header.n_diff)
        batch += [(rows.STATE + key, value) for key, value in state.items()]
        batch += [
            (rows.HEAD, block.hash),
            (rows.FINAL, rows.write_place(block.hash, 0)),
            (rows.GENESIS, self.chain_id),
            row_of_new_store(),
            (rows.KEPT, rows.write_kept(_ALL)),
        ]
        return batch

    def _load_kept(self) -> rows.Kept:
        raw = self._store.get(rows.KEPT)
        if raw is None:
            raise StoreCorrupt(detail="what is kept is not recorded")
        return rows.read_kept(raw)

    def _load_height(self, key: bytes) -> int:
        raw = self._store.get(key)
        return 0 if raw is None else rows.read_height(raw)

    def _load_head(self) -> BlockNode:
        head_hash = self._store.get(rows.HEAD)
        stored = self._stored(head_hash) if head_hash else None
        if stored is None:
            raise StoreCorrupt(detail="the head block is missing")
        skip = len(rows.STATE)
        state = State.from_items((key[skip:], value) for key, value in self._store.scan(rows.STATE))
        if state.root != stored.header.state_root:
            raise StoreCorrupt(detail=f"the stored state does not match block {stored.height}")
        entry = self._entry_from_store(stored, state)
        self._entries[entry.hash] = entry
        self._recent[entry.height] = entry.hash
        return entry

    def _load_final(self) -> tuple[int, bytes]:
        raw = self._store.get(rows.FINAL)
        if raw is None:
            raise StoreCorrupt(detail="the final block is not recorded")
        block_hash, height = rows.read_place(raw)
        if self.hash_at(height) != block_hash:
            raise StoreCorrupt(detail=f"the final block, at height {height}, is not on the chain")
        return height, block_hash

    def _load_window(self) -> None:
        """Bring back the blocks below the head, down to the final one at most."""
        floor = max(self.final_height, self.head.height - self._window)
        bottom = self._stored(self._store.get(rows.height_key(floor)) or b"")
        if bottom is None or bottom.height != floor:
            raise StoreCorrupt(detail=f"block {floor} is missing")
        self._extend_down_to(bottom)

    def _extend_down_to(self, bottom: Ancestor) -> BlockNode:
        """Bring canonical blocks back into memory, from the lowest entry down to `bottom`, by undoing states."""
        lowest = min(self._recent)
        entry = self._entries[self._recent[lowest]]
        while entry.height > bottom.height:
            parent = self._stored(entry.header.parent)
            if parent is None:
                raise StoreCorrupt(detail=f"block {entry.height - 1} is missing")
            entry = self._entry_from_store(parent, entry.state.apply(entry.undo))
            if entry.state.root != parent.header.state_root:
                raise StoreCorrupt(detail=f"undoing block {parent.height + 1} gives a wrong state")
            self._entries[entry.hash] = entry
            self._recent[entry.height] = entry.hash
        if entry.hash != bottom.hash:
            raise StoreCorrupt(detail=f"two blocks at height {bottom.height}")
        return entry

    def _entry_from_store(self, stored: Ancestor, state: State) -> BlockNode:
        undo = self._store.get(rows.undo_key(stored.height))
        if undo is None and stored.height >= self._kept.undo:
            raise StoreCorrupt(detail=f"what block {stored.height} undid is missing")
        return BlockNode(
            header=stored.header,
            work=stored.work,
            base_n_diff=stored.base_n_diff,
            state=state,
            undo={} if undo is None else rows.read_undo(undo),
            arrival=0,
        )

    def _stored(self, block_hash: bytes) -> Ancestor | None:
        """A canonical block as far as its record goes."""
        if block_hash in self._below:
            return self._below[block_hash]
        height = self._stored_height(block_hash)
        if height is None:
            return None
        raw = self._store.get(rows.record_key(height))
        if raw is None:
            raise StoreCorrupt(detail=f"block {height} is missing")
        header, work, base_n_diff = rows.read_record(raw)
        if header.hash != block_hash:
            raise StoreCorrupt(detail=f"another record in the place of {block_hash.hex()[:16]}")
        return Ancestor(header=header, work=work, base_n_diff=base_n_diff)

    def _stored_row(self, key: Callable[[int], bytes], block_hash: bytes) -> bytes | None:
        """One of a canonical block's rows that stand by height."""
        height = self._stored_height(block_hash)
        return None if height is None else self._store.get(key(height))

    def _stored_height(self, block_hash: bytes) -> int | None:
        raw = self._store.get(rows.HEIGHT + block_hash)
        return None if raw is None else rows.read_height(raw)
