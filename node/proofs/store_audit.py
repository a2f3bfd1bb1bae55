"""The audit of a chain's whole store: every hash, signature and root in it, from the genesis on. Pure, and reads alone.

Headers are chained, sealed and signed; bodies and receipts stand under their roots; each certificate is signed by a
quorum of those whom the handovers from the founders name; the state has the root that the head says, and undoing leads
back through those below it; and nothing else is there. What a store cannot show is whether it is the newest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import NamedTuple, TypeAlias, TypeVar

from consensus.engine import Weighed
from consensus.errors import WrongVoters
from consensus.pbft.engine import PbftEngine
from consensus.poca.engine import PocaEngine
from consensus.quorum import QuorumCertificate, verify_signatures
from consensus.relays import Relay
from ledger import rows
from ledger.block import Block, Header
from ledger.chain import WINDOW, Ancestor, BlockNode, Chain
from ledger.codec import decode
from ledger.errors import GridmeritError, InvalidProof, StoreError
from ledger.execution import check_receipt_root, check_tx_root, compute_receipt_root
from ledger.genesis import Genesis, build_genesis_block, build_state
from ledger.journal import load_endings
from ledger.overlay import Overlay
from ledger.results import compute_digest, decode_results
from ledger.sealers import get_known_sealers
from ledger.state import State
from ledger.store import KeyValue
from ledger.store_version import compute_newest, read_version
from ledger.transaction import Transaction, check_envelope
from node.chain.snapshot_join import read_leaves
from node.chain.snapshot_offers import read_kept
from node.errors import RowMissing, RowUnreadable, RowWrong, StateDiffers, StoreDamage, StrayRows
from node.proofs.light_client import TrustedState

T = TypeVar("T")
BLOCK, RECEIPTS, UNDO, RECORD, HASH, HEIGHT = "block", "receipts", "undo", "record", "hash", "height"
PLACE, STATE, CERTIFICATE, RESULTS, HANDOVER = "place", "state", "certificate", "results", "handover"
PROPOSAL, PENDING, ENDING, HEAD, FINAL, CHAIN_ID = "proposal", "pending", "ending", "head", "final", "chain id"
FINAL_CERTIFICATE, KEPT, LOWEST, VERSION = "final certificate", "kept", "lowest header", "version"
SNAPSHOT, CHUNK, TAKEN_FROM = "snapshot", "chunk", "taken from"
KINDS = {
    rows.BLOCK: BLOCK,
    rows.RECEIPTS: RECEIPTS,
    rows.UNDO: UNDO,
    rows.RECORD: RECORD,
    rows.HASH: HASH,
    rows.HEIGHT: HEIGHT,
    rows.TRANSACTION: PLACE,
    rows.STATE: STATE,
    b"c": CERTIFICATE,
    b"C": FINAL_CERTIFICATE,
    b"R": RESULTS,
    b"K": HANDOVER,
    b"P": PROPOSAL,
    b"m": PENDING,
    b"M": ENDING,
    rows.HEAD: HEAD,
    rows.FINAL: FINAL,
    rows.GENESIS: CHAIN_ID,
    rows.KEPT: KEPT,
    rows.LOWEST: LOWEST,
    rows.SNAPSHOT: SNAPSHOT,
    rows.CHUNK: CHUNK,
    rows.TAKEN: TAKEN_FROM,
    b"V": VERSION,
}  # by the first byte of the key, as docs/protocol.md has them
_OF_BLOCKS = (BLOCK, RECEIPTS, UNDO, RECORD, HASH, HEIGHT, PLACE)
_PREFIXES = {kind: prefix for prefix, kind in KINDS.items()}
_MAX_BYTES = 1 << 30  # our own rows: bounded when they were written
_MAX_TOLD = 1_000  # damages that are listed; all are counted
STEP = 256  # blocks or rows between two words on how far it is


class _Slot(int):
    """The place of a certificate."""


Place: TypeAlias = str | int
"""Where a row stands: at a height, in a slot, or in words."""


class Progress(NamedTuple):
    """The way that an audit has come: `done` of `total`; 0 where nobody knows how many there are."""

    what: str
    done: int
    total: int


@dataclass(slots=True)
class Tally:
    """The rows of one kind: how many, and the bytes of their keys and values."""

    count: int = 0
    size_bytes: int = 0


@dataclass(slots=True, kw_only=True)
class Findings:
    """The place that a store has come to, its rows, and what is wrong with them. A height is None where it is lost."""

    height: int | None = None
    head: bytes = b""
    final_height: int | None = None
    transactions: int = 0
    signatures: int = 0  # that hold
    rows: dict[str, Tally] = field(default_factory=dict)
    damage: list[StoreDamage] = field(default_factory=list)
    damage_count: int = 0

    def note(self, damage: StoreDamage) -> None:
        self.damage_count += 1
        if len(self.damage) < _MAX_TOLD:
            self.damage.append(damage)


def audit_store(genesis: Genesis, store: KeyValue, tell: Callable[[Progress], None] = lambda _: None) -> Findings:
    """Look at every row, and `tell` how far that is. Raises nothing: what is wrong stands in the findings."""
    return _Audit(genesis, store, tell).run()


class _Audit:
    """One walk through a store."""

    def __init__(self, genesis: Genesis, store: KeyValue, tell: Callable[[Progress], None]) -> None:
        self._genesis, self._store, self._tell = genesis, store, tell
        self._is_pbft = genesis.params.consensus.engine == "pbft"
        self._engine = (PbftEngine if self._is_pbft else PocaEngine)(genesis)
        self._found: Counter[str] = Counter()  # rows that the blocks of the chain have led to
        self._uncounted: set[str] = set()  # kinds of which a row cannot be read
        self._unread: set[bytes] = (
            set()
        )  # blocks of the chain that are lost or damaged: nobody knows their transactions
        self._sealers: frozenset[bytes] = frozenset()  # that ever were; none where that is not known
        self._kept = rows.Kept(undo=1, bodies=1)
        self._lowest_height = 0  # of the headers, all of them, or of those of a chain that was taken up from a snapshot
        self._taken_from = 0  # the height of that snapshot
        self.findings = Findings()

    def run(self) -> Findings:
        head = self._check_place()
        if head is not None:
            trust = self._check_handovers()
            self._check_state(head, trust)
            self._check_blocks(head)
            self._check_opening()
            self._check_final(head, trust)
            self._check_certificates(trust)
            self._check_results()
            self._check_waiting()
        self._count_rows()
        if head is not None:
            self._find_strays()
        return self.findings

    # --- reading ---------------------------------------------------------------------------------

    def _note_wrong(self, kind: str, place: Place, detail: str) -> None:
        self.findings.note(RowWrong(kind=kind, detail=detail, **_show_place(place)))

    def _get(self, kind: str, place: Place, key: bytes) -> bytes | None:
        """A row that must be there."""
        raw = self._find(kind, place, key)
        if raw == b"":
            self.findings.note(RowMissing(kind=kind, **_show_place(place)))
        return raw or None

    def _find(self, kind: str, place: Place, key: bytes) -> bytes | None:
        """A row, empty where it is not there, None where it cannot be read."""
        try:
            raw = self._store.get(_PREFIXES[kind] + key)
        except StoreError as error:
            self.findings.note(RowUnreadable(kind=kind, detail=str(error), **_show_place(place)))
            return None
        self._found[kind] += raw is not None
        return raw or b""

    def _scan(self, kind: str) -> Iterator[tuple[bytes, bytes]]:
        """All rows of a kind, by what follows in their keys, counted."""
        yield from self._scan_prefix(_PREFIXES[kind], kind)

    def _scan_prefix(self, prefix: bytes, kind: str) -> Iterator[tuple[bytes, bytes]]:
        tally = Tally()
        try:
            for key, value in self._store.scan(prefix):
                tally.count += 1
                tally.size_bytes += len(key) + len(value)
                if tally.count % STEP == 0:
                    self._tell(Progress(f"rows: {kind}", tally.count, 0))
                yield key[1:], value
        except StoreError as error:
            self._uncounted.add(kind)
            place = f"after {tally.count} others"
            self.findings.note(RowUnreadable(kind=kind, place=place, detail=str(error)))
        if tally.count:
            self.findings.rows[kind] = tally

    def _read(self, kind: str, place: Place, raw: bytes | None, read: Callable[[bytes], T]) -> T | None:
        """The meaning of a row, None where it is not there or means nothing, or what it claims does not hold."""
        if raw is None:
            return None
        try:
            return read(raw)
        except GridmeritError as error:
            self._note_wrong(kind, place, f"{error.code}: {error}")
            return None

    # --- the head and its state --------------------------------------------------------------------

    def _check_place(self) -> Header | None:
        """See whose store it is; the header of its head."""
        found, expected = self._get(CHAIN_ID, "", b""), self._genesis.chain_id
        if found is not None and found != expected:
            self._note_wrong(CHAIN_ID, "", f"it is {found.hex()[:16]}, the genesis has {expected.hex()[:16]}")
        raw, newest = self._get(VERSION, "", b""), compute_newest()
        version = self._read(VERSION, "", raw, lambda _: read_version(self._store))
        if version is not None and version != newest:
            self._note_wrong(VERSION, "", f"it is {version}, this release reads {newest}: start the node first")
            return None
        self._kept = self._read(KEPT, "", self._get(KEPT, "", b""), rows.read_kept) or self._kept
        raw = self._find(LOWEST, "", b"") or None
        self._lowest_height = self._read(LOWEST, "", raw, rows.read_height) or 0
        raw = self._find(TAKEN_FROM, "", b"") or None
        self._taken_from = self._read(TAKEN_FROM, "", raw, rows.read_height) or 0
        head = self._get(HEAD, "", b"")
        if head is None:
            return None
        place = f"of the head {head.hex()[:16]}"
        height = self._read(HEIGHT, place, self._get(HEIGHT, place, head), rows.read_height)
        if height is None:
            return None
        record = self._read(RECORD, height, self._get(RECORD, height, _key_of(height)), rows.read_record)
        if record is None:
            return None
        self.findings.height, self.findings.head = height, head
        return record[0]

    def _check_state(self, head: Header, trust: TrustedState) -> None:
        """Its root, and those that undoing the topmost blocks leads to."""
        state = State.from_items(self._scan(STATE))
        if state.root != head.state_root:
            values = {"actual": state.root.hex()[:16], "expected": head.state_root.hex()[:16]}
            self.findings.note(StateDiffers(height=head.height, **values))
            return
        if trust.handovers or not self._is_pbft:
            ever = frozenset(key for voters in trust.sets for key in voters.sealers)
            self._sealers = ever | get_known_sealers(Overlay(state))
        for height in range(head.height, max(self._kept.undo - 1, head.height - WINDOW), -1):
            below = self._find_header(head.parent)
            raw = self._get(UNDO, height, _key_of(height))
            undo = self._read(UNDO, height, raw, rows.read_undo)
            if below is None or undo is None:
                return
            state = state.apply(undo)
            if state.root != below.state_root:
                self._note_wrong(UNDO, height, "it does not lead to the state of the block below")
                return
            head = below

    def _find_header(self, block_hash: bytes) -> Header | None:
        """A header by its hash, in silence: the walk through the blocks says what is wrong with it."""
        try:
            height = self._store.get(rows.HEIGHT + block_hash)
            raw = None if height is None else self._store.get(rows.record_key(rows.read_height(height)))
            return None if raw is None else rows.read_record(raw)[0]
        except StoreError:
            return None

    # --- blocks ------------------------------------------------------------------------------------

    def _check_blocks(self, head: Header) -> None:
        self._found.clear()
        parent, work = None, 0
        for height in range(head.height + 1):
            if height % STEP == 0:
                self._tell(Progress("blocks", height, head.height + 1))
            if 0 < height < self._lowest_height:
                self._count_anchor(height)
                parent = None
                continue
            record = self._check_record(height, parent, work)
            if record is None:
                self._count_unread(height)
                parent = None
                continue
            parent, work = record
            self._check_names(parent)
            self._check_body(parent)
        self._tell(Progress("blocks", head.height + 1, head.height + 1))
        if parent is not None and parent.hash != head.hash:
            self._note_wrong(HEAD, "", "another block is the last by its height")

    def _check_record(self, height: int, parent: Header | None, work_below: int) -> tuple[Header, int] | None:
        """The header at a height, and the work of the branch; None where it is not the parent's, sealed and signed."""
        record = self._read(RECORD, height, self._get(RECORD, height, _key_of(height)), rows.read_record)
        if record is None:
            return None
        header, work, base_n_diff = record
        if not _follows(header, height, parent):
            self._note_wrong(RECORD, height, "it does not follow the block below")
            return None
        if self._read(RECORD, height, header.raw, lambda _: self._check_seal(header)) is None:
            return None
        if not height and base_n_diff != header.n_diff:
            self._note_wrong(RECORD, height, "its base of N_diff is not the genesis block's")
        added = self._engine.work_of(header)
        is_known = height == 0 or (parent is not None and (work_below or parent.height == 0))
        if is_known and work != (work_below + added if height else 0):
            self._note_wrong(RECORD, height, f"the work is {work}, the blocks have {work_below + added}")
        return header, work

    def _check_seal(self, header: Header) -> Header:
        """The header. Raises as `screen_header` does, and `RowWrong` for another genesis."""
        if header.height:
            self._engine.screen_header(header, self._sealers or frozenset((header.producer,)))
            self.findings.signatures += 1
        elif header != build_genesis_block(self._genesis, build_state(self._genesis)).header:
            raise RowWrong(kind=RECORD, place="at height 0", detail="it is not the genesis block's")
        return header

    def _check_names(self, header: Header) -> None:
        """The hash by the height, and the height by the hash."""
        height = header.height
        block_hash = self._get(HASH, height, _key_of(height))
        if block_hash is not None and block_hash != header.hash:
            self._note_wrong(HASH, height, "it is another block's")
        found = self._read(HEIGHT, height, self._get(HEIGHT, height, header.hash), rows.read_height)
        if found is not None and found != height:
            self._note_wrong(HEIGHT, height, f"it says {found}")

    def _check_body(self, header: Header) -> None:
        """The block, its receipts, and the places of its transactions, where they have not been pruned."""
        height, key = header.height, _key_of(header.height)
        self._count_undo(height)
        if 0 < height < self._kept.bodies:
            return
        raw, receipts = self._get(BLOCK, height, key), self._get(RECEIPTS, height, key)
        block = self._read(BLOCK, height, raw, lambda row: self._read_body(row, header))
        if block is None:
            self._unread.add(header.hash)
            return
        ids = [transaction.id for transaction in block.transactions]
        self._read(RECEIPTS, height, receipts, lambda row: check_receipts(row, header, ids))
        for index, identity in enumerate(ids):
            found = self._get(PLACE, height, identity)
            if found is not None and found != rows.write_place(header.hash, index):
                self._note_wrong(PLACE, height, f"that of transaction {index} leads elsewhere")
        self.findings.transactions += len(ids)

    def _count_anchor(self, height: int) -> None:
        """Count the hash of a block whose header is still to come, where it is known beforehand."""
        with suppress(StoreError):
            self._found[HASH] += self._store.get(rows.height_key(height)) is not None

    def _count_unread(self, height: int) -> None:
        """Count the rows of a block of which no header is left, in silence but for its hash: they are no strays."""
        block_hash = self._get(HASH, height, _key_of(height))
        self._count_undo(height)
        with suppress(StoreError):
            if block_hash is not None:
                self._unread.add(block_hash)
                self._found[HEIGHT] += self._store.get(rows.HEIGHT + block_hash) is not None
            if not 0 < height < self._kept.bodies:
                self._found[BLOCK] += self._store.get(rows.block_key(height)) is not None
                self._found[RECEIPTS] += self._store.get(rows.receipts_key(height)) is not None

    def _count_undo(self, height: int) -> None:
        """Count what a block undid, in silence: those that are needed have been looked at."""
        if height >= self._kept.undo:
            with suppress(StoreError):
                self._found[UNDO] += self._store.get(rows.undo_key(height)) is not None

    def _read_body(self, raw: bytes, header: Header) -> Block:
        block = read_body(raw, header, self._genesis)
        for transaction in block.transactions:
            check_envelope(transaction, self._genesis.chain_id)
        self.findings.signatures += len(block.transactions)
        return block

    def _check_opening(self) -> None:
        """Open the chain as a node does, and judge the blocks above the final one by every rule: their states are here.

        Of those below the bases of N_diff, as far as the headers tell them.
        """
        if self.findings.damage:
            return
        chain = self._read(HEAD, "", b"", lambda _: Chain(self._genesis, self._store))
        if chain is None:
            return
        for entry, parent in pairwise(chain.ancestors(chain.head)):
            self._read(RECORD, entry.height, b"", partial(self._check_rules, entry=entry, parent=parent, chain=chain))

    def _check_rules(self, _: bytes, entry: Ancestor, parent: Ancestor, chain: Chain) -> None:
        if entry.height < max(self._kept.bodies, self._taken_from + 1) and entry.base_n_diff == entry.header.n_diff:
            return  # it may have come as a header below a snapshot, of which nobody needs the base
        if not isinstance(parent, BlockNode):
            self._engine.check_base(entry.header, entry.base_n_diff, parent, chain)
            return
        weighed = self._engine.check_header(entry.header, parent, chain)
        if weighed != Weighed(work=entry.work, base_n_diff=entry.base_n_diff):
            detail = f"work or N_diff are {entry.work}, {entry.base_n_diff}: by the rules {weighed}"
            raise RowWrong(kind=RECORD, detail=detail, **_show_place(entry.height))

    # --- what is final -------------------------------------------------------------------------------

    def _check_handovers(self) -> TrustedState:
        """The right to certify, as far as the handovers in the store lead from the founders."""
        relays = []
        for key, raw in sorted(self._scan(HANDOVER)):
            place = f"of period {int.from_bytes(key[:8], 'big')}"
            relay = self._read(HANDOVER, place, raw, _read_relay)
            if relay is not None:
                relays.append(relay)
        trust = self._read(HANDOVER, "", b"", lambda _: TrustedState(self._genesis, relays))
        return trust or TrustedState(self._genesis)

    def _check_final(self, head: Header, trust: TrustedState) -> None:
        raw = self._get(FINAL, "", b"")
        final = self._read(FINAL, "", raw, rows.read_place)
        if final is None:
            return
        block_hash, height = final
        if height > head.height or self._store_hash(height) != block_hash:
            self._note_wrong(FINAL, "", "it is not on the chain")
            return
        self.findings.final_height = height
        if max(self._kept) > height + 1:
            self._note_wrong(KEPT, "", f"more has been dropped than is final at height {height}")
        place = f"of height {height}"
        raw = self._get(FINAL_CERTIFICATE, place, b"") if height else None
        self._read(FINAL_CERTIFICATE, place, raw, lambda row: self._check_certificate(row, trust, block_hash))

    def _store_hash(self, height: int) -> bytes | None:
        with suppress(StoreError):
            return self._store.get(rows.height_key(height))
        return None

    def _check_certificate(self, raw: bytes, trust: TrustedState, block_hash: bytes | None) -> QuorumCertificate:
        """Raises what is wrong with a certificate. Where who may certify is not known, its signatures alone count."""
        certificate = QuorumCertificate.from_bytes(raw)
        statement = certificate.statement
        if block_hash is not None and statement.block_hash != block_hash:
            raise InvalidProof(detail="the certificate is another block's")
        try:
            trust.check_certificate(certificate)
        except WrongVoters:
            verify_signatures(statement.digest(), certificate.signatures)
        self.findings.signatures += len(certificate.signatures)
        return certificate

    def _check_certificates(self, trust: TrustedState) -> None:
        final_height = self.findings.final_height or 0
        for key, raw in self._scan(CERTIFICATE):
            slot = int.from_bytes(key, "big")
            block_hash = self._store_hash(slot) if self._is_pbft and slot <= final_height else None
            place = _Slot(slot)
            check = partial(self._check_certificate, trust=trust, block_hash=block_hash)
            read = self._read(CERTIFICATE, place, raw, check)
            if read is not None and read.statement.slot != slot:
                self._note_wrong(CERTIFICATE, place, f"it is of slot {read.statement.slot}")

    def _check_results(self) -> None:
        for key, raw in self._scan(RESULTS):
            number = int.from_bytes(key, "big")
            self._read(RESULTS, f"of period {number}", raw, partial(self._check_result, number=number))

    def _check_result(self, raw: bytes, number: int) -> None:
        results = decode_results(raw[8:])
        certificate = QuorumCertificate.from_bytes(self._store.get(_PREFIXES[CERTIFICATE] + raw[:8]) or b"")
        if compute_digest(results) != certificate.statement.result or number not in [one.number for one in results]:
            raise InvalidProof(detail="its slot's certificate names other results")

    # --- what waits, and what is left ------------------------------------------------------------------

    def _check_waiting(self) -> None:
        """Transactions that were acknowledged, what became of them, undecided blocks, and a snapshot that is taken."""
        params = self._genesis.params.ledger
        for key, raw in self._scan(PENDING):
            place = key.hex()[:16]
            read = self._read(PENDING, place, raw, self._read_pending)
            if read is not None and read.id != key:
                self._note_wrong(PENDING, place, "it is another one")
        for key, raw in self._scan(PROPOSAL):
            block = self._read(PROPOSAL, key.hex()[:16], raw, partial(rows.read_block, params=params))
            if block is not None and block.hash != key:
                self._note_wrong(PROPOSAL, key.hex()[:16], "it is another block")
        target = self._find(SNAPSHOT, "", b"") or None
        self._read(SNAPSHOT, "", target, lambda row: read_kept(row, self._genesis))
        for key, raw in self._scan(CHUNK):
            self._read(CHUNK, key.hex()[:20], raw, read_leaves)
        self._scan_all(ENDING)
        self._read(ENDING, "", b"", lambda _: sum(1 for _ in load_endings(self._store)))

    def _read_pending(self, raw: bytes) -> Transaction:
        limit = self._genesis.params.ledger.max_transaction_bytes
        transaction = Transaction.from_bytes(raw, max_bytes=limit)
        check_envelope(transaction, self._genesis.chain_id)
        return transaction

    def _scan_all(self, kind: str) -> None:
        for _ in self._scan(kind):
            pass

    def _count_rows(self) -> None:
        """Count the kinds that nothing has led through yet, and see whether there are others."""
        for first in range(256):
            prefix = bytes([first])
            kind = KINDS.get(prefix)
            if kind is None:
                unknown = f"rows under {prefix!r}"
                if count := sum(1 for _ in self._scan_prefix(prefix, unknown)):
                    self.findings.note(StrayRows(kind=unknown, count=count))
            elif kind not in self.findings.rows and kind not in self._uncounted:
                self._scan_all(kind)

    def _find_strays(self) -> None:
        for kind in _OF_BLOCKS:
            tally = self.findings.rows.get(kind, Tally())
            if kind == PLACE and self._unread:
                self._found[PLACE] += self._count_places(self._unread)
            if kind not in self._uncounted and (count := tally.count - self._found[kind]) > 0:
                self.findings.note(StrayRows(kind=kind, count=count))

    def _count_places(self, blocks: set[bytes]) -> int:
        """The places that lead to some blocks."""
        with suppress(StoreError):
            return sum(rows.read_place(raw)[0] in blocks for _, raw in self._store.scan(rows.TRANSACTION))
        return 0


