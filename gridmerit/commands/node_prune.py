"""`gridmerit node prune`."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.network.storage import Pruned, load_node, prune_chain
from gridmerit.output import emit, json_option
from gridmerit.tables import table
from gridmerit.text import format_megabytes
from node.chain.pruning import Keep, parse_keep


def _read_keep(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Keep | None:
    if value is None:
        return None
    try:
        return parse_keep(value)
    except ValueError as error:
        raise click.UsageError(f"--keep {value!r}: want {error}") from None


@click.command("prune")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--keep",
    metavar="WHAT",
    callback=_read_keep,
    help='"all", "96 periods", or "20 GB" a chain.  [default: as node.toml says]',
)
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@json_option
def command(directory: Path, keep: Keep | None, dry_run: bool) -> None:
    """Drop old blocks of a stopped node, and give their space back.

    Headers and certificates stay, and what is kept can still be proved. A running node does it by itself, as `keep` in
    the table [storage] of its node.toml says. Blocks of periods that are not over for good stay in any case, and those
    that a companion holds: files in `holds/` of the chain's directory.

    \b
    Example:
      gridmerit node prune mynet/nodes/wind-122 --keep "96 periods" --dry-run
    """
    config, chains = load_node(directory)
    chosen = config.storage.keep if keep is None else keep
    found = [one for genesis in chains if (one := prune_chain(config, genesis, chosen, is_dry=dry_run)) is not None]
    emit([one._asdict() for one in found], _render(found, is_dry=dry_run))


def _render(found: list[Pruned], *, is_dry: bool) -> str:
    rows = [
        (
            one.chain,
            one.final_height,
            one.was_from_height,
            one.bodies_from_height,
            format_megabytes(one.bytes_before),
            format_megabytes(one.bytes_after),
        )
        for one in found
    ]
    then = "would be from" if is_dry else "now from"
    return table(["chain", "final", "blocks from", then, "MB before", "MB after"], rows)
