"""Making a backup of a node's directory, running or not, and putting one back.

A backup is a directory that nobody sees before it is whole. Its guards are marked as restored already: whoever copies
it by hand, or restores it twice, has a key that signs nothing until a quorum has certified what it may have forgotten.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from gridmerit.care.heads import find_head
from gridmerit.care.manifest import (
    ChainEntry,
    FileEntry,
    Manifest,
    OnBytes,
    check_files,
    copy_file,
    describe_file,
    load_manifest,
    save_manifest,
)
from gridmerit.care.places import GUARD, LEDGER, ChainPlace, NodePlace
from gridmerit.errors import BusyDirectory, UnusableDirectory
from gridmerit.network.layout import GENESIS_FILE, NODE_FILE
from ledger import rows
from ledger.errors import StoreCorrupt, UnwritableFile
from ledger.store import LevelStore
from node.chain.signing import check_height
from node.config import NodeConfig, save_config
from node.driver.signing_file import SigningFile, read_record
from node.errors import RolledBack
from node.system.clock import now_ms
from node.system.scratch import publish, scratch
from node.system.store_copy import copied

_DATA, _CONTACTS = "data", "contacts"
_OF_THE_PROCESS = ("LOCK", "LOG", "LOG.old", "OWNER")  # of a store's files
_TRIES, _PAUSE_S = 20, 0.05
_STEP = 100_000  # rows

OnRows = Callable[[str, int], None]
"""Called with a chain's name and the rows read so far."""


class _StoreFacts(NamedTuple):
    """The place that a store has come to, and how many rows it has."""

    height: int
    head: bytes
    final_height: int
    rows: int


# --- making --------------------------------------------------------------------------------------


def back_up(place: NodePlace, target: Path, *, version: str, has_keys: bool, tell: OnRows) -> Manifest:
    """Write a backup of a node; every row of it has been read once, with its checksum, when this returns.

    Raises `BusyDirectory`, `UnusableDirectory`, `UnwritableFile` and the `StoreError` family; then nothing is there.
    """
    claim_place(target)
    try:
        with scratch(target.absolute().parent, f".{target.name}.new-") as around:
            draft = around / target.name
            draft.mkdir(mode=0o700)
            manifest = _fill(place, draft, version=version, has_keys=has_keys, tell=tell)
            save_manifest(manifest, draft)
            publish(draft, target)
            return manifest
    except OSError as error:
        raise UnwritableFile(file=str(target), detail=error.strerror or str(error)) from None


def claim_place(target: Path) -> None:
    """See that a directory can be put there. Raises `BusyDirectory` or `UnusableDirectory`."""
    try:
        if target.exists() and any(target.iterdir()):
            raise BusyDirectory(directory=target)
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableDirectory(directory=str(target), detail=error.strerror or str(error)) from None


def _fill(place: NodePlace, draft: Path, *, version: str, has_keys: bool, tell: OnRows) -> Manifest:
    chains, files = [], []
    for chain in place.chains:
        if chain.ledger.is_dir():
            entry, copies = _copy_chain(chain, draft, tell)
            chains.append(entry)
            files += copies
    config, copies, lacking = _copy_settings(place, draft, has_keys=has_keys)
    save_config(config, draft / NODE_FILE)
    files += [*copies, describe_file(draft / NODE_FILE, NODE_FILE)]
    return Manifest(
        version=version,
        made_ms=now_ms(),
        has_keys=has_keys,
        lacking=lacking,
        chains=tuple(chains),
        files=tuple(sorted(files, key=lambda file: file.path)),
    )


def _copy_chain(chain: ChainPlace, draft: Path, tell: OnRows) -> tuple[ChainEntry, list[FileEntry]]:
    """The guard, as it was before the store: so the store has all that the record says was sealed.

    A node writes one before the other, and may be between them.
    """
    for left in reversed(range(_TRIES)):
        record = read_record(chain.guard, chain.genesis.chain_id)
        with copied(chain.ledger) as copy:
            facts = _read_facts(chain, copy, tell)
            try:
                check_height(record, facts.height)
            except RolledBack as error:
                if not left:
                    raise error.of(chain=chain.name, path=chain.directory) from None
                time.sleep(_PAUSE_S)
                continue
            base = f"{_DATA}/{chain.name}"
            names = sorted(file.name for file in copy.iterdir() if file.name not in _OF_THE_PROCESS)
            paths = [f"{base}/{LEDGER}/{name}" for name in names]
            files = [copy_file(copy / name, draft / path, path) for name, path in zip(names, paths, strict=True)]
        with SigningFile(draft / base, chain.genesis.chain_id) as guard:
            guard.save(record.after_restore())
        (draft / base / "LOCK").unlink()
        files.append(describe_file(draft / base / GUARD, f"{base}/{GUARD}"))
        entry = ChainEntry(
            name=chain.name,
            chain_id=chain.genesis.chain_id.hex(),
            height=facts.height,
            head=facts.head.hex(),
            final_height=facts.final_height,
            signed_height=record.signed_height,
            rows=facts.rows,
        )
        return entry, files
    raise AssertionError("the last try returns or raises")


