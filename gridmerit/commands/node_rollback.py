"""`gridmerit node rollback`."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.care.places import open_place
from gridmerit.care.rollback import roll_back
from gridmerit.commands.node_tables import render_rollback
from gridmerit.output import emit, json_option


@click.command("rollback")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--chain", "name", metavar="NAME", required=True, help="Which chain.")
@click.option("--to", "height", type=click.IntRange(min=0), metavar="HEIGHT", help="The height that is to be the head.")
@click.option("--blocks", "count", type=click.IntRange(min=0), metavar="N", help="Take so many blocks off instead.")
@click.option("--yes", "is_sure", is_flag=True, help="Do it; without, only say what would be done.")
@json_option
def command(directory: Path, name: str, height: int | None, count: int | None, is_sure: bool) -> None:
    """Take blocks above the final one off a chain of a stopped node.

    It fetches them again from its peers, or what they follow by then. What is final is never left. The record of what
    the key has signed stays: nothing is sealed or voted for a second time.

    \b
    Examples:
      gridmerit node rollback mynet/nodes/wind-122 --chain jy1 --blocks 3
      gridmerit node rollback mynet/nodes/wind-122 --chain jy1 --to 1200 --yes
    """
    if (height is None) == (count is None):
        raise click.UsageError("--to HEIGHT or --blocks N, one of the two")
    [chain] = open_place(directory).choose([name])
    done = roll_back(chain, height=height, count=count, is_dry=not is_sure)
    emit({**done._asdict(), "done": is_sure}, render_rollback(done, is_done=is_sure))
