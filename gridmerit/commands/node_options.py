"""Options that several commands of `gridmerit node` share."""

from __future__ import annotations

import click

CHAINS_OPTION = click.option(
    "--chain", "chains", multiple=True, metavar="NAME", help="Only this chain; may be repeated.  [default: all]"
)