def prefix_of(kind: str) -> bytes:
    """The first byte of the keys of a kind of row."""
    return _PREFIXES[kind]


# --- what a header says of its rows; raised by whoever brings them ------------------------------------


def read_body(raw: bytes, header: Header, genesis: Genesis) -> Block:
    """The block of a header. Raises `StoreCorrupt`, `RowWrong` or `WrongTransactionRoot`; checks no signature."""
    block = rows.read_block(raw, genesis.params.ledger)
    if block.header != header:
        raise RowWrong(kind=BLOCK, place=f"at height {header.height}", detail="it is another one")
    check_tx_root(header, block.transactions)
    return block


def check_receipts(raw: bytes, header: Header, ids: Sequence[bytes]) -> None:
    """Raises `StoreCorrupt`, `RowWrong` or `WrongReceiptRoot`."""
    receipts = rows.read_receipts(raw)
    if [receipt.transaction_id for receipt in receipts] != list(ids):
        raise RowWrong(kind=RECEIPTS, place=f"at height {header.height}", detail="they are of other transactions")
    check_receipt_root(header, compute_receipt_root(receipts))


def _key_of(height: int) -> bytes:
    """The rest of a key, behind its prefix, of a row that stands by height."""
    return height.to_bytes(8, "big")


def _show_place(place: Place) -> dict[str, object]:
    """A place in words, and in a number where it is one, for whoever mends."""
    match place:
        case _Slot():
            return {"place": f"of slot {place}", "slot": int(place)}
        case int():
            return {"place": f"at height {place}", "height": place}
    return {"place": place}


def _read_relay(raw: bytes) -> Relay:
    return Relay.from_value(decode(raw, max_bytes=_MAX_BYTES))


def _follows(header: Header, height: int, parent: Header | None) -> bool:
    return header.height == height and (parent is None or header.parent == parent.hash)
