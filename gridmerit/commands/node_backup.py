"""`gridmerit node backup`."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.care.backup import back_up
from gridmerit.care.places import open_place
from gridmerit.commands.node_tables import describe_manifest, render_backup, tell_rows
from gridmerit.commands.version import find_version
from gridmerit.output import emit, json_option


@click.command("backup")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--with-keys", "has_keys", is_flag=True, help="Put key.pem, tls-key.pem and passphrase into it, too: lock it away."
)
@json_option
def command(directory: Path, target: Path, has_keys: bool) -> None:
    """Copy a node's chains and settings into a directory, while it runs.

    Nothing is asked of the node: its store is copied as it was at one moment, and every row of the copy is read once.
    TARGET is a directory that is not there yet; it appears when it is whole, with a manifest of hashes, heights and
    versions. Keys stay out of it unless you ask for them: copy those once, and apart from their passphrase.

    \b
    Examples:
      gridmerit node backup mynet/nodes/wind-122 wind.backup
      gridmerit node backup mynet/nodes/wind-122 wind.secret --with-keys
    """
    manifest = back_up(open_place(directory), target, version=find_version(), has_keys=has_keys, tell=tell_rows)
    emit(describe_manifest(manifest, target), render_backup(manifest, target))
