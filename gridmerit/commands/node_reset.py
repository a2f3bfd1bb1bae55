"""`gridmerit node reset`."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.care.places import open_place
from gridmerit.care.reset import list_doomed, reset
from gridmerit.commands.node_options import CHAINS_OPTION
from gridmerit.commands.node_tables import render_reset
from gridmerit.output import emit, json_option


@click.command("reset")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@CHAINS_OPTION
@click.option("--yes", "is_sure", is_flag=True, help="Do it; without, only say what would be deleted.")
@json_option
def command(directory: Path, chains: tuple[str, ...], is_sure: bool) -> None:
    """Throw a stopped node's ledgers away, to fetch them anew.

    Settings, keys, certificates, the genesis and the record of what the key has signed stay. The node then signs
    nothing until a block made since its start is final, and 8 more. Without --yes nothing is touched.

    \b
    Examples:
      gridmerit node reset mynet/nodes/wind-122
      gridmerit node reset mynet/nodes/wind-122 --chain jy1 --yes
    """
    chosen = open_place(directory).choose(chains)
    doomed = list_doomed(chosen)
    if is_sure:
        reset(chosen)
    document = {"delete": [{"path": str(one.path), "bytes": one.size} for one in doomed], "done": is_sure}
    emit(document, render_reset(doomed, directory, is_done=is_sure))
