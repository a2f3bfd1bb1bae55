"""`gridmerit node verify`."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.care.mending import Source, mend_chain, open_source
from gridmerit.care.places import open_place
from gridmerit.care.verification import verify_chain
from gridmerit.commands.node_options import CHAINS_OPTION
from gridmerit.commands.node_tables import describe_report, render_reports, tell_progress
from gridmerit.output import emit, json_option

DAMAGED = 7


@click.command("verify")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@CHAINS_OPTION
@click.option("--mend", "is_mending", is_flag=True, help="Mend what can be mended; the node must be stopped.")
@click.option(
    "--from",
    "source",
    metavar="URL|DIR",
    help="With --mend: a node whose API is asked for the blocks, receipts and certificates that are bad.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, directory: Path, chains: tuple[str, ...], is_mending: bool, source: str | None) -> None:
    """Check every hash, signature and root of a node's chains.

    Headers are chained, sealed and signed; bodies and receipts stand under their roots; a quorum has signed each
    certificate; the state has the root that the head says; undoing and indexes lead where they should; nothing else is
    there; and the signing record is not ahead of the chain. Beside a running node it reads a copy of one moment.

    Exit code 7 where anything is wrong; each damage is named, with what to do. --mend writes what follows from the
    rest of the store, and with --from asks another node for the rest: it is believed nothing, for the headers here say
    what is right. The damaged store stays as `ledger.damaged` until you remove it.

    \b
    Examples:
      gridmerit node verify mynet/nodes/wind-122
      gridmerit node verify mynet/nodes/wind-122 --mend --from http://127.0.0.1:9201
    """
    if source is not None and not is_mending:
        raise click.UsageError("--from goes with --mend")
    place = open_place(directory)
    origin: Source | None = None if source is None else open_source(source)
    reports, mended = [], []
    for chain in place.choose(chains):
        if not chain.ledger.is_dir() and not chain.guard.exists():
            continue
        report = verify_chain(chain, tell_progress)
        if is_mending and not report.is_sound:
            mended += mend_chain(chain, report, origin, tell_progress)
            report = verify_chain(chain, tell_progress)
        reports.append(report)
    document = {
        "chains": [describe_report(report, directory) for report in reports],
        "mended": [str(damage) for damage in mended],
        "sound": all(report.is_sound for report in reports),
    }
    emit(document, render_reports(reports, mended, directory))
    ctx.exit(0 if document["sound"] else DAMAGED)
