"""Looking for damage: a chain's whole store, and its guard beside it. Reads a copy, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from consensus.signing_record import SigningRecord
from gridmerit.care.places import ChainPlace
from ledger.errors import GridmeritError, StoreError
from ledger.store import LevelStore
from node.chain.signing import check_height
from node.driver.signing_file import read_record
from node.proofs.store_audit import Findings, Progress, audit_store
from node.system.store_copy import copied

Tell = Callable[[Progress], None]


@dataclass(slots=True, kw_only=True)
class ChainReport:
    """The faults of one chain's directory, the store's findings where it opens, and the record where it is readable."""

    chain: str
    findings: Findings = field(default_factory=Findings)
    record: SigningRecord | None = None
    faults: list[GridmeritError] = field(default_factory=list)
    opens: bool = False

    @property
    def is_sound(self) -> bool:
        return not self.faults and not self.findings.damage_count


def verify_chain(place: ChainPlace, tell: Tell) -> ChainReport:
    """Audit one chain. What is wrong stands in the report; raises `StoreBusy` and `StoreFailed` of the copy alone."""
    report = ChainReport(chain=place.name)
    check_guard(place, report)
    with copied(place.ledger) as copy:
        try:
            store = LevelStore(copy)
        except StoreError as error:
            report.faults.append(name_fault(error, copy, place))
            return report
        with closing(store):
            report.opens = True
            report.findings = audit_store(place.genesis, store, tell)
    check_heights(place, report)
    return report


def name_fault(error: StoreError, copy: Path, place: ChainPlace) -> StoreError:
    """The error of a copy that does not open, as one of the store that it is a copy of."""
    detail = str(error.values.get("detail", error)).replace(str(copy), str(place.ledger))
    return type(error)(**{**error.values, "detail": detail}).of(chain=place.name, path=place.directory)


def check_guard(place: ChainPlace, report: ChainReport) -> None:
    """Read the guard into the report; it is read before the store, which may only be ahead of it."""
    try:
        report.record = read_record(place.guard, place.genesis.chain_id)
    except StoreError as error:
        report.faults.append(error.of(chain=place.name, path=place.directory))


def check_heights(place: ChainPlace, report: ChainReport) -> None:
    """Note a store that ends below what its key has signed."""
    if report.record is None or report.findings.height is None:
        return
    try:
        check_height(report.record, report.findings.height)
    except StoreError as error:
        report.faults.append(error.of(chain=place.name, path=place.directory))
