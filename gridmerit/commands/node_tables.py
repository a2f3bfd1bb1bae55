"""A node's care as text and as JSON: backups, damage, what is in a directory, and how far long work is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gridmerit.care.inspection import Inspection
from gridmerit.care.manifest import Manifest
from gridmerit.care.reset import Doomed
from gridmerit.care.rollback import Rollback
from gridmerit.care.verification import ChainReport
from gridmerit.output import describe_error, format_error, note
from gridmerit.tables import facts, table
from gridmerit.text import format_count, format_time
from ledger.errors import GridmeritError
from node.proofs.store_audit import STEP, Progress, Tally

_SHOWN = 20  # damages of a chain; --json has a thousand
_TWENTIETHS = 20
_MANY = 1 << 16  # rows that take a while
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def format_size(size: int) -> str:
    """Bytes as a person reads them."""
    amount, unit = float(size), 0
    while amount >= 1_000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1_000, unit + 1
    return f"{size} bytes" if not unit else f"{amount:.1f} {_UNITS[unit]}"


# --- how far it is -------------------------------------------------------------------------------


def tell_rows(chain: str, count: int) -> None:
    note(f"{chain}: {count:,} rows read")


def tell_bytes(done: int, total: int) -> None:
    if done == total:
        note(f"{format_size(total)} checked")


def tell_progress(progress: Progress) -> None:
    """A line for each twentieth, or for each doubling where nobody knows how much there is."""
    what, done, total = progress
    if total:
        step = max(total // _TWENTIETHS, 1)
        if done == total or (done and done // step > (done - STEP) // step):
            note(f"{what}: {done:,} of {total:,}")
    elif done >= _MANY and not done & (done - 1):
        note(f"{what}: {done:,}")


# --- backups -------------------------------------------------------------------------------------


def describe_manifest(manifest: Manifest, directory: Path) -> dict[str, Any]:
    return {
        "directory": str(directory),
        "made_ms": manifest.made_ms,
        "version": manifest.version,
        "keys": manifest.has_keys,
        "lacking": list(manifest.lacking),
        "files": len(manifest.files),
        "bytes": manifest.size,
        "chains": [
            {
                "chain": chain.name,
                "height": chain.height,
                "head": chain.head,
                "final_height": chain.final_height,
                "signed_height": chain.signed_height,
                "rows": chain.rows,
            }
            for chain in manifest.chains
        ],
    }


def render_backup(manifest: Manifest, target: Path) -> str:
    keys = "in it: lock it away" if manifest.has_keys else "not in it"
    lines = [
        facts(
            [
                ("backup", target),
                ("size", f"{format_size(manifest.size)}, {format_count(len(manifest.files), 'file')}"),
                ("keys", keys),
                *([("not in it", ", ".join(manifest.lacking))] if manifest.lacking else []),
            ]
        ),
        "",
        _draw_chains(manifest),
        "",
        f"next: gridmerit node restore {target} DIR, into a directory that is empty",
    ]
    return "\n".join(lines)


def render_restored(manifest: Manifest, directory: Path, lacking: Sequence[str]) -> str:
    made = f"{format_time(manifest.made_ms)} UTC, by gridmerit {manifest.version}"
    lines = [facts([("node", directory), ("made", made)]), "", _draw_chains(manifest), ""]
    if lacking:
        lines.append(f"put in place, from where you keep them: {', '.join(lacking)}")
    lines.append(f"next: gridmerit doctor --node {directory}; then gridmerit start {directory}")
    lines.append("it signs nothing until a block made since its start is final, and 8 more")
    return "\n".join(lines)


def _draw_chains(manifest: Manifest) -> str:
    heads = ("chain", "height", "head", "final", "signed to", "rows")
    rows = [
        (chain.name, chain.height, chain.head, chain.final_height, chain.signed_height, f"{chain.rows:,}")
        for chain in manifest.chains
    ]
    return table(heads, rows, left=(0, 2))


# --- damage --------------------------------------------------------------------------------------


def list_faults(report: ChainReport, directory: Path) -> list[GridmeritError]:
    """Faults of the directory and of its rows; their remedies name both it and the chain."""
    faults = [*report.faults, *report.findings.damage]
    for fault in faults:
        fault.values = {"directory": directory, "chain": report.chain, **fault.values}
    return faults


def describe_report(report: ChainReport, directory: Path) -> dict[str, Any]:
    findings = report.findings
    return {
        "chain": report.chain,
        "sound": report.is_sound,
        "opens": report.opens,
        "height": findings.height,
        "head": findings.head.hex() or None,
        "final_height": findings.final_height,
        "transactions": findings.transactions,
        "signatures": findings.signatures,
        "signed_height": None if report.record is None else report.record.signed_height,
        "restored": None if report.record is None else report.record.is_restored,
        "rows": {kind: {"count": tally.count, "bytes": tally.size_bytes} for kind, tally in findings.rows.items()},
        "faults": len(report.faults) + findings.damage_count,
        "damage": [describe_error(fault) for fault in list_faults(report, directory)],
    }


def render_reports(reports: Sequence[ChainReport], mended: Sequence[GridmeritError], directory: Path) -> str:
    lines = [f"mended: {damage}" for damage in mended]
    for report in reports:
        findings = report.findings
        if report.is_sound:
            signed = format_count(findings.signatures, "signature")
            lines.append(f"ok    {report.chain}: {findings.height} blocks, {signed}, final {findings.final_height}")
            continue
        count = len(report.faults) + findings.damage_count
        lines.append(f"FAIL  {report.chain}: {format_count(count, 'fault')}")
        lines += render_faults(report, directory)
    return "\n".join(lines) or "no chain has been started here yet"


def render_faults(report: ChainReport, directory: Path) -> list[str]:
    """Each fault with what to do, the first few of them."""
    faults = list_faults(report, directory)
    lines: list[str] = []
    for fault in faults[:_SHOWN]:
        lines += [f"      {line}" for line in format_error(fault).splitlines()]
    left = len(report.faults) + report.findings.damage_count - len(faults[:_SHOWN])
    return [*lines, f"      and {left} more"] if left else lines


def describe_inspection(inspection: Inspection, directory: Path) -> dict[str, Any]:
    certificate, record = inspection.certificate, inspection.report.record
    return {
        **describe_report(inspection.report, directory),
        "salvaged": inspection.is_salvaged,
        "files": {sort: {"count": tally.count, "bytes": tally.size_bytes} for sort, tally in inspection.files.items()},
        "certificate": None
        if certificate is None
        else {
            "slot": certificate.statement.slot,
            "block": certificate.statement.block_hash.hex(),
            "signatures": len(certificate.signatures),
        },
        "votes": None if record is None else len(record.votes),
        "last_slot": None if record is None or not record.votes else record.votes[-1][0],
    }


def render_inspection(inspection: Inspection, directory: Path) -> str:
    report, certificate = inspection.report, inspection.certificate
    findings = report.findings
    opens = "yes" if report.opens else "no; below stands what could be read" if inspection.is_salvaged else "no"
    certified = (
        "none"
        if certificate is None
        else f"slot {certificate.statement.slot}, {len(certificate.signatures)} signatures"
    )
    sorts = [f"{sort} {tally.count}, {format_size(tally.size_bytes)}" for sort, tally in inspection.files.items()]
    lines = [
        facts(
            [
                ("chain", report.chain),
                ("files", "; ".join(sorts) or "none: it has not been started"),
                ("opens", opens),
                ("head", _show(findings.height, findings.head.hex()[:16])),
                ("final", _show(findings.final_height)),
                ("certificate", certified),
                ("key has signed", _show_record(report)),
            ]
        )
    ]
    if findings.rows:
        rows = [(kind, f"{tally.count:,}", format_size(tally.size_bytes)) for kind, tally in _sorted(findings.rows)]
        lines += ["", table(("rows", "count", "size"), rows)]
    if not report.is_sound:
        lines += ["", *render_faults(report, directory)]
    return "\n".join(lines)


def _show(height: int | None, more: str = "") -> str:
    return "not known" if height is None else f"{height} {more}".strip()


def _show_record(report: ChainReport) -> str:
    record = report.record
    if record is None:
        return "not known: its record cannot be read"
    votes = f"to height {record.signed_height}, {format_count(len(record.votes), 'vote')} on record"
    if record.is_restored:
        return f"{votes}; restored: it signs nothing until a block made since its start is final"
    return f"{votes}; silent until {record.silent_until} is final" if record.silent_until else votes


def _sorted(tallies: dict[str, Tally]) -> list[tuple[str, Tally]]:
    return sorted(tallies.items(), key=lambda item: -item[1].size_bytes)


# --- going back, starting anew ---------------------------------------------------------------------


def render_rollback(done: Rollback, *, is_done: bool) -> str:
    """The heights before and after what has been done, or would be."""
    count = format_count(done.before - done.after, "block")
    text = facts([("chain", done.chain), ("head", f"{done.before} → {done.after}"), ("final", done.final)])
    if is_done:
        return f"{text}\n\n{count} taken off; the node fetches what its peers follow when it starts"
    return f"{text}\n\n{count} would be taken off; nothing has been done: the same with --yes"


def render_reset(doomed: Sequence[Doomed], directory: Path, *, is_done: bool) -> str:
    """The directories that have been deleted, or would be."""
    if not doomed:
        return "there is no ledger to delete"
    heads = ("deleted" if is_done else "to delete", "size")
    lines = [table(heads, [(one.path, format_size(one.size)) for one in doomed])]
    lines.append("")
    if is_done:
        lines.append(f"next: gridmerit start {directory}, which fetches the chains from its peers")
    else:
        lines.append("kept: settings, keys, certificates, genesis, and the record of what the key has signed")
        lines.append("nothing has been done: the same with --yes")
    return "\n".join(lines)
