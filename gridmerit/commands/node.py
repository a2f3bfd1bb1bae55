"""`gridmerit node`: the care of one node's directory."""

from __future__ import annotations

from importlib import import_module

import click

from gridmerit.commands import Group

PARTS = ("backup", "restore", "verify", "inspect", "rollback", "reset", "prune", "compact")
"""Each is `gridmerit/commands/node_NAME.py`, in the order of the help."""


@click.group("node", cls=Group)
def command() -> None:
    """Back up, restore, check, mend and prune a node's directory.

    What only reads works beside a running node; what changes the directory wants it stopped.

    \b
    Examples:
      gridmerit node backup mynet/nodes/wind-122 wind.backup
      gridmerit node restore wind.backup wind-122
      gridmerit node verify mynet/nodes/wind-122
      gridmerit node prune mynet/nodes/wind-122 --keep "96 periods" --dry-run
    """


for _part in PARTS:
    command.add_command(import_module(f"gridmerit.commands.node_{_part}").command)
