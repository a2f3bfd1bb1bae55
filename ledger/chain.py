"""The block tree of one chain: recent blocks in memory with their states, the canonical chain in the store.

Every block is executed on its parent's state when it arrives, on whatever branch, for states share their structure.
The store holds the canonical chain only; moving the head, by one block or by a whole reorg, is one atomic batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from ledger.block import MAX_HEADER_BYTES, Block, Header
from ledger.codec import Value, decode, encode
from ledger.errors import StoreCorrupt
from ledger.execution import Execution, Receipt
from ledger.genesis import Genesis, build_genesis_block, build_state
from ledger.overlay import Delta, Event
from ledger.state import State
from ledger.store import KeyValue

Changes = list[tuple[bytes, bytes | None]]

WINDOW = 128  # blocks below the head whose entries stay in memory

_BLOCK, _RECEIPTS, _UNDO, _HEIGHT, _STATE, _TX, _RECORD = b"b", b"r", b"u", b"h", b"s", b"t", b"e"
_HEAD, _FINAL, _GENESIS = b"H", b"F", b"G"
_TRUSTED_BYTES = 1 << 30  # our own records: bounded when they were written


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A block in the tree: what its branch weighs, and the state it leaves behind."""

    header: Header
    work: int  # of the branch from genesis up to and including this block
    base_n_diff: int  # N_diff without stall relief, from which the next one is computed
    state: State
    undo: dict[bytes, bytes | None]
    arrival: int  # order of arrival at this node, for the first-seen tie-break
    block: Block | None = None
    execution: Execution | None = None

    @property
    def hash(self) -> bytes:
        return self.header.hash

    @property
    def height(self) -> int:
        return self.header.height


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadMove:
    """How the head moved: blocks taken off (from the top) and put on (from the bottom), and the batch to persist."""

    removed: tuple[Entry, ...]
    added: tuple[Entry, ...]
    changes: Changes

    @property
    def events(self) -> tuple[Event, ...]:
        return tuple(event for entry in self.added if entry.execution for event in entry.execution.events)


@dataclass(slots=True)
class TreeCounters:
    """What a report says about forks."""

    side_blocks: int = 0
    reorgs: int = 0
    deepest_reorg: int = 0


