"""`gridmerit doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.commands.target import run_async
from gridmerit.network.doctor import examine
from gridmerit.network.layout import get_home, is_network, is_node
from gridmerit.output import emit, json_option
from gridmerit.text import format_count, quote_path

_MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
CONFIGURATION = 3


@click.command("doctor")
@click.option("--node", "directory", type=click.Path(path_type=Path), envvar="GRIDMERIT_NODE", help="A node directory.")
@json_option
@click.pass_context
def command(ctx: click.Context, directory: Path | None) -> None:
    """Check this machine and a node directory, and say what to mend.

    Checks Python, the nonce search, the clock; with --node (or in a node directory) also its configuration, key,
    ports, store, guard file and peers. Every line is ok, WARN or FAIL; any FAIL makes the exit code 3.

    \b
    Example:
      gridmerit doctor --node mynet/nodes/wind-122
    """
    if directory is None and is_node(Path()):
        directory = Path()
    if directory is not None and is_network(directory := get_home(directory)):
        raise click.UsageError(
            f"{directory} is a network: name one of its nodes, --node {quote_path(directory)}/nodes/NAME"
        )
    findings = run_async(examine(directory))
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.verdict]}  {finding.what}: {finding.detail}")
        if finding.remedy:
            lines.append(f"      try: {finding.remedy}")
    failed = sum(finding.verdict == "fail" for finding in findings)
    warned = sum(finding.verdict == "warn" for finding in findings)
    lines += [
        "",
        f"{format_count(len(findings), 'check')}, {format_count(warned, 'warning')}, {format_count(failed, 'failure')}",
    ]
    emit([finding._asdict() for finding in findings], "\n".join(lines))
    ctx.exit(CONFIGURATION if failed else 0)
