"""`gridmerit node`: the care of one node's directory."""

from __future__ import annotations

from importlib import import_module

import click

from gridmerit.commands import Group

PARTS = ("prune", "compact")
"""Each is `gridmerit/commands/node_NAME.py`, in the order of the help."""


@click.group("node", cls=Group)
def command() -> None:
    """Take care of a node's directory.

    \b
    Example:
      gridmerit node prune mynet/nodes/wind-122 --keep "96 periods" --dry-run
    """


for _part in PARTS:
    command.add_command(import_module(f"gridmerit.commands.node_{_part}").command)
