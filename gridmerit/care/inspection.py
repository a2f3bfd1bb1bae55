"""Looking at a directory that a node cannot open: what is there, how far it had come, and what its key has signed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from consensus.quorum import QuorumCertificate
from gridmerit.care.heads import find_head
from gridmerit.care.places import ChainPlace
from gridmerit.care.verification import ChainReport, check_guard, check_heights, name_fault
from ledger import rows
from ledger.errors import GridmeritError, StoreCorrupt, StoreError
from ledger.store import KeyValue, LevelStore, repair
from node.proofs.store_audit import FINAL_CERTIFICATE, KINDS, Tally, prefix_of
from node.system.store_copy import copied


@dataclass(slots=True, kw_only=True)
class Inspection:
    """One chain's directory. `is_salvaged` where the rows are those that could be read out of a store that is damaged.

    `files` have the count and bytes of each sort; `certificate` is that of the final block.
    """

    report: ChainReport
    files: dict[str, Tally] = field(default_factory=dict)
    is_salvaged: bool = False
    certificate: QuorumCertificate | None = None


def inspect_chain(place: ChainPlace) -> Inspection:
    """Look at one chain's directory. Raises `StoreBusy` and `StoreFailed` of the copy alone."""
    inspection = Inspection(report=ChainReport(chain=place.name), files=_count_files(place.ledger))
    report = inspection.report
    check_guard(place, report)
    if not place.ledger.is_dir():
        return inspection
    with copied(place.ledger) as copy:
        try:
            store = LevelStore(copy)
            report.opens = True
        except StoreError as error:
            report.faults.append(name_fault(error, copy, place))
            try:
                repair(copy)
                store = LevelStore(copy)
            except StoreError:
                return inspection
            inspection.is_salvaged = True
        with closing(store):
            _read_place(store, inspection)
            _count_rows(store, report)
    check_heights(place, report)
    return inspection


def _read_place(store: KeyValue, inspection: Inspection) -> None:
    """Head, final block and its certificate, as far as they can be read."""
    findings = inspection.report.findings
    with _noted(inspection):
        head = find_head(store)
        if head is None:
            raise StoreCorrupt(detail="the head block is missing")
        findings.height, findings.head = head
    with _noted(inspection):
        final = store.get(rows.FINAL)
        if final is None:
            raise StoreCorrupt(detail="the final block is not recorded")
        findings.final_height = rows.read_place(final)[1]
    with _noted(inspection):
        raw = store.get(prefix_of(FINAL_CERTIFICATE))
        inspection.certificate = None if raw is None else QuorumCertificate.from_bytes(raw)


@contextmanager
def _noted(inspection: Inspection) -> Iterator[None]:
    """Note an error in the inspection, and go on."""
    try:
        yield
    except GridmeritError as error:
        inspection.report.faults.append(error)


def _count_rows(store: KeyValue, report: ChainReport) -> None:
    for prefix, kind in KINDS.items():
        tally = Tally()
        try:
            for key, value in store.scan(prefix):
                tally.count += 1
                tally.size_bytes += len(key) + len(value)
        except StoreError as error:
            report.faults.append(error)
        if tally.count:
            report.findings.rows[kind] = tally


def _count_files(ledger: Path) -> dict[str, Tally]:
    sorts: dict[str, Tally] = {}
    with suppress(OSError):
        for file in sorted(ledger.iterdir()):
            sort = {".ldb": "tables", ".sst": "tables", ".log": "log"}.get(file.suffix, "other files")
            tally = sorts.setdefault(sort, Tally())
            tally.count += 1
            tally.size_bytes += file.stat().st_size
    return sorts
