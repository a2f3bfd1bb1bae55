"""`gridmerit node inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.care.inspection import inspect_chain
from gridmerit.care.places import open_place
from gridmerit.commands.node_options import CHAINS_OPTION
from gridmerit.commands.node_tables import describe_inspection, render_inspection
from gridmerit.output import emit, json_option


@click.command("inspect")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@CHAINS_OPTION
@json_option
def command(directory: Path, chains: tuple[str, ...]) -> None:
    """Look into a node's directory, also where it does not open.

    Nothing is changed. For each chain: its files, whether the store opens, what can be read of it, head, final block
    and its certificate, what the key has signed, and what is wrong. `gridmerit node verify` looks at every row.

    \b
    Example:
      gridmerit node inspect mynet/nodes/wind-122
    """
    found = [inspect_chain(chain) for chain in open_place(directory).choose(chains)]
    text = "\n\n".join(render_inspection(one, directory) for one in found)
    emit([describe_inspection(one, directory) for one in found], text)
