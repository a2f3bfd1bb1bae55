"""`gridmerit node restore`."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.care.backup import list_lacking, restore
from gridmerit.commands.node_tables import describe_manifest, render_restored, tell_bytes
from gridmerit.output import emit, json_option


@click.command("restore")
@click.argument("backup", type=click.Path(path_type=Path, file_okay=False))
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
def command(backup: Path, directory: Path) -> None:
    """Put a backup into an empty directory, once all of it has been checked.

    Every file is compared with the manifest before anything is written, and DIRECTORY appears when it is whole. The
    node is known as a restored one: it follows the chains, and signs nothing until a block made since its start is
    final, and 8 more, for its key may have signed what the backup does not know. --i-am-sure does not shorten that.

    \b
    Example:
      gridmerit node restore wind.backup wind-122
    """
    manifest = restore(backup, directory, tell_bytes)
    lacking = list(list_lacking(manifest, directory))
    document = {**describe_manifest(manifest, directory), "lacking": lacking}
    emit(document, render_restored(manifest, directory, lacking))