def _read_facts(chain: ChainPlace, copy: Path, tell: OnRows) -> _StoreFacts:
    """Open the copy, which shows that its files belong together, and read all of it. Raises the `StoreError` family."""
    with closing(LevelStore(copy)) as store:
        if store.get(rows.GENESIS) != chain.genesis.chain_id:
            raise StoreCorrupt(detail="the store belongs to another chain; check the genesis file")
        place, final = find_head(store), store.get(rows.FINAL)
        if place is None or final is None:
            raise StoreCorrupt(detail="the head block is missing")
        count = 0
        for count, _ in enumerate(store.scan(b""), 1):
            if count % _STEP == 0:
                tell(chain.name, count)
        tell(chain.name, count)
        height, head = place
        return _StoreFacts(height=height, head=head, final_height=rows.read_place(final)[1], rows=count)


def _copy_settings(
    place: NodePlace, draft: Path, *, has_keys: bool
) -> tuple[NodeConfig, list[FileEntry], tuple[str, ...]]:
    """Copy what is no ledger: the settings with their paths as they are in the backup, its files, and what it lacks.

    Files outside the node's directory stay where they are; the genesis comes along, for it is public.
    """
    home, config = place.home.resolve(), place.config
    files: list[FileEntry] = []
    lacking: list[str] = []

    def take(path: Path, *, is_secret: bool) -> Path:
        own = path.resolve()
        if not own.is_relative_to(home):
            lacking.append(str(own))
            return own
        name = own.relative_to(home).as_posix()
        if own.is_file() and (has_keys or not is_secret):
            files.append(copy_file(own, draft / name, name))
        else:
            lacking.append(name)
        return draft / name

    genesis: dict[Path, Path] = {}
    for chain in config.chains:
        if chain.genesis not in genesis:
            name = GENESIS_FILE if not genesis else f"{len(genesis)}-{GENESIS_FILE}"
            files.append(copy_file(chain.genesis, draft / name, name))
            genesis[chain.genesis] = draft / name
    changes: dict[str, object] = {
        "data_dir": draft / _DATA,
        "chains": tuple(chain.model_copy(update={"genesis": genesis[chain.genesis]}) for chain in config.chains),
    }
    for setting in ("key_file", "passphrase_file"):
        if (path := getattr(config, setting)) is not None:
            changes[setting] = take(path, is_secret=True)
    if config.tls is not None:
        tls = config.tls
        moved = {
            "certificate": take(tls.certificate, is_secret=False),
            "ca": take(tls.ca, is_secret=False),
            "key_file": take(tls.key_file, is_secret=True),
        }
        changes["tls"] = tls.model_copy(update=moved)
    if (config.data_dir / _CONTACTS).is_file():
        name = f"{_DATA}/{_CONTACTS}"
        files.append(copy_file(config.data_dir / _CONTACTS, draft / name, name))
    return config.model_copy(update=changes), files, tuple(lacking)


# --- putting back --------------------------------------------------------------------------------


def restore(backup: Path, target: Path, tell: OnBytes) -> Manifest:
    """Put a backup into a directory that is empty or not there, once all of it has been checked.

    Raises `NotABackup`, `BackupFromLater`, `BackupDamaged`, `BusyDirectory`, `UnusableDirectory` or `UnwritableFile`;
    then nothing is there.
    """
    manifest = load_manifest(backup)
    claim_place(target)
    check_files(manifest, backup, tell)
    try:
        with scratch(target.absolute().parent, f".{target.name}.new-") as around:
            draft = around / target.name
            draft.mkdir(mode=0o700)
            for file in manifest.files:
                copy_file(backup / file.path, draft / file.path, file.path)
            check_files(manifest, draft, tell)
            publish(draft, target)
    except OSError as error:
        raise UnwritableFile(file=str(target), detail=error.strerror or str(error)) from None
    return manifest


def list_lacking(manifest: Manifest, target: Path) -> Iterator[str]:
    """The files that a restored node needs and has not."""
    for name in manifest.lacking:
        if not (target / name).exists():
            yield os.fspath(name)
