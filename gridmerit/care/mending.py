"""Mending a store: what follows from the rest of it is written anew, and what does not is fetched, and nothing more.

All is done to a copy, which takes the store's place once an audit finds nothing wrong with it. The damaged one stays
beside it. Whoever is asked is believed nothing: the headers that are here say what is right.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from gridmerit.care.heads import find_head
from gridmerit.care.places import ChainPlace, locked
from gridmerit.care.verification import ChainReport, Tell
from gridmerit.network.layout import NODE_FILE, get_home
from ledger import rows
from ledger.block import Header
from ledger.chain import Changes
from ledger.codec import encode
from ledger.errors import GridmeritError, StoreCorrupt, StoreError, StoreFailed
from ledger.genesis import Genesis
from ledger.store import KeyValue, LevelStore, repair
from node.api.client import Client
from node.chain.signing import check_height
from node.config import load_config
from node.errors import RemoteNotFound, RowUnreadable, StoreDamage
from node.proofs import store_audit as audit
from node.proofs.store_audit import audit_store, check_receipts, prefix_of, read_body
from node.system.scratch import publish
from node.system.store_copy import copied

DAMAGED = "ledger.damaged"
_OF_HEIGHT = frozenset({audit.HASH, audit.HEIGHT})
_FETCHED = frozenset({audit.BLOCK, audit.RECEIPTS})


class Source(NamedTuple):
    """A node that is asked for what is bad, by the URL of its API."""

    url: str


def open_source(text: str) -> Source:
    """A URL, or a node's directory. Raises the `ConfigError` family."""
    if text.startswith(("http://", "https://")):
        return Source(text)
    return Source(load_config(get_home(Path(text)) / NODE_FILE).api_listen.url)


def mend_chain(place: ChainPlace, report: ChainReport, source: Source | None, tell: Tell) -> list[StoreError]:
    """The damage that has been mended: all, or none, and then the store is as it was.

    Raises the `StoreError` family, and `Unreachable` and its like where the source does not answer.
    """
    with locked([place]) as [guard], copied(place.ledger) as copy:
        damage = _mend_copy(place, copy, report, source, tell)
        if damage is None:
            return []
        try:
            with closing(LevelStore(copy)) as store:
                again = audit_store(place.genesis, store, tell)
            check_height(guard.load(ledger_exists=True), again.height or 0)
        except StoreError:
            return []
        if again.damage_count:
            return []
        _swap(place, copy)
    return [*(fault for fault in report.faults if isinstance(fault, StoreCorrupt)), *damage]


def _mend_copy(
    place: ChainPlace, copy: Path, report: ChainReport, source: Source | None, tell: Tell
) -> list[StoreDamage] | None:
    """Mend what can be in the copy; what was found there, None where it cannot be opened."""
    damage = list(report.findings.damage)
    is_broken = not report.opens or any(isinstance(one, RowUnreadable) for one in damage)
    try:
        if is_broken:
            repair(copy)
        with closing(LevelStore(copy)) as store:
            if is_broken:
                damage += audit_store(place.genesis, store, tell).damage
            mender = _Mender(place.genesis, store)
            store.write(list(mender.write_what_follows(damage)))
            if source is not None:
                store.write(asyncio.run(mender.fetch(damage, source)))
            store.write(list(mender.write_places(damage)))
            store.write(list(mender.drop_strays()))
    except StoreError:
        return None
    return damage


def _swap(place: ChainPlace, copy: Path) -> None:
    """Put the mended copy in the store's place. Between the two steps there is none, and a node starts without signing:
    its guard says that the key has signed, and the ledger that it makes is empty (`RolledBack`)."""
    old = place.directory / DAMAGED
    try:
        for file in copy.iterdir():
            if file.is_symlink():
                target = file.resolve()
                file.unlink()
                shutil.copyfile(target, file)
        shutil.rmtree(old, ignore_errors=True)
        place.ledger.rename(old)
        publish(copy, place.ledger)
    except OSError as error:
        raise StoreFailed(detail=str(error)) from error