class Chain:
    """Block tree with a head and a final block. Opening an empty store writes the genesis block into it."""

    def __init__(self, genesis: Genesis, store: KeyValue) -> None:
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self.counters = TreeCounters()
        self._params = genesis.params.ledger
        self._store = store
        self._entries: dict[bytes, Entry] = {}
        self._recent: dict[int, bytes] = {}  # canonical hashes, ahead of the store by what is being persisted
        self._arrivals = 0
        if store.get(_HEAD) is None:
            store.write(self._first_batch())
        if store.get(_GENESIS) != self.chain_id:
            raise StoreCorrupt(detail="the store belongs to another chain; check the genesis file")
        self.head = self._load()
        self.final_height, self.final_hash = self._load_final()

    # --- reading ---------------------------------------------------------------------------------

    def get(self, block_hash: bytes) -> Entry | None:
        """The entry of a block on any recent branch, or of any canonical block."""
        entry = self._entries.get(block_hash)
        if entry is None and (header := self._stored_header(block_hash)) is not None:
            entry = self._extend_down_to(header)
        return entry

    def hash_at(self, height: int) -> bytes | None:
        """Hash of the canonical block at a height."""
        recent = self._recent.get(height)
        if recent is not None or not 0 <= height <= self.head.height:
            return recent
        return self._store.get(_HEIGHT + _be8(height))

    def get_block(self, block_hash: bytes) -> Block | None:
        entry = self._entries.get(block_hash)
        if entry is not None and entry.block is not None:
            return entry.block
        raw = self._store.get(_BLOCK + block_hash)
        return None if raw is None else self._decode_block(raw)

    def get_header(self, block_hash: bytes) -> Header | None:
        entry = self._entries.get(block_hash)
        return entry.header if entry else self._stored_header(block_hash)

    def get_receipts(self, block_hash: bytes) -> tuple[Receipt, ...] | None:
        """Receipts of a canonical block, in the order of its transactions."""
        raw = self._store.get(_RECEIPTS + block_hash)
        if raw is None:
            return None
        rows = cast(tuple[tuple[bytes, str], ...], _trusted(raw))
        return tuple(Receipt(transaction_id=identity, code=code) for identity, code in rows)

    def find_transaction(self, transaction_id: bytes) -> tuple[bytes, int] | None:
        """Canonical block hash and index of a transaction."""
        raw = self._store.get(_TX + transaction_id)
        return None if raw is None else cast(tuple[bytes, int], _trusted(raw))

    def ancestors(self, entry: Entry) -> Iterator[Entry]:
        """The entry, its parent, and so on to genesis."""
        current: Entry | None = entry
        while current is not None:
            yield current
            current = self.get(current.header.parent) if current.height else None

    def ancestor_at(self, entry: Entry, height: int) -> Entry:
        """The block at `height` on the branch that ends in `entry`."""
        for ancestor in self.ancestors(entry):
            if ancestor.height == height:
                return ancestor
        raise AssertionError("height above the entry")

    def fork_point(self, entry: Entry) -> Entry:
        """The last canonical block on the branch that ends in `entry`."""
        return next(ancestor for ancestor in self.ancestors(entry) if self.is_canonical(ancestor.header))

    def locator(self) -> tuple[bytes, ...]:
        """Canonical hashes from the head back to genesis, ever farther apart."""
        hashes, height, step = [], self.head.height, 1
        while height > 0:
            hashes.append(self._canonical(height))
            if len(hashes) >= 8:
                step *= 2
            height -= step
        return (*hashes, self._canonical(0))

    def headers_after(self, locator: tuple[bytes, ...], limit: int) -> tuple[Header, ...]:
        """Up to `limit` canonical headers after the first locator hash that is canonical here."""
        for block_hash in locator:
            header = self.get_header(block_hash)
            if header is not None and self.is_canonical(header):
                break
        else:
            return ()
        top = min(header.height + limit, self.head.height)
        found = (self.get_header(self._canonical(height)) for height in range(header.height + 1, top + 1))
        return tuple(header for header in found if header is not None)

    def is_canonical(self, header: Header) -> bool:
        if header.height > self.head.height:
            return False
        return self._canonical(header.height) == header.hash

    def best_descendant(self, entry: Entry, is_better: Callable[[Entry, Entry], bool]) -> Entry:
        """The best block in memory on a branch through `entry`, by the engine's fork choice."""
        best = entry
        for candidate in self._entries.values():
            if candidate.height <= entry.height or not is_better(candidate, best):
                continue
            if self.ancestor_at(candidate, entry.height).hash == entry.hash:
                best = candidate
        return best

    # --- growing ---------------------------------------------------------------------------------

    def add(self, block: Block, execution: Execution, *, work: int, base_n_diff: int) -> Entry:
        """Put an executed block into the tree; the head stays where it is."""
        self._arrivals += 1
        entry = Entry(
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
        if block.header.parent != self.head.hash:
            self.counters.side_blocks += 1
        return entry

    def move_head(self, entry: Entry) -> HeadMove:
        """Make `entry` the head. The returned batch must be persisted before anything else is told of it."""
        removed, added = self._paths(self.head, entry)
        changes = self._batch(removed, added)
        if removed:
            self.counters.reorgs += 1
            self.counters.deepest_reorg = max(self.counters.deepest_reorg, len(removed))
        for gone in removed:
            del self._recent[gone.height]
        for new in added:
            self._recent[new.height] = new.hash
        self.head = entry
        self._prune()
        return HeadMove(removed=removed, added=added, changes=changes)

    def finalise(self, entry: Entry) -> Changes:
        """Mark a block of the current branch final. The returned batch must be persisted."""
        assert self.is_canonical(entry.header)
        self.final_height, self.final_hash = entry.height, entry.hash
        return [(_FINAL, encode((entry.height, entry.hash)))]

    # --- inside ----------------------------------------------------------------------------------

    def _canonical(self, height: int) -> bytes:
        block_hash = self.hash_at(height)
        assert block_hash is not None, "a height at or below the head"
        return block_hash

    def _paths(self, old: Entry, new: Entry) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
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

    def _parent(self, entry: Entry) -> Entry:
        parent = self.get(entry.header.parent)
        assert parent is not None, "every entry's parent is in the tree or in the store"
        return parent

    def _batch(self, removed: tuple[Entry, ...], added: tuple[Entry, ...]) -> Changes:
        state: dict[bytes, bytes | None] = {}
        rows: Changes = []
        for entry in removed:
            state.update(entry.undo)
            block = self.get_block(entry.hash)
            assert block is not None
            rows += [(_TX + transaction.id, None) for transaction in block.transactions]
            rows += [(prefix + entry.hash, None) for prefix in (_BLOCK, _RECEIPTS, _UNDO, _RECORD)]
            rows.append((_HEIGHT + _be8(entry.height), None))
        for entry in added:
            assert entry.block is not None
            assert entry.execution is not None
            state.update(entry.execution.delta.changes)
            rows += _block_rows(entry, entry.block, entry.execution)
        rows += [(_STATE + key, value) for key, value in state.items()]
        rows.append((_HEAD, added[-1].hash if added else removed[-1].header.parent))
        return rows

    def _prune(self) -> None:
        floor = self.head.height - WINDOW
        if floor <= 0 or floor not in self._recent:
            return
        for entry in [entry for entry in self._entries.values() if entry.height <= floor]:
            del self._entries[entry.hash]
        for height in [height for height in self._recent if height <= floor]:
            del self._recent[height]

    def _first_batch(self) -> Changes:
        state = build_state(self.genesis)
        block = build_genesis_block(self.genesis, state)
        empty = Execution(
            state=state,
            delta=Delta(changes={}, undo={}),
            receipts=(),
            receipt_root=block.header.receipt_root,
            events=(),
        )
        entry = Entry(
            header=block.header,
            work=0,
            base_n_diff=block.header.n_diff,
            state=state,
            undo={},
            arrival=0,
        )
        rows = _block_rows(entry, block, empty)
        rows += [(_STATE + key, value) for key, value in state.items()]
        rows += [(_HEAD, block.hash), (_FINAL, encode((0, block.hash))), (_GENESIS, self.chain_id)]
        return rows

    def _load(self) -> Entry:
        head_hash = self._store.get(_HEAD)
        header = self._stored_header(head_hash) if head_hash else None
        if header is None:
            raise StoreCorrupt(detail="the head block is missing")
        skip = len(_STATE)
        state = State.from_items((key[skip:], value) for key, value in self._store.scan(_STATE))
        if state.root != header.state_root:
            raise StoreCorrupt(detail=f"the stored state does not match block {header.height}")
        entry = self._entry_from_store(header, state)
        self._entries[entry.hash] = entry
        self._recent[entry.height] = entry.hash
        bottom = self._stored_header(self._store.get(_HEIGHT + _be8(max(0, entry.height - WINDOW))) or b"")
        if bottom is None:
            raise StoreCorrupt(detail="a recent block is missing")
        self._extend_down_to(bottom)
        return entry

    def _load_final(self) -> tuple[int, bytes]:
        raw = self._store.get(_FINAL)
        if raw is None:
            raise StoreCorrupt(detail="the final block is not recorded")
        return cast(tuple[int, bytes], _trusted(raw))

    def _extend_down_to(self, header: Header) -> Entry:
        """Bring canonical blocks back into memory, from the lowest entry down to `header`, by undoing states."""
        lowest = min(self._recent)
        entry = self._entries[self._recent[lowest]]
        while entry.height > header.height:
            parent = self._stored_header(entry.header.parent)
            if parent is None:
                raise StoreCorrupt(detail=f"block {entry.height - 1} is missing")
            entry = self._entry_from_store(parent, entry.state.apply(entry.undo))
            if entry.state.root != parent.state_root:
                raise StoreCorrupt(detail=f"undoing block {parent.height + 1} gives a wrong state")
            self._entries[entry.hash] = entry
            self._recent[entry.height] = entry.hash
        return entry

    def _entry_from_store(self, header: Header, state: State) -> Entry:
        record, undo = self._store.get(_RECORD + header.hash), self._store.get(_UNDO + header.hash)
        if record is None or undo is None:
            raise StoreCorrupt(detail=f"the record of block {header.height} is missing")
        _, work, base_n_diff = cast(tuple[Value, bytes, bytes], _trusted(record))
        return Entry(
            header=header,
            work=int.from_bytes(work, "big"),
            base_n_diff=int.from_bytes(base_n_diff, "big"),
            state=state,
            undo=dict(cast(tuple[tuple[bytes, bytes | None], ...], _trusted(undo))),
            arrival=0,
        )

    def _stored_header(self, block_hash: bytes) -> Header | None:
        raw = self._store.get(_RECORD + block_hash)
        return None if raw is None else Header.from_value(cast(tuple[Value, ...], _trusted(raw))[0])

    def _decode_block(self, raw: bytes) -> Block:
        params = self._params
        return Block.from_bytes(
            raw,
            max_bytes=params.max_block_bytes + MAX_HEADER_BYTES,
            max_transactions=params.max_block_transactions,
            max_transaction_bytes=params.max_transaction_bytes,
        )


def _block_rows(entry: Entry, block: Block, execution: Execution) -> Changes:
    block_hash = entry.hash
    receipts = tuple((receipt.transaction_id, receipt.code) for receipt in execution.receipts)
    record = (entry.header.to_value(), entry.work.to_bytes(40, "big"), entry.base_n_diff.to_bytes(32, "big"))
    rows: Changes = [
        (_BLOCK + block_hash, block.raw),
        (_RECEIPTS + block_hash, encode(receipts)),
        (_UNDO + block_hash, encode(tuple(execution.delta.undo.items()))),
        (_RECORD + block_hash, encode(record)),
        (_HEIGHT + _be8(entry.height), block_hash),
    ]
    for index, transaction in enumerate(block.transactions):
        rows.append((_TX + transaction.id, encode((block_hash, index))))
    return rows


def _be8(height: int) -> bytes:
    return height.to_bytes(8, "big")


def _trusted(raw: bytes) -> Value:
    return decode(raw, max_bytes=_TRUSTED_BYTES)
