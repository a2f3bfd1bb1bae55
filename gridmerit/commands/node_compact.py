"""`gridmerit node compact`."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.network.storage import compact_chain, load_node
from gridmerit.output import emit, json_option
from gridmerit.tables import table
from gridmerit.text import format_megabytes


@click.command("compact")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@json_option
def command(directory: Path) -> None:
    """Give back the space of all that a stopped node has deleted.

    A running node does so by itself, a little at a time.

    \b
    Example:
      gridmerit node compact mynet/nodes/wind-122
    """
    config, chains = load_node(directory)
    found = [one for genesis in chains if (one := compact_chain(config, genesis)) is not None]
    rows = [(one.chain, format_megabytes(one.bytes_before), format_megabytes(one.bytes_after)) for one in found]
    emit([one._asdict() for one in found], table(["chain", "MB before", "MB after"], rows))