class _Mender:
    """The rows of one store, as they bear witness of those that are bad."""

    def __init__(self, genesis: Genesis, store: KeyValue) -> None:
        self._genesis = genesis
        self._store = store

    def write_what_follows(self, damage: Iterable[StoreDamage]) -> Iterator[rows.Row]:
        """Hashes by height and heights by hash, from the records."""
        for height in _heights(damage, _OF_HEIGHT):
            header = self.find_header(height)
            if header is not None:
                yield from rows.rows_of_place(header)

    def write_places(self, damage: Iterable[StoreDamage]) -> Iterator[rows.Row]:
        """The places of transactions, from their blocks."""
        for height in _heights(damage, {audit.PLACE, audit.BLOCK}):
            header = self.find_header(height)
            raw = None if header is None else self._store.get(rows.block_key(height))
            if header is not None and raw is not None:
                block = rows.read_block(raw, self._genesis.params.ledger)
                for index, transaction in enumerate(block.transactions):
                    yield rows.TRANSACTION + transaction.id, rows.write_place(header.hash, index)

    async def fetch(self, damage: Sequence[StoreDamage], source: Source) -> Changes:
        """Blocks, receipts and certificates, each held against what is here.

        One that does not hold, or that the source has not got, is left out.
        """
        changes: Changes = []
        async with Client(source.url, self._genesis.params.name) as client:
            for height in _heights(damage, _FETCHED):
                header = self.find_header(height)
                if header is not None:
                    with suppress(RemoteNotFound):
                        changes += await self._fetch_block(client, header)
            for slot in sorted({int(str(one.values["slot"])) for one in damage if "slot" in one.values}):
                with suppress(RemoteNotFound):
                    raw = bytes.fromhex((await client.raw_certificate(slot)).certificate)
                    changes.append((prefix_of(audit.CERTIFICATE) + slot.to_bytes(8, "big"), raw))
        return changes

    async def _fetch_block(self, client: Client, header: Header) -> Changes:
        answer = await client.raw_block(header.height)
        try:
            raw = bytes.fromhex(answer.block)
            ids = [transaction.id for transaction in read_body(raw, header, self._genesis).transactions]
            receipts = encode(tuple(zip(ids, answer.codes, strict=True)))
            check_receipts(receipts, header, ids)
        except (GridmeritError, ValueError):
            return []
        return [(rows.block_key(header.height), raw), (rows.receipts_key(header.height), receipts)]

    def find_header(self, height: int) -> Header | None:
        """The header in the record at a height."""
        raw = self._store.get(rows.record_key(height))
        try:
            header = None if raw is None else rows.read_record(raw)[0]
        except StoreError:
            return None
        return header if header is not None and header.height == height else None

    def drop_strays(self) -> Iterator[rows.Row]:
        """Delete the rows of blocks, and of their transactions, that are not on the chain or below what is kept."""
        head, kept = find_head(self._store), self._store.get(rows.KEPT)
        if head is None or kept is None:
            return
        top, floors = head[0], rows.read_kept(kept)
        lowest = {rows.BLOCK: floors.bodies, rows.RECEIPTS: floors.bodies, rows.UNDO: floors.undo}
        for prefix in (*lowest, rows.HASH, rows.RECORD):
            for key, _ in self._store.scan(prefix):
                height = int.from_bytes(key[1:], "big")
                if height > top or 0 < height < lowest.get(prefix, 0):
                    yield key, None
        for key, _ in self._store.scan(rows.HEIGHT):
            if self._find_height(key[1:]) is None:
                yield key, None
        for key, raw in self._store.scan(rows.TRANSACTION):
            height_of_place = self._find_height(rows.read_place(raw)[0])
            if height_of_place is None or 0 < height_of_place < floors.bodies:
                yield key, None

    def _find_height(self, block_hash: bytes) -> int | None:
        """The height of a block that is on the chain."""
        raw = self._store.get(rows.HEIGHT + block_hash)
        if raw is None:
            return None
        height = rows.read_height(raw)
        return height if self._store.get(rows.height_key(height)) == block_hash else None


def _heights(damage: Iterable[StoreDamage], kinds: Iterable[str]) -> list[int]:
    wanted = set(kinds)
    found = {one.values["height"] for one in damage if one.values.get("kind") in wanted and "height" in one.values}
    return sorted(height for height in found if isinstance(height, int))
